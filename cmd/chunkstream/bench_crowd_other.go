//go:build !linux

package main

import (
	"net"
	"sync"
)

// readers read each socket in a goroutine.
type readers struct {
	crowd *crowd
	wait  sync.WaitGroup
}

func (r *readers) start(c *crowd) error {
	r.crowd = c
	return nil
}

func (r *readers) add(i int) error {
	r.wait.Go(func() {
		l := &r.crowd.listeners[i]
		buf := make([]byte, 4096)
		for {
			n, err := l.conn.(*net.TCPConn).Read(buf)
			if err != nil {
				return // closed by us or by the server; what was not heard is counted
			}
			l.take(buf[:n])
		}
	})
	return nil
}

func (r *readers) pause() {}

// stop waits for the readers, whose sockets have been closed.
func (r *readers) stop() { r.wait.Wait() }
