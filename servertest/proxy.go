package servertest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between a client and a server on loopback and can make the way between them slow, deaf or broken. It
// starts transparent and ends with the test. All methods may be called concurrently.
type Proxy struct {
	// Address is where clients connect.
	Address string

	target   string
	listener net.Listener
	delay    atomic.Int64 // ns
	deaf     atomic.Bool
	reply    atomic.Pointer[trap]
	request  atomic.Pointer[trap]
	carried  atomic.Pointer[trap]
	mu       sync.Mutex
	wires    map[*wire]struct{}
	wait     sync.WaitGroup

	refused, broken, swallowed, delayed, trapped atomic.Int64
}

// ProxyCounts is what a proxy has done since it was started.
type ProxyCounts struct {
	Refused   int64 // connections of clients that ended at once because the server took none
	Broken    int64 // connections that had been open and ended
	Swallowed int64 // pieces of data that were lost
	Delayed   int64 // pieces of data that were late
	Trapped   int64 // connections that ended by DropReply, DropRequest or LoseAnswer
}

// wire is one client's connection and its counterpart.
type wire struct {
	client, server net.Conn
	half           atomic.Bool // the server's side has ended and the client does not know
	unanswered     atomic.Bool // the next answer is lost, and the client's side with it
}

// trap lets some pieces of data that hold a mark never arrive.
type trap struct {
	mark []byte
	left atomic.Int64
}

func (t *trap) catches(data []byte) bool {
	return t != nil && bytes.Contains(data, t.mark) && t.left.Add(-1) >= 0
}

// StartProxy starts a proxy to a server's address.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	return StartProxyAt(t, "127.0.0.1", target)
}

// StartProxyAt is StartProxy for a proxy that listens on one of this machine's addresses.
func StartProxyAt(t testing.TB, host, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: l.Addr().String(), target: target, listener: l, wires: map[*wire]struct{}{}}
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		p.Cut()
		p.wait.Wait()
	})
	return p
}

// Counts may be called at any time.
func (p *Proxy) Counts() ProxyCounts {
	return ProxyCounts{Refused: p.refused.Load(), Broken: p.broken.Load(), Swallowed: p.swallowed.Load(),
		Delayed: p.delayed.Load(), Trapped: p.trapped.Load()}
}

// Delay lets every piece of data wait that long in each direction.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Deafen swallows all data, in both directions, while connections stay open and new ones are accepted: a black hole.
// Hear undoes it for new connections; those that lost data in it are cut.
func (p *Proxy) Deafen() { p.deaf.Store(true) }

// Hear ends what Deafen began.
func (p *Proxy) Hear() {
	p.deaf.Store(false)
	p.Cut()
}

// Cut closes all connections there are and says how many.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.wires {
		w.close()
	}
	return len(p.wires)
}

// HalfOpen ends the server's side of all connections there are, and says how many: their clients hear nothing of it,
// and what they send is lost, until Cut. New connections are sound.
func (p *Proxy) HalfOpen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for w := range p.wires {
		if w.half.CompareAndSwap(false, true) {
			_ = w.server.Close() // it may have ended by itself
			n++
		}
	}
	return n
}

// DropReply lets the next n answers that hold mark never arrive: the server has done what it was asked, and the
// connection ends instead. An empty mark is in any answer; n of 0 ends an earlier call's wait.
func (p *Proxy) DropReply(mark string, n int) { p.reply.Store(newTrap(mark, n)) }

// DropRequest lets the next n requests that hold mark never arrive: the connection ends instead.
func (p *Proxy) DropRequest(mark string, n int) { p.request.Store(newTrap(mark, n)) }

// LoseAnswer lets the next n requests that hold mark reach the server, which carries them out, and their answers not come
// back: the connection ends instead. What the server has been sent on that connection before it ends is carried out too.
func (p *Proxy) LoseAnswer(mark string, n int) { p.carried.Store(newTrap(mark, n)) }

func newTrap(mark string, n int) *trap {
	t := &trap{mark: []byte(mark)}
	t.left.Store(int64(n))
	return t
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			p.refused.Add(1)
			_ = client.Close()
			continue
		}
		w := &wire{client: client, server: server}
		p.mu.Lock()
		p.wires[w] = struct{}{}
		p.mu.Unlock()
		p.wait.Go(func() { p.pipe(w, server, client, &p.request) })
		p.wait.Go(func() { p.pipe(w, client, server, &p.reply) })
	}
}

// close ends both sides; either may have ended by itself.
func (w *wire) close() {
	_ = w.client.Close()
	_ = w.server.Close()
}

// pipe copies until either side ends, then ends both, unless the wire is to seem whole to its client.
func (p *Proxy) pipe(w *wire, to, from net.Conn, trap *atomic.Pointer[trap]) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if w.half.Load() && from == w.server {
			return // the other direction ends the wire
		}
		if d := time.Duration(p.delay.Load()); d > 0 && n > 0 {
			p.delayed.Add(1)
			timer := time.NewTimer(d)
			<-timer.C
		}
		switch {
		case n == 0:
		case p.deaf.Load() || w.half.Load():
			p.swallowed.Add(1)
		case from == w.server && w.unanswered.Load():
			p.trapped.Add(1)
			err = net.ErrClosed
		case trap.Load().catches(buf[:n]):
			p.trapped.Add(1)
			err = net.ErrClosed
		case from == w.client && p.carried.Load().catches(buf[:n]):
			w.unanswered.Store(true)
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		default:
			if _, werr := to.Write(buf[:n]); werr != nil && !w.half.Load() {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	if from == w.client && w.unanswered.Load() {
		return // the other direction ends the wire, once the server has carried out all it was sent
	}
	p.mu.Lock()
	if _, open := p.wires[w]; open {
		p.broken.Add(1)
		delete(p.wires, w)
	}
	p.mu.Unlock()
	if w.unanswered.Load() {
		_ = w.client.Close()
		_ = w.server.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, w.server)
	}
	w.close()
}
