package main

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/servertest"
	"chunkstream/token"
)

// TestMainJob is the product's main job: 5 MB of real text over HTTP, cut by a worker, watched on a WebSocket and on
// SSE while the server is killed and started again, and read back byte for byte.
func TestMainJob(t *testing.T) {
	t.Parallel()
	text := realText(t, 5<<20)
	address, data := servertest.FreeAddress(t), t.TempDir()
	s := startServer(t, address, data, nil, "--lease", "500ms").ready()
	c := s.client()
	op, err := c.Submit(t.Context(), client.Submission{Text: strings.NewReader(text), Name: "go.txt",
		Settings: url.Values{"chunk_size": {fmt.Sprint(100 * slowdown)}}})
	if err != nil {
		t.Fatal(err)
	}
	var watching sync.WaitGroup
	seen := make([][]event.Event, 4)
	moved := make(chan struct{}, 1)
	for i, watch := range []func(context.Context, string, int64) iter.Seq2[event.Event, error]{
		c.Watch, c.WatchSSE, c.Watch, c.WatchSSE,
	} {
		watching.Go(func() {
			since := int64(0)
			if i >= 2 {
				since = client.FromNow
			}
			for e, err := range watch(t.Context(), op.ID, since) {
				if err != nil {
					t.Errorf("watcher %d: %v", i, err)
					return
				}
				if e.Type.Durable() {
					seen[i] = append(seen[i], e)
				}
				if e.Type == event.Batch {
					select {
					case moved <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	<-moved
	s.kill()
	killed := time.Now()
	s = startServer(t, address, data, nil, "--lease", "500ms").ready()
	watching.Wait()
	t.Logf("ended %v after the kill", time.Since(killed).Round(time.Millisecond))
	if t.Failed() {
		t.FailNow() // a watcher that gave up has not seen what the others are held against
	}
	op, err = c.Operation(t.Context(), op.ID, 0)
	if err != nil || op.Status != "completed" || op.BytesDone != int64(len(text)) {
		t.Fatalf("%+v, %v", op, err)
	}
	checkChunks(t, c, op, text)
	s.stop()
	db := checkDatabase(t, sqliteIn(data))
	for i := range seen {
		if i >= 2 && len(seen[i]) > 0 { // what came before its snapshot is not its to see
			for seq := seen[i][0].Seq - 1; seq >= 1; seq-- {
				seen[i] = append([]event.Event{seen[0][seq-1]}, seen[i]...)
			}
		}
		checkEvents(t, db, op.ID, seen[i])
	}
}

// TestIsolated: with all texts cut in child processes, real source code comes back as it is cut in this one, and the
// children go with the server.
func TestIsolated(t *testing.T) {
	t.Parallel()
	text := realText(t, 256<<10)
	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil, "--isolate", "all").ready()
	c := s.client()
	for _, strategy := range []string{"code", "markdown", "recursive"} {
		op, err := c.Submit(t.Context(), client.Submission{Text: strings.NewReader(text), Strategy: strategy})
		if err == nil {
			op, err = c.Operation(t.Context(), op.ID, time.Minute)
		}
		if err != nil || op.Status != "completed" {
			t.Fatalf("%s: %+v, %v", strategy, op, err)
		}
		checkChunks(t, c, op, text)
	}
	s.finish()
}

// TestStopHandsOver: SIGTERM in the middle of work ends the process in time, and a successor goes on at once, without
// waiting for the lease.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	text := realText(t, 4<<20/slowdown)
	address, data := servertest.FreeAddress(t), t.TempDir()
	s := startServer(t, address, data, nil, "--lease", "1h").ready()
	op, err := s.client().Submit(t.Context(), client.Submission{Text: strings.NewReader(text),
		Settings: url.Values{"chunk_size": {"30"}}})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.client().Watch(t.Context(), op.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == event.Batch {
			break
		}
	}
	if took := s.stop(); took > 10*time.Second {
		t.Errorf("stopping took %v, want at most 10 s", took)
	}
	stopped := time.Now()
	s = startServer(t, address, data, nil, "--lease", "1h").ready()
	var last event.Event
	var handedOver, resumed time.Time
	for e, err := range s.client().Watch(t.Context(), op.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Type == event.HandedOver:
			handedOver = e.Time.Time
		case e.Type == event.Started && e.Data.Attempt == 2:
			resumed = e.Time.Time
		}
		last = e
	}
	if last.Type != event.Completed || handedOver.IsZero() || resumed.IsZero() {
		t.Fatalf("ended as %s; handed over %v, resumed %v", last.Type, handedOver, resumed)
	}
	t.Logf("resumed %v after the old process had ended", resumed.Sub(stopped).Round(time.Millisecond))
	op, err = s.client().Operation(t.Context(), op.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	checkChunks(t, s.client(), op, text)
	s.stop()
	checkDatabase(t, sqliteIn(data))
}

// TestSampleIsChunked: a first start has something to show, a second does not make it again.
func TestSampleIsChunked(t *testing.T) {
	t.Parallel()
	address, data := servertest.FreeAddress(t), t.TempDir()
	for range 2 {
		s := startServer(t, address, data, nil).ready()
		var ops []client.Operation
		for op, err := range s.client().Operations(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			op, err = s.client().Operation(t.Context(), op.ID, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, op)
		}
		if len(ops) != 1 || ops[0].Status != "completed" || ops[0].Chunks < 2 {
			t.Fatalf("%+v", ops)
		}
		if out := s.output.String(); !strings.Contains(out, "/operations/"+ops[0].ID+"\n") ||
			!strings.Contains(out, "http://"+address) {
			t.Errorf("the start said\n%s", out)
		}
		checkChunks(t, s.client(), ops[0], sampleText)
		s.finish()
	}
}

// TestTokens: the service counts as the models do; the settings say by which vocabulary.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil).ready()
	text := realText(t, 100<<10)
	op, err := s.client().Submit(t.Context(), client.Submission{Text: strings.NewReader(text), Wait: 30 * time.Second,
		Settings: url.Values{"unit": {"tokens"}, "chunk_size": {"64"}, "tokenizer": {"cl100k_base"}}})
	if err != nil || op.Status != "completed" {
		t.Fatalf("%+v, %v", op, err)
	}
	cl100k, err := token.Get("cl100k_base")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for c, err := range s.client().Chunks(t.Context(), op.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if n := cl100k.Count(c.Text); n > 64 || c.Text != text[c.StartByte:c.EndByte] || int(c.StartByte) < at {
			t.Fatalf("chunk %d at %d has %d tokens", c.Index, c.StartByte, n)
		}
		at = int(c.EndByte)
	}
	s.finish()
}

// TestRefusesToStart: what is wrong, the way out, exit code 2.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	taken := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil).ready()
	for name, c := range map[string]struct {
		env  []string
		args []string
		says string
	}{
		"network without a key": {nil, []string{"--listen", "0.0.0.0:0"}, "CHUNKSTREAM_API_KEY"},
		"all addresses":         {nil, []string{"--listen", ":0"}, "CHUNKSTREAM_API_KEY"},
		"short key":             {[]string{"CHUNKSTREAM_API_KEY=short"}, []string{"--listen", ":0"}, "16"},
		"address taken":         {nil, []string{"--listen", taken.address}, "127.0.0.1:0"},
		"no address":            {nil, []string{"--listen", "nonsense"}, "--listen"},
		"redis address":         {nil, []string{"--listen", "127.0.0.1:0", "--redis", "nonsense://x"}, "--redis redis://"},
		"lease":                 {nil, []string{"--lease", "1ms"}, "--lease"},
		"unknown flag":          {nil, []string{"--lisen", ":1"}, "--listen"},
		"data is a file":        {nil, []string{"--listen", "127.0.0.1:0", "--data", "/dev/null"}, "--data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), taken.cmd.Path, append([]string{"serve", "--data", t.TempDir()}, c.args...)...)
			cmd.Env = append(append(taken.cmd.Environ(), asProgram+"=1"), c.env...)
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), c.says) {
				t.Errorf("%v, want exit code %d and %q in\n%s", err, exitUsage, c.says, out)
			}
		})
	}
}

// TestKeyOnANetwork: with a key, any address is fine, and nothing is answered without it.
func TestKeyOnANetwork(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef0123456789abcdef"
	_, port, _ := strings.Cut(servertest.FreeAddress(t), ":")
	s := startServer(t, "0.0.0.0:"+port, t.TempDir(), []string{"CHUNKSTREAM_API_KEY=" + key}).ready()
	if strings.Contains(s.output.String(), key) {
		t.Error("the key was printed")
	}
	for name, c := range map[string]struct{ key, want string }{
		"none":  {"", "unauthorized"},
		"wrong": {strings.Repeat("x", 32), "unauthorized"},
		"right": {key, ""},
	} {
		cl, err := client.New("http://127.0.0.1:"+port, client.Options{APIKey: c.key})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		op, err := cl.Submit(ctx, client.Submission{Text: strings.NewReader("some text"), Wait: 10 * time.Second})
		if got := refusal(err); got != c.want {
			t.Errorf("%s key: submit: %v", name, err)
		}
		if c.want != "" {
			op.ID = "op_x"
		}
		for kind, watch := range map[string]iter.Seq2[event.Event, error]{
			"socket": cl.Watch(ctx, op.ID, 0), "sse": cl.WatchSSE(ctx, op.ID, 0), "all": cl.WatchAll(ctx),
		} {
			if kind == "all" && c.want == "" {
				continue // it has no end
			}
			for _, err := range watch {
				if got := refusal(err); got != c.want {
					t.Errorf("%s key: %s: %v", name, kind, err)
				}
			}
		}
		cancel()
	}
	s.finish()
}

// refusal says why a request was refused: "unauthorized" for a 401, the error's own words for another, "" for none.
func refusal(err error) string {
	if err == nil {
		return ""
	}
	var p *client.Problem
	if ok := asProblem(err, &p); ok && p.Status == 401 {
		return "unauthorized"
	}
	if strings.Contains(err.Error(), "401") {
		return "unauthorized"
	}
	return fmt.Sprint(err)
}
