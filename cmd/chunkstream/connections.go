package main

import (
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// keptFiles is how many of the files that a process may open are kept from connections: some thirty of its own, three of each of
// SQLite's ten connections or a pool of Postgres's, those of Redis's roles and of webhooks, and eight for a child that starts.
const keptFiles = 160

// mostConnections is how many connections may be open at once where so many files may be: no more than four fifths of them,
// and half of them where they are few.
func mostConnections(files uint64) int {
	files = min(files, 1<<20)
	if files < 2*keptFiles {
		return int(max(files/2, 1))
	}
	return int(min(files*4/5, files-keptFiles))
}

// bounded accepts no more connections than may be open at once. Those beyond wait in the system's backlog, as they would with no
// file left for them, but what the process needs besides has its files.
type bounded struct {
	*net.TCPListener
	slots  chan struct{}
	closed chan struct{}
	close  func()
}

// listen listens for as many connections as the process may have open beside its other files, and registers how many are.
func listen(address string, registry prometheus.Registerer) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	files, err := openFiles()
	if err != nil {
		return l, nil // a system without such a limit
	}
	most := mostConnections(files)
	b := &bounded{TCPListener: l.(*net.TCPListener), slots: make(chan struct{}, most), closed: make(chan struct{})}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chunkstream_connections", Help: "Open connections of clients, WebSockets among them."},
			func() float64 { return float64(len(b.slots)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chunkstream_connections_limit", Help: "Connections that may be open at once, of the files that the process may open."},
			func() float64 { return float64(most) }))
	return b, nil
}

// Accept waits until there is a place for one more.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.AcceptTCP()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &placed{TCPConn: c, leave: sync.OnceFunc(func() { <-b.slots })}, nil
}

// Close also ends an Accept that waits for a place.
func (b *bounded) Close() error {
	b.close()
	return b.TCPListener.Close()
}

// placed is a connection that has a place until it is closed. It can be half closed, and written to at once from many buffers, as what
// is in it.
type placed struct {
	*net.TCPConn
	leave func()
}

func (p *placed) Close() error {
	defer p.leave()
	return p.TCPConn.Close()
}
