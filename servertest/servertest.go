// Package servertest runs real servers as child processes for tests: redis-server and Postgres, each on a free port of
// loopback with its data in a folder of the test's. A missing program fails the test; nothing is skipped and nothing
// that was running before is used.
package servertest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Redis is a redis-server that a test may kill, freeze and start again.
type Redis struct {
	// Address is host:port; it stays the same across Start and Kill.
	Address string
	t       testing.TB
	dir     string
	args    []string
	cmd     *exec.Cmd
}

// StartRedis starts a redis-server without persistence, with more configuration as command line arguments. It ends
// with the test.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{Address: FreeAddress(t), t: t, dir: t.TempDir(), args: args}
	t.Cleanup(r.Kill)
	r.Start()
	return r
}

// URL is the address as redis://.
func (r *Redis) URL() string { return "redis://" + r.Address + "/0" }

// Start starts it, again after Kill, and waits until it answers. What it held is gone.
func (r *Redis) Start() {
	r.t.Helper()
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		r.t.Fatal(err)
	}
	args := append([]string{"--bind", host, "--port", port, "--dir", r.dir, "--save", "", "--appendonly", "no"}, r.args...)
	r.cmd = exec.Command("redis-server", args...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatalf("redis-server: %v (apt-get install redis-server)", err)
	}
	until(r.t, "redis-server", func() error {
		answer, err := r.Do("PING")
		if err == nil && answer != "+PONG" && !strings.HasPrefix(answer, "-NOAUTH") { // a password was configured
			err = errors.New(answer)
		}
		return err
	})
}

// Do sends one command on a connection of its own and gives the first line of the answer.
func (r *Redis) Do(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", r.Address, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Kill ends it with SIGKILL, if it runs, and waits until it is gone.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended by itself
	_ = r.cmd.Wait()
	r.cmd = nil
}

// Freeze stops it with SIGSTOP: connections stay open and nothing is answered. Thaw undoes it.
func (r *Redis) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (r *Redis) Thaw() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// Postgres is a cluster of its own.
type Postgres struct {
	port string
	t    testing.TB
	dir  string
	cred *syscall.Credential
	cmd  *exec.Cmd
	name int
}

// StartPostgres makes a cluster and starts it. It ends with the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	_, port, err := net.SplitHostPort(FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its parent folders cannot be entered by the user that Postgres runs as.
	dir, err := os.MkdirTemp("", "chunkstream-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	p := &Postgres{port: port, t: t, dir: dir}
	t.Cleanup(func() {
		p.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Getuid() == 0 { // Postgres refuses to run as root
		who, err := user.Lookup("postgres")
		if err != nil {
			t.Fatalf("running as root needs a user postgres: %v (apt-get install postgresql)", err)
		}
		uid, _ := strconv.ParseUint(who.Uid, 10, 32)
		gid, _ := strconv.ParseUint(who.Gid, 10, 32)
		p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	init := p.command("initdb", "-D", filepath.Join(dir, "data"), "-U", "chunkstream", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.Start()
	return p
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	path, err := exec.LookPath(name)
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		path, err = found[len(found)-1], nil
	}
	if err != nil {
		p.t.Fatalf("%v (apt-get install postgresql)", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	return cmd
}

// Start starts it, again after Kill, and waits until it takes connections.
func (p *Postgres) Start() {
	p.t.Helper()
	p.cmd = p.command("postgres", "-D", filepath.Join(p.dir, "data"), "-p", p.port, "-k", p.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200")
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	until(p.t, "postgres", func() error {
		out, err := p.command("psql", "-h", "127.0.0.1", "-p", p.port, "-U", "chunkstream", "-d", "postgres", "-c", "SELECT 1").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// Database makes an empty database and gives its URL.
func (p *Postgres) Database() string {
	p.t.Helper()
	p.name++
	name := fmt.Sprintf("test%d", p.name)
	out, err := p.command("createdb", "-h", "127.0.0.1", "-p", p.port, "-U", "chunkstream", name).CombinedOutput()
	if err != nil {
		p.t.Fatalf("createdb: %v\n%s", err, out)
	}
	return fmt.Sprintf("postgres://chunkstream@127.0.0.1:%s/%s?sslmode=disable", p.port, name)
}

// Dump writes a database's content to a file, as SQL.
func (p *Postgres) Dump(url, file string) error {
	p.t.Helper()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	cmd := p.command("pg_dump", "--dbname", url)
	cmd.Stdout = out
	return errors.Join(cmd.Run(), out.Close())
}

// Kill ends it at once, as a power cut would end it, and waits until it is gone.
func (p *Postgres) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // immediate shutdown: no checkpoint, its children end with it
	done := make(chan struct{})
	cmd := p.cmd
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
	p.cmd = nil
}

// Children gives the process ids of a process's children, on Linux (proc(5)); one that has no such list fails the test.
func Children(t testing.TB, pid int) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no list of the children of %d: %v", pid, err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, child)
		}
	}
	return pids
}

var asked atomic.Int64

// FreeAddress gives a loopback address that nobody listens on. Its port is below those that systems give to outgoing
// connections (32768 and up on Linux), so that a server that was killed finds it free when it starts again.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 10000 + (int64(os.Getpid())*97+asked.Add(1))%22000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

// until tries for two minutes: Postgres, after Kill, first syncs each file it has.
func until(t testing.TB, what string, try func() error) {
	t.Helper()
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-late.C:
			t.Fatalf("%s did not come up: %v", what, err)
		case <-tick.C:
		}
	}
}
