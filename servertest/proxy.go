package servertest

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between a client and a server on loopback and can make the way between them slow or deaf. It starts
// transparent and ends with the test.
type Proxy struct {
	// Address is where clients connect.
	Address string

	target   string
	listener net.Listener
	delay    atomic.Int64 // ns
	deaf     atomic.Bool
	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	wait     sync.WaitGroup
}

// StartProxy starts a proxy to a server's address.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: l.Addr().String(), target: target, listener: l, conns: map[net.Conn]struct{}{}}
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

// Cut closes all connections there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // the other side may have closed it
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wait.Go(func() { p.pipe(server, client) })
		p.wait.Go(func() { p.pipe(client, server) })
	}
}

// pipe copies until either side ends, then ends both.
func (p *Proxy) pipe(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if d := time.Duration(p.delay.Load()); d > 0 && n > 0 {
			timer := time.NewTimer(d)
			<-timer.C
		}
		if n > 0 && !p.deaf.Load() {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.conns, to)
	delete(p.conns, from)
	p.mu.Unlock()
	_ = to.Close()
	_ = from.Close()
}
