package servertest_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"chunkstream/servertest"
)

// echo answers every line with itself.
func echo(t *testing.T) *servertest.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return servertest.StartProxy(t, l.Addr().String())
}

type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *servertest.Proxy) line {
	t.Helper()
	c, err := net.Dial("tcp", p.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return line{c, bufio.NewReader(c)}
}

// say sends a line and gives what comes back.
func (l line) say(text string, within time.Duration) (string, error) {
	if err := l.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(l, text+"\n"); err != nil {
		return "", err
	}
	return l.r.ReadString('\n')
}

const patience = 30 * time.Second

func TestProxyTraps(t *testing.T) {
	t.Parallel()
	for name, drop := range map[string]func(p *servertest.Proxy, mark string, n int){
		"reply": (*servertest.Proxy).DropReply, "request": (*servertest.Proxy).DropRequest, "answer": (*servertest.Proxy).LoseAnswer,
	} {
		p := echo(t)
		c := dial(t, p)
		drop(p, "COMMIT", 1)
		if got, err := c.say("hello", patience); got != "hello\n" {
			t.Errorf("%s: %q, %v for a line without the mark", name, got, err)
		}
		if got, err := c.say("COMMIT", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %q, %v, want an end", name, got, err)
		}
		if n := p.Counts(); n.Trapped != 1 || n.Broken != 1 {
			t.Errorf("%s: %+v", name, n)
		}
		if got, err := dial(t, p).say("COMMIT", patience); got != "COMMIT\n" {
			t.Errorf("%s: %q, %v: once was enough", name, got, err)
		}
	}
}

func TestProxyHalfOpen(t *testing.T) {
	t.Parallel()
	p := echo(t)
	c := dial(t, p)
	if got, err := c.say("hello", patience); err != nil {
		t.Fatal(got, err)
	}
	if n := p.HalfOpen(); n != 1 {
		t.Errorf("%d connections were half open", n)
	}
	if got, err := c.say("hello?", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a half open connection said %q, %v, want silence", got, err)
	}
	if got, err := dial(t, p).say("hello", patience); got != "hello\n" {
		t.Errorf("a new connection said %q, %v", got, err)
	}
	p.Cut()
	if got, err := c.say("hello?", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after Cut: %q, %v, want an end", got, err)
	}
}
