package worker

import (
	"sync"

	"chunkstream/store"
)

// lane is the operations of one size in flight, bounded by number and by bytes of text.
type lane struct {
	name  store.Lane
	slots int
	bytes int64

	freed    bell // a slot has become free
	requeued bell // the sweep has queued something again: nobody else may be there to claim it

	mu       sync.Mutex
	running  int
	inFlight int64 // bytes
	waiting  bool  // older operations may be due that had no room
	serving  bool
	work     func(*store.Run)
	all      sync.WaitGroup // those that run or are reserved; raised from zero only while the lane is served
}

// bell can be received from once after any number of rings.
type bell chan struct{}

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

func newLane(name store.Lane, slots int, bytes int64) *lane {
	return &lane{name: name, slots: slots, bytes: bytes, freed: make(bell, 1), requeued: make(bell, 1)}
}

// open lets operations in. What was queued before has not been looked for yet.
func (l *lane) open(work func(*store.Run)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work, l.serving, l.waiting = work, true, true
}

// close lets nothing in any more and waits until everything has left.
func (l *lane) close() {
	l.mu.Lock()
	l.serving = false
	l.mu.Unlock()
	l.all.Wait()
}

// room says how many more operations and bytes there is room for, whether nothing is in flight, and whether there may be
// more that is due than there is room for.
func (l *lane) room() (slots int, bytes int64, alone, crowded bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slots - l.running, l.bytes - l.inFlight, l.running == 0, l.waiting
}

// take makes a claimed operation part of the lane. Reservations that came beside the claim may have used its room.
func (l *lane) take(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enter(bytes)
}

// enter counts an operation in. l.mu is held.
func (l *lane) enter(bytes int64) {
	l.running++
	l.inFlight += bytes
	l.all.Add(1)
}

// claimed notes whether the newest claim may have left something due.
func (l *lane) claimed(more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = more
}

// reserve is take for an operation that does not exist yet. Those that do come first, and one that is refused will be
// the next of them.
func (l *lane) reserve(bytes int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.serving || l.waiting {
		return false
	}
	if l.running >= l.slots || l.inFlight+bytes > l.bytes {
		l.waiting = true
		return false
	}
	l.enter(bytes)
	return true
}

// start runs an operation that is part of the lane in a goroutine of its own, to its end.
func (l *lane) start(r *store.Run, bytes int64) {
	l.mu.Lock()
	work := l.work
	l.mu.Unlock()
	go func() {
		work(r)
		l.release(bytes)
	}()
}

// release makes an operation leave the lane.
func (l *lane) release(bytes int64) {
	l.mu.Lock()
	l.running--
	l.inFlight -= bytes
	l.mu.Unlock()
	l.freed.ring()
	l.all.Done()
}
