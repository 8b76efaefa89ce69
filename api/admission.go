package api

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"chunkstream/store"
)

// Limits is how much work the service takes in before it says no. What one owner may have is refused to that owner alone
// with 429, what all may have together with 503, both with Retry-After and before the body is read. 0 is no limit.
type Limits struct {
	Total, Owner Limit
}

// Limit is how much may be waiting.
type Limit struct {
	Queued    int64         // operations that are queued
	Bytes     int64         // bytes of their texts
	Receiving int64         // bytes of the bodies that are arriving in this process
	Oldest    time.Duration // how long the oldest due operation has waited
}

const (
	loadFor     = 500 * time.Millisecond // the queue is counted no more often
	countWithin = time.Second            // and for no longer
	unknownBody = 1 << 20                // what a body without a length counts as
	retryAfter  = 5 * time.Second        // a full queue needs a little time
	lineAfter   = time.Second            // a long line needs less
)

// admission knows what is waiting: the queue by counting it now and then, and what was let in since.
type admission struct {
	limits Limits
	count  func(context.Context) (store.Load, error)
	line   line

	mu        sync.Mutex
	load      store.Load
	counted   time.Time
	counting  bool
	receiving map[string]int64 // bytes, by owner
	all       int64            // of them
}

func newAdmission(limits Limits, count func(context.Context) (store.Load, error)) *admission {
	return &admission{limits: limits, count: count, receiving: map[string]int64{}}
}

// enter lets a request in that brings a body of so many bytes (-1: nobody knows), or refuses it. leave says that the body
// has come and what it was for is in the queue, or nothing is.
func (a *admission) enter(ctx context.Context, owner string, bytes int64) (leave func(), err error) {
	if a.limits == (Limits{}) {
		return func() {}, nil
	}
	if bytes < 0 {
		bytes = unknownBody
	}
	counted := a.look(ctx, owner)
	err = a.line.refuses(owner)
	if err == nil {
		err = a.admit(owner, bytes)
	}
	if err != nil {
		counted()
		return nil, err
	}
	return func() {
		counted()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all -= bytes
		if a.receiving[owner] -= bytes; a.receiving[owner] == 0 {
			delete(a.receiving, owner)
		}
	}, nil
}

func (a *admission) admit(owner string, bytes int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.load.Owners[owner]
	if what := a.limits.Owner.refuses(own, a.receiving[owner], bytes); what != "" {
		return refused("owner_limit", retryAfter, "you have %s already; wait until some of it is done", what)
	}
	if what := a.limits.Total.refuses(a.load.Queue, a.all, bytes); what != "" {
		return refused("overloaded", retryAfter, "the service has %s; nothing was taken in", what)
	}
	a.all += bytes
	a.receiving[owner] += bytes
	// Until it is counted again, it counts as queued.
	own.Operations, own.Bytes = own.Operations+1, own.Bytes+bytes
	if a.load.Owners == nil {
		a.load.Owners = map[string]store.Queue{}
	}
	a.load.Owners[owner] = own
	a.load.Operations++
	a.load.Bytes += bytes
	return nil
}

// refuses says in words what there is too much of, or nothing. A body that is larger than the limit by itself is let in
// when it is alone.
func (l Limit) refuses(q store.Queue, receiving, bytes int64) string {
	switch {
	case l.Queued > 0 && q.Operations >= l.Queued:
		return strconv.FormatInt(q.Operations, 10) + " operations in the queue"
	case l.Bytes > 0 && q.Bytes > 0 && q.Bytes+bytes > l.Bytes:
		return size(q.Bytes) + " in the queue"
	case l.Receiving > 0 && receiving > 0 && receiving+bytes > l.Receiving:
		return size(receiving) + " arriving"
	case l.Oldest > 0 && q.Oldest > l.Oldest:
		return "work that has waited for " + q.Oldest.Round(time.Second).String()
	}
	return ""
}

func refused(code string, after time.Duration, detail, what string) *Problem {
	p := problem(code, "", detail, what)
	p.header = http.Header{"Retry-After": {wholeSeconds(after)}}
	return p
}

// look counts the queue anew if that is due and nobody is at it. Far from every limit nobody waits for it: it is done beside
// the request that asks, until counted is called. A database that does not answer refuses by itself.
func (a *admission) look(ctx context.Context, owner string) (counted func()) {
	a.mu.Lock()
	due := !a.counting && time.Since(a.counted) >= loadFor
	a.counting = a.counting || due
	far := !a.counted.IsZero() && a.limits.Owner.far(a.load.Owners[owner]) && a.limits.Total.far(a.load.Queue)
	a.mu.Unlock()
	if !due {
		return func() {}
	}
	if !far {
		a.recount(ctx)
		return func() {}
	}
	var beside sync.WaitGroup
	beside.Go(func() { a.recount(ctx) })
	return beside.Wait
}

// far reports whether even twice that much would be let in.
func (l Limit) far(q store.Queue) bool {
	return l.refuses(store.Queue{Operations: 2*q.Operations + 1, Bytes: 2 * q.Bytes, Oldest: 2 * q.Oldest}, 0, 0) == ""
}

func (a *admission) recount(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	load, err := a.count(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counting, a.counted = false, time.Now()
	if err == nil {
		a.load = load
		a.line.follow(load.Operations)
	}
}
