package live_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"

	"github.com/lxzan/gws"
)

// story is what happens to an operation in these tests.
var story = []event.Type{event.Queued, event.Started, event.Batch, event.Batch, event.Completed}

// watch opens the operation's stream as a WebSocket or SSE.
func (r *rig) watch(kind, id, query string) *client {
	r.t.Helper()
	if kind == "ws" {
		return r.watchWS("/op/" + id + "/ws" + query)
	}
	return r.watchSSE("/op/"+id+"/events"+query, "")
}

// wantEnd is how a stream of that kind ends after the terminal event.
func wantEnd(kind string) int {
	if kind == "ws" {
		return int(live.CloseDone)
	}
	return 0
}

func TestJoinAtEveryPoint(t *testing.T) {
	for _, kind := range []string{"ws", "sse"} {
		for joined := 1; joined <= len(story); joined++ {
			t.Run(fmt.Sprint(kind, "/fresh after ", joined), func(t *testing.T) {
				r := newRig(t, live.Config{}, nil)
				for _, k := range story[:joined] {
					r.publish("ann", "op_1", k)
				}
				c := r.watch(kind, "op_1", "")
				first := c.next()
				if first.Type != event.Snapshot || first.Seq != 0 || first.Data.Seq != int64(joined) {
					t.Errorf("first event = %+v, want a snapshot at %d", first, joined)
				}
				for _, k := range story[joined:] {
					r.publish("ann", "op_1", k)
				}
				events, end := c.rest()
				checkDense(t, events, int64(joined)+1, int64(len(story)))
				if end.code != wantEnd(kind) {
					t.Errorf("ended with %+v", end)
				}
			})
			for since := 0; since <= joined; since++ {
				if kind == "sse" && since == len(story) {
					continue // answered 204, see TestResumeAfterEnd
				}
				t.Run(fmt.Sprint(kind, "/since ", since, " after ", joined), func(t *testing.T) {
					r := newRig(t, live.Config{}, nil)
					for _, k := range story[:joined] {
						r.publish("ann", "op_1", k)
					}
					c := r.watch(kind, "op_1", fmt.Sprint("?since=", since))
					for _, k := range story[joined:] {
						r.publish("ann", "op_1", k)
					}
					events, end := c.rest()
					checkDense(t, events, int64(since)+1, int64(len(story)))
					if end.code != wantEnd(kind) {
						t.Errorf("ended with %+v", end)
					}
				})
			}
		}
	}
}

// checkDense wants exactly the durable events from first to last, in order.
func checkDense(t testing.TB, events []event.Event, first, last int64) {
	t.Helper()
	if got, want := int64(len(events)), last-first+1; got != want {
		t.Errorf("got %d events, want %d (%d to %d): %s", got, want, first, last, brief(events))
		return
	}
	for i, e := range events {
		if e.Seq != first+int64(i) {
			t.Errorf("event %d has seq %d, want %d: %s", i, e.Seq, first+int64(i), brief(events))
			return
		}
	}
}

// checkStory wants the events of one operation on a stream that opened without a position: a snapshot, or event 1,
// then every durable event up to last, with ephemeral ones in between at most.
func checkStory(t testing.TB, events []event.Event, last int64) {
	t.Helper()
	if len(events) == 0 {
		t.Error("no events")
		return
	}
	next := int64(1)
	for i, e := range events {
		switch {
		case i == 0 && e.Type == event.Snapshot:
			next = e.Data.Seq + 1
		case e.Seq == 0 && (e.Type == event.Progress || e.Type == event.Stalled):
		case e.Seq != next:
			t.Errorf("event %d is %s, want %d: %s", i, brief(events[i:i+1]), next, brief(events))
			return
		default:
			next++
		}
	}
	if next != last+1 {
		t.Errorf("stopped before %d, want %d: %s", next, last+1, brief(events))
	}
}

// unreliable publishes what was committed as the worst bus would: it loses, repeats and reorders.
func unreliable(hub *live.Hub, random *rand.Rand, committed []event.Owned) {
	var late []event.Owned
	for _, e := range committed {
		for range random.IntN(3) { // 0, 1 or 2 times
			if random.IntN(4) == 0 {
				late = append(late, e)
			} else {
				hub.Publish(e)
			}
		}
		if len(late) > 0 && random.IntN(3) == 0 {
			i := random.IntN(len(late))
			hub.Publish(late[i])
			late = append(late[:i], late[i+1:]...)
		}
	}
	for _, e := range late {
		hub.Publish(e)
	}
}

func TestUnreliableBus(t *testing.T) {
	const operations, batches, watchers = 4, 1000, 24
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := newRig(t, live.Config{Poll: 20 * time.Millisecond, QueueDepth: 16, SlowAfter: 30 * time.Second}, nil)
	var ids []string
	for i := range operations {
		id := fmt.Sprint("op_", i)
		ids = append(ids, id)
		r.publish("ann", id, event.Queued)
	}
	r.publish("bob", "op_bob", event.Queued)

	var all []*client // opened before an operation can end
	for range 3 {
		all = append(all, r.watchWS("/ws"), r.watchSSE("/events", ""))
	}
	var publishers, watching sync.WaitGroup
	for i, id := range ids {
		publishers.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 0; n < batches; {
				var committed []event.Owned
				for range 1 + random.IntN(20) {
					kind := event.Batch
					if n++; n == batches {
						kind = event.Completed
					}
					committed = append(committed, r.journal.commit("ann", id, kind))
					if n == batches {
						break
					}
				}
				unreliable(r.hub, random, committed)
				time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond) // spreads the joins, orders nothing
			}
		})
	}
	const last = batches + 1
	for i := range watchers {
		random := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		id := ids[i%operations]
		kind := []string{"ws", "sse"}[random.IntN(2)]
		pause := time.Duration(random.IntN(100)) * time.Millisecond
		watching.Go(func() {
			time.Sleep(pause)
			events, end := r.watch(kind, id, "").rest()
			checkStory(t, events, last)
			if end.code != wantEnd(kind) {
				t.Errorf("%s ended with %+v", kind, end)
			}
		})
		watching.Go(func() {
			time.Sleep(pause)
			events, _ := r.watch(kind, id, "?since=1").rest()
			checkDense(t, events, 2, last)
		})
	}
	publishers.Wait()
	watching.Wait()
	for i, c := range all {
		for operation, events := range byOperation(c.untilEnded(operations)) {
			if operation == "op_bob" {
				t.Errorf("watcher %d of ann's was told of bob's", i)
				continue
			}
			checkStory(t, events, last)
		}
		select {
		case e := <-c.events:
			t.Errorf("watcher %d: after the ends came %s", i, brief([]event.Event{e}))
		default:
		}
	}
	r.stop()
	for _, c := range all {
		if _, end := c.rest(); end.code != int(live.CloseGoingAway) && end.code != 0 {
			t.Errorf("at the end: %+v", end)
		}
	}
	if s := r.hub.Stats(); s.Sockets != 0 || s.Responses != 0 || s.GapReads == 0 || s.SlowClosed != 0 {
		t.Errorf("stats at the end: %+v", s)
	}
}

// untilEnded returns events until n operations have ended.
func (c *client) untilEnded(n int) []event.Event {
	c.t.Helper()
	var out []event.Event
	for n > 0 {
		e := c.next()
		out = append(out, e)
		if event.Type(e.Data.Status).Terminal() {
			n--
		}
	}
	return out
}

// What is committed and published after the snapshot was read, but before the stream has it, must come, and only once.
// The poll is too late to help.
func TestPublishWhileSubscribing(t *testing.T) {
	for _, path := range []string{"/op/op_1/ws", "/op/op_1/events", "/op/op_1/ws?since=1", "/ws", "/events"} {
		t.Run(path, func(t *testing.T) {
			r := newRig(t, live.Config{Poll: time.Hour}, nil)
			r.publish("ann", "op_1", event.Queued)
			r.publish("bob", "op_marker", event.Queued)
			marker := r.watchWS("/op/op_marker/ws?owner=bob")
			marker.next()
			r.journal.mu.Lock()
			r.journal.onRead = func() {
				for range 3 {
					r.publish("ann", "op_1", event.Batch)
				}
				// The bus keeps order: when the marker has come, the others were delivered, to whoever had subscribed.
				r.publish("bob", "op_marker", event.Completed)
				marker.rest()
			}
			r.journal.mu.Unlock()
			watch, want := r.watchWS, "snapshot@1 batch2 batch3 batch4"
			if strings.HasSuffix(path, "events") {
				watch = func(path string) *client { return r.watchSSE(path, "") }
			}
			if strings.Contains(path, "since") {
				want = "batch2 batch3 batch4"
			}
			c := watch(path)
			var got []event.Event
			for range strings.Fields(want) {
				got = append(got, c.next())
			}
			r.publish("ann", "op_1", event.Completed)
			got = append(got, c.next())
			if got, want := brief(got), want+" completed5"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			c.drop()
		})
	}
}

// The same on the stream of everything: operations that appear and move on while it opens.
func TestPublishWhileSubscribingToAll(t *testing.T) {
	r := newRig(t, live.Config{Poll: 20 * time.Millisecond}, nil)
	const operations, batches = 20, 20
	var publishers sync.WaitGroup
	for i := range operations {
		publishers.Go(func() {
			id := fmt.Sprint("op_", i)
			r.publish("ann", id, event.Queued)
			for range batches {
				r.publish("ann", id, event.Batch)
				runtime.Gosched()
			}
		})
	}
	var clients []*client
	for range 10 {
		clients = append(clients, r.watchWS("/ws"))
	}
	publishers.Wait()
	for i := range operations {
		r.publish("ann", fmt.Sprint("op_", i), event.Completed)
	}
	for _, c := range clients {
		got := byOperation(c.untilEnded(operations))
		if len(got) != operations {
			t.Errorf("saw %d operations, want %d", len(got), operations)
		}
		for _, events := range got {
			checkStory(t, events, batches+2)
		}
		c.drop()
	}
}

func TestResync(t *testing.T) {
	t.Run("from the future", func(t *testing.T) {
		for _, kind := range []string{"ws", "sse"} {
			r := newRig(t, live.Config{}, nil)
			r.publish("ann", "op_1", event.Queued)
			r.publish("ann", "op_1", event.Started)
			c := r.watch(kind, "op_1", "?since=7")
			e := c.next()
			if e.Type != event.Resync || e.Data.Seq != 2 || e.Data.Status != "processing" || e.Data.BytesTotal != 1000 {
				t.Errorf("%s: got %+v, want a resync at 2 with the whole state", kind, e)
			}
			r.publish("ann", "op_1", event.Completed)
			events, _ := c.rest()
			checkDense(t, events, 3, 3)
		}
	})
	t.Run("events that are gone", func(t *testing.T) {
		for _, kind := range []string{"ws", "sse"} {
			r := newRig(t, live.Config{}, nil)
			for range 6 {
				r.publish("ann", "op_1", event.Batch)
			}
			r.journal.forgotten["op_1"] = 4
			c := r.watch(kind, "op_1", "?since=2")
			if e := c.next(); e.Type != event.Resync || e.Data.Seq != 6 {
				t.Errorf("%s: got %+v, want a resync at 6", kind, e)
			}
			r.publish("ann", "op_1", event.Completed)
			events, _ := c.rest()
			checkDense(t, events, 7, 7)
		}
	})
	t.Run("of an ended operation whose events are gone", func(t *testing.T) {
		r := newRig(t, live.Config{}, nil)
		for _, k := range story {
			r.publish("ann", "op_1", k)
		}
		r.journal.forgotten["op_1"] = 5
		c := r.watch("ws", "op_1", "?since=2")
		events, end := c.rest()
		if got, want := brief(events), "resync@5"; got != want || end.code != 1000 {
			t.Errorf("got %s and %+v, want %s and 1000", got, end, want)
		}
	})
}

func TestResumeAfterEnd(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	for _, k := range story {
		r.publish("ann", "op_1", k)
	}
	// A browser that has seen the terminal event, or the snapshot of an ended operation, has its id in force.
	for _, from := range []string{"", "2"} {
		c := r.watchSSE("/op/op_1/events", from)
		events, end := c.rest()
		if len(events) == 0 || end.code != 0 {
			t.Fatalf("got %s, %+v", brief(events), end)
		}
		if c.lastID != "5" {
			t.Errorf("from %q: Last-Event-ID at the end = %q, want 5 (%s)", from, c.lastID, brief(events))
		}
		response, conn := r.get("/op/op_1/events", c.lastID)
		if response.StatusCode != http.StatusNoContent {
			t.Errorf("resumed after the end: %s, want 204", response.Status)
		}
		_ = conn.Close()
	}
	events, end := r.watchWS("/op/op_1/ws?since=5").rest()
	if len(events) != 0 || end.code != 1000 {
		t.Errorf("WebSocket resumed after the end: %s, %+v, want nothing and 1000", brief(events), end)
	}
}

// Only durable events may move a browser's Last-Event-ID.
func TestSSEIDs(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	r.publish("ann", "op_1", event.Queued)
	c := r.watchSSE("/op/op_1/events", "")
	all := r.watchSSE("/events", "")
	got := []event.Event{c.next(), all.next()}
	r.publish("ann", "op_1", event.Started)
	got = append(got, c.next(), all.next())
	r.progress("ann", "op_1", 1, 25)
	got = append(got, c.next(), all.next())
	r.publish("ann", "op_1", event.Completed)
	events, _ := c.rest()
	got = append(got, events...)
	if want := "snapshot@1 snapshot@1 started2 started2 progress progress completed3"; brief(got) != want {
		t.Errorf("got %s, want %s", brief(got), want)
	}
	if got, want := c.ids, []string{"", "2", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("ids = %q, want %q", got, want)
	}
	all.next()
	all.drop()
	if slices.ContainsFunc(all.ids, func(id string) bool { return id != "" }) {
		t.Errorf("ids on the stream of everything: %q, want none", all.ids)
	}
}

func TestParseSince(t *testing.T) {
	for _, tt := range []struct {
		query  string
		header []string
		since  int64
		ok     bool
		param  string // of the error
	}{
		{"", nil, 0, false, ""},
		{"?since=0", nil, 0, true, ""},
		{"?since=17", nil, 17, true, ""},
		{"?since=9223372036854775807", nil, 9223372036854775807, true, ""},
		{"?since=17", []string{"4"}, 4, true, ""},
		{"?since=17", []string{""}, 17, true, ""},
		{"?since=rubbish", []string{"4"}, 4, true, ""},
		{"?since=", nil, 0, false, "since"},
		{"?since=-1", nil, 0, false, "since"},
		{"?since=%2B1", nil, 0, false, "since"},
		{"?since=1.0", nil, 0, false, "since"},
		{"?since=0x10", nil, 0, false, "since"},
		{"?since=9223372036854775808", nil, 0, false, "since"},
		{"?since=1&since=2", nil, 0, false, "since"},
		{"", []string{"*"}, 0, false, "Last-Event-ID"},
		{"", []string{"../1"}, 0, false, "Last-Event-ID"},
		{"", []string{"1", "2"}, 0, false, "Last-Event-ID"},
	} {
		q := httptest.NewRequest(http.MethodGet, "/"+tt.query, nil)
		for _, v := range tt.header {
			q.Header.Add("Last-Event-ID", v)
		}
		since, ok, err := live.ParseSince(q)
		if since != tt.since || ok != tt.ok || (err != nil) != (tt.param != "") {
			t.Errorf("ParseSince(%q, %q) = %d, %t, %v; want %d, %t", tt.query, tt.header, since, ok, err, tt.since, tt.ok)
		}
		if e, is := errors.AsType[*live.SinceError](err); err != nil && (!is || e.Param != tt.param) {
			t.Errorf("ParseSince(%q, %q): error %#v, want a *SinceError about %s", tt.query, tt.header, err, tt.param)
		}
	}
}

// The errors a caller answers must come before anything was written.
func TestRefusals(t *testing.T) {
	r := newRig(t, live.Config{MaxStreams: 1}, nil)
	r.publish("ann", "op_1", event.Queued)
	refused := func(path string, want error) {
		t.Helper()
		response, conn := r.get(path, "")
		defer conn.Close()
		if response.StatusCode != http.StatusTeapot || !errors.Is(r.lastRefusal(), want) {
			t.Errorf("%s: %s, %v; want %v", path, response.Status, r.lastRefusal(), want)
		}
	}
	refused("/op/op_2/events", errNotFound)
	refused("/op/op_1/events?owner=bob", errNotFound)
	response, conn := r.get("/op/op_1/ws", "")
	if e, ok := errors.AsType[*live.HandshakeError](r.lastRefusal()); !ok || !e.Upgrade || response.StatusCode != 418 {
		t.Errorf("GET without upgrade: %s, %v; want a *HandshakeError", response.Status, r.lastRefusal())
	}
	_ = conn.Close()
	r.journal.setBroken(true)
	refused("/op/op_1/events", errBroken)
	refused("/events", errBroken)
	r.journal.setBroken(false)

	c := r.watch("ws", "op_1", "")
	c.next()
	refused("/op/op_1/events", live.ErrTooManyStreams)
	r.publish("ann", "op_1", event.Completed)
	c.rest()

	stopping := make(chan struct{})
	go func() { defer close(stopping); _ = r.hub.Stop(t.Context()) }()
	<-stopping
	refused("/op/op_1/events", live.ErrStopping)
	refused("/events", live.ErrStopping)
}

func TestHandshake(t *testing.T) {
	good := http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for _, tt := range []struct{ name, value string }{
		{"Connection", "close"}, {"Upgrade", "h2c"}, {"Sec-Websocket-Version", "8"}, {"Sec-Websocket-Key", "short"},
		{"Sec-Websocket-Key", ""},
	} {
		hub := live.NewHub(newJournal().source(), live.Config{})
		q := httptest.NewRequest(http.MethodGet, "/", nil)
		q.Header = good.Clone()
		q.Header.Set(tt.name, tt.value)
		w := httptest.NewRecorder()
		err := hub.ServeAllWS(w, q, live.Viewer{Owner: "ann"})
		if _, ok := errors.AsType[*live.HandshakeError](err); !ok || w.Body.Len() > 0 {
			t.Errorf("%s: %s: got %v and %q, want a *HandshakeError and nothing written", tt.name, tt.value, err, w.Body)
		}
	}
}

// waitStats waits until the counters say that what is expected has happened.
func (r *rig) waitStats(what string, f func(live.Stats) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !f(r.hub.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never %s: %+v", what, r.hub.Stats())
		}
	}
}

func TestInbound(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	r.publish("ann", "op_1", event.Queued)
	c := r.watch("ws", "op_1", "")
	c.next()
	// Messages are ignored, up to the limit.
	for range 100 {
		if err := c.ws.WriteMessage(gws.OpcodeText, make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ws.WritePing([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.pings:
	case <-time.After(patience):
		t.Fatal("no pong came")
	}
	r.publish("ann", "op_1", event.Started)
	if e := c.next(); e.Seq != 2 {
		t.Errorf("got %s, want started2", brief([]event.Event{e}))
	}
	// The close frame must arrive although the server has not read all that was sent.
	if err := c.ws.WriteMessage(gws.OpcodeText, make([]byte, 1<<20)); err != nil {
		t.Logf("write: %v", err) // may be cut short
	}
	if _, end := c.rest(); end.code != int(live.CloseTooBig) {
		t.Errorf("ended with %+v, want 1009", end)
	}
}

func TestClientCloses(t *testing.T) {
	r := newRig(t, live.Config{Heartbeat: time.Hour}, nil) // whose failure would tell too
	r.publish("ann", "op_1", event.Queued)
	polite, rude, response := r.watch("ws", "op_1", ""), r.watch("ws", "op_1", ""), r.watch("sse", "op_1", "")
	for _, c := range []*client{polite, rude, response} {
		c.next()
	}
	_ = polite.ws.WriteClose(1000, nil)
	rude.drop()
	response.drop()
	polite.rest()
	r.waitStats("all gone", func(s live.Stats) bool { return s.Sockets == 0 && s.Responses == 0 })
}

func TestEphemeral(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	r.publish("ann", "op_1", event.Queued)
	r.publish("ann", "op_1", event.Started) // 20 bytes done, attempt 1
	one, all := r.watch("ws", "op_1", ""), r.watchWS("/ws")
	both := func(want string, bytes int64) {
		t.Helper()
		for _, c := range []*client{one, all} {
			if e := c.next(); brief([]event.Event{e}) != want || bytes > 0 && e.Data.BytesDone != bytes {
				t.Errorf("got %s with %d bytes, want %s with %d", brief([]event.Event{e}), e.Data.BytesDone, want, bytes)
			}
		}
	}
	both("snapshot@2", 20)
	r.progress("ann", "op_1", 1, 19) // older than the snapshot
	r.progress("ann", "op_1", 0, 900)
	r.progress("ann", "op_1", 1, 25)
	both("progress", 25)
	r.progress("ann", "op_1", 1, 24)
	r.publish("ann", "op_1", event.Batch)
	both("batch3", 30)
	r.progress("ann", "op_1", 1, 29)
	r.progress("bob", "op_1", 1, 999) // somebody else's
	r.progress("ann", "op_1", 1, 35)
	both("progress", 35)
	r.publish("ann", "op_1", event.Completed)
	r.progress("ann", "op_1", 1, 1000)
	both("completed4", 40)
	if events, end := one.rest(); len(events) > 0 || end.code != 1000 {
		t.Errorf("after the end: %s, %+v", brief(events), end)
	}
	r.publish("ann", "op_2", event.Queued)
	if e := all.next(); e.OperationID != "op_2" || e.Seq != 1 {
		t.Errorf("got %+v, want queued1 of op_2", e)
	}
	all.drop()
}

func TestMalformedPublish(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	r.publish("ann", "op_1", event.Queued)
	c := r.watch("ws", "op_1", "")
	c.next()
	for _, e := range []event.Event{
		{Type: event.Batch, OperationID: "op_1"},               // durable without a number
		{Type: event.Progress, OperationID: "op_1", Seq: 2},    // ephemeral with one
		{Type: event.Snapshot, OperationID: "op_1"},            // not for the bus
		{Type: "nonsense", OperationID: "op_1"},                //
		{Type: event.Batch, Seq: 2},                            // of nothing
		{Type: event.Batch, OperationID: "op_1", Seq: -2},      //
		{Type: event.Batch, OperationID: "op_1", Seq: 1 << 60}, // not in SQL
	} {
		r.hub.Publish(event.Owned{Owner: "ann", Event: e})
	}
	r.hub.Publish(event.Owned{Owner: "bob", Event: event.Event{Type: event.Batch, OperationID: "op_1", Seq: 2}})
	r.publish("ann", "op_1", event.Completed)
	events, _ := c.rest()
	checkDense(t, events, 2, 2)
	if got := r.hub.Stats().Dropped; got != 6 {
		t.Errorf("Dropped = %d, want 6", got)
	}
}

func TestAll(t *testing.T) {
	r := newRig(t, live.Config{Poll: 20 * time.Millisecond}, nil)
	r.publish("ann", "op_old", event.Queued)
	r.publish("ann", "op_old", event.Completed) // ended before: not shown
	r.publish("ann", "op_1", event.Queued)
	r.publish("ann", "op_1", event.Started)
	r.publish("bob", "op_bob", event.Queued)
	c := r.watchWS("/ws")
	got := []event.Event{c.next()}
	r.publish("ann", "op_1", event.Batch)
	got = append(got, c.next())
	// A new operation whose publishes are all lost is found by the poll, from its first event, and so is its end.
	r.journal.commit("ann", "op_2", event.Queued)
	r.journal.commit("ann", "op_2", event.Completed)
	got = append(got, c.next(), c.next())
	// A late word of what has ended revives nothing.
	for _, id := range []string{"op_old", "op_2"} {
		r.hub.Publish(event.Owned{Owner: "ann", Event: event.Event{Type: event.Completed, OperationID: id, Seq: 2}})
		r.hub.Publish(event.Owned{Owner: "ann", Event: event.Event{Type: event.Queued, OperationID: id, Seq: 1}})
	}
	r.journal.commit("ann", "op_1", event.Completed) // a lost last event
	got = append(got, c.next())
	late := r.watchSSE("/events", "")
	r.publish("ann", "op_3", event.Queued)
	got = append(got, c.next())
	if got, want := brief(got), "snapshot@2 batch3 queued1 completed2 completed4 queued1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if e := late.next(); e.OperationID != "op_3" {
		t.Errorf("the second watcher got %+v, want the news of op_3 alone", e)
	}
	c.drop()
	late.drop()
}

// Active may stop at a bound. What lies beyond gets its snapshot with its next event.
func TestAllBeyondActive(t *testing.T) {
	r := newRig(t, live.Config{Poll: 20 * time.Millisecond}, nil)
	r.journal.activeCap = 1
	for _, id := range []string{"op_1", "op_2", "op_3"} {
		for range 5 {
			r.publish("ann", id, event.Batch)
		}
	}
	c := r.watchWS("/ws")
	c.next()
	r.publish("ann", "op_2", event.Batch)
	r.journal.commit("ann", "op_3", event.Completed)
	got := byOperation(append(c.untilEnded(1), c.come()...))
	if len(got["op_3"]) != 1 || got["op_3"][0].Data.Seq != 6 {
		t.Errorf("op_3: %s, want its final snapshot", brief(got["op_3"]))
	}
	r.publish("ann", "op_2", event.Completed)
	more := byOperation(c.untilEnded(1))
	checkStory(t, append(got["op_2"], more["op_2"]...), 7)
	c.drop()
}

// come returns what has come already.
func (c *client) come() (out []event.Event) {
	for {
		select {
		case e := <-c.events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func TestStop(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	r.publish("ann", "op_1", event.Queued)
	var clients []*client
	for range 20 {
		clients = append(clients, r.watch("ws", "op_1", ""), r.watch("sse", "op_1", ""), r.watchWS("/ws"))
	}
	for _, c := range clients {
		c.next()
	}
	mute, err := r.dial() // opens a socket and never reads nor answers
	if err != nil {
		t.Fatal(err)
	}
	handshake(t, mute, "/op/op_1/ws")
	r.waitStats("41 sockets", func(s live.Stats) bool { return s.Sockets == 41 })
	began := time.Now()
	if err := r.hub.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Stop took %v", took)
	}
	for i, c := range clients {
		events, end := c.rest()
		if want := []int{int(live.CloseGoingAway), 0, int(live.CloseGoingAway)}[i%3]; end.code != want || len(events) > 0 {
			t.Errorf("client %d ended with %+v, want %d", i, end, want)
		}
	}
	if s := r.hub.Stats(); s.Sockets != 0 || s.Responses != 0 {
		t.Errorf("after Stop: %+v", s)
	}
	_ = mute.Close()
}

// handshake makes conn a WebSocket by hand and reads no further than the answer's headers.
func handshake(t testing.TB, conn net.Conn, path string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for b := make([]byte, 1); !bytes.HasSuffix(got, []byte("\r\n\r\n")); got = append(got, b...) {
		if _, err := conn.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("open %s: %q", path, got)
	}
}

// smallBuffers keeps the kernel from taking much on behalf of a client that does not read.
func smallBuffers(c net.Conn) {
	_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
}

// firstSmall gives the first n connections small buffers.
func firstSmall(n int) func(net.Conn) {
	return func(c net.Conn) {
		if n--; n >= 0 {
			smallBuffers(c)
		}
	}
}

func TestSlowReader(t *testing.T) {
	for _, path := range []string{"/op/op_1/ws", "/ws"} {
		t.Run(path, func(t *testing.T) {
			r := newRig(t, live.Config{}, firstSmall(1))
			r.publish("ann", "op_1", event.Queued)
			slow, err := r.dial()
			if err != nil {
				t.Fatal(err)
			}
			smallBuffers(slow)
			handshake(t, slow, path)
			fast := r.watchWS(path)
			fast.next()
			for range 150 {
				r.hub.Publish(r.journal.commitSized("ann", "op_1", event.Batch, 4000))
			}
			for n := int64(2); n <= 151; n++ {
				if e := fast.next(); e.Seq != n {
					t.Fatalf("the fast one got %d, want %d", e.Seq, n)
				}
			}
			r.waitStats("closed as slow", func(s live.Stats) bool { return s.SlowClosed == 1 })
			// It wakes up, and finds what was under way, then the close with the place to go on from.
			last, code, reason := readFrames(t, bufio.NewReader(slow))
			if code != int(live.CloseSlowReader) {
				t.Errorf("closed with %d %q, want 4408", code, reason)
			}
			if path == "/ws" {
				if reason != "slow reader: reconnect" {
					t.Errorf("reason = %q", reason)
				}
			} else if want := fmt.Sprint("slow reader: reconnect with since=", last); reason != want {
				t.Errorf("reason = %q, want %q", reason, want)
			}
			if path != "/ws" {
				c := r.watch("ws", "op_1", fmt.Sprint("?since=", last))
				for n := last + 1; n <= 151; n++ {
					if e := c.next(); e.Seq != n {
						t.Fatalf("resumed: got %d, want %d", e.Seq, n)
					}
				}
				c.drop()
			}
			_ = slow.Close()
			fast.drop()
		})
	}
}

// readFrame reads one WebSocket frame by hand.
func readFrame(in io.Reader) (opcode byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	if n == 126 {
		more := make([]byte, 2)
		if _, err := io.ReadFull(in, more); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(more))
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(in, payload)
	return head[0] & 0x0f, payload, err
}

// readEvents reads n events by hand.
func readEvents(t testing.TB, in io.Reader, n int) []event.Event {
	t.Helper()
	out := make([]event.Event, n)
	for i := range out {
		opcode, payload, err := readFrame(in)
		if err == nil && opcode == 1 {
			err = json.Unmarshal(payload, &out[i])
		}
		if err != nil || opcode != 1 {
			t.Fatalf("frame %d: opcode %d %q, %v; want an event", i, opcode, payload, err)
		}
	}
	return out
}

// readFrames reads by hand until a close frame, and returns the last event's seq.
func readFrames(t testing.TB, in io.Reader) (last int64, code int, reason string) {
	t.Helper()
	for {
		opcode, payload, err := readFrame(in)
		switch {
		case err != nil:
			return last, -1, err.Error()
		case opcode == 1:
			var e event.Event
			if err := json.Unmarshal(payload, &e); err != nil {
				t.Fatalf("not an event: %q", payload)
			}
			last = max(last, e.Seq)
		case opcode == 8:
			return last, int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
	}
}

// A reader that takes nothing at all is cut off after the write deadline, on SSE as well.
func TestReaderThatNeverReads(t *testing.T) {
	for _, path := range []string{"/op/op_1/ws", "/op/op_1/events"} {
		t.Run(path, func(t *testing.T) {
			r := newRig(t, live.Config{WriteTimeout: 200 * time.Millisecond}, smallBuffers)
			r.publish("ann", "op_1", event.Queued)
			slow, err := r.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer slow.Close()
			smallBuffers(slow)
			if strings.HasSuffix(path, "ws") {
				handshake(t, slow, path)
			} else {
				fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			}
			r.waitStats("open", func(s live.Stats) bool { return s.Sockets+s.Responses == 1 })
			for range 400 {
				r.hub.Publish(r.journal.commitSized("ann", "op_1", event.Batch, 4000))
			}
			r.waitStats("gone", func(s live.Stats) bool { return s.Sockets+s.Responses == 0 && s.SlowClosed == 1 })
		})
	}
}

// 1,000 sockets see the same complete sequence while 100 that never read delay nobody.
func TestThousandSockets(t *testing.T) {
	sockets, deaf, events := 1000, 100, 100
	if testing.Short() || raceEnabled {
		sockets, deaf = 200, 20
	}
	// A deaf one that delayed anybody would do so for longer than the test may take.
	const patient = 30 * time.Second
	r := newRig(t, live.Config{SlowAfter: patient, WriteTimeout: patient}, firstSmall(deaf))
	r.publish("ann", "op_1", event.Queued)
	for range deaf {
		conn, err := r.dial()
		if err != nil {
			t.Fatal(err)
		}
		smallBuffers(conn)
		handshake(t, conn, "/op/op_1/ws")
		defer conn.Close()
	}
	var clients []*client
	for i := range sockets {
		query := ""
		if i%2 == 1 {
			query = "?since=1"
		}
		clients = append(clients, r.watch("ws", "op_1", query))
	}
	r.waitStats("open", func(s live.Stats) bool { return s.Sockets == int64(sockets+deaf) })
	began := time.Now()
	for i := range events {
		kind := event.Batch
		if i == events-1 {
			kind = event.Completed
		}
		r.hub.Publish(r.journal.commitSized("ann", "op_1", kind, 1000))
	}
	for i, c := range clients {
		got, end := c.rest()
		if i%2 == 0 && len(got) > 0 {
			got = got[1:]
		}
		checkDense(t, got, 2, int64(events+1))
		if end.code != 1000 {
			t.Errorf("socket %d ended with %+v", i, end)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	took := time.Since(began)
	t.Logf("%d events to %d sockets beside %d deaf ones in %v (%.0f/s)", events, sockets, deaf, took,
		float64(events*sockets)/took.Seconds())
	if took > patient/2 {
		t.Errorf("took %v: the deaf ones delayed the others", took)
	}
	r.waitStats("only the deaf ones left", func(s live.Stats) bool { return s.Sockets == int64(deaf) })
}

// Of an operation that somebody watches no more than 1024 events and 256 KiB are kept for those who come later: the rest
// they read from SQL.
func TestRing(t *testing.T) {
	for name, c := range map[string]struct{ events, bytes, kept int }{
		"events": {1500, 1, 1024}, "bytes": {300, 4000, (256 << 10) / 4000},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, live.Config{MailboxEvents: 10, SlowAfter: 30 * time.Second}, nil)
			r.publish("ann", "op_1", event.Queued)
			first := r.watch("ws", "op_1", "?since=1")
			for n := range c.events {
				r.hub.Publish(r.journal.commitSized("ann", "op_1", event.Batch, c.bytes))
				if e := first.next(); e.Seq != int64(n+2) {
					t.Fatalf("got %d, want %d", e.Seq, n+2)
				}
			}
			before := r.hub.Stats().GapReads
			second := r.watch("ws", "op_1", "?since=1")
			for n := range c.events {
				if e := second.next(); e.Seq != int64(n+2) {
					t.Fatalf("the second got %d, want %d", e.Seq, n+2)
				}
			}
			if got, want := r.hub.Stats().GapReads-before, int64(c.events-c.kept)/10; got < want {
				t.Errorf("%d reads of SQL, want at least %d: more is kept than may be", got, want)
			}
			first.drop()
			second.drop()
		})
	}
}

// A burst larger than everything that is kept must cost nobody the connection: what fell out is read from SQL.
func TestBurstBeyondTheRing(t *testing.T) {
	r := newRig(t, live.Config{SlowAfter: 30 * time.Second, WriteTimeout: 30 * time.Second}, nil)
	r.publish("ann", "op_1", event.Queued)
	var clients []*client
	watchers, events := 20, int64(5000)
	if raceEnabled {
		watchers, events = 6, 3000
	}
	for i := range watchers {
		clients = append(clients, r.watch([]string{"ws", "sse"}[i%2], "op_1", "?since=1"))
	}
	for range events {
		r.publish("ann", "op_1", event.Batch)
	}
	r.publish("ann", "op_1", event.Completed)
	for _, c := range clients {
		got, _ := c.rest()
		checkDense(t, got, 2, events+2)
	}
}
