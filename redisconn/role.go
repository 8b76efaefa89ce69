package redisconn

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// role is what the three share: a current link, a breaker with its prober, counters, the log, and an end. It is a field
// of each and not embedded, so that the three have no method in common but Close and Stats.
type role struct {
	*settings
	name   string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	shape  shape
	meter  meter
	turn   atomic.Uint64 // which address is next
	up     atomic.Bool
	openly atomic.Bool  // the breaker is open
	answer atomic.Int64 // when Redis last answered, Unix nanoseconds

	work   sync.WaitGroup // goroutines of this role; Add under mu with closed false, or by one of them
	kick   chan struct{}  // the breaker has opened
	stale  chan struct{}  // the connections lead to what is not the master any more
	moved  atomic.Int64   // when stale was last said, Unix nanoseconds
	mu     sync.Mutex
	closed bool
	done   chan struct{} // closed when Close has finished
	link   *link         // nil with Cluster until a node answered
	why    fault         // what opened the breaker
	fails  [BreakerFailures]time.Time
	failed int // index of the oldest of fails
	logged map[string]*line
}

type line struct {
	last    time.Time
	omitted int
}

func newRole(ctx context.Context, s *settings, name string, sh shape) *role {
	r := &role{settings: s, name: name, shape: sh, kick: make(chan struct{}, 1),
		stale: make(chan struct{}, 1), done: make(chan struct{}),
		logged: map[string]*line{}}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.meter.errors = map[Class]int64{}
	if r.kind != cluster && !sh.oneNode {
		r.link, _ = r.connect(sh) // without Cluster it cannot fail
	}
	return r
}

func (r *role) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// begin gives a call its link; it must call end. With the breaker open it fails at once.
func (r *role) begin() (*link, *fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, &fault{class: ClassClosed, err: ErrClosed}
	case r.openly.Load() || r.link == nil:
		why := &notTried{r.why.class, r.why.err}
		if why.err == nil {
			why = &notTried{ClassUnavailable, &dialError{errNotYet}}
		}
		return nil, &fault{class: ClassUnavailable, err: why}
	}
	r.link.calls.Add(1)
	return r.link, nil
}

// renew puts a new link in place of old, if that is still the current one, and closes old when its calls have ended, or
// at once where calls last long. The error is that of a Cluster that has no node to offer.
func (r *role) renew(old *link) error {
	fresh, err := r.connect(r.shape)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.closed || r.link != old {
		if fresh != nil {
			fresh.close()
		}
		return err
	}
	r.link = fresh
	if old != nil {
		r.work.Add(1)
		go func() {
			defer r.work.Done()
			if !r.shape.long {
				old.calls.Wait()
			}
			old.close()
		}()
	}
	return nil
}

// good notes an answer of Redis.
func (r *role) good(now time.Time) {
	r.answer.Store(now.UnixNano())
	if !r.up.Load() && !r.openly.Load() {
		r.up.Store(true)
	}
}

// bad notes that Redis counts as away; the breaker opens at BreakerFailures within BreakerWindow, or at once on the
// word of the prober.
func (r *role) bad(now time.Time, f fault, atOnce bool) {
	r.mu.Lock()
	r.fails[r.failed] = now
	r.failed = (r.failed + 1) % len(r.fails)
	opens := (atOnce || now.Sub(r.fails[r.failed]) <= BreakerWindow) && !r.closed
	if opens {
		r.why = f
		r.up.Store(false)
		opens = r.openly.CompareAndSwap(false, true)
	}
	r.mu.Unlock()
	if opens {
		r.meter.opened.Add(1)
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
}

// probing asks Redis for an answer until Close: every ProbeInterval while the breaker is open or there is no link yet,
// and with idle set also when nothing else has had an answer for a second.
func (r *role) probing(idle bool, ping func(context.Context, rueidis.Client) error) {
	defer r.work.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.kick:
			r.distrust()
		case <-r.stale:
			r.mu.Lock()
			l := r.link
			r.mu.Unlock()
			if l != nil {
				_ = r.renew(l)
			}
		case <-timer.C:
			now := time.Now()
			if r.openly.Load() || r.unlinked() || idle && now.Sub(time.Unix(0, r.answer.Load())) > time.Second {
				r.probe(ping)
			}
		}
		if idle || r.openly.Load() || r.unlinked() {
			timer.Reset(ProbeInterval*4/5 + rand.N(ProbeInterval*2/5))
		}
	}
}

func (r *role) unlinked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link == nil
}

// distrust replaces the link after a failure that was not an answer: what was sent over its connections has no reply,
// and nothing more must be sent behind it.
func (r *role) distrust() {
	r.mu.Lock()
	l, answered := r.link, r.why.redis
	r.mu.Unlock()
	if l != nil && !answered {
		_ = r.renew(l) // without a node to offer it keeps the old link, and the next probe tries again
	}
}

func (r *role) probe(ping func(context.Context, rueidis.Client) error) {
	r.mu.Lock()
	l := r.link
	r.mu.Unlock()
	start := time.Now()
	var err error
	if l == nil {
		err = r.renew(nil)
	} else {
		ctx, cancel := context.WithTimeout(r.ctx, r.shape.timeout)
		err = ping(ctx, l.client)
		cancel()
	}
	if r.ctx.Err() != nil {
		return
	}
	now := time.Now()
	if err == nil {
		r.recovered(now)
		return
	}
	f := read(r.ctx, err)
	if f.redis && !f.away { // it answers, and only refuses the question
		r.recovered(now)
		return
	}
	r.meter.failed(f.class)
	r.log(r.ctx, "PING", f, now.Sub(start), 1)
	wasOpen := r.openly.Load()
	r.bad(now, f, true)
	if wasOpen {
		r.distrust()
	}
}

func (r *role) recovered(now time.Time) {
	r.mu.Lock()
	r.fails = [BreakerFailures]time.Time{}
	r.why = fault{}
	if r.link != nil && !r.closed {
		r.openly.Store(false)
	}
	r.mu.Unlock()
	r.good(now)
}

// finish notes the end of a call, and gives its error.
func (r *role) finish(ctx context.Context, command string, f fault, safe bool, start time.Time, attempt int) error {
	now := time.Now()
	if f.away {
		r.bad(now, f, r.shape.long && f.class == ClassTimeout)
	} else if f.redis {
		r.good(now)
	}
	// A master that became a replica keeps its connections; a new one may find the new master, through Sentinel, DNS or
	// a proxy. Cluster says MOVED instead.
	last := r.moved.Load()
	if code(f) == "READONLY" && r.kind != cluster && now.UnixNano()-last > int64(BreakerWindow) &&
		r.moved.CompareAndSwap(last, now.UnixNano()) {
		select {
		case r.stale <- struct{}{}:
		default:
		}
	}
	r.meter.failed(f.class)
	r.log(ctx, command, f, now.Sub(start), attempt)
	return &Error{Role: r.name, Command: command, Class: f.class, SafeToRepeat: safe || !f.ran, Attempt: attempt,
		Err: f.err}
}

const logEvery = 10 * time.Second

func (r *role) log(ctx context.Context, command string, f fault, latency time.Duration, attempt int) {
	switch f.class {
	case ClassCanceled, ClassClosed, ClassConflict, ClassNoGroup:
		return // the caller's doing, or the caller's to mend
	}
	now := time.Now()
	key := string(f.class)
	if command == "PING" {
		key += " probe" // which must not leave out the first call that an operation made
	}
	r.mu.Lock()
	l := r.logged[key]
	if l == nil {
		l = &line{}
		r.logged[key] = l
	}
	if now.Sub(l.last) < logEvery {
		l.omitted++
		r.mu.Unlock()
		return
	}
	omitted := l.omitted
	*l = line{last: now}
	r.mu.Unlock()
	operation, _ := ctx.Value(operationKey{}).(string)
	r.Logger.LogAttrs(ctx, slog.LevelWarn, "redis call failed", slog.String("role", r.name),
		slog.String("command", command), slog.String("operation", operation), slog.Int("attempt", attempt),
		slog.Duration("latency", latency), slog.String("class", string(f.class)), slog.String("code", code(f)),
		slog.Int("omitted", omitted))
}

// close ends the role: no new calls, then those in flight end by their own deadlines, then all else.
func (r *role) close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		<-r.done
		return nil
	}
	r.closed = true
	l := r.link
	r.link = nil
	r.up.Store(false)
	r.mu.Unlock()
	if l != nil {
		l.calls.Wait()
	}
	r.cancel()
	if l != nil {
		l.close()
	}
	r.work.Wait()
	close(r.done)
	return nil
}
