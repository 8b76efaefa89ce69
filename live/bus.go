package live

import (
	"context"
	"sync/atomic"

	"chunkstream/event"
)

// Bus carries events to hubs: Memory within one process, Redis between processes. A bus promises little: an event may
// be lost (and is counted), repeated or late, and nobody waits for it. The hub's gap rule and poll make up for that.
// All methods may be called concurrently; only Run waits for anything.
type Bus interface {
	// Publish takes an event.
	Publish(event.Owned)
	// Run carries events until ctx ends, and returns when everything it started is gone. It is called once.
	Run(ctx context.Context, to Receiver) error
	// Watch asks for the events of one operation, or of everything of owner when operationID is "". The channel is
	// closed when they will come from here on, as far as the bus can tell, or when there is no use in waiting for that.
	// Each Watch is undone by one Unwatch with the same arguments.
	Watch(owner, operationID string) (ready <-chan struct{})
	// Unwatch undoes one Watch.
	Unwatch(owner, operationID string)
	// Dropped is how many events did not get through because of a full queue or a failure.
	Dropped() int64
	// Degraded reports whether events of other processes may not come at once, and why, in a few words.
	Degraded() (degraded bool, reason string)
}

// Receiver is what a Bus gives events to. Its functions must not block for long.
type Receiver struct {
	// Deliver takes an event whose owner is certain.
	Deliver func(event.Owned)
	// Overhear takes an event together with somebody who watches its operation, and who need not own it.
	Overhear func(watcher string, e event.Event)
	// Lost says that any events may have been lost until now.
	Lost func()
}

// Memory is the bus within one process: a bounded queue.
type Memory struct {
	queue   chan *event.Owned
	dropped atomic.Int64
}

// NewMemory makes a bus on which depth events may wait, at least 1.
func NewMemory(depth int) *Memory {
	return &Memory{queue: make(chan *event.Owned, max(depth, 1))}
}

// Publish queues e, or drops and counts it when the queue is full. It never blocks.
func (m *Memory) Publish(e event.Owned) {
	select {
	case m.queue <- &e:
	default:
		m.dropped.Add(1)
	}
}

// Run delivers one event after the other, in the order they were queued, until ctx ends. What is queued then is not
// delivered. It returns nil.
func (m *Memory) Run(ctx context.Context, to Receiver) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-m.queue:
			to.Deliver(*e)
		}
	}
}

// Watch does nothing: everything is delivered.
func (m *Memory) Watch(string, string) <-chan struct{} { return closed }

// Unwatch does nothing.
func (m *Memory) Unwatch(string, string) {}

// Degraded is false.
func (m *Memory) Degraded() (bool, string) { return false, "" }

// closed is the channel of what is ready already.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Dropped is how many events a full queue has cost.
func (m *Memory) Dropped() int64 { return m.dropped.Load() }
