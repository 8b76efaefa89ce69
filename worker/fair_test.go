package worker_test

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"chunkstream/chunk"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
	"chunkstream/worker"
)

// TestFairness: while one owner has many operations queued, another one's single operation comes up within a few
// rounds of all slots, whichever way workers are woken.
func TestFairness(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) (wake func(lane, id string), woken []func(string) <-chan struct{}){
		"memory": func(*testing.T) (func(string, string), []func(string) <-chan struct{}) {
			m := &dispatch.Memory{}
			return m.Wake, []func(string) <-chan struct{}{m.Woken}
		},
		"redis, two processes": func(t *testing.T) (func(string, string), []func(string) <-chan struct{}) {
			server := servertest.StartRedis(t)
			var all []*dispatch.Redis
			for range 2 {
				conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New(server.URL())})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conns.Close() })
				r, err := dispatch.NewRedis(dispatch.RedisConfig{Commands: conns.Commands, Blocking: conns.Blocking})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
				var running sync.WaitGroup
				running.Go(func() {
					if err := r.Run(ctx); err != nil {
						t.Error(err)
					}
				})
				t.Cleanup(func() { stop(); running.Wait() })
				all = append(all, r)
			}
			return all[0].Wake, []func(string) <-chan struct{}{all[0].Woken, all[1].Woken}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wake, woken := open(t)
			testFairness(t, wake, woken)
		})
	}
}

func testFairness(t *testing.T, wake func(lane, id string), woken []func(string) <-chan struct{}) {
	const many, slots, rounds = 120, 4, 5
	b := newBench(t)
	submit := func(owner string, n int) {
		t.Helper()
		staged, err := b.store.Stage(t.Context(), owner, strings.NewReader(fmt.Sprintf("text %d of %s", n, owner)), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		made, err := b.store.Create(t.Context(), store.NewOperation{Owner: owner, Staged: staged, Strategy: "recursive",
			Settings: []byte(`{}`), SplitterVersion: chunk.Version})
		if err != nil {
			t.Fatal(err)
		}
		wake(string(store.Small), made.Operation.ID)
	}
	for n := range many {
		submit("many", n)
	}
	submit("few", 0)
	var ended, before atomic.Int64
	done := make(chan struct{})
	for i, woken := range woken {
		w, err := worker.New(worker.Config{Store: b.store, SmallSlots: slots, Name: fmt.Sprint("worker", i),
			Woken: func(l store.Lane) <-chan struct{} { return woken(string(l)) },
			Publish: func(o event.Owned) {
				switch {
				case o.Event.Type != event.Completed:
				case o.Owner == "few":
					before.Store(ended.Load())
					close(done)
				default:
					ended.Add(1)
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		var running sync.WaitGroup
		running.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() { stop(); running.Wait() })
	}
	await(t, "the end of the one of the owner of few", done)
	if got, most := before.Load(), int64(rounds*slots*len(woken)); got > most {
		t.Errorf("%d operations of the owner of %d ended before the one of the other owner, want at most %d", got, many, most)
	}
}

// TestMemoryLimit: a memory limit bounds how much text is in flight.
func TestMemoryLimit(t *testing.T) {
	b := newBench(t)
	text := prose(1200 << 10) // two of them are more than a quarter of the limit
	var most atomic.Int64
	var all []<-chan struct{}
	for i := range 4 {
		_, ended, err := b.create("recursive", fmt.Sprint(i, text), `{"chunk_size":100000}`)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ended)
	}
	was := debug.SetMemoryLimit(8 << 20)
	b.start(worker.Config{LargeSlots: 4, Split: func(ctx context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
		now, err := b.store.Stats(ctx) // those that were claimed together are all in flight in SQL before the first is here
		if err != nil {
			t.Error(err)
		}
		most.Store(max(most.Load(), now.Processing))
		return chunk.Guard(plan.Strategy, plan.Splitter, text)
	}})
	debug.SetMemoryLimit(was) // the worker has asked for it
	for _, ended := range all {
		await(t, "the end", ended)
	}
	if got := most.Load(); got != 1 {
		t.Errorf("%d texts of 1.2 MiB were in flight at the same time under a limit of 8 MiB, want one", got)
	}
}
