package live_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chunkstream/event"
	"chunkstream/live"
)

// These tests run on a clock of their own, over connections that hold nothing in between.

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		clients := []*client{
			r.watch("ws", "op_1", ""), r.watch("sse", "op_1", ""), r.watchWS("/ws"), r.watchSSE("/events", ""),
		}
		for _, c := range clients {
			c.next()
		}
		began := time.Now()
		for range 10 {
			for _, c := range clients {
				<-c.pings
			}
		}
		if got := time.Since(began); got < 145*time.Second || got > 156*time.Second {
			t.Errorf("10 heartbeats took %v, want 150 s", got)
		}
		// Whoever answers stays, and the server's own timeouts of 1 s have ended nobody.
		r.publish("ann", "op_1", event.Started)
		for i, c := range clients {
			if e := c.next(); e.Seq != 2 {
				t.Errorf("client %d got %+v, want started", i, e)
			}
		}
	})
}

// Those who open at the same time, as all do whose server has died, share what is read for that: of one operation its state and
// their replays, of everything the states.
func TestCrowdOpens(t *testing.T) {
	const crowd, events = 60, 20
	for _, all := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, live.Config{})
			defer r.stop()
			for range events {
				r.publish("ann", "op_1", event.Batch)
			}
			gate := make(chan struct{})
			r.journal.onRead = func() { <-gate }
			var opening sync.WaitGroup
			clients, first := make([]*client, crowd), make([]int64, crowd)
			for i := range crowd {
				kind, query := []string{"ws", "sse"}[i%2], ""
				if first[i] = events + 1; !all {
					first[i] = int64(10 + i%4)
					query = fmt.Sprint("?since=", first[i]-1)
				}
				opening.Go(func() {
					switch {
					case !all:
						clients[i] = r.watch(kind, "op_1", query)
					case kind == "ws":
						clients[i] = r.watchWS("/ws")
					default:
						clients[i] = r.watchSSE("/events", "")
					}
				})
			}
			synctest.Wait() // the first one's read is under way, and everybody else waits
			close(gate)
			opening.Wait()
			r.publish("ann", "op_1", event.Batch)
			for i, c := range clients {
				if all {
					if e := c.next(); e.Type != event.Snapshot || e.Data.Seq != events {
						t.Fatalf("client %d opens with %+v", i, e)
					}
				}
				for n := first[i]; n <= events+1; n++ {
					if e := c.next(); e.Seq != n {
						t.Fatalf("client %d got %+v, want event %d", i, e, n)
					}
				}
			}
			if reads := r.journal.states; reads > 2 {
				t.Errorf("all %v: %d opened with %d reads of where it stands, want at most 2", all, crowd, reads)
			}
			if reads := r.hub.Stats().GapReads; reads > 2 {
				t.Errorf("all %v: %d replays took %d reads, want at most 2", all, crowd, reads)
			}
		})
	}
}

func TestSilentSocketIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		began := time.Now()
		c := r.watchWSHandler("/op/op_1/ws", false)
		c.next()
		for range c.events {
		}
		<-c.end
		if got := time.Since(began); got < 45*time.Second || got > 47*time.Second {
			t.Errorf("closed after %v, want 45 s", got)
		}
		if s := r.hub.Stats(); s.SilentClosed != 1 {
			t.Errorf("stats: %+v, want one silent", s)
		}
	})
}

// A lost last event leaves no gap; only the poll can find it.
func TestPollFindsLostLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		clients := []*client{r.watch("ws", "op_1", ""), r.watch("sse", "op_1", ""), r.watchWS("/ws")}
		for _, c := range clients {
			c.next()
		}
		began := time.Now()
		r.journal.commit("ann", "op_1", event.Completed)
		for _, c := range clients {
			if e := c.next(); e.Seq != 2 {
				t.Errorf("got %+v, want completed2", e)
			}
		}
		if got := time.Since(began); got > time.Second {
			t.Errorf("found after %v, want at most 1 s", got)
		}
	})
}

func TestSourceFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		clients := []*client{r.watch("ws", "op_1", ""), r.watch("sse", "op_1", ""), r.watchWS("/ws")}
		for _, c := range clients {
			c.next()
		}
		r.journal.setBroken(true)
		r.journal.commit("ann", "op_1", event.Started) // lost
		r.publish("ann", "op_1", event.Batch)          // must not be delivered before it
		time.Sleep(25 * time.Second)
		for i, c := range clients {
			if got := c.come(); len(got) > 0 {
				t.Errorf("client %d got %s although event 2 could not be read", i, brief(got))
			}
		}
		r.journal.setBroken(false)
		r.publish("ann", "op_1", event.Completed)
		for i, c := range clients {
			events := c.untilEnded(1)
			checkDense(t, events, 2, 4)
			if i < 2 {
				c.rest()
			}
		}
		if s := r.hub.Stats(); s.SourceErrors < 20 {
			t.Errorf("SourceErrors = %d, want one for each try", s.SourceErrors)
		}
	})
}

func TestSourceFailsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		began := time.Now()
		clients := []*client{r.watch("ws", "op_1", ""), r.watch("sse", "op_1", ""), r.watchWS("/ws"),
			r.watchSSE("/events", "")}
		for _, c := range clients {
			c.next()
		}
		r.journal.setBroken(true)
		for i, c := range clients {
			_, end := c.rest30()
			if want := []int{1013, 0, 1013, 0}[i]; end.code != want {
				t.Errorf("client %d ended with %+v, want %d", i, end, want)
			}
		}
		if got := time.Since(began); got < 30*time.Second || got > 34*time.Second {
			t.Errorf("gave up after %v, want 30 s", got)
		}
	})
}

// rest30 is rest for an end that takes its time, on the tests' clock.
func (c *client) rest30() (out []event.Event, end ended) {
	for e := range c.events {
		out = append(out, e)
	}
	return out, <-c.end
}

// Progress is conflated for whoever is not reading: the newest is what counts.
func TestEphemeralIsConflated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		r.publish("ann", "op_1", event.Started)
		for i, path := range []string{"/op/op_1/ws", "/ws"} {
			first := int64(100 * (i + 1)) // what was heard before would be no news
			conn, err := r.dial()
			if err != nil {
				t.Fatal(err)
			}
			handshake(t, conn, path)
			synctest.Wait() // the snapshot is on its way, and nobody reads
			for n := range int64(100) {
				r.progress("ann", "op_1", 1, first+n)
			}
			synctest.Wait()
			events := readEvents(t, conn, 2)
			if brief(events) != "snapshot@2 progress" || events[1].Data.BytesDone != first+99 {
				t.Errorf("%s: got %s with %d bytes, want the snapshot and the last progress", path, brief(events),
					events[1].Data.BytesDone)
			}
			_ = conn.Close()
		}
	})
}

// Bounded patience, on the exact clock: a stuck write alone is no reason, nor is a full mailbox alone.
func TestSlowReaderByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, live.Config{})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		conn, err := r.dial()
		if err != nil {
			t.Fatal(err)
		}
		handshake(t, conn, "/op/op_1/ws")
		for range 64 {
			r.publish("ann", "op_1", event.Batch)
		}
		time.Sleep(3 * time.Second)
		if s := r.hub.Stats(); s.SlowClosed != 0 {
			t.Fatalf("closed with a mailbox that is just full: %+v", s)
		}
		r.publish("ann", "op_1", event.Batch)
		time.Sleep(time.Second)
		if s := r.hub.Stats(); s.SlowClosed != 1 {
			t.Fatalf("still open with an overflowed mailbox: %+v", s)
		}
		last, code, reason := readFrames(t, conn)
		if last != 0 || code != 4408 || reason != "slow reader: reconnect with since=1" {
			t.Errorf("read up to %d, then %d %q; want the snapshot alone and 4408 since=1", last, code, reason)
		}
		_ = conn.Close()
	})
}

// Where nobody can say whether sessions have ended, streams that stand on one end after a while, and only those; an answer
// in between begins the while anew.
func TestSessionsThatCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		r := newPipeRig(t, live.Config{Ended: func(_ context.Context, sessions []any) ([]bool, error) {
			if broken.Load() {
				return nil, errors.New("no database")
			}
			return make([]bool, len(sessions)), nil
		}})
		defer r.stop()
		r.publish("ann", "op_1", event.Queued)
		const by = "session=key_1"
		clients := []*client{r.watch("ws", "op_1", "?"+by), r.watch("sse", "op_1", "?"+by), r.watchWS("/ws?" + by), r.watchSSE("/events?"+by, "")}
		never := r.watch("ws", "op_1", "")
		for _, c := range append(clients, never) {
			c.next()
		}
		for range 3 {
			broken.Store(true)
			time.Sleep(7 * time.Second)
			broken.Store(false)
			time.Sleep(2 * time.Second)
		}
		r.publish("ann", "op_1", event.Started)
		for i, c := range append(clients, never) {
			if e := c.next(); e.Seq != 2 {
				t.Errorf("client %d got %+v, want started", i, e)
			}
		}
		broken.Store(true)
		began := time.Now()
		for i, c := range clients {
			select {
			case end := <-c.end:
				if want := []int{1013, 0, 1013, 0}[i]; end.code != want {
					t.Errorf("client %d ended with %+v, want %d", i, end, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("client %d goes on", i)
			}
		}
		if took := time.Since(began); took < 7*time.Second || took > 11*time.Second {
			t.Errorf("ended after %v, want about 8 s", took)
		}
		r.publish("ann", "op_1", event.Batch)
		if e := never.next(); e.Seq != 3 {
			t.Errorf("the one without a session got %+v, want a batch", e)
		}
	})
}

// The end of Run's context alone ends streams too, politely.
func TestRunEnds(t *testing.T) {
	r := newRig(t, live.Config{}, nil)
	r.publish("ann", "op_1", event.Queued)
	c := r.watch("ws", "op_1", "")
	c.next()
	r.cancel()
	if _, end := c.rest(); end.code != int(live.CloseGoingAway) {
		t.Errorf("ended with %+v, want 1001", end)
	}
}

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := live.NewMemory(4)
		for n := range int64(6) {
			bus.Publish(event.Owned{Owner: "ann", Event: event.Event{Seq: n + 1}})
		}
		if got := bus.Dropped(); got != 2 {
			t.Errorf("Dropped = %d, want 2", got)
		}
		var got []int64
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(done)
			_ = bus.Run(ctx, live.Receiver{Deliver: func(e event.Owned) { got = append(got, e.Event.Seq) }})
		}()
		synctest.Wait()
		cancel()
		<-done
		if len(got) != 4 || got[0] != 1 || got[3] != 4 {
			t.Errorf("delivered %v, want 1 to 4", got)
		}
	})
}
