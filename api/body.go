package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// A body must keep coming: all waiting for it together may take bodyGrace, plus a second for every bodyRate bytes
// received. The time between two reads is the server's own, storing what came, and does not count.
const (
	bodyGrace = 10 * time.Second
	bodyRate  = 16 << 10 // bytes a second
)

// bodyError is what can go wrong while a body arrives.
type bodyError struct {
	cause error
	limit int64 // set when the body is longer than that
	text  int64 // set too when what is too long is a document, of which there may be so much
}

func (e *bodyError) Error() string {
	if e.limit > 0 {
		return "body is longer than " + size(e.limit)
	}
	return "read body: " + e.cause.Error()
}

func (e *bodyError) Unwrap() error { return e.cause }

func (e *bodyError) problem() *Problem {
	switch {
	case e.limit > 0:
		if e.text > 0 {
			return tooLong(e.text)
		}
		return problem("too_large", "body", "the body is longer than %s", size(e.limit)).suggest("send at most " + size(e.limit))
	case errors.Is(e.cause, os.ErrDeadlineExceeded):
		return problem("request_timeout", "body", "the body must arrive at %d bytes a second after the first %d seconds",
			bodyRate, int(bodyGrace.Seconds()))
	}
	p := problem("invalid_request", "body", "the body ended before it was complete").suggest("send the body whole")
	p.header = http.Header{"Connection": {"close"}}
	return p
}

// body reads a request's body, bounded in size and in time.
type body struct {
	r        io.Reader
	conn     *http.ResponseController
	limit    int64 // bytes that may come
	text     int64 // bytes of text that may be in them, where it is a document
	n        int64 // bytes that came
	waited   time.Duration
	extended time.Time // when the deadline was last moved
	grace    time.Duration
}

// newBody guards r's body. A Content-Length beyond limit is refused before anything is read. text is what is said of a
// document that is too long, whose form may add to it; 0 says limit. The deadline
// needs no taking back: net/http does that at the body's end and before the next request.
func (a *API) newBody(w http.ResponseWriter, r *http.Request, limit, text int64) (*body, error) {
	if r.ContentLength > limit {
		return nil, &bodyError{limit: limit, text: text}
	}
	return &body{r: r.Body, conn: http.NewResponseController(w), limit: limit, text: text, grace: a.bodyGrace}, nil
}

func (b *body) Read(p []byte) (int, error) {
	now := time.Now()
	if now.Sub(b.extended) > b.grace/20 {
		b.extended = now
		deadline := now.Add(b.grace + time.Duration(b.n)*time.Second/bodyRate - b.waited)
		if err := b.conn.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, &bodyError{cause: err}
		}
	}
	n, err := b.r.Read(p)
	b.waited += time.Since(now)
	b.n += int64(n)
	if b.n > b.limit {
		return 0, &bodyError{limit: b.limit, text: b.text}
	}
	if err != nil && err != io.EOF {
		err = &bodyError{cause: err}
	}
	return n, err
}
