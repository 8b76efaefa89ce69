package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"chunkstream/event"
)

// FromNow, as since, opens a stream with a snapshot of the operation as it is, instead of with a replay.
const FromNow int64 = -1

// The bounds of a reconnect: it waits for a random part of the first, which doubles with every failure up to the last. All of the
// wait is random, so that those whose server has died do not come back together. What the server asks for comes on top, up to
// mostAsked.
const (
	retryFirst = time.Second
	retryLast  = 30 * time.Second
	mostAsked  = time.Minute
)

// silence is how long a stream may say nothing before it counts as dead. The server speaks every 15 s.
const silence = 40 * time.Second

// OrderError is a stream that broke its promise: durable events come dense and in order. It ends the stream; what was
// delivered until then is sound.
type OrderError struct {
	OperationID string
	Got, Want   int64 // sequence numbers
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("event %d of %s came where %d was due", e.Got, e.OperationID, e.Want)
}

// Watch follows one operation over a WebSocket until it has ended or ctx ends.
//
// With since FromNow the first event is a snapshot with number n in data.seq, and durable events go on at n+1; with
// since ≥ 0 there is no snapshot and they go on at since+1, so 0 replays them all. Snapshots, progress and stalled
// carry no number and may come at any time. Every durable number is checked: none is skipped, repeated or reordered,
// also across reconnects.
//
// A connection that was open once is opened again for as long as ctx lives, from where it broke, after a random wait of up to
// a second at first and up to 30 s when that fails again and again, and no sooner than a Retry-After says; no event is yielded
// for that. An error ends the sequence and is its last element: ctx's own, a *Problem for a request that was refused,
// an *OrderError, or why the first connection could not be made. After the terminal event the sequence simply ends,
// as it does at once when since is already past it. A sequence may be ranged over again; it then starts again at since.
func (c *Client) Watch(ctx context.Context, operationID string, since int64) iter.Seq2[event.Event, error] {
	return c.watch(ctx, "/v1/operations/"+url.PathEscape(operationID)+"/ws", since, c.readSocket)
}

// WatchSSE is Watch over Server-Sent Events, for networks that let no WebSocket through.
func (c *Client) WatchSSE(ctx context.Context, operationID string, since int64) iter.Seq2[event.Event, error] {
	return c.watch(ctx, "/v1/operations/"+url.PathEscape(operationID)+"/events", since, c.readSSE)
}

// WatchAll follows every operation of the caller over one WebSocket until ctx ends. It opens with a snapshot of each
// that has not ended; of each operation, durable events are dense from there, or from its first one on.
//
// After a reconnect each operation that has moved is yielded as a new snapshot, also one that ended meanwhile, so that
// the last state of every operation that was seen always arrives; the events between are not repeated (Watch with
// since has them).
func (c *Client) WatchAll(ctx context.Context) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		all := &positions{of: map[string]int64{}}
		c.follow(ctx, yield, func() error {
			missed, err := c.ended(ctx, all)
			for _, e := range missed {
				if err == nil && !yield(e, nil) {
					err = errStopped
				}
			}
			return err
		}, func(open func() error, each func(event.Event) error) error {
			all.reconnect()
			return c.readSocket(ctx, "/v1/ws", FromNow, open, each)
		}, all.admit)
	}
}

// errEnded is a server that says that nothing more will come; errStopped a consumer that wants no more.
var (
	errEnded   = errors.New("stream ended")
	errStopped = errors.New("stopped")
)

// reader opens one stream, calls open once it is there, and each for every event. It returns each's or open's error,
// errEnded when the server closed the stream for good, or why it broke; it never returns nil.
type reader func(ctx context.Context, path string, since int64, open func() error, each func(event.Event) error) error

func (c *Client) watch(ctx context.Context, path string, since int64, read reader) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		last := max(since, FromNow)
		admit := func(e event.Event) (bool, error) {
			switch {
			case e.Type == event.Snapshot || e.Type == event.Resync:
				last = e.Data.Seq
			case e.Type.Durable() && e.Seq != last+1:
				return false, &OrderError{e.OperationID, e.Seq, last + 1}
			case e.Type.Durable():
				last = e.Seq
			}
			return true, nil
		}
		final := false
		c.follow(ctx, func(e event.Event, err error) bool {
			final = err == nil && ended(e)
			return yield(e, err) && !final
		}, func() error { return nil }, func(open func() error, each func(event.Event) error) error {
			return read(ctx, path, last, open, each)
		}, admit)
	}
}

// ended reports whether e is the last of its operation.
func ended(e event.Event) bool {
	return e.Type.Terminal() || !e.Type.Durable() && event.Type(e.Data.Status).Terminal()
}

// follow reads a stream again and again until yield wants no more, the server says that it is over, ctx ends, or it
// cannot be had. reopened is called when a stream is there that is not the first.
func (c *Client) follow(ctx context.Context, yield func(event.Event, error) bool, reopened func() error,
	read func(open func() error, each func(event.Event) error) error, admit func(event.Event) (bool, error)) {
	opened, bound := false, retryFirst
	for {
		err := read(func() error {
			if !opened {
				opened = true
				return nil
			}
			return reopened()
		}, func(e event.Event) error {
			bound = retryFirst
			if ok, err := admit(e); !ok {
				return err
			} else if !yield(e, nil) {
				return errStopped
			}
			return nil
		})
		order, refused := (*OrderError)(nil), (*Problem)(nil)
		switch {
		case errors.Is(err, errStopped), errors.Is(err, errEnded):
			return
		case ctx.Err() != nil:
			yield(event.Event{}, context.Cause(ctx))
			return
		case errors.As(err, &order), !opened, errors.As(err, &refused) && refused.Status < 500 && refused.Status != http.StatusTooManyRequests:
			yield(event.Event{}, err)
			return
		}
		wait := rand.N(bound)
		if refused != nil {
			wait += min(refused.RetryAfter, mostAsked)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		bound = min(2*bound, retryLast)
	}
}

// positions is how far each operation of WatchAll has come: the last number seen, while it is live.
type positions struct {
	of    map[string]int64
	again map[string]bool // live when the connection broke
	gone  map[string]bool // found to have ended while the new stream may still tell of it
}

func (p *positions) reconnect() {
	p.again, p.gone = map[string]bool{}, map[string]bool{}
	for id := range p.of {
		p.again[id] = true
	}
}

// admit checks e against what came before, and drops what is known already.
func (p *positions) admit(e event.Event) (bool, error) {
	last, known := p.of[e.OperationID]
	switch {
	case p.gone[e.OperationID]:
		return false, nil
	case e.Type == event.Snapshot || e.Type == event.Resync:
		fresh := !known || e.Data.Seq > last
		p.set(e, e.Data.Seq)
		return fresh, nil
	case !e.Type.Durable():
		return true, nil
	case known && e.Seq != last+1, !known && e.Seq != 1:
		return false, &OrderError{e.OperationID, e.Seq, last + 1}
	}
	p.set(e, e.Seq)
	return true, nil
}

func (p *positions) set(e event.Event, seq int64) {
	if ended(e) {
		delete(p.of, e.OperationID)
	} else {
		p.of[e.OperationID] = seq
	}
}

// ended asks for each operation that was live when the connection broke whether it has ended meanwhile.
func (c *Client) ended(ctx context.Context, all *positions) (missed []event.Event, err error) {
	for id := range all.again {
		op, err := c.Operation(ctx, id, 0)
		if gone := (*Problem)(nil); errors.As(err, &gone) && gone.Status == 404 {
			delete(all.of, id)
			continue
		} else if err != nil {
			return missed, err
		}
		if e := op.snapshot(); ended(e) {
			delete(all.of, id)
			all.gone[id] = true
			missed = append(missed, e)
		}
	}
	return missed, nil
}

func query(since int64) string {
	if since == FromNow {
		return ""
	}
	return "?since=" + strconv.FormatInt(since, 10)
}
