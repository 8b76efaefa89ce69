package redisconn

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chunkstream/secret"
)

// TestMain wants no goroutine left, but for two of the driver's Cluster client: the one that link.close speaks of, and
// the one that closes the connections of a node that has gone, five seconds later.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

// server is a redis-server of one test.
type server struct {
	t       testing.TB
	port    string
	args    []string
	cmd     *exec.Cmd
	out     *bytes.Buffer
	dir     string
	program []string // all arguments, for what is not a plain server
	done    chan struct{}
	more    []string // what redis-cli needs besides the port to reach it
}

func (s *server) address() string  { return "127.0.0.1:" + s.port }
func (s *server) url() secret.Text { return secret.New("redis://" + s.address()) }

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// redis starts a server with nothing on disk; args are more of its settings.
func redis(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, port: freePort(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.wait()
}

func (s *server) launch() {
	s.t.Helper()
	if s.dir == "" {
		s.dir = s.t.TempDir()
	}
	all := append([]string{"--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir,
		"--enable-debug-command", "yes"}, s.args...)
	if s.program != nil {
		all = s.program
	}
	s.out = &bytes.Buffer{}
	s.cmd = exec.Command("redis-server", all...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redis-server is needed (Debian: redis-server): %v", err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { _ = cmd.Wait(); close(done) }(s.cmd, s.done)
}

func (s *server) wait() {
	s.t.Helper()
	eventually(s.t, 10*time.Second, "redis-server answers", func() error {
		out, err := s.cli("PING")
		if err == nil && !strings.Contains(out, "PONG") && !strings.Contains(out, "NOAUTH") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

// kill ends the server at once; it may be started again, empty.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		_ = s.cmd.Process.Kill()
		<-s.done
		s.cmd = nil
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) cli(words ...string) (string, error) {
	cmd := exec.Command("redis-cli", append(append([]string{"-p", s.port}, s.more...), words...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("redis-cli %s: %w: %s", words[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *server) do(words ...string) string {
	s.t.Helper()
	out, err := s.cli(words...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// named counts the server's connections by client name.
func (s *server) named() map[string]int {
	s.t.Helper()
	count := map[string]int{}
	for _, line := range strings.Split(s.do("CLIENT", "LIST"), "\n") {
		for _, word := range strings.Fields(line) {
			if name, ok := strings.CutPrefix(word, "name="); ok && name != "" {
				count[name]++
			}
		}
	}
	return count
}

// eventually tries until f gives nil; the machine's speed decides only how long it tries.
func eventually(t testing.TB, patience time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func open(t testing.TB, c Config) *Conns {
	t.Helper()
	conns, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conns.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return conns
}

// up waits until Commands works.
func up(t testing.TB, c *Commands) {
	t.Helper()
	eventually(t, 10*time.Second, "Commands is up", func() error {
		_, err := c.Ping(t.Context())
		return err
	})
}

// logged is a logger whose lines a test can read.
func logged() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var b bytes.Buffer
	w := writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	})
	return slog.New(slog.NewTextHandler(w, nil)), func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wants checks an error's class and whether a repeat is safe.
func wants(t testing.TB, what string, err error, class Class, safe bool) {
	t.Helper()
	if got, gotSafe := Classify(err); got != class || gotSafe != safe {
		t.Errorf("%s: got %v (class %q, safe to repeat %v), want class %q, safe %v", what, err, got, gotSafe, class, safe)
	}
}

func socketPath(t testing.TB) string {
	dir, err := os.MkdirTemp("", "redis") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func short(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
