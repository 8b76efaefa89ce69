package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/servertest"
	"chunkstream/worker"
)

// The tests of this file take from a process what the system gave it: how long a file may be (EFBIG) and how many it may have
// open (EMFILE). The limits are real ones, of a process of its own.

// What the environment takes from the program that the test binary is: it may write no file beyond so many bytes, and open so
// many files more than it has when it begins.
const (
	fileBytes = "CHUNKSTREAM_TEST_FILE_BYTES"
	moreFiles = "CHUNKSTREAM_TEST_MORE_FILES"
)

// shortened sets the limits that the environment names.
func shortened() error {
	r, w, err := os.Pipe() // the runtime opens what it needs to wait for files with the first of them
	if err != nil {
		return err
	}
	first := int(r.Fd())
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		return err
	}
	for name, limit := range map[string]struct{ resource, from int }{
		fileBytes: {unix.RLIMIT_FSIZE, 0}, moreFiles: {unix.RLIMIT_NOFILE, first},
	} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err == nil {
			err = lower(0, limit.resource, uint64(limit.from+n))
		}
		if err != nil {
			return fmt.Errorf("%s=%s: %w", name, text, err)
		}
	}
	return nil
}

// lower sets the soft limit of a process, 0 for this one; lift sets it back to the hard one.
func lower(pid, resource int, to uint64) error {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &l); err != nil {
		return err
	}
	l.Cur = min(to, l.Max)
	return unix.Prlimit(pid, resource, &l, nil)
}

func lift(t *testing.T, pid, resource int) {
	t.Helper()
	if err := lower(pid, resource, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
}

// threeFiles makes the folder in with three texts, and gives what is cut of them without a shortage.
func threeFiles(t *testing.T) (in, whole string) {
	t.Helper()
	in = t.TempDir()
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		put(name, strings.Repeat("One more line of "+name+".\n", 1000))(t, in)
	}
	out := filepath.Join(t.TempDir(), "out")
	if said, code := program(t, "chunk", in, "-o", out); code != 0 {
		t.Fatalf("without a limit: %d: %s", code, said)
	}
	b, err := os.ReadFile(out)
	if err != nil || len(b) < 10_000 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	return in, string(b)
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names are those of the files in a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestFileTooLong ("Write: File.Write, beyond a limit", "keep: File.Sync, beyond a limit", "end: File.Write, beyond a limit"):
// however long a file may be, an output that is longer is told with its name, what was there before stays, and a run that may
// be resumed goes on once there is room.
func TestFileTooLong(t *testing.T) {
	t.Parallel()
	in, whole := threeFiles(t)
	for _, limit := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
		for _, resume := range []string{"", "--resume"} {
			dir := t.TempDir()
			put("out", "before")(t, dir)
			out := filepath.Join(dir, "out")
			args := strings.Fields("chunk " + in + " -o " + out + " " + resume)
			said, code := programWith(t, []string{fileBytes + "=" + fmt.Sprint(limit)}, args...)
			if code == 0 || !strings.Contains(said, out) || !strings.Contains(said, "file too large") {
				t.Errorf("%d bytes %s: it ended with %d: %s", limit, resume, code, said)
			}
			if got := content(t, out); got != "before" {
				t.Errorf("%d bytes %s: what was there is %.30q", limit, resume, got)
			}
			if left := names(t, dir); resume == "" && len(left) != 1 {
				t.Errorf("%d bytes: %q are left", limit, left)
			}
			if said, code := program(t, args...); code != 0 || content(t, out) != whole {
				t.Errorf("%d bytes %s: without the limit it ended with %d and other chunks: %s", limit, resume, code, said)
			}
		}
	}
}

// TestFilesRunOut ("newWholeFile: os.CreateTemp, without files", "openResume: os.OpenFile, without files",
// "source: os.ReadFile, without files"): however many files a run may open, it ends with all chunks, or says which file it
// could not have; run again without the limit it ends with all.
func TestFilesRunOut(t *testing.T) {
	t.Parallel()
	in, whole := threeFiles(t)
	for _, resume := range []string{"", "--resume"} {
		for more := 0; ; more++ {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			args := strings.Fields("chunk " + in + " -o " + out + " " + resume)
			said, code := programWith(t, []string{moreFiles + "=" + fmt.Sprint(more)}, args...)
			if code == 0 {
				if content(t, out) != whole {
					t.Errorf("%d more files %s: it ended well with other chunks: %s", more, resume, said)
				}
				if more == 0 {
					t.Error("no file was needed")
				}
				break
			}
			if !strings.Contains(said, "too many open files") || strings.Contains(said, "goroutine ") {
				t.Errorf("%d more files %s: it ended with %d: %s", more, resume, code, said)
			}
			for _, name := range names(t, dir) {
				if name != "out" && (resume == "" || !strings.HasPrefix(name, "out.")) {
					t.Errorf("%d more files %s: %s is left", more, resume, name)
				}
			}
			if said, code := program(t, args...); code != 0 || content(t, out) != whole {
				t.Errorf("%d more files %s: without the limit it ended with %d and other chunks: %s", more, resume, code, said)
			}
			if more > 100 {
				t.Fatal("a hundred files are not enough")
			}
		}
	}
}

// short is a service from which something is taken, and what it has accepted.
type short struct {
	t        *testing.T
	s        *server
	c        *client.Client
	accepted map[string]string // operation → text
	refused  []string
}

// submit sends a text, which is accepted, or refused in a way that says that it may be sent again.
func (s *short) submit(c *client.Client, text string) {
	s.t.Helper()
	op, err := c.Submit(s.t.Context(), client.Submission{Text: strings.NewReader(text), Strategy: "markdown", Settings: url.Values{"chunk_size": {"100"}}})
	if err != nil {
		s.again(err)
		s.refused = append(s.refused, text)
		return
	}
	s.accepted[op.ID] = text
}

// again checks that an error is one that passes.
func (s *short) again(err error) {
	s.t.Helper()
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != http.StatusServiceUnavailable || !slices.Contains([]string{"unavailable", "outcome_unknown"}, p.Code) {
		s.t.Errorf("%v: want 503 unavailable or outcome_unknown", err)
	}
}

// complete waits until all that was accepted is completed, as it would have been without faults.
func (s *short) complete() {
	s.t.Helper()
	for id, text := range s.accepted {
		op, err := s.c.Operation(s.t.Context(), id, time.Minute)
		if err != nil || op.Status != string(event.Completed) {
			s.t.Errorf("%s is %s: %v %v", id, op.Status, op.Error, err)
			continue
		}
		checkChunks(s.t, s.c, op, text)
	}
}

// wait waits until cond holds.
func (s *short) wait(what string, cond func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// markdown is a text of n bytes below a heading.
func markdown(heading string, n int) string { return "# " + heading + "\n\n" + string(prose(n, 1)) }

// newShort starts a service on SQLite that cuts Markdown in children, and has one waiting.
func newShort(t *testing.T) (s *short, data string) {
	t.Helper()
	data = t.TempDir()
	p := startServer(t, servertest.FreeAddress(t), data, nil, "--lease", "500ms").ready()
	s = &short{t: t, s: p, c: p.client(), accepted: map[string]string{}}
	s.submit(s.c, markdown("First", 20_000))
	s.complete()
	return s, data
}

// TestServiceFileTooLong: while no file may grow, whatever would be written is refused with a 503 and what is there can be read;
// afterwards all that was accepted is completed, and all that was refused can be sent again.
func TestServiceFileTooLong(t *testing.T) {
	t.Parallel()
	s, data := newShort(t)
	pid := s.s.cmd.Process.Pid
	long := markdown("Long", 2<<20/slowdown)
	op, err := s.c.Submit(t.Context(), client.Submission{Text: strings.NewReader(long), Settings: url.Values{"chunk_size": {"40"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.accepted[op.ID] = long
	for e, err := range s.c.Watch(t.Context(), op.ID, 0) {
		if err != nil || e.Type == event.Batch || e.Type.Terminal() {
			break // it is under way
		}
	}
	log, err := os.Stat(filepath.Join(data, "chunkstream.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	// From where every write to the log fails to where the first, a part of a text's or its commit's, may succeed.
	for i, limit := range []int64{4096, 4097, log.Size(), log.Size() + 4120, log.Size() + 20_000, log.Size() + 100_000, 4096} {
		if err := lower(pid, unix.RLIMIT_FSIZE, uint64(limit)); err != nil {
			t.Fatal(err)
		}
		before := len(s.refused)
		s.submit(s.c, markdown(fmt.Sprint("Small ", i), 3000))
		s.submit(s.c, markdown(fmt.Sprint("Larger ", i), 300_000/slowdown))
		if len(s.refused) == before && limit == 4096 {
			t.Errorf("with files of %d bytes nothing was refused", limit)
		}
		for id := range s.accepted {
			if _, err := s.c.Operation(t.Context(), id, 0); err != nil {
				t.Errorf("with files of %d bytes: %v", limit, err)
			}
		}
	}
	lift(t, pid, unix.RLIMIT_FSIZE)
	s.s.ready()
	refused := s.refused
	s.refused = nil
	for _, text := range refused {
		s.submit(s.c, text)
	}
	if len(s.refused) > 0 {
		t.Errorf("without the limit %d texts are refused", len(s.refused))
	}
	s.complete()
	s.s.stop()
	checkDatabase(t, sqliteIn(data))
}

// TestServiceFilesRunOut: while a service can open no file, socket or child beyond a few, what comes is accepted or refused with a 503;
// who connects waits; afterwards all that was accepted is completed.
func TestServiceFilesRunOut(t *testing.T) {
	t.Parallel()
	s, data := newShort(t)
	pid := s.s.cmd.Process.Pid
	for more := range 6 {
		// What idles has its files; a new child needs some.
		for _, child := range servertest.Children(t, pid) {
			if err := unix.Kill(child, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
		said := strings.Count(s.s.output.String(), "too many open files")
		if err := lower(pid, unix.RLIMIT_NOFILE, uint64(freeFiles(t, pid)+more)); err != nil {
			t.Fatal(err)
		}
		s.submit(s.c, markdown(fmt.Sprint("Text ", more), 3000))
		for id := range s.accepted {
			if _, err := s.c.Operation(t.Context(), id, 0); err != nil {
				s.again(err)
			}
		}
		// A stranger is let in at once, or when files are to be had again.
		stranger := make(chan error, 1)
		text := markdown(fmt.Sprint("A stranger's ", more), 3000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var made client.Operation
		go func() {
			own := &http.Transport{}
			defer own.CloseIdleConnections()
			c, err := client.New("http://"+s.s.address, client.Options{HTTP: &http.Client{Transport: own}})
			if err == nil {
				made, err = c.Submit(ctx, client.Submission{Text: strings.NewReader(text), Strategy: "markdown"})
			}
			stranger <- err
		}()
		if more < 2 { // a child needs three pipes, and a connection a file
			s.wait("the log says that there are too many files", func() bool { return strings.Count(s.s.output.String(), "too many open files") > said })
		}
		lift(t, pid, unix.RLIMIT_NOFILE)
		switch err := <-stranger; {
		case err == nil:
			s.accepted[made.ID] = text
		default:
			s.again(err)
		}
		s.complete()
	}
	s.s.ready()
	s.s.stop()
	checkDatabase(t, sqliteIn(data))
}

// TestServiceChildrenCannotStart: while a service has no files left for a child, what needs one waits with its worker and costs no
// attempt, a cancel of it is heard, and it completes once there are files again.
func TestServiceChildrenCannotStart(t *testing.T) {
	t.Parallel()
	s, data := newShort(t)
	pid := s.s.cmd.Process.Pid
	clear(s.accepted) // it has had its child
	for _, child := range servertest.Children(t, pid) {
		if err := unix.Kill(child, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
	if err := lower(pid, unix.RLIMIT_NOFILE, uint64(freeFiles(t, pid)+2)); err != nil { // a child's pipes have eight ends
		t.Fatal(err)
	}
	for i := 0; len(s.accepted) < 3; i++ {
		if i == 100 {
			t.Fatal("nothing is accepted")
		}
		s.submit(s.c, markdown(fmt.Sprint("Text ", i), 3000))
	}
	tried := func(times int) func() bool {
		return func() bool { return strings.Count(s.s.output.String(), "no process to cut a text in") >= times }
	}
	s.wait("each is tried twice", tried(6))
	var cancelled string
	for cancelled = range s.accepted {
		break
	}
	s.wait("a cancel is taken", func() bool {
		_, err := s.c.Cancel(t.Context(), cancelled)
		if err != nil {
			s.again(err)
		}
		return err == nil
	})
	s.wait("the cancel is heard", func() bool {
		op, err := s.c.Operation(t.Context(), cancelled, 0)
		if err != nil {
			s.again(err)
		}
		return op.Status == string(event.Cancelled)
	})
	delete(s.accepted, cancelled)
	s.wait("the others are tried on", tried(10))
	lift(t, pid, unix.RLIMIT_NOFILE)
	s.complete()
	s.s.stop()
	for line := range strings.Lines(s.s.output.String()) {
		if strings.Contains(line, `"operation is tried again"`) && strings.Contains(line, worker.ErrNoProcess.Error()) {
			t.Errorf("it has cost an attempt: %s", line)
		}
	}
	checkDatabase(t, sqliteIn(data))
}

// TestServiceConnectionsRunOut: with more streams asked for than a service may have files, what it has accepted completes as ever,
// children included, nothing lacks a file, and who waited is let in when others go.
func TestServiceConnectionsRunOut(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := startServer(t, servertest.FreeAddress(t), data, []string{moreFiles + "=150"}).ready()
	own := &http.Transport{MaxConnsPerHost: 1}
	defer own.CloseIdleConnections()
	c, err := client.New("http://"+p.address, client.Options{HTTP: &http.Client{Transport: own}})
	if err != nil {
		t.Fatal(err)
	}
	s := &short{t: t, s: p, c: c, accepted: map[string]string{}}
	s.submit(c, markdown("Before", 3000)) // its connection is open
	var crowd []net.Conn
	defer func() {
		for _, stream := range crowd {
			_ = stream.Close()
		}
	}()
	for range 150 {
		stream, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, stream)
		if _, err := fmt.Fprintf(stream, "GET /v1/events HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", p.address); err != nil {
			t.Fatal(err)
		}
	}
	number := func(name string) (value string) {
		resp, err := (&http.Client{Transport: own}).Get("http://" + p.address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if after, ok := strings.CutPrefix(line, name+" "); ok {
				value = strings.TrimSpace(after)
			}
		}
		return value
	}
	most := number("chunkstream_connections_limit")
	if n, err := strconv.Atoi(most); err != nil || n < 50 || n > 100 {
		t.Fatalf("at most %q connections, %v", most, err)
	}
	s.wait("all places are taken", func() bool { return number("chunkstream_connections") == most })
	for i := range 6 {
		for _, child := range servertest.Children(t, p.cmd.Process.Pid) { // a new child needs files
			if err := unix.Kill(child, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
		s.submit(c, markdown(fmt.Sprint("Among many ", i), 3000))
	}
	if len(s.refused) > 0 {
		t.Errorf("%d texts are refused", len(s.refused))
	}
	s.complete()
	if got := number("chunkstream_connections"); got != most {
		t.Errorf("%s connections are open, want %s", got, most)
	}
	late := make(chan error, 1)
	go func() { // waits behind the crowd
		resp, err := http.Get("http://" + p.address + "/healthz")
		if err == nil {
			err = resp.Body.Close()
		}
		late <- err
	}()
	for _, stream := range crowd {
		_ = stream.Close()
	}
	select {
	case err := <-late:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("who waited is not let in")
	}
	if strings.Contains(p.output.String(), "too many open files") {
		t.Error("something lacked a file")
	}
	p.stop()
	checkDatabase(t, sqliteIn(data))
}

// freeFiles is the lowest number that a process has no file under.
func freeFiles(t *testing.T, pid int) (n int) {
	t.Helper()
	all := names(t, fmt.Sprintf("/proc/%d/fd", pid))
	for slices.Contains(all, strconv.Itoa(n)) {
		n++
	}
	return n
}
