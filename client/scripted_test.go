package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lxzan/gws"
	"go.uber.org/goleak"

	"chunkstream/client"
	"chunkstream/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a server that plays one list of steps per connection, in order: "3" is durable event 3, "3!" the
// terminal one, "s3" a snapshot that stands at 3, "S3" one of an operation that has ended, "p" progress, "cut" breaks
// the connection, "bye" and "end" close it with 1001 and 1000; "503" and the like refuse it.
type script struct {
	mu    sync.Mutex
	plays [][]string
	since []string // what each connection asked for
}

func (s *script) next(since string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = append(s.since, since)
	if len(s.since) > len(s.plays) {
		return []string{"404"}
	}
	return s.plays[len(s.since)-1]
}

func eventOf(step, id string) event.Event {
	var n int64
	_, _ = fmt.Sscanf(strings.TrimLeft(step, "sS"), "%d", &n) // 0 where there is none
	e := event.Event{OperationID: id, Type: event.Batch, Seq: n, Data: event.Data{Status: "processing"}}
	switch {
	case step == "p":
		e.Type = event.Progress
	case step[0] == 's':
		e.Type, e.Seq, e.Data.Seq = event.Snapshot, 0, n
	case step[0] == 'S':
		e.Type, e.Seq, e.Data.Seq, e.Data.Status = event.Snapshot, 0, n, "completed"
	case strings.HasSuffix(step, "!"):
		e.Type, e.Data.Status = event.Completed, "completed"
	}
	return e
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	since := r.Header.Get("Last-Event-ID") + r.URL.Query().Get("since")
	steps := s.next(since)
	if refused := len(steps[0]) == 3 && steps[0] != "cut" && steps[0] != "bye" && steps[0] != "end"; refused {
		var status int
		_, _ = fmt.Sscan(steps[0], &status) // a script's mistake shows as a panic of WriteHeader
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = fmt.Fprintf(w, `{"status":%d,"code":"as_scripted","detail":"no"}`, status)
		}
		return
	}
	if r.Header.Get("Upgrade") == "" {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, step := range steps {
			switch step {
			case "cut":
				panic(http.ErrAbortHandler)
			case "bye", "end":
				return
			}
			b, _ := json.Marshal(eventOf(step, "op_1"))
			_, _ = fmt.Fprintf(w, ": comment\nevent: x\ndata: %s\n\n", b)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		return
	}
	conn, err := gws.NewUpgrader(&gws.BuiltinEventHandler{}, nil).Upgrade(w, r)
	if err != nil {
		return
	}
	for _, step := range steps {
		switch step {
		case "cut":
			_ = conn.NetConn().Close()
		case "bye":
			_ = conn.WriteClose(1001, nil)
		case "end":
			_ = conn.WriteClose(1000, nil)
		default:
			id, step, all := strings.Cut(step, ":")
			if !all {
				id, step = "op_1", id
			}
			b, _ := json.Marshal(eventOf(step, id))
			_ = conn.WriteMessage(gws.OpcodeText, b)
		}
	}
	conn.ReadLoop()
}

func serve(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	web := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(web.CloseIdleConnections)
	c, err := client.New(server.URL, client.Options{HTTP: web})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// heard writes down what a sequence yields in the words of a script, errors at the end.
func heard(events iter.Seq2[event.Event, error], most int) (all []string) {
	for e, err := range events {
		order, refused := (*client.OrderError)(nil), (*client.Problem)(nil)
		switch {
		case errors.As(err, &order):
			all = append(all, fmt.Sprintf("got %d want %d", order.Got, order.Want))
		case errors.As(err, &refused):
			all = append(all, fmt.Sprintf("%d %s", refused.Status, refused.Code))
		case err != nil:
			all = append(all, "error")
		case e.Type == event.Progress:
			all = append(all, "p")
		case e.Type == event.Snapshot:
			all = append(all, fmt.Sprint("s", e.Data.Seq))
		default:
			all = append(all, fmt.Sprint(e.Seq))
		}
		if len(all) == most {
			break
		}
	}
	return all
}

func TestWatchOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		since int64
		plays [][]string
		want  string
		asked string
	}{
		{"from a snapshot", client.FromNow, [][]string{{"s3", "p", "4", "5!"}}, "s3 p 4 5", " "},
		{"of one that has ended", client.FromNow, [][]string{{"S9"}}, "s9", " "},
		{"all", 0, [][]string{{"1", "2", "3!"}}, "1 2 3", "0"},
		{"from 7", 7, [][]string{{"8", "9!"}}, "8 9", "7"},
		{"past the end", 9, [][]string{{"end"}, {"204"}}, "", "9"},
		{"gap", 0, [][]string{{"1", "3"}}, "1 got 3 want 2", "0"},
		{"duplicate", 0, [][]string{{"1", "1"}}, "1 got 1 want 2", "0"},
		{"reordered", 4, [][]string{{"6", "5"}}, "got 6 want 5", "4"},
		{"durable before a snapshot", client.FromNow, [][]string{{"4"}}, "got 4 want 0", " "},
		{"cut", 0, [][]string{{"1", "2", "cut"}, {"3", "cut"}, {"4!"}}, "1 2 3 4", "0 2 3"},
		{"going away", client.FromNow, [][]string{{"s5", "bye"}, {"503"}, {"6!"}}, "s5 6", " 5 5"},
		{"too many at once", 0, [][]string{{"1", "cut"}, {"429"}, {"2!"}}, "1 2", "0 1 1"},
		{"repeated after a cut", 0, [][]string{{"1", "cut"}, {"1"}}, "1 got 1 want 2", "0 1"},
		{"lost after a cut", 0, [][]string{{"1", "cut"}, {"3"}}, "1 got 3 want 2", "0 1"},
		{"gone after a cut", 0, [][]string{{"1", "cut"}, {"404"}}, "1 404 as_scripted", "0 1"},
		{"refused", 0, [][]string{{"401"}}, "401 as_scripted", "0"},
		{"busy at first", 0, [][]string{{"503"}}, "503 as_scripted", "0"},
		{"too many at first", 0, [][]string{{"429"}}, "429 as_scripted", "0"},
	} {
		for _, transport := range []string{"WebSocket", "SSE"} {
			t.Run(c.name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				s := &script{plays: c.plays}
				if c.plays[0][0] == "end" && transport == "SSE" {
					s.plays = c.plays[1:]
				}
				watched := serve(t, s)
				watch := watched.Watch
				if transport == "SSE" {
					watch = watched.WatchSSE
				}
				if got := strings.Join(heard(watch(t.Context(), "op_1", c.since), -1), " "); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if got := strings.Join(s.since, " "); strings.TrimSpace(got) != strings.TrimSpace(c.asked) {
					t.Errorf("asked for %q, want %q", got, c.asked)
				}
			})
		}
	}
}

func TestWatchStops(t *testing.T) {
	for _, transport := range []string{"WebSocket", "SSE"} {
		t.Run(transport, func(t *testing.T) {
			c := serve(t, &script{plays: [][]string{{"1", "2", "3"}, {"1", "2", "3"}}})
			watch := c.Watch
			if transport == "SSE" {
				watch = c.WatchSSE
			}
			if got := heard(watch(t.Context(), "op_1", 0), 2); len(got) != 2 {
				t.Errorf("broken off after 2: got %v", got)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			because := errors.New("because")
			n, last := 0, error(nil)
			for _, err := range watch(ctx, "op_1", 0) {
				if n++; n == 3 {
					cancel(because)
				}
				last = err
			}
			if n != 4 || last != because {
				t.Errorf("cancelled after 3: got %d elements, the last with %v, want 4 with the cause", n, last)
			}
		})
	}
}

func TestWatchNobodyThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := heard(c.Watch(t.Context(), "op_1", 0), -1); !slices.Equal(got, []string{"error"}) {
		t.Errorf("got %q, want one error", got)
	}
}

// TestWatchAllReconnect: what ended while nobody was connected is told, once, and nothing after it.
func TestWatchAllReconnect(t *testing.T) {
	s := &script{plays: [][]string{
		{"op_1:s2", "op_2:s7", "op_1:3", "op_3:1", "op_4:1", "op_4:2!", "cut"},
		// Meanwhile op_1 ended at 5, op_2 did not move, op_3 went on to 4. The stream still tells of op_1.
		{"op_1:s4", "op_2:s7", "op_3:s4", "op_1:5!", "op_3:5", "op_2:8!"},
	}}
	mux := http.NewServeMux()
	mux.Handle("/v1/ws", s)
	for id, state := range map[string]string{
		"op_1": `"completed","seq":5`, "op_2": `"processing","seq":7`, "op_3": `"processing","seq":4`,
	} {
		mux.HandleFunc("/v1/operations/"+id, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"id":%q,"status":%s}`, id, state)
		})
	}
	c := serve(t, mux)
	var got []string
	for e, err := range c.WatchAll(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		kind := ""
		if !e.Type.Durable() {
			kind = "s"
		}
		got = append(got, fmt.Sprintf("%s:%s%d", e.OperationID, kind, max(e.Seq, e.Data.Seq)))
		if e.Seq == 8 {
			break
		}
	}
	want := "op_1:s2 op_2:s7 op_1:3 op_3:1 op_4:1 op_4:2 op_1:s5 op_3:s4 op_3:5 op_2:8"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

// A first socket and a first request may begin at once, although a transport fills in its settings at the first request.
func TestFirstRequests(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for range 20 {
		transport := &http.Transport{}
		c, err := client.New(server.URL, client.Options{HTTP: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := c.Operation(t.Context(), "op_x", 0); err == nil {
				t.Error("got an operation of nothing")
			}
		})
		for _, err := range c.Watch(t.Context(), "op_x", 0) {
			if err == nil {
				t.Error("got an event of nothing")
			}
		}
		both.Wait()
		transport.CloseIdleConnections()
	}
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:8484", "ftp://x", "http://", "http://x?y=1", "http://x#y", ":"} {
		if _, err := client.New(base, client.Options{}); err == nil {
			t.Errorf("New(%q): got no error", base)
		}
	}
}

func TestProblem(t *testing.T) {
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>upstream\n"))
	}))
	_, err := c.Cancel(t.Context(), "op_1")
	p := (*client.Problem)(nil)
	if !errors.As(err, &p) || p.Status != 502 || p.Detail != "<html>upstream" || p.Code != "" {
		t.Errorf("a proxy's answer: got %#v, want a Problem of status 502 with its words", err)
	}
}
