package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/sandbox"
	"chunkstream/store"
	"chunkstream/worker"
)

// TestPoisonAmongGood: bad texts end as poison after two deaths each, or at once where a third attempt would tell no more;
// every good text beside them completes with its own chunks, at its first attempt.
func TestPoisonAmongGood(t *testing.T) { poisonAmongGood(t, 6, 60, 4*time.Second) }

// misdeeds are the words that the texts of the bad begin with, and the codes that they end with.
var misdeeds = []struct{ word, code string }{
	{"exit", store.PoisonCode}, {"dig", store.PoisonCode}, {"hang", store.PoisonCode}, {"eat", store.PoisonCode},
	{"panic", "splitter_failed"}, {"flood", "splitter_failed"},
}

func poisonAmongGood(t *testing.T, bad, good int, patience time.Duration) (grown int64) {
	p := pool(t, sandbox.Config{Time: patience, Memory: 192 << 20})
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	type kind struct{ misdeed, text string }
	kinds := map[string]kind{}
	add := func(misdeed, text string) {
		staged, err := db.Stage(t.Context(), "o", strings.NewReader(text), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		made, err := db.Create(t.Context(), store.NewOperation{Owner: "o", Staged: staged, Strategy: "hostile", Settings: []byte("{}"),
			SplitterVersion: chunk.Version})
		if err != nil {
			t.Fatal(err)
		}
		kinds[made.Operation.ID] = kind{misdeed, text}
	}
	for i := range bad + good { // the bad spread evenly
		if i*bad/(bad+good) != (i+1)*bad/(bad+good) {
			m := misdeeds[(i*bad/(bad+good))%len(misdeeds)]
			add(m.word, fmt.Sprintf("%s %d", m.word, i))
		} else {
			add("", fmt.Sprintf("good text %d%s", i, strings.Repeat(", of some length", i%50)))
		}
	}
	var mu sync.Mutex
	attempts := map[string]int64{}
	left := len(kinds)
	done := make(chan struct{})
	w, err := worker.New(worker.Config{
		Store: db, Parse: parse, Woken: func(store.Lane) <-chan struct{} { return nil }, Poll: 100 * time.Millisecond,
		Split: func(ctx context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
			return func(yield func(chunk.Chunk, error) bool) {
				for c, err := range p.Split(ctx, plan, text, 0) {
					if died, ok := errors.AsType[*sandbox.Error](err); ok {
						err = &worker.CrashError{Code: died.Code, Detail: died.Detail}
					}
					if !yield(c, err) {
						return
					}
				}
			}
		},
		Publish: func(e event.Owned) {
			mu.Lock()
			defer mu.Unlock()
			if e.Event.Type.Terminal() {
				attempts[e.Event.OperationID] = e.Event.Data.Attempt
				if left--; left == 0 {
					close(done)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-done:
	case <-time.After(time.Duration(bad)*10*patience + time.Duration(bad+good)*100*time.Millisecond + 2*time.Minute):
		t.Errorf("%d of %d operations have not ended", left, len(kinds))
	}
	stop()
	running.Wait()
	after := resident(t)
	for id, k := range kinds {
		op, err := db.Operation(t.Context(), "o", id)
		if err != nil {
			t.Fatal(err)
		}
		want, code := store.Completed, ""
		for _, m := range misdeeds {
			if m.word == k.misdeed {
				want, code = store.Failed, m.code
			}
		}
		got := ""
		if op.Error != nil {
			got = op.Error.Code
		}
		if op.Status != want || got != code || want == store.Completed && (attempts[id] != 1 || op.Chunks != int64(len(k.text)+15)/16) ||
			attempts[id] > 2 {
			t.Errorf("%.20q: %s after %d attempts with %d chunks, %+v; want %s %s", k.text, op.Status, attempts[id], op.Chunks, op.Error, want, code)
		}
	}
	lines, err := db.CheckInvariants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		t.Error(l)
	}
	st := w.Stats()
	t.Logf("%d good, %d bad: %d completed, %d failed, %d children died; this process went from %d to %d MiB resident",
		good, bad, st.Completed, st.Failed, st.Crashed, before>>20, after>>20)
	return int64(after) - int64(before)
}

// resident is this process's memory in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	var size, pages int64
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
