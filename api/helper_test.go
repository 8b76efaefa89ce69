package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/dispatch"
	"chunkstream/live"
	"chunkstream/store"
	"chunkstream/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is the whole service as cmd wires it, on a real listener.
type server struct {
	t     *testing.T
	path  string // of the database
	url   string
	api   *api.API
	store *store.Store
	hub   *live.Hub
	log   *logBuffer
	base  context.Context
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start runs a service with a worker; idle runs one without, in which nothing is ever processed.
func start(t *testing.T, change ...func(*api.Config)) *server { return serve(t, true, change...) }
func idle(t *testing.T, change ...func(*api.Config)) *server  { return serve(t, false, change...) }

// emptyDatabase is the file of a database that was made and migrated once, for all tests: to migrate takes longer than most of them.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "chunkstream-api-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "empty.db")
	st, err := store.Open(context.Background(), store.Config{Path: path})
	if err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func serve(t *testing.T, working bool, change ...func(*api.Config)) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	empty, err := emptyDatabase()
	if err == nil {
		err = os.WriteFile(path, empty, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	hub := live.NewHub(api.LiveSource(st), live.Config{
		Ended: func(ctx context.Context, sessions []any) ([]bool, error) {
			var all []store.Standing
			for _, one := range sessions {
				all = append(all, one.(store.Standing))
			}
			return st.Blocked(ctx, all)
		},
		Missing: func(err error) bool { return errors.Is(err, store.ErrNotFound) },
	})
	bells := &dispatch.Memory{}
	logs := &logBuffer{}
	cfg := api.Config{
		Store: st, Hub: hub, Publish: hub.Publish, Gate: auth.Open(), Loopback: true, Version: "test",
		Wake:    func(l store.Lane, id string) { bells.Wake(string(l), id) },
		Metrics: prometheus.NewRegistry(),
		Ready:   func(context.Context) api.Readiness { return api.Readiness{OK: true} },
		Log:     slog.New(slog.NewTextHandler(logs, nil)),
	}
	w, err := worker.New(worker.Config{
		Store: st, Publish: hub.Publish, Woken: func(l store.Lane) <-chan struct{} { return bells.Woken(string(l)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Reserve = w.Reserve
	for _, f := range change {
		f(&cfg)
	}
	handler, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	if working {
		running.Go(func() { _ = w.Run(ctx) })
	}
	s := httptest.NewUnstartedServer(nil)
	s.Config = api.Server(handler, cfg.Log)
	s.Start()
	t.Cleanup(func() {
		handler.Drain()
		stop, done := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer done()
		if err := hub.Stop(stop); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		s.Close()
		cancel()
		running.Wait()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return &server{t: t, path: path, url: s.URL, api: handler, store: st, hub: hub, log: logs, base: t.Context()}
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("not a JSON object: %v: %.200q", err, a.body)
	}
	return m
}

func (a answer) str(t *testing.T, field string) string {
	t.Helper()
	s, _ := a.json(t)[field].(string)
	return s
}

// do sends a request; headers are "Name: value".
func (s *server) do(method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.base, 2*time.Minute) // 64 MiB in small pieces take a while under the race detector
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, b}
}

func (s *server) get(path string, headers ...string) answer {
	s.t.Helper()
	return s.do("GET", path, nil, headers...)
}

func (s *server) post(path, body string, headers ...string) answer {
	s.t.Helper()
	return s.do("POST", path, strings.NewReader(body), headers...)
}

// submit sends a raw text and gives the operation, which must have been accepted.
func (s *server) submit(query, text string) map[string]any {
	s.t.Helper()
	a := s.post("/v1/operations"+query, text)
	if a.status != http.StatusAccepted {
		s.t.Fatalf("submit%s: got %d %s, want 202", query, a.status, a.body)
	}
	return a.json(s.t)
}

// exchange sends bytes as they are on a connection of their own and reads the first answer.
func (s *server) exchange(raw string) answer {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		s.t.Fatal(err)
	}
	return readAnswer(s.t, c)
}

func (s *server) dial() net.Conn {
	s.t.Helper()
	c, err := new(net.Dialer).DialContext(s.base, "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func readAnswer(t *testing.T, c io.Reader) answer {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, b}
}

// wantProblem checks that a is a whole problem with the given status and code.
func wantProblem(t *testing.T, what string, a answer, status int, code string) map[string]any {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: got status %d %.300s, want %d %s", what, a.status, a.body, status, code)
		return nil
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%s: got Content-Type %q, want application/problem+json", what, got)
	}
	var p map[string]any
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Errorf("%s: got %.200q, want JSON", what, a.body)
		return nil
	}
	if p["code"] != code {
		t.Errorf("%s: got code %v (%v), want %s", what, p["code"], p["detail"], code)
	}
	for _, field := range []string{"type", "title", "detail", "request_id"} {
		if s, _ := p[field].(string); s == "" {
			t.Errorf("%s: problem has no %s: %s", what, field, a.body)
		}
	}
	if p["status"] != float64(status) || p["type"] != "/errors/"+code {
		t.Errorf("%s: got status %v type %v, want %d and the code", what, p["status"], p["type"], status)
	}
	if p["request_id"] != a.header.Get("X-Request-Id") {
		t.Errorf("%s: request_id %v differs from the header %q", what, p["request_id"], a.header.Get("X-Request-Id"))
	}
	return p
}
