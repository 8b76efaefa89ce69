package live

import (
	"net/http"
	"sync/atomic"
	"time"
)

// ServeOperationSSE answers with the operation's events as Server-Sent Events (WHATWG HTML, section 9.2) and returns
// when the stream has ended. The caller has authorised who for it and parsed since with ParseSince; resume is its
// ok. Without resume the stream opens with a snapshot; with it there is no snapshot, only what follows since; a
// position that cannot be replayed opens with a resync event. A client that resumes after the terminal event gets
// 204, which stops a browser's reconnecting.
//
// When the error is not nil nothing was written: ErrStopping, ErrTooManyStreams, the error of the Source (wrapped), or
// the request's context's.
func (h *Hub) ServeOperationSSE(
	w http.ResponseWriter, r *http.Request, who Viewer, operationID string, since int64, resume bool,
) error {
	s := newResponse(w, h.config.WriteTimeout)
	nothing, err := h.openOperation(r, s, who, operationID, since, resume)
	if err != nil {
		return err
	}
	defer h.leave(s)
	if nothing {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h.respond(r, s)
	return nil
}

// ServeAllSSE is ServeOperationSSE for everything of who's owner: a snapshot of each operation that has not ended, then all
// events, gap-free for each operation. Its events have no ids, so it cannot be resumed; a reconnect starts anew.
func (h *Hub) ServeAllSSE(w http.ResponseWriter, r *http.Request, who Viewer) error {
	s := newResponse(w, h.config.WriteTimeout)
	if err := h.openAll(r, s, who); err != nil {
		return err
	}
	defer h.leave(s)
	h.respond(r, s)
	return nil
}

// response is what an SSE stream is written to.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	cut     atomic.Bool
}

func newResponse(w http.ResponseWriter, timeout time.Duration) *stream {
	a := &response{w: w, control: http.NewResponseController(w), timeout: timeout}
	return &stream{signal: make(chan struct{}, 1), answer: a}
}

// send writes p and flushes it. The deadline replaces the server's own, which is for short requests; only the
// ResponseWriters of tests do not know deadlines.
func (a *response) send(p []byte) error {
	_ = a.control.SetWriteDeadline(time.Now().Add(a.timeout))
	if a.cut.Load() { // after the deadline was set, so that abort cannot be undone by it
		return errClosed
	}
	if _, err := a.w.Write(p); err != nil {
		return err
	}
	return a.control.Flush()
}

// end gives the last bytes of the response, which net/http writes, a deadline of their own: that of an event long ago would
// make a whole response look cut off.
func (a *response) end() {
	_ = a.control.SetWriteDeadline(time.Now().Add(a.timeout))
	if a.cut.Load() {
		a.abort()
	}
}

// abort makes all writes fail, also one that is under way. Closing the connection is left to net/http.
func (a *response) abort() {
	a.cut.Store(true)
	_ = a.control.SetWriteDeadline(time.Unix(1, 0))
}

// respond writes until the stream ends, the client is gone, or it takes nothing for Config.WriteTimeout.
func (h *Hub) respond(r *http.Request, s *stream) {
	h.responses.Add(1)
	defer h.responses.Add(-1)
	a := s.answer
	_ = a.control.SetReadDeadline(time.Time{}) // the server's would end the request's context
	send := func(p []byte) bool {
		err := a.send(p)
		if err != nil {
			s.broken(err)
		}
		return err == nil
	}

	header := a.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
	a.w.WriteHeader(http.StatusOK)
	if !send([]byte("retry: 1000\n\n")) {
		return
	}
	s.release()

	heartbeat := time.NewTimer(h.config.Heartbeat)
	defer heartbeat.Stop()
	b := h.work.Get().(*batch)
	defer h.putBatch(b)
	for {
		h.mu.Lock()
		what := s.next(b)
		h.mu.Unlock()
		switch what {
		case write:
			b.buf = b.buf[:0]
			for _, f := range b.frames {
				b.buf = f.appendSSE(b.buf, s.topic != nil)
			}
			if !send(b.buf) {
				return
			}
			h.delivered.Add(int64(len(b.frames)))
			heartbeat.Reset(h.config.Heartbeat)
		case readMore:
			s.more()
		case readState:
			s.state()
		case finish:
			a.end()
			return
		case idle:
			select {
			case <-r.Context().Done():
				return
			case <-s.signal:
			case <-heartbeat.C:
				if !send([]byte(": heartbeat\n\n")) {
					return
				}
				heartbeat.Reset(h.config.Heartbeat)
			}
		}
	}
}

// putBatch keeps b for later unless a huge event has made it huge.
func (h *Hub) putBatch(b *batch) {
	b.reset()
	if cap(b.buf) <= 4*batchBytes {
		h.work.Put(b)
	}
}
