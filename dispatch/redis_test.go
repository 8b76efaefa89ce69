package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/dispatch"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func open(t *testing.T, url string) *redisconn.Conns {
	t.Helper()
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New(url)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conns.Close() })
	return conns
}

// reach gives the roles over a Redis that is there, once it has answered.
func reach(t *testing.T, s *servertest.Redis) *redisconn.Conns {
	t.Helper()
	return answering(t, open(t, s.URL()))
}

// ready is reach through a proxy.
func ready(t *testing.T, p *servertest.Proxy) *redisconn.Conns {
	t.Helper()
	return answering(t, open(t, "redis://"+p.Address))
}

func answering(t *testing.T, conns *redisconn.Conns) *redisconn.Conns {
	t.Helper()
	eventually(t, "connected", func() bool {
		_, err := conns.Commands.Ping(t.Context())
		return err == nil
	})
	return conns
}

// process is one process's wake-ups, running until the test ends.
func process(t *testing.T, conns *redisconn.Conns, c dispatch.RedisConfig, working bool) *dispatch.Redis {
	t.Helper()
	c.Commands = conns.Commands
	if working {
		c.Blocking = conns.Blocking
	}
	r, err := dispatch.NewRedis(c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Run)
	return r
}

func run(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func rings(t *testing.T, what string, bell <-chan struct{}) {
	t.Helper()
	select {
	case <-bell:
	case <-time.After(patience):
		t.Fatalf("%s: the bell does not ring", what)
	}
}

// bells is what the worker and the API see of both kinds.
type bells interface {
	Wake(lane, operationID string)
	Woken(lane string) <-chan struct{}
}

// The contract of wake-ups, whatever carries them.
func TestContract(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) bells{
		"memory": func(*testing.T) bells { return &dispatch.Memory{} },
		"redis": func(t *testing.T) bells {
			return process(t, reach(t, servertest.StartRedis(t)), dispatch.RedisConfig{Free: func() int { return 0 }}, true)
		},
		"redis absent": func(t *testing.T) bells {
			return process(t, openAbsent(t), dispatch.RedisConfig{}, true)
		},
		"redis not running": func(t *testing.T) bells {
			r, err := dispatch.NewRedis(dispatch.RedisConfig{Commands: openAbsent(t).Commands})
			if err != nil {
				t.Fatal(err)
			}
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			small := b.Woken("small")
			start := time.Now()
			var wg sync.WaitGroup
			for n := range 100 {
				wg.Go(func() {
					for i := range 100 {
						b.Wake("small", fmt.Sprintf("op_%d_%d", n, i))
					}
				})
			}
			wg.Wait()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("10000 wake-ups took %v: they block", took)
			}
			select {
			case <-b.Woken("large"):
				t.Error("a wake-up of one lane woke another")
			default:
			}
			select {
			case <-small:
			default:
				t.Error("the wake-up is lost")
			}
			select {
			case <-small:
				t.Error("10000 wake-ups were not merged into one")
			default:
			}
		})
	}
}

func openAbsent(t *testing.T) *redisconn.Conns { return open(t, "redis://"+servertest.FreeAddress(t)) }

// A wake-up of a process that only writes reaches exactly one of those that work, as the documented entry.
func TestBetweenProcesses(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	front := process(t, reach(t, server), dispatch.RedisConfig{}, false)
	workers := []*dispatch.Redis{
		process(t, reach(t, server), dispatch.RedisConfig{}, true),
		process(t, reach(t, server), dispatch.RedisConfig{}, true),
	}
	busy := process(t, reach(t, server), dispatch.RedisConfig{Free: func() int { return 0 }}, true)
	got := make(chan int, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var listening sync.WaitGroup
	defer func() { cancel(); listening.Wait() }()
	for i, w := range workers {
		bell := w.Woken("small")
		listening.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-bell:
					got <- i
				}
			}
		})
	}
	for n := range 20 {
		front.Wake("small", fmt.Sprint("op_", n))
		select {
		case <-got:
		case <-time.After(patience):
			t.Fatalf("wake-up %d reached nobody", n)
		}
	}
	if a, b := workers[0].Stats().Received, workers[1].Stats().Received; a+b != 20 {
		t.Errorf("20 wake-ups were received %d + %d times", a, b)
	}
	if s := busy.Stats(); s.Received != 0 {
		t.Errorf("a process without a free slot took %d wake-ups", s.Received)
	}
	commands := open(t, server.URL()).Commands
	entries, err := commands.XRange(t.Context(), dispatch.Stream, "-", "+", 1)
	if err != nil || len(entries) != 1 || len(entries[0].Fields) != 2 || entries[0].Fields["operation"] != "op_0" ||
		entries[0].Fields["lane"] != "small" {
		t.Errorf("entries: %v, %v", entries, err)
	}
	ttl, _, err := commands.TTL(t.Context(), dispatch.Stream)
	if err != nil || ttl > dispatch.StreamTTL || ttl < dispatch.StreamTTL-time.Minute {
		t.Errorf("the stream lives for %v, %v", ttl, err)
	}
	if answer, err := server.Do("XPENDING", dispatch.Stream, dispatch.Group); err != nil || answer != "*4" {
		t.Errorf("XPENDING: %s, %v", answer, err)
	}
}

// The stream lives for an hour from the newest wake-up on, whether or not anybody has made the group.
func TestLifetime(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	front := process(t, reach(t, server), dispatch.RedisConfig{}, false)
	commands := open(t, server.URL()).Commands
	for n := range int64(2) {
		front.Wake("small", fmt.Sprint("op_", n))
		eventually(t, "written", func() bool { return front.Stats().Written == n+1 })
		ttl, _, err := commands.TTL(t.Context(), dispatch.Stream)
		if err != nil || ttl > dispatch.StreamTTL || ttl < dispatch.StreamTTL-10*time.Minute {
			t.Errorf("after wake-up %d the stream lives for %v, %v", n+1, ttl, err)
		}
		if _, err := commands.Expire(t.Context(), dispatch.Stream, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}

// A slot that gets free takes what has waited; lanes that nobody has asked for make no bells.
func TestFreeSlots(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	front := process(t, reach(t, server), dispatch.RedisConfig{}, false)
	var free atomic.Int64
	worker := process(t, reach(t, server), dispatch.RedisConfig{Free: func() int { return int(free.Load()) }}, true)
	bell := worker.Woken("small")
	for n := range 3 {
		front.Wake("small", fmt.Sprint("op_", n))
		front.Wake(fmt.Sprint("odd_", n), "op_x")
	}
	eventually(t, "written", func() bool { return front.Stats().Written == 6 })
	select {
	case <-bell:
		t.Error("woken without a free slot")
	default:
	}
	free.Store(2)
	rings(t, "after a slot got free", bell)
	eventually(t, "all read", func() bool { return worker.Stats().Received == 6 })
}

// The same wake-up again, while it still waits, is one; beyond the queue it is dropped and counted.
func TestQueue(t *testing.T) {
	t.Parallel()
	r, err := dispatch.NewRedis(dispatch.RedisConfig{Commands: openAbsent(t).Commands, QueueDepth: 10})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for n := range 12 {
			r.Wake("small", fmt.Sprint("op_", n))
		}
	}
	if got := r.Stats().Dropped; got != 6 {
		t.Errorf("%d dropped, want 6", got)
	}
	run(t, r.Run)
	eventually(t, "counted", func() bool { return r.Stats().Dropped == 16 && r.Stats().Failures > 0 })
}

// Whatever happens to Redis, wake-ups go on within two seconds of its coming back, without a restart.
func TestTrouble(t *testing.T) {
	t.Parallel()
	do := func(words ...string) func(*testing.T, *servertest.Redis) {
		return func(t *testing.T, s *servertest.Redis) {
			if answer, err := s.Do(words...); err != nil || strings.HasPrefix(answer, "-") {
				t.Errorf("%s: %s, %v", words, answer, err)
			}
		}
	}
	for name, trouble := range map[string]func(*testing.T, *servertest.Redis){
		"flushall":     do("FLUSHALL"),
		"script flush": do("SCRIPT", "FLUSH"),
		"no group":     do("XGROUP", "DESTROY", dispatch.Stream, dispatch.Group),
		"client kill":  do("CLIENT", "KILL", "TYPE", "normal"),
		"kill":         func(_ *testing.T, s *servertest.Redis) { s.Kill(); s.Start() },
		"wrong type": func(t *testing.T, s *servertest.Redis) {
			do("DEL", dispatch.Stream)(t, s)
			do("SET", dispatch.Stream, "x")(t, s)
			eventually(t, "Redis has taken it", func() bool { _, err := s.Do("PING"); return err == nil })
			do("DEL", dispatch.Stream)(t, s)
		},
		"full": func(t *testing.T, s *servertest.Redis) {
			do("CONFIG", "SET", "maxmemory", "1")(t, s)
			do("CONFIG", "SET", "maxmemory", "0")(t, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.StartRedis(t)
			front := process(t, reach(t, server), dispatch.RedisConfig{}, false)
			worker := process(t, reach(t, server), dispatch.RedisConfig{}, true)
			bell := worker.Woken("small")
			// Any one may be lost, and they are not waited for.
			wake := func(what string) {
				t.Helper()
				begin := time.Now()
				for n := 0; ; n++ {
					start := time.Now()
					front.Wake("small", fmt.Sprint("op_", n))
					if took := time.Since(start); took > 100*time.Millisecond {
						t.Errorf("Wake took %v", took)
					}
					select {
					case <-bell:
						return
					case <-time.After(50 * time.Millisecond):
					}
					if time.Since(begin) > patience {
						t.Fatalf("%s: no wake-up arrives: %+v, %+v", what, front.Stats(), worker.Stats())
					}
				}
			}
			wake("before")
			trouble(t, server)
			back := time.Now()
			wake("after")
			if took := time.Since(back); took > 3*time.Second {
				t.Errorf("back after %v", took)
			}
			commands := open(t, server.URL()).Commands
			eventually(t, "a stream with a time to live", func() bool {
				ttl, found, err := commands.TTL(t.Context(), dispatch.Stream)
				return err == nil && found && ttl > 0
			})
		})
	}
}

func TestNewRedisRefuses(t *testing.T) {
	t.Parallel()
	conns := openAbsent(t)
	for _, c := range []dispatch.RedisConfig{
		{}, {Commands: &redisconn.Commands{}}, {Commands: conns.Commands, Blocking: &redisconn.Blocking{}},
	} {
		if _, err := dispatch.NewRedis(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
