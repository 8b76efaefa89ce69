package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"chunkstream/event"
)

// readSocket is the reader of WebSockets (RFC 6455).
func (c *Client) readSocket(ctx context.Context, path string, since int64, open func() error,
	each func(event.Event) error) error {
	s := &socket{ctx: ctx, each: each}
	defer s.close()
	conn, resp, err := gws.NewClient(s, &gws.ClientOption{
		Addr:               "ws" + strings.TrimPrefix(c.base, "http") + path + query(since),
		RequestHeader:      c.header(),
		NewDialer:          func() (gws.Dialer, error) { return s, nil },
		TlsConfig:          c.tls(),
		ReadMaxPayloadSize: maxEvent,
		Logger:             quiet{},
	})
	if err != nil && resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		return problemOf(resp)
	} else if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := open(); err != nil {
		return err
	}
	conn.ReadLoop()
	return s.err
}

// tls gives the settings of the HTTP client's transport. HTTP/2 is not offered: it opens sockets in another way.
func (c *Client) tls() *tls.Config {
	t, ok := c.http.Transport.(*http.Transport)
	if !ok {
		return nil
	}
	// A transport fills in its settings at its first request, which may be under way: Clone waits for that.
	config := t.Clone().TLSClientConfig
	if config != nil {
		config.NextProtos = nil
	}
	return config
}

// socket is one connection and what is to happen with what it says. Everything but Dial's guard runs in the goroutine
// that called readSocket.
type socket struct {
	ctx   context.Context // of readSocket, which outlives the connection
	each  func(event.Event) error
	conn  net.Conn
	guard func() bool // takes back that the end of ctx breaks the connection
	err   error       // why it ended
}

// Dial connects under the context, and has its end break the connection, also during the handshake.
func (s *socket) Dial(network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(s.ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.conn = conn
	s.guard = context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	return conn, nil
}

func (s *socket) close() {
	if s.conn != nil {
		s.guard()
		_ = s.conn.Close() // gws has closed it already in most cases
	}
}

// alive gives the server until silence has passed to say something.
func (s *socket) alive() {
	_ = s.conn.SetReadDeadline(time.Now().Add(silence)) // a closed connection shows at the next read
}

func (s *socket) OnOpen(*gws.Conn)         { s.alive() }
func (s *socket) OnPong(*gws.Conn, []byte) { s.alive() }

func (s *socket) OnPing(conn *gws.Conn, payload []byte) {
	s.alive()
	_ = conn.WritePong(payload) // a broken connection shows at the next read
}

func (s *socket) OnMessage(conn *gws.Conn, m *gws.Message) {
	defer m.Close()
	if s.err != nil {
		return
	}
	s.alive()
	var e event.Event
	if err := json.Unmarshal(m.Bytes(), &e); err != nil {
		s.err = fmt.Errorf("read event: %w", err)
	} else {
		s.err = s.each(e)
	}
	if s.err != nil {
		_ = conn.WriteClose(1000, nil) // the connection is not used any more
	}
}

func (s *socket) OnClose(_ *gws.Conn, err error) {
	closed := (*gws.CloseError)(nil)
	switch {
	case s.err != nil:
	case errors.As(err, &closed) && closed.Code == 1000:
		s.err = errEnded
	case errors.As(err, &closed):
		s.err = fmt.Errorf("server closed the socket: %d %s", closed.Code, closed.Reason)
	default:
		s.err = fmt.Errorf("socket broke: %w", err)
	}
}

// quiet keeps gws from writing to the process's standard error: every error is returned.
type quiet struct{}

func (quiet) Error(...any) {}
