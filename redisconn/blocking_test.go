package redisconn

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestBlocking(t *testing.T) {
	s := redis(t)
	conns := open(t, Config{URL: s.url()})
	c, b, ctx := conns.Commands, conns.Blocking, t.Context()
	up(t, c)
	_, err := b.XReadGroup(ctx, "workers", "w1", "wake", 10, time.Millisecond)
	wants(t, "a group that is not there", err, ClassNoGroup, true)
	must[string](t)(c.XAdd(ctx, "wake", "", 100, map[string]string{"id": "a"}))
	if !must[bool](t)(b.CreateGroup(ctx, "wake", "workers", "0", time.Hour)) {
		t.Error("CreateGroup: got false for a new one")
	}
	if must[bool](t)(b.CreateGroup(ctx, "wake", "workers", "0", time.Hour)) {
		t.Error("CreateGroup: got true for one that was there")
	}
	if ttl, _, _ := c.TTL(ctx, "wake"); ttl == 0 {
		t.Error("CreateGroup left a stream without a time to live")
	}
	got := must[[]Entry](t)(b.XReadGroup(ctx, "workers", "w1", "wake", 10, time.Second))
	if len(got) != 1 || got[0].Fields["id"] != "a" {
		t.Errorf("XReadGroup: got %v", got)
	}
	if got := must[[]Entry](t)(b.XReadGroup(ctx, "workers", "w1", "wake", 10, time.Millisecond)); got != nil {
		t.Errorf("XReadGroup of nothing new: got %v", got)
	}
	if all := must[[]Entry](t)(b.XRead(ctx, "wake", "0", 10, time.Millisecond)); len(all) != 1 {
		t.Errorf("XRead: got %v", all)
	}
	if _, _, found, err := b.BLPop(ctx, time.Millisecond, "list"); found || err != nil {
		t.Errorf("BLPop of nothing: got %v, %v", found, err)
	}
	s.do("RPUSH", "list", "x")
	if k, v, found, err := b.BLPop(ctx, time.Second, "none", "list"); k != "list" || v != "x" || !found || err != nil {
		t.Errorf("BLPop: got %q %q %v %v", k, v, found, err)
	}
	if n := s.named()["chunkstream-blocking"]; n != 1 {
		t.Errorf("calls one after the other used %d connections, want 1", n)
	}
}

// TestBlockingReturnsWhenCancelled: within 100 ms, whatever the wait.
func TestBlockingReturnsWhenCancelled(t *testing.T) {
	s := redis(t)
	b := open(t, Config{URL: s.url()}).Blocking
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		var late time.Duration
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { _, _, _, err = b.BLPop(ctx, time.Hour, "list") })
		eventually(t, 5*time.Second, "Redis holds the call", func() error { return holds(s, 1) })
		start := time.Now()
		cancel()
		wg.Wait()
		late = time.Since(start)
		wants(t, "a cancelled wait", err, ClassCanceled, false)
		if late > 100*time.Millisecond {
			t.Errorf("returned %v after the cancel", late)
		}
		eventually(t, 5*time.Second, "Redis has let go", func() error { return holds(s, 0) })
	}
}

func holds(s *server, want int) error {
	var n int
	info := s.do("INFO", "clients")
	for _, line := range splitLines(info) {
		_, _ = fmt.Sscanf(line, "blocked_clients:%d", &n)
	}
	if n != want {
		return fmt.Errorf("%d blocked clients, want %d", n, want)
	}
	return nil
}

// TestBlockingEndsWithinMaxBlock: a wait without end is cut, so Close and a lost cancel cost at most MaxBlock.
func TestBlockingEndsWithinMaxBlock(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{0: time.Millisecond, -1: time.Millisecond,
		time.Second: time.Second, time.Hour: MaxBlock} {
		if got := wait(in); got != want {
			t.Errorf("wait(%v): got %v, want %v", in, got, want)
		}
	}
}

func TestBlockingExhausted(t *testing.T) {
	s := redis(t)
	b := open(t, Config{URL: s.url(), BlockingConnections: 2, AcquireTimeout: -1}).Blocking
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { _, _, _, _ = b.BLPop(ctx, MaxBlock, "list") })
	}
	eventually(t, 5*time.Second, "both connections wait", func() error { return holds(s, 2) })
	_, _, _, err := b.BLPop(t.Context(), MaxBlock, "list")
	wants(t, "a third call", err, ClassExhausted, true)
	cancel()
	wg.Wait()
	s.do("RPUSH", "list", "x")
	if _, v, _, err := b.BLPop(t.Context(), MaxBlock, "list"); v != "x" || err != nil {
		t.Errorf("after the others ended: got %q, %v", v, err)
	}
}
