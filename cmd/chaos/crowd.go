package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"chunkstream/api"
	"chunkstream/chunk"
	"chunkstream/client"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/store"
	"chunkstream/worker"
)

// crowdPlan is how many watch, what they watch and what is done to them.
type crowdPlan struct {
	watchers, operations int
	kills, drops         int
	pace                 time.Duration // between two events of an operation
	calm                 time.Duration // between two faults: what nothing disturbs is measured in it
	timed                bool          // goals count that a busy machine may miss
}

var (
	wholeCrowd = crowdPlan{watchers: 1000, operations: 50, kills: 20, drops: 20, pace: 500 * time.Millisecond, calm: time.Second, timed: true}
	smallCrowd = crowdPlan{watchers: 60, operations: 6, kills: 1, drops: 1, pace: 50 * time.Millisecond, calm: 200 * time.Millisecond}
)

// The goals. A time to be back is that of a watcher: from the fault until it has all that has been recorded since.
const (
	backGoal  = 7 * time.Second
	apiFactor = 2 // of the surviving process's p99 while nothing is broken
)

// crowd has very many watch over WebSockets, through a balancer, while web processes are killed and all connections are cut at
// once. They use package client, whose reconnecting is a part of what is measured.
type crowd struct {
	*chaos
	plan     crowdPlan
	balancer *balancer
	webs     []*process
	ops      []client.Operation
	fans     []*fan
	hurry    chan struct{} // closed when the operations may come to their end
	whole    time.Time     // from when nothing was broken, until the first round
	rounds   []round
	probes   []probe
}

// fan watches one operation from its first event to its last.
type fan struct {
	n, op int

	mu     sync.Mutex
	told   []telling
	latest time.Time // when the newest was recorded
	ended  bool
}

func (f *fan) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// telling is one event: what it was, and when it had come.
type telling struct {
	seq int64
	sum uint64
	at  time.Time
}

// round is one fault.
type round struct {
	kill     bool
	hit      map[int]bool // whose connections it ended
	survivor *process     // of a kill
	began    time.Time    // before it
	done     time.Time    // once it had happened
	back     time.Time    // when all had heard something that was recorded after it
	ready    time.Time    // when everything was whole again
	dials    int          // connections that were opened because of it
}

// crowd measures how a thousand watchers come back.
func (c *chaos) crowd(ctx context.Context, out io.Writer) {
	plan := wholeCrowd
	if c.cfg.small {
		plan = smallCrowd
	}
	m := &crowd{chaos: c, plan: plan, hurry: make(chan struct{})}
	if err := m.run(ctx, out); err != nil {
		c.violate("crowd: %v", err)
	}
}

func (m *crowd) run(ctx context.Context, out io.Writer) error {
	if m.redis == nil {
		return errors.New("it takes --redis yes")
	}
	// Operations that go on telling something are what this is about. The workers are too quick for that: one of them, of package
	// worker as they are, runs in this program and takes its time over each chunk.
	for _, p := range m.processes {
		if p.works && p.web {
			return errors.New("it takes workers of their own")
		} else if p.web {
			m.webs = append(m.webs, p)
		} else {
			p.expect()
			if err := p.signal(syscall.SIGTERM); err != nil {
				return err
			}
			if _, ok := p.end(m.cfg.patience); !ok {
				return fmt.Errorf("%s has not ended", p.name)
			}
		}
	}
	m.processes = m.webs
	if len(m.webs) < 2 {
		return errors.New("it takes two web processes")
	}
	m.load = &load{c: m.chaos, webs: m.webs}
	stop, err := m.work(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if m.balancer, err = newBalancer(m.webs); err != nil {
		return err
	}
	defer m.balancer.close()
	if err := m.submit(ctx); err != nil {
		return err
	}
	baseline := m.rest(ctx)

	watched, unwatch := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer unwatch()
	for i := range m.plan.watchers {
		f := &fan{n: i, op: i % len(m.ops)}
		m.fans = append(m.fans, f)
		c, err := client.New(m.balancer.base(i), client.Options{APIKey: chaosKey})
		if err != nil {
			return err
		}
		watching.Go(func() { m.watch(watched, c, f) })
	}
	m.await(ctx, "watchers have connected", func() bool { return m.balancer.open() == len(m.fans) && m.heardSince(time.Time{}) })
	var askers []func()
	asked := func() {
		for _, stop := range askers {
			stop()
		}
		askers = nil
	}
	defer asked()
	for _, p := range m.webs {
		stop, err := m.asker(ctx, p)
		if err != nil {
			return err
		}
		askers = append(askers, stop)
	}
	m.balancer.dials()
	m.whole = time.Now()
	pause(ctx, m.plan.calm)
	before := m.held(ctx)
	// Kills are in pairs: the first hits one of two processes with half of the connections each, the second the other one, which
	// has them all by then. After it they are spread again by a cut.
	for n := 0; n < m.plan.kills+m.plan.drops && ctx.Err() == nil && len(m.violations) == 0; n++ {
		m.fault(ctx, n%4 < 2 && m.plan.kills > 1 || n < 1)
	}
	after := m.held(ctx)
	asked()

	close(m.hurry)
	m.await(ctx, "watchers have seen the end", func() bool { return !slices.ContainsFunc(m.fans, func(f *fan) bool { return !f.over() }) })
	unwatch()
	watching.Wait()
	m.await(ctx, "all operations have ended", func() bool {
		var left int
		err := m.db.QueryRowContext(ctx, `SELECT count(*) FROM operations WHERE status IN ('queued', 'processing')`).Scan(&left)
		return err == nil && left == 0
	})
	m.await(ctx, "connections have ended", func() bool { return m.balancer.open() == 0 })
	m.leftovers(ctx, baseline)
	all, err := m.events(ctx)
	if err != nil {
		return err
	}
	m.compare(all)
	m.judge(out, all, before, after)
	return ctx.Err()
}

// work runs a worker in this program until stop is called, wired as the product's.
func (m *crowd) work(ctx context.Context) (stop func(), err error) {
	db, err := store.Open(ctx, m.database)
	if err != nil {
		return nil, err
	}
	conns, err := redisconn.Open(ctx, redisconn.Config{URL: secret.New("redis://" + m.redis.Address)})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	closeBoth := func() {
		if err := errors.Join(conns.Close(), db.Close()); err != nil {
			m.violate("crowd: %v", err)
		}
	}
	source := api.LiveSource(db)
	bus, err := live.NewRedis(live.RedisConfig{Commands: conns.Commands, Feed: conns.Feed, Source: source})
	if err != nil {
		closeBoth()
		return nil, err
	}
	wake, err := dispatch.NewRedis(dispatch.RedisConfig{Commands: conns.Commands, Blocking: conns.Blocking})
	if err != nil {
		closeBoth()
		return nil, err
	}
	hub := live.NewHub(source, live.Config{Bus: bus})
	w, err := worker.New(worker.Config{Store: db, Publish: hub.Publish, Parse: parser.Parse, Split: m.split,
		Woken: func(l store.Lane) <-chan struct{} { return wake.Woken(string(l)) }, SmallSlots: 2 * m.plan.operations, Lease: m.cfg.lease})
	if err != nil {
		closeBoth()
		return nil, err
	}
	going, end := context.WithCancel(ctx)
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context) error{hub.Run, wake.Run, w.Run} {
		loops.Go(func() {
			if err := loop(going); err != nil {
				m.violate("crowd: %v", err)
			}
		})
	}
	return func() {
		end()
		loops.Wait()
		closeBoth()
	}, nil
}

// watchedBytes is how long a text is whose chunks take their time: one that lasts for all faults.
const watchedBytes = 96 << 10

// split cuts a text as the product does, and a watched one slowly.
func (m *crowd) split(ctx context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
	return func(yield func(chunk.Chunk, error) bool) {
		for c, err := range chunk.Guard(plan.Strategy, plan.Splitter, text) {
			if len(text) >= watchedBytes {
				wait := time.NewTimer(m.plan.pace/2 + rand.N(m.plan.pace))
				select {
				case <-wait.C:
				case <-m.hurry:
				case <-ctx.Done():
				}
				wait.Stop()
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// submit makes the operations that are watched.
func (m *crowd) submit(ctx context.Context) error {
	text, err := sources(watchedBytes)
	if err != nil {
		return err
	}
	for i := range m.plan.operations {
		op, err := m.webs[0].clients[local].Submit(ctx, client.Submission{Text: strings.NewReader(fmt.Sprintf("watched %d\n", i) + text),
			Strategy: "fixed_size", Settings: url.Values{"chunk_size": {"64"}}})
		if err != nil {
			return err
		}
		m.ops = append(m.ops, op)
	}
	return nil
}

// watch follows the fan's operation to its end, as every user of package client does. The first connection is the user's own to
// try again.
func (m *crowd) watch(ctx context.Context, c *client.Client, f *fan) {
	for opened := false; !opened && ctx.Err() == nil; {
		for e, err := range c.Watch(ctx, m.ops[f.op].ID, 0) {
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && opened:
				m.violate("watcher %d was given up: %v", f.n, err)
				return
			case err != nil:
				pause(ctx, rand.N(time.Second))
				continue
			case e.Type == event.Resync:
				m.violate("watcher %d was told to start anew at %d", f.n, e.Data.Seq)
			case e.Type.Durable():
				f.mu.Lock()
				f.told = append(f.told, telling{e.Seq, eventSum(e), time.Now()})
				f.latest, f.ended = e.Time.Add(-m.skew), e.Type.Terminal()
				f.mu.Unlock()
			}
			opened = true
		}
	}
}

// heardSince reports whether everybody has been told something that was recorded after a time.
func (m *crowd) heardSince(when time.Time) bool {
	return !slices.ContainsFunc(m.fans, func(f *fan) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !f.latest.After(when)
	})
}

// await waits until something is so.
func (m *crowd) await(ctx context.Context, what string, so func() bool) {
	for late := time.Now().Add(m.cfg.patience); !so(); {
		if time.Now().After(late) {
			m.violate("crowd: not so after %v: %s", m.cfg.patience, what)
			return
		}
		if !pause(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// fault kills the process with the most connections, or cuts all connections, and waits until everything is whole again.
func (m *crowd) fault(ctx context.Context, kill bool) {
	r := round{kill: kill, began: time.Now()}
	var victim *process
	if kill {
		on := m.balancer.on()
		victim = slices.MaxFunc(m.webs, func(a, b *process) int { return len(on[a]) - len(on[b]) })
		r.survivor, r.hit = m.webs[0], on[victim]
		if victim == r.survivor {
			r.survivor = m.webs[1]
		}
		victim.kill()
	} else {
		r.hit = m.balancer.cut()
	}
	r.done = time.Now()
	m.note(map[string]any{"kill": kill, "hit": len(r.hit)})
	m.await(ctx, "all watchers are back", func() bool { return m.heardSince(r.done) })
	r.back = time.Now()
	if kill {
		if err := m.up(ctx, victim); err != nil {
			m.violate("crowd: %v", err)
		}
	}
	m.await(ctx, "as many connections as watchers", func() bool { return m.balancer.open() == len(m.fans) })
	m.await(ctx, "as many WebSockets as watchers", func() bool { return m.held(ctx).sockets == len(m.fans) })
	r.dials = m.balancer.dials()
	r.ready = time.Now()
	m.rounds = append(m.rounds, r)
	pause(ctx, m.plan.calm)
}

// held is what all web processes hold together.
type held struct {
	sockets           int
	goroutines, files float64
	redis             int64
}

func (m *crowd) held(ctx context.Context) (h held) {
	for _, p := range m.webs {
		all, err := p.metrics(ctx)
		if err != nil {
			continue // it is about to be seen elsewhere
		}
		h.sockets += int(all["chunkstream_ws_connections"])
		h.goroutines += all["go_goroutines"]
		h.files += all["process_open_fds"]
	}
	h.redis = m.redisNumber(`return tonumber(string.match(redis.call('INFO', 'clients'), 'connected_clients:(%d+)'))`)
	return h
}

// compare holds what every watcher was told against SQL, event by event and in whole.
func (m *crowd) compare(all map[string]kept) {
	for _, f := range m.fans {
		events := all[m.ops[f.op].ID].events
		for i, t := range f.told {
			if t.seq != int64(i+1) || i >= len(events) || t.sum != eventSum(events[i]) {
				m.violate("I8: watcher %d was told %d of %s in place of %d, or not as SQL has it", f.n, t.seq, m.ops[f.op].ID, i+1)
				break
			}
		}
		if len(f.told) != len(events) || !f.ended {
			m.violate("I8: watcher %d was told %d events of %s, which has %d; ended: %v", f.n, len(f.told), m.ops[f.op].ID, len(events), f.ended)
		}
	}
}

// back is how long after a round a watcher had all that had been recorded until then, and how much of it was recorded since.
func (m *crowd) back(r round, f *fan, events []event.Event) (took time.Duration, missed int, ok bool) {
	recorded := func(i int) time.Time { return events[i].Time.Add(-m.skew) }
	first := slices.IndexFunc(events, func(e event.Event) bool { return e.Time.Add(-m.skew).After(r.done) })
	if first < 0 || first >= len(f.told) {
		return 0, 0, false
	}
	i := first
	for i+1 < len(f.told) && recorded(i+1).Before(f.told[i].at) {
		i++
	}
	return f.told[i].at.Sub(r.began), i - first + 1, true
}

// during are the times of requests that began within a time, of one process or of all. Nobody has killed it unless killed says so.
func (m *crowd) during(from, to time.Time, of *process, killed bool) (took []time.Duration) {
	for _, p := range m.probes {
		switch {
		case p.at.Before(from), p.at.After(to), of != nil && p.web != of, p.err != "" && killed:
		case p.err != "":
			m.violate("crowd: a request of %s, which was not killed: %s", p.web.name, p.err)
		default:
			took = append(took, p.took)
		}
	}
	return took
}

// judge prints the figures beside the goals.
func (m *crowd) judge(out io.Writer, all map[string]kept, before, after held) {
	var calm, killed, dropped []time.Duration
	times := map[string][]time.Duration{}
	missed, most := 0, 0
	from := m.whole
	for _, r := range m.rounds {
		calm = append(calm, m.during(from, r.began, nil, r.kill)...) // the last of them met the kill
		from = r.ready
		what := "all connections cut"
		switch {
		case r.kill && len(r.hit) < len(m.fans):
			what = "kill -9 of a process with a part of the connections"
		case r.kill:
			what = "kill -9 of a process with all connections"
		}
		if r.kill {
			killed = append(killed, m.during(r.began, r.back, r.survivor, false)...)
		} else {
			dropped = append(dropped, m.during(r.began, r.back, nil, false)...)
			most = max(most, r.dials-len(r.hit))
		}
		for _, f := range m.fans {
			if !r.hit[f.n] {
				continue
			}
			took, n, ok := m.back(r, f, all[m.ops[f.op].ID].events)
			if !ok {
				m.violate("crowd: watcher %d never came back", f.n)
				continue
			}
			times[what] = append(times[what], took)
			missed += n
		}
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what, goal string, met bool, format string, args ...any) {
		word := ""
		if !met {
			word = "  MISSED"
			m.violate("goal missed: %s: %s: %s", what, goal, fmt.Sprintf(format, args...))
		}
		fmt.Fprintf(t, "%s\t%s\t%s%s\n", what, goal, fmt.Sprintf(format, args...), word)
	}
	fmt.Fprintf(t, "what\tgoal\tseen\n")
	for _, what := range slices.Sorted(maps.Keys(times)) {
		s := spreadOf(times[what])
		row(what+" → back, with all that was missed", fmt.Sprintf("p99 ≤ %v", backGoal), !m.plan.timed || s.P99.d() <= backGoal,
			"%d times: p50 %v, p99 %v, max %v", s.Count, s.P50.d(), s.P99.d(), s.Max.d())
	}
	quiet, busy, cut := spreadOf(calm), spreadOf(killed), spreadOf(dropped)
	row("requests while nothing is broken", "–", true, "%d: p50 %v, p99 %v, max %v", quiet.Count, quiet.P50.d(), quiet.P99.d(), quiet.Max.d())
	row("requests of the process that was not killed", fmt.Sprintf("p99 ≤ %d × that", apiFactor), !m.plan.timed || busy.P99 <= apiFactor*quiet.P99,
		"%d: p50 %v, p99 %v, max %v", busy.Count, busy.P50.d(), busy.P99.d(), busy.Max.d())
	row("requests while connections come back after a cut", "–", true, "%d: p50 %v, p99 %v, max %v", cut.Count, cut.P50.d(), cut.P99.d(), cut.Max.d())
	row("connections opened after a cut beyond one for each", "0", !m.plan.timed || most == 0, "%d", most)
	row("connections of one watcher at once, at most", "1", !m.plan.timed || m.balancer.mostAtOnce() == 1, "%d", m.balancer.mostAtOnce())
	row("goroutines of all web processes", fmt.Sprintf("%.0f and %d", before.goroutines, moreGoroutines*len(m.webs)),
		after.goroutines <= before.goroutines+float64(moreGoroutines*len(m.webs)), "%.0f", after.goroutines)
	row("open files of all web processes", fmt.Sprintf("%.0f and %d", before.files, moreFiles*len(m.webs)),
		after.files <= before.files+float64(moreFiles*len(m.webs)), "%.0f", after.files)
	row("connections to Redis", fmt.Sprintf("%d and %d", before.redis, moreClients*len(m.webs)),
		after.redis <= before.redis+int64(moreClients*len(m.webs)), "%d", after.redis)
	told := 0
	for _, f := range m.fans {
		told += len(f.told)
	}
	_ = t.Flush() // nobody to tell
	fmt.Fprintf(out, "%d faults; %d watchers of %d operations were told %d events, %d of them recorded between a fault and their return; each list is SQL's\n",
		len(m.rounds), len(m.fans), len(m.ops), told, missed)
}
