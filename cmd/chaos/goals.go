package main

import (
	"fmt"
	"slices"
	"time"
)

// spread is how measured times are spread.
type spread struct {
	Count int    `json:"count"`
	P50   millis `json:"p50_ms"`
	P99   millis `json:"p99_ms"`
	Max   millis `json:"max_ms"`
}

// millis is a time in whole milliseconds.
type millis int64

func (m millis) d() time.Duration { return time.Duration(m) * time.Millisecond }

func (c *chaos) spread(what string) spread { return spreadOf(c.took[what]) }

func spreadOf(times []time.Duration) spread {
	all := slices.Sorted(slices.Values(times))
	if len(all) == 0 {
		return spread{}
	}
	at := func(share float64) millis {
		return millis(all[int(share*float64(len(all)-1))].Round(time.Millisecond).Milliseconds())
	}
	return spread{len(all), at(0.5), at(0.99), at(1)}
}

// goal is what is wanted of a measured time, and whether it was so; empty for one of which nothing is wanted, because
// something else held it up. A goal that was missed is no violation: how much time the product gets is up to the machine.
func (c *chaos) goal(what string, s spread) string {
	told := func(name string, got millis, most time.Duration) string {
		word := "met"
		if got.d() > most {
			word = "MISSED"
		}
		return fmt.Sprintf("%s ≤ %v: %s", name, most, word)
	}
	switch what {
	case killResumed:
		return told("max", s.Max, c.cfg.lease+2*time.Second)
	case termEnded, termResumed:
		return told("p99", s.P99, 2*time.Second)
	case redisBack, redisDelivers:
		return told("max", s.Max, 2*time.Second)
	case databaseBack:
		return told("max", s.Max, 5*time.Second)
	case absentRedis:
		return told("p99", s.P99, c.spread(withRedis).P99.d()+2*time.Second)
	}
	return ""
}

// What is measured.
const (
	killResumed   = "kill → resumed"
	termEnded     = "SIGTERM → ended"
	termResumed   = "SIGTERM → resumed"
	redisBack     = "Redis back → ready"
	redisDelivers = "Redis back → an event has come over it"
	databaseBack  = "database back → ready"
	halfOpenReady = "connections to Postgres half open → ready"
	withRedis     = "submitted → end seen"
	absentRedis   = "submitted → end seen, without Redis"
)
