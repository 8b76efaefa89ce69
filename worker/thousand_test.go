package worker_test

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/chunk"
	"chunkstream/store"
	"chunkstream/worker"
)

// together holds every run at its first span until all of them are there, so that they surely run at once.
type together struct {
	chunk.Splitter
	meet *meeting
}

type meeting struct {
	missing atomic.Int64
	all     chan struct{}
	quit    <-chan struct{} // the test is over
}

func (s together) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		if s.meet.missing.Add(-1) == 0 {
			close(s.meet.all)
		}
		select {
		case <-s.meet.all:
			s.Splitter.Split(text)(yield)
		case <-s.meet.quit:
		}
	}
}

// TestThousandRuns has a thousand documents cut at the same time by one worker, each with a strategy and settings of its
// own: every operation gets the chunks of its own text and settings, and nobody else's.
func TestThousandRuns(t *testing.T) {
	t.Parallel()
	thousandRuns(newBench(t))
}

func thousandRuns(b *bench) {
	const runs = 1000
	meet := &meeting{all: make(chan struct{}), quit: b.Context().Done()}
	meet.missing.Store(runs)
	parse := func(strategy string, settings []byte) (chunk.Plan, error) {
		plan, err := chunk.Parse(strategy, settings)
		plan.Splitter = together{plan.Splitter, meet}
		return plan, err
	}
	strategies := chunk.Strategies()
	type run struct {
		op   store.Operation
		text string
	}
	all := make([]run, runs)
	var submitting sync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range all {
		r := &all[i]
		// No two texts are equal, and neighbours in time differ in strategy and size.
		r.text = fmt.Sprintf("# Document %d\n\n", i) + strings.ToValidUTF8(prose(300+i%37*30), "x") + fmt.Sprintf("\n\nEnd of %d.\n", i)
		strategy, settings := strategies[i%len(strategies)].Name, fmt.Sprintf(`{"chunk_size":%d}`, 150+i%11*37)
		if strategy == "sliding_window" {
			settings = strings.Replace(settings, "chunk_size", "window", 1)
		}
		if _, err := chunk.Parse(strategy, []byte(settings)); err != nil { // it would never come to the meeting
			b.Fatal(err)
		}
		slots <- struct{}{}
		submitting.Go(func() {
			var err error
			r.op, _, err = b.create(strategy, r.text, settings)
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	submitting.Wait()
	if b.Failed() {
		return
	}
	b.start(worker.Config{Parse: parse, SmallSlots: runs, Lease: time.Minute})
	used := map[string]int{}
	for _, r := range all {
		op := b.completes(r.op)
		if op.Status != store.Completed {
			b.Errorf("%s: %+v", r.op.ID, op)
			continue
		}
		plan, err := chunk.Parse(op.Strategy, op.Settings)
		if err != nil {
			b.Fatal(err)
		}
		want := slices.Collect(plan.Splitter.Split(r.text))
		got, err := b.store.Chunks(b.Context(), "o", op.ID, 0, 1<<20, store.Texts)
		if err != nil {
			b.Fatal(err)
		}
		spans := make([]chunk.Span, len(got))
		for i, c := range got {
			spans[i] = chunk.Span{Start: int(c.StartByte), End: int(c.EndByte)}
			if c.Text != r.text[c.StartByte:c.EndByte] {
				b.Errorf("%s: chunk %d is not of its text", op.ID, i)
			}
		}
		wanted := make([]chunk.Span, len(want))
		for i, c := range want {
			wanted[i] = c.Span
		}
		if !reflect.DeepEqual(spans, wanted) {
			b.Errorf("%s, %s %s: got %v, want %v", op.ID, op.Strategy, op.Settings, spans, wanted)
		}
		used[op.Strategy]++
	}
	if len(used) != len(strategies) {
		b.Errorf("%v: %d strategies, want %d", used, len(used), len(strategies))
	}
}

// completes waits until an operation has ended, however often a busy database has had it tried again.
func (b *bench) completes(op store.Operation) store.Operation {
	b.Helper()
	for {
		b.mu.Lock()
		next := b.signal(op.ID)
		b.mu.Unlock()
		if op = b.operation(op.ID); op.Status.Final() {
			return op
		}
		await(b, "the end of "+op.ID, next)
	}
}
