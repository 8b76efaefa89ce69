package main

import (
	"context"
	"sync"
	"time"
)

// timeline is when what was broken, so that what a measured time has in it is known.
type timeline struct {
	mu    sync.Mutex
	open  map[string]time.Time
	spans map[string][]span
}

// span is a time during which something was broken.
type span struct{ from, to time.Time }

// What can be broken beside single processes, which stand under their names.
const (
	theDatabase = "the database"
	theRedis    = "Redis"
	aFreeze     = "frozen " // and a process's name: it is stopped, cut off or out of files, and may hold locks
	noCore      = "no core" // this program, which asks for little, had to wait for one
	stalled     = 200 * time.Millisecond
)

// begin notes that something is broken from a time on; what is broken already stays so.
func (t *timeline) begin(what string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open, t.spans = map[string]time.Time{}, map[string][]span{}
	}
	if _, broken := t.open[what]; !broken {
		t.open[what] = at
	}
}

// end notes that it is whole again.
func (t *timeline) end(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from, broken := t.open[what]; broken {
		delete(t.open, what)
		t.spans[what] = append(t.spans[what], span{from, time.Now()})
	}
}

// broken reports whether something was, at any moment from one time to another.
func (t *timeline) broken(what string, from, to time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, broken := t.open[what]; broken && at.Before(to) {
		return true
	}
	for _, s := range t.spans[what] {
		if s.from.Before(to) && s.to.After(from) {
			return true
		}
	}
	return false
}

// cores notes when this program had to wait for a core. What the product took then says more about the machine.
func (c *chaos) cores(ctx context.Context) {
	const step = 20 * time.Millisecond
	for at := time.Now(); pause(ctx, step); {
		now := time.Now()
		if now.Sub(at) > step+stalled {
			c.times.begin(noCore, at)
			c.times.end(noCore)
		}
		at = now
	}
}

// alone reports whether nothing else that could hold up a process was broken in a time: not the database, nothing was frozen
// with what locks it may have, and a core was free. Other processes may have been killed.
func (c *chaos) alone(from, to time.Time) bool {
	if c.times.broken(theDatabase, from, to) || c.times.broken(noCore, from, to) {
		return false
	}
	for _, p := range c.processes {
		if c.times.broken(aFreeze+p.name, from, to) {
			return false
		}
	}
	return true
}

// manned reports whether any one worker was there and well for the whole of a time.
func (c *chaos) manned(from, to time.Time) bool {
	for _, p := range c.processes {
		if p.works && !c.times.broken(p.name, from, to) && !c.times.broken(aFreeze+p.name, from, to) {
			return true
		}
	}
	return false
}
