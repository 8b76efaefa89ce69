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

// RoundTrip implements http.RoundTripper, in HTTP/1.1. It fails when the request's context ends.
func (w *wire) RoundTrip(r *http.Request) (_ *http.Response, err error) {
	if w.conn == nil {
		dial, port := (&net.Dialer{}).DialContext, "80"
		if r.URL.Scheme == "https" {
			dial, port = (&tls.Dialer{}).DialContext, "443"
		}
		address := r.URL.Host
		if r.URL.Port() == "" {
			address = net.JoinHostPort(r.URL.Hostname(), port)
		}
		if w.conn, err = dial(r.Context(), "tcp", address); err != nil {
			w.conn = nil
			return nil, err
		}
		w.in, w.out = bufio.NewReader(w.conn), bufio.NewWriterSize(w.conn, 64<<10)
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
		return nil, err
	}
	if err = w.out.Flush(); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(w.in, r)
	if err != nil {
		return nil, err
	}
	answer.Body = &wireBody{answer.Body, w, stop, answer.Close}
	return answer, nil
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
