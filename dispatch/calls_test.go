package dispatch_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chunkstream/dispatch"
	"chunkstream/servertest"
)

// TestCalls: each call to Redis fails, before Redis has it and after it was carried out, once and for ever. What that costs
// is counted, nobody waits for it, and wake-ups go on once Redis does.
func TestCalls(t *testing.T) {
	t.Parallel()
	for _, call := range []struct {
		site, mark string // the mark is in its requests alone
		reads      bool   // it is of the process that works
	}{
		{"send: Commands.Run", "op_", false},
		{"read: Blocking.XReadGroup", "XREADGROUP", true},
		{"read: Blocking.CreateGroup", "XGROUP", true},
	} {
		for _, after := range []bool{false, true} {
			for _, ever := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, after %v, for ever %v", call.site, after, ever), func(t *testing.T) {
					t.Parallel()
					server := servertest.StartRedis(t)
					writing, reading := servertest.StartProxy(t, server.Address), servertest.StartProxy(t, server.Address)
					front := process(t, ready(t, writing), dispatch.RedisConfig{}, false)
					worker := process(t, ready(t, reading), dispatch.RedisConfig{}, true)
					bell := worker.Woken("small")
					n := 0
					wake := func(what string, until func() bool) {
						t.Helper()
						for deadline := time.Now().Add(patience); ; {
							n++
							front.Wake("small", fmt.Sprint("op_", n))
							select {
							case <-bell:
								if until == nil {
									return
								}
							case <-time.After(20 * time.Millisecond):
							}
							if until != nil && until() {
								return
							}
							if time.Now().After(deadline) {
								t.Fatalf("%s: %+v, %+v", what, front.Stats(), worker.Stats())
							}
						}
					}
					wake("before anything fails", nil)
					proxy, failing := writing, front
					if call.reads {
						proxy, failing = reading, worker
					}
					fail, times := proxy.DropRequest, 1
					if after {
						fail = proxy.LoseAnswer
					}
					if ever {
						times = 1 << 30
					}
					former := failing.Stats().Failures
					fail(call.mark, times)
					if call.mark == "XGROUP" {
						if answer, err := server.Do("XGROUP", "DESTROY", dispatch.Stream, dispatch.Group); err != nil || answer != ":1" {
							t.Fatal(answer, err)
						}
					}
					wake("it fails, and is counted", func() bool { return proxy.Counts().Trapped > 0 && failing.Stats().Failures > former })
					fail("", 0)
					for len(bell) > 0 {
						<-bell
					}
					wake("once Redis is whole", nil)
					commands := open(t, server.URL()).Commands
					eventually(t, "a stream with a time to live", func() bool {
						ttl, found, err := commands.TTL(t.Context(), dispatch.Stream)
						return err == nil && found && ttl > 0
					})
					if answer, err := server.Do("DBSIZE"); err != nil || strings.TrimSpace(answer) != ":1" {
						t.Errorf("more is left than the stream: %s, %v", answer, err)
					}
				})
			}
		}
	}
}
