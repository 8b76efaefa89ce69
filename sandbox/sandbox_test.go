package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chunkstream/chunk"
	"chunkstream/sandbox"
	"chunkstream/servertest"
)

// TestMain makes the test binary a child when it is started as one, with strategies that no program should have.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == sandbox.Argument {
		memory, err := strconv.ParseInt(os.Args[2], 10, 64)
		if err == nil {
			err = sandbox.Serve(os.Stdin, os.Stdout, memory, parse)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// parse is chunk.Parse and the strategy hostile, which does to its process what the text tells it to.
func parse(strategy string, settings []byte) (chunk.Plan, error) {
	if strategy == "hostile" {
		return chunk.Plan{Strategy: strategy, Settings: []byte("{}"), Splitter: hostile{}}, nil
	}
	return chunk.Parse(strategy, settings)
}

type hostile struct{}

// Split yields 16 bytes of the text at a time, when it does not misbehave.
func (hostile) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		switch word, _, _ := strings.Cut(text, " "); word {
		case "spin":
			for n := 0; n >= 0; n++ {
				if n == 1<<62 {
					return
				}
			}
		case "hang":
			<-make(chan struct{})
		case "eat":
			for b := []byte("x"); ; {
				b = append(b, b...)
				if len(b) == 0 {
					return
				}
			}
		case "dig":
			if dig(len(text)) == 0 {
				return
			}
		case "fatal":
			m := map[int]int{}
			for range 8 {
				go func() {
					for {
						m[1]++
					}
				}()
			}
			<-make(chan struct{})
		case "exit":
			os.Exit(0)
		case "panic":
			panic("a strategy's own")
		case "flood":
			for i := 0; ; i = (i + 1) % len(text) {
				if !yield(chunk.Chunk{Span: chunk.Span{Start: i, End: i + 1}}) {
					return
				}
			}
		case "wrong":
			yield(chunk.Chunk{Span: chunk.Span{Start: -5, End: len(text) + 5}})
		case "short":
			yield(chunk.Chunk{Span: chunk.Span{Start: 0, End: 3}})
			return
		case "look":
			if fault := look(); fault != "" {
				panic(fault)
			}
		}
		for at := 0; at < len(text); at += 16 {
			if !yield(chunk.Chunk{Span: chunk.Span{Start: at, End: min(at+16, len(text))}}) {
				return
			}
		}
	}
}

// dig calls itself until the stack is too deep; no text is long enough for the end.
func dig(n int) int {
	if n == 1<<62 {
		return n
	}
	return dig(n+1) + 1
}

// look tries what a child must not be able to do, and says what it could.
func look() string {
	if len(os.Environ()) > 0 {
		return "it has an environment"
	}
	if _, err := os.ReadFile("/etc/passwd"); err == nil {
		return "it can read files"
	}
	if os.WriteFile("x", []byte("x"), 0o600) == nil {
		return "it can write files"
	}
	if os.Mkdir("x", 0o700) == nil { // which needs no descriptor
		return "it can make folders where it is"
	}
	if c, err := net.Dial("tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "too many open files") {
		return fmt.Sprintf("it can have sockets: %v %v", c, err)
	}
	if p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{}); err == nil {
		return fmt.Sprintf("it can start programs: %d", p.Pid)
	}
	return ""
}

func pool(t testing.TB, cfg sandbox.Config) *sandbox.Pool {
	t.Helper()
	p := sandbox.New(cfg)
	t.Cleanup(p.Close)
	return p
}

// logged shows a test's log if it fails.
func logged(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func plan(t testing.TB, strategy, settings string) chunk.Plan {
	t.Helper()
	p, err := parse(strategy, []byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func all(seq iter.Seq2[chunk.Chunk, error]) (chunks []chunk.Chunk, err error) {
	for c, err := range seq {
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// written shows chunks with the whole of their context, so that two lists can be compared.
func written(chunks []chunk.Chunk) string {
	var b strings.Builder
	for _, c := range chunks {
		fmt.Fprintf(&b, "%v %v %v %v %d %d", c.Span, c.Boundary, c.Reason, c.Kind, c.Level, c.Up)
		for x := c.Context; x != nil; x = x.Up {
			fmt.Fprintf(&b, " < %v %d %v %q", x.Kind, x.Level, x.Span, x.Text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// documents are this repository's own, one of each kind that has structure.
func documents(t testing.TB) map[string]string {
	t.Helper()
	texts := map[string]string{"nothing": "", "space": " \n ", "prose": strings.Repeat("Words, and 日本語. ", 5000),
		"html": "<html><body>" + strings.Repeat("<h1>A</h1><div><h2>B</h2><p>Some text.</p><table><tr><th>k<tr><td>v</table></div>", 300)}
	for _, file := range []string{"../docs/api.md", "../store/run.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = string(b)
	}
	return texts
}

// TestSameChunks: a child gives what the strategy gives here, to the last piece of context.
func TestSameChunks(t *testing.T) {
	p := pool(t, sandbox.Config{})
	for _, info := range chunk.Strategies() {
		settings := `{"chunk_size":200}`
		if info.Name == "sliding_window" {
			settings = `{"window":200}`
		}
		plan := plan(t, info.Name, settings)
		for name, text := range documents(t) {
			want, err := all(chunk.Guard(plan.Strategy, plan.Splitter, text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := all(p.Split(t.Context(), plan, text, 0))
			if err != nil || written(got) != written(want) {
				t.Errorf("%s of %s: %d chunks, %v, want the %d that it gives in this process", info.Name, name, len(got), err, len(want))
			}
			if len(want) > 3 {
				got, err := all(p.Split(t.Context(), plan, text, 3))
				if err != nil || written(got) != written(want[:3]) {
					t.Errorf("%s of %s, the first three: %d chunks, %v", info.Name, name, len(got), err)
				}
			}
		}
	}
}

// TestHostile: each way to misbehave ends with its own code, and the texts after it are cut as if nothing had been.
func TestHostile(t *testing.T) {
	patient := pool(t, sandbox.Config{Processes: 2, Output: 1 << 20, Log: logged(t)})
	short := pool(t, sandbox.Config{Processes: 2, Time: time.Second, Log: logged(t)})
	plan := plan(t, "hostile", "")
	good := strings.Repeat("a good text of some length, ", 100)
	for word, want := range map[string]string{
		"spin": sandbox.Timeout, "hang": sandbox.Timeout, "eat": sandbox.Memory, "dig": sandbox.Crashed + " or " + sandbox.Memory, // its stack may come to either limit first
		"fatal": sandbox.Crashed,
		"exit":  sandbox.Crashed, "flood": "split", "wrong": "split", "short": "split", "panic": "split", "look": "",
	} {
		p := patient
		if want == sandbox.Timeout {
			p = short
		}
		_, err := all(p.Split(t.Context(), plan, word+" and the rest", 0))
		var died *sandbox.Error
		var split *chunk.SplitError
		got := ""
		switch {
		case errors.As(err, &died):
			got = died.Code
		case errors.As(err, &split):
			got = "split"
		case err != nil:
			got = err.Error()
		}
		if !slices.Contains(strings.Split(want, " or "), got) {
			t.Errorf("%s: %v, want %q", word, err, want)
		}
		if chunks, err := all(patient.Split(t.Context(), plan, good, 0)); err != nil || len(chunks) != (len(good)+15)/16 {
			t.Errorf("after %s a good text gives %d chunks, %v", word, len(chunks), err)
		}
	}
}

// TestNoFolder: a child needs no folder, so a parent that is killed at any moment cannot leave one.
func TestNoFolder(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	p := pool(t, sandbox.Config{Processes: 1, Log: logged(t)})
	if chunks, err := all(p.Split(t.Context(), plan(t, "hostile", ""), "a good text", 0)); err != nil || len(chunks) != 1 {
		t.Errorf("%d chunks, %v, where temporary files have no place", len(chunks), err)
	}
}

// TestOutput: what keeps the contract can still be too much.
func TestOutput(t *testing.T) {
	p := pool(t, sandbox.Config{Output: 2000})
	_, err := all(p.Split(t.Context(), plan(t, "hostile", ""), strings.Repeat("sixteen bytes, 1", 5000), 0))
	if died, ok := errors.AsType[*sandbox.Error](err); !ok || died.Code != sandbox.Output {
		t.Errorf("%v, want %s", err, sandbox.Output)
	}
}

// TestCancel: an ended context ends the child that hangs, and is the error.
func TestCancel(t *testing.T) {
	p := pool(t, sandbox.Config{Processes: 1})
	plan := plan(t, "hostile", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := all(p.Split(ctx, chunk.Plan{Strategy: "hostile", Settings: []byte("{}"), Splitter: hostile{}}, "hang up", 0))
		done <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); len(servertest.Children(t, os.Getpid())) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no child was started")
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	// Its only slot is free again, and whoever waits for one can be cancelled too.
	if _, err := all(p.Split(t.Context(), plan, "a text", 0)); err != nil {
		t.Error(err)
	}
	p.Close()
	if _, err := all(p.Split(t.Context(), plan, "a text", 0)); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("%v, want %v", err, sandbox.ErrClosed)
	}
}

// TestIdleChildKilled: a child that somebody else killed while it waited is nobody's fault.
func TestIdleChildKilled(t *testing.T) {
	p := pool(t, sandbox.Config{Processes: 1})
	plan := plan(t, "hostile", "")
	for range 3 {
		if _, err := all(p.Split(t.Context(), plan, "a text", 0)); err != nil {
			t.Fatal(err)
		}
		for _, pid := range servertest.Children(t, os.Getpid()) {
			if child, err := os.FindProcess(pid); err != nil || child.Kill() != nil {
				t.Fatal("the idle child could not be killed")
			}
		}
	}
}

// TestUnavailable: without a program to start, the error does not blame the text.
func TestUnavailable(t *testing.T) {
	p := pool(t, sandbox.Config{Command: []string{"/nonexistent"}})
	if _, err := all(p.Split(t.Context(), plan(t, "hostile", ""), "a text", 0)); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("%v, want %v", err, sandbox.ErrUnavailable)
	}
}

// TestProtection says what holds on this machine.
func TestProtection(t *testing.T) {
	words, err := pool(t, sandbox.Config{}).Protection(t.Context())
	if err != nil || !strings.Contains(words, "limits") {
		t.Fatalf("%q, %v", words, err)
	}
	t.Log(words)
}

// TestManyAtOnce: callers beyond the number of children wait their turn.
func TestManyAtOnce(t *testing.T) {
	p := pool(t, sandbox.Config{Processes: 2, Texts: 3})
	plan := plan(t, "markdown", `{"chunk_size":300}`)
	text := documents(t)["api.md"]
	want, err := all(chunk.Guard(plan.Strategy, plan.Splitter, text))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := all(p.Split(t.Context(), plan, text, 0))
			if err != nil || !slices.EqualFunc(got, want, func(a, b chunk.Chunk) bool { return a.Span == b.Span }) {
				t.Errorf("%d chunks, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkSplit: what a child costs, beside no child and a new one for each text. The figures are in the decision.
func BenchmarkSplit(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10, 5 << 20} {
		text := strings.Repeat("# A heading\n\nSome words make a paragraph of it.\n\n- a list\n- of items\n\n", size/70+1)[:size]
		plan := plan(b, "markdown", "")
		for name, cfg := range map[string]*sandbox.Config{"here": nil, "pooled": {}, "fresh": {Texts: 1}} {
			b.Run(fmt.Sprintf("%dKB/%s", size>>10, name), func(b *testing.B) {
				split := func() error {
					_, err := all(chunk.Guard(plan.Strategy, plan.Splitter, text))
					return err
				}
				if cfg != nil {
					p := pool(b, *cfg)
					split = func() error {
						_, err := all(p.Split(b.Context(), plan, text, 0))
						return err
					}
				}
				b.SetBytes(int64(size))
				for b.Loop() {
					if err := split(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
