package api

import (
	"context"
	"slices"
	"strconv"
	"sync"
)

// What is in hand goes before what is new: storing submissions and working on them take the same processor, database and
// disk, and whoever stores all that comes as fast as it comes gets nothing done.
const (
	lineMost    = 64   // submissions that are stored at once while workers keep up
	lineWaiting = 256  // submissions that wait for that, before those that come are refused
	lineOwn     = 192  // of them one owner's: others find a place when one sends all that it can
	lineBacklog = 1000 // queued operations up to which workers count as keeping up
)

// line lets only so many submissions at once into the store and has the others wait, the first first. How many follows the
// queue: fewer and fewer while it is long and grows, and slowly more again while it does not grow. One always goes in. The zero
// value lets in as many as there may be.
type line struct {
	mu      sync.Mutex
	fewer   int // than lineMost are let in
	in      int
	waiting []waiting
	queued  int64 // operations, when they were counted last
}

// waiting is one that waits.
type waiting struct {
	turn  chan struct{} // closed when it has come
	owner string
}

// turn waits for the owner's turn, and for no longer than ctx lasts. done says that it is over.
func (l *line) turn(ctx context.Context, owner string) (done func(), err error) {
	l.mu.Lock()
	if l.in < lineMost-l.fewer {
		l.in++
		l.mu.Unlock()
		return l.done, nil
	}
	mine := make(chan struct{})
	l.waiting = append(l.waiting, waiting{mine, owner})
	l.mu.Unlock()
	select {
	case <-mine:
		return l.done, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	at := slices.IndexFunc(l.waiting, func(w waiting) bool { return w.turn == mine })
	if at >= 0 {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	l.mu.Unlock()
	if at < 0 { // its turn has come meanwhile
		l.done()
	}
	return nil, ctx.Err()
}

func (l *line) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in--
	l.next()
}

// next lets in who may go. The caller holds mu.
func (l *line) next() {
	for len(l.waiting) > 0 && l.in < lineMost-l.fewer {
		close(l.waiting[0].turn)
		l.waiting = l.waiting[1:]
		l.in++
	}
}

// follow is told how many operations are queued.
func (l *line) follow(queued int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch most := lineMost - l.fewer; {
	case queued < lineBacklog:
		l.fewer = 0
	case queued > l.queued:
		l.fewer = lineMost - max(1, most/2)
	default:
		l.fewer = max(0, l.fewer-1)
	}
	l.queued = queued
	l.next()
}

// refuses says that so many wait, of all or of the owner's, that whoever comes now had better come again.
func (l *line) refuses(owner string) error {
	l.mu.Lock()
	n, own := len(l.waiting), 0
	if n >= lineOwn {
		for _, w := range l.waiting {
			if w.owner == owner {
				own++
			}
		}
	}
	l.mu.Unlock()
	switch {
	case own >= lineOwn:
		return refused("owner_limit", lineAfter, "you have %s submissions waiting to be stored already; wait until some of it is done", strconv.Itoa(own))
	case n >= lineWaiting:
		return refused("overloaded", lineAfter, "the service has %s submissions waiting to be stored; nothing was taken in", strconv.Itoa(n))
	}
	return nil
}
