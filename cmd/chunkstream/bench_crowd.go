package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// crowd is the clients' ends of all sockets. It shares the machine's cores with the server, so it does as little as it
// can for a message: it notes the time, and looks at no more of it than its length.
type crowd struct {
	address   string
	listeners []listener
	began     time.Time
	heard     atomic.Int64 // messages, all sockets together
	readers   readers
}

// listener is one client: when each of its messages was read.
type listener struct {
	crowd  *crowd
	conn   io.WriteCloser
	at     []time.Duration // since crowd.began; read by others once crowd.heard says that they are there
	n      int
	rest   []byte                  // the beginning of a frame that has not come in full
	latest *atomic.Pointer[[]byte] // of the first listener: its newest message
}

// What a server's frame begins with (RFC 6455 section 5.2), and what a pong must: a client masks, here with zeros.
const (
	frameText = 0x81
	framePing = 0x89
	framePong = 0x8a
	masked    = 0x80
)

// open opens all sockets, some at a time, for so many messages each.
func (c *crowd) open(ctx context.Context, messages int) error {
	if err := c.readers.start(c); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(64)
	for i := range c.listeners {
		l := &c.listeners[i]
		l.crowd, l.at = c, make([]time.Duration, messages)
		if i == 0 {
			l.latest = new(atomic.Pointer[[]byte])
		}
		g.Go(func() error {
			if err := l.shake(ctx); err != nil {
				return err
			}
			return c.readers.add(i)
		})
	}
	return g.Wait()
}

// shake opens a connection and makes it a WebSocket (RFC 6455 section 4.1).
func (l *listener) shake(ctx context.Context) error {
	to, err := url.Parse(l.crowd.address)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.Host)
	if err != nil {
		return err
	}
	l.conn = conn
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", to.RequestURI(), to.Host)
	var answer []byte
	for buf := make([]byte, 4096); err == nil; {
		var n int
		n, err = conn.Read(buf)
		answer = append(answer, buf[:n]...)
		if head, rest, ok := bytes.Cut(answer, []byte("\r\n\r\n")); ok {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
				line, _, _ := bytes.Cut(head, []byte("\r\n"))
				return fmt.Errorf("the server said %q", line)
			}
			l.take(rest)
			return nil
		}
	}
	return err
}

// take takes what was read, which may end within a frame.
func (l *listener) take(data []byte) {
	if len(l.rest) > 0 {
		data = append(l.rest, data...)
	}
	for {
		kind, payload, rest, ok := cutFrame(data)
		if !ok {
			break
		}
		switch kind {
		case frameText:
			l.hear(payload)
		case framePing:
			pong := append([]byte{framePong, masked | byte(len(payload)), 0, 0, 0, 0}, payload...)
			_, _ = l.conn.Write(pong) // a server that has gone is noticed by what is not heard
		}
		data = rest
	}
	l.rest = append([]byte(nil), data...)
}

// cutFrame cuts the first frame of a server off.
func cutFrame(data []byte) (kind byte, payload, rest []byte, ok bool) {
	if len(data) < 2 {
		return 0, nil, nil, false
	}
	head, size := 2, int(data[1])
	long := map[int]int{126: 2, 127: 8}[size] // bytes of length that follow
	if len(data) < head+long {
		return 0, nil, nil, false
	}
	if long > 0 {
		size = 0
		for _, b := range data[head : head+long] {
			size = size<<8 | int(b)
		}
		head += long
	}
	if len(data)-head < size {
		return 0, nil, nil, false
	}
	return data[0], data[head : head+size], data[head+size:], true
}

// hear notes when a message came.
func (l *listener) hear(message []byte) {
	now := time.Since(l.crowd.began)
	if l.latest != nil {
		text := bytes.Clone(message)
		l.latest.Store(&text)
	}
	if l.n < len(l.at) {
		l.at[l.n] = now
		l.n++
		l.crowd.heard.Add(1)
	}
}

// wait waits until so many messages have been read in all, and gives how many are missing after hearing.
func (c *crowd) wait(ctx context.Context, messages int) int {
	late := time.NewTimer(hearing)
	defer late.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.heard.Load() < int64(messages) {
		select {
		case <-tick.C:
		case <-late.C:
			return messages - int(c.heard.Load())
		case <-ctx.Done():
			return messages - int(c.heard.Load())
		}
	}
	return 0
}

// close closes all sockets and waits for those who read. Some have been closed by the server.
func (c *crowd) close() {
	c.readers.pause()
	for i := range c.listeners {
		if conn := c.listeners[i].conn; conn != nil {
			_ = conn.Close()
		}
	}
	c.readers.stop()
}
