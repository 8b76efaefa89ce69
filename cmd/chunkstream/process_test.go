package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"chunkstream/chunk"
	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/sandbox"
	"chunkstream/store"
)

// asProgram makes the test binary behave as the program itself: the end-to-end tests run it as a child process, with
// whatever build tags and race detector they have themselves.
const asProgram = "TEST_AS_CHUNKSTREAM" // not CHUNKSTREAM_…, which the demo keeps from its children

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" || len(os.Args) == 3 && os.Args[1] == sandbox.Argument { // a child has no environment
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		if err := shortened(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitUsage)
		}
		os.Exit(run(ctx, os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"chunkstream": main})
}

// server is the program in a process of its own.
type server struct {
	t       testing.TB
	address string
	cmd     *exec.Cmd
	output  *lockedBuffer
	exited  chan struct{}
	began   time.Time
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer starts serve on a data folder and does not wait for it. env are NAME=value pairs, args more flags.
func startServer(t testing.TB, address, data string, env []string, args ...string) *server {
	t.Helper()
	return startProcess(t, "serve", address, env, append([]string{"--data", data}, args...)...)
}

// startProcess starts one command of the program.
func startProcess(t testing.TB, command, address string, env []string, args ...string) *server {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, self, command, address, env, args...)
}

// startProgram starts one command of a build of the program.
func startProgram(t testing.TB, path, command, address string, env []string, args ...string) *server {
	t.Helper()
	return newProgram(t, path, command, address, env, args...).begin()
}

// newProgram is startProgram without its start.
func newProgram(t testing.TB, path, command, address string, env []string, args ...string) *server {
	s := &server{t: t, address: address, output: &lockedBuffer{}, exited: make(chan struct{})}
	s.cmd = exec.Command(path, append([]string{command, "--listen", address}, args...)...)
	s.cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	return s
}

func (s *server) begin() *server {
	t := s.t
	t.Helper()
	s.began = time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // how it ended is read from ProcessState
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			text := s.output.String()
			t.Logf("the server on %s said at last:\n%s", s.address, text[max(0, len(text)-4000):])
		}
	})
	return s
}

// ready waits until the server is, and fails the test when it ends or takes too long.
func (s *server) ready() *server {
	s.t.Helper()
	return s.answers(func(status int) bool { return status == http.StatusOK })
}

// started waits until the server says whether it is ready.
func (s *server) started() *server {
	s.t.Helper()
	return s.answers(func(int) bool { return true })
}

func (s *server) answers(enough func(status int) bool) *server {
	s.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		resp, err := http.Get("http://" + s.address + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if enough(resp.StatusCode) {
				return s
			}
		}
		select {
		case <-s.exited:
			s.t.Fatalf("the server ended before it was ready: %v", s.cmd.ProcessState)
		case <-deadline:
			s.t.Fatal("the server was not ready within a minute")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !s.hasExited() {
		s.t.Fatalf("%v: %v", sig, err)
	}
}

func (s *server) hasExited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// kill ends the process at once and waits until it is gone.
func (s *server) kill() {
	if !s.hasExited() {
		_ = s.cmd.Process.Kill() // it may end by itself meanwhile
	}
	<-s.exited
}

// stop asks the process to end and gives how long it took.
func (s *server) stop() time.Duration {
	s.t.Helper()
	began := time.Now()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the server did not end within 20 s of SIGTERM")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server ended with %v, want 0", s.cmd.ProcessState)
	}
	return time.Since(began)
}

// finish stops a server that has done all it was asked to, and checks every invariant of what is in its folder.
func (s *server) finish() {
	s.t.Helper()
	s.stop()
	if !s.t.Failed() {
		checkDatabase(s.t, sqliteIn(s.cmd.Args[slices.Index(s.cmd.Args, "--data")+1]))
	}
}

func (s *server) client() *client.Client {
	s.t.Helper()
	c, err := client.New("http://"+s.address, client.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// realText gives size bytes of text that people wrote: the sources and documents that come with Go, in name order.
func realText(t testing.TB, size int) string {
	t.Helper()
	var b strings.Builder
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if utf8.Valid(text) && !bytes.ContainsRune(text, 0) {
			b.Write(text)
		}
		if b.Len() >= size {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() < size {
		t.Fatalf("%s has only %d bytes of text", root, b.Len())
	}
	text := b.String()
	for size > 0 && !utf8.RuneStart(text[size-1]) {
		size--
	}
	return text[:size-1]
}

// checkChunks compares an operation's chunks, read from the service, with what the strategy gives in this process.
func checkChunks(t testing.TB, c *client.Client, op client.Operation, text string) {
	t.Helper()
	plan, err := chunk.Parse(op.Strategy, op.Config)
	if err != nil {
		t.Fatal(err)
	}
	next, stop := pullSpans(plan, text)
	defer stop()
	n, chars, at := int64(0), 0, 0
	for got, err := range c.Chunks(t.Context(), op.ID) {
		if err != nil {
			t.Errorf("%s: %v", op.ID, err)
			return
		}
		want, ok := next()
		if !ok {
			t.Errorf("%s has more than the %d chunks of a run without faults", op.ID, n)
			return
		}
		chars += utf8.RuneCountInString(text[at:want.Start])
		at = want.Start
		if got.Index != n || got.StartByte != int64(want.Start) || got.EndByte != int64(want.End) ||
			got.Text != text[want.Start:want.End] || got.StartChar != int64(chars) ||
			got.EndChar != int64(chars+utf8.RuneCountInString(got.Text)) {
			t.Errorf("%s: chunk %d is %d [%d, %d), want %v", op.ID, n, got.Index, got.StartByte, got.EndByte, want)
			return
		}
		n++
	}
	if _, ok := next(); ok || n != op.Chunks {
		t.Errorf("%s has %d chunks and says %d; a run without faults has more: %v", op.ID, n, op.Chunks, ok)
	}
}

func pullSpans(plan chunk.Plan, text string) (next func() (chunk.Chunk, bool), stop func()) {
	spans := make(chan chunk.Chunk)
	done := make(chan struct{})
	go func() {
		defer close(spans)
		for s := range plan.Splitter.Split(text) {
			select {
			case spans <- s:
			case <-done:
				return
			}
		}
	}()
	return func() (chunk.Chunk, bool) { s, ok := <-spans; return s, ok }, func() { close(done) }
}

// sqliteIn is the database of a data folder.
func sqliteIn(data string) store.Config {
	return store.Config{Path: filepath.Join(data, "chunkstream.db")}
}

// checkDatabase opens the database of servers that have ended and checks every invariant.
func checkDatabase(t testing.TB, database store.Config) *store.Store {
	t.Helper()
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	lines, err := db.CheckInvariants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		t.Error(l)
	}
	return db
}

// checkEvents compares what a watcher saw with what the database holds.
func checkEvents(t testing.TB, db *store.Store, id string, seen []event.Event) {
	t.Helper()
	want, err := db.Events(t.Context(), "local", id, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	list := func(evs []event.Event) string {
		var b strings.Builder
		for _, e := range evs {
			fmt.Fprintf(&b, "%d %s %d/%d\n", e.Seq, e.Type, e.Data.Chunks, e.Data.BytesDone)
		}
		return b.String()
	}
	if got, want := list(seen), list(want); got != want {
		t.Errorf("%s: the watcher saw\n%swant\n%s", id, got, want)
	}
}

func asProblem(err error, p **client.Problem) bool { return errors.As(err, p) }
