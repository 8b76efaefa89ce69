package celery_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/celery"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"

	"go.uber.org/goleak"
)

// asDoor makes the test binary a worker process that dies while it submits: its value is the Redis.
const asDoor = "CHUNKSTREAM_TEST_AS_DOOR"

func TestMain(m *testing.M) {
	if url := os.Getenv(asDoor); url != "" {
		conns, err := redisconn.Open(context.Background(), redisconn.Config{URL: secret.New(url)})
		if err != nil {
			panic(err)
		}
		door, err := celery.New(celery.Config{Commands: conns.Commands, Visibility: visibility,
			Submit: func(ctx context.Context, t celery.Task) (celery.Operation, error) {
				fmt.Println(t.ID)
				select {} // until it is killed
			},
			Look: func(context.Context, map[string]int64) (map[string]celery.State, error) { return nil, nil },
		})
		if err == nil {
			err = door.Run(context.Background())
		}
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	visibility = time.Second
	patience   = 30 * time.Second
)

// producer is a Python process with the real Celery.
type producer struct {
	t  *testing.T
	in io.Writer
	// out has one line for each step.
	out *bufio.Scanner
}

func startProducer(t *testing.T, r *servertest.Redis) *producer {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "testdata/producer.py", r.URL())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the producer: %v (python3-celery and python3-redis are needed)", err)
		}
	})
	return &producer{t, in, bufio.NewScanner(out)}
}

type step map[string]any

// do carries out one step and decodes its answer.
func (p *producer) do(s step, answer any) {
	p.t.Helper()
	line, err := json.Marshal(s)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.in, "%s\n", line); err != nil {
		p.t.Fatal(err)
	}
	if !p.out.Scan() {
		p.t.Fatalf("the producer did not answer %s: %v", line, p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), answer); err != nil {
		p.t.Fatalf("%s: %s: %v", line, p.out.Text(), err)
	}
}

func (p *producer) send(s step) (id string) {
	p.t.Helper()
	s["do"] = "send"
	p.do(s, &id)
	return id
}

// call is a proper task.
func call(id, document string) step {
	return step{"task_id": id, "args": []any{"their-" + id, document, "recursive", map[string]any{"chunk_size": 10}}}
}

// outcome is what AsyncResult.get() returns or raises.
type outcome struct {
	State               string
	Result              celery.Summary
	Type, Module, Words string
}

func (p *producer) get(id string) (o outcome) {
	p.t.Helper()
	p.do(step{"do": "get", "id": id}, &o)
	return o
}

func (p *producer) state(id string) (s string) {
	p.t.Helper()
	p.do(step{"do": "state", "id": id}, &s)
	return s
}

// truth stands for the database: operations by task id.
type truth struct {
	mu      sync.Mutex
	tasks   []celery.Task        // in the order of their first submit
	at      map[string]time.Time // of the first submit
	state   celery.State         // of all operations
	failing error                // of every submit
	submits int
}

func newTruth() *truth {
	return &truth{at: map[string]time.Time{}, state: celery.State{Ended: true, Chunks: 3, Bytes: 23}}
}

func (w *truth) submit(ctx context.Context, t celery.Task) (celery.Operation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.submits++
	if w.failing != nil {
		return celery.Operation{}, w.failing
	}
	if _, again := w.at[t.ID]; !again {
		w.at[t.ID] = time.Now()
		w.tasks = append(w.tasks, t)
	}
	return celery.Operation{ID: "op-" + t.ID, DocumentID: t.DocumentID}, nil
}

func (w *truth) look(_ context.Context, seen map[string]int64) (map[string]celery.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	states := map[string]celery.State{}
	for id, seq := range seen {
		if seq != w.state.Seq || seq == 0 {
			states[id] = w.state
		}
	}
	return states, nil
}

// set changes the state of all operations and the error of all submits.
func (w *truth) set(s celery.State, failing error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Seq = w.state.Seq + 1
	w.state, w.failing = s, failing
}

func (w *truth) ids() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks {
		ids = append(ids, t.ID)
	}
	return ids
}

// serve runs a door until the test ends, or stop is called.
func serve(t *testing.T, r *servertest.Redis, w *truth, change func(*celery.Config)) (stop func()) {
	t.Helper()
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New(r.URL())})
	if err != nil {
		t.Fatal(err)
	}
	c := celery.Config{Commands: conns.Commands, Submit: w.submit, Look: w.look, Visibility: visibility}
	if change != nil {
		change(&c)
	}
	door, err := celery.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- door.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = conns.Close()
	})
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func do(t *testing.T, r *servertest.Redis, words ...string) string {
	t.Helper()
	got, err := r.Do(words...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// empty fails the test unless no record of a message is left.
func empty(t *testing.T, r *servertest.Redis) {
	t.Helper()
	for _, words := range [][]string{{"HLEN", "unacked"}, {"ZCARD", "unacked_index"}, {"LLEN", "celery"}} {
		if got := do(t, r, words...); got != ":0" && got != "0" {
			t.Errorf("%v: got %s, want 0", words, got)
		}
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	p, w := startProducer(t, r), newTruth()
	w.set(celery.State{Started: true}, nil)
	serve(t, r, w, nil)

	id := p.send(call("one", "doc_1"))
	eventually(t, "STARTED", func() bool { return p.state(id) == "STARTED" })
	var info celery.Summary
	p.do(step{"do": "info", "id": id}, &info)
	want := celery.Summary{OperationID: "op-one", RequestID: "their-one", DocumentID: "doc_1"}
	if info != want {
		t.Errorf("info while started: got %+v, want %+v", info, want)
	}
	w.set(celery.State{Ended: true, Chunks: 3, Bytes: 23}, nil)
	want.Chunks, want.Bytes = 3, 23
	if got := p.get(id); got != (outcome{State: "SUCCESS", Result: want}) {
		t.Errorf("success: got %+v", got)
	}
	if got := p.get(p.send(call("one", "doc_1"))); got.Result != want {
		t.Errorf("the same task again: got %+v", got)
	}
	w.mu.Lock()
	task := w.tasks[0]
	w.mu.Unlock()
	if task.Strategy != "recursive" || string(task.Config) != `{"chunk_size": 10}` || task.Text != nil {
		t.Errorf("the task as it came: %+v", task)
	}

	// The end as the producer sees it.
	died := &celery.Refusal{Module: "builtins", Type: "RuntimeError", Problem: "poison: died"}
	w.set(celery.State{Ended: true, Refusal: died}, nil)
	raised := outcome{State: "FAILURE", Type: died.Type, Module: died.Module, Words: died.Problem}
	if got := p.get(p.send(call("bad", "doc_1"))); got != raised {
		t.Errorf("failed operation: got %+v", got)
	}
	w.set(celery.State{Ended: true, Cancelled: true}, nil)
	if got := p.get(p.send(call("gone", "doc_1"))); got.State != "REVOKED" || got.Type != "TaskRevokedError" {
		t.Errorf("cancelled operation: got %+v", got)
	}
	expired := call("late", "doc_1")
	expired["expires_in"] = -1
	if got := p.get(p.send(expired)); got.State != "REVOKED" || slices.Contains(w.ids(), "late") {
		t.Errorf("expired task: got %+v, submitted %v", got, w.ids())
	}

	// A text in Python's own JSON, and a database that is away for a while.
	w.set(celery.State{Ended: true}, errors.New("away"))
	own := step{"task_id": "text", "args": []any{"x"}, "kwargs": map[string]any{"text": "é😀\\ud800 <&>"}}
	p.send(own)
	eventually(t, "two attempts", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.submits > 8 })
	w.set(celery.State{Ended: true}, nil)
	got := p.get("text")
	w.mu.Lock()
	task = w.tasks[len(w.tasks)-1]
	w.mu.Unlock()
	if got.State != "SUCCESS" || task.Text == nil || *task.Text != "é😀\\ud800 <&>" || task.Config != nil {
		t.Errorf("own text: got %+v, %+v", got, task)
	}
	eventually(t, "nothing left", func() bool { return do(t, r, "ZCARD", "unacked_index") == do(t, r, "ZCARD", "none") })
	empty(t, r)
	if ttl := do(t, r, "TTL", "celery-task-meta-one"); strings.TrimPrefix(ttl, ":") < "86390" {
		t.Errorf("time to live of a result: got %s", ttl)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	p, w := startProducer(t, r), newTruth()
	serve(t, r, w, nil)
	kwargs := func(kv ...any) step {
		m := map[string]any{"operation_id": "o", "document_id": "d"}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return step{"kwargs": m}
	}
	for _, c := range []struct {
		name        string
		step        step
		kind, words string
	}{
		{"pickle", step{"serializer": "pickle"}, "ContentDisallowed", "task_serializer"},
		{"compression", step{"compression": "zlib"}, "ContentDisallowed", "task_compression"},
		{"unknown task", step{"name": "webui.send_mail"}, "NotRegistered", "webui.send_mail"},
		{"link", step{"args": []any{"o", "d", "s", nil}, "link": "next"}, "NotImplementedError", "callbacks"},
		{"too many", step{"args": []any{1, 2, 3, 4, 5}}, "TypeError", "takes 4 positional arguments but 5 were given"},
		{"twice", step{"args": []any{"o"}, "kwargs": map[string]any{"operation_id": "o"}}, "TypeError", "multiple values"},
		{"stranger", kwargs("user", 1), "TypeError", `unexpected keyword argument "user"`},
		{"no document", step{"args": []any{"o"}}, "TypeError", "needs either document_id"},
		{"document and text", kwargs("text", "x"), "TypeError", "needs either document_id"},
		{"number as document", kwargs("document_id", 7), "TypeError", "document_id must be a str"},
		{"config list", kwargs("config", []int{1}), "TypeError", "config must be a dict or None"},
	} {
		c.step["task_id"] = c.name
		got := p.get(p.send(c.step))
		if got.State != "FAILURE" || got.Type != c.kind || !strings.Contains(got.Words, c.words) {
			t.Errorf("%s: got %+v, want %s: … %s", c.name, got, c.kind, c.words)
		}
	}

	// What Celery itself does not send.
	body := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	envelope := func(id, extra, body string) string {
		return `{"body":"` + body + `","content-type":"application/json","properties":{"body_encoding":"base64"},` +
			`"headers":{"task":"process_chunking_operation","id":"` + id + `"` + extra + `}}`
	}
	for i, c := range []struct{ extra, body, words string }{
		{"", "%%%", "not base64"},
		{"", body("\xff"), "not UTF-8"},
		{"", body("{"), "[args, kwargs, embed]"},
		{"", body(`[[],{}]`), "[args, kwargs, embed]"},
		{"", body(`[{},{},{}]`), "[args, kwargs, embed]"},
		{"", body(`[["o"],{"text":"\udc00"},{}]`), "surrogate"},
		{"", body(`[["o"],{"text":"\ud83d\ud83d\ude00"},{}]`), "surrogate"},
		{`,"eta":"tomorrow"`, body(`[["o","d"],{},{}]`), "eta is not"},
		{`,"expires":5`, body(`[["o","d"],{},{}]`), "expires is not"},
		{`,"compression":5`, body(`[["o","d"],{},{}]`), "not kombu's JSON"},
	} {
		id := fmt.Sprint("raw", i)
		do(t, r, "LPUSH", "celery", envelope(id, c.extra, c.body))
		if got := p.get(id); got.State != "FAILURE" || !strings.Contains(got.Words, c.words) {
			t.Errorf("%s %s: got %+v, want %s", c.extra, c.body, got, c.words)
		}
	}
	for _, m := range []string{"", "{", "null", "[]", "7", `{"headers":{}}`, `{"headers":null,"body":7}`,
		strings.Repeat("[", 20000)} {
		do(t, r, "LPUSH", "celery", m)
	}
	if got := p.get(p.send(call("still there", "d"))); got.State != "SUCCESS" {
		t.Errorf("after all that: got %+v", got)
	}
	if got := w.ids(); !slices.Equal(got, []string{"still there"}) {
		t.Errorf("submitted: got %q", got)
	}
	eventually(t, "messages put aside", func() bool {
		return strings.TrimPrefix(do(t, r, "LLEN", "chunkstream:celery:broken"), ":") == "8"
	})
	empty(t, r)
}

func TestOrderAndETA(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	p, w := startProducer(t, r), newTruth()
	later := call("later", "d")
	later["eta_in"] = 2.5
	p.send(later)
	sent := time.Now()
	for _, q := range []string{"celery", "second"} {
		for _, priority := range []int{9, 6, 3, 0} {
			s := call(fmt.Sprint(q, priority), "d")
			s["priority"], s["queue"] = priority, q
			p.send(s)
		}
	}
	stop := serve(t, r, w, func(c *celery.Config) { c.Queues, c.InHand = []string{"celery", "second"}, 1 })
	eventually(t, "eight tasks", func() bool { return len(w.ids()) == 8 })
	for i, id := range w.ids() {
		if want := fmt.Sprint([]int{0, 3, 6, 9}[i/2]); !strings.HasSuffix(id, want) {
			t.Errorf("task %d: got %s, want priority %s", i, id, want)
		}
	}
	// What waits for its eta is held by nobody: this process ends, another one comes.
	stop()
	if got := do(t, r, "HLEN", "unacked"); strings.TrimPrefix(got, ":") != "1" {
		t.Errorf("messages recorded while one waits for its eta: got %s", got)
	}
	serve(t, r, w, nil)
	if got := p.get("later"); got.State != "SUCCESS" {
		t.Errorf("with an eta: got %+v", got)
	}
	w.mu.Lock()
	after := w.at["later"].Sub(sent)
	w.mu.Unlock()
	if after < 2400*time.Millisecond {
		t.Errorf("a task with an eta in 2.5 s was begun after %v", after)
	}
	empty(t, r)
}

// A worker process is killed when it has taken a task and before its operation is durable.
func TestKilledBetween(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	p, w := startProducer(t, r), newTruth()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(self)
	victim.Env = append(os.Environ(), asDoor+"="+r.URL())
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	s := call("victim", "d")
	s["priority"] = 6
	p.send(s)
	said, err := bufio.NewReader(out).ReadString('\n')
	if err := errors.Join(err, victim.Process.Kill()); err != nil || said != "victim\n" {
		t.Fatalf("the first process took %q: %v", said, err)
	}
	_ = victim.Wait()
	if got := do(t, r, "LLEN", "celery\x06\x166"); strings.TrimPrefix(got, ":") != "0" {
		t.Fatalf("messages in the queue: got %s, want 0", got)
	}
	// A Python worker holds something for longer, on the same broker: that is none of ours.
	do(t, r, "HSET", "unacked", "theirs", `[{}, "", "other"]`)
	do(t, r, "ZADD", "unacked_index", "1", "theirs")
	serve(t, r, w, nil)
	if got := p.get("victim"); got.State != "SUCCESS" || got.Result.OperationID != "op-victim" {
		t.Errorf("after the kill: got %+v", got)
	}
	if got := w.ids(); !slices.Equal(got, []string{"victim"}) {
		t.Errorf("operations: got %q, want one", got)
	}
	if got := do(t, r, "HKEYS", "unacked"); !strings.HasPrefix(got, "*1") && got != "theirs" {
		t.Errorf("records: got %s, want theirs alone", got)
	}
}

// What we hold and have stopped renewing, a Python worker puts back as its own; what we give back, it could take.
func TestPythonPutsBack(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t)
	p, w := startProducer(t, r), newTruth()
	w.set(celery.State{}, nil)
	var restored bool
	stop := serve(t, r, w, func(c *celery.Config) { c.Visibility = time.Hour })
	for _, priority := range []int{0, 9} {
		s := call(fmt.Sprint("held", priority), "d")
		s["priority"] = priority
		p.send(s)
	}
	eventually(t, "both in hand", func() bool { return len(w.ids()) == 2 })
	p.do(step{"do": "restore"}, &restored)
	eventually(t, "both delivered again", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.submits == 4 })
	stop()
	// Kombu 5.2 puts everything back into the list of priority 0.
	if got := strings.TrimPrefix(do(t, r, "LLEN", "celery"), ":"); got != "2" {
		t.Errorf("messages given back: got %s", got)
	}
	if got := do(t, r, "HLEN", "unacked"); strings.TrimPrefix(got, ":") != "0" {
		t.Errorf("records after the end: got %s", got)
	}
	w.set(celery.State{Ended: true}, nil)
	serve(t, r, w, nil)
	for _, id := range []string{"held0", "held9"} {
		if got := p.get(id); got.State != "SUCCESS" {
			t.Errorf("%s: got %+v", id, got)
		}
	}
	if got := w.ids(); len(got) != 2 {
		t.Errorf("operations: got %q, want two", got)
	}
}

// Redis goes away when states are to be written: they are, when it is back, though the database tells each once.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	r, w := servertest.StartRedis(t), newTruth()
	for _, id := range []string{"runs", "ends"} {
		body := base64.StdEncoding.EncodeToString([]byte(`[["o","d"],{},{}]`))
		do(t, r, "LPUSH", "celery", `{"body":"`+body+`","content-type":"application/json","headers":{"task":"`+celery.TaskName+
			`","id":"`+id+`"},"properties":{"body_encoding":"base64"}}`)
	}
	both := make(chan struct{})
	waiting := both
	serve(t, r, w, func(c *celery.Config) {
		c.Look = func(_ context.Context, seen map[string]int64) (map[string]celery.State, error) {
			states := map[string]celery.State{"op-runs": {Seq: 2, Started: true}, "op-ends": {Seq: 3, Ended: true}}
			if len(seen) == 2 && both != nil {
				r.Freeze()
				close(both)
				both = nil
			}
			for id, s := range states {
				if last, asked := seen[id]; !asked || last == s.Seq {
					delete(states, id)
				}
			}
			return states, nil
		}
	})
	select {
	case <-waiting:
	case <-time.After(patience):
		t.Fatal("two tasks were never in hand together")
	}
	time.Sleep(700 * time.Millisecond) // longer than a command may take: the writing has failed
	r.Thaw()
	for id, want := range map[string]string{"runs": "STARTED", "ends": "SUCCESS"} {
		eventually(t, id+" is "+want, func() bool {
			got, err := r.Do("EXISTS", "celery-task-meta-"+id)
			return err == nil && strings.TrimPrefix(got, ":") == "1"
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New("redis://127.0.0.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conns.Close() }()
	w := newTruth()
	for want, change := range map[string]func(*celery.Config){
		"redisconn":         func(c *celery.Config) { c.Commands = nil },
		"are needed":        func(c *celery.Config) { c.Look = nil },
		"less than a sec":   func(c *celery.Config) { c.Visibility = time.Millisecond },
		"no name of a queu": func(c *celery.Config) { c.Queues = []string{"a\x06\x163"} },
	} {
		c := celery.Config{Commands: conns.Commands, Submit: w.submit, Look: w.look}
		change(&c)
		if _, err := celery.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}
