package live

import (
	"context"
	"net/http"
	"time"
)

// Viewer is who watches.
type Viewer struct {
	// Owner is whose operations may be watched.
	Owner string
	// Session is what lets the viewer in, a comparable value that Config.Ended understands; equal ones are asked about once.
	// nil: it never ends.
	Session any
	// Until is when the session ends by itself. Zero: never.
	Until time.Time
}

// A stream whose session could not be asked about for sessionGrace is ended: nobody knows whether it may go on.
const (
	sessionGrace   = 8 * time.Second
	sessionTimeout = 2 * time.Second
)

// checkSessions ends the streams whose session is over. What had been handed to a connection before may still arrive; no
// event follows it, and a connection that does not take even that is cut the next time.
func (h *Hub) checkSessions(ctx context.Context) {
	now := time.Now()
	streams := map[any][]*stream{}
	h.mu.Lock()
	for s := range h.streams {
		switch {
		case s.ending != nil && s.ending.code == CloseAccess:
			s.abort()
		case !s.who.Until.IsZero() && !now.Before(s.who.Until):
			s.end(CloseAccess, accessOver)
		case s.who.Session != nil:
			streams[s.who.Session] = append(streams[s.who.Session], s)
		}
	}
	h.mu.Unlock()
	if len(streams) == 0 {
		return
	}
	sessions := make([]any, 0, len(streams))
	for one := range streams {
		sessions = append(sessions, one)
	}
	within, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	ended, err := h.config.Ended(within, sessions)
	if err != nil {
		h.sourceErrors.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, one := range sessions {
		for _, s := range streams[one] {
			switch {
			case err == nil && ended[i]:
				s.end(CloseAccess, accessOver)
			case err == nil:
				s.vouched = now
			case time.Since(s.vouched) > sessionGrace:
				s.end(CloseTryAgain, "access cannot be checked now: try again later")
			}
		}
	}
}

const accessOver = "access has ended"

const (
	// greeting is how long a WebSocket may be open before its first message says who it is.
	greeting = 5 * time.Second
	// maxGreeting is how many may be open like that at once.
	maxGreeting = 256
)

// ServeWSLater makes the request a WebSocket of which nobody knows yet who it is: its first message has to say that, within
// 5 s, and admit judges it. Then it goes on as ServeOperationWS, or with an empty operationID as ServeAllWS. Whoever is not
// admitted is closed with 4401, and with 4404 when the operation is not theirs. It returns when that is decided. When the
// error is not nil nothing was written.
func (h *Hub) ServeWSLater(
	w http.ResponseWriter, r *http.Request, admit func(ctx context.Context, message []byte) (Viewer, *Refusal),
	operationID string, since int64, resume bool,
) error {
	if err := checkHandshake(r); err != nil {
		return err
	}
	h.mu.Lock()
	switch {
	case h.stopped:
		h.mu.Unlock()
		return ErrStopping
	case h.greeting >= maxGreeting:
		h.mu.Unlock()
		return ErrTooManyStreams
	}
	h.greeting++
	h.wg.Add(1)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.greeting--
		h.mu.Unlock()
		h.wg.Done()
	}()
	k, err := h.connect(w, r, &stream{})
	if k == nil || err != nil {
		return err
	}
	k.first = make(chan []byte, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		k.read()
	}()
	if refused := h.greet(r, k, admit, operationID, since, resume); refused != nil {
		k.close(ending{refused.Code, refused.Reason})
		<-over
	}
	return nil
}

// Refusal is why a WebSocket is closed instead of admitted.
type Refusal struct {
	Code   CloseCode
	Reason string
}

// greet waits for the first message and opens the stream that it is admitted to.
func (h *Hub) greet(
	r *http.Request, k *socket, admit func(context.Context, []byte) (Viewer, *Refusal), operationID string, since int64, resume bool,
) *Refusal {
	late := time.NewTimer(greeting)
	defer late.Stop()
	var first []byte
	select {
	case first = <-k.first:
	case <-late.C:
		return &Refusal{CloseAccess, "the first message must say who you are"}
	case <-h.stopping:
		return &Refusal{CloseGoingAway, "server is shutting down: reconnect"}
	}
	who, refused := admit(r.Context(), first)
	if refused != nil {
		return refused
	}
	var err error
	if operationID == "" {
		err = h.openAll(r, k.s, who)
	} else {
		_, err = h.openOperation(r, k.s, who, operationID, since, resume)
	}
	switch {
	case err == nil:
		h.begin(k)
		return nil
	case h.config.Missing(err):
		return &Refusal{CloseNotFound, "there is no such operation here"}
	}
	return &Refusal{CloseTryAgain, "the stream cannot be opened now: try again later"}
}
