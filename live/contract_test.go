package live_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/servertest"
)

// What a watcher may rely on, whatever bus brings the events: those of the same process, or of another.
func TestHubContract(t *testing.T) {
	t.Parallel()
	config := live.Config{Poll: 100 * time.Millisecond}
	for name, start := range map[string]func(*testing.T) (from, to *rig){
		"memory": func(t *testing.T) (from, to *rig) {
			r := newRig(t, config, nil)
			return r, r
		},
		"redis, one process": func(t *testing.T) (from, to *rig) {
			r, bus := redisRig(t, servertest.StartRedis(t).URL(), newJournal(), config)
			connected(t, bus)
			return r, r
		},
		"redis, two processes": func(t *testing.T) (from, to *rig) {
			url := servertest.StartRedis(t).URL()
			from, a := redisRig(t, url, newJournal(), config)
			to, b := redisRig(t, url, from.journal, config)
			connected(t, a, b)
			return from, to
		},
		"redis absent, two processes": func(t *testing.T) (from, to *rig) {
			url := "redis://" + servertest.FreeAddress(t)
			from, _ = redisRig(t, url, newJournal(), config)
			to, _ = redisRig(t, url, from.journal, config)
			return from, to
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := start(t)
			t.Run("order", func(t *testing.T) { contractOrder(t, from, to) })
			t.Run("loss", func(t *testing.T) { contractLoss(t, from, to) })
			t.Run("subscribing", func(t *testing.T) { contractSubscribing(t, from, to) })
			t.Run("stop", func(t *testing.T) { contractStop(t, from, to) })
		})
	}
}

// Several operations at once: each in order, without a gap or a duplicate.
func contractOrder(t *testing.T, from, to *rig) {
	const n = 60
	all := to.watchWS("/ws?owner=carl")
	var clients []*client
	for i := range 4 {
		from.publish("carl", fmt.Sprint("order_", i), event.Queued)
		clients = append(clients, to.watch([]string{"ws", "sse"}[i%2], fmt.Sprint("order_", i), "?since=0&owner=carl"))
	}
	var publishing sync.WaitGroup
	for i := range 4 {
		publishing.Go(func() {
			id := fmt.Sprint("order_", i)
			from.publish("carl", id, event.Started)
			for k := range n - 3 {
				from.progress("carl", id, 1, int64(20+10*k))
				from.publish("carl", id, event.Batch)
			}
			from.publish("carl", id, event.Completed)
		})
	}
	publishing.Wait()
	for i, c := range clients {
		events, _ := c.rest()
		wantSeqs(t, fmt.Sprint("order_", i), events, 1, n)
	}
	next := map[string]int64{}
	for ended := 0; ended < 4; {
		e := all.next()
		switch want := next[e.OperationID]; {
		case e.Type == event.Snapshot || e.Type == event.Resync:
			next[e.OperationID] = e.Data.Seq + 1
		case e.Seq > 0 && e.Seq != max(want, 1):
			t.Fatalf("all of carl's: got %+v, want %d", e, want)
		case e.Seq > 0:
			next[e.OperationID] = e.Seq + 1
		}
		if max(e.Seq, e.Data.Seq) == n { // by itself, or within a state when the watcher heard of it late
			ended++
		}
	}
	all.drop()
}

// A bus that loses, repeats and reorders, and above all loses the last event.
func contractLoss(t *testing.T, from, to *rig) {
	events := from.journal.journey("ann", "loss", 100, event.Completed)
	from.hub.Publish(events[0])
	clients := []*client{to.watch("ws", "loss", "?since=0"), to.watch("sse", "loss", "?since=50")}
	sent := append(events[1:99:99], events[1:99]...)
	rand.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	for _, e := range sent[:100] {
		from.hub.Publish(e)
	}
	for i, c := range clients {
		got, _ := c.rest()
		wantSeqs(t, fmt.Sprint("watcher ", i), got, int64(1+50*i), 100)
	}
}

// Streams that open while events flow: what follows the snapshot is the next event, always.
func contractSubscribing(t *testing.T, from, to *rig) {
	from.publish("ann", "sub", event.Queued)
	var watching sync.WaitGroup
	opened := make(chan struct{}, 24)
	for i := range 24 {
		watching.Go(func() {
			c := to.watch([]string{"ws", "sse"}[i%2], "sub", "")
			opened <- struct{}{}
			snapshot := c.next()
			if got, _ := c.rest(); snapshot.Data.Status != "completed" {
				wantSeqs(t, "a watcher", got, snapshot.Data.Seq+1, snapshot.Data.Seq+int64(durable(got)))
				if last := got[len(got)-1]; last.Type != event.Completed {
					t.Errorf("the last event is %+v", last)
				}
			}
		})
	}
	for n := 0; n < 24; {
		select {
		case <-opened:
			n++
		default:
		}
		start := time.Now()
		from.publish("ann", "sub", event.Batch)
		if took := time.Since(start); took > time.Second {
			t.Errorf("publishing took %v", took)
		}
		time.Sleep(time.Millisecond)
	}
	from.publish("ann", "sub", event.Completed)
	watching.Wait()
}

func durable(events []event.Event) (n int) {
	for _, e := range events {
		if e.Seq > 0 {
			n++
		}
	}
	return n
}

// The end of a hub ends its streams with a word, and does not touch who still publishes.
func contractStop(t *testing.T, from, to *rig) {
	from.publish("ann", "stop", event.Queued)
	c := to.watch("ws", "stop", "")
	c.next()
	to.stop()
	if _, end := c.rest(); end.code != int(live.CloseGoingAway) {
		t.Errorf("ended with %+v", end)
	}
	start := time.Now()
	for range 100 {
		from.publish("ann", "stop", event.Batch)
	}
	from.stop()
	from.publish("ann", "stop", event.Batch)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
