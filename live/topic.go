package live

import (
	"container/list"
	"context"
	"time"

	"chunkstream/event"
)

// key names an operation together with its owner, so that nobody can stand in for somebody else's operation.
type key struct{ owner, operation string }

// How much of what was sent is kept for streams that are a little behind; they share it. A stream further behind
// reads from SQL, or, on a feed, ends.
const (
	topicRingEvents, topicRingBytes = 1024, 256 << 10
	feedRingEvents, feedRingBytes   = 4096, 2 << 20
)

// ring holds the newest frames of a dense sequence of positions: (base, head].
type ring struct {
	base, head          int64
	maxEvents, maxBytes int
	entries             []ringEntry
	total               int64 // bytes ever pushed
}

type ringEntry struct {
	frame *frame
	end   int64 // total after it
}

func (r *ring) reset(head int64) { r.base, r.head, r.entries = head, head, nil }

func (r *ring) push(f *frame) {
	r.head++
	r.total += int64(len(f.json))
	r.entries = append(r.entries, ringEntry{f, r.total})
	for len(r.entries) > r.maxEvents ||
		len(r.entries) > 1 && r.total-r.entries[0].end+int64(len(r.entries[0].frame.json)) > int64(r.maxBytes) {
		r.entries[0] = ringEntry{} // its frame may go although the array stays
		r.entries = r.entries[1:]
		r.base++
	}
}

// at returns the frame at position p, nil when the ring has let it go. p must not be above head.
func (r *ring) at(p int64) *frame {
	if p <= r.base {
		return nil
	}
	return r.entries[p-r.base-1].frame
}

// behind says how many events and bytes lie after position p. What the ring has let go counts as everything it holds.
func (r *ring) behind(p int64) (events, bytes int64) {
	events = r.head - p
	if events <= 0 || len(r.entries) == 0 {
		return max(events, 0), 0
	}
	first := r.entries[max(p-r.base, 0)]
	return events, r.total - first.end + int64(len(first.frame.json))
}

// topic is one operation that is watched: it puts the operation's events in order.
type topic struct {
	key
	ring    ring
	known   bool  // ring.head is a place to go on from; until then events are only noted in want
	want    int64 // the highest number known to exist
	filling bool  // a goroutine reads (head, want] from SQL
	ended   bool  // the terminal event is at head
	streams map[*stream]struct{}
	feed    *feed     // of the owner; nil when nobody watches all
	failing time.Time // since when reading it has failed; zero while that works
	opening openings[event.Event]

	place   place         // how far what was delivered has come
	heard   time.Time     // of the newest ephemeral event, by its own word: a bus may repeat it
	latest  *frame        // the newest ephemeral event, while it is news
	version int64         // of latest
	news    *list.Element // of latest, in feed.news
}

// feed is all of one owner's operations, watched as one stream: the topics' events, merged in the order they came.
type feed struct {
	owner   string
	ring    ring
	ready   bool      // what was there before is known, so that an unknown operation is a new one
	since   time.Time // by the database's clock: ends before it were seen
	polled  time.Time // by ours: the last good poll
	topics  map[string]*topic
	ended   map[string]time.Time // when an operation's end was seen here, so that no late word of it revives it
	streams map[*stream]struct{}
	news    *list.List // of *topic: those with an ephemeral event, oldest version first
	failing time.Time
	opening openings[overview]
}

// A transaction may commit after a read whose clock was later than its own, so each poll looks back a little. What
// it then finds again is known by its tombstone, which must therefore outlive the look back and any late bus.
const (
	lookBack  = 5 * time.Second
	tombstone = 30 * time.Second
)

// topicOf returns the topic of k, made if need be. h.mu is held, and the caller adds what keeps it.
func (h *Hub) topicOf(k key) *topic {
	t := h.topics[k]
	if t == nil {
		t = &topic{key: k, streams: map[*stream]struct{}{}}
		t.ring.maxEvents, t.ring.maxBytes = topicRingEvents, topicRingBytes
		h.topics[k] = t
	}
	return t
}

// feedOf returns the owner's feed, made if need be. h.mu is held.
func (h *Hub) feedOf(owner string) *feed {
	f := h.feeds[owner]
	if f == nil {
		f = &feed{
			owner: owner, topics: map[string]*topic{}, ended: map[string]time.Time{},
			streams: map[*stream]struct{}{}, news: list.New(),
		}
		f.ring.maxEvents, f.ring.maxBytes = feedRingEvents, feedRingBytes
		h.feeds[owner] = f
		for k, t := range h.topics {
			if k.owner == owner {
				h.attach(f, t)
			}
		}
	}
	return f
}

// attach lets a feed have the events of t from here on. Streams of the feed that do not know t yet meet a marker and
// open it with a snapshot. h.mu is held.
func (h *Hub) attach(f *feed, t *topic) {
	if _, over := f.ended[t.operation]; over || t.feed != nil || !t.known {
		return
	}
	if t.ring.head > 0 {
		h.pushFeed(f, &frame{operation: t.operation, at: t.ring.head, final: t.ended})
	}
	if t.ended {
		f.ended[t.operation] = time.Now()
		return
	}
	t.feed, f.topics[t.operation] = f, t
}

// dropTopic forgets t when nobody needs it. h.mu is held.
func (h *Hub) dropTopic(t *topic) {
	if len(t.streams) == 0 && t.feed == nil && h.topics[t.key] == t {
		delete(h.topics, t.key)
	}
}

// deliver takes an event of owner's from the bus.
func (h *Hub) deliver(o event.Owned) { h.take(o.Owner, o.Event, true) }

// overhear takes an event of an operation that somebody watches, who need not own it. Only a topic that the Source has
// confirmed for the watcher makes use of it: to all others it is not even a reason to begin one.
func (h *Hub) overhear(watcher string, e event.Event) { h.take(watcher, e, false) }

func (h *Hub) take(owner string, e event.Event, owned bool) {
	ephemeral := e.Type == event.Progress || e.Type == event.Stalled
	if e.OperationID == "" || e.Type.Durable() != (e.Seq > 0) || !e.Type.Durable() && !ephemeral {
		h.malformed.Add(1)
		return
	}
	k := key{owner, e.OperationID}
	h.mu.Lock()
	t, f := h.topics[k], h.feeds[owner]
	news := t != nil && !(t.known && e.Seq > 0 && e.Seq <= t.ring.head) || owned && f != nil && (t == nil || t.feed == nil)
	h.mu.Unlock()
	if !news {
		return
	}
	fr, err := newFrame(e)
	if err != nil {
		h.malformed.Add(1)
		return
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	t = h.topics[k]
	if owned && !ephemeral && (t == nil || t.feed == nil) {
		t = h.introduce(k)
	}
	switch {
	case t == nil:
	case ephemeral:
		h.acceptEphemeral(t, fr)
	default:
		h.accept(t, fr)
	}
}

// introduce returns the topic of k, attached to the owner's feed. An operation the feed hears of for the first time is
// a new one and starts at 1, unless it is one whose end the feed has seen. It returns nil when nobody watches. h.mu is
// held.
func (h *Hub) introduce(k key) *topic {
	t, f := h.topics[k], h.feeds[k.owner]
	switch {
	case f == nil:
	case t != nil:
		h.attach(f, t)
	default:
		if _, over := f.ended[k.operation]; over {
			return nil
		}
		t = h.topicOf(k)
		t.feed, f.topics[k.operation] = f, t
		t.known = f.ready // if not, the feed's start will say where the operation stands
	}
	return t
}

// accept is the gap rule: n is taken only after n-1. What is at or below the head is a repetition; what is further
// starts a read of everything in between. h.mu is held.
func (h *Hub) accept(t *topic, f *frame) {
	switch {
	case !t.known:
		t.want = max(t.want, f.seq)
	case t.ended || f.seq <= t.ring.head:
	case f.seq == t.ring.head+1:
		h.push(t, f)
	default:
		h.wanted(t, f.seq)
	}
}

// push appends the next durable event to the topic and its feed and wakes their streams. h.mu is held.
func (h *Hub) push(t *topic, f *frame) {
	t.ring.push(f)
	t.want = max(t.want, t.ring.head)
	t.failing = time.Time{}
	h.observe(t, f.place)
	if f.final {
		h.endTopic(t, f)
	} else {
		h.pushFeed(t.feed, f)
	}
	for s := range t.streams {
		s.wake()
	}
}

// pushFeed appends a frame to a feed, which may be nil, and wakes its streams. h.mu is held.
func (h *Hub) pushFeed(f *feed, fr *frame) {
	if f == nil {
		return
	}
	f.ring.push(fr)
	for s := range f.streams {
		s.wake()
	}
}

// endTopic notes that f is the last word of t. h.mu is held.
func (h *Hub) endTopic(t *topic, f *frame) {
	t.ended = true
	h.setLatest(t, nil)
	if feed := t.feed; feed != nil {
		h.pushFeed(t.feed, f)
		delete(feed.topics, t.operation)
		feed.ended[t.operation] = time.Now()
		t.feed = nil
		h.dropTopic(t)
	}
}

// observe notes that delivery has come to p; an older ephemeral event is no news any more. h.mu is held.
func (h *Hub) observe(t *topic, p place) {
	if t.place.before(p) {
		t.place = p
	}
	if t.latest != nil && t.latest.place.before(t.place) {
		h.setLatest(t, nil)
	}
}

// acceptEphemeral keeps f as the newest ephemeral event unless something newer was delivered. h.mu is held.
func (h *Hub) acceptEphemeral(t *topic, f *frame) {
	at := f.time.Truncate(time.Millisecond) // as it is on the wire: the copy that comes back over a bus has no more
	if !t.known || t.ended || f.place.before(t.place) || f.place == t.place && !at.After(t.heard) {
		return
	}
	t.place, t.heard = f.place, at
	h.setLatest(t, f)
	for s := range t.streams {
		s.wake()
	}
	if t.feed != nil {
		for s := range t.feed.streams {
			s.wake()
		}
	}
}

func (h *Hub) setLatest(t *topic, f *frame) {
	t.latest = f
	if f != nil {
		h.versions++
		t.version = h.versions
	}
	if t.feed == nil {
		t.news = nil
		return
	}
	if t.news != nil {
		t.feed.news.Remove(t.news)
		t.news = nil
	}
	if f != nil {
		t.news = t.feed.news.PushBack(t)
	}
}

// wanted notes that n exists and starts reading up to it unless that is under way. h.mu is held.
func (h *Hub) wanted(t *topic, n int64) {
	t.want = max(t.want, n)
	if t.filling || !t.known || t.ended || t.want <= t.ring.head {
		return
	}
	t.filling = true
	h.wg.Go(func() { h.fill(t) })
}

// fill reads (head, want] from SQL, in pages, and gives up on an error: the next poll starts it again.
func (h *Hub) fill(t *topic) {
	for {
		h.mu.Lock()
		unwatched := len(t.streams) == 0 && t.feed == nil
		if t.ended || unwatched || t.want <= t.ring.head {
			t.filling = false
			h.mu.Unlock()
			return
		}
		after := t.ring.head
		h.mu.Unlock()

		frames, state, err := h.readAfter(t.key, after)

		h.mu.Lock()
		if err != nil {
			markFailing(&t.failing)
			t.filling = false
			h.mu.Unlock()
			return
		}
		for _, f := range frames {
			h.accept(t, f)
		}
		if state != nil {
			h.skipTo(t, state)
		}
		h.mu.Unlock()
	}
}

// skipTo goes on behind events that cannot be replayed. state is the operation's whole state; streams that lack
// events find that out by their own reads, and a feed gets the state as it is. h.mu is held.
func (h *Hub) skipTo(t *topic, state *frame) {
	if state.at <= t.ring.head {
		t.want = t.ring.head // nothing is missing; should there be more, the poll will say so
		return
	}
	t.ring.reset(state.at)
	t.want = max(t.want, state.at)
	h.observe(t, state.place)
	if state.final {
		h.endTopic(t, state)
	} else {
		h.pushFeed(t.feed, state)
	}
	for s := range t.streams {
		s.wake()
	}
}

// readAfter reads the next page of events after n. When n+1 cannot be had it returns the operation's whole state as
// a resync event instead. No lock is held.
func (h *Hub) readAfter(k key, n int64) (frames []*frame, state *frame, err error) {
	release, err := h.acquireRead()
	if err != nil {
		return nil, nil, err
	}
	defer release()
	h.gapReads.Add(1)
	events, err := h.source.Events(h.ctx, k.owner, k.operation, n, h.config.MailboxEvents)
	if err != nil {
		h.sourceErrors.Add(1)
		return nil, nil, err
	}
	bytes := 0
	for i, e := range events {
		if e.Seq != n+1+int64(i) || bytes > h.config.MailboxBytes {
			break
		}
		f, err := newFrame(e)
		if err != nil {
			h.sourceErrors.Add(1)
			return nil, nil, err
		}
		bytes += len(f.json)
		frames = append(frames, f)
	}
	if len(frames) > 0 {
		return frames, nil, nil
	}
	state, err = h.readState(k, event.Resync)
	return nil, state, err
}

// readState reads the operation's whole state. No lock is held; the caller holds a read.
func (h *Hub) readState(k key, t event.Type) (*frame, error) {
	e, err := h.source.Snapshot(h.ctx, k.owner, k.operation)
	if err != nil {
		h.sourceErrors.Add(1)
		return nil, err
	}
	f, err := h.stateFrame(e, t)
	if err != nil {
		h.sourceErrors.Add(1)
	}
	return f, err
}

// acquireRead waits for its turn to read from the Source.
func (h *Hub) acquireRead() (release func(), err error) {
	select {
	case h.reads <- struct{}{}:
		return func() { <-h.reads }, nil
	case <-h.ctx.Done():
		return nil, h.ctx.Err()
	}
}

func markFailing(since *time.Time) {
	if since.IsZero() {
		*since = time.Now()
	}
}

// headsPage bounds the operations one poll statement asks for.
const headsPage = 500

// poll asks SQL for the heads of everything that is watched. It finds what the bus has lost, above all the last event
// of an operation, and lets reads that failed be tried again.
func (h *Hub) poll(ctx context.Context) {
	h.mu.Lock()
	var ids []string
	byID := map[string]*topic{}
	for k, t := range h.topics {
		if t.known && !t.ended && len(t.streams) > 0 && (t.feed == nil || !t.feed.ready) {
			ids = append(ids, k.operation)
			byID[k.operation] = t
		}
	}
	var feeds []*feed
	for _, f := range h.feeds {
		if f.ready {
			feeds = append(feeds, f)
		}
	}
	for s := range h.streams {
		if s.retry {
			s.retry = false
			s.wake()
		}
	}
	h.mu.Unlock()

	for len(ids) > 0 {
		page := ids[:min(len(ids), headsPage)]
		ids = ids[len(page):]
		h.pollTopics(ctx, page, byID)
	}
	for _, f := range feeds {
		h.pollFeed(ctx, f)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for s := range h.streams {
		since := s.failing
		if s.topic != nil && since.IsZero() {
			since = s.topic.failing
		}
		if s.feed != nil && since.IsZero() {
			since = s.feed.failing
		}
		if !since.IsZero() && now.Sub(since) > h.config.GiveUp {
			s.end(CloseTryAgain, "events cannot be read: try again later")
		}
	}
}

// pollTimeout bounds one poll statement, so that a hanging database does not stop the poll for good.
const pollTimeout = 10 * time.Second

func (h *Hub) pollTopics(ctx context.Context, ids []string, byID map[string]*topic) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	heads, err := h.source.Heads(ctx, ids)
	if err != nil {
		h.sourceErrors.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		t := byID[id]
		head, found := heads[id]
		if !found { // failed, or deleted: either way its streams hear nothing more
			markFailing(&t.failing)
			continue
		}
		h.heardHead(t, head)
	}
}

// heardHead takes SQL's word for the newest event of t. h.mu is held.
func (h *Hub) heardHead(t *topic, head int64) {
	if head <= t.ring.head {
		t.failing = time.Time{}
		return
	}
	if h.topics[t.key] == t && (len(t.streams) > 0 || t.feed != nil) && !h.stopped {
		h.wanted(t, head)
	}
}

func (h *Hub) pollFeed(ctx context.Context, f *feed) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	h.mu.Lock()
	since := f.since
	h.mu.Unlock()
	heads, now, err := h.source.OwnerHeads(ctx, f.owner, since)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feeds[f.owner] != f || h.stopped {
		return
	}
	if err != nil {
		h.sourceErrors.Add(1)
		markFailing(&f.failing)
		for _, t := range f.topics {
			markFailing(&t.failing) // streams of these operations alone rely on the same poll
		}
		return
	}
	f.failing = time.Time{}
	for id, head := range heads {
		k := key{f.owner, id}
		if t := h.introduce(k); t != nil {
			h.heardHead(t, head)
		}
	}
	for id, at := range f.ended {
		if f.polled.Sub(at) > tombstone {
			delete(f.ended, id)
		}
	}
	f.since, f.polled = now.Add(-lookBack), time.Now()
}
