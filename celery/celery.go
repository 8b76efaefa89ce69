// Package celery is a door for producers that send Celery tasks: it takes process_chunking_operation from Redis as
// kombu 5 lays it there, hands it to the service, and writes states and results where Celery's AsyncResult reads them.
//
// A task is never only in this process. The step that takes a message out of its list records it in kombu's unacked
// hash; the step that writes its result removes it from there. In between, this process renews the record, and once it
// has not been renewed for the visibility timeout, whoever looks puts the message back. A message can so be delivered
// twice; the id of the task, used as an idempotency key, makes both the same operation.
package celery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"chunkstream/redisconn"
)

// ResultTTL is how long a result can be read: Celery's own default for result_expires.
const ResultTTL = 24 * time.Hour

// DefaultVisibility is short: what is held is renewed every quarter of it, and what is delivered twice is done once.
const DefaultVisibility = 15 * time.Second

const (
	look       = 100 * time.Millisecond // between two looks at the lists, and at what is in hand
	pause      = time.Second            // after a failure
	sweep      = time.Second            // between two searches for messages to put back: how exact an eta is
	perTake    = 32                     // messages taken in one step
	together   = 16                     // tasks submitted at the same time
	submitting = time.Minute            // for submitting what is in hand
	farewell   = 2 * time.Second        // for giving back what is in hand at the end
)

// Config says what the door stands on.
type Config struct {
	// Commands reaches the producers' Redis, broker and result backend in one. Since a message may carry a whole
	// document, its CommandTimeout should be some seconds. Needed.
	Commands *redisconn.Commands
	// Queues are the names of the queues served. nil means one, "celery". All that comes in them is taken: they must be
	// of this task alone.
	Queues []string
	// Submit makes the task durable and returns its operation. It may be called again with the same task, by another
	// process too, and then returns the same operation. A *Refusal is the task's result; after another error, Submit is
	// called again, a second later. Needed.
	Submit func(ctx context.Context, t Task) (Operation, error)
	// Look gives, by id, the states of those operations whose Seq is not the one given, which is 0 at first. Needed.
	Look func(ctx context.Context, seen map[string]int64) (map[string]State, error)
	// Visibility is how long a message stays with a process that has died. It should be the same in all processes. 0 means
	// DefaultVisibility; at least a second.
	Visibility time.Duration
	// InHand is how many tasks may be between taken and answered; those that wait for their eta do not count. 0 means 256.
	InHand int
	// Log gets what could not be answered. nil means no log.
	Log *slog.Logger
}

// Operation is where a task went.
type Operation struct{ ID, DocumentID string }

// State is how an operation stands.
type State struct {
	Seq           int64 // of its newest event, at least 1
	Started       bool
	Ended         bool
	Refusal       *Refusal // why it failed; nil if it did not
	Cancelled     bool
	Chunks, Bytes int64
}

// Door serves tasks. Make one with New.
type Door struct {
	config Config
	lists  [][]string // for each priority, the list of each queue
	run    string     // part of every tag: no other process, and no earlier run of this one, has it
	hands  []*hand    // in the order in which they were taken
	turn   int
}

// hand is a task in hand: taken, and not yet answered. Its fields are used by one goroutine at a time.
type hand struct {
	tag, list string
	parsed    parsed
	operation Operation
	seen      int64  // the operation's newest event that the producer was told of, or need not be
	started   bool   // has been told to the producer
	status    string // of its result; empty while there is none
	result    any
}

// New checks c. It does not need Redis to be up.
func New(c Config) (*Door, error) {
	if _, err := redisconn.RequireCommands(c.Commands); err != nil {
		return nil, err
	}
	if c.Submit == nil || c.Look == nil {
		return nil, errors.New("celery: Submit and Look are needed")
	}
	if len(c.Queues) == 0 {
		c.Queues = []string{"celery"}
	}
	if c.Visibility == 0 {
		c.Visibility = DefaultVisibility
	}
	if c.Visibility < time.Second {
		return nil, fmt.Errorf("celery: a visibility of %v is less than a second", c.Visibility)
	}
	if c.InHand <= 0 {
		c.InHand = 256
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &Door{config: c, run: newRun()}
	for _, step := range []string{"", "3", "6", "9"} { // kombu's priority steps, the most urgent first
		var lists []string
		for _, q := range c.Queues {
			if q == "" || strings.Contains(q, separator) {
				return nil, fmt.Errorf("celery: %q is no name of a queue", q)
			}
			if step != "" {
				q += separator + step
			}
			lists = append(lists, q)
		}
		d.lists = append(d.lists, lists)
	}
	return d, nil
}

// Run serves tasks until ctx ends, gives back those that are not answered, and returns nil. Redis and the database may
// come and go meanwhile.
func (d *Door) Run(ctx context.Context) error {
	var swept, renewed time.Time
	for ctx.Err() == nil {
		var failed error
		if now := time.Now(); now.Sub(renewed) >= d.config.Visibility/4 {
			if failed = d.renew(ctx); failed == nil {
				renewed = now
			}
		}
		// After the renewal, so that what took long in this process is not taken for that of a dead one.
		if now := time.Now(); failed == nil && now.Sub(swept) >= sweep {
			swept = now
			failed = d.putBack(ctx)
		}
		taken, err := d.take(ctx)
		failed = errors.Join(failed, err, d.submit(ctx), d.follow(ctx), d.answer(ctx))
		wait := look
		if failed != nil && ctx.Err() == nil {
			d.config.Log.Warn("celery: trying again", "error", failed.Error())
			wait = pause
		} else if taken == perTake {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if _, err := d.config.Commands.Run(limit, giveBack, keys, d.tags()...); err != nil {
		d.config.Log.Warn("celery: giving back what is in hand; it is put back later", "error", err.Error())
	}
	d.hands = nil
	return nil
}

// take takes messages into hand, as many as there is room for, and reports how many there were.
func (d *Door) take(ctx context.Context) (int, error) {
	room := min(perTake, d.config.InHand-len(d.hands))
	if room <= 0 {
		return 0, nil
	}
	d.turn++
	from := slices.Clone(keys)
	for _, lists := range d.lists {
		for i := range lists { // each queue is the first of its priority in turn
			from = append(from, lists[(i+d.turn)%len(lists)])
		}
	}
	reply, err := d.config.Commands.Run(ctx, pop, from, strconv.Itoa(room), d.run+strconv.Itoa(d.turn))
	if err != nil {
		return 0, fmt.Errorf("take messages: %w", err)
	}
	taken, err := reply.Texts()
	if err != nil {
		return 0, fmt.Errorf("take messages: %w", err)
	}
	var failed error
	now := time.Now()
	for i := 0; i+1 < len(taken); i += 2 {
		h := &hand{tag: taken[i], parsed: parse(taken[i+1])}
		_, rest, _ := strings.Cut(h.tag, "/")
		_, h.list, _ = strings.Cut(rest, "/")
		switch p := h.parsed; {
		case p.id == "":
			d.config.Log.Warn("celery: a message without a task id is put aside", "list", broken, "error", p.wrong.Error())
		case p.wrong != nil:
			h.status, h.result = failure, p.wrong
		case !p.expires.IsZero() && !now.Before(p.expires):
			h.status, h.result = revoked, &Refusal{"celery.exceptions", "TaskRevokedError", "expired"}
		case now.Before(p.eta):
			// From now on it is nobody's, as if its holder were to be gone a visibility timeout before the eta.
			due := p.eta.Add(-d.config.Visibility)
			at := strconv.FormatFloat(float64(due.UnixMilli())/1000, 'f', 3, 64)
			if _, err := d.config.Commands.Run(ctx, putOff, keys, h.tag, at); err != nil {
				failed = fmt.Errorf("put off a task; it comes again later: %w", err)
			}
			continue
		}
		d.hands = append(d.hands, h)
	}
	return len(taken) / 2, failed
}

// tags are the records of what is in hand.
func (d *Door) tags() []string {
	tags := make([]string, len(d.hands))
	for i, h := range d.hands {
		tags[i] = h.tag
	}
	return tags
}

// submit makes durable what is not yet, and renews meanwhile what is in hand: a big text may take its time.
func (d *Door) submit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, submitting)
	defer cancel()
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		failed = d.submitAll(ctx)
	}()
	renewing := time.NewTicker(d.config.Visibility / 4)
	defer renewing.Stop()
	for {
		select {
		case <-done:
			return failed
		case <-renewing.C:
			if err := d.renew(ctx); err != nil && ctx.Err() == nil {
				d.config.Log.Warn("celery: a task may come twice", "error", err.Error())
			}
		}
	}
}

func (d *Door) submitAll(ctx context.Context) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, together)
	var mu sync.Mutex
	var failed error
	list := ""
	for _, h := range d.hands {
		if h.status != "" || h.operation.ID != "" || h.parsed.id == "" {
			continue
		}
		if h.list != list { // what is less urgent comes after what is more
			wg.Wait()
			list = h.list
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			op, err := d.config.Submit(ctx, h.parsed.task)
			if r, ok := errors.AsType[*Refusal](err); ok {
				h.status, h.result = failure, r
			} else if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = fmt.Errorf("submit: %w", err)
			} else {
				h.operation, h.parsed.task.Text = op, nil
			}
		})
	}
	wg.Wait()
	return failed
}

// follow learns what has become of the operations in hand.
func (d *Door) follow(ctx context.Context) error {
	seen := map[string]int64{} // two messages in hand may be of the same operation
	for _, h := range d.hands {
		if h.status == "" && h.operation.ID != "" {
			last, twice := seen[h.operation.ID]
			if !twice || h.seen < last {
				seen[h.operation.ID] = h.seen
			}
		}
	}
	if len(seen) == 0 {
		return nil
	}
	states, err := d.config.Look(ctx, seen)
	if err != nil {
		return fmt.Errorf("look at operations: %w", err)
	}
	var failed error
	for _, h := range d.hands {
		s, changed := states[h.operation.ID]
		summary := Summary{OperationID: h.operation.ID, RequestID: h.parsed.task.OperationID,
			DocumentID: h.operation.DocumentID, Chunks: s.Chunks, Bytes: s.Bytes}
		switch {
		case !changed || h.status != "":
		case s.Ended && s.Refusal != nil:
			h.status, h.result = failure, s.Refusal
		case s.Ended && s.Cancelled:
			h.status, h.result = revoked, &Refusal{"celery.exceptions", "TaskRevokedError", "cancelled"}
		case s.Ended:
			h.status, h.result = success, summary
		case s.Started && !h.started:
			if err := d.tell(ctx, h, started, summary, false); err != nil {
				failed = err // it is told again; what has ended must be noted all the same
				continue
			}
			h.started = true
		}
		if changed {
			h.seen = s.Seq
		}
	}
	return failed
}

// answer writes the results there are; with its result, a task is out of hand.
func (d *Door) answer(ctx context.Context) error {
	var failed error
	d.hands = slices.DeleteFunc(d.hands, func(h *hand) bool {
		if failed != nil || h.status == "" && h.parsed.id != "" {
			return false
		}
		failed = d.tell(ctx, h, h.status, h.result, true)
		return failed == nil
	})
	return failed
}

// tell writes a state of a task; done removes its record in the same step.
func (d *Door) tell(ctx context.Context, h *hand, status string, result any, done bool) error {
	record, text := "", ""
	if done {
		record = h.tag
	}
	if h.parsed.id != "" && !h.parsed.ignoreResult {
		text = meta(h.parsed.id, status, result, time.Now())
	}
	aside := ""
	if h.parsed.id == "" {
		aside = broken
	}
	_, err := d.config.Commands.Run(ctx, tell, append(slices.Clone(keys), "celery-task-meta-"+h.parsed.id, broken),
		record, text, strconv.Itoa(int(ResultTTL/time.Second)), aside)
	if err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	return nil
}

// renew says that what is in hand is.
func (d *Door) renew(ctx context.Context) error {
	if _, err := d.config.Commands.Run(ctx, renew, keys, d.tags()...); err != nil {
		return fmt.Errorf("renew what is in hand: %w", err)
	}
	return nil
}

// putBack puts back what nobody has renewed, whichever process had it, and what is due.
func (d *Door) putBack(ctx context.Context) error {
	limit := strconv.FormatFloat(d.config.Visibility.Seconds(), 'f', 3, 64)
	reply, err := d.config.Commands.Run(ctx, restore, keys, limit)
	if err != nil {
		return fmt.Errorf("put back what nobody has: %w", err)
	}
	if n, err := reply.Int(); err == nil && n > 0 {
		d.config.Log.Info("celery: messages put back, due or left by another process", "messages", n)
	}
	return nil
}
