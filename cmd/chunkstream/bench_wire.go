package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"
)

// wire sends requests over one connection and reads each answer in the goroutine that asked: http.Transport has two more
// for a connection, and a load generator would count what switching between them takes as the server's time. One
// goroutine may use a wire, which must read an answer to its end before it sends the next request.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
}

// RoundTrip implements http.RoundTripper, in HTTP/1.1. It fails when the request's context ends. Servers close connections
// that are idle for long: when one that was used before gives not a byte of an answer, the request is sent once more over
// a new one, if its body can be read again.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	used := w.conn != nil
	answer, begun, err := w.ask(r)
	if err == nil || !used || begun || r.Context().Err() != nil || r.Body != nil && r.GetBody == nil {
		return answer, err
	}
	again := *r
	if r.Body != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	answer, _, err = w.ask(&again)
	return answer, err
}

// ask sends a request and reads the answer's head. begun says that something of it has come.
func (w *wire) ask(r *http.Request) (_ *http.Response, begun bool, err error) {
	if w.conn == nil {
		if err = w.open(r); err != nil {
			return nil, false, err
		}
	}
	conn := w.conn
	stop := context.AfterFunc(r.Context(), func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			stop()
			w.close()
		}
	}()
	if err = r.Write(w.out); err != nil {
		return nil, false, err
	}
	if err = w.out.Flush(); err != nil {
		return nil, false, err
	}
	if _, err = w.in.Peek(1); err != nil {
		return nil, false, err
	}
	answer, err := http.ReadResponse(w.in, r)
	if err != nil {
		return nil, true, err
	}
	answer.Body = &wireBody{answer.Body, w, stop, answer.Close}
	return answer, true, nil
}

func (w *wire) open(r *http.Request) error {
	dial, port := (&net.Dialer{}).DialContext, "80"
	if r.URL.Scheme == "https" {
		dial, port = (&tls.Dialer{}).DialContext, "443"
	}
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), port)
	}
	conn, err := dial(r.Context(), "tcp", address)
	if err != nil {
		return err
	}
	w.conn, w.in, w.out = conn, bufio.NewReader(conn), bufio.NewWriterSize(conn, 64<<10)
	return nil
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing is said any more
		w.conn = nil
	}
}

// wireBody is an answer, which ends the hold of the request's context on the wire when it is closed.
type wireBody struct {
	io.ReadCloser
	wire *wire
	stop func() bool
	last bool // the server closes the connection
}

func (b *wireBody) Close() error {
	err := b.ReadCloser.Close() // reads what is left
	if !b.stop() || b.last || err != nil {
		b.wire.close()
	}
	return err
}
