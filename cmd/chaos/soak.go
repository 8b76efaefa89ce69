package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A soak is a long run at 60 % of what the processes can do at most, with a fault every ten seconds: whatever leaks, a little
// with every request or every fault, shows as a slope.
const (
	soakShare = 0.6
	soakEvery = 10 * time.Second
	soakLook  = 5 * time.Second
	soakPeak  = 15 * time.Second // how long the most is measured
)

// bound is how much something may grow over the part of a run that is looked at: a share of its median for ten minutes, or
// so much in all, whichever is more.
type bound struct {
	share, least float64
}

var soakBounds = map[string]bound{
	"resident memory, bytes": {0.01, 8 << 20},
	"goroutines":             {0.01, 15}, // they come and go with the watchers, of which there are more at one time than at another
	"open files":             {0, 10},
	"connections to Redis":   {0, 5},
	"connections to SQL":     {0, 5},
}

// series is one thing over time.
type series struct{ at, value []float64 } // at in seconds

// slope is the median of the slopes between all pairs of values (Theil and Sen): half of them may be anything without any
// effect on it. It is in units per second.
func (s series) slope() float64 {
	var all []float64
	for i := range s.at {
		for j := range i {
			if d := s.at[i] - s.at[j]; d > 0 {
				all = append(all, (s.value[i]-s.value[j])/d)
			}
		}
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// soak has one fault every ten seconds and looks at the processes meanwhile.
func (c *chaos) soak(ctx context.Context) {
	lines := map[string]map[string]*series{} // what → whose → values
	began := time.Now()
	add := func(what, whose string, value float64) {
		if lines[what] == nil {
			lines[what] = map[string]*series{}
		}
		if lines[what][whose] == nil {
			lines[what][whose] = &series{}
		}
		s := lines[what][whose]
		s.at, s.value = append(s.at, time.Since(began).Seconds()), append(s.value, value)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for pause(ctx, soakLook) {
			for _, p := range c.processes {
				if m, err := p.metrics(ctx); p.spared && err == nil {
					add("resident memory, bytes", p.name, m["process_resident_memory_bytes"])
					add("goroutines", p.name, m["go_goroutines"])
					add("open files", p.name, m["process_open_fds"])
				}
			}
			if c.redis != nil {
				if n, ok := c.askRedis(`return tonumber(string.match(redis.call('INFO', 'clients'), 'connected_clients:(%d+)'))`); ok {
					add("connections to Redis", "all", float64(n))
				}
			}
			if c.cfg.store == "postgres" {
				var n float64
				if err := c.db.QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chunkstream'`).Scan(&n); err == nil {
					add("connections to SQL", "all", n)
				}
			}
		}
	})
	all.Go(func() {
		defer c.guard("faults")
		rng := rand.New(rand.NewPCG(c.cfg.seed, 500))
		for pause(ctx, soakEvery) {
			lane := []string{"process", "process", "redis", "sql"}[rng.IntN(4)]
			f, ok := draw(rng, c.cfg, lane, c.processes)
			if !ok {
				continue
			}
			fits := func(k kind) bool {
				return lane != "process" || slices.Contains(victims(k.name, c.processes), f.victim)
			}
			c.untilBitten(ctx, rng, f, c.doer(f), fits)
			for _, p := range c.processes {
				if err := c.up(ctx, p); err != nil && ctx.Err() == nil {
					c.violate("%v", err)
				}
			}
		}
	})
	all.Wait()
	for _, what := range []string{"resident memory, bytes", "goroutines", "open files", "connections to Redis", "connections to SQL"} {
		for whose, s := range lines[what] {
			c.judge(what, whose, *s)
		}
	}
}

// judge compares how something has grown with its bound. The first third of the run is left out: pools and caches fill.
func (c *chaos) judge(what, whose string, s series) {
	from := len(s.at) / 3
	s = series{s.at[from:], s.value[from:]}
	if len(s.at) < 3 {
		return
	}
	over := s.at[len(s.at)-1] - s.at[0]
	middle, grown := median(s.value), s.slope()*over
	b := soakBounds[what]
	allowed := max(b.share*middle*over/600, b.least)
	c.mu.Lock()
	c.slopes = append(c.slopes, fmt.Sprintf("%s\t%s\t%.0f\t%+.0f\t%.0f", what, whose, middle, grown, allowed))
	c.mu.Unlock()
	if grown > allowed {
		c.violate("I12: %s of %s grew by %.0f in %.0f s, from a median of %.0f; %.0f would be no leak", what, whose, grown, over, middle, allowed)
	}
}
