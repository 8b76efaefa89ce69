package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// readers read all sockets in one goroutine, as the kernel says which have something: a goroutine for each would cost a
// second read, which finds nothing, and two switches for a message.
type readers struct {
	crowd *crowd
	epoll int
	mu    sync.Mutex // a listener is whoever opens it's until it is added; epoll is no fence that Go knows
	fds   []int
	quit  *os.File // closing it ends the reading
	other *os.File // its other end
	wait  sync.WaitGroup
}

// quitMark is what epoll gives for the pipe; a listener's number is smaller.
const quitMark = 1 << 30

func (r *readers) start(c *crowd) (err error) {
	r.crowd, r.fds = c, make([]int, len(c.listeners))
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if r.other, r.quit, err = os.Pipe(); err == nil {
		err = r.watch(int(r.other.Fd()), quitMark)
	}
	if err != nil {
		return errors.Join(err, unix.Close(r.epoll))
	}
	r.wait.Go(r.read)
	return nil
}

func (r *readers) watch(fd, mark int) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(mark)})
}

// add begins to read a listener. Its connection is taken from Go's own poller, which would wake for it as well.
func (r *readers) add(i int) error {
	l := &r.crowd.listeners[i]
	f, err := l.conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	_ = l.conn.Close() // f is the connection now
	r.mu.Lock()
	defer r.mu.Unlock()
	l.conn, r.fds[i] = f, int(f.Fd())
	return r.watch(r.fds[i], i)
}

func (r *readers) read() {
	events, buf := make([]unix.EpollEvent, 256), make([]byte, 64<<10)
	for {
		n, err := unix.EpollWait(r.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // what is not heard is counted
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == quitMark {
				return
			}
			r.mu.Lock()
			fd := r.fds[e.Fd]
			r.mu.Unlock()
			if got, err := unix.Read(fd, buf); err == nil && got > 0 {
				r.crowd.listeners[e.Fd].take(buf[:got])
			} else { // the server has closed it
				_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, fd, nil)
			}
		}
	}
}

// pause ends the reading before the sockets are closed.
func (r *readers) pause() {
	if r.quit != nil {
		_ = r.quit.Close()
		r.wait.Wait()
	}
}

func (r *readers) stop() {
	if r.quit != nil {
		_ = r.other.Close()
		_ = unix.Close(r.epoll)
	}
}
