package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// balancer stands before the web processes as it does where there are several: a connection goes to the process that has the
// fewest of those that take it. Clients reach it under a path of their own, /c7 for the eighth, which it takes off, so that
// it knows whose connections there are. It works on connections and not on requests: all requests of one are of one client.
type balancer struct {
	address  string
	listener net.Listener
	webs     []*process
	wait     sync.WaitGroup

	mu     sync.Mutex
	routes map[*route]struct{}
	most   int // connections of one client at once, at any time
	opened int // connections since it was last asked
}

// route is one connection of a client, and the one to a process that it goes on in.
type route struct {
	of          int
	web         *process
	near, there net.Conn
	over        atomic.Bool // its client may know that it has ended
}

func newBalancer(webs []*process) (*balancer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{address: l.Addr().String(), listener: l, webs: webs, routes: map[*route]struct{}{}}
	b.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			b.wait.Go(func() { b.serve(conn) })
		}
	})
	return b, nil
}

// base is the address that a client uses.
func (b *balancer) base(of int) string { return fmt.Sprintf("http://%s/c%d", b.address, of) }

// serve carries one connection to its end.
func (b *balancer) serve(near net.Conn) {
	defer func() { _ = near.Close() }()
	r := bufio.NewReaderSize(near, 8<<10)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return // it has gone
	}
	// "GET /c7/v1/… HTTP/1.1"
	method, path, _ := bytes.Cut(line, []byte(" "))
	var of int
	if n, err := fmt.Sscanf(string(path), "/c%d/", &of); n != 1 {
		_, _ = fmt.Fprintf(near, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n%v", err)
		return
	}
	_, path, _ = bytes.Cut(path[1:], []byte("/"))
	head := fmt.Appendf(nil, "%s /%s", method, path)
	w := b.connect(of, near)
	if w == nil {
		return // as if nobody listened
	}
	defer b.forget(w)
	rest, err := r.Peek(r.Buffered())
	if err == nil {
		_, err = w.there.Write(append(head, rest...))
	}
	if err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { w.pipe(w.there, w.near) })
	both.Go(func() { w.pipe(w.near, w.there) })
	both.Wait()
}

// connect opens the connection to a process, of those that take it the one with the fewest.
func (b *balancer) connect(of int, near net.Conn) *route {
	b.mu.Lock()
	loads := map[*process]int{}
	own := 1
	for w := range b.routes {
		loads[w.web]++
		if w.of == of && !w.over.Load() {
			own++
		}
	}
	b.most = max(b.most, own)
	b.opened++
	w := &route{of: of, near: near}
	tried := map[*process]bool{}
	defer b.mu.Unlock()
	for range b.webs {
		w.web = nil
		for _, p := range b.webs {
			if !tried[p] && (w.web == nil || loads[p] < loads[w.web]) {
				w.web = p
			}
		}
		tried[w.web] = true
		b.routes[w] = struct{}{} // so that the next one counts it
		b.mu.Unlock()
		there, err := net.Dial("tcp", w.web.address)
		b.mu.Lock()
		if err == nil {
			w.there = there
			return w
		}
	}
	delete(b.routes, w)
	return nil
}

// pipe copies until either side ends, then ends both. It does not splice: a pipe of the kernel's for each direction is four more
// files of each connection.
func (w *route) pipe(to, from net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, broke := to.Write(buf[:n]); err == nil {
				err = broke
			}
		}
		if err != nil {
			w.close()
			return
		}
	}
}

func (w *route) close() {
	w.over.Store(true)
	_ = w.near.Close() // either may have ended by itself
	if w.there != nil {
		_ = w.there.Close()
	}
}

func (b *balancer) forget(w *route) {
	w.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.routes, w)
}

// cut ends all connections at once, and says whose they were.
func (b *balancer) cut() map[int]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	whose := map[int]bool{}
	for w := range b.routes {
		whose[w.of] = true
		w.close()
	}
	return whose
}

// on says whose connections go to each process.
func (b *balancer) on() map[*process]map[int]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[*process]map[int]bool{}
	for _, p := range b.webs {
		all[p] = map[int]bool{}
	}
	for w := range b.routes {
		all[w.web][w.of] = true
	}
	return all
}

// open is how many connections there are.
func (b *balancer) open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.routes)
}

// dials are how many connections clients have opened since it was last asked.
func (b *balancer) dials() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.opened
	b.opened = 0
	return n
}

// mostAtOnce is how many connections one client has had at once.
func (b *balancer) mostAtOnce() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.most
}

// close ends everything and waits for it.
func (b *balancer) close() {
	_ = b.listener.Close()
	b.cut()
	b.wait.Wait()
}
