package live_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/servertest"
)

// BenchmarkRedis is the way of an event from Publish in one process to a WebSocket of another, over Redis: at a steady
// thousand a second, and as fast as it goes. Each of 50 operations has one watcher.
func BenchmarkRedis(b *testing.B) {
	for name, every := range map[string]time.Duration{"1000 a second": time.Millisecond, "flat out": 0} {
		b.Run(name, func(b *testing.B) {
			server := servertest.StartRedis(b)
			j := newJournal()
			config := live.Config{Poll: time.Hour}
			from, busA := redisRig(b, server.URL(), j, config)
			to, busB := redisRig(b, server.URL(), j, config)
			connected(b, busA, busB)
			const operations = 50
			commands := open(b, server.URL()).Commands
			sent := make([][]time.Time, operations)
			took := make([][]time.Duration, operations)
			var watching sync.WaitGroup
			clients := make([]*client, operations)
			for i := range operations {
				id := fmt.Sprint("op_", i)
				from.publish("ann", id, event.Queued)
				written(b, commands, id, 1)
				clients[i] = to.watch("ws", id, "")
				clients[i].next()
				sent[i] = make([]time.Time, 1, b.N/operations+2)
			}
			var mu sync.Mutex
			for i, c := range clients {
				watching.Go(func() {
					for e := range c.events {
						at := time.Now()
						mu.Lock()
						took[i] = append(took[i], at.Sub(sent[i][e.Seq-1]))
						mu.Unlock()
					}
					<-c.end
				})
			}
			b.ResetTimer()
			start := time.Now()
			for n := range b.N {
				i := n % operations
				if every > 0 {
					time.Sleep(time.Until(start.Add(time.Duration(n) * every)))
				}
				e := j.commit("ann", fmt.Sprint("op_", i), event.Batch)
				mu.Lock()
				sent[i] = append(sent[i], time.Now())
				mu.Unlock()
				from.hub.Publish(e)
				for every == 0 && busA.Stats().Written+2000 < int64(n) {
					time.Sleep(time.Millisecond)
				}
			}
			eventually(b, "all received", func() bool {
				mu.Lock()
				defer mu.Unlock()
				n := 0
				for _, t := range took {
					n += len(t)
				}
				return n == b.N
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "events/s")
			for _, c := range clients {
				_ = c.conn.Close()
			}
			watching.Wait()
			all := slices.Sorted(slices.Values(slices.Concat(took...)))
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			if s := busA.Stats(); s.Dropped > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}
