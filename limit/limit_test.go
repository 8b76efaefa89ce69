package limit_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chunkstream/limit"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLimiter(t *testing.T, cfg limit.Config) *limit.Limiter {
	t.Helper()
	l, err := limit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func commands(t *testing.T, url string) *redisconn.Commands {
	t.Helper()
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New(url)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conns.Close() })
	return conns.Commands
}

// burst asks n times at once by several limiters and counts what was allowed.
func burst(t *testing.T, all []*limit.Limiter, key string, n int) int {
	t.Helper()
	var allowed atomic.Int64
	var wait sync.WaitGroup
	for i := range n {
		l := all[i%len(all)]
		wait.Go(func() {
			d := l.Take(t.Context(), key)
			if d.Allowed {
				allowed.Add(1)
			}
			if d.Allowed != (d.RetryAfter == 0) || d.Remaining < 0 || d.Remaining >= d.Limit {
				t.Errorf("got %+v", d)
			}
		})
	}
	wait.Wait()
	return int(allowed.Load())
}

// TestOwn: a bucket gives what is in it, tells what is left, and keeps keys apart. A token an hour is as good as none.
func TestOwn(t *testing.T) {
	l := newLimiter(t, limit.Config{PerSecond: 1.0 / 3600, Burst: 10})
	for i := range 10 {
		if d := l.Take(t.Context(), "a"); !d.Allowed || d.Limit != 10 || d.Remaining != 9-i {
			t.Errorf("token %d: %+v", i, d)
		}
	}
	d := l.Take(t.Context(), "a")
	if d.Allowed || d.Remaining != 0 || d.RetryAfter <= 59*time.Minute || d.RetryAfter > time.Hour || d.Reset <= 9*time.Hour {
		t.Errorf("of an empty bucket: %+v", d)
	}
	if n := burst(t, []*limit.Limiter{l}, "b", 50); n != 10 {
		t.Errorf("another key got %d, want 10", n)
	}
	if l.Fallbacks() != 0 {
		t.Error("there was no Redis to fall back from")
	}
	fast := newLimiter(t, limit.Config{PerSecond: 1000, Burst: 1})
	for range 20 { // what Retry-After says is enough
		for d := fast.Take(t.Context(), "a"); !d.Allowed; d = fast.Take(t.Context(), "a") {
			<-time.After(d.RetryAfter)
		}
	}
}

// TestShared: several processes give no more than one bucket together, and without Redis each gives its share and no more.
func TestShared(t *testing.T) {
	r := servertest.StartRedis(t)
	cfg := limit.Config{PerSecond: 1.0 / 3600, Burst: 30, Replicas: 3, Patience: time.Minute}
	var all []*limit.Limiter
	for range 3 {
		c := cfg
		c.Redis = commands(t, r.URL())
		all = append(all, newLimiter(t, c))
	}
	for _, l := range all { // until Redis answers each
		for n := int64(-1); l.Fallbacks() != n; {
			if n = l.Fallbacks(); n > 3000 {
				t.Fatal("Redis never answered")
			}
			l.Take(t.Context(), "warm")
		}
	}
	before := all[0].Fallbacks() + all[1].Fallbacks() + all[2].Fallbacks()
	if n := burst(t, all, "a", 120); n != 30 {
		t.Errorf("three processes gave %d, want 30", n)
	}
	if now := all[0].Fallbacks() + all[1].Fallbacks() + all[2].Fallbacks(); now != before {
		t.Errorf("%d decisions were made without Redis", now-before)
	}
	// Until the bucket is full, 30 hours, and a little longer.
	ttl, _, err := commands(t, r.URL()).TTL(t.Context(), limit.KeyPrefix+"a")
	if err != nil || ttl > 30*time.Hour+limit.KeyTTL || ttl < 29*time.Hour {
		t.Errorf("the key lives for %v, %v", ttl, err)
	}
	d := all[0].Take(t.Context(), "a")
	if d.Allowed || d.RetryAfter <= 59*time.Minute || d.RetryAfter > time.Hour || d.Limit != 30 {
		t.Errorf("of an empty bucket: %+v", d)
	}
	r.Kill()
	if n := burst(t, all, "b", 120); n != 30 {
		t.Errorf("without Redis three processes gave %d, want a third of 30 each", n)
	}
	if n := burst(t, all[:1], "c", 50); n != 10 {
		t.Errorf("without Redis one process gave %d, want 10", n)
	}
	if all[0].Fallbacks() == 0 {
		t.Error("no fallback was counted")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []limit.Config{{}, {PerSecond: 1}, {Burst: 1}, {PerSecond: -1, Burst: 1}, {PerSecond: 1, Burst: 1, Replicas: -1}, {PerSecond: 2e6, Burst: 1}} {
		if l, err := limit.New(cfg); err == nil || l != nil {
			t.Errorf("%+v: got %v, %v", cfg, l, err)
		}
	}
}
