package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chunkstream/chunk"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/store"
	"chunkstream/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a store, wake-ups and a worker over them.
type bench struct {
	*testing.T
	store *store.Store
	wake  dispatch.Memory

	mu     sync.Mutex
	events map[string][]event.Event // durable ones, per operation
	ended  map[string]chan struct{}
	other  chan event.Event // ephemeral ones

	cancel    context.CancelFunc // asks the newest worker to stop, and does not wait
	path      string
	abandoned bool // a run was cut off: its lease may still be held
}

func newBench(t *testing.T) *bench {
	return newBenchOn(t, store.Config{Path: filepath.Join(t.TempDir(), "a.db")})
}

func newBenchOn(t *testing.T, database store.Config) *bench {
	path := database.Path
	s, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, store: s, path: path, events: map[string][]event.Event{}, ended: map[string]chan struct{}{},
		other: make(chan event.Event, 100)}
	t.Cleanup(func() {
		lines, err := s.CheckInvariants(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, l := range lines {
			if !strings.HasPrefix(l, "I1 ") && !b.abandoned { // some tests stop half-way on purpose
				t.Error(l)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) publish(o event.Owned) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := o.Event
	if e.Seq == 0 {
		select {
		case b.other <- e:
		default:
		}
		return
	}
	b.events[e.OperationID] = append(b.events[e.OperationID], e)
	if leaves(e) {
		close(b.signal(e.OperationID))
		delete(b.ended, e.OperationID)
	}
}

// leaves reports whether an operation is no longer processed after an event.
func leaves(e event.Event) bool {
	return e.Type.Terminal() || e.Type == event.HandedOver || e.Type == event.Retrying
}

func (b *bench) signal(id string) chan struct{} {
	if b.ended[id] == nil {
		b.ended[id] = make(chan struct{})
	}
	return b.ended[id]
}

// submit creates an operation and gives a channel that closes when it leaves processing.
func (b *bench) submit(text, settings string) (store.Operation, <-chan struct{}) {
	b.Helper()
	op, ended, err := b.create("recursive", text, settings)
	if err != nil {
		b.Fatal(err)
	}
	return op, ended
}

func (b *bench) create(strategy, text, settings string) (store.Operation, <-chan struct{}, error) {
	st, err := b.store.Stage(b.Context(), "o", strings.NewReader(text), 64<<20)
	if err != nil {
		return store.Operation{}, nil, err
	}
	c, err := b.store.Create(b.Context(), store.NewOperation{Owner: "o", Staged: st, Strategy: strategy,
		Settings: []byte(settings), SplitterVersion: chunk.Version})
	if err != nil {
		return store.Operation{}, nil, err
	}
	b.mu.Lock()
	ended := b.signal(c.Operation.ID)
	if slices.ContainsFunc(b.events[c.Operation.ID], leaves) { // a worker that looks by itself may have been quicker
		close(ended)
		delete(b.ended, c.Operation.ID)
	}
	b.mu.Unlock()
	b.wake.Wake(string(store.LaneOf(st.Bytes)), c.Operation.ID)
	return c.Operation, ended, nil
}

func (b *bench) operation(id string) store.Operation {
	b.Helper()
	op, err := b.store.Operation(context.Background(), "o", id)
	if err != nil {
		b.Fatal(err)
	}
	return op
}

// start runs a worker until the returned function is called.
func (b *bench) start(cfg worker.Config) (w *worker.Worker, stop func()) {
	b.Helper()
	cfg.Store, cfg.Publish = b.store, b.publish
	cfg.Woken = func(l store.Lane) <-chan struct{} { return b.wake.Woken(string(l)) }
	w, err := worker.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			b.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	b.Cleanup(stop)
	return w, stop
}

func prose(bytes int) string {
	return strings.Repeat("Some words make a sentence. Others, 日本語 among them, follow it.\n\n", bytes/68+1)[:bytes]
}

func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s did not happen", what)
	}
}

func TestRunsToTheEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.start(worker.Config{})
	for _, size := range []int{0, 10, 5000, 300 << 10, 700 << 10} {
		text := strings.ToValidUTF8(prose(size), "x")
		op, ended := b.submit(text, `{"chunk_size":700,"unit":"chars"}`)
		await(t, "the end", ended)
		got := b.operation(op.ID)
		if got.Status != store.Completed || got.BytesDone != got.BytesTotal {
			t.Fatalf("%d bytes: %+v", size, got)
		}
		plan, err := chunk.Parse(got.Strategy, got.Settings)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := b.store.Chunks(t.Context(), "o", op.ID, 0, 1<<20, store.Texts)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for s := range plan.Splitter.Split(text) {
			c := chunks[i]
			if c.StartByte != int64(s.Start) || c.EndByte != int64(s.End) || c.Text != text[s.Start:s.End] {
				t.Fatalf("chunk %d is [%d, %d), want %v", i, c.StartByte, c.EndByte, s)
			}
			if want := int64(len([]rune(text[:s.Start]))); i%97 == 0 && c.StartChar != want {
				t.Fatalf("chunk %d starts at character %d, want %d", i, c.StartChar, want)
			}
			i++
		}
		if i != len(chunks) || int64(i) != got.Chunks {
			t.Fatalf("%d chunks stored, %d counted, %d cut", len(chunks), got.Chunks, i)
		}
	}
}

func TestWhiteSpaceHasNoChunks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.start(worker.Config{})
	op, ended := b.submit(" \n\t ", `{}`)
	await(t, "the end", ended)
	if got := b.operation(op.ID); got.Status != store.Completed || got.Chunks != 0 || got.BytesDone != 4 {
		t.Errorf("%+v", got)
	}
}

// gated is a strategy whose spans come one by one, each after a step was allowed.
type gated struct {
	step  chan struct{}
	after int             // spans before the first wait
	quit  <-chan struct{} // the test is over: a run that still waits must not hold up its end
}

func (g gated) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		for i := range len(text) {
			if i >= g.after {
				select {
				case <-g.step:
				case <-g.quit:
					return
				}
			}
			if !yield(chunk.Chunk{Span: chunk.Span{Start: i, End: i + 1}}) {
				return
			}
		}
	}
}

func parseAs(s chunk.Splitter) func(string, []byte) (chunk.Plan, error) {
	return func(strategy string, settings []byte) (chunk.Plan, error) {
		return chunk.Plan{Strategy: strategy, Settings: settings, Splitter: s}, nil
	}
}

func TestStopHandsOverAndSuccessorGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	g := gated{make(chan struct{}), 3, t.Context().Done()}
	_, stop := b.start(worker.Config{Parse: parseAs(g)})
	text := strings.Repeat("abcdefgh", 500)
	op, left := b.submit(text, `{}`)
	stopped := make(chan struct{})
	g.step <- struct{}{} // the fourth span has been asked for: the run is well on its way
	b.cancel()
	go func() { // from here on each span finds that it shall stop
		for {
			select {
			case g.step <- struct{}{}:
			case <-stopped:
				return
			}
		}
	}()
	stop()
	close(stopped)
	await(t, "hand-over", left)
	got := b.operation(op.ID)
	if got.Status != store.Queued || got.Chunks == 0 {
		t.Fatalf("after the stop: %+v", got)
	}
	b.mu.Lock()
	ended := b.signal(op.ID)
	b.mu.Unlock()
	free := make(chan struct{})
	close(free)
	b.start(worker.Config{Parse: parseAs(gated{free, 0, nil})})
	await(t, "the end", ended)
	got = b.operation(op.ID)
	if got.Status != store.Completed || got.Chunks != 4000 || got.Attempt != 2 {
		t.Errorf("in the end: %+v", got)
	}
}

func TestCancelTakesEffectWithinABatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	g := gated{make(chan struct{}), 2, t.Context().Done()}
	b.start(worker.Config{Parse: parseAs(g), Lease: 30 * time.Millisecond})
	op, ended := b.submit("abcdefgh", `{}`)
	g.step <- struct{}{}
	if _, _, err := b.store.Cancel(t.Context(), "o", op.ID); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; { // the wish arrives with a renewal; the next span acts on it
		select {
		case g.step <- struct{}{}:
		case <-ended:
			done = true
		}
		if b.operation(op.ID).Status == store.Completed {
			t.Fatal("completed in spite of the cancel")
		}
	}
	if got := b.operation(op.ID); got.Status != store.Cancelled {
		t.Errorf("%+v", got)
	}
}

// TestStalledIsSaidWhileTheLeaseIsKept: of a run that stores nothing watchers are told and the gauge counts it, while nobody takes it
// from its worker; once it goes on it completes at its first attempt, and is counted no more.
func TestStalledIsSaidWhileTheLeaseIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	g := gated{make(chan struct{}), 1, t.Context().Done()}
	w, stop := b.start(worker.Config{Parse: parseAs(g), Lease: 3 * time.Second, Stalled: time.Millisecond})
	op, ended := b.submit("abcdefgh", `{}`)
	for range 2 { // with every renewal
		select {
		case e := <-b.other:
			if e.Type != event.Stalled || e.OperationID != op.ID || e.Seq != 0 || e.Data.Status != string(store.Processing) || e.Data.Worker == "" {
				t.Errorf("got %+v", e)
			}
		case <-ended:
			t.Fatal("it has ended")
		case <-time.After(2 * time.Minute):
			t.Fatal("nobody was told")
		}
	}
	if s := w.Stats(); s.Running != 1 || s.Stalled != 1 {
		t.Errorf("while it stalls: %+v", s)
	}
	close(g.step)
	await(t, "the end", ended)
	if got := b.operation(op.ID); got.Status != store.Completed || got.Attempt != 1 || got.Chunks != 8 {
		t.Errorf("in the end: %+v", got)
	}
	stop() // the run has left
	if s := w.Stats(); s.Running != 0 || s.Stalled != 0 || s.Fenced != 0 {
		t.Errorf("after the end: %+v", s)
	}
}

// TestNoProcessCostsNoAttempt: a run that gets no process to cut its text in waits for one with its lease; meanwhile a cancel
// ends it and a stop gives it back.
func TestNoProcessCostsNoAttempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(b *bench, id string) error
		want store.Status
		last event.Type
	}{
		"there is one again": {nil, store.Completed, event.Completed},
		"cancelled": {func(b *bench, id string) error {
			_, _, err := b.store.Cancel(b.Context(), "o", id)
			return err
		}, store.Cancelled, event.Cancelled},
		"stopped": {func(b *bench, _ string) error {
			b.cancel()
			return nil
		}, store.Queued, event.HandedOver},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			asked := make(chan struct{}, 100)
			var times atomic.Int64
			w, stop := b.start(worker.Config{Lease: time.Second, Split: func(_ context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
				if times.Add(1) > 2 && c.do == nil {
					return chunk.Guard(plan.Strategy, plan.Splitter, text)
				}
				return func(yield func(chunk.Chunk, error) bool) {
					asked <- struct{}{}
					yield(chunk.Chunk{}, fmt.Errorf("no files: %w", worker.ErrNoProcess))
				}
			}})
			op, left := b.submit("abcdefgh", `{}`)
			await(t, "the first try", asked)
			if c.do != nil {
				if err := c.do(b, op.ID); err != nil {
					t.Fatal(err)
				}
			}
			await(t, "the end", left)
			stop()
			got := b.operation(op.ID)
			b.mu.Lock()
			defer b.mu.Unlock()
			if events := b.events[op.ID]; got.Status != c.want || got.Attempt != 1 || got.Failures != 0 || events[len(events)-1].Type != c.last {
				t.Errorf("%+v after %+v", got, events)
			}
			if s := w.Stats(); s.NoProcess < 1 || c.do == nil && s.NoProcess != 2 || s.Retried != 0 || s.Failed != 0 {
				t.Errorf("counted are %+v", s)
			}
		})
	}
}

// TestNoProcessHandsOver: whose machine gives no process for ProcessWait gives the operation back and leaves it alone as long again, so
// that watchers are not told of it over and over, and a worker that can gets it.
func TestNoProcessHandsOver(t *testing.T) {
	t.Parallel()
	const wait = 200 * time.Millisecond
	b := newBench(t)
	sick, _ := b.start(worker.Config{Name: "sick", Lease: 2 * time.Second, Poll: 10 * time.Millisecond, ProcessWait: wait,
		Split: func(context.Context, chunk.Plan, string) iter.Seq2[chunk.Chunk, error] {
			return func(yield func(chunk.Chunk, error) bool) {
				yield(chunk.Chunk{}, fmt.Errorf("no files: %w", worker.ErrNoProcess))
			}
		}})
	op, left := b.submit("abcdefgh", `{}`)
	for range 3 {
		await(t, "the hand-over", left)
		b.mu.Lock()
		left = b.signal(op.ID)
		b.mu.Unlock()
	}
	b.start(worker.Config{Name: "well"})
	for b.operation(op.ID).Status != store.Completed {
		await(t, "the end, or one more hand-over", left)
		b.mu.Lock()
		left = b.signal(op.ID)
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var last time.Time
	for _, e := range b.events[op.ID] {
		if e.Type == event.HandedOver {
			if gap := e.Time.Sub(last); gap < 2*wait-10*time.Millisecond { // the clocks are the database's and ours
				t.Errorf("two hand-overs within %v", gap)
			}
			last = e.Time.Time
		}
	}
	if s := sick.Stats(); s.NoProcess < 6 || s.Running != 0 || s.Retried+s.Failed != 0 {
		t.Errorf("counted are %+v", s)
	}
	if got := b.operation(op.ID); got.Failures != 0 {
		t.Errorf("it cost an attempt: %+v", got)
	}
}

// TestNoProcessClaimsNothing: while a text waits for a process no other one is claimed, nor reserved room for, and then they are.
func TestNoProcessClaimsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	asked, mended := make(chan struct{}, 1), make(chan struct{})
	w, _ := b.start(worker.Config{SmallSlots: 4, Lease: 2 * time.Second, Poll: 10 * time.Millisecond,
		Split: func(_ context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
			select {
			case <-mended:
				return chunk.Guard(plan.Strategy, plan.Splitter, text)
			default:
			}
			return func(yield func(chunk.Chunk, error) bool) {
				select {
				case asked <- struct{}{}:
				default:
				}
				yield(chunk.Chunk{}, worker.ErrNoProcess)
			}
		}})
	_, first := b.submit("abcdefgh", `{}`)
	await(t, "the first try", asked)
	await(t, "the second try", asked) // and so it has been counted among those that wait
	second, end := b.submit("abcdefgh", `{}`)
	await(t, "the third try", asked)
	if take, _ := w.Reserve(store.NewOperation{Strategy: "recursive", Staged: &store.Staged{Bytes: 8}}, nil); take != nil {
		t.Error("room was reserved")
	}
	if got := b.operation(second.ID); got.Status != store.Queued {
		t.Errorf("another one was claimed: %+v", got)
	}
	close(mended)
	await(t, "the end of the first", first)
	await(t, "the end of the second", end)
}

type broken func(yield func(chunk.Chunk) bool)

func (f broken) Split(string) iter.Seq[chunk.Chunk] { return iter.Seq[chunk.Chunk](f) }

func TestPermanentErrorsEndAtOnceWithTheCause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parse func(string, []byte) (chunk.Plan, error)
		code  string
		words string
	}{
		"panic": {parseAs(broken(func(func(chunk.Chunk) bool) { panic("secret detail") })), "internal", "log"},
		"stuck": {parseAs(broken(func(y func(chunk.Chunk) bool) {
			for y(chunk.Chunk{Span: chunk.Span{Start: 0, End: 2}}) { // the same again
			}
		})), "splitter_failed", "recursive"},
		"outside":  {parseAs(broken(func(y func(chunk.Chunk) bool) { y(chunk.Chunk{Span: chunk.Span{Start: 0, End: 99}}) })), "splitter_failed", "recursive"},
		"settings": {func(string, []byte) (chunk.Plan, error) { return chunk.Plan{}, errors.New("chunk_size: is odd") }, "invalid_settings", "chunk_size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w, _ := b.start(worker.Config{Parse: c.parse})
			op, ended := b.submit("abcdefgh", `{}`)
			await(t, "the end", ended)
			got := b.operation(op.ID)
			if got.Status != store.Failed || got.Attempt != 1 || got.Error.Code != c.code ||
				!strings.Contains(got.Error.Detail, c.words) || strings.Contains(got.Error.Detail, "secret") {
				t.Errorf("%+v, error %+v", got, got.Error)
			}
			if n := w.Stats().Failed; n != 1 {
				t.Errorf("%d failures counted", n)
			}
		})
	}
}

// TestOutputIsBounded: an operation may store so many chunks and bytes of text, and not one more; it fails at once and for
// good, says what to change, and what a run has stored before counts.
func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	const text = "abcdefghijklmnopqrst" // 20 bytes
	ones := broken(func(y func(chunk.Chunk) bool) {
		for i := range len(text) {
			if !y(chunk.Chunk{Span: chunk.Span{Start: i, End: i + 1}}) {
				return
			}
		}
	})
	overlapping := broken(func(y func(chunk.Chunk) bool) { // 11 of 10 bytes
		for i := range 11 {
			if !y(chunk.Chunk{Span: chunk.Span{Start: i, End: i + 10}}) {
				return
			}
		}
	})
	for name, c := range map[string]struct {
		splitter       chunk.Splitter
		chunks, output int64
		code           string
	}{
		"as many as may be": {ones, 20, 20, ""}, "one chunk more": {ones, 19, 1000, "too_many_chunks"},
		"as much as may be": {overlapping, 1000, 110, ""}, "one byte more": {overlapping, 1000, 109, "too_much_output"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.start(worker.Config{Parse: parseAs(c.splitter), MaxChunks: c.chunks, MaxOutput: c.output})
			op, ended := b.submit(text, `{}`)
			await(t, "the end", ended)
			switch got := b.operation(op.ID); {
			case c.code == "" && got.Status != store.Completed:
				t.Errorf("%+v, error %+v", got, got.Error)
			case c.code != "" && (got.Status != store.Failed || got.Attempt != 1 || got.Error.Code != c.code || !strings.Contains(got.Error.Detail, "take ")):
				t.Errorf("%+v, error %+v", got, got.Error)
			}
			w, err := worker.New(worker.Config{Store: b.store, Publish: b.publish, Woken: func(store.Lane) <-chan struct{} { return nil },
				MaxChunks: c.chunks, MaxOutput: c.output})
			if err != nil {
				t.Fatal(err)
			}
			if all, ok := w.Cut(c.splitter, text); ok != (c.code == "") || ok != (len(all) > 0) {
				t.Errorf("cut within the request: %d chunks, %v", len(all), ok)
			}
		})
	}
}

// TestTransientErrorIsTriedAgain: the texts cannot be read for a while.
func TestTransientErrorIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	op, left := b.submit("abcdefgh", `{}`)
	rename := func(from, to string) {
		t.Helper()
		// The view over the parts must not follow the table to its new name.
		if _, err := db.ExecContext(t.Context(), `PRAGMA legacy_alter_table = ON; ALTER TABLE `+from+` RENAME TO `+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("document_parts", "elsewhere")
	w, _ := b.start(worker.Config{Poll: 20 * time.Millisecond})
	await(t, "the first failure", left)
	rename("elsewhere", "document_parts")
	for {
		b.mu.Lock()
		next := b.signal(op.ID)
		b.mu.Unlock()
		if b.operation(op.ID).Status.Final() {
			break
		}
		select {
		case <-next:
		case <-time.After(50 * time.Millisecond): // it ended before the signal was there
		}
	}
	got := b.operation(op.ID)
	if got.Status != store.Completed || got.Attempt < 2 || got.Error != nil || w.Stats().Retried < 1 {
		t.Errorf("%+v, %+v", got, w.Stats())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events[op.ID] {
		if e.Type == event.Retrying {
			if e.Data.Error == nil || e.Data.Error.Code != "temporary" || e.Data.RetryInMs < 400 {
				t.Errorf("%+v", e.Data)
			}
			return
		}
	}
	t.Error("no retrying event")
}

// TestLargeNeverBeforeSmall blocks every large slot and sees small ones run.
func TestLargeNeverBeforeSmall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	release := make(chan struct{})
	slow := func(strategy string, settings []byte) (chunk.Plan, error) {
		p, err := chunk.Parse(strategy, settings)
		return chunk.Plan{Strategy: p.Strategy, Settings: p.Settings, Splitter: waiting{p.Splitter, release}}, err
	}
	w, _ := b.start(worker.Config{Parse: slow, LargeSlots: 2})
	var larges []<-chan struct{}
	for i := range 5 {
		_, ended := b.submit(prose(400<<10+i), `{}`)
		larges = append(larges, ended)
	}
	for i := range 20 {
		_, ended := b.submit(strings.Repeat("x", i+1), `{}`)
		await(t, "a small one's end", ended)
	}
	if n := w.Stats().Completed; n != 20 {
		t.Errorf("%d completed, want the 20 small ones", n)
	}
	close(release)
	for _, ended := range larges {
		await(t, "a large one's end", ended)
	}
}

type waiting struct {
	chunk.Splitter
	release chan struct{}
}

func (w waiting) Split(text string) iter.Seq[chunk.Chunk] {
	if len(text) > store.SmallBytes {
		<-w.release
	}
	return w.Splitter.Split(text)
}

// TestBytesInFlight: two large texts that together exceed the bound run one after the other; one that alone exceeds it
// still runs.
func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var mu sync.Mutex
	running, most := 0, 0
	count := func(strategy string, settings []byte) (chunk.Plan, error) {
		p, err := chunk.Parse(strategy, settings)
		return chunk.Plan{Strategy: p.Strategy, Settings: p.Settings, Splitter: counting{p.Splitter, func(d int) {
			mu.Lock()
			defer mu.Unlock()
			running += d
			most = max(most, running)
		}}}, err
	}
	b.start(worker.Config{Parse: count, LargeSlots: 4, LargeBytes: 500 << 10})
	var ends []<-chan struct{}
	for i := range 4 {
		_, ended := b.submit(prose(300<<10+i), `{}`)
		ends = append(ends, ended)
	}
	_, ended := b.submit(prose(900<<10), `{}`)
	for _, e := range append(ends, ended) {
		await(t, "an end", e)
	}
	if most != 1 {
		t.Errorf("%d texts in flight at once, want 1", most)
	}
}

type counting struct {
	chunk.Splitter
	add func(int)
}

func (c counting) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		c.add(1)
		defer c.add(-1)
		c.Splitter.Split(text)(yield)
	}
}

// reserved creates an operation whose slot was reserved, as soon as the first claim has found nothing.
func (b *bench) reserved(w *worker.Worker, splitter chunk.Splitter, text string) (store.Created, <-chan struct{}) {
	b.Helper()
	st, err := b.store.Stage(b.Context(), "o", strings.NewReader(text), 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	n := store.NewOperation{Owner: "o", Staged: st, Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: chunk.Version}
	var start func(store.Created)
	for n.Take, start = w.Reserve(n, splitter); n.Take == nil; n.Take, start = w.Reserve(n, splitter) {
		b.wake.Wake(string(store.Small), "")
		runtime.Gosched()
	}
	made, err := b.store.Create(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	b.mu.Lock()
	ended := b.signal(made.Operation.ID)
	b.mu.Unlock()
	start(made)
	return made, ended
}

// ofSize is a text of that many bytes that is about to be created.
func ofSize(bytes int64) store.NewOperation {
	return store.NewOperation{Staged: &store.Staged{Bytes: bytes}}
}

// TestReserve: a reserved operation runs without a wake-up or a poll; the bounds, older operations and the end of Run go
// before a reservation.
func TestReserve(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hold := make(chan struct{})
	slow := func(strategy string, settings []byte) (chunk.Plan, error) {
		p, err := chunk.Parse(strategy, settings)
		return chunk.Plan{Strategy: p.Strategy, Settings: p.Settings, Splitter: counting{p.Splitter, func(d int) {
			if d > 0 {
				<-hold
			}
		}}}, err
	}
	text := strings.ToValidUTF8(prose(100_000), "") // too long to be cut before it is created
	w, stop := b.start(worker.Config{Parse: slow, SmallSlots: 2, SmallBytes: 200_000, Poll: time.Hour})
	_, first := b.reserved(w, nil, text)
	if take, _ := w.Reserve(ofSize(store.SmallBytes+1), nil); take != nil {
		t.Error("a large operation has got a slot of the small lane")
	}
	take, release := w.Reserve(ofSize(99_000), nil)
	if take == nil {
		t.Fatal("the second slot is not free")
	}
	if take, _ := w.Reserve(ofSize(1), nil); take != nil {
		t.Error("a third operation has got one of two slots")
	}
	release(store.Created{})
	queued, second := b.submit("two", `{}`) // the one that was refused
	close(hold)
	await(t, "the first end", first)
	await(t, "the second end", second)
	if got := b.operation(queued.ID); got.Status != store.Completed {
		t.Errorf("the queued operation is %s", got.Status)
	}
	made, third := b.reserved(w, nil, text)
	await(t, "the third end", third)
	b.mu.Lock()
	evs := b.events[made.Operation.ID]
	b.mu.Unlock()
	if len(evs) != 2 || evs[0].Type != event.Started || evs[1].Type != event.Completed {
		t.Errorf("events %+v", evs)
	}
	take, release = w.Reserve(ofSize(1), nil)
	if take == nil {
		t.Fatal("no free slot")
	}
	b.cancel()
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for take := take; take != nil; {
		var give func(store.Created)
		if take, give = w.Reserve(ofSize(1), nil); take != nil {
			give(store.Created{})
		}
	}
	select {
	case <-stopped:
		t.Error("the worker has ended while an operation of its may be being created")
	default:
	}
	release(store.Created{})
	await(t, "the worker's end", stopped)
	if running := w.Stats().Running; running != 0 {
		t.Errorf("%d run", running)
	}
}

// TestDoneAtCreation: a text that is in memory and is one batch is complete once it is created; of any other nothing is
// stored before its run, and neither is of one whose strategy fails.
func TestDoneAtCreation(t *testing.T) {
	t.Parallel()
	recursive, err := chunk.Parse("recursive", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		splitter   chunk.Splitter
		done       bool
		events     string // those that follow the first; "": any
	}{
		{"short", prose(4000), recursive.Splitter, true, "started completed"},
		{"elsewhere", prose(4000), recursive.Splitter, false, "started completed"},
		{"the longest", prose(64 << 10)[:64<<10], recursive.Splitter, true, "started completed"},
		{"white space", " \n ", recursive.Splitter, true, "started completed"},
		{"longer", prose(70_000), recursive.Splitter, false, "started completed"},
		{"a thousand chunks", strings.Repeat("x", 1000), every(1), true, "started completed"},
		{"more than a batch", strings.Repeat("x", 1001), every(1), false, "started batch completed"},
		{"slow", "xx", slow{}, false, ""},
		{"stalling", "xx", every(0), false, "started failed"},
		{"panicking", "xx", every(-1), false, "started failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w, stop := b.start(worker.Config{Parse: parseAs(c.splitter), Poll: time.Hour,
				Here: func(string) bool { return c.name != "elsewhere" }})
			made, ended := b.reserved(w, c.splitter, c.text)
			for n := int64(1); c.done && made.Done == nil; n++ { // a busy machine may have made the cut a slow one
				await(t, "the end", ended)
				if made, ended = b.reserved(w, c.splitter, c.text); n > 100 {
					t.Fatal("it is never done at its creation")
				}
			}
			if (made.Done != nil) != c.done || (made.Run != nil) == c.done || (b.operation(made.Operation.ID).Status == store.Queued) {
				t.Errorf("created %+v", made)
			}
			await(t, "the end", ended)
			stop()
			b.mu.Lock()
			defer b.mu.Unlock()
			var got []string
			for _, e := range b.events[made.Operation.ID] {
				got = append(got, string(e.Type))
			}
			if c.events != "" && strings.Join(got, " ") != c.events {
				t.Errorf("events %q, want %q", got, c.events)
			}
			if st := w.Stats(); (st.Failed == 0) != (c.events != "started failed") || st.Completed+st.Failed < 1 || st.Running != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// every cuts so many bytes at a time; 0 stalls and -1 panics.
type every int

func (n every) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		if n < 0 {
			panic("as the test wants it")
		}
		for at := 0; at < len(text); at += int(n) {
			if !yield(chunk.Chunk{Span: chunk.Span{Start: at, End: min(at+max(int(n), 1), len(text))}}) {
				return
			}
		}
	}
}

// slow has its first chunk at once and its second when the first batch has been open for too long.
type slow struct{}

func (slow) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		if yield(chunk.Chunk{Span: chunk.Span{Start: 0, End: 1}}) {
			time.Sleep(60 * time.Millisecond)
			yield(chunk.Chunk{Span: chunk.Span{Start: 1, End: 2}})
		}
	}
}

// TestTakesOverFromADeadWorker: a lease nobody renews is swept, and the work goes on from the last batch.
func TestTakesOverFromADeadWorker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	text := prose(4000)
	op, left := b.submit(text, `{"chunk_size":100}`)
	runs, _, err := b.store.Claim(t.Context(), store.Claim{Worker: "dead", Lane: store.Small, Slots: 1, Bytes: 1 << 30,
		SplitterVersion: chunk.Version, Lease: time.Millisecond})
	if err != nil || len(runs) != 1 {
		t.Fatal(len(runs), err)
	}
	plan, _ := chunk.Parse("recursive", []byte(`{"chunk_size":100}`))
	for s := range plan.Splitter.Split(text) {
		ev, err := runs[0].Commit(t.Context(), store.Batch{Chunks: []store.Chunk{{StartByte: int64(s.Start), EndByte: int64(s.End),
			StartChar: 0, EndChar: int64(chunk.Chars(text[:s.End]))}}, BytesDone: int64(s.End)})
		if err != nil || ev.Event.Type != event.Batch {
			t.Fatal(err)
		}
		break
	}
	b.start(worker.Config{Poll: 20 * time.Millisecond})
	await(t, "the sweep", left)
	b.mu.Lock()
	ended := b.signal(op.ID)
	done := b.operation(op.ID).Status.Final()
	b.mu.Unlock()
	if !done {
		await(t, "the end", ended)
	}
	got := b.operation(op.ID)
	if got.Status != store.Completed || got.Attempt != 2 {
		t.Errorf("%+v", got)
	}
	if _, err := runs[0].HandOver(t.Context()); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the dead one's write: %v", err)
	}
}

// TestCutOffWithinASecond: with the database locked by somebody else, a run that is cut off ends all its I/O at once,
// and no goroutine of the worker is left.
func TestCutOffWithinASecond(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	g := gated{make(chan struct{}), 1, t.Context().Done()}
	_, stop := b.start(worker.Config{Parse: parseAs(g), Drain: 50 * time.Millisecond})
	b.submit(strings.Repeat("x", 2000), `{}`)
	g.step <- struct{}{} // the run has begun
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	stuck, stopped := make(chan struct{}), make(chan struct{})
	go func(stuck chan struct{}) {
		for {
			select {
			case g.step <- struct{}{}:
			case <-time.After(200 * time.Millisecond): // a batch's commit waits for the lock
				if stuck != nil {
					close(stuck)
					stuck = nil
				}
			case <-stopped:
				return
			}
		}
	}(stuck)
	await(t, "a commit that waits", stuck)
	began := time.Now()
	stop()
	took := time.Since(began)
	close(stopped)
	if _, err := other.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Error(err)
	}
	if took > 2*time.Second { // the drain, a second, and room for a busy machine
		t.Errorf("stopping took %v", took)
	}
	b.abandoned = true
}

// TestCutOffGivesBack: a run that is in the middle of a long pull when the time for a stop is over is cut off and gives its
// operation back: whoever comes next need not wait for the lease.
func TestCutOffGivesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pulling := make(chan struct{})
	_, stop := b.start(worker.Config{Lease: time.Hour, Drain: 10 * time.Millisecond,
		Split: func(ctx context.Context, _ chunk.Plan, _ string) iter.Seq2[chunk.Chunk, error] {
			return func(yield func(chunk.Chunk, error) bool) {
				close(pulling)
				<-ctx.Done() // as a child that is killed
				yield(chunk.Chunk{}, ctx.Err())
			}
		}})
	op, left := b.submit("abcdefgh", `{}`)
	await(t, "the pull", pulling)
	stop()
	await(t, "hand-over", left)
	if got := b.operation(op.ID); got.Status != store.Queued || got.Attempt != 1 {
		t.Errorf("after the stop: %+v", got)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if _, err := worker.New(worker.Config{}); err == nil {
		t.Error("a worker without a store was made")
	}
}
