package redisconn

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/secret"
)

// mode is what a proxy does to a connection.
type mode int32

const (
	pass    mode = iota
	swallow      // Redis carries commands out, its replies never arrive
	cut          // Redis carries commands out, then the connection ends before the reply
	cutOnce      // cut, for one connection; then pass
	silent       // nothing passes either way, and the connections stay
	slow         // replies are late by 100 ms
	refuse       // new connections end at once, and so do old ones
)

// proxy stands between a role and a server. A connection that has swallowed replies goes on doing so: TCP loses no bytes
// from the middle.
type proxy struct {
	listener net.Listener
	target   atomic.Value // an address
	mode     atomic.Int32
	mu       sync.Mutex
	conns    map[net.Conn]bool
	work     sync.WaitGroup
}

func through(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, conns: map[net.Conn]bool{}}
	p.target.Store(target)
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.set(refuse)
		p.work.Wait()
	})
	return p
}

func (p *proxy) url() secret.Text { return secret.New("redis://" + p.listener.Addr().String()) }

func (p *proxy) set(m mode) {
	p.mode.Store(int32(m))
	if m != refuse {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns[in] = true
		p.mu.Unlock()
		if mode(p.mode.Load()) == refuse {
			_ = in.Close()
			continue
		}
		p.work.Go(func() { p.carry(in) })
	}
}

func (p *proxy) carry(in net.Conn) {
	defer func() {
		p.mu.Lock()
		delete(p.conns, in)
		p.mu.Unlock()
		_ = in.Close()
	}()
	out, err := net.Dial("tcp", p.target.Load().(string))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.conns[out] = true
	p.mu.Unlock()
	var there sync.WaitGroup
	there.Go(func() {
		defer func() { _ = out.Close() }()
		_ = p.copy(out, in, false)
	})
	_ = p.copy(in, out, true)
	_ = in.Close()
	_ = out.Close()
	there.Wait()
	p.mu.Lock()
	delete(p.conns, out)
	p.mu.Unlock()
}

var errCut = errors.New("cut")

func (p *proxy) copy(to io.Writer, from io.Reader, replies bool) error {
	buffer := make([]byte, 64<<10)
	dead := false
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return err
		}
		switch m := mode(p.mode.Load()); {
		case dead:
			continue
		case m == silent || m == swallow && replies:
			dead = true
			continue
		case m == cut && replies:
			return errCut
		case m == cutOnce && replies && p.mode.CompareAndSwap(int32(cutOnce), int32(pass)):
			return errCut
		case m == slow && replies:
			time.Sleep(100 * time.Millisecond)
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
	}
}
