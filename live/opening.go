package live

import "context"

// openings are the reads of one thing of the Source by streams that open: at most one at a time, and one that has not begun.
// h.mu guards them.
type openings[T any] struct{ now, next *opening[T] }

// opening is one such read. Those share it which asked before it began, so that a thousand which come back at once are two reads
// of each operation they watch, and not a thousand.
type opening[T any] struct {
	done  chan struct{} // closed when value and err are there
	value T
	err   error
}

// share gives what a read gives that begins after share was called, and that is the same for all who ask until it begins. The
// caller is a stream that was admitted.
func share[T any](ctx context.Context, h *Hub, all *openings[T], read func(context.Context) (T, error)) (T, error) {
	h.mu.Lock()
	o := all.next
	if o == nil {
		o = &opening[T]{done: make(chan struct{})}
		before := all.now
		all.next = o
		h.wg.Go(func() {
			defer close(o.done)
			if before != nil {
				<-before.done
			}
			release, err := h.acquireRead()
			h.mu.Lock()
			all.now, all.next = o, nil
			h.mu.Unlock()
			if err != nil {
				o.err = err
				return
			}
			o.value, o.err = read(h.ctx) // no caller's own: another one may go on waiting
			release()
			h.mu.Lock()
			if all.now == o {
				all.now = nil // what it gave is theirs who asked for it
			}
			h.mu.Unlock()
		})
	}
	h.mu.Unlock()
	select {
	case <-o.done:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
