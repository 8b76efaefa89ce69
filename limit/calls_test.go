package limit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chunkstream/limit"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
)

// TestCalls: the call to Redis fails, before Redis has it and after it was carried out, once and for
// ever. Each process then allows its own share and counts that; nothing is let through beyond it, and what all share goes on
// once Redis does.
func TestCalls(t *testing.T) {
	t.Parallel()
	const burst = 4
	for _, after := range []bool{false, true} {
		for _, ever := range []bool{false, true} {
			t.Run(fmt.Sprintf("shared: Commands.Run, after %v, for ever %v", after, ever), func(t *testing.T) {
				t.Parallel()
				server := servertest.StartRedis(t)
				p := servertest.StartProxy(t, server.Address)
				conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New("redis://" + p.Address)})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conns.Close() }()
				l, err := limit.New(limit.Config{PerSecond: 0.001, Burst: burst, Replicas: 2, Redis: conns.Commands, Patience: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				shared := func(key string) (d limit.Decision) {
					t.Helper()
					for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
						before := l.Fallbacks()
						if d = l.Take(t.Context(), key); l.Fallbacks() == before {
							return d
						} else if time.Now().After(deadline) {
							t.Fatal("never decided by what all share")
						}
					}
				}
				if d := shared("warm"); !d.Allowed || d.Limit != burst {
					t.Errorf("before anything fails: %+v", d)
				}
				fail, n := p.DropRequest, 1
				if after {
					fail = p.LoseAnswer
				}
				if ever {
					n = 1 << 30
				}
				before := l.Fallbacks()
				fail(limit.KeyPrefix+"k", n)
				allowed := 0
				tries := int64(1)
				if ever {
					tries = 20
				}
				for range tries {
					if d := l.Take(t.Context(), "k"); d.Allowed {
						allowed++
					} else if d.RetryAfter <= 0 {
						t.Errorf("refused, and not until when: %+v", d)
					}
				}
				if got := l.Fallbacks() - before; got != tries || p.Counts().Trapped == 0 {
					t.Errorf("%d decisions without Redis are counted, want %d; %+v", got, tries, p.Counts())
				}
				if allowed > burst/2 || allowed == 0 {
					t.Errorf("%d of %d were allowed, of which this process's share is %d", allowed, tries, burst/2)
				}
				fail("", 0)
				for shared("k").Allowed {
					if allowed++; allowed > burst+burst/2 {
						t.Fatal("there is no limit any more")
					}
				}
				for _, key := range []string{"k", "warm"} {
					if ttl, err := server.Do("PTTL", limit.KeyPrefix+key); err != nil || strings.HasPrefix(ttl, ":-") {
						t.Errorf("the time to live of %s: %s, %v", key, ttl, err)
					}
				}
			})
		}
	}
}
