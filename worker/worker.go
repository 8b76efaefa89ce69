// Package worker is the whole story of a run: claim an operation, read its text, pull spans, commit them in fenced
// batches, end it. A Worker serves two lanes side by side, so that big documents never stand in front of small ones,
// and bounds each by number and by bytes of text in flight.
//
// A worker may be killed, frozen or cut off at any line here: what it committed is complete, what it did not is done
// again by whoever claims the operation next, and what it writes after losing its lease changes nothing.
package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/chunk"
	"chunkstream/crashpoint"
	"chunkstream/event"
	"chunkstream/store"
)

// Config says what a worker works with. Zero values mean the defaults; Store, Publish and Woken are required.
type Config struct {
	Store *store.Store
	// Publish takes the events of committed changes. It must not block.
	Publish func(event.Owned)
	// Forget, if not nil, is told which operations are gone for good, so that what is kept elsewhere under their ids can go
	// too. The sweep waits for it; its error is logged and is no reason to call it again.
	Forget func(ctx context.Context, operationIDs []string) error
	// Woken gives a channel that can be received from when a lane may have work. A missed wake-up costs one Poll.
	Woken func(store.Lane) <-chan struct{}
	// Parse makes the splitter of an operation's strategy and settings. Default chunk.Parse; a program with strategies
	// of its own puts them in here.
	Parse func(strategy string, settings []byte) (chunk.Plan, error)
	// Split cuts a text, as chunk.Guard does and by default is, perhaps in another process. An error that is a *CrashError
	// counts as a crash; after one that is ErrNoProcess, before the first chunk, it is called again, later and later, up to
	// every 5 s, for ProcessWait.
	Split func(ctx context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error]
	// Here says of which strategies Split cuts a text in this process, in time that grows with the text: a short one is
	// cut while the request that brings it waits (Reserve). Default: all, or with a Split of your own none.
	Here func(strategy string) bool
	// Name says who holds a lease; users see it. Default "worker".
	Name string
	// SmallSlots and LargeSlots bound the operations in flight per lane. Defaults 16 and 2. Reserved ones and a claim made
	// beside them may together use the small lane's room twice for a moment.
	SmallSlots, LargeSlots int
	// SmallBytes and LargeBytes bound the text in flight per lane, in bytes. Defaults 16 MiB and 192 MiB, or a sixteenth and a
	// quarter of Go's memory limit (GOMEMLIMIT) when that is less: beside a text there are its copies on the way from the
	// database and to a child. A text larger than the bound runs alone.
	SmallBytes, LargeBytes int64
	// MaxChunks and MaxOutput bound what one operation may store: chunks, and the bytes of text in them together, which
	// overlap and levels make more than the text. What comes to more ends as failed, with the code "too_many_chunks" or
	// "too_much_output". Defaults 200,000 and 512 MiB.
	MaxChunks, MaxOutput int64
	// Lease is how long an operation stays ours without a renewal. Default 5 s. It is renewed every third of it.
	Lease time.Duration
	// Poll is how often an idle lane asks the store without having been woken, ± 20 %. Default 1 s. Lapsed leases of
	// other workers are looked for as often.
	Poll time.Duration
	// Drain is how long runs may go on after Run's context has ended before they are cut off. Default 8 s.
	Drain time.Duration
	// Stalled is how long a run may go without a batch before watchers are told with every renewal of its lease, and
	// Stats.Stalled counts it. Default 10 s.
	Stalled time.Duration
	// ProcessWait is how long a run waits for a process to cut its text in before it is given back, for a worker whose machine
	// has one. While a run waits, and for a moment after it was given back (as long, at most 5 s), nothing is claimed. Default
	// 1 minute.
	ProcessWait time.Duration
	// Log takes what an operator should know. Default: discarded.
	Log *slog.Logger
}

// CrashError is Config.Split's error for a text on which the process that cut it died or had to be killed. Two of them in a
// row without progress (store.Config.PoisonAfter) end the operation as poison.
type CrashError struct{ Code, Detail string }

func (e *CrashError) Error() string { return e.Code + ": " + e.Detail }

// ErrNoProcess is Config.Split's error when the machine gave it no process to cut a text in, for want of memory, files or
// processes. The text has no part in that, so it costs its operation no attempt: the run waits with its lease
// (Config.ProcessWait).
var ErrNoProcess = errors.New("no process to cut the text in could be started")

const (
	batchSpans = 1000                  // a batch is committed when it has so many spans
	batchTime  = 50 * time.Millisecond // or has been open for so long

	firstBackoff   = 500 * time.Millisecond // doubled for every failure without progress
	longestBackoff = time.Minute
	longestWait    = 5 * time.Second // for a process
)

func (c Config) withDefaults() Config {
	if c.Parse == nil {
		c.Parse = chunk.Parse
	}
	if c.Here == nil {
		all := c.Split == nil
		c.Here = func(string) bool { return all }
	}
	if c.Split == nil {
		c.Split = func(_ context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
			return chunk.Guard(plan.Strategy, plan.Splitter, text)
		}
	}
	if c.Forget == nil {
		c.Forget = func(context.Context, []string) error { return nil }
	}
	if c.Name == "" {
		c.Name = "worker"
	}
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	orInt(&c.SmallSlots, 16)
	orInt(&c.LargeSlots, 2)
	limit := debug.SetMemoryLimit(-1) // only asks
	if c.SmallBytes <= 0 {
		c.SmallBytes = min(16<<20, limit/16)
	}
	if c.LargeBytes <= 0 {
		c.LargeBytes = min(192<<20, limit/4)
	}
	if c.MaxChunks <= 0 {
		c.MaxChunks = 200_000
	}
	if c.MaxOutput <= 0 {
		c.MaxOutput = 512 << 20
	}
	orDuration(&c.Lease, 5*time.Second)
	orDuration(&c.Poll, time.Second)
	orDuration(&c.Drain, 8*time.Second)
	orDuration(&c.Stalled, 10*time.Second)
	orDuration(&c.ProcessWait, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stats counts what a worker has done since it was made.
type Stats struct {
	Running   int64 // operations in flight
	Stalled   int64 // those of them without a batch for longer than Config.Stalled
	Completed int64
	Failed    int64 // permanently
	Retried   int64 // transient errors
	Crashed   int64 // runs whose splitting process died (CrashError)
	Fenced    int64 // runs that ended because somebody else had taken the operation
	NoProcess int64 // texts that no process could be started for; each is tried again
	Errors    int64 // store calls that failed outside a run: claim, renew, sweep, reap; each is tried again
}

// Worker runs operations. Make it with New and call Run once.
type Worker struct {
	cfg  Config
	mu   sync.Mutex
	runs map[*run]struct{}

	small, large *lane

	waiting atomic.Int64 // runs that wait for a process to cut their text in
	resting atomic.Int64 // nothing is claimed until then, on the monotonic clock; 0: nobody rests

	completed, failed, retried, crashed, fenced, noProcess, errors atomic.Int64
}

// New makes a worker; it starts nothing.
func New(cfg Config) (*Worker, error) {
	if cfg.Store == nil || cfg.Publish == nil || cfg.Woken == nil {
		return nil, errors.New("worker: Config.Store, Config.Publish and Config.Woken are required")
	}
	cfg = cfg.withDefaults()
	return &Worker{cfg: cfg, runs: map[*run]struct{}{},
		small: newLane(store.Small, cfg.SmallSlots, cfg.SmallBytes),
		large: newLane(store.Large, cfg.LargeSlots, cfg.LargeBytes)}, nil
}

// Stats may be called at any time.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	running, stalled := int64(len(w.runs)), int64(0)
	for r := range w.runs {
		if r.stalled(monotonic()) > w.cfg.Stalled {
			stalled++
		}
	}
	w.mu.Unlock()
	return Stats{Running: running, Stalled: stalled, Completed: w.completed.Load(), Failed: w.failed.Load(), Retried: w.retried.Load(), Crashed: w.crashed.Load(),
		Fenced: w.fenced.Load(), NoProcess: w.noProcess.Load(), Errors: w.errors.Load()}
}

// Free is how many operations could be begun now, both lanes together. It may be called at any time.
func (w *Worker) Free() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.cfg.SmallSlots+w.cfg.LargeSlots-len(w.runs), 0)
}

// Run claims and works until ctx ends. Then it claims nothing more; every run finishes its batch and gives its
// operation back, unless that batch was the last; after Drain the rest is cut off and given back. Run returns when all
// goroutines it started are gone.
func (w *Worker) Run(ctx context.Context) error {
	// ctx ends taking; work ends working, later. The renewals must go on as long as there are runs.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var lanes, others sync.WaitGroup
	lanes.Go(func() { w.serve(ctx, work, w.small) })
	lanes.Go(func() { w.serve(ctx, work, w.large) })
	others.Go(func() { w.renew(work) })
	others.Go(func() { w.sweep(ctx) })
	drained := make(chan struct{})
	others.Go(func() {
		select {
		case <-ctx.Done():
		case <-drained:
			return
		}
		timer := time.NewTimer(w.cfg.Drain)
		defer timer.Stop()
		select {
		case <-timer.C:
			cut()
		case <-drained:
		}
	})
	lanes.Wait()
	close(drained)
	cut()
	others.Wait()
	return nil
}

// serve claims for one lane and starts a goroutine per run; it returns when ctx has ended and all of them are gone.
func (w *Worker) serve(ctx, work context.Context, l *lane) {
	l.open(func(r *store.Run) { w.work(ctx, work, r) })
	defer l.close()
	poll := time.NewTimer(w.pause())
	defer poll.Stop()
	var turn string // the owner who was served last
	for ctx.Err() == nil {
		free, budget, alone, crowded := l.room()
		more := true
		if free > 0 && (budget > 0 || alone) && !w.starved() {
			var runs []*store.Run
			var err error
			// Not ctx: a claim that is given up half-way may still be committed, and would then wait for its lease.
			claim := store.Claim{Worker: w.cfg.Name, Lane: l.name, Slots: free, Bytes: budget, Alone: alone,
				SplitterVersion: chunk.Version, Lease: w.cfg.Lease}
			if crowded { // nobody needs to wait for a turn while there is room for all
				claim.Turn = &turn
			}
			runs, more, err = w.cfg.Store.Claim(work, claim)
			if err != nil {
				w.errors.Add(1)
				w.cfg.Log.Warn("claim failed", "lane", l.name, "error", err)
			}
			if len(runs) > 0 {
				crashpoint.Hit(crashpoint.AfterClaimCommit)
			}
			for _, r := range runs {
				l.take(r.Operation.BytesTotal)
				l.start(r, r.Operation.BytesTotal)
			}
			l.claimed(more || err != nil)
		}
		again := l.freed
		if !more {
			again = nil // a free slot helps nobody until something new is due
		}
		poll.Reset(w.pause())
		select {
		case <-ctx.Done():
		case <-w.cfg.Woken(l.name):
		case <-l.requeued:
		case <-again:
		case <-poll.C:
		}
	}
}

// Reserve keeps a slot of the small lane free for an operation that is about to be created in this process: its creation
// then claims it (store.NewOperation.Take), and no wake-up, second transaction and reading of the text lie between the
// two. A text that is in memory and is one batch is cut here by splitter, so that its creation completes it too. take is nil when
// there is no room, when older operations may be waiting, and when Run does not claim, also for want of a process; then the operation is queued and
// claimed like any other. Otherwise call start exactly once: with what was created after its first event was published,
// or with the zero value when there is nothing. It may be called at any time.
func (w *Worker) Reserve(n store.NewOperation, splitter chunk.Splitter) (take *store.Take, start func(store.Created)) {
	bytes := n.Staged.Bytes
	here := w.cfg.Here(n.Strategy)
	if store.LaneOf(bytes) != store.Small || !here && w.starved() || !w.small.reserve(bytes) {
		return nil, nil
	}
	take = &store.Take{Worker: w.cfg.Name, Lease: w.cfg.Lease}
	if text := n.Staged.Text(); text != "" && here {
		take.Chunks, take.Done = w.cut(n.Strategy, splitter, text)
	}
	return take, func(made store.Created) {
		if made.Run != nil {
			crashpoint.Hit(crashpoint.AfterClaimCommit)
			w.small.start(made.Run, bytes)
			return
		}
		w.small.release(bytes)
		if made.Done != nil {
			crashpoint.Hit(crashpoint.AfterFinishCommit)
			w.completed.Add(1)
		}
		for _, ev := range made.Done {
			w.publish(ev)
		}
	}
}

// cut gives all chunks of a text that is one batch. Whatever stands in the way is left to a run, which knows what to do
// about it.
func (w *Worker) cut(strategy string, splitter chunk.Splitter, text string) (all []store.Chunk, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			all, ok = nil, false
		}
	}()
	opened, b := time.Now(), batch{}
	put := output{cfg: &w.cfg}
	for span, err := range chunk.Guard(strategy, splitter, text) {
		if err != nil || b.full(opened) || put.add(span.Span) != nil {
			return nil, false
		}
		b.chunks = append(b.chunks, b.add(text, span))
	}
	crashpoint.Hit(crashpoint.BeforeFinishCommit)
	return b.chunks, true
}

// starved says that the machine gives no process to cut texts in: what is queued is left to those who may have one.
func (w *Worker) starved() bool {
	until := w.resting.Load()
	return w.waiting.Load() > 0 || until != 0 && monotonic() < until // a simulated clock may stand before the program's start
}

// pause is Poll ± 20 %, so that many workers do not ask in step.
func (w *Worker) pause() time.Duration {
	return w.cfg.Poll*4/5 + rand.N(w.cfg.Poll*2/5+1)
}

// run is one operation in flight.
type run struct {
	*store.Run
	stop    context.CancelCauseFunc
	flush   atomic.Bool                 // a cancel was requested: commit now, the store turns it into the end
	flushed chan struct{}               // holds one when it was
	last    atomic.Pointer[event.Event] // the newest event published
	renewed atomic.Int64                // when the lease was last known to be ours, on the monotonic clock (ns since start)
	moved   atomic.Int64                // when a batch was last committed, on the same clock
}

// stalled is how long the run has gone without a batch.
func (r *run) stalled(now int64) time.Duration { return time.Duration(now - r.moved.Load()) }

var start = time.Now()

func monotonic() int64 { return int64(time.Since(start)) }

var errLeaseLost = errors.New("the lease is lost")

// work is one run from its claim to its end. take ends when the worker should stop; work when it must.
func (w *Worker) work(take, work context.Context, sr *store.Run) {
	ctx, stop := context.WithCancelCause(work)
	defer stop(nil)
	r := &run{Run: sr, stop: stop, flushed: make(chan struct{}, 1)}
	r.renewed.Store(monotonic())
	r.moved.Store(monotonic())
	w.mu.Lock()
	w.runs[r] = struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.runs, r)
		w.mu.Unlock()
	}()
	r.last.Store(&sr.Started.Event)
	w.publish(sr.Started)
	err := w.split(take, ctx, r)
	if err == nil {
		return
	}
	w.fail(ctx, r, err)
}

func (w *Worker) publish(e event.Owned) {
	crashpoint.Hit(crashpoint.BeforePublish)
	w.cfg.Publish(e)
}

// split pulls the spans and commits them. It returns nil when the operation has ended or was given back.
func (w *Worker) split(take, ctx context.Context, r *run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.cfg.Log.Error("panic in a run", "operation", r.Operation.ID, "panic", p, "stack", string(debug.Stack()))
			err = &permanentError{"internal", "The strategy failed on this document. The server's log has the details."}
		}
	}()
	op := r.Operation
	plan, err := w.cfg.Parse(op.Strategy, op.Settings)
	if err != nil {
		return &permanentError{"invalid_settings", err.Error()}
	}
	text, err := r.Text(ctx)
	if _, corrupt := errors.AsType[*store.CorruptError](err); corrupt {
		w.cfg.Log.Error("a stored text is damaged", "operation", op.ID, "error", err)
		return &permanentError{"damaged", "The stored text is damaged. Submit the document again; the server's log has what is wrong."}
	}
	if err != nil {
		return err
	}
	began, doneBefore := time.Now(), op.BytesDone
	b := batch{first: op.Chunks, bytesDone: op.BytesDone}
	skip := op.Chunks
	opened := began
	put := output{cfg: &w.cfg}
	for span, err := range w.spans(take, ctx, r, plan, text) {
		if broken := (*chunk.SplitError)(nil); errors.As(err, &broken) {
			return &permanentError{"splitter_failed", err.Error()}
		} else if errors.Is(err, ErrNoProcess) { // and none is waited for any more
			return w.handOver(ctx, r)
		} else if err != nil {
			return err
		}
		if err := put.add(span.Span); err != nil {
			return err
		}
		// Only when another span has come is the batch known not to be the last.
		if b.full(opened) || len(b.chunks) > 0 && (r.flush.Load() || take.Err() != nil) {
			ended, err := w.commit(ctx, r, &b, eta(began, doneBefore, b.bytesDone, op.BytesTotal), false)
			if err != nil || ended {
				return err
			}
			if take.Err() != nil {
				return w.handOver(ctx, r)
			}
			opened = time.Now()
		}
		c := b.add(text, span)
		if skip > 0 {
			skip-- // committed by an earlier attempt
			continue
		}
		b.chunks = append(b.chunks, c)
		b.bytesDone = max(b.bytesDone, int64(span.End)) // a child ends before its parent
	}
	if skip > 0 {
		return &permanentError{"not_deterministic", fmt.Sprintf(
			"The strategy gave %d chunks fewer than an earlier attempt stored.", skip)}
	}
	b.bytesDone = op.BytesTotal
	_, err = w.commit(ctx, r, &b, 0, true)
	return err
}

// spans is Config.Split, begun again until there is a process to cut the text in. It gives ErrNoProcess when the operation is
// rather to be given back: there was none for ProcessWait, the worker stops, or a cancel was requested.
func (w *Worker) spans(take, ctx context.Context, r *run, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
	return func(yield func(chunk.Chunk, error) bool) {
		began, waits := monotonic(), int64(0)
		counted := func(n int64) { // among those that wait, from the first failure to the first chunk
			if waits > 0 {
				w.waiting.Add(n)
			}
		}
		defer func() { counted(-1) }()
		for {
			var missing error
			for span, err := range w.cfg.Split(ctx, plan, text) {
				if errors.Is(err, ErrNoProcess) {
					missing = err
					break
				}
				counted(-1)
				waits = 0
				if !yield(span, err) {
					return
				}
			}
			if missing == nil {
				return
			}
			w.noProcess.Add(1)
			if waits++; waits == 1 {
				counted(1)
			}
			left := w.cfg.ProcessWait - time.Duration(monotonic()-began)
			if left <= 0 {
				w.resting.Store(monotonic() + int64(min(w.cfg.ProcessWait, longestWait)))
				w.cfg.Log.Warn("no process to cut a text in; the operation is given back", "operation", r.Operation.ID, "error", missing)
				yield(chunk.Chunk{}, missing)
				return
			}
			wait := min(backoff(waits-1), longestWait, left)
			w.cfg.Log.Warn("no process to cut a text in; it is tried again", "operation", r.Operation.ID, "error", missing, "retry_in", wait)
			if err := r.wait(take, ctx, wait); err != nil {
				yield(chunk.Chunk{}, err)
				return
			}
		}
	}
}

// wait waits so long. It gives ErrNoProcess when the worker stops or a cancel was requested meanwhile.
func (r *run) wait(take, ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-take.Done():
	case <-r.flushed:
	}
	return ErrNoProcess
}

// output counts what a run stores, what earlier attempts have stored included.
type output struct {
	cfg           *Config
	chunks, bytes int64
}

// add takes one more chunk. The error is permanent: the next attempt would come to the same.
func (o *output) add(s chunk.Span) error {
	o.chunks++
	o.bytes += int64(s.End - s.Start)
	switch {
	case o.chunks > o.cfg.MaxChunks:
		return &permanentError{"too_many_chunks", fmt.Sprintf("These settings make more than %d chunks of the text: take a larger chunk size.",
			o.cfg.MaxChunks)}
	case o.bytes > o.cfg.MaxOutput:
		return &permanentError{"too_much_output", fmt.Sprintf("The chunks have more than %d bytes of text together: take less overlap, or fewer sizes.",
			o.cfg.MaxOutput)}
	}
	return nil
}

// batch gathers chunks and counts their characters, each stretch of text once.
type batch struct {
	first     int64
	chunks    []store.Chunk
	bytesDone int64

	ruler chunk.Ruler // of the text
}

// full says that the batch, open since then, is to be committed.
func (b *batch) full(since time.Time) bool {
	return len(b.chunks) >= batchSpans || len(b.chunks) > 0 && time.Since(since) >= batchTime
}

// add turns a chunk into what is stored of it.
func (b *batch) add(text string, c chunk.Chunk) store.Chunk {
	start, end := b.ruler.At(text, c.Start).Char, b.ruler.At(text, c.End).Char
	return store.Chunk{StartByte: int64(c.Start), EndByte: int64(c.End), StartChar: int64(start), EndChar: int64(end),
		Facts: store.FactsOf(c)}
}

// eta estimates the milliseconds left from this attempt's own rate; 0 is none.
func eta(began time.Time, before, done, total int64) int64 {
	if done <= before {
		return 0
	}
	return max(1, int64(float64(time.Since(began).Milliseconds())*float64(total-done)/float64(done-before)))
}

// commit writes the batch and empties it. ended says that the operation is over: completed, or cancelled as asked.
func (w *Worker) commit(ctx context.Context, r *run, b *batch, etaMs int64, last bool) (ended bool, err error) {
	if last {
		crashpoint.Hit(crashpoint.BeforeFinishCommit)
	} else {
		crashpoint.Hit(crashpoint.BeforeBatchCommit)
	}
	ev, err := r.Commit(ctx, store.Batch{First: b.first, Chunks: b.chunks, BytesDone: b.bytesDone, ETAMs: etaMs, Last: last})
	if err != nil {
		return false, err
	}
	if last {
		crashpoint.Hit(crashpoint.AfterFinishCommit)
	} else {
		crashpoint.Hit(crashpoint.AfterBatchCommit)
	}
	now := monotonic()
	r.renewed.Store(now)
	r.moved.Store(now)
	r.last.Store(&ev.Event)
	w.publish(ev)
	b.first += int64(len(b.chunks))
	b.chunks = b.chunks[:0]
	if ev.Event.Type == event.Completed {
		w.completed.Add(1)
	}
	return ev.Event.Type.Terminal(), nil
}

func (w *Worker) handOver(ctx context.Context, r *run) error {
	ev, err := r.HandOver(ctx)
	if err != nil {
		return err
	}
	w.publish(ev)
	crashpoint.Hit(crashpoint.MidHandover)
	return nil
}

// permanentError ends an operation at once: trying again would give the same.
type permanentError struct{ code, detail string }

func (e *permanentError) Error() string { return e.code + ": " + e.detail }

// fail decides what an error means for the operation.
func (w *Worker) fail(ctx context.Context, r *run, err error) {
	log := w.cfg.Log.With("operation", r.Operation.ID, "attempt", r.Operation.Attempt, "error", err)
	var permanent *permanentError
	var crash *CrashError
	end := r.Fail
	f, retryIn := event.Failure{Code: "temporary", Detail: "Storing or reading failed; it is tried again."}, time.Duration(0)
	switch {
	case errors.Is(err, store.ErrFenced), errors.Is(context.Cause(ctx), errLeaseLost):
		w.fenced.Add(1)
		log.Info("run ended: another worker has taken the operation, or it has ended")
		return
	case errors.Is(err, store.ErrUnknownOutcome):
		// The commit may have happened. The next attempt reads where it stands.
		log.Warn("run abandoned: outcome of a commit unknown; the lease will lapse")
		return
	case ctx.Err() != nil:
		// Cut off while draining: give it back with a little time of its own.
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := w.handOver(own, r); err != nil {
			log.Warn("hand-over failed; the lease will lapse", "because", err)
		}
		return
	case errors.As(err, &permanent):
		f = event.Failure{Code: permanent.code, Detail: permanent.detail}
		w.failed.Add(1)
		log.Warn("operation failed")
	case errors.As(err, &crash):
		f = event.Failure{Code: crash.Code, Detail: crash.Detail}
		retryIn, end = backoff(0), r.Crash
		w.crashed.Add(1)
		log.Warn("the process that cut the text died; the operation is tried again, or ends as poison")
	default:
		w.retried.Add(1)
		retryIn = backoff(r.Operation.Failures)
		log.Warn("operation is tried again", "retry_in", retryIn)
	}
	ev, err := end(ctx, f, retryIn)
	if err != nil {
		if !errors.Is(err, store.ErrFenced) {
			log.Warn("the failure could not be stored; the lease will lapse", "because", err)
		}
		return
	}
	w.publish(ev)
}

// backoff doubles with every failure, up to a minute, ± 20 %.
func backoff(failures int64) time.Duration {
	d := min(firstBackoff<<min(failures, 10), longestBackoff)
	return d*4/5 + rand.N(d*2/5)
}

// renew extends all leases every third of their length, apart from the runs, so that a long pull does not lose them.
func (w *Worker) renew(ctx context.Context) {
	tick := time.NewTicker(w.cfg.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		byRun := make(map[*store.Run]*run, len(w.runs))
		held := make([]*store.Run, 0, len(w.runs))
		for r := range w.runs {
			byRun[r.Run] = r
			held = append(held, r.Run)
		}
		w.mu.Unlock()
		asked := monotonic()
		lost, cancel, err := w.cfg.Store.Renew(ctx, held)
		if err != nil {
			if ctx.Err() == nil {
				w.errors.Add(1)
				w.cfg.Log.Warn("renewing leases failed", "error", err)
			}
			w.stopLapsed(byRun)
			continue
		}
		for _, sr := range lost {
			byRun[sr].stop(errLeaseLost)
			delete(byRun, sr)
		}
		for _, sr := range cancel {
			if r := byRun[sr]; !r.flush.Swap(true) {
				r.flushed <- struct{}{}
			}
		}
		for _, r := range byRun {
			r.renewed.Store(asked)
			if r.stalled(asked) > w.cfg.Stalled {
				ev := *r.last.Load()
				ev.Seq, ev.Type, ev.Time = 0, event.Stalled, event.Time{Time: time.Now()}
				w.cfg.Publish(event.Owned{Owner: r.Started.Owner, Event: ev})
			}
		}
	}
}

// stopLapsed ends the runs whose lease must have run out by our own clock: another worker may have them by now.
func (w *Worker) stopLapsed(runs map[*store.Run]*run) {
	for _, r := range runs {
		if time.Duration(monotonic()-r.renewed.Load()) > w.cfg.Lease {
			r.stop(errLeaseLost)
		}
	}
}

// sweep puts back what other workers lost, and removes what nobody can see.
func (w *Worker) sweep(ctx context.Context) {
	timer := time.NewTimer(w.pause())
	defer timer.Stop()
	for {
		evs, err := w.cfg.Store.Sweep(ctx)
		for _, ev := range evs {
			w.cfg.Publish(ev)
		}
		if len(evs) > 0 {
			w.small.requeued.ring()
			w.large.requeued.ring()
		}
		var gone store.Reaped
		if err == nil {
			gone, err = w.cfg.Store.Reap(ctx)
		}
		if len(gone.Operations) > 0 {
			if err := w.cfg.Forget(ctx, gone.Operations); err != nil {
				w.cfg.Log.Info("what is kept elsewhere of deleted operations goes by its time to live", "error", err)
			}
		}
		if err != nil && ctx.Err() == nil {
			w.errors.Add(1)
			w.cfg.Log.Warn("sweep failed", "error", err)
		}
		wait := w.pause()
		if gone.More {
			wait = 10 * time.Millisecond // one piece after another, with room for others between
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}
