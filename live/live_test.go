package live_test

import (
	"fmt"
	"testing"

	"chunkstream/event"
	"chunkstream/live"
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
				t.Run(fmt.Sprint(kind, "/since ", since, " after ", joined), func(t *testing.T) {
					if kind == "sse" && since == len(story) {
						t.Skip("answered 204, see TestResumeAfterEnd")
					}
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
