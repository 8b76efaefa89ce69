package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestBlockingDoesNotTouchCommands: with Blocking saturated, and ten times as many callers of Commands as it has
// connections, nothing of Commands fails, no connection is added, and afterwards none is left.
func TestBlockingDoesNotTouchCommands(t *testing.T) {
	s := redis(t)
	conns := open(t, Config{URL: s.url(), AcquireTimeout: -1})
	c := conns.Commands
	up(t, c)
	h := running(t, conns.Feed)
	eventually(t, 5*time.Second, "the Feed listens", h.has(1))
	ctx, cancel := context.WithCancel(t.Context())
	var waits sync.WaitGroup
	for range DefaultBlockingConnections {
		waits.Go(func() { _, _, _, _ = conns.Blocking.BLPop(ctx, MaxBlock, "nothing") })
	}
	eventually(t, 5*time.Second, "all of Blocking waits", func() error { return holds(s, DefaultBlockingConnections) })
	var refused atomic.Int64
	var calls sync.WaitGroup
	for i := range 10 * DefaultConnections {
		calls.Go(func() {
			for n := range 100 {
				if _, err := c.Incr(t.Context(), fmt.Sprint("n", i)); err != nil {
					t.Errorf("call %d: %v", n, err)
					return
				}
			}
			if _, _, _, err := conns.Blocking.BLPop(t.Context(), MaxBlock, "nothing"); err != nil {
				if class, _ := Classify(err); class == ClassExhausted {
					refused.Add(1)
				}
			}
		})
	}
	calls.Wait()
	most := map[string]int{"chunkstream-commands": DefaultConnections, "chunkstream-blocking": DefaultBlockingConnections,
		"chunkstream-feed": 1}
	for name, n := range s.named() {
		if n > most[name] {
			t.Errorf("%d connections named %s, want at most %d", n, name, most[name])
		}
	}
	st := conns.Blocking.Stats()
	if st.InUse != DefaultBlockingConnections || st.Open != DefaultBlockingConnections || st.Idle != 0 {
		t.Errorf("Blocking under load: got %+v", st)
	}
	if got := st.Errors[ClassExhausted]; got != refused.Load() || got == 0 {
		t.Errorf("%d calls were refused and %d counted", refused.Load(), got)
	}
	cancel()
	waits.Wait()
	if err := conns.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "no connection is left", func() error {
		if n := s.named(); len(n) != 0 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	for _, st := range []Stats{c.Stats(), c.BigStats(), conns.Blocking.Stats(), conns.Feed.Stats()} {
		if st.Open != 0 || st.InUse != 0 || st.Waiting != 0 || st.Up {
			t.Errorf("after Close: %+v", st)
		}
	}
}

// TestClose: it waits for what is in flight, later calls are told, and closing twice or at once is one closing.
func TestClose(t *testing.T) {
	s := redis(t)
	p := through(t, s.address())
	conns := open(t, Config{URL: p.url(), Connections: 1})
	up(t, conns.Commands)
	p.set(slow)
	done := make(chan error, 1)
	go func() {
		_, err := conns.Commands.Incr(t.Context(), "n")
		done <- err
	}()
	eventually(t, 5*time.Second, "the call is in flight", func() error {
		if s.do("EXISTS", "n") != "1" {
			return errors.New("not yet")
		}
		return nil
	})
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := conns.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closers.Wait()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the call in flight: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Close did not wait for the call in flight")
	}
	_, err := conns.Commands.Incr(t.Context(), "n")
	wants(t, "Commands", err, ClassClosed, true)
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	_, _, err = conns.Commands.GetBig(t.Context(), "n")
	wants(t, "the connection for big values", err, ClassClosed, true)
	_, err = conns.Commands.Transaction(t.Context(), []string{"n"}, nil)
	wants(t, "Transaction", err, ClassClosed, true)
	_, _, _, err = conns.Blocking.BLPop(t.Context(), MaxBlock, "n")
	wants(t, "Blocking", err, ClassClosed, true)
	wants(t, "Feed", conns.Feed.Run(t.Context(), FeedHandler{}), ClassClosed, true)
}

// TestCloseWithRedisAway: closing takes no longer than what is in flight, whatever Redis does.
func TestCloseWithRedisAway(t *testing.T) {
	for _, m := range []mode{silent, refuse} {
		s := redis(t)
		p := through(t, s.address())
		conns := open(t, Config{URL: p.url()})
		up(t, conns.Commands)
		h := &heard{}
		done := make(chan error, 1)
		go func() { done <- conns.Feed.Run(t.Context(), h.handler()) }()
		eventually(t, 5*time.Second, "the Feed listens", h.has(1))
		var wg sync.WaitGroup
		wg.Go(func() { _, _, _, _ = conns.Blocking.BLPop(t.Context(), time.Millisecond, "list") })
		p.set(m)
		start := time.Now()
		if err := conns.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("mode %v: Close took %v", m, d)
		}
		wants(t, "Run", <-done, ClassClosed, true)
	}
}

// TestManyRolesOneRedis opens and closes again and again: no connection, goroutine or name stays.
func TestOpenCloseLeavesNothing(t *testing.T) {
	s := redis(t)
	for range 20 {
		conns, err := Open(t.Context(), Config{URL: s.url(), Connections: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conns.Commands.Ping(t.Context())
		if err := conns.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 5*time.Second, "no connection is left", func() error {
		if n := s.named(); len(n) != 0 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
}

// BenchmarkSaturation prints the p99 of Commands from ten times as many callers as connections, alone and beside a
// saturated Blocking, each the middle one of all rounds, and the middle ratio of the rounds. They take turns in going
// first, and what else the machine does for a moment spoils a round and not the result. No call may fail.
func BenchmarkSaturation(b *testing.B) {
	s := redis(b)
	conns := open(b, Config{URL: s.url()})
	up(b, conns.Commands)
	measure := func() float64 {
		var mu sync.Mutex
		var all []time.Duration
		var wg sync.WaitGroup
		for i := range 10 * DefaultConnections {
			wg.Go(func() {
				mine := make([]time.Duration, 0, 500)
				for range cap(mine) {
					start := time.Now()
					if _, err := conns.Commands.Incr(b.Context(), fmt.Sprint("n", i)); err != nil {
						b.Error(err)
						return
					}
					mine = append(mine, time.Since(start))
				}
				mu.Lock()
				all = append(all, mine...)
				mu.Unlock()
			})
		}
		wg.Wait()
		slices.Sort(all)
		return float64(all[len(all)*99/100].Microseconds())
	}
	besideBlocking := func() float64 {
		ctx, cancel := context.WithCancel(b.Context())
		var waits sync.WaitGroup
		for range DefaultBlockingConnections {
			waits.Go(func() {
				for ctx.Err() == nil {
					_, _, _, _ = conns.Blocking.BLPop(ctx, MaxBlock, "nothing")
				}
			})
		}
		eventually(b, 5*time.Second, "Blocking waits", func() error { return holds(s, DefaultBlockingConnections) })
		defer waits.Wait()
		defer cancel()
		return measure()
	}
	besideBlocking() // connects, and warms what there is to warm
	var alone, beside, ratios []float64
	for round := 0; b.Loop(); round++ {
		var without, with float64
		if round%2 == 0 {
			without, with = measure(), besideBlocking()
		} else {
			with, without = besideBlocking(), measure()
		}
		alone, beside, ratios = append(alone, without), append(beside, with), append(ratios, with/without)
	}
	middle := func(all []float64) float64 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(middle(alone), "p99-alone-µs")
	b.ReportMetric(middle(beside), "p99-beside-µs")
	b.ReportMetric(middle(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCommands is one INCR from as many callers as given, over the shared connections.
func BenchmarkCommands(b *testing.B) {
	s := redis(b)
	c := open(b, Config{URL: s.url()}).Commands
	up(b, c)
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			before := c.Stats()
			b.SetParallelism((callers + 1) / 2)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Incr(b.Context(), "n"); err != nil {
						b.Error(err)
						return
					}
				}
			})
			after := c.Stats()
			for i := range after.Latency {
				after.Latency[i] -= before.Latency[i]
			}
			b.ReportMetric(float64(after.Quantile(0.99).Microseconds()), "p99-within-µs")
		})
	}
}
