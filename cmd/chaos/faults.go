package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"chunkstream/crashpoint"
)

// fault is one entry of the schedule.
type fault struct {
	lane   string // process, redis or sql
	kind   string
	victim string        // a process
	after  time.Duration // from the fault before on the same victim
	holds  time.Duration // how long it lasts
	n      int           // a number that the kind uses: which hit of a crash point, how many bytes …
	turn   int           // how many faults of processes are before it
}

// clockFault is there from the beginning of a run to its end.
const clockFault = "pg-clock"

// kinds are the faults that can be drawn, each with its weight; one of weight 0 is not drawn, but made once in each run.
type kind struct {
	name   string
	weight int
	needs  func(c config) bool
}

func postgres(c config) bool { return c.store == "postgres" }
func sqlite(c config) bool   { return c.store == "sqlite" }
func oneRedis(c config) bool { return !c.sentinel }
func sentinel(c config) bool { return c.sentinel }
func apart(c config) bool    { return c.machines }

var laneNames = []string{"process", "redis", "sql"}

var lanes = map[string][]kind{
	"process": append([]kind{{"kill", 40, nil}, {"freeze", 25, nil}, {"term", 12, nil}, {"term-kill", 3, nil}, {"no-files", 4, nil}, {"cut-off", 40, apart},
		{"cut-postgres", 8, apart}, {"cut-redis", 8, apart}}, crashKinds()...),
	"redis": {
		{"redis-kill-empty", 2, oneRedis}, {"redis-kill", 2, oneRedis}, {"redis-aof-cut", 2, oneRedis}, {"redis-freeze", 2, oneRedis},
		{"redis-flushall", 3, nil}, {"redis-del", 4, nil}, {"redis-pause", 2, oneRedis}, {"redis-full", 3, oneRedis},
		{"redis-readonly", 2, oneRedis}, {"redis-script-flush", 2, oneRedis}, {"redis-client-kill", 3, nil},
		{"redis-cut", 3, oneRedis}, {"redis-blackhole", 2, oneRedis}, {"redis-slow", 2, oneRedis}, {"redis-half-open", 2, oneRedis},
		{"redis-lost-reply", 4, oneRedis}, {"redis-lost-request", 2, oneRedis},
		{"redis-failover-kill", 8, sentinel}, {"redis-failover-freeze", 8, sentinel},
		{"redis-failover-cut", 8, func(c config) bool { return c.sentinel && c.machines }},
	},
	"sql": {
		{"pg-restart", 3, postgres}, {"pg-cut", 3, postgres}, {"pg-commit-unanswered", 4, postgres},
		{"pg-commit-lost", 3, postgres}, {"pg-slow", 2, postgres}, {"pg-terminate", 3, postgres},
		{"pg-freeze", 2, postgres}, {"pg-blackhole", 2, postgres}, {"pg-half-open", 2, postgres}, {clockFault, 0, postgres},
		{"sqlite-busy", 3, sqlite}, {"sqlite-busy-long", 1, sqlite},
		{"disk-full", 6, func(c config) bool { return c.disk }},
	},
}

const crashPrefix = "crash-"

func crashKinds() (all []kind) {
	for _, p := range crashpoint.Points() {
		all = append(all, kind{crashPrefix + string(p), 2, nil})
	}
	return all
}

func allKinds() (names []string) {
	for _, lane := range laneNames {
		for _, k := range lanes[lane] {
			names = append(names, k.name)
		}
	}
	return names
}

func known(name string) bool { return slices.Contains(allKinds(), name) }

// drawable are the kinds of a lane that this run may draw.
func drawable(cfg config, lane string) (all []kind) {
	if lane == "redis" && !cfg.redis {
		return nil
	}
	for _, k := range lanes[lane] {
		if k.weight > 0 && (k.needs == nil || k.needs(cfg)) && (cfg.only == "" || slices.Contains(strings.Split(cfg.only, ","), k.name)) {
			all = append(all, k)
		}
	}
	return all
}

// victims are the processes that a kind can hit.
func victims(kind string, all []*process) (names []string) {
	for _, p := range all {
		point := crashpoint.Point(strings.TrimPrefix(kind, crashPrefix))
		fits := true
		if strings.HasPrefix(kind, crashPrefix) {
			switch point {
			case crashpoint.AfterStage, crashpoint.AfterSubmitCommit, crashpoint.BeforeWake:
				fits = p.web
			case crashpoint.BeforePublish:
				fits = p.works // a web process publishes by another way
			default:
				fits = p.works
			}
		}
		silenced := kind == "freeze" || strings.HasPrefix(kind, "cut-")
		if !fits || p.spared && !silenced {
			continue
		}
		names = append(names, p.name)
		if silenced && p.works { // a frozen worker is a zombie; a frozen web process only keeps silent
			names = append(names, p.name, p.name)
		}
	}
	return names
}

// wanted is how many faults of a lane there are to be.
func (c config) wanted(lane string) int {
	return map[string]int{"process": c.faults, "redis": c.redisN, "sql": c.sqlN}[lane]
}

// draw gives the next fault of a lane.
func draw(rng *rand.Rand, cfg config, lane string, all []*process) (fault, bool) {
	f := fault{lane: lane}
	kinds := drawable(cfg, lane)
	total := 0
	for _, k := range kinds {
		if lane != "process" || len(victims(k.name, all)) > 0 {
			total += k.weight
		}
	}
	if total == 0 {
		return f, false
	}
	at := rng.IntN(total)
	for _, k := range kinds {
		if lane == "process" && len(victims(k.name, all)) == 0 {
			continue
		}
		if at -= k.weight; at < 0 {
			f.kind = k.name
			break
		}
	}
	if lane == "process" {
		names := victims(f.kind, all)
		f.victim = names[rng.IntN(len(names))]
	}
	f.after = time.Duration(rng.IntN(200)) * time.Millisecond
	f.holds = cfg.lease*time.Duration(rng.IntN(100))/100 + 20*time.Millisecond
	f.n = 1 + rng.IntN(8)
	if cfg.small && strings.HasPrefix(f.kind, crashPrefix) {
		f.n = (f.n + 1) / 2 // among many processes each one comes by less often
	}
	return f, true
}

// schedule draws all faults of a run from its seed, by the process, or else the lane, that has them.
func schedule(cfg config, all []*process) map[string][]fault {
	by := map[string][]fault{}
	processes := 0
	for i, lane := range laneNames {
		rng := rand.New(rand.NewPCG(cfg.seed, uint64(i)))
		n := cfg.wanted(lane)
		for k := range n {
			f, ok := draw(rng, cfg, lane, all)
			if !ok {
				break
			}
			f.turn = processes * k / n
			if i == 0 {
				f.turn, processes = k, k+1
			}
			by[f.lane+f.victim] = append(by[f.lane+f.victim], f)
		}
	}
	return by
}

// wait has a fault wait while too many of those before it are still to come: some victims' take longer than others', and how
// often each kind is to be there beside the others, the seed says.
func (c *chaos) wait(ctx context.Context, f fault) bool {
	for ahead := int64(8 * len(c.processes)); c.done.Load()+ahead < int64(f.turn); {
		if !pause(ctx, 3*time.Millisecond) {
			return false
		}
	}
	return true
}

// redraws is how often a fault may be replaced because what it was to hit was not there.
const redraws = 25

// inflict has every lane suffer its faults side by side, and returns when all of them have, and are mended.
func (c *chaos) inflict(ctx context.Context) {
	by := schedule(c.cfg, c.processes)
	var all sync.WaitGroup
	for _, p := range c.processes {
		all.Go(func() { c.suffer(ctx, p, by["process"+p.name]) })
	}
	all.Go(func() { c.sufferAll(ctx, by["redis"], c.redisFault) })
	all.Go(func() { c.sufferAll(ctx, by["sql"], c.sqlFault) })
	all.Wait()
}

// A kind that has been tried so often and never bit has tested nothing; then it is tried alone, this many times more.
const (
	toothless = 5
	insisted  = 15
)

// insist tries the kinds again that were tried and never bit, now that nothing else is broken. One that does not bite then
// either is no fault that this run has, whatever was drawn in its place.
func (c *chaos) insist(ctx context.Context, doer func(fault) func(context.Context, fault) outcome) {
	defer c.guard("faults")
	rng := rand.New(rand.NewPCG(c.cfg.seed, 600))
	for _, lane := range laneNames {
		for _, k := range drawable(c.cfg, lane) {
			c.mu.Lock()
			n, failed := c.tally[k.name], len(c.violations) > 0
			c.mu.Unlock()
			if failed {
				return
			}
			for more := 0; n != nil && n.tried >= toothless && n.bitten == 0; more++ {
				if more == insisted {
					c.violate("%s was tried %d times and never bit", k.name, n.tried)
					break
				}
				for _, p := range c.processes {
					if err := c.up(ctx, p); err != nil {
						if ctx.Err() == nil {
							c.violate("%v", err)
						}
						return
					}
				}
				f := fault{lane: lane, kind: k.name, holds: c.cfg.lease / 2, n: 1 + rng.IntN(4)}
				if lane == "process" {
					names := victims(k.name, c.processes)
					f.victim = names[rng.IntN(len(names))]
				}
				if c.try(ctx, f, doer(f)); ctx.Err() != nil {
					return
				}
			}
		}
	}
}

// outcome is what became of a fault. One that could not bite says why in how.
type outcome struct {
	bitten bool
	how    string
}

// guard turns a server that cannot be started into a violation: lanes have goroutines of their own.
func (c *chaos) guard(lane string) {
	if r := recover(); r != nil {
		f, ok := r.(fatal)
		if !ok {
			panic(r)
		}
		c.violate("%s: %s", lane, string(f))
	}
}

// sufferAll is a lane without a process.
func (c *chaos) sufferAll(ctx context.Context, faults []fault, one func(context.Context, fault) outcome) {
	defer c.guard("faults")
	rng := rand.New(rand.NewPCG(c.cfg.seed, 100+uint64(len(faults))))
	for _, f := range faults {
		if !c.wait(ctx, f) {
			return
		}
		c.untilBitten(ctx, rng, f, one, func(k kind) bool { return true })
	}
}

// suffer is one process's faults. Between them it may be down; whether it ends by itself is looked at.
func (c *chaos) suffer(ctx context.Context, p *process, faults []fault) {
	defer c.guard(p.name)
	rng := rand.New(rand.NewPCG(c.cfg.seed, 200+uint64(slices.Index(c.processes, p))))
	for _, f := range faults {
		if !c.wait(ctx, f) {
			return
		}
		c.untilBitten(ctx, rng, f, func(ctx context.Context, f fault) outcome { return c.processFault(ctx, p, f) },
			func(k kind) bool { return slices.Contains(victims(k.name, c.processes), p.name) })
		c.done.Add(1)
	}
	// The faults of the others go on, and a frozen worker bites only when somebody is there to take its work.
	if err := c.up(ctx, p); err != nil && ctx.Err() == nil {
		c.violate("%v", err)
	}
}

// untilBitten tries a fault, and others of its lane in its place when it could not bite.
func (c *chaos) untilBitten(ctx context.Context, rng *rand.Rand, f fault, one func(context.Context, fault) outcome, fits func(kind) bool) {
	for range redraws {
		if !pause(ctx, f.after) || c.try(ctx, f, one) || ctx.Err() != nil {
			return
		}
		kinds := slices.DeleteFunc(drawable(c.cfg, f.lane), func(k kind) bool { return !fits(k) })
		f.kind = kinds[rng.IntN(len(kinds))].name
		f.n = 1 + rng.IntN(4)
	}
	c.violate("no fault bit on %s%s in %d tries, the last one %s", f.lane, f.victim, redraws, f.kind)
}

// try does a fault once, and reports whether it bit.
func (c *chaos) try(ctx context.Context, f fault, one func(context.Context, fault) outcome) bool {
	at := time.Since(c.began)
	o := one(ctx, f)
	if ctx.Err() != nil && !o.bitten {
		return false
	}
	c.count(f.kind, o)
	c.note(map[string]any{"at": at.Milliseconds(), "fault": f.kind, "victim": f.victim, "bitten": o.bitten, "how": o.how})
	return o.bitten
}

// doer is what does a fault to whom it is to hit.
func (c *chaos) doer(f fault) func(context.Context, fault) outcome {
	switch f.lane {
	case "redis":
		return c.redisFault
	case "sql":
		return c.sqlFault
	}
	at := slices.IndexFunc(c.processes, func(p *process) bool { return p.name == f.victim })
	return func(ctx context.Context, f fault) outcome { return c.processFault(ctx, c.processes[at], f) }
}

func (c *chaos) count(kind string, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally[kind]
	if t == nil {
		t = &count{}
		c.tally[kind] = t
	}
	t.tried++
	if o.bitten {
		t.bitten++
	} else {
		t.redrawn++
	}
}

// processFault does one fault to a process.
func (c *chaos) processFault(ctx context.Context, p *process, f fault) outcome {
	if how, lost := p.lost(); lost {
		c.violate("%s ended by itself with %s: see %s", p.name, describe(how), p.log)
	}
	if point, ok := strings.CutPrefix(f.kind, crashPrefix); ok {
		return c.crash(ctx, p, crashpoint.Point(point), f)
	}
	if err := c.up(ctx, p); err != nil {
		if ctx.Err() == nil {
			c.violate("%v", err)
		}
		return outcome{how: err.Error()}
	}
	if !pause(ctx, f.holds) {
		return outcome{}
	}
	if how, lost := p.lost(); lost {
		c.violate("%s ended by itself with %s: see %s", p.name, describe(how), p.log)
		return outcome{how: "it had ended by itself"}
	}
	switch f.kind {
	case "kill":
		c.died(p)
		how := p.kill()
		return outcome{how.Signaled() && how.Signal() == syscall.SIGKILL, "the process is gone: " + describe(how)}
	case "term", "term-kill":
		return c.term(ctx, p, f)
	case "freeze":
		return c.freeze(ctx, p, f)
	case "no-files":
		return c.exhaust(ctx, p, f)
	case "cut-off":
		silent := func() bool { return !p.answers(ctx) }
		return c.cutOff(ctx, p, f, func(off bool) { c.machines.cut(p.name, off) }, silent, "from all")
	case "cut-postgres":
		silent := func() bool { s, _, err := p.readiness(ctx); return err == nil && s == "unavailable" }
		return c.cutOff(ctx, p, f, func(off bool) { c.machines.forbid(p.name, off, c.machines.database()) }, silent, "from the database")
	case "cut-redis":
		return c.cutRedis(ctx, p, f)
	}
	return outcome{how: "unknown"}
}

// died notes that a process is about to be killed.
func (c *chaos) died(p *process) {
	now := time.Now()
	c.times.begin(p.name, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaths = append(c.deaths, death{p.worker(), now, false})
}

// term asks a process to end. It must do so in order and leave no lease behind, unless it is killed while it does.
func (c *chaos) term(ctx context.Context, p *process, f fault) outcome {
	p.expect()
	began := time.Now()
	c.times.begin(p.name, began)
	if err := p.signal(syscall.SIGTERM); err != nil {
		return outcome{how: err.Error()}
	}
	if f.kind == "term-kill" {
		pause(ctx, time.Duration(f.n)*time.Millisecond)
		c.died(p)
		how := p.kill()
		return outcome{true, "the process is gone: " + describe(how)}
	}
	how, ok := p.end(c.cfg.patience)
	if !ok || how.ExitStatus() != 0 {
		c.violate("%s ended with %s (ended: %v) after SIGTERM, want exit code 0: see %s", p.name, describe(how), ok, p.log)
		return outcome{how: describe(how)}
	}
	c.mu.Lock()
	c.deaths = append(c.deaths, death{p.worker(), began, true})
	c.mu.Unlock()
	c.timed(termEnded, began)
	return outcome{true, "the process ended with code 0"}
}

// hold keeps a process from being waited for, until what it returns is called.
func (c *chaos) hold(p *process) (end func()) {
	p.setFrozen(true)
	return func() {
		p.setFrozen(false)
		c.times.end(aFreeze + p.name)
	}
}

// glance is how often the database is asked what a worker holds: asking must not be what the database is busy with.
const glance = 10 * time.Millisecond

// freeze stops a process for longer than its lease. A worker must hold something, and what it holds must change hands
// meanwhile; it is thawed at that moment or later, a zombie that believes it still holds it.
func (c *chaos) freeze(ctx context.Context, p *process, f fault) outcome {
	defer c.hold(p)()
	defer func() { _ = p.signal(syscall.SIGCONT) }() // it may have ended
	alone := len(c.processes) == 1
	if !p.works || alone {
		c.times.begin(aFreeze+p.name, time.Now())
		if err := p.stop(ctx); err != nil {
			return outcome{how: err.Error()}
		}
		pause(ctx, c.cfg.lease+f.holds)
		silent := !p.answers(ctx)
		return outcome{silent, "it did not answer while it was frozen for longer than the lease"}
	}
	var held map[string]int64
	for end := time.Now().Add(min(c.cfg.patience/4, 3*time.Second+2*c.cfg.lease)); len(held) == 0 && time.Now().Before(end); {
		if !pause(ctx, glance) {
			return outcome{}
		}
		// Looking first, so that it is not stopped again and again for nothing.
		if !c.seemsToHold(ctx, p.worker()) {
			continue
		}
		c.times.begin(aFreeze+p.name, time.Now())
		if err := p.stop(ctx); err != nil {
			return outcome{how: err.Error()}
		}
		var err error
		if held, err = c.holds(ctx, p.worker()); err == nil && len(held) > 0 && c.writable(ctx) {
			break
		}
		held = nil
		if err := p.signal(syscall.SIGCONT); err != nil {
			return outcome{how: err.Error()}
		}
		pause(ctx, 20*time.Millisecond)
	}
	if len(held) == 0 {
		return outcome{how: "it held nothing"}
	}
	limit := time.Now().Add(c.cfg.lease + 4*time.Second)
	id := ""
	for id == "" && time.Now().Before(limit) {
		if !pause(ctx, glance) {
			return outcome{}
		}
		id = c.moved(ctx, held)
	}
	if id == "" {
		return outcome{how: "nobody took what it held"}
	}
	if f.n > 4 { // half of the times it wakes up at the very moment
		pause(ctx, f.holds)
	}
	return outcome{true, fmt.Sprintf("held %d operations; %s changed hands", len(held), id)}
}

// crash starts a process that kills itself at a named point.
func (c *chaos) crash(ctx context.Context, p *process, point crashpoint.Point, f fault) outcome {
	if p.running() {
		c.died(p)
		p.kill()
	}
	if err := c.up(ctx, p, fmt.Sprintf("CHUNKSTREAM_CRASH_AT=%s:%d", point, f.n)); err != nil {
		if ctx.Err() == nil {
			c.violate("%v", err)
		}
		p.kill() // it would end at some later time, when nobody expects it
		return outcome{how: err.Error()}
	}
	p.expect() // it will end, nobody says when
	if point == crashpoint.MidHandover {
		if pause(ctx, f.holds) {
			_ = p.signal(syscall.SIGTERM) // it may have ended
		}
	}
	late := time.Now().Add(4 * time.Second)
	for {
		how, ended := p.end(20 * time.Millisecond)
		switch {
		case ended && how.Signaled() && how.Signal() == syscall.SIGKILL:
			c.died(p)
			return outcome{true, "the process killed itself there"}
		case ended && point == crashpoint.MidHandover && how.ExitStatus() == 0:
			return outcome{how: "it had too little to hand over"}
		case ended:
			c.violate("%s ended with %s before it came to %s: see %s", p.name, describe(how), point, p.log)
			return outcome{how: describe(how)}
		case ctx.Err() != nil, time.Now().After(late):
			c.died(p)
			p.kill()
			return outcome{how: fmt.Sprintf("it did not come by there %d times", f.n)}
		}
	}
}
