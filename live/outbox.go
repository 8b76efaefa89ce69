package live

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"chunkstream/event"
)

// outboxes holds what waits to be written to Redis, by operation. An operation is with at most one writer at a time,
// which keeps its events in order, while different operations are written side by side.
type outboxes struct {
	depth int
	ready chan *outbox  // those with something to write, each at most once
	armed chan struct{} // an ephemeral event waits for its time

	mu      sync.Mutex
	boxes   map[string]*outbox
	events  int // in all boxes
	queued  int // boxes with queued set
	pending []*outbox
	debts   map[string]*debt
	closing bool
	idle    chan struct{} // closed when closing and nothing is queued
}

// outbox is one operation with something to write, or with a writer. Its fields are guarded by outboxes.mu; owner and
// id do not change.
type outbox struct {
	owner, id string
	events    []event.Event
	progress  *event.Event // the newest ephemeral event
	due       bool         // progress may go
	queued    bool         // in ready, or with a writer
	debt      *debt        // Redis lacks events of it
}

// debt is an operation that Redis lacks events of.
type debt struct {
	owner string
	tries int       // that failed although Redis was there
	tried time.Time // the newest one
}

const (
	maxDebts = 4096
	maxTries = 20
	mendOnce = 256 // operations mended in one go
)

func newOutboxes(depth int) *outboxes {
	return &outboxes{
		depth: depth, ready: make(chan *outbox, depth), armed: make(chan struct{}, 1),
		boxes: map[string]*outbox{}, debts: map[string]*debt{}, idle: make(chan struct{}),
	}
}

// add queues an event. It reports false when there is no room.
func (o *outboxes) add(e event.Owned) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	id, durable := e.Event.OperationID, e.Event.Seq > 0
	b := o.boxes[id]
	if o.closing || b == nil && len(o.boxes) >= o.depth || durable && o.events >= o.depth {
		if durable {
			o.owe(id, &debt{owner: e.Owner})
		}
		return false
	}
	if b == nil {
		b = o.box(e.Owner, id)
	}
	if !durable {
		if b.progress == nil {
			o.pending = append(o.pending, b)
			select {
			case o.armed <- struct{}{}:
			default:
			}
		}
		b.progress = &e.Event
		return true
	}
	b.events = append(b.events, e.Event)
	o.events++
	o.enqueue(b)
	return true
}

func (o *outboxes) box(owner, id string) *outbox {
	b := &outbox{owner: owner, id: id}
	o.boxes[id] = b
	return b
}

// enqueue hands b to the writers unless one has it. ready has room for all boxes, so this does not block. o.mu is held.
func (o *outboxes) enqueue(b *outbox) {
	if !b.queued {
		b.queued = true
		o.queued++
		o.ready <- b
	}
}

// standing is how Redis stands with an operation.
type standing int

const (
	settled standing = iota // it has what was published
	owed                    // it lacks events
	held                    // it lacks events, and to try again now is too soon
)

// take gives a writer what is to be written of b: events in order, then an ephemeral one.
func (o *outboxes) take(b *outbox) (events []event.Event, progress *event.Event, how standing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	events, b.events = b.events, nil
	o.events -= len(events)
	if b.due {
		progress, b.progress, b.due = b.progress, nil, false
	}
	if d := o.debts[b.id]; d != nil {
		how = held
		if time.Since(d.tried) >= mending {
			how, b.debt = owed, d
			delete(o.debts, b.id)
		}
	}
	slices.SortStableFunc(events, func(x, y event.Event) int { return cmp.Compare(x.Seq, y.Seq) })
	events = slices.CompactFunc(events, func(x, y event.Event) bool { return x.Seq == y.Seq })
	if n := len(events); n > 0 && events[n-1].Type.Terminal() {
		progress, b.progress, b.due = nil, nil, false // none comes after the end
	}
	return events, progress, how
}

// done ends what take began. After an error Redis is owed the operation's events; with counts the try counts.
func (o *outboxes) done(b *outbox, err error, counts bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		d := b.debt
		if d == nil {
			d = &debt{owner: b.owner}
		}
		if counts {
			d.tries++
		}
		d.tried = time.Now()
		o.owe(b.id, d)
	}
	b.debt = nil
	b.queued = false
	o.queued--
	switch {
	case len(b.events) > 0 || b.due:
		o.enqueue(b)
	case b.progress == nil:
		delete(o.boxes, b.id)
	}
	o.rest()
}

// owe notes that Redis lacks events of an operation. Beyond maxDebts, and after maxTries, it is left as it is: its keys
// expire. o.mu is held.
func (o *outboxes) owe(id string, d *debt) {
	if _, known := o.debts[id]; !known && len(o.debts) < maxDebts && d.tries < maxTries {
		o.debts[id] = d
	}
}

func (o *outboxes) owes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.debts))
}

// mend hands operations that Redis is owed to the writers, and says how many there are.
func (o *outboxes) mend() (owed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owed = len(o.debts)
	n := 0
	for id, d := range o.debts {
		b := o.boxes[id]
		if time.Since(d.tried) < mending {
			continue
		}
		if n++; n > mendOnce || b == nil && len(o.boxes) >= o.depth {
			break
		}
		if b == nil {
			b = o.box(d.owner, id)
		}
		o.enqueue(b) // take finds the debt
	}
	return owed
}

// pace lets ephemeral events go, each operation's newest, at most one each interval, until ctx ends.
func (o *outboxes) pace(ctx context.Context, interval time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.armed:
		}
		if pause(ctx, interval) != nil {
			return
		}
		o.mu.Lock()
		for _, b := range o.pending {
			if b.progress != nil { // its operation may have ended meanwhile
				b.due = true
				o.enqueue(b)
			}
		}
		o.pending = nil
		o.mu.Unlock()
	}
}

// close refuses further events and gives a channel that is closed when nothing waits.
func (o *outboxes) close() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = true
	o.rest()
	return o.idle
}

// rest closes idle when that is due. o.mu is held.
func (o *outboxes) rest() {
	if o.closing && o.queued == 0 {
		select {
		case <-o.idle:
		default:
			close(o.idle)
		}
	}
}
