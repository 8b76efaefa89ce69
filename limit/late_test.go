package limit

import (
	"testing"
	"time"

	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
)

// TestLate: once Redis has not answered in time, one decision in each pause asks it, and all others are made here; once it
// answers again, it decides.
func TestLate(t *testing.T) {
	t.Parallel()
	p := servertest.StartProxy(t, servertest.StartRedis(t).Address)
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New("redis://" + p.Address)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conns.Close() }()
	l, err := New(Config{PerSecond: 1000, Burst: 1000, Redis: conns.Commands})
	if err != nil {
		t.Fatal(err)
	}
	shared := func() {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			before := l.Fallbacks()
			if l.Take(t.Context(), "k"); l.Fallbacks() == before {
				break
			} else if time.Now().After(deadline) {
				t.Fatal("never decided by Redis")
			}
		}
		if l.late.Load() != 0 {
			t.Error("Redis, which answers, counts as late")
		}
	}
	shared()
	p.Deafen()
	if d := l.Take(t.Context(), "k"); !d.Allowed || l.Fallbacks() == 0 {
		t.Errorf("while Redis is silent: %+v, %d decisions without it", d, l.Fallbacks())
	}
	again := time.Unix(0, l.late.Load())
	if l.asks(again.Add(-time.Nanosecond)) {
		t.Error("Redis is asked although it was late just now")
	}
	if !l.asks(again) || l.asks(again) {
		t.Error("after the pause one decision asks Redis, and no other")
	}
	p.Hear()
	shared()
}
