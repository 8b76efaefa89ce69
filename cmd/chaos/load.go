package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/token"
)

// load keeps documents in flight, each watched to its end, and keeps what clients were told.
type load struct {
	c     *chaos
	webs  []*process
	texts []string
	ways  []way

	submitting atomic.Int64 // submissions under way
	delivered  atomic.Int64 // durable events given to watchers of one operation
	reconnects atomic.Int64 // streams that were opened again
	repeated   atomic.Int64 // submissions repeated under their key
	trespasses atomic.Int64 // requests for what is another owner's
	retried    atomic.Int64 // operations run again by hand
	deleted    atomic.Int64 // documents
	failed     atomic.Int64 // operations that failed for good, as they had to
	next       atomic.Int64
	every      time.Duration // between two documents; 0: as fast as they are done

	stopping context.CancelFunc
	flows    sync.WaitGroup
	all      context.CancelFunc // of the feeds
	allDone  sync.WaitGroup
	feeds    []*feed

	mu       sync.Mutex
	tickets  []*ticket
	batches  []*batch
	splits   map[string]ending
	failures map[string]string // error code → the detail that the first operation had that failed with it, before any fault
}

// way is a strategy and its settings, and what kind of text it gets.
type way struct {
	strategy string
	settings url.Values
}

// What an operation may come to. None of the other ways comes to as much with any of the texts.
const (
	maxChunks    = 15000
	maxOutputMiB = 4
	doomed       = 60 << 10 // bytes of a text, at least, with which these two come to more: a third may be blanks, of which no chunk is made
)

// Two ways end an operation as failed, at once and for good: with the overlap that the first has nothing is stored before it fails,
// but for a slow process, and much is with the second.
var (
	tooMuch = way{"fixed_size", url.Values{"chunk_size": {"8000"}, "chunk_overlap": {"7990"}}}
	tooMany = way{"fixed_size", url.Values{"chunk_size": {"1"}}}
)

// ticket is one document and what its clients were told.
type ticket struct {
	owner     string
	key       string
	text      string
	own       bool   // no other document has that text
	hook      string // the webhook that it names, or ""
	fails     bool   // it ends as failed, at once and for good
	began     time.Time
	op        client.Operation // as it was acknowledged
	cancelled string           // what a cancel was answered with: "", a status, or "asked" for one that was running
	watches   []*watch
	history   history
	retryOf   string        // the operation that this one repeats
	deleted   bool          // with its document
	kept      []event.Event // what SQL had before
}

// watch is what one watcher saw.
type watch struct {
	over   string // ws or sse
	after  int64  // the number it began behind
	events []event.Event
	ended  bool
	at     time.Time // when it had ended
}

func newLoad(c *chaos) *load {
	l := &load{c: c, webs: c.webProcesses(), splits: map[string]ending{}, failures: map[string]string{}}
	rng := rand.New(rand.NewPCG(c.cfg.seed, 1000))
	all, err := sources(4 << 20)
	if err != nil {
		panic(fatal(err.Error()))
	}
	// Most are small, as documents are; the large ones take long enough to be caught half-way.
	for i := range 40 {
		size := []int{600, 4 << 10, 4 << 10, 40 << 10, 300 << 10, 2 << 10, 20 << 10, 600 << 10}[i%8]
		if c.cfg.small {
			size = []int{600, 1 << 10, 3 << 10, 8 << 10, 1 << 10, 2 << 10, 40 << 10, 600}[i%8]
			if i == 19 || i == 39 {
				size = 300 << 10
			}
		}
		at := rng.IntN(len(all) - size)
		l.texts = append(l.texts, strings.ToValidUTF8(all[at:at+size], "?"))
	}
	small := func(strategy, size string, more ...string) way {
		v := url.Values{"chunk_size": {size}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return way{strategy, v}
	}
	// Tokens are those of the smallest vocabulary: most processes live for a second or two, and the default one takes a tenth of
	// one to load.
	l.ways = []way{
		small("recursive", "60"), small("markdown", "200"), small("recursive", "40", "unit", "tokens", "tokenizer", "r50k_base"), small("sentence", "150"),
		small("fixed_size", "80", "chunk_overlap", "10"), small("code", "300"), small("hybrid", "250"), small("recursive", "100"),
		{"hierarchical", url.Values{}}, small("document_structure", "300"), {"sliding_window", url.Values{}},
	}
	return l
}

// sources are size bytes of text that people wrote: the sources and documents that come with Go, in name order.
func sources(size int) (string, error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	var b strings.Builder
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(goroot)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && utf8.Valid(text) && !strings.ContainsRune(string(text), 0) {
			b.Write(text)
		}
		if b.Len() >= size {
			return fs.SkipAll
		}
		return err
	})
	if err == nil && b.Len() < size {
		err = fmt.Errorf("the sources of Go have only %d bytes of text", b.Len())
	}
	return b.String(), err
}

// run has n documents done, and returns when they are.
func (l *load) run(ctx context.Context, n int) {
	var all sync.WaitGroup
	for range l.c.cfg.flows {
		all.Go(func() {
			for ctx.Err() == nil {
				i := l.next.Add(1) - 1
				if i >= int64(n) {
					l.next.Add(-1)
					return
				}
				l.one(ctx, i)
			}
		})
	}
	all.Wait()
}

// peak is how many documents a second are done at most.
func (l *load) peak(ctx context.Context) float64 {
	began := time.Now()
	before := l.next.Load()
	l.start(ctx)
	pause(ctx, soakPeak)
	l.finish(ctx)
	return float64(l.next.Load()-before) / time.Since(began).Seconds()
}

// pace bounds how many documents a second are begun.
func (l *load) pace(rate float64) {
	l.every = time.Duration(float64(time.Second) / max(rate, 0.1))
}

// start keeps documents in flight until finish.
func (l *load) start(ctx context.Context) {
	going, stop := context.WithCancel(ctx)
	l.stopping = stop
	var turn sync.Mutex
	for range l.c.cfg.flows {
		l.flows.Go(func() {
			for going.Err() == nil {
				if l.every > 0 { // in turns, so that all together keep the pace
					turn.Lock()
					pause(going, l.every)
					turn.Unlock()
				}
				l.one(ctx, l.next.Add(1)-1)
			}
		})
	}
	whole, cancel := context.WithCancel(ctx)
	l.all = cancel
	for i, owner := range l.c.owners {
		for k, over := range []string{"ws", "sse"} {
			f := &feed{owner: owner, over: over, live: map[string]bool{}}
			l.feeds = append(l.feeds, f)
			l.allDone.Go(func() { l.watchAll(whole, rand.New(rand.NewPCG(l.c.cfg.seed, uint64(1001+2*i+k))), f) })
		}
	}
}

// finish lets what has begun come to its end, and the watchers of everything see it.
func (l *load) finish(ctx context.Context) {
	l.stopping()
	l.flows.Wait()
	l.seen(ctx)
	l.all()
	l.allDone.Wait()
	for _, p := range l.webs {
		p.http.CloseIdleConnections()
	}
}

// one submits one document under a key, has it watched to its end, and perhaps cancels it.
func (l *load) one(ctx context.Context, n int64) {
	rng := rand.New(rand.NewPCG(l.c.cfg.seed, 10000+uint64(n)))
	ctx, cancel := context.WithTimeout(ctx, 3*l.c.cfg.patience)
	defer cancel()
	if rng.IntN(16) == 0 {
		l.together(ctx, rng, n)
		return
	}
	text := l.texts[rng.IntN(len(l.texts))]
	own := rng.IntN(2) == 0 && len(text) < 64<<10
	if own { // a text of its own; others meet the same one again
		text = fmt.Sprintf("document %d\n", n) + text
	}
	pick := rng.IntN(len(l.ways) + 1)
	fails := pick == len(l.ways)
	w := tooMuch
	switch {
	case !fails:
		w = l.ways[pick]
	case rng.IntN(4) == 0:
		w = tooMany
	}
	if fails && len(text) < doomed {
		text = strings.Repeat(text+"\n", 1+doomed/len(text))
	}
	hook := ""
	if rng.IntN(4) == 0 {
		hook = l.c.receiver.of(l.c.owners[n%int64(len(l.c.owners))]).id
		w.settings = maps.Clone(w.settings)
		w.settings.Set("webhook", hook)
	}
	// One owner's keys are nothing to another: they all use the same.
	owners := int64(len(l.c.owners))
	t := &ticket{owner: l.c.owners[n%owners], key: fmt.Sprint("doc-", n/owners), text: text, own: own, fails: fails, hook: hook, began: time.Now()}
	twice := rng.IntN(4) == 0
	var other sync.WaitGroup
	var second client.Operation
	var seconded bool
	if twice {
		other.Go(func() { second, seconded = l.submit(ctx, rand.New(rand.NewPCG(uint64(n), 1)), t, w) })
	}
	op, ok := l.submit(ctx, rng, t, w)
	other.Wait()
	if !ok || twice && !seconded {
		return // submit has said why
	}
	if twice {
		l.repeated.Add(1)
		if second.ID != op.ID {
			l.c.violate("I10: key %s gave %s and %s", t.key, op.ID, second.ID)
		}
	}
	t.op = op
	l.mu.Lock()
	l.tickets = append(l.tickets, t)
	l.mu.Unlock()

	var watching sync.WaitGroup
	begin := func(over string, after int64, seed uint64) {
		v := &watch{over: over, after: after}
		t.watches = append(t.watches, v)
		watching.Go(func() { l.watch(ctx, rand.New(rand.NewPCG(uint64(n), seed)), t, v) })
	}
	overs := []string{"ws", "sse"}
	for i := range int64(l.c.cfg.watchers) {
		begin(overs[(n+i)%2], 0, 2+100*uint64(i))
	}
	if rng.IntN(2) == 0 {
		begin(overs[(n+1)%2], 0, 3)
	}
	if rng.IntN(4) == 0 {
		begin(overs[n%2], client.FromNow, 4)
	}
	if rng.IntN(4) == 0 {
		for seed := range uint64(2) {
			watching.Go(func() { l.look(ctx, rand.New(rand.NewPCG(uint64(n), 20+seed)), t) })
		}
	}
	switch rng.IntN(10) {
	case 0:
		pause(ctx, time.Duration(rng.IntN(30))*time.Millisecond)
		l.cancel(ctx, rng, t)
	case 1:
		l.reuse(ctx, rng, t, w)
	case 2, 3:
		l.trespass(ctx, rng, t)
	}
	watching.Wait()
	if ctx.Err() != nil {
		return // the checks find what has not ended
	}
	if rng.IntN(3) == 0 {
		l.read(ctx, rng, t)
		// Whoever repeats a submission whose end is known is told of that end: the history of the key shows it.
		if again, ok := l.submit(ctx, rng, t, w); ok && again.ID != t.op.ID {
			l.c.violate("I10: key %s gave %s and, after its end, %s", t.key, t.op.ID, again.ID)
		}
	}
	all := []*ticket{t}
	if t.cancelled != "" || fails && rng.IntN(2) == 0 {
		r := l.again(ctx, rng, t)
		if r == nil || ctx.Err() != nil {
			return
		}
		all = append(all, r)
	}
	if t.own && rng.IntN(3) == 0 && !slices.ContainsFunc(all, func(t *ticket) bool { return !t.answered() }) {
		l.remove(ctx, rng, all...)
	}
}

func (l *load) web(rng *rand.Rand) *process { return l.webs[rng.IntN(len(l.webs))] }

// request makes an owner's request of any web process until one answers it. refused is what a 4xx says.
func (l *load) request(ctx context.Context, rng *rand.Rand, owner string, do func(context.Context, *client.Client) error) (refused *client.Problem, ok bool) {
	return l.demand(ctx, rng, func(ctx context.Context, p *process) error { return do(ctx, p.clients[owner]) })
}

// demand is request, of a process.
func (l *load) demand(ctx context.Context, rng *rand.Rand, do func(context.Context, *process) error) (refused *client.Problem, ok bool) {
	for ctx.Err() == nil {
		// A process that was frozen with the request in it may take as long as it likes; another one answers meanwhile.
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := do(once, l.web(rng))
		cancel()
		if err == nil {
			return nil, true
		}
		if p := (*client.Problem)(nil); errors.As(err, &p) && p.Status < 500 && p.Status != 429 {
			return p, false
		}
		pause(ctx, time.Duration(10+rng.IntN(30))*time.Millisecond)
	}
	return nil, false
}

// submit submits until a process has acknowledged it.
func (l *load) submit(ctx context.Context, rng *rand.Rand, t *ticket, w way) (op client.Operation, ok bool) {
	l.submitting.Add(1)
	defer l.submitting.Add(-1)
	refused, ok := l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) (err error) {
		op, err = t.history.record(asked{"submit", t.text}, func() (client.Operation, error) {
			return c.Submit(ctx, client.Submission{Text: strings.NewReader(t.text), IdempotencyKey: t.key, Strategy: w.strategy, Settings: w.settings})
		})
		return err
	})
	if refused != nil {
		l.c.violate("submission %s was refused: %v", t.key, refused)
	} else if !ok {
		l.c.violate("submission %s was never acknowledged", t.key)
	}
	return op, ok
}

// cancel asks for the operation's end.
func (l *load) cancel(ctx context.Context, rng *rand.Rand, t *ticket) {
	var op client.Operation
	refused, ok := l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) (err error) {
		op, err = t.history.record(asked{what: "cancel"}, func() (client.Operation, error) { return c.Cancel(ctx, t.op.ID) })
		return err
	})
	if refused != nil {
		l.c.violate("cancelling %s was refused: %v", t.op.ID, refused)
	} else if ok {
		l.took(t, op)
	}
}

// took notes what a cancel was answered with.
func (l *load) took(t *ticket, op client.Operation) {
	switch {
	case op.Final():
		t.cancelled = op.Status
	case !op.CancelRequested:
		l.c.violate("%s: a cancel was answered with %s and no request for it", t.op.ID, op.Status)
	default:
		t.cancelled = "asked"
	}
}

// look asks how the operation is, a few times, of any web process.
func (l *load) look(ctx context.Context, rng *rand.Rand, t *ticket) {
	for range 1 + rng.IntN(5) {
		_, ok := l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) error {
			_, err := t.history.record(asked{what: "get"}, func() (client.Operation, error) { return c.Operation(ctx, t.op.ID, 0) })
			return err
		})
		if !ok || !pause(ctx, time.Duration(rng.IntN(30))*time.Millisecond) {
			return
		}
	}
}

// reuse sends another document under the same key, which must be refused.
func (l *load) reuse(ctx context.Context, rng *rand.Rand, t *ticket, w way) {
	refused, ok := l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) error {
		const text = "something else"
		_, err := t.history.record(asked{"submit", text}, func() (client.Operation, error) {
			return c.Submit(ctx, client.Submission{Text: strings.NewReader(text), IdempotencyKey: t.key, Strategy: w.strategy, Settings: w.settings})
		})
		return err
	})
	if ok || refused != nil && refused.Status != 422 {
		l.c.violate("I10: key %s was taken for another document: %v", t.key, refused)
	}
}

// watch follows the ticket's operation to its end, over any web process, and goes elsewhere now and then.
func (l *load) watch(ctx context.Context, rng *rand.Rand, t *ticket, v *watch) {
	since := v.after
	for opened := false; !v.ended && ctx.Err() == nil; opened = true {
		if opened {
			l.reconnects.Add(1)
		}
		once, cancel := context.WithTimeout(ctx, time.Duration(200+rng.IntN(4000))*time.Millisecond)
		c := l.web(rng).clients[t.owner]
		stream := c.Watch
		if v.over == "sse" {
			stream = c.WatchSSE
		}
		since = l.follow(t, v, stream(once, t.op.ID, since), since, 1+rng.IntN(60))
		cancel()
		if !v.ended {
			pause(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
		}
	}
	v.at = time.Now()
}

// follow reads one stream, at most few events of it.
func (l *load) follow(t *ticket, v *watch, stream iter.Seq2[event.Event, error], since int64, few int) int64 {
	order, problem := (*client.OrderError)(nil), (*client.Problem)(nil)
	for e, err := range stream {
		switch {
		case errors.As(err, &order):
			l.c.violate("I8: a watcher of %s over %s, after %d: %v", t.op.ID, v.over, since, err)
			v.ended = true
			return since
		case errors.As(err, &problem) && problem.Status < 500:
			l.c.violate("I8: a watcher of %s was refused: %v", t.op.ID, problem)
			v.ended = true
			return since
		case err != nil:
			return since
		case e.OperationID != t.op.ID:
			l.c.violate("I11: a watcher of %s was told of %s", t.op.ID, e.OperationID)
		case e.Type.Durable():
			l.delivered.Add(1)
			v.events = append(v.events, e)
			since = e.Seq
			if v.ended = e.Type.Terminal(); v.ended {
				return since
			}
			if few--; few <= 0 {
				return since
			}
		case e.Type == event.Resync:
			l.c.violate("I8: a watcher of %s over %s, after %d, was told to start anew at %d", t.op.ID, v.over, since, e.Data.Seq)
			since = e.Data.Seq
		case e.Type == event.Snapshot:
			if v.after == client.FromNow && len(v.events) == 0 {
				v.after, since = e.Data.Seq, e.Data.Seq
			}
			if event.Type(e.Data.Status).Terminal() {
				v.ended = true
				return since
			}
		}
	}
	return since
}

// parser makes splitters as the product does.
var parser = chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) { return token.Get(name) }}

// ending is what an operation comes to without faults.
type ending struct {
	chunks []chunk.Chunk // those that may be stored
	code   string        // of the error with which it fails; empty: it completes with all of them
}

// split is what a run without faults gives.
func (l *load) split(text, strategy string, config json.RawMessage) (e ending, err error) {
	key := strategy + " " + string(config) + " " + text
	l.mu.Lock()
	e, ok := l.splits[key]
	l.mu.Unlock()
	if ok {
		return e, nil
	}
	plan, err := parser.Parse(strategy, config)
	if err != nil {
		return e, err
	}
	bytes := 0
	for c := range plan.Splitter.Split(text) {
		bytes += c.End - c.Start
		if len(e.chunks) == maxChunks {
			e.code = "too_many_chunks"
			break
		}
		if bytes > maxOutputMiB<<20 {
			e.code = "too_much_output"
			break
		}
		e.chunks = append(e.chunks, c)
	}
	l.mu.Lock()
	if e.code == "" && (len(text) > 64<<10 || len(l.splits) < 1000) { // other texts that fail are as long, and come once
		l.splits[key] = e
	}
	l.mu.Unlock()
	return e, nil
}

// failure says what is wrong with the error of an operation that must end so, or nothing.
func (l *load) failure(end ending, err *event.Failure) string {
	if err == nil || err.Code != end.code {
		return fmt.Sprintf("its error is %+v, want %q", err, end.code)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures[end.code] == "" {
		l.failures[end.code] = err.Detail
	}
	if first := l.failures[end.code]; err.Detail != first || err.Detail == "" {
		return fmt.Sprintf("the detail of its error is %q, and that of the first one %q", err.Detail, first)
	}
	return ""
}

// read compares an operation's chunks, as any web process gives them, with a run without faults.
func (l *load) read(ctx context.Context, rng *rand.Rand, t *ticket) {
	var op client.Operation
	refused, ok := l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) (err error) {
		op, err = t.history.record(asked{what: "get"}, func() (client.Operation, error) { return c.Operation(ctx, t.op.ID, 0) })
		return err
	})
	if refused != nil || ok && !op.Final() {
		l.c.violate("I1: %s, which has ended for its watchers: %q, %v", t.op.ID, op.Status, refused)
	}
	if !ok || op.Status == "cancelled" {
		return
	}
	end, err := l.split(t.text, op.Strategy, op.Config)
	if err != nil {
		l.c.violate("I2: %s: %v", op.ID, err)
		return
	}
	if op.Status == "failed" {
		if wrong := l.failure(end, op.Error); wrong != "" {
			l.c.violate("%s failed: %s", op.ID, wrong)
		}
	}
	want := end.chunks
	refused, _ = l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) error {
		n, chars, at := 0, 0, 0
		for got, err := range c.Chunks(ctx, op.ID) {
			if err != nil {
				return err
			}
			if n >= len(want) {
				l.c.violate("I2: %s has more than the %d chunks of a run without faults", op.ID, n)
				return nil
			}
			w := want[n]
			if w.Start >= at {
				chars += utf8.RuneCountInString(t.text[at:w.Start])
			} else {
				chars -= utf8.RuneCountInString(t.text[w.Start:at])
			}
			at = w.Start
			if got.Index != int64(n) || got.StartByte != int64(w.Start) || got.EndByte != int64(w.End) ||
				got.Text != t.text[w.Start:w.End] || got.StartChar != int64(chars) ||
				got.EndChar != int64(chars+utf8.RuneCountInString(got.Text)) {
				l.c.violate("I2: %s: chunk %d is %d [%d, %d), want [%d, %d)", op.ID, n, got.Index, got.StartByte, got.EndByte, w.Start, w.End)
				return nil
			}
			n++
		}
		if op.Status == "completed" && n != len(want) || op.Chunks != int64(n) {
			l.c.violate("I2: %s gives %d chunks and says %d; a run without faults gives %d", op.ID, n, op.Chunks, len(want))
		}
		return nil
	})
	if refused != nil {
		l.c.violate("I2: reading the chunks of %s was refused: %v", op.ID, refused)
	}
}
