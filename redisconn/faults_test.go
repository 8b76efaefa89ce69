package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chunkstream/secret"
)

// recovery is how soon after Redis is back a role works again: two seconds, and one for a machine with other work.
const recovery = 3 * time.Second

// opens calls until the breaker is open, and checks what a call then says.
func opens(t *testing.T, c *Commands, class Class) {
	t.Helper()
	eventually(t, 10*time.Second, "the breaker opens", func() error {
		if _, err := c.Incr(t.Context(), "opens"); err == nil {
			return errors.New("a call succeeded")
		} else if got, _ := Classify(err); got != class && got != ClassUnavailable {
			t.Fatalf("got %v, want class %q, then unavailable", err, class)
		}
		if !c.role.openly.Load() {
			return errors.New("closed")
		}
		return nil
	})
	_, err := c.Incr(t.Context(), "opens")
	wants(t, "a call with the breaker open", err, ClassUnavailable, true)
	if got := Cause(err); got != class {
		t.Errorf("the cause of a call that was not tried is %q, want %q", got, class)
	}
	if c.Stats().Up {
		t.Error("the role says that it is up while its breaker is open")
	}
}

// recovers waits until a Conns works again, each role.
func recovers(t *testing.T, conns *Conns) {
	t.Helper()
	start := time.Now()
	eventually(t, recovery, "Commands works again", func() error {
		_, err := conns.Commands.Incr(t.Context(), "recovers")
		return err
	})
	eventually(t, recovery-time.Since(start), "Blocking works again", func() error {
		_, _, _, err := conns.Blocking.BLPop(t.Context(), time.Millisecond, "list")
		return err
	})
	eventually(t, time.Second, "Commands is up", func() error {
		if !conns.Commands.Stats().Up {
			return fmt.Errorf("%+v", conns.Commands.Stats())
		}
		return nil
	})
}

func faulty(t *testing.T) (*server, *proxy, *Conns) {
	s := redis(t)
	p := through(t, s.address())
	conns := open(t, Config{URL: p.url(), Connections: 1}) // one, so that a test meets the connection that it broke
	up(t, conns.Commands)
	if _, _, _, err := conns.Blocking.BLPop(t.Context(), time.Millisecond, "list"); err != nil {
		t.Fatal(err)
	}
	return s, p, conns
}

func TestSwallowedReplies(t *testing.T) {
	t.Parallel()
	s, p, conns := faulty(t)
	c := conns.Commands
	p.set(swallow)
	_, err := c.Incr(t.Context(), "once")
	wants(t, "a write without a reply", err, ClassTimeout, false)
	_, _, err = c.Get(t.Context(), "once")
	wants(t, "a read without a reply", err, ClassTimeout, true)
	_, err = c.Set(t.Context(), "set", "1", 0)
	wants(t, "a write that may be repeated", err, ClassTimeout, true)
	_, err = conns.Blocking.XReadGroup(short(t, 100*time.Millisecond), "g", "c", "s", 1, MaxBlock)
	wants(t, "a wait whose caller had less time", err, ClassTimeout, false)
	opens(t, c, ClassTimeout)
	p.set(pass)
	recovers(t, conns)
	if got := s.do("GET", "once"); got != "1" {
		t.Errorf("a write without a reply was carried out %s times, want 1", got)
	}
}

func TestExecutedThenDropped(t *testing.T) {
	t.Parallel()
	s, p, conns := faulty(t)
	c := conns.Commands
	p.set(cut)
	_, err := c.Incr(t.Context(), "once")
	wants(t, "a write whose reply was cut off", err, ClassUnavailable, false)
	script := NewScript("-- KEYS[1] k\n-- ARGV none\n-- returns 1\n-- repeat safe\nreturn 1")
	_, err = c.Run(t.Context(), script, []string{"k"})
	if _, safe := Classify(err); err == nil || !safe {
		t.Errorf("a script that may be repeated: got %v, want an error that says so", err)
	}
	p.set(pass)
	recovers(t, conns)
	if got := s.do("GET", "once"); got != "1" {
		t.Errorf("a write whose reply was cut off was carried out %s times, want 1", got)
	}
	for range 20 { // one of the shared connections is cut at a time
		p.set(cutOnce)
		if v, _, err := c.Get(t.Context(), "once"); v != "1" || err != nil {
			t.Errorf("a read whose connection was cut off once: got %q, %v", v, err)
		}
		p.set(pass)
	}
	if n := c.Stats().Retries; n == 0 {
		t.Error("no read was tried again")
	}
	const writes = 20
	for range writes { // a second attempt would find a way
		p.set(cutOnce)
		_, _ = c.Incr(t.Context(), "often") // that it may fail is said above
		p.set(pass)
	}
	if got, err := strconv.Atoi(s.do("GET", "often")); err != nil || got < 1 || got > writes {
		t.Errorf("%d writes, each cut off once, were carried out %d times, %v", writes, got, err)
	}
	recovers(t, conns)
	if _, _, err := transact(t, c); err != nil {
		t.Fatal(err)
	}
	p.set(cut)
	_, _, err = transact(t, c)
	if _, safe := Classify(err); err == nil || safe && s.do("GET", "tx") != "1" {
		t.Errorf("a transaction cut off: got %v, and the sum is %s", err, s.do("GET", "tx"))
	}
	p.set(pass)
}

func transact(t *testing.T, c *Commands) ([]Reply, bool, error) {
	replies, err := c.Transaction(t.Context(), []string{"tx"}, func(_ context.Context, tx *Tx) error {
		tx.Incr("tx")
		return nil
	})
	return replies, err == nil, err
}

func TestSilent(t *testing.T) {
	t.Parallel()
	_, p, conns := faulty(t)
	h := running(t, conns.Feed)
	eventually(t, 5*time.Second, "the Feed listens", h.has(1))
	p.set(silent)
	start := time.Now()
	_, err := conns.Commands.Incr(t.Context(), "n")
	wants(t, "a call", err, ClassTimeout, false)
	if d := time.Since(start); d > 4*DefaultCommandTimeout {
		t.Errorf("it took %v, budget %v", d, DefaultCommandTimeout)
	}
	opens(t, conns.Commands, ClassTimeout)
	eventually(t, 10*time.Second, "the Feed notices", func() error {
		if conns.Feed.State().Connected {
			return errors.New("connected")
		}
		return nil
	})
	p.set(pass)
	recovers(t, conns)
	eventually(t, recovery, "the Feed listens again, and says that there was a gap", h.has(2))
}

func TestSlow(t *testing.T) {
	t.Parallel()
	_, p, conns := faulty(t)
	p.set(slow)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := conns.Commands.Incr(t.Context(), "n"); err != nil {
				if class, _ := Classify(err); class != ClassTimeout && class != ClassUnavailable {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	wg.Wait()
	p.set(pass)
	recovers(t, conns)
}

func TestPaused(t *testing.T) {
	t.Parallel()
	s, _, conns := faulty(t)
	s.signal(syscall.SIGSTOP)
	_, err := conns.Commands.Incr(t.Context(), "n")
	wants(t, "a call", err, ClassTimeout, false)
	opens(t, conns.Commands, ClassTimeout)
	_, _, err = conns.Commands.GetBig(t.Context(), "n")
	wants(t, "a big read", err, ClassTimeout, true)
	s.signal(syscall.SIGCONT)
	recovers(t, conns)
}

func TestDownAtStartThenRestartedEmpty(t *testing.T) {
	t.Parallel()
	s := &server{t: t, port: freePort(t)}
	t.Cleanup(s.kill)
	logger, lines := logged()
	conns := open(t, Config{URL: s.url(), Logger: logger})
	h := running(t, conns.Feed)
	c := conns.Commands
	_, err := c.Incr(WithOperation(t.Context(), "op_1"), "n")
	wants(t, "a call with Redis down", err, ClassUnavailable, true)
	wants(t, "Subscribe with Redis down", conns.Feed.Subscribe(t.Context(), "news"), ClassUnavailable, true)
	_, _, _, err = conns.Blocking.BLPop(t.Context(), MaxBlock, "list")
	wants(t, "a wait with Redis down", err, ClassUnavailable, true)
	s.start()
	recovers(t, conns)
	eventually(t, recovery, "the Feed listens", h.has(1))
	must[bool](t)(c.Set(t.Context(), "k", "v", 0))
	must[bool](t)(conns.Blocking.CreateGroup(t.Context(), "wake", "workers", "0", time.Hour))
	must[int64](t)(c.HSet(t.Context(), "h", map[string]string{"a": "b"}, time.Minute))

	s.kill()
	opens(t, c, ClassUnavailable)
	s.start()
	recovers(t, conns)
	eventually(t, recovery, "the Feed listens again, and says that there was a gap", h.has(2))
	if _, found, err := c.Get(t.Context(), "k"); found || err != nil {
		t.Errorf("Get from an emptied Redis: got %v, %v, want nothing found", found, err)
	}
	must[int64](t)(c.HSet(t.Context(), "h", map[string]string{"a": "b"}, time.Minute)) // the script is unknown again
	_, err = conns.Blocking.XReadGroup(t.Context(), "workers", "w", "wake", 1, time.Millisecond)
	wants(t, "a group that is gone", err, ClassNoGroup, true)
	if n := must[int64](t)(c.Publish(t.Context(), "news", "1")); n != 1 {
		t.Errorf("%d listeners after the restart, want 1", n)
	}
	if got := lines(); !strings.Contains(got, "role=commands") || !strings.Contains(got, "class=unavailable") ||
		!strings.Contains(got, "latency=") || !strings.Contains(got, "operation=op_1 attempt=1") || !strings.Contains(got, "role=feed") {
		t.Errorf("the log lacks what it promises:\n%s", got)
	} else if n := strings.Count(got, "\n"); n > 12 {
		t.Errorf("%d log lines, want one per role and class:\n%s", n, got)
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	s, _, conns := faulty(t)
	c := conns.Commands
	must[bool](t)(c.Set(t.Context(), "k", "v", 0))
	s.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	s.do("CONFIG", "SET", "maxmemory", "1")
	for range 2 * BreakerFailures {
		_, err := c.Set(t.Context(), "other", "v", 0)
		wants(t, "a write to a full Redis", err, ClassFull, true)
		_, err = c.HSet(t.Context(), "h", map[string]string{"a": "b"}, time.Minute)
		wants(t, "a script that writes to a full Redis", err, ClassFull, true)
	}
	if v, _, err := c.Get(t.Context(), "k"); v != "v" || err != nil {
		t.Errorf("a read from a full Redis: got %q, %v", v, err)
	}
	if st := c.Stats(); !st.Up || st.Opened != 0 || st.Errors[ClassFull] == 0 {
		t.Errorf("a full Redis is not an absent one: %+v", st)
	}
	s.do("CONFIG", "SET", "maxmemory", "0")
	must[bool](t)(c.Set(t.Context(), "other", "v", 0))
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	s, _, conns := faulty(t)
	c := conns.Commands
	must[bool](t)(c.Set(t.Context(), "k", "v", 0))
	s.do("REPLICAOF", "127.0.0.1", freePort(t))
	for range 2 * BreakerFailures {
		_, err := c.Incr(t.Context(), "n")
		wants(t, "a write to a replica", err, ClassReadOnly, true)
	}
	if v, _, err := c.Get(t.Context(), "k"); v != "v" || err != nil {
		t.Errorf("a read from a replica: got %q, %v", v, err)
	}
	s.do("REPLICAOF", "NO", "ONE")
	recovers(t, conns)
}

// TestDemoted: the address leads to another master from now on, but the old one, now a replica, keeps its connections.
func TestDemoted(t *testing.T) {
	t.Parallel()
	s, p, conns := faulty(t)
	other := redis(t)
	p.target.Store(other.address())
	s.do("REPLICAOF", "127.0.0.1", other.port)
	recovers(t, conns)
	if other.do("GET", "recovers") == "" {
		t.Error("the write did not reach the new master")
	}
}

func TestLoading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := redis(t, "--dir", dir)
	s.do("DEBUG", "POPULATE", "3000", "key", "2000")
	s.do("SAVE")
	s.kill()
	s.args = append(s.args, "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
	s.launch()
	conns := open(t, Config{URL: s.url()})
	// The first probe may come before the port is open.
	eventually(t, 10*time.Second, "a call meets Redis loading", func() error {
		_, err := conns.Commands.Incr(t.Context(), "n")
		if class, safe := Classify(err); class != ClassUnavailable && class != ClassLoading || !safe {
			t.Fatalf("got %v", err)
		} else if !strings.Contains(err.Error(), "LOADING") {
			return err
		}
		return nil
	})
	_, err := conns.Commands.Incr(t.Context(), "n")
	if class, safe := Classify(err); err == nil || !safe || class != ClassLoading && class != ClassUnavailable {
		t.Errorf("a call while Redis is loading: got %v", err)
	}
	s.wait()
	eventually(t, 20*time.Second, "Redis has loaded", func() error {
		if info := s.do("INFO", "persistence"); !strings.Contains(info, "loading:0") {
			return errors.New("loading")
		}
		return nil
	})
	recovers(t, conns)
	if conns.Commands.Stats().Errors[ClassLoading] == 0 {
		t.Error("no call was counted as loading")
	}
}

func TestOverTheClientLimit(t *testing.T) {
	t.Parallel()
	s := redis(t, "--maxclients", "4")
	var hogs []net.Conn
	hog := func() error {
		c, err := net.Dial("tcp", s.address())
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err = c.Write([]byte("PING\r\n")); err == nil {
			reply := make([]byte, 5)
			if _, err = c.Read(reply); err == nil && reply[0] != '+' {
				err = errors.New("refused")
			}
		}
		if err != nil {
			_ = c.Close()
			return err
		}
		hogs = append(hogs, c)
		return nil
	}
	for len(hogs) < 4 {
		eventually(t, 5*time.Second, "a connection", hog)
	}
	conns := open(t, Config{URL: s.url(), Connections: 1})
	eventually(t, 5*time.Second, "a call is refused for the limit", func() error {
		_, err := conns.Commands.Incr(t.Context(), "n")
		if class, _ := Classify(err); class != ClassExhausted && class != ClassUnavailable {
			t.Fatalf("got %v", err)
		} else if !strings.Contains(err.Error(), "max number of clients") {
			return err
		}
		return nil
	})
	_, _, _, err := conns.Blocking.BLPop(t.Context(), time.Millisecond, "list")
	wants(t, "a wait", err, ClassExhausted, true)
	for _, c := range hogs {
		_ = c.Close()
	}
	recovers(t, conns)
}

func TestPasswordRotated(t *testing.T) {
	t.Parallel()
	s := redis(t, "--requirepass", "old-secret")
	s.more = []string{"-a", "old-secret", "--no-auth-warning"}
	logger, lines := logged()
	var password atomic.Value
	password.Store(secret.New("old-secret"))
	conns := open(t, Config{URL: s.url(), Logger: logger, Connections: 1,
		Credentials: func(context.Context) (string, secret.Text, error) { return "", password.Load().(secret.Text), nil }})
	recovers(t, conns)
	s.do("CONFIG", "SET", "requirepass", "new-secret")
	s.more[1] = "new-secret"
	_, err := conns.Commands.Incr(t.Context(), "n")
	if err != nil {
		t.Errorf("a connection that has logged in: got %v", err)
	}
	s.do("CLIENT", "KILL", "TYPE", "normal")
	opens(t, conns.Commands, ClassAuth)
	_, err = conns.Commands.Incr(t.Context(), "n")
	wants(t, "a call with the old password", err, ClassUnavailable, true)
	if !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("got %v, want the cause, WRONGPASS", err)
	}
	_, _, _, err = conns.Blocking.BLPop(t.Context(), time.Millisecond, "list")
	wants(t, "a wait with the old password", err, ClassAuth, true)
	password.Store(secret.New("new-secret"))
	recovers(t, conns)
	if got := lines() + err.Error(); strings.Contains(got, "secret") || !strings.Contains(got, "code=WRONGPASS") {
		t.Errorf("the log holds a secret, or not the cause:\n%s", got)
	}
}

func TestMissingRights(t *testing.T) {
	t.Parallel()
	s := redis(t)
	s.do("ACL", "SETUSER", "app", "on", ">pw", "~*", "&news", "+@all", "-incr", "-ping")
	conns := open(t, Config{URL: secret.New("redis://app:pw@" + s.address())})
	c := conns.Commands
	eventually(t, 5*time.Second, "a user who may not PING is up", func() error {
		if !c.Stats().Up {
			return errors.New("down")
		}
		return nil
	})
	for range 2 * BreakerFailures {
		_, err := c.Incr(t.Context(), "n")
		wants(t, "a command without the right", err, ClassAuth, true)
	}
	must[bool](t)(c.Set(t.Context(), "k", "v", 0))
	if st := c.Stats(); st.Opened != 0 {
		t.Errorf("a missing right opened the breaker: %+v", st)
	}
	s.do("ACL", "SETUSER", "app", "+ping")
	h := running(t, conns.Feed)
	eventually(t, 5*time.Second, "the Feed listens", h.has(1))
	wants(t, "a channel without the right", conns.Feed.Subscribe(t.Context(), "other"), ClassAuth, true)
	if err := conns.Feed.Subscribe(t.Context(), "news"); err != nil {
		t.Error(err)
	}
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, recovery, "the Feed listens again", h.has(2))
	if n := must[int64](t)(c.Publish(t.Context(), "news", "1")); n != 1 {
		t.Errorf("%d listeners to news, want 1: the channel without the right silenced it", n)
	}
}
