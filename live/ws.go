package live

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
)

// HandshakeError says why a request cannot become a WebSocket. Answer 426 with "Upgrade: websocket" when Upgrade is
// set, else 400.
type HandshakeError struct {
	Problem string
	Upgrade bool // it did not ask for a WebSocket at all
}

func (e *HandshakeError) Error() string { return "live: not a WebSocket handshake: " + e.Problem }

// ServeOperationWS makes the request a WebSocket that carries the operation's events as text frames, one JSON event
// each, and returns at once; the hub owns the connection from then on. The caller has authorised who and checked
// Origin, and parsed since with ParseSince; resume is its ok, with the meaning it has for ServeOperationSSE. After the
// terminal event the socket is closed with 1000. What the client sends is ignored, except control frames.
//
// When the error is not nil nothing was written: *HandshakeError, ErrStopping, ErrTooManyStreams, the error of the
// Source (wrapped), or the request's context's.
func (h *Hub) ServeOperationWS(
	w http.ResponseWriter, r *http.Request, who Viewer, operationID string, since int64, resume bool,
) error {
	if err := checkHandshake(r); err != nil {
		return err
	}
	s := &stream{}
	if _, err := h.openOperation(r, s, who, operationID, since, resume); err != nil {
		return err
	}
	return h.upgrade(w, r, s)
}

// ServeAllWS is ServeOperationWS for everything of who's owner: a snapshot of each operation that has not ended, then all
// events, gap-free for each operation. It cannot be resumed; a reconnect starts anew.
func (h *Hub) ServeAllWS(w http.ResponseWriter, r *http.Request, who Viewer) error {
	if err := checkHandshake(r); err != nil {
		return err
	}
	s := &stream{}
	if err := h.openAll(r, s, who); err != nil {
		return err
	}
	return h.upgrade(w, r, s)
}

// checkHandshake refuses what gws would answer in its own words after taking the connection away (RFC 6455 section
// 4.2.1).
func checkHandshake(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return &HandshakeError{Problem: "no upgrade to websocket asked for", Upgrade: true}
	case r.Method != http.MethodGet:
		return &HandshakeError{Problem: "the method is not GET"}
	case r.ProtoMajor != 1:
		return &HandshakeError{Problem: "needs HTTP/1.1"}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return &HandshakeError{Problem: "Sec-WebSocket-Version is not 13", Upgrade: true}
	case err != nil || len(key) != 16:
		return &HandshakeError{Problem: "Sec-WebSocket-Key is not 16 bytes in base64"}
	}
	return nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// readBuffer is the size in bytes of a socket's read buffer. Clients send pongs; whatever is longer goes past it.
const readBuffer = 256

// Subprotocol is the WebSocket subprotocol that is accepted when a client offers it. A browser that offers any, which is
// how it sends a key, drops the connection unless the answer names one of them (WHATWG WebSockets, section 3.1).
const Subprotocol = "chunkstream"

func newUpgrader(c Config, subprotocols ...string) *gws.Upgrader {
	return gws.NewUpgrader(handler{}, &gws.ServerOption{
		ParallelGolimit:    1,
		ReadMaxPayloadSize: c.MaxInbound,
		HandshakeTimeout:   c.WriteTimeout,
		SubProtocols:       subprotocols,
		NewSession:         func() gws.SessionStorage { return noSession{} },
	})
}

// upgrade takes the connection over. s was opened and is held; on an error it has left.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request, s *stream) error {
	k, err := h.connect(w, r, s)
	if k == nil {
		h.leave(s)
		return err
	}
	// The stream was counted when it was admitted, and is counted out when its reader has ended. The reader is a
	// goroutine of its own so that the request and the server's buffers can go.
	k.admitted = true // nobody else sees it yet
	h.sockets.Add(1)
	h.mu.Lock()
	s.socket = k
	h.mu.Unlock()
	go k.read()
	s.release()
	return nil
}

// begin lets an opened stream run on a socket whose reader runs already.
func (h *Hub) begin(k *socket) {
	h.mu.Lock()
	if k.over {
		h.mu.Unlock()
		h.leave(k.s)
		return
	}
	k.admitted = true
	k.s.socket = k
	h.mu.Unlock()
	h.sockets.Add(1)
	k.s.release()
}

// connect shakes hands. Without an error and without a socket the client has gone.
func (h *Hub) connect(w http.ResponseWriter, r *http.Request, s *stream) (*socket, error) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, &HandshakeError{Problem: "the connection cannot be taken over: " + err.Error()}
	}
	k := &socket{Conn: conn, h: h, s: s, timeout: h.config.WriteTimeout}
	k.alive()
	upgrader := h.upgrader
	if hasToken(r.Header, "Sec-WebSocket-Protocol", Subprotocol) {
		// gws looks at the first header line alone.
		r.Header["Sec-Websocket-Protocol"] = []string{Subprotocol}
		upgrader = h.speaking
	}
	if k.ws, err = upgrader.UpgradeFromConn(k, bufio.NewReaderSize(k, readBuffer), r); err != nil {
		_ = conn.Close() // the client is gone: there is nobody to tell
		return nil, nil
	}
	return k, nil
}

// socket is the connection of a WebSocket as gws sees it. All writes, ours and those of gws, pass through Write, so
// that nothing follows a close frame.
type socket struct {
	net.Conn
	h       *Hub
	s       *stream
	first   chan []byte // of one that says with its first message who it is; nil otherwise
	ws      *gws.Conn
	timeout time.Duration
	last    atomic.Int64 // when something was heard of the client: nanoseconds since h.born
	cut     atomic.Bool

	admitted, over bool // the stream runs, the reader has ended; h.mu guards them

	mu     sync.Mutex // one writer at a time
	closed bool       // a close frame was written
}

var errClosed = errors.New("live: the WebSocket was closed")

// Write writes whole frames.
func (k *socket) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return 0, errClosed
	}
	k.closed = len(p) > 0 && p[0] == headClose
	if k.closed { // all other writes are a stream's, whose time the hub's tick keeps: a timer moved for each costs more
		if err := k.Conn.SetWriteDeadline(time.Now().Add(k.timeout)); err != nil {
			return 0, err
		}
	}
	if k.cut.Load() { // after the deadline was set, so that abort cannot be undone by it
		return 0, errClosed
	}
	return k.Conn.Write(p)
}

// lingering is how long a client has to answer a close frame.
const lingering = time.Second

// Close is what gws calls after its close frame. Closing at once could destroy that frame on its way (when the client
// has sent something that was not read, the kernel answers with a reset), so only our direction is closed, and the
// reader waits a moment for the client's.
func (k *socket) Close() error {
	if k.cut.Load() {
		return nil
	}
	_ = k.Conn.SetReadDeadline(time.Now().Add(lingering))
	if half, ok := k.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// abort makes all reads and writes fail. It does not block.
func (k *socket) abort() {
	k.cut.Store(true)
	_ = k.Conn.SetDeadline(time.Unix(1, 0))
}

func (k *socket) alive() { k.last.Store(int64(time.Since(k.h.born))) }

func (k *socket) silence() time.Duration {
	return time.Since(k.h.born) - time.Duration(k.last.Load())
}

// send writes a batch: one frame as it is, several as one write.
func (k *socket) send(b *batch) error {
	if len(b.frames) == 1 && len(b.control) == 0 {
		_, err := k.Write(b.frames[0].wire)
		return err
	}
	b.buf = append(b.buf[:0], b.control...)
	for _, f := range b.frames {
		b.buf = append(b.buf, f.wire...)
	}
	_, err := k.Write(b.buf)
	return err
}

// close sends a close frame. The error does not matter: the reader ends either way.
func (k *socket) close(e ending) { _ = k.ws.WriteClose(uint16(e.code), []byte(e.reason)) }

// read reads until the connection is over and takes the stream out of the hub.
func (k *socket) read() {
	h := k.h
	k.ws.ReadLoop()
	h.mu.Lock()
	k.s.gone = true
	h.mu.Unlock()
	_, _ = io.CopyN(io.Discard, k.Conn, 1<<20) // Close has set the deadline
	_ = k.Conn.Close()
	h.mu.Lock()
	k.over = true
	admitted := k.admitted
	h.mu.Unlock()
	if admitted {
		h.sockets.Add(-1)
		h.leave(k.s)
	}
}

// handler takes what gws reads. It answers pings through the stream's own writer, so that a reader never waits for a
// write.
type handler struct{ gws.BuiltinEventHandler }

func (handler) OnPing(c *gws.Conn, payload []byte) {
	k := c.NetConn().(*socket)
	k.alive()
	k.h.mu.Lock()
	defer k.h.mu.Unlock()
	if k.admitted {
		k.s.pong = append([]byte{}, payload...)
		k.s.wake()
	}
}

func (handler) OnPong(c *gws.Conn, _ []byte) { c.NetConn().(*socket).alive() }

func (handler) OnMessage(c *gws.Conn, m *gws.Message) {
	k := c.NetConn().(*socket)
	k.alive()
	if k.first != nil {
		select {
		case k.first <- append([]byte{}, m.Bytes()...):
		default: // what follows the first is not looked at
		}
	}
	_ = m.Close()
}

// noSession saves the map that gws makes for each connection by default; nothing is stored.
type noSession struct{ gws.SessionStorage }
