package live

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"chunkstream/event"
	"chunkstream/redisconn"
)

// listener is what a process hears of the others: it subscribes to what is watched, over the one connection of the
// process.
type listener struct {
	feed    *redisconn.Feed
	changed chan struct{} // changes is not empty

	mu      sync.Mutex
	subs    map[string]*subscription // by channel
	changes map[string]*subscription // those that may have to be subscribed to or unsubscribed from
	ended   bool

	received, foreign atomic.Int64
}

// subscription is one channel that is watched, or just was. Guarded by listener.mu; ready and owner do not change.
type subscription struct {
	owner    string         // of an owner's channel
	watchers map[string]int // of an operation's channel: how often each of them watches; nil for an owner's
	count    int            // of Watch without Unwatch
	asked    bool           // the feed was told
	ready    chan struct{}
}

func newListener(feed *redisconn.Feed) *listener {
	return &listener{
		feed: feed, changed: make(chan struct{}, 1),
		subs: map[string]*subscription{}, changes: map[string]*subscription{},
	}
}

func (l *listener) connected() bool { return l.feed.State().Connected }

func (l *listener) stats(s *RedisStats) {
	s.Received, s.Foreign, s.Gaps = l.received.Load(), l.foreign.Load(), l.feed.State().Gaps
	l.mu.Lock()
	s.Channels = int64(len(l.subs))
	l.mu.Unlock()
}

func watchedChannel(owner, operationID string) string {
	if operationID == "" {
		return OwnerChannel(owner)
	}
	return Channel(operationID)
}

func (l *listener) watch(owner, operationID string) <-chan struct{} {
	up := l.connected()
	channel := watchedChannel(owner, operationID)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subs[channel]
	if s == nil {
		s = &subscription{owner: owner, ready: make(chan struct{})}
		if operationID != "" {
			s.watchers = map[string]int{}
		}
		l.subs[channel] = s
	}
	s.count++
	if s.watchers != nil {
		s.watchers[owner]++
	}
	l.change(channel, s)
	if !up || l.ended {
		return closed
	}
	return s.ready
}

func (l *listener) unwatch(owner, operationID string) {
	channel := watchedChannel(owner, operationID)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subs[channel]
	if s == nil {
		return
	}
	s.count--
	if s.watchers[owner] > 1 {
		s.watchers[owner]--
	} else {
		delete(s.watchers, owner)
	}
	if s.count == 0 {
		l.change(channel, s)
	}
}

// change lets run look at a channel. l.mu is held.
func (l *listener) change(channel string, s *subscription) {
	l.changes[channel] = s
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run receives until ctx ends. Its error is that of the feed when that ends by itself.
func (l *listener) run(ctx context.Context, to Receiver) error {
	var following sync.WaitGroup
	following.Go(func() { l.follow(ctx) })
	err := l.feed.Run(ctx, redisconn.FeedHandler{
		Message: func(channel, payload string) { l.message(to, channel, payload) },
		Gap:     to.Lost,
	})
	<-ctx.Done() // without a feed there is still somebody who waits to be ready
	following.Wait()
	if errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// follow subscribes to what has come to be watched and unsubscribes from what is not any more, until ctx ends.
func (l *listener) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			l.mu.Lock()
			l.ended = true
			l.mu.Unlock()
			return
		case <-l.changed:
		}
		var add, drop []string
		var added []*subscription
		l.mu.Lock()
		for channel, s := range l.changes {
			switch {
			case s.count > 0 && !s.asked:
				s.asked = true
				add, added = append(add, channel), append(added, s)
			case s.count == 0:
				delete(l.subs, channel)
				if s.asked {
					drop = append(drop, channel)
				}
			}
		}
		clear(l.changes)
		l.mu.Unlock()
		// Without a connection both only note what is wanted; a gap is reported when there is one.
		if len(drop) > 0 {
			_ = l.feed.Unsubscribe(ctx, drop...)
		}
		if len(add) > 0 {
			_ = l.feed.Subscribe(ctx, add...)
			for _, s := range added {
				close(s.ready)
			}
		}
	}
}

// message takes what came over a channel.
func (l *listener) message(to Receiver, channel, payload string) {
	l.received.Add(1)
	var e event.Event
	if err := json.Unmarshal([]byte(payload), &e); err != nil || e.OperationID == "" {
		l.foreign.Add(1)
		return
	}
	l.mu.Lock()
	s := l.subs[channel]
	if s == nil {
		l.mu.Unlock()
		return // not watched any more
	}
	owned := s.watchers == nil
	watchers := slices.Collect(maps.Keys(s.watchers))
	l.mu.Unlock()
	if owned {
		to.Deliver(event.Owned{Owner: s.owner, Event: e})
		return
	}
	if channel != Channel(e.OperationID) {
		l.foreign.Add(1)
		return
	}
	for _, watcher := range watchers {
		to.Overhear(watcher, e)
	}
}
