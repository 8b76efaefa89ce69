package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"chunkstream/secret"
	"chunkstream/servertest"
)

// oneCall is one of the package's calls to Redis, by the functions that make it; the module's test of call sites wants each
// here.
type oneCall struct {
	site string // function: what it calls
	mark string // what only its request holds
	stat string // Redis's name for what it runs
	do   func(ctx context.Context, c *Conns) error
	read bool // is tried once more when its answer was lost
	safe bool // may be repeated
	idle bool // nobody needs its answer
}

func none[T any](_ T, err error) error { return err }

var probe = NewScript("-- KEYS[1] a key\n-- ARGV[1] a number\n-- returns 1\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])\n")

var repeatable = NewScript("-- KEYS[1] a key\n-- ARGV none\n-- returns 1\n-- repeat safe\nredis.call('SET', KEYS[1], 'x', 'EX', 60)\nreturn 1\n")

// transaction does one of a Tx's reads, then keeps a command.
func transaction(read func(ctx context.Context, tx *Tx) error) func(context.Context, *Conns) error {
	return func(ctx context.Context, c *Conns) error {
		_, err := c.Commands.Transaction(ctx, []string{"watched"}, func(ctx context.Context, tx *Tx) error {
			if err := read(ctx, tx); err != nil {
				return err
			}
			tx.Set("kept", "v", time.Minute)
			return nil
		})
		return err
	}
}

var theCalls = []oneCall{
	{"Get: Commands.get", "asked-get", "get", func(ctx context.Context, c *Conns) error { _, _, err := c.Commands.Get(ctx, "asked-get"); return err }, true, true, false},
	{"GetBig: Commands.get", "asked-big", "get", func(ctx context.Context, c *Conns) error {
		_, _, err := c.Commands.GetBig(ctx, "asked-big")
		return err
	}, true, true, false},
	{"Set: Commands.do", "asked-set", "set", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.Set(ctx, "asked-set", "v", time.Minute))
	}, false, true, false},
	{"SetNX: Commands.do", "asked-nx", "set", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.SetNX(ctx, "asked-nx", "v", time.Minute))
	}, false, false, false},
	{"Del: Commands.number", "asked-del", "del", func(ctx context.Context, c *Conns) error { return none(c.Commands.Del(ctx, "asked-del")) }, false, true, false},
	{"Exists: Commands.number", "asked-exists", "exists", func(ctx context.Context, c *Conns) error { return none(c.Commands.Exists(ctx, "asked-exists")) }, true, true, false},
	{"Expire: Commands.number", "asked-expire", "pexpire", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.Expire(ctx, "asked-expire", time.Minute))
	}, false, true, false},
	{"TTL: Commands.number", "asked-ttl", "pttl", func(ctx context.Context, c *Conns) error { _, _, err := c.Commands.TTL(ctx, "asked-ttl"); return err }, true, true, false},
	{"HSet: Commands.Run", "asked-hset", "evalsha", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.HSet(ctx, "asked-hset", map[string]string{"f": "v"}, time.Minute))
	}, false, true, false},
	{"HGetAll: Commands.do", "asked-hgetall", "hgetall", func(ctx context.Context, c *Conns) error { return none(c.Commands.HGetAll(ctx, "asked-hgetall")) }, true, true, false},
	{"Incr: Commands.number", "asked-incr", "incr", func(ctx context.Context, c *Conns) error { return none(c.Commands.Incr(ctx, "asked-incr")) }, false, false, false},
	{"XAdd: Commands.text", "asked-xadd", "xadd", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.XAdd(ctx, "asked-xadd", "", 10, map[string]string{"f": "v"}))
	}, false, false, false},
	{"XRange: Commands.do", "asked-xrange", "xrange", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.XRange(ctx, "asked-xrange", "-", "+", 10))
	}, true, true, false},
	{"XLen: Commands.number", "asked-xlen", "xlen", func(ctx context.Context, c *Conns) error { return none(c.Commands.XLen(ctx, "asked-xlen")) }, true, true, false},
	{"Publish: Commands.number", "asked-publish", "publish", func(ctx context.Context, c *Conns) error { return none(c.Commands.Publish(ctx, "asked-publish", "m")) }, false, false, false},
	{"Ping: Commands.do", "PING", "ping", func(ctx context.Context, c *Conns) error { return none(c.Commands.Ping(ctx)) }, true, true, false},
	{"Info: Commands.text", "asked-info", "info", func(ctx context.Context, c *Conns) error { return none(c.Commands.Info(ctx, "asked-info")) }, true, true, false},
	{"Time: Commands.do", "TIME", "time", func(ctx context.Context, c *Conns) error { return none(c.Commands.Time(ctx)) }, true, true, false},
	{"WhoAmI: Commands.text", "WHOAMI", "acl|whoami", func(ctx context.Context, c *Conns) error { return none(c.Commands.WhoAmI(ctx)) }, true, true, false},
	{"DryRun: Commands.text", "DRYRUN", "acl|dryrun", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.DryRun(ctx, "default", "PING"))
	}, true, true, false},
	{"Run: Commands.do", probe.digest, "evalsha", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.Run(ctx, probe, []string{"asked-run"}, "1"))
	}, false, false, false},
	{"Run: Commands.do, in full", "INCRBY", "eval", func(ctx context.Context, c *Conns) error {
		q := query{name: "EVAL", before: []string{probe.source, "1"}, keys: []string{"asked-eval"}, after: []string{"1"}}
		return none(c.Commands.do(ctx, q)) // what Run sends after the digest alone was not known
	}, false, false, false},
	{"Run: Commands.do, a repeatable script", repeatable.digest, "evalsha", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.Run(ctx, repeatable, []string{"asked-safe"}))
	}, false, true, false},
	{"XReadGroup: Blocking.entries", "asked-group", "xreadgroup", func(ctx context.Context, c *Conns) error {
		_, err := c.Blocking.XReadGroup(ctx, "g", "c", "asked-group", 1, time.Millisecond)
		if class, _ := Classify(err); class == ClassNoGroup {
			err = none(c.Blocking.CreateGroup(ctx, "asked-group", "g", "0", time.Minute))
		}
		return err
	}, false, false, false},
	{"XRead: Blocking.entries", "asked-xread", "xread", func(ctx context.Context, c *Conns) error {
		return none(c.Blocking.XRead(ctx, "asked-xread", "$", 1, time.Millisecond))
	}, true, true, false},
	{"BLPop: Blocking.do", "asked-blpop", "blpop", func(ctx context.Context, c *Conns) error {
		_, _, _, err := c.Blocking.BLPop(ctx, time.Millisecond, "asked-blpop")
		return err
	}, false, false, false},
	{"CreateGroup: Blocking.do", "asked-create", "eval", func(ctx context.Context, c *Conns) error {
		return none(c.Blocking.CreateGroup(ctx, "asked-create", "g", "0", time.Minute))
	}, false, true, false},
	{"Get: Tx.now", "tx-get", "get", transaction(func(ctx context.Context, tx *Tx) error { _, _, err := tx.Get(ctx, "tx-get"); return err }), false, true, false},
	{"HGetAll: Tx.now", "tx-hgetall", "hgetall", transaction(func(ctx context.Context, tx *Tx) error { return none(tx.HGetAll(ctx, "tx-hgetall")) }), false, true, false},
	{"Exists: Tx.now", "tx-exists", "exists", transaction(func(ctx context.Context, tx *Tx) error { return none(tx.Exists(ctx, "tx-exists")) }), false, true, false},
	{"attempt: Tx.now", "WATCH", "watch", transaction(func(context.Context, *Tx) error { return nil }), false, true, false},
	{"attempt: Tx.now #2", "UNWATCH", "unwatch", func(ctx context.Context, c *Conns) error {
		return none(c.Commands.Transaction(ctx, []string{"watched"}, func(context.Context, *Tx) error { return nil }))
	}, false, true, true},
	{"attempt: Tx.exec", "EXEC", "exec", transaction(func(context.Context, *Tx) error { return nil }), false, false, false},
}

// runs is how often Redis has carried out a command since the last reset.
func runs(t *testing.T, s *server, stat string) int {
	t.Helper()
	for line := range strings.Lines(s.do("INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+stat+":calls="); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// TestCalls: each call fails, before Redis has it and after it was carried out, once and for ever. A read is tried once more;
// a write is never sent twice, and says whether it may be; all go on once Redis does, and nothing is left of a failure.
func TestCalls(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for _, ever := range []bool{false, true} {
			t.Run(fmt.Sprintf("after %v, for ever %v", after, ever), func(t *testing.T) {
				t.Parallel()
				s := redis(t)
				for _, call := range theCalls {
					failOne(t, s, call, after, ever)
				}
				if out := s.do("EVAL", `local all = {}
for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', k) < 0 then all[#all + 1] = k end end return all`, "0"); !onlyThese(out, "asked-eval", "asked-incr", "asked-run", "asked-xadd") {
					t.Errorf("without a time to live, besides those that were asked for so: %s", out)
				}
			})
		}
	}
}

func onlyThese(out string, known ...string) bool {
	for _, key := range strings.Fields(out) {
		found := false
		for _, k := range known {
			found = found || k == key
		}
		if !found {
			return false
		}
	}
	return true
}

func failOne(t *testing.T, s *server, call oneCall, after, ever bool) {
	t.Helper()
	p := servertest.StartProxy(t, s.address())
	conns, err := Open(t.Context(), Config{URL: secret.New("redis://" + p.Address), ClientName: "k", CommandTimeout: 10 * time.Second, BigTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	up(t, conns.Commands)
	eventually(t, 30*time.Second, call.site+", before anything fails", func() error { return call.do(t.Context(), conns) })
	s.do("CONFIG", "RESETSTAT")
	n := 1
	if ever {
		n = 1 << 30
	}
	fail := p.DropRequest
	if after {
		fail = p.LoseAnswer
	}
	fail(call.mark, n)
	err = call.do(t.Context(), conns)
	trapped := p.Counts().Trapped
	fail("", 0)
	if trapped == 0 {
		t.Errorf("%s was not among what was sent", call.site)
	}
	if call.mark != "PING" { // which probes too
		want := 0
		switch {
		case after && call.read:
			want = 2 // the first time, and once more
		case after, !ever && call.read:
			want = 1
		}
		// What was sent on a connection that has ended is still carried out.
		eventually(t, 30*time.Second, call.site+", what Redis has carried out", func() error {
			if got := runs(t, s, call.stat); got != want {
				return fmt.Errorf("%d times, want %d", got, want)
			}
			return nil
		})
	}
	if call.idle {
		if err != nil {
			t.Errorf("%s: %v", call.site, err)
		}
	} else if call.read && !ever {
		if err != nil {
			t.Errorf("%s, once: %v, want it to be tried again", call.site, err)
		}
	} else if call.mark != "PING" || ever {
		var typed *Error
		if !errors.As(err, &typed) || typed.Class != ClassUnavailable || typed.SafeToRepeat != call.safe {
			t.Errorf("%s: got %v, want %s, safe to repeat %v", call.site, err, ClassUnavailable, call.safe)
		}
	}
	eventually(t, 30*time.Second, call.site+", once Redis is whole", func() error { return call.do(t.Context(), conns) })
	if err := conns.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, call.site+", connections", func() error {
		if left := s.named(); len(left) > 0 {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
}

// TestFeedCalls is TestCalls for the subscription: what is wanted is listened to once Redis lets it, and a gap is reported
// for the time between.
func TestFeedCalls(t *testing.T) {
	t.Parallel()
	s := redis(t)
	s.do("ACL", "SETUSER", "u", "on", ">pw", "+@all", "resetchannels", "&old", "&new")
	for _, call := range []struct{ site, mark string }{
		{"listen: Client.Do", "PING"},
		{"listenToAll: Feed.send", "SUBSCRIBE"},
		// One by one, for want of a right to one of them.
		{"listenToAll: Feed.send #2", "*2\r\n$9\r\nSUBSCRIBE\r\n$3\r\nold\r\n"},
		{"change: Feed.send, subscribing", "$3\r\nnew\r\n"},
		{"change: Feed.send, unsubscribing", "UNSUBSCRIBE"},
	} {
		for _, after := range []bool{false, true} {
			for _, ever := range []bool{false, true} {
				name := fmt.Sprintf("%s, after %v, for ever %v", call.site, after, ever)
				p := servertest.StartProxy(t, s.address())
				conns, err := Open(t.Context(), Config{URL: secret.New("redis://u:pw@" + p.Address), ClientName: "k"})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				got, gaps, ended := make(chan string, 1000), make(chan struct{}, 1000), make(chan error, 1)
				fails, n := p.DropRequest, 1
				if after {
					fails = p.LoseAnswer
				}
				if ever {
					n = 1 << 30
				}
				if strings.HasPrefix(call.site, "listen") {
					fails(call.mark, n)
				}
				if strings.HasSuffix(call.site, "#2") {
					_ = conns.Feed.Subscribe(ctx, "another")
				}
				_ = conns.Feed.Subscribe(ctx, "old") // noted: there is no connection yet
				go func() {
					ended <- conns.Feed.Run(ctx, FeedHandler{Message: func(channel, _ string) { got <- channel }, Gap: func() { gaps <- struct{}{} }})
				}()
				trapped := func() {
					eventually(t, 30*time.Second, name+": it is sent", func() error {
						if p.Counts().Trapped == 0 {
							return errors.New("nothing was lost")
						}
						return nil
					})
				}
				switch call.site {
				case "listen: Client.Do", "listenToAll: Feed.send", "listenToAll: Feed.send #2":
					trapped()
				default:
					<-gaps
					fails(call.mark, n)
					change := conns.Feed.Subscribe
					if call.mark == "UNSUBSCRIBE" {
						change = conns.Feed.Unsubscribe
					}
					channel := "new"
					if call.mark == "UNSUBSCRIBE" {
						channel = "old"
					}
					err := change(ctx, channel)
					if class, safe := Classify(err); class != ClassUnavailable || !safe {
						t.Errorf("%s: %v", name, err)
					}
					trapped()
				}
				fails("", 0)
				<-gaps
				want := "old"
				if call.site == "change: Feed.send, subscribing" {
					want = "new"
				}
				if call.mark == "UNSUBSCRIBE" {
					eventually(t, 30*time.Second, name+": it is not listened to", func() error {
						if out := s.do("PUBSUB", "NUMSUB", "old"); !strings.HasSuffix(out, "\n0") {
							return errors.New(out)
						}
						return nil
					})
				} else {
					s.do("PUBLISH", want, "m")
					select {
					case channel := <-got:
						if channel != want {
							t.Errorf("%s: a message of %s", name, channel)
						}
					case <-time.After(30 * time.Second):
						t.Errorf("%s: a message that was published after the gap did not come", name)
					}
				}
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("%s: Run: %v", name, err)
				}
				if err := conns.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
