// Package live brings events to the people who watch: over WebSocket and Server-Sent Events, for one operation or for
// all of an owner's, in order, without a gap and without a duplicate.
//
// Events arrive on a bus that may lose, repeat and reorder them. Order is made once per operation (a topic) by the gap
// rule: n is taken only after n-1; n at or below the last one is dropped; anything further is read from SQL. A topic
// keeps its newest encoded events in a ring that all its streams share, and a stream is little more than a cursor into
// it. What the ring has let go, a stream reads from SQL itself. Once a second the hub also asks SQL for the heads of
// everything that is watched, always, because a lost last event leaves no gap to notice.
//
// One mutex guards everything in memory. It is never held while anything is read or written outside the process.
package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/event"

	"github.com/lxzan/gws"
)

// The errors a caller answers with a status of its own. When a Serve method returns an error, nothing has been written.
var (
	// ErrStopping: the hub takes no new streams because it is stopping (503, with Retry-After).
	ErrStopping = errors.New("live: shutting down, no new streams")
	// ErrTooManyStreams: Config.MaxStreams are open (503, with Retry-After).
	ErrTooManyStreams = errors.New("live: too many open streams")
	// ErrOwnerStreams: the owner has Config.MaxPerOwner open (429, with Retry-After).
	ErrOwnerStreams = errors.New("live: too many open streams of one owner")
)

// Source is where the truth is read. All functions must be safe for concurrent use, must honour the context and must
// see every event that was committed before its Publish. Errors are passed on to the caller of a Serve method
// (wrapped, so errors.Is works), or counted and tried again within a stream.
type Source struct {
	// Events returns the operation's durable events with a number above after, ascending and dense, at most limit.
	Events func(ctx context.Context, owner, operationID string, after int64, limit int) ([]event.Event, error)
	// Snapshot returns the operation's whole state as one event; Data.Seq is the number of the last durable event
	// it includes. An operation that is missing or not the owner's is an error of the caller's choice.
	Snapshot func(ctx context.Context, owner, operationID string) (event.Event, error)
	// Active returns snapshots of the owner's operations that have not ended, oldest first. It may stop at a bound;
	// operations beyond it get their snapshot when their next event comes.
	Active func(ctx context.Context, owner string) ([]event.Event, error)
	// Heads returns the newest event number of each of the operations; unknown ids are left out.
	Heads func(ctx context.Context, operationIDs []string) (map[string]int64, error)
	// OwnerHeads returns the heads of all the owner's operations that have not ended and of those that ended at or
	// after since, and the database's now. A zero since asks for the ones that have not ended alone.
	OwnerHeads func(ctx context.Context, owner string, since time.Time) (map[string]int64, time.Time, error)
}

// Config bounds a Hub. A zero field means its default.
type Config struct {
	// Bus brings the events. nil means a Memory of QueueDepth. The hub runs it.
	Bus Bus
	// QueueDepth is how many published events may wait for the delivery loop, 4096. What does not fit is dropped and
	// counted; its watchers get it by the gap rule or the poll.
	QueueDepth int
	// MailboxEvents (64) and MailboxBytes (256 KiB, of JSON) are how far a stream may be behind while a write to it
	// is stuck, and also how much it reads from SQL at once.
	MailboxEvents int
	MailboxBytes  int
	// SlowAfter is how long a write must have been stuck before a stream beyond its mailbox is closed, 1 s. A socket
	// that is behind only because the machine is busy catches up instead of being punished.
	SlowAfter time.Duration
	// WriteTimeout bounds every write to a client, 5 s. A client that takes nothing for so long is cut off, a WebSocket's
	// within one and a half times that.
	WriteTimeout time.Duration
	// Heartbeat is the time between pings (WebSocket) or comment lines (SSE), 15 s. A WebSocket that was silent for
	// three of them is dead.
	Heartbeat time.Duration
	// Poll is the time between two looks at SQL for everything that is watched, 1 s.
	Poll time.Duration
	// GiveUp is how long SQL may stay unreadable before the streams that need it end with "try again later", 30 s.
	GiveUp time.Duration
	// MaxInbound is the largest message in bytes a WebSocket client may send, 4096. A larger one closes with 1009.
	MaxInbound int
	// MaxStreams is how many WebSockets and SSE responses may be open at once, 20000; MaxPerOwner is how many of them one
	// owner may have, MaxStreams.
	MaxStreams, MaxPerOwner int
	// Ended says of each session of a Viewer whether it is over. It is asked once a Poll, and streams of those that are over
	// are ended with CloseAccess. An error says nothing about any; one that lasts ends streams with CloseTryAgain. nil:
	// sessions end by their Until alone.
	Ended func(ctx context.Context, sessions []any) ([]bool, error)
	// Missing says whether an error of the Source means that there is no such operation for its owner. nil: none does.
	Missing func(error) bool
}

func (c Config) withDefaults() Config {
	setDefault(&c.QueueDepth, 4096)
	setDefault(&c.MailboxEvents, 64)
	setDefault(&c.MailboxBytes, 256<<10)
	setDefault(&c.SlowAfter, time.Second)
	setDefault(&c.WriteTimeout, 5*time.Second)
	setDefault(&c.Heartbeat, 15*time.Second)
	setDefault(&c.Poll, time.Second)
	setDefault(&c.GiveUp, 30*time.Second)
	setDefault(&c.MaxInbound, 4<<10)
	setDefault(&c.MaxStreams, 20000)
	setDefault(&c.MaxPerOwner, c.MaxStreams)
	if c.Ended == nil {
		c.Ended = func(_ context.Context, sessions []any) ([]bool, error) { return make([]bool, len(sessions)), nil }
	}
	if c.Missing == nil {
		c.Missing = func(error) bool { return false }
	}
	return c
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Stats is what a Hub has done since it was made, and what it holds now.
type Stats struct {
	Sockets      int64 // WebSockets open now
	Responses    int64 // SSE responses open now
	Published    int64 // events given to Publish
	Dropped      int64 // of those: lost to a full queue, or malformed
	Delivered    int64 // events written to clients, all streams together
	GapReads     int64 // reads of events from SQL: gaps, replays and what the poll found
	SourceErrors int64 // failed reads of the Source within streams
	SlowClosed   int64 // streams ended because their reader was too slow
	SilentClosed int64 // WebSockets ended because nothing was heard of them for three heartbeats
}

// Hub delivers events to streams. Make one with NewHub, keep Run running, end it with Stop. All methods are safe for
// concurrent use.
type Hub struct {
	source   Source
	config   Config
	bus      Bus
	born     time.Time     // what sockets count from, so that a clock set anew kills nobody
	upgrader *gws.Upgrader // for clients that offer no subprotocol of ours
	speaking *gws.Upgrader // for those that offer Subprotocol

	pollNow  chan struct{} // asks for a poll before it is due
	running  chan struct{} // closed when Run has set ctx
	stopping chan struct{} // closed by Stop, or when Run's context ends
	reads    chan struct{} // bounds the reads of the Source that run at once on behalf of streams
	work     sync.Pool     // *batch

	// wg counts the streams and everything started on their behalf. It is raised from zero only under mu, and only
	// while not stopping.
	wg sync.WaitGroup

	mu       sync.Mutex
	ctx      context.Context // of the reads on behalf of streams: from Run, cancelled by Stop
	cancel   context.CancelFunc
	stopped  bool
	topics   map[key]*topic
	feeds    map[string]*feed
	streams  map[*stream]struct{}
	owners   map[string]int // streams by owner
	greeting int            // WebSockets of which nobody knows yet who they are
	versions int64          // of ephemeral events, one count for all
	woken    queue          // WebSockets with something to do that no writer has yet
	free     int            // writers that are not within a write or a read

	sockets, responses, published, malformed, delivered, gapReads, sourceErrors, slowClosed, silentClosed atomic.Int64
}

// concurrentReads is how many reads of the Source run at once for gaps, replays and lazy snapshots. A burst that makes
// a thousand streams fall behind must not become a thousand statements.
const concurrentReads = 8

// NewHub makes a hub that reads from source. All fields of source must be set.
func NewHub(source Source, config Config) *Hub {
	h := &Hub{
		source: source, config: config.withDefaults(), born: time.Now(),
		running: make(chan struct{}), stopping: make(chan struct{}), pollNow: make(chan struct{}, 1),
		reads:  make(chan struct{}, concurrentReads),
		topics: map[key]*topic{}, feeds: map[string]*feed{}, streams: map[*stream]struct{}{}, owners: map[string]int{},
	}
	if h.bus = h.config.Bus; h.bus == nil {
		h.bus = NewMemory(h.config.QueueDepth)
	}
	h.upgrader = newUpgrader(h.config)
	h.speaking = newUpgrader(h.config, Subprotocol)
	h.work.New = func() any { return new(batch) }
	return h
}

// Publish offers an event that was committed (or an ephemeral one) to whoever watches. It never blocks and never
// fails: what the queue cannot take is counted, and reaches its watchers from SQL.
func (h *Hub) Publish(e event.Owned) {
	h.published.Add(1)
	h.bus.Publish(e)
}

// Run delivers until ctx ends, then ends all streams as Stop does and waits until everything it started is gone. It
// returns the error of the bus's Run, without which the hub goes on by its poll. Streams asked for before Run wait for
// it. Run may be called once.
func (h *Hub) Run(ctx context.Context) error {
	h.mu.Lock()
	h.ctx, h.cancel = context.WithCancel(ctx)
	cancel, stopped := h.cancel, h.stopped
	h.mu.Unlock()
	defer cancel()
	if stopped {
		return nil
	}
	close(h.running)

	var loops sync.WaitGroup
	var busErr error
	loops.Go(func() {
		busErr = h.bus.Run(ctx, Receiver{Deliver: h.deliver, Overhear: h.overhear, Lost: h.lost})
	})
	loops.Go(func() { h.every(ctx, h.config.Poll, h.pollNow, h.poll) })
	loops.Go(func() { h.every(ctx, h.config.Poll, nil, h.checkSessions) })
	loops.Go(func() {
		h.every(ctx, min(h.config.SlowAfter, h.config.WriteTimeout, h.config.Heartbeat)/2, nil, h.tick)
	})
	<-ctx.Done()
	// Who wants to wait longer for clients that do not read calls Stop first.
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer done()
	_ = h.Stop(grace)
	loops.Wait()
	return busErr
}

// lost lets the poll come at once.
func (h *Hub) lost() {
	select {
	case h.pollNow <- struct{}{}:
	default:
	}
}

// stopGrace is how long the end of Run's context leaves clients to take their close frames.
const stopGrace = 2 * time.Second

// every calls f each interval, and when now says so, until ctx ends.
func (h *Hub) every(ctx context.Context, interval time.Duration, now <-chan struct{}, f func(context.Context)) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f(ctx)
		case <-now:
			f(ctx)
		}
	}
}

// Stop refuses new streams with ErrStopping, ends all streams (WebSockets with 1001, SSE responses return) and waits
// for them. When ctx ends first the connections are cut, and Stop still waits for the little that is left and returns
// ctx's error. Call it before http.Server.Shutdown, which waits for SSE handlers and does not know WebSockets.
func (h *Hub) Stop(ctx context.Context) error {
	h.mu.Lock()
	if !h.stopped {
		h.stopped = true
		close(h.stopping)
	}
	for s := range h.streams {
		s.end(CloseGoingAway, "server is shutting down: reconnect")
	}
	if h.cancel != nil {
		h.cancel()
	}
	h.mu.Unlock()

	gone := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	for s := range h.streams {
		s.abort()
	}
	h.mu.Unlock()
	<-gone
	return fmt.Errorf("live: stop: connections were cut: %w", ctx.Err())
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	return Stats{
		Sockets: h.sockets.Load(), Responses: h.responses.Load(),
		Published: h.published.Load(), Dropped: h.bus.Dropped() + h.malformed.Load(),
		Delivered: h.delivered.Load(), GapReads: h.gapReads.Load(), SourceErrors: h.sourceErrors.Load(),
		SlowClosed: h.slowClosed.Load(), SilentClosed: h.silentClosed.Load(),
	}
}

// subscribing is how long a new stream waits for its subscription, so that its snapshot is read after that and nothing
// falls between the two. Should it take longer, the poll finds what did.
const subscribing = 250 * time.Millisecond

// admit waits for Run, then counts s in and subscribes it, held, and waits until the bus has heard of that. Whoever
// admits must leave.
func (h *Hub) admit(r *http.Request, s *stream, subscribe func() (ready <-chan struct{})) error {
	ready, err := h.enter(r, s, subscribe)
	if err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	default:
	}
	late := time.NewTimer(subscribing)
	defer late.Stop()
	select {
	case <-ready:
	case <-late.C:
	case <-h.stopping: // which the next read of the Source finds too, as it does the end of the request
	case <-r.Context().Done():
	}
	return nil
}

func (h *Hub) enter(r *http.Request, s *stream, subscribe func() <-chan struct{}) (<-chan struct{}, error) {
	select {
	case <-h.running:
	case <-h.stopping:
	case <-r.Context().Done():
		return nil, fmt.Errorf("live: waiting for the hub to run: %w", r.Context().Err())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped:
		return nil, ErrStopping
	case len(h.streams) >= h.config.MaxStreams:
		return nil, ErrTooManyStreams
	case h.owners[s.who.Owner] >= h.config.MaxPerOwner:
		return nil, ErrOwnerStreams
	}
	h.owners[s.who.Owner]++
	s.h, s.held, s.vouched = h, true, time.Now()
	s.nextPing = time.Now().Add(h.config.Heartbeat)
	h.streams[s] = struct{}{}
	h.wg.Add(1)
	return subscribe(), nil
}

// leave takes s out of everything and counts it out. It is called once, as the last thing of a stream.
func (h *Hub) leave(s *stream) {
	h.mu.Lock()
	s.gone = true
	delete(h.streams, s)
	if h.owners[s.who.Owner]--; h.owners[s.who.Owner] == 0 {
		delete(h.owners, s.who.Owner)
	}
	if s.topic != nil {
		delete(s.topic.streams, s)
		h.bus.Unwatch(s.topic.owner, s.topic.operation)
		h.dropTopic(s.topic)
	}
	if f := s.feed; f != nil {
		delete(f.streams, s)
		h.bus.Unwatch(f.owner, "")
		if len(f.streams) == 0 {
			delete(h.feeds, f.owner)
			for _, t := range f.topics {
				t.feed, t.news = nil, nil
				h.dropTopic(t)
			}
		}
	}
	h.mu.Unlock()
	h.wg.Done()
}

// tick sends pings that are due, looks for sockets that are silent and for readers that are slow, and cuts off those whose
// write has taken too long.
func (h *Hub) tick(context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for s := range h.streams {
		if s.socket != nil && !s.held && !s.gone {
			if s.socket.silence() > 3*h.config.Heartbeat {
				h.silentClosed.Add(1)
				s.gone = true
				s.abort()
				continue
			}
			if !now.Before(s.nextPing) {
				s.nextPing = now.Add(h.config.Heartbeat)
				s.ping = true
				s.wake()
			}
		}
		if s.socket != nil && s.writing && now.Sub(s.writeStart) >= h.config.WriteTimeout {
			s.abort()
			continue
		}
		if s.writing && s.ending == nil && now.Sub(s.writeStart) >= h.config.SlowAfter && s.overflowed() {
			s.endSlow()
		}
	}
}
