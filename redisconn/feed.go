package redisconn

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// Feed is the process's one subscription: one connection, however many channels. Run keeps it up; Subscribe and
// Unsubscribe say what to listen to. It is safe for concurrent use. Only Open makes one.
type Feed struct {
	role *role

	mu      sync.Mutex
	running bool
	wanted  map[string]int          // how often it is subscribed to
	client  rueidis.DedicatedClient // nil without a connection that listens to all channels wanted
	cut     func()                  // ends client's connection
	state   FeedState

	// turn is held by whoever changes what is listened to, from the change of wanted to Redis's answer: two changes of
	// one channel must not overtake each other.
	turn chan struct{}
}

// FeedState is how a Feed stands.
type FeedState struct {
	Connected bool  // there is a connection, and it listens to all channels
	Channels  int   // channels wanted
	Messages  int64 // messages delivered so far
	Gaps      int64 // connections made so far, each with a gap before it
}

// FeedHandler takes what a Feed has. Both functions are called by one goroutine at a time and in order, and must not
// block, nor call the Feed: while one runs, nothing is read.
type FeedHandler struct {
	// Message is one message of one of the channels wanted; one that was just unsubscribed may still come.
	Message func(channel, payload string)
	// Gap says that everything published before now, to any channel, may have been missed, and that from now on the
	// channels wanted are listened to. It comes with each connection, the first included. May be nil.
	Gap func()
}

// feedBatch is how many channels one SUBSCRIBE names.
const feedBatch = 500

func newFeed(ctx context.Context, s *settings) *Feed {
	return &Feed{wanted: map[string]int{}, turn: make(chan struct{}, 1), role: newRole(ctx, s, "feed",
		shape{name: s.ClientName + "-feed", timeout: s.DialTimeout, silence: 2 * time.Second, buffer: 64 << 10,
			share: 1, pool: 1, oneNode: true})}
}

// Close ends Run, ends the connection and returns. Closing again does nothing. The error is always nil.
func (f *Feed) Close() error {
	if f == nil || f.role == nil {
		return nil
	}
	f.role.mu.Lock()
	closed := f.role.closed
	f.role.mu.Unlock()
	if !closed {
		f.role.cancel()
	}
	return f.role.close()
}

// Stats is how the role stands; its calls are SUBSCRIBE and UNSUBSCRIBE.
func (f *Feed) Stats() Stats { return f.core().stats() }

// State is how the subscription stands.
func (f *Feed) State() FeedState {
	if f == nil {
		return FeedState{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Channels = len(f.wanted)
	return s
}

// Run connects, delivers to h, and connects again when the connection is lost or silent for more than four seconds,
// until ctx ends or Close; it returns ctx's error or ErrClosed, and nothing it started is left. Only one Run may go on.
func (f *Feed) Run(ctx context.Context, h FeedHandler) error {
	if _, err := RequireFeed(f); err != nil {
		if f != nil && f.role != nil {
			return &Error{"feed", "Run", ClassClosed, true, 1, ErrClosed}
		}
		return err
	}
	r := f.role
	r.mu.Lock()
	f.mu.Lock()
	refused := f.running
	if closed := r.closed; closed || refused {
		f.mu.Unlock()
		r.mu.Unlock()
		if closed {
			return &Error{"feed", "Run", ClassClosed, true, 1, ErrClosed}
		}
		return &Error{"feed", "Run", ClassRefused, true, 1, errors.New("Run is running already")}
	}
	f.running = true
	r.work.Add(1)
	f.mu.Unlock()
	r.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running = false
		f.mu.Unlock()
		r.work.Done()
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	pause := time.Duration(0)
	for attempt := 1; ; attempt++ {
		connected, start := time.Time{}, time.Now()
		err := f.listen(ctx, h, func() { connected = time.Now() })
		r.up.Store(false)
		switch {
		case r.ctx.Err() != nil:
			return &Error{"feed", "Run", ClassClosed, true, attempt, ErrClosed}
		case ctx.Err() != nil:
			return ctx.Err()
		}
		why := read(ctx, err)
		r.meter.failed(why.class)
		r.log(ctx, "SUBSCRIBE", why, time.Since(start), attempt)
		if !connected.IsZero() {
			attempt, pause = 1, 0
		}
		pause = min(max(2*pause, 25*time.Millisecond), time.Second)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// listen makes one connection and returns its end.
func (f *Feed) listen(ctx context.Context, h FeedHandler, connected func()) error {
	r := f.role
	l, err := r.connect(r.shape)
	if err != nil {
		return err
	}
	client, release := l.client.Dedicate()
	defer func() {
		l.close() // first: giving back a connection that is silent would wait for it
		release()
	}()
	var deliver sync.Mutex // the driver's goroutine and this one take turns
	lost := client.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) {
		deliver.Lock()
		defer deliver.Unlock()
		f.mu.Lock()
		f.state.Messages++
		f.mu.Unlock()
		h.Message(m.Channel, m.Message)
	}})
	within, cancel := context.WithTimeout(ctx, r.DialTimeout)
	err = client.Do(within, client.B().Ping().Build()).Error()
	cancel()
	if err != nil {
		return err
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err = f.listenToAll(ctx, client)
	if err == nil {
		f.mu.Lock()
		f.client, f.cut = client, l.close
		f.state.Connected = true
		f.state.Gaps++
		f.mu.Unlock()
	}
	<-f.turn
	if err != nil {
		return err
	}
	defer func() {
		f.mu.Lock()
		f.client, f.state.Connected = nil, false
		f.mu.Unlock()
	}()
	connected()
	r.good(time.Now())
	if h.Gap != nil {
		deliver.Lock()
		h.Gap()
		deliver.Unlock()
	}
	select {
	case err := <-lost:
		if err == nil {
			err = rueidis.ErrClosing
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listenToAll subscribes to all channels wanted; the caller has the turn.
func (f *Feed) listenToAll(ctx context.Context, client rueidis.DedicatedClient) error {
	f.mu.Lock()
	all := slices.Collect(maps.Keys(f.wanted))
	f.mu.Unlock()
	for batch := range slices.Chunk(all, feedBatch) {
		err := f.send(ctx, client, "SUBSCRIBE", batch)
		if class, _ := Classify(err); class == ClassAuth { // one channel without a right must not silence the others
			err = nil
			for _, channel := range batch {
				one := f.send(ctx, client, "SUBSCRIBE", []string{channel})
				if class, _ := Classify(one); class != ClassAuth {
					err = errors.Join(err, one)
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Feed) send(ctx context.Context, client rueidis.DedicatedClient, name string, channels []string) error {
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, f.role.DialTimeout)
	defer cancel()
	b := client.B()
	command := b.Subscribe().Channel(channels...).Build()
	if name == "UNSUBSCRIBE" {
		command = b.Unsubscribe().Channel(channels...).Build()
	}
	err := client.Do(within, command).Error()
	f.role.meter.took(time.Since(start))
	if err == nil {
		return nil
	}
	return f.role.finish(ctx, name, read(ctx, err), true, start, 1)
}

// Subscribe adds channels to those wanted. A nil error says that they are listened to: whatever is published from now
// on is delivered, or a gap is reported. With an error they are wanted all the same, and listened to once there is a
// connection, which Gap reports; only with ClassAuth does that need another right for the user. A channel subscribed to
// several times stays until it is unsubscribed from as often. ctx lends its values only:
// the change takes Config.DialTimeout at most.
func (f *Feed) Subscribe(ctx context.Context, channels ...string) error {
	return f.change(ctx, "SUBSCRIBE", channels, func(channel string) bool {
		f.wanted[channel]++
		return true // Redis takes a repeat, and only its answer says that the first one was taken
	})
}

// Unsubscribe takes back one Subscribe of each of channels. An error does not keep them: what is still listened to ends
// with the connection.
func (f *Feed) Unsubscribe(ctx context.Context, channels ...string) error {
	return f.change(ctx, "UNSUBSCRIBE", channels, func(channel string) bool {
		f.wanted[channel]--
		if f.wanted[channel] > 0 {
			return false
		}
		delete(f.wanted, channel)
		return true
	})
}

func (f *Feed) change(ctx context.Context, name string, channels []string, note func(string) bool) error {
	if f == nil || f.role == nil {
		_, err := RequireFeed(f)
		return err
	}
	if f.role.isClosed() {
		return &Error{"feed", name, ClassClosed, true, 1, ErrClosed}
	}
	// Whoever has the turn has it for the time of a few commands, so the change is made whatever ctx says.
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.mu.Lock()
	var ask []string
	for _, channel := range channels {
		if note(channel) {
			ask = append(ask, channel)
		}
	}
	client, cut := f.client, f.cut
	f.mu.Unlock()
	switch {
	case client == nil && name == "UNSUBSCRIBE":
		return nil
	case client == nil:
		f.role.meter.failed(ClassUnavailable)
		return &Error{"feed", name, ClassUnavailable, true, 1, errors.New("no connection now")}
	}
	for batch := range slices.Chunk(ask, feedBatch) {
		// Not ended by ctx: a change whose answer nobody waited for could only be settled by a new connection.
		if err := f.send(context.WithoutCancel(ctx), client, name, batch); err != nil {
			if class, _ := Classify(err); class != ClassAuth {
				cut()
			}
			return err
		}
	}
	return nil
}
