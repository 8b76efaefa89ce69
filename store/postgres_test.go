package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chunkstream/store"
)

// server is a Postgres of the tests' own, reached by a socket in its folder alone.
type server struct {
	dir  string
	args []string
	cmd  *exec.Cmd
}

// servers are all that were started; stopServers ends them.
var servers struct {
	sync.Mutex
	all []*server
}

// shared is the server of the contract's tests. They stop it only in an orderly way, so it need not sync.
var shared = sync.OnceValues(func() (*server, error) { return newServer("fsync=off") })

// onPostgres gives a copy of a migrated database.
func onPostgres(t testing.TB) store.Config {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s.database(t)
}

var durable = sync.OnceValues(func() (*server, error) { return newServer("shared_buffers=256MB", "max_wal_size=4GB") })

func onDurablePostgres(t testing.TB) store.Config {
	t.Helper()
	s, err := durable()
	if err != nil {
		t.Fatal(err)
	}
	return s.database(t)
}

// newServer makes a cluster and starts it with the settings.
func newServer(settings ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	servers.Lock()
	servers.all = append(servers.all, s)
	servers.Unlock()
	if os.Getuid() == 0 { // Postgres refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	cmd, err := s.command("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C",
		"--pgdata="+filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	s.args = []string{"-D", filepath.Join(dir, "data"), "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=400"}
	for _, set := range settings {
		s.args = append(s.args, "-c", set)
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	if err := s.run(`CREATE DATABASE empty`); err != nil {
		return nil, err
	}
	empty, err := store.Open(context.Background(), store.Config{DatabaseURL: s.url("empty")})
	if err != nil {
		return nil, err
	}
	return s, empty.Close()
}

// command gives one of Postgres's programs, to run as the user postgres if this is root.
func (s *server) command(name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			return nil, fmt.Errorf("Postgres is not installed: no %s in PATH or /usr/lib/postgresql", name)
		}
		path = found[len(found)-1]
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	// Should this process be killed, an immediate shutdown of the server follows.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 {
		info, err := os.Stat(s.dir)
		if err != nil {
			return nil, err
		}
		st := info.Sys().(*syscall.Stat_t)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	}
	return cmd, nil
}

// start starts the server and waits until it answers. After a crash it may take a second try until the children of the
// one before are gone.
func (s *server) start() error {
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		cmd, err := s.command("postgres", s.args...)
		if err != nil {
			return errors.Join(err, log.Close())
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := errors.Join(cmd.Start(), log.Close()); err != nil {
			return err
		}
		s.cmd = cmd
		for cmd.Process.Signal(syscall.Signal(0)) == nil && time.Now().Before(end) {
			if last = s.run(`SELECT 1`); last == nil {
				return nil
			}
			time.Sleep(20 * time.Millisecond) // until a program outside this one is ready
			var status syscall.WaitStatus
			if pid, _ := syscall.Wait4(cmd.Process.Pid, &status, syscall.WNOHANG, nil); pid != 0 {
				break
			}
		}
	}
	out, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return fmt.Errorf("Postgres does not start: %w: %s", last, out)
}

// stop ends the server with a signal: SIGINT in order, SIGQUIT at once, SIGKILL without its knowing.
func (s *server) stop(signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Signal(signal)
	_, e := s.cmd.Process.Wait()
	s.cmd = nil
	return errors.Join(err, e)
}

func stopServers() error {
	servers.Lock()
	defer servers.Unlock()
	var errs []error
	for _, s := range servers.all {
		errs = append(errs, s.stop(syscall.SIGINT), os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func (s *server) url(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + s.dir
}

// run runs a statement on the database that every cluster has.
func (s *server) run(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, text)
	return errors.Join(err, conn.Close(ctx))
}

var databases atomic.Int64

func (s *server) database(t testing.TB) store.Config {
	t.Helper()
	name := fmt.Sprint("t", databases.Add(1))
	if err := s.run(`CREATE DATABASE ` + name + ` TEMPLATE empty`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.run(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return store.Config{DatabaseURL: s.url(name)}
}
