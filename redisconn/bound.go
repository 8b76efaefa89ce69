package redisconn

import (
	"context"
	"errors"
	"time"
)

// bound is a number of connections, each held by one call. The driver has such a pool too, but waits in it without end.
type bound struct {
	slots    chan struct{}
	patience time.Duration
	meter    *meter
}

func newBound(n int, patience time.Duration, m *meter) bound {
	return bound{make(chan struct{}, n), patience, m}
}

// acquire takes a slot, or says why not. The caller gives it back with release.
func (b bound) acquire(ctx context.Context) *fault {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	if b.patience > 0 {
		b.meter.waiting.Add(1)
		defer b.meter.waiting.Add(-1)
		timer := time.NewTimer(b.patience)
		defer timer.Stop()
		select {
		case b.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			f := ended(ctx, false)
			return &f
		case <-timer.C:
		}
	}
	return &fault{class: ClassExhausted, err: errors.New("all connections of this kind are in use")}
}

func (b bound) release() { <-b.slots }
