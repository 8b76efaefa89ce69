package live

import (
	"context"
	"sync/atomic"

	"chunkstream/event"
)

// Memory is the bus within one process: a bounded queue. It promises little, as every bus here does: an event may be
// lost (and is counted), and nobody waits. The hub's gap rule and poll make up for it.
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

// Run hands events to deliver one after the other, in the order they were queued, until ctx ends. What is queued then
// is not delivered.
func (m *Memory) Run(ctx context.Context, deliver func(event.Owned)) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-m.queue:
			deliver(*e)
		}
	}
}

// Dropped is how many events a full queue has cost.
func (m *Memory) Dropped() int64 { return m.dropped.Load() }
