package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
)

// TestDoctorCalls: each of the doctor's calls to Redis fails, before Redis has it and after it was carried out, once and for
// ever. What only reads is asked once more; otherwise the doctor says what could not be looked at, and leaves nothing behind.
func TestDoctorCalls(t *testing.T) {
	t.Parallel()
	redis := servertest.StartRedis(t)
	for _, call := range []struct {
		site, mark, finding string
		reads               bool
	}{
		{"redis: Commands.Ping", "\r\nPING\r\n", "redis", true},
		{"redis: Commands.Info", "\r\nINFO\r\n", "redis info", true},
		{"redis: Commands.Time", "\r\nTIME\r\n", "redis clock", true},
		{"redisRights: Commands.WhoAmI", "WHOAMI", "redis rights, asked", true},
		{"redisRights: Commands.DryRun", "DRYRUN", "redis rights, asked", true},
		{"tried: Commands.HSet", "EVALSHA", "redis rights, tried", false},
		{"tried: Blocking.CreateGroup", "XGROUP", "redis rights, tried", false},
		{"tried: Blocking.XReadGroup", "XREADGROUP", "redis rights, tried", false},
		{"tried: Commands.Publish", "PUBLISH", "redis rights, tried", false},
	} {
		for _, after := range []bool{false, true} {
			for _, ever := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, after %v, for ever %v", call.site, after, ever), func(t *testing.T) {
					t.Parallel()
					p := servertest.StartProxy(t, redis.Address)
					fail, n := p.DropRequest, 1
					if after {
						fail = p.LoseAnswer
					}
					if ever {
						n = 1 << 30
					}
					ask := func() (all []finding) {
						if !strings.HasPrefix(call.site, "tried") {
							fail(call.mark, n)
							c := doctorCmd{}
							c.Redis = secret.New("redis://" + p.Address)
							return c.redis(t.Context())
						}
						conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New("redis://" + p.Address)})
						if err != nil {
							t.Fatal(err)
						}
						for deadline := time.Now().Add(30 * time.Second); ; {
							if one := tried(t.Context(), conns); !one.serious {
								break
							} else if time.Now().After(deadline) {
								t.Fatal(one)
							}
						}
						fail(call.mark, n)
						all = append(all, tried(t.Context(), conns))
						if err := conns.Close(); err != nil {
							t.Error(err)
						}
						return all
					}
					untried := func(f finding) bool { return strings.Contains(f.found, "not tried, for lately") }
					want, told := ever || !call.reads, false
					all := ask()
					for try := 1; !want && try < 5 && slices.ContainsFunc(all, untried); try++ {
						all = ask() // a ping was under way too as the connection was lost, so that the repeat was not even tried
					}
					if p.Counts().Trapped == 0 {
						t.Errorf("it was not among what was sent: %v", all)
					}
					for _, f := range all {
						told = told || f.what == call.finding && f.fix != "" && strings.Contains(f.found, "unavailable")
					}
					if told != want {
						t.Errorf("told %v, want %v: %v", told, want, all)
					}
					if ttl, err := redis.Do("PTTL", "chunkstream:doctor"); err != nil || ttl == ":-1" {
						t.Errorf("what it tried stays: %s, %v", ttl, err)
					}
				})
			}
		}
	}
}
