package live

// queue is streams in the order they were woken, each at most once.
type queue struct{ first, last *stream }

func (q *queue) push(s *stream) {
	if q.first == nil {
		q.first = s
	} else {
		q.last.after = s
	}
	q.last = s
}

// pop returns nil when there is none.
func (q *queue) pop() *stream {
	s := q.first
	if s != nil {
		q.first, s.after = s.after, nil
	}
	return s
}

// staff starts a writer when a WebSocket waits for one and all are within a write. So each core is kept busy by one writer
// that goes from socket to socket, and one more stands ready: a write that has to wait for its client holds up no other.
// h.mu is held.
func (h *Hub) staff() {
	if h.free == 0 && h.woken.first != nil {
		h.free++
		h.wg.Go(h.write)
	}
}

// write does what the woken WebSockets have to do, one after the other, until none is left.
func (h *Hub) write() {
	b := h.work.Get().(*batch)
	defer h.putBatch(b)
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := h.woken.pop(); s != nil; s = h.woken.pop() {
		for what := s.next(b); what != idle; what = s.next(b) {
			h.free--
			h.staff()
			h.mu.Unlock()
			s.do(what, b)
			h.mu.Lock()
			h.free++
		}
		s.woken = false
	}
	h.free--
}

// do does what next has said for a WebSocket. No lock is held.
func (s *stream) do(what todo, b *batch) {
	switch what {
	case write:
		if err := s.socket.send(b); err != nil {
			s.broken(err)
			return
		}
		s.h.delivered.Add(int64(len(b.frames)))
	case readMore:
		s.more()
	case readState:
		s.state()
	case finish:
		s.socket.close(*s.ending)
		s.h.mu.Lock()
		s.gone = true
		s.h.mu.Unlock()
	}
}
