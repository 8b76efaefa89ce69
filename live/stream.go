package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"chunkstream/event"
)

// stream is one client: a WebSocket or an SSE response, on one operation (topic) or on all of an owner's (feed). All
// fields are guarded by h.mu.
type stream struct {
	h      *Hub
	who    Viewer
	topic  *topic
	feed   *feed
	socket *socket       // of a WebSocket
	answer *response     // of an SSE response
	signal chan struct{} // of an SSE response: there is work

	held    bool // subscribed, but not to be written to yet
	gone    bool // the connection is over
	woken   bool // of a WebSocket: it waits for a writer, or has one
	retry   bool // a read failed; the next poll wakes it
	ping    bool // a ping is due
	pong    []byte
	opening []*frame // what comes first: a snapshot, a resync, or all snapshots of a feed
	backlog []*frame // the next events after cursor, read from SQL
	finish  bool     // end when opening is written
	ending  *ending

	cursor int64            // the last event taken: its seq, or its position in the feed's ring
	seen   int64            // the version of the last ephemeral event taken
	expect map[string]int64 // on a feed, by operation: the number that must come next

	after *stream // in hub.woken

	writing    bool
	writeStart time.Time
	nextPing   time.Time
	vouched    time.Time // when its session was last known to hold
	failing    time.Time
}

// batch is what one write is made of.
type batch struct {
	control []byte
	frames  []*frame
	bytes   int
	buf     []byte
}

const (
	batchFrames = 64
	batchBytes  = 64 << 10
)

func (b *batch) full() bool { return len(b.frames) >= batchFrames || b.bytes >= batchBytes }

func (b *batch) add(f *frame) {
	b.frames = append(b.frames, f)
	b.bytes += len(f.json)
}

// reset keeps the arrays but lets go of the frames.
func (b *batch) reset() {
	clear(b.frames)
	b.control, b.frames, b.bytes = b.control[:0], b.frames[:0], 0
}

// todo is what a stream has to do next.
type todo int

const (
	idle      todo = iota // nothing
	write                 // write the batch
	readMore              // read the events after cursor from SQL
	readState             // read the state of the operation that comes next on the feed
	finish                // end as ending says
)

// wake lets s look for work. h.mu is held.
func (s *stream) wake() {
	switch {
	case s.held || s.gone:
	case s.socket == nil:
		select {
		case s.signal <- struct{}{}:
		default:
		}
	case !s.woken:
		s.woken = true
		s.h.woken.push(s)
		s.h.staff()
	}
}

// release lets a stream that was subscribed and opened begin.
func (s *stream) release() {
	s.h.mu.Lock()
	s.held = false
	s.wake()
	s.h.mu.Unlock()
}

// end makes s end once what is being written is written. The first word counts. h.mu is held.
func (s *stream) end(code CloseCode, reason string) {
	if s.ending == nil {
		s.ending = &ending{code, reason}
		s.wake()
	}
}

// endSlow ends s for reading too slowly. h.mu is held, and what was taken so far is written before the stream ends.
func (s *stream) endSlow() {
	s.h.slowClosed.Add(1)
	reason := "slow reader: reconnect"
	if s.topic != nil {
		reason += " with since=" + strconv.FormatInt(s.cursor, 10)
	}
	s.end(CloseSlowReader, reason)
}

// abort cuts the connection without a word. It does not block. h.mu is held.
func (s *stream) abort() {
	switch {
	case s.socket != nil:
		s.socket.abort()
	case s.answer != nil:
		s.answer.abort()
	}
}

// overflowed reports whether more lies before s than its mailbox may hold. h.mu is held.
func (s *stream) overflowed() bool {
	r := s.ring()
	events, bytes := r.behind(s.cursor)
	return events > int64(s.h.config.MailboxEvents) || bytes > int64(s.h.config.MailboxBytes)
}

func (s *stream) ring() *ring {
	if s.topic != nil {
		return &s.topic.ring
	}
	return &s.feed.ring
}

// next decides what s does next and fills b for a write. h.mu is held; between two calls the caller does what the
// first one said, so whatever was put in the batch before is written by now.
func (s *stream) next(b *batch) todo {
	b.reset()
	s.writing = false
	switch {
	case s.gone:
		return idle
	case s.ending != nil:
		return finish
	}
	if s.ping {
		b.control = append(b.control, headPing, 0)
		s.ping = false
	}
	if s.pong != nil {
		b.control = append(append(b.control, headPong, byte(len(s.pong))), s.pong...)
		s.pong = nil
	}
	what := s.nextFrames(b)
	if len(b.frames) > 0 || len(b.control) > 0 {
		s.writing, s.writeStart = true, time.Now()
		return write
	}
	return what
}

// nextFrames adds frames to b, or says what must be done before there are some.
func (s *stream) nextFrames(b *batch) todo {
	if len(s.opening) > 0 {
		for len(s.opening) > 0 && !b.full() {
			b.add(s.opening[0])
			s.opening = s.opening[1:]
		}
		if len(s.opening) == 0 {
			s.opening = nil // of a slice that is used up the array stays, and its frames are a thousand bytes of each socket
		}
		return write
	}
	if s.finish {
		s.ending = &ending{CloseDone, "the operation has ended"}
		return finish
	}
	if s.topic != nil {
		return s.nextOfTopic(b)
	}
	return s.nextOfFeed(b)
}

func (s *stream) nextOfTopic(b *batch) todo {
	t := s.topic
	for s.cursor < t.ring.head && !b.full() && s.ending == nil {
		f := t.ring.at(s.cursor + 1)
		if f == nil {
			if len(s.backlog) == 0 {
				break
			}
			f, s.backlog = s.backlog[0], s.backlog[1:]
		} else {
			s.backlog = nil // the ring has caught up with it
		}
		b.add(f)
		s.cursor++
		if f.final {
			s.ending = &ending{CloseDone, "the operation has ended"}
		}
	}
	switch {
	case len(b.frames) > 0:
		return write
	case s.cursor < t.ring.head && s.retry:
		return idle
	case s.cursor < t.ring.head:
		return readMore
	case s.ending != nil:
		return finish
	case t.latest != nil && t.version > s.seen && t.want <= t.ring.head: // else it would overtake what is being read
		s.seen = t.version
		b.add(t.latest)
		return write
	}
	return idle
}

func (s *stream) nextOfFeed(b *batch) todo {
	r := &s.feed.ring
	for ; s.cursor < r.head && !b.full(); s.cursor++ {
		f := r.at(s.cursor + 1)
		if f == nil {
			// The order of a feed is not stored, so what it has let go cannot be read again.
			s.endSlow()
			break
		}
		n, known := s.expect[f.operation]
		switch {
		case f.seq > 0 && (known && f.seq == n || !known && f.seq == 1):
			b.add(f)
			s.expect[f.operation] = f.seq + 1
		case f.kind == event.Resync && (!known || f.at >= n):
			b.add(f)
			s.expect[f.operation] = f.at + 1
		case known && f.seq < n && f.at < n:
		case len(b.frames) > 0:
			return write
		case s.retry:
			return idle
		default:
			return readState
		}
		if f.final {
			delete(s.expect, f.operation)
		}
	}
	if len(b.frames) > 0 {
		return write
	}
	if s.ending != nil {
		return finish
	}
	// Nothing durable is left: ephemeral events, each operation's newest, in the order they came.
	oldest := s.feed.news.Back()
	for e := oldest; e != nil && e.Value.(*topic).version > s.seen; e = e.Prev() {
		oldest = e
	}
	for e := oldest; e != nil && !b.full(); e = e.Next() {
		t := e.Value.(*topic)
		if _, known := s.expect[t.operation]; known && t.version > s.seen {
			b.add(t.latest)
		}
		s.seen = max(s.seen, t.version)
	}
	if len(b.frames) > 0 {
		return write
	}
	return idle
}

// more reads the events after the cursor, because the ring does not have them. No lock is held.
func (s *stream) more() {
	s.h.mu.Lock()
	after := s.cursor
	s.h.mu.Unlock()
	frames, state, err := s.h.readAfter(s.topic.key, after)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	switch {
	case err != nil:
		s.failed()
	case state == nil:
		s.backlog, s.failing = frames, time.Time{}
	case state.at <= s.cursor:
		s.failed() // SQL lacks what the bus has brought; it must not be skipped
	default:
		s.failing = time.Time{}
		s.opening, s.cursor, s.finish = []*frame{state}, state.at, state.final
	}
}

// state reads the state of the operation that the feed tells of next, because s does not know it up to there. No
// lock is held.
func (s *stream) state() {
	s.h.mu.Lock()
	f := s.feed.ring.at(s.cursor + 1)
	s.h.mu.Unlock()
	if f == nil {
		return // gone meanwhile, which the next step finds too
	}
	k := key{s.feed.owner, f.operation}
	release, err := s.h.acquireRead()
	var state *frame
	if err == nil {
		state, err = s.h.readState(k, event.Snapshot)
		release()
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err != nil || state.at < max(f.seq, f.at) {
		s.failed()
		return
	}
	s.failing = time.Time{}
	s.opening = append(s.opening, state)
	s.expect[f.operation] = state.at + 1
}

// failed leaves s to the next poll. h.mu is held.
func (s *stream) failed() {
	s.retry = true
	markFailing(&s.failing)
}

// broken notes that a write failed.
func (s *stream) broken(err error) {
	s.h.mu.Lock()
	s.gone = true
	if s.ending == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		s.h.slowClosed.Add(1)
	}
	s.abort()
	s.h.mu.Unlock()
}

// openWithin bounds how long a stream that opens waits for its turn to read and for what it reads.
const openWithin = 10 * time.Second

// reading gives a context for reads before a stream is open: it ends with the request, when the hub stops, and at last by itself.
func (h *Hub) reading(r *http.Request) (ctx context.Context, cancel func()) {
	ctx, end := context.WithTimeout(r.Context(), openWithin)
	stop := context.AfterFunc(h.ctx, end)
	return ctx, func() { stop(); end() }
}

// openError wraps the error of a read before a stream is open.
func (h *Hub) openError(what string, err error) error {
	if h.ctx.Err() != nil {
		return ErrStopping
	}
	return fmt.Errorf("live: read %s: %w", what, err)
}

// replayMargin is how many events before the position of the first one who resumes are read for those who come with it: who was
// cut off at the same time was not at the very same place.
const replayMargin = 8

// openOperation subscribes s to the operation, then reads where it stands, and decides how s opens. s stays held. On
// an error s has left. nothing reports that the client has everything there will ever be.
func (h *Hub) openOperation(r *http.Request, s *stream, who Viewer, id string, since int64, resume bool) (
	nothing bool, err error,
) {
	owner := who.Owner
	k := key{owner, id}
	s.who = who
	err = h.admit(r, s, func() <-chan struct{} {
		s.topic = h.topicOf(k)
		s.topic.streams[s] = struct{}{}
		return h.bus.Watch(owner, id)
	})
	if err != nil {
		return false, err
	}
	ctx, cancel := h.reading(r)
	defer cancel()
	snapshot, err := share(ctx, h, &s.topic.opening, func(ctx context.Context) (event.Event, error) {
		return h.source.Snapshot(ctx, owner, id)
	})
	if err != nil {
		h.leave(s)
		return false, h.openError("the state of operation "+id, err)
	}
	kind := event.Snapshot
	if resume {
		kind = event.Resync
	}
	state, err := h.stateFrame(snapshot, kind)
	if err != nil {
		h.leave(s)
		return false, err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	t := s.topic
	if !t.known {
		t.known = true
		head := state.at
		if resume && !state.final && t.feed == nil && since < head {
			head = max(since-replayMargin, head-topicRingEvents/2, 0) // the fill that follows is then all streams' replay
		}
		t.ring.reset(head)
		if state.final {
			h.endTopic(t, &frame{operation: id, at: state.at, final: true})
		}
	}
	h.observe(t, state.place)
	h.wanted(t, state.at)
	if resume && since <= state.at {
		s.cursor = since
		s.finish = state.final && since == state.at
		return s.finish, nil
	}
	s.opening, s.cursor, s.finish = []*frame{state}, state.at, state.final
	return false, nil
}

// openAll subscribes s to everything of who's owner, then reads where it stands. s stays held. On an error s has left.
func (h *Hub) openAll(r *http.Request, s *stream, who Viewer) error {
	owner := who.Owner
	s.who = who
	err := h.admit(r, s, func() <-chan struct{} {
		s.feed = h.feedOf(owner)
		s.feed.streams[s] = struct{}{}
		s.cursor = s.feed.ring.head
		return h.bus.Watch(owner, "")
	})
	if err != nil {
		return err
	}
	if err := h.startAll(r, s, owner); err != nil {
		h.leave(s)
		return err
	}
	return nil
}

func (h *Hub) startAll(r *http.Request, s *stream, owner string) error {
	ctx, cancel := h.reading(r)
	defer cancel()
	all, err := share(ctx, h, &s.feed.opening, func(ctx context.Context) (overview, error) { return h.readAll(ctx, s.feed) })
	if err != nil {
		return h.openError("the active operations", err)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	f := s.feed
	s.expect = make(map[string]int64, len(all.states))
	for _, state := range all.states {
		s.opening = append(s.opening, state)
		s.expect[state.operation] = state.at + 1
		h.startTopic(f, state.operation, state.at)
		t := h.topics[key{owner, state.operation}]
		if t != nil && t.feed == f {
			h.observe(t, state.place)
			h.wanted(t, state.at)
			if t.ring.head > state.at {
				// A stream of that operation alone has brought it further than this feed has heard.
				h.pushFeed(f, &frame{operation: t.operation, at: t.ring.head})
			}
		}
	}
	if f.ready {
		return nil
	}
	for id, head := range all.live {
		h.startTopic(f, id, head) // beyond what Active returns: each stream reads its snapshot when something happens
	}
	for id := range all.recent {
		t := h.topics[key{owner, id}]
		if _, alive := all.live[id]; !alive && (t == nil || !t.known) {
			h.bury(f, id) // ended before the stream opened
		}
	}
	for _, t := range f.topics {
		if !t.known { // heard of while this was read, and new
			t.known = true
			h.wanted(t, t.want)
		}
	}
	f.ready, f.since, f.polled = true, all.now.Add(-lookBack), time.Now()
	return nil
}

// overview is where everything of an owner's stands: a state of each operation that has not ended and, unless the feed is ready,
// the heads of these and of what ended lately, by the database's now.
type overview struct {
	states       []*frame
	live, recent map[string]int64
	now          time.Time
}

// readAll reads how everything of the feed's owner stands. No lock is held.
func (h *Hub) readAll(ctx context.Context, f *feed) (all overview, err error) {
	h.mu.Lock()
	ready := f.ready
	h.mu.Unlock()
	if !ready {
		if all.live, all.now, err = h.source.OwnerHeads(ctx, f.owner, time.Time{}); err != nil {
			return all, err
		}
		if all.recent, all.now, err = h.source.OwnerHeads(ctx, f.owner, all.now.Add(-lookBack)); err != nil {
			return all, err
		}
	}
	active, err := h.source.Active(ctx, f.owner)
	if err != nil {
		return all, err
	}
	all.states = make([]*frame, len(active))
	for i, e := range active {
		if all.states[i], err = h.stateFrame(e, event.Snapshot); err != nil {
			return all, err
		}
	}
	return all, nil
}

// startTopic lets the feed follow the operation from head on, unless it does so already. h.mu is held.
func (h *Hub) startTopic(f *feed, id string, head int64) {
	if _, over := f.ended[id]; over {
		return
	}
	t := h.topicOf(key{f.owner, id})
	if !t.known {
		t.known = true
		t.ring.reset(head)
		if t.feed == nil {
			t.feed, f.topics[id] = f, t
		}
		h.wanted(t, t.want)
		return
	}
	h.attach(f, t)
}

// bury notes that an operation had ended before the feed was watched, and forgets a topic made for it. h.mu is held.
func (h *Hub) bury(f *feed, id string) {
	f.ended[id] = time.Now()
	if t := f.topics[id]; t != nil {
		delete(f.topics, id)
		t.feed = nil
		h.dropTopic(t)
	}
}
