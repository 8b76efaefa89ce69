package live_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"

	"github.com/lxzan/gws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errNotFound = errors.New("no such operation")
	errBroken   = errors.New("the database is on fire")
)

// journal is the truth the hub reads: an ordered log for each operation, as SQL would hold it.
type journal struct {
	mu         sync.Mutex
	operations map[string]*history
	order      []string
	broken     bool             // every read fails
	activeCap  int              // how many operations Active returns; 0 means all
	forgotten  map[string]int64 // events up to this number cannot be read any more
	onRead     func()           // called once, without the lock, after a state was read and before it is returned
	states     int              // reads of Snapshot and Active
}

type history struct {
	owner  string
	events []event.Event
	ended  time.Time
}

func newJournal() *journal {
	return &journal{operations: map[string]*history{}, forgotten: map[string]int64{}}
}

// commit appends the operation's next event. Its data follow from its number: ten bytes an event, of a thousand.
func (j *journal) commit(owner, id string, kind event.Type) event.Owned {
	return j.commitSized(owner, id, kind, 0)
}

// commitSized makes the event at least padding bytes long.
func (j *journal) commitSized(owner, id string, kind event.Type, padding int) event.Owned {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := j.operations[id]
	if h == nil {
		h = &history{owner: owner}
		j.operations[id] = h
		j.order = append(j.order, id)
	}
	n := int64(len(h.events) + 1)
	d := event.Data{Status: "processing", Attempt: 1, BytesDone: 10 * n, BytesTotal: 1000, Chunks: n}
	switch {
	case kind == event.Queued:
		d.Status, d.Attempt = "queued", 0
	case kind.Terminal():
		d.Status = string(kind)
		h.ended = time.Now()
	}
	if padding > 0 {
		d.Error = &event.Failure{Code: "padding", Detail: strings.Repeat("x", padding)}
	}
	e := event.Event{Seq: n, Type: kind, OperationID: id, Time: event.Time{Time: time.Now()}, Data: d}
	h.events = append(h.events, e)
	return event.Owned{Owner: owner, Event: e}
}

func (j *journal) setBroken(b bool) {
	j.mu.Lock()
	j.broken = b
	j.mu.Unlock()
}

// takeHook returns onRead for the first one who asks. j.mu is held.
func (j *journal) takeHook() func() {
	if hook := j.onRead; hook != nil {
		j.onRead = nil
		return hook
	}
	return func() {}
}

func (h *history) snapshot(id string) event.Event {
	last := h.events[len(h.events)-1]
	d := last.Data
	d.Seq = last.Seq
	return event.Event{Type: event.Snapshot, OperationID: id, Time: last.Time, Data: d}
}

func (j *journal) source() live.Source {
	return live.Source{
		Events: func(_ context.Context, owner, id string, after int64, limit int) ([]event.Event, error) {
			j.mu.Lock()
			defer j.mu.Unlock()
			h := j.operations[id]
			switch {
			case j.broken:
				return nil, errBroken
			case h == nil || h.owner != owner:
				return nil, errNotFound
			}
			after = max(after, j.forgotten[id])
			if after >= int64(len(h.events)) {
				return nil, nil
			}
			rest := h.events[after:]
			return slices.Clone(rest[:min(limit, len(rest))]), nil
		},
		Snapshot: func(ctx context.Context, owner, id string) (event.Event, error) {
			j.mu.Lock()
			j.states++
			hook := j.takeHook()
			h := j.operations[id]
			broken := j.broken
			found := h != nil && h.owner == owner
			var e event.Event
			if found {
				e = h.snapshot(id)
			}
			j.mu.Unlock()
			switch {
			case broken:
				return event.Event{}, errBroken
			case !found:
				return event.Event{}, errNotFound
			}
			hook()
			return e, ctx.Err()
		},
		Active: func(_ context.Context, owner string) ([]event.Event, error) {
			j.mu.Lock()
			j.states++
			hook := j.takeHook()
			defer hook() // after the lock is given back
			defer j.mu.Unlock()
			if j.broken {
				return nil, errBroken
			}
			var out []event.Event
			for _, id := range j.order {
				h := j.operations[id]
				if h.owner == owner && h.ended.IsZero() && (j.activeCap == 0 || len(out) < j.activeCap) {
					out = append(out, h.snapshot(id))
				}
			}
			return out, nil
		},
		Heads: func(_ context.Context, ids []string) (map[string]int64, error) {
			j.mu.Lock()
			defer j.mu.Unlock()
			if j.broken {
				return nil, errBroken
			}
			out := map[string]int64{}
			for _, id := range ids {
				if h := j.operations[id]; h != nil {
					out[id] = int64(len(h.events))
				}
			}
			return out, nil
		},
		OwnerHeads: func(_ context.Context, owner string, since time.Time) (map[string]int64, time.Time, error) {
			j.mu.Lock()
			defer j.mu.Unlock()
			if j.broken {
				return nil, time.Time{}, errBroken
			}
			out := map[string]int64{}
			for id, h := range j.operations {
				if h.owner == owner && (h.ended.IsZero() || !since.IsZero() && !h.ended.Before(since)) {
					out[id] = int64(len(h.events))
				}
			}
			return out, time.Now(), nil
		},
	}
}

// rig is a running hub behind a server.
type rig struct {
	t       testing.TB
	journal *journal
	hub     *live.Hub
	dial    func() (net.Conn, error)
	stop    func() // ends the hub and the server; may be called more than once
	cancel  func() // ends Run's context

	mu     sync.Mutex
	refuse []error // what Serve methods returned
}

// handler authorises whatever owner and session the query names and answers errors with 418.
func (r *rig) handler() http.Handler {
	type serving func(w http.ResponseWriter, q *http.Request, who live.Viewer, since int64, resume bool) error
	serve := func(f serving) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			who := live.Viewer{Owner: q.URL.Query().Get("owner")}
			if who.Owner == "" {
				who.Owner = "ann"
			}
			if session := q.URL.Query().Get("session"); session != "" {
				who.Session = session
			}
			since, resume, err := live.ParseSince(q)
			if err == nil {
				err = f(w, q, who, since, resume)
			}
			if err != nil {
				r.mu.Lock()
				r.refuse = append(r.refuse, err)
				r.mu.Unlock()
				http.Error(w, err.Error(), http.StatusTeapot)
			}
		})
	}
	mux := http.NewServeMux()
	mux.Handle("/op/{id}/ws", serve(
		func(w http.ResponseWriter, q *http.Request, who live.Viewer, since int64, resume bool) error {
			return r.hub.ServeOperationWS(w, q, who, q.PathValue("id"), since, resume)
		}))
	mux.Handle("/op/{id}/events", serve(
		func(w http.ResponseWriter, q *http.Request, who live.Viewer, since int64, resume bool) error {
			return r.hub.ServeOperationSSE(w, q, who, q.PathValue("id"), since, resume)
		}))
	mux.Handle("/ws", serve(func(w http.ResponseWriter, q *http.Request, who live.Viewer, _ int64, _ bool) error {
		return r.hub.ServeAllWS(w, q, who)
	}))
	mux.Handle("/events", serve(func(w http.ResponseWriter, q *http.Request, who live.Viewer, _ int64, _ bool) error {
		return r.hub.ServeAllSSE(w, q, who)
	}))
	return mux
}

func (r *rig) lastRefusal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.refuse) == 0 {
		return nil
	}
	return r.refuse[len(r.refuse)-1]
}

// run starts the hub; the function it returns ends it and waits.
func (r *rig) run() (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context())) // it outlives the test into its cleanup
	r.cancel = cancel
	done := make(chan error, 1)
	go func() { done <- r.hub.Run(ctx) }()
	return func() {
		stopCtx, stopped := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stopped()
		if err := r.hub.Stop(stopCtx); err != nil {
			r.t.Errorf("Stop: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
}

// newRig serves on real sockets. tune, if not nil, is given each connection the server accepts.
func newRig(t testing.TB, c live.Config, tune func(net.Conn)) *rig {
	t.Helper()
	r := &rig{t: t, journal: newJournal()}
	r.hub = live.NewHub(r.journal.source(), c)
	end := r.run()
	server := httptest.NewUnstartedServer(r.handler())
	server.Config.WriteTimeout = 2 * time.Second // for short requests; streams must not care
	server.Config.ReadTimeout = 2 * time.Second
	if tune != nil {
		server.Config.ConnState = func(c net.Conn, s http.ConnState) {
			if s == http.StateNew {
				tune(c)
			}
		}
	}
	server.Start()
	address := server.Listener.Addr().String()
	r.dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
	r.stop = sync.OnceFunc(func() { end(); server.Close() })
	t.Cleanup(r.stop)
	return r
}

// newPipeRig serves on in-memory connections without any buffer, for use in a synctest bubble.
func newPipeRig(t testing.TB, c live.Config) *rig {
	t.Helper()
	r := &rig{t: t, journal: newJournal()}
	r.hub = live.NewHub(r.journal.source(), c)
	end := r.run()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: r.handler(), WriteTimeout: time.Second, ReadTimeout: time.Second}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	r.dial = func() (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case l.conns <- server:
			return client, nil
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	r.stop = sync.OnceFunc(func() { end(); _ = server.Close(); <-served })
	return r
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// publish commits the operation's next event and publishes it.
func (r *rig) publish(owner, id string, kind event.Type) {
	r.hub.Publish(r.journal.commit(owner, id, kind))
}

// progress publishes an ephemeral event.
func (r *rig) progress(owner, id string, attempt, bytes int64) {
	r.hub.Publish(event.Owned{Owner: owner, Event: event.Event{
		Type: event.Progress, OperationID: id, Time: event.Time{Time: time.Now()},
		Data: event.Data{Status: "processing", Attempt: attempt, BytesDone: bytes, BytesTotal: 1000},
	}})
}

// client is one watcher of either kind: its events come out of next until the stream ends, and then end says how.
type client struct {
	t      testing.TB
	events chan event.Event
	end    chan ended
	conn   net.Conn
	ws     *gws.Conn
	ids    []string      // of an SSE stream: the id in force with each event; complete when end was received
	lastID string        // likewise: the browser's Last-Event-ID
	pings  chan struct{} // heartbeats, as they come
}

// ended is how a stream ended. An SSE stream that ended as HTTP says has code 0, one that was cut has code -1.
type ended struct {
	code   int
	reason string
}

// watchWS opens a WebSocket; the gws client answers pings only when answer is true.
func (r *rig) watchWS(path string) *client { return r.watchWSHandler(path, true) }

func (r *rig) watchWSHandler(path string, answer bool) *client {
	r.t.Helper()
	conn, err := r.dial()
	if err != nil {
		r.t.Fatal(err)
	}
	c := &client{
		t: r.t, events: make(chan event.Event, 1<<14), end: make(chan ended, 1), conn: conn,
		pings: make(chan struct{}, 100),
	}
	c.ws, _, err = gws.NewClientFromConn(&wsHandler{c: c, answer: answer},
		&gws.ClientOption{Addr: "ws://pipe" + path}, conn)
	if err != nil {
		r.t.Fatalf("open %s: %v (%v)", path, err, r.lastRefusal())
	}
	go c.ws.ReadLoop()
	return c
}

type wsHandler struct {
	gws.BuiltinEventHandler
	c      *client
	answer bool
}

func (h *wsHandler) OnMessage(_ *gws.Conn, m *gws.Message) {
	var e event.Event
	if err := json.Unmarshal(m.Bytes(), &e); err != nil {
		h.c.t.Errorf("not an event: %q: %v", m.Bytes(), err)
	}
	_ = m.Close()
	h.c.events <- e
}

func (h *wsHandler) OnPing(c *gws.Conn, payload []byte) {
	h.c.pings <- struct{}{}
	if h.answer {
		_ = c.WritePong(payload)
	}
}

func (h *wsHandler) OnPong(_ *gws.Conn, payload []byte) { h.c.pings <- struct{}{} }

func (h *wsHandler) OnClose(_ *gws.Conn, err error) {
	close(h.c.events)
	if e, ok := errors.AsType[*gws.CloseError](err); ok {
		h.c.end <- ended{int(e.Code), string(e.Reason)}
		return
	}
	h.c.end <- ended{-1, err.Error()}
}

// get does one HTTP request on a connection of its own.
func (r *rig) get(path, lastEventID string) (*http.Response, net.Conn) {
	r.t.Helper()
	conn, err := r.dial()
	if err != nil {
		r.t.Fatal(err)
	}
	header := ""
	if lastEventID != "" {
		header = "Last-Event-ID: " + lastEventID + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: pipe\r\n%s\r\n", path, header); err != nil {
		r.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return response, conn
}

// watchSSE opens an SSE stream and reads it as the specification says a browser does.
func (r *rig) watchSSE(path, lastEventID string) *client {
	r.t.Helper()
	response, conn := r.get(path, lastEventID)
	if response.StatusCode != http.StatusOK {
		r.t.Fatalf("open %s: %s (%v)", path, response.Status, r.lastRefusal())
	}
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		r.t.Errorf("Content-Type = %q", got)
	}
	c := &client{
		t: r.t, events: make(chan event.Event, 1<<14), end: make(chan ended, 1), conn: conn, lastID: lastEventID,
		pings: make(chan struct{}, 100),
	}
	go c.readSSE(response.Body)
	return c
}

func (c *client) readSSE(body io.Reader) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<24)
	var kind, data, id string
	id = c.lastID
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "":
			c.lastID = id
			if data != "" {
				var e event.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					c.t.Errorf("not an event: %q: %v", data, err)
				}
				if string(e.Type) != kind {
					c.t.Errorf("event: %s with data of type %s", kind, e.Type)
				}
				c.ids = append(c.ids, id)
				c.events <- e
			}
			kind, data = "", ""
		case name == "id":
			id = value
		case name == "event":
			kind = value
		case name == "data":
			data = value
		case name == "retry":
		case strings.HasPrefix(lines.Text(), ":"):
			c.pings <- struct{}{}
		default:
			c.t.Errorf("unknown SSE line %q", lines.Text())
		}
	}
	close(c.events)
	_ = c.conn.Close()
	if err := lines.Err(); err != nil {
		c.end <- ended{-1, err.Error()}
		return
	}
	c.end <- ended{}
}

// patience is how long a test waits for something that should come at once.
const patience = 30 * time.Second

// next returns the next event.
func (c *client) next() event.Event {
	c.t.Helper()
	select {
	case e, ok := <-c.events:
		if !ok {
			c.t.Fatalf("the stream ended: %+v", <-c.end)
		}
		return e
	case <-time.After(patience):
		c.t.Fatal("no event came")
	}
	panic("unreachable")
}

// rest returns everything until the stream ends, and how it ended.
func (c *client) rest() ([]event.Event, ended) {
	c.t.Helper()
	var out []event.Event
	deadline := time.After(patience)
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				return out, <-c.end
			}
			out = append(out, e)
		case <-deadline:
			c.t.Fatalf("the stream did not end; got %s", brief(out))
		}
	}
}

// drop closes the connection as a client that goes away does, and waits until its reader is gone.
func (c *client) drop() {
	_ = c.conn.Close()
	for range c.events {
	}
	<-c.end
}

// brief shows events as "snapshot@3 batch4 progress".
func brief(events []event.Event) string {
	if n := len(events); n > 40 {
		return fmt.Sprint(brief(events[:20]), " … ", brief(events[n-20:]))
	}
	var words []string
	for _, e := range events {
		w := string(e.Type)
		switch {
		case e.Seq > 0:
			w += strconv.FormatInt(e.Seq, 10)
		case e.Data.Seq > 0:
			w += "@" + strconv.FormatInt(e.Data.Seq, 10)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// byOperation groups events, keeping their order.
func byOperation(events []event.Event) map[string][]event.Event {
	out := map[string][]event.Event{}
	for _, e := range events {
		out[e.OperationID] = append(out[e.OperationID], e)
	}
	return out
}
