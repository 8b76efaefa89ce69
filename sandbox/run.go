package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"chunkstream/chunk"
)

// run is one text on its way through a child. It is the Splitter that the parent's guard pulls; err says how it ended.
type run struct {
	pool *Pool
	ctx  context.Context
	plan chunk.Plan
	most int
	left time.Duration // of Config.Time
	late atomic.Bool   // the time was over, and the child has been killed
	err  error
}

// errEarly: the child died before it had the text, so the text is not to blame.
var errEarly = errors.New("the parsing process had ended before it was used")

// Split implements chunk.Splitter.
func (r *run) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		for range 2 { // an idle child may have been killed by somebody else
			if r.err = r.once(text, yield); !errors.Is(r.err, errEarly) {
				return
			}
		}
		r.err = fmt.Errorf("%w: %w", ErrUnavailable, r.err)
	}
}

func (r *run) once(text string, yield func(chunk.Chunk) bool) error {
	child, err := r.pool.take(r.ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(r.ctx, child.kill)
	stopped := false
	clean, err := r.converse(child, text, func(c chunk.Chunk) bool {
		stopped = !yield(c)
		return !stopped
	})
	if cancelled := !stop(); clean && err == nil && !cancelled && !r.late.Load() {
		r.pool.put(child)
		return nil
	}
	last := r.pool.drop(child)
	var split *chunk.SplitError
	switch {
	case stopped || err == nil:
		return nil
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	case r.late.Load():
		return &Error{Timeout, fmt.Sprintf("parsing took longer than %v", r.pool.cfg.Time)}
	case errors.Is(err, errEarly), errors.As(err, &split):
		r.pool.cfg.Log.Warn("a parsing process gave up", "strategy", r.plan.Strategy, "error", err, "said", last)
		return err
	case errors.Is(err, errOutput):
		return &Error{Output, fmt.Sprintf("parsing gave more than %d bytes of chunks", r.pool.cfg.Output)}
	}
	r.pool.cfg.Log.Warn("a parsing process died", "strategy", r.plan.Strategy, "bytes", len(text), "error", err, "said", last)
	if outOfMemory(last) {
		return &Error{Memory, fmt.Sprintf("parsing needed more than %d MiB of memory", r.pool.cfg.Memory>>20)}
	}
	return &Error{Crashed, "the process that parsed the text ended unexpectedly"}
}

// converse gives the child the text and yields what comes back. clean says that the child waits for the next text.
func (r *run) converse(child *process, text string, yield func(chunk.Chunk) bool) (clean bool, err error) {
	err = r.waiting(child, func() error {
		if err := child.send(job{r.plan.Strategy, r.plan.Settings, len(text), r.most}, text); err != nil {
			return err
		}
		kind, _, err := child.receive()
		if err == nil && kind != frameBegun {
			err = errProtocol
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("%w: %w", errEarly, err)
	}
	d := decoder{text: text}
	budget := r.pool.cfg.Output
	for n := 0; ; {
		var kind byte
		var body []byte
		err := r.waiting(child, func() (err error) {
			kind, body, err = child.receive()
			return err
		})
		switch budget -= int64(len(body)); {
		case err != nil:
			return false, err
		case budget < 0:
			return false, errOutput
		}
		switch kind {
		case frameEnd:
			return true, nil
		case frameFault:
			return false, &chunk.SplitError{Strategy: r.plan.Strategy, Problem: string(body)}
		case frameChunks:
			for len(body) > 0 {
				c, rest, err := d.chunk(body)
				if err != nil {
					return false, err
				}
				body = rest
				n++
				if !yield(c) {
					// A child that has given all it was asked for has only its end to say.
					if r.most == 0 || n < r.most || len(body) > 0 {
						return false, nil
					}
					err := r.waiting(child, func() (err error) {
						kind, _, err = child.receive()
						return err
					})
					return err == nil && kind == frameEnd, nil
				}
			}
		default:
			return false, errProtocol
		}
	}
}

// waiting does what may block on the child, and counts the time.
func (r *run) waiting(child *process, f func() error) error {
	began := time.Now()
	timer := time.AfterFunc(max(r.left, 0), func() {
		r.late.Store(true)
		child.kill()
	})
	err := f()
	timer.Stop()
	r.left -= time.Since(began)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
