package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"text/tabwriter"
	"time"

	"chunkstream/event"
)

const (
	slowRate  = 100.0 // requests a second
	slowWires = 64    // of them in flight at most
	slowPart  = 20 * time.Second
	slowLate  = 500 * time.Millisecond // every piece of data of Redis, in each direction,
	slowBy    = 200 * time.Millisecond // give or take
)

// What a request of the trickle asks for; of every five, two are submissions, of which one is to be cancelled.
const (
	toSubmit = "submit"
	toGet    = "state"
	toPage   = "chunks"
	toCancel = "cancel"
)

var trickle = []string{toSubmit, toGet, toSubmit, toCancel, toPage}

// pace is how the service was while Redis was in one state.
type pace struct {
	name        string
	took        map[string][]time.Duration // by what was asked for
	all         []time.Duration
	completions []time.Duration // from a submission until its end is heard of
	runs        []time.Duration // from the claim until the end, by SQL
	missed      int
}

// slowRedis compares an even trickle of requests while Redis is whole with the same while it is slow, and while it is silent.
func (c *chaos) slowRedis(ctx context.Context, out io.Writer) {
	over := c.cfg.duration
	if over == 0 {
		over = slowPart
	}
	webs := c.webProcesses()
	ends, err := c.hear(ctx, webs[0])
	if err != nil {
		c.violate("%v", err)
		return
	}
	defer ends.stop()
	text, err := sources(1 << 20)
	if err != nil {
		c.violate("%v", err)
		return
	}
	t := &trickler{c: c, ends: ends, sheet: newSheet(text)}
	for i := range slowWires {
		w := &wire{p: webs[i%len(webs)]}
		defer w.close()
		t.wires = append(t.wires, w)
	}
	a, err := t.wires[0].ask(http.MethodPost, "/v1/operations?strategy=recursive", t.sheet.number(0))
	if err != nil || a.status != http.StatusAccepted {
		c.violate("the first document: %d %s, %v", a.status, a.code, err)
		return
	}
	ends.submitted(a.id, time.Now())
	ends.drained(ctx, c.cfg.patience)
	t.known = a.id
	t.run(ctx, "warm-up", over/4)
	before := c.redProxy.Counts()
	all := []pace{t.run(ctx, "whole", over)}
	var late sync.WaitGroup
	slow, whole := context.WithCancel(ctx)
	late.Go(func() {
		for pause(slow, 5*time.Millisecond) {
			c.redProxy.Delay(slowLate - slowBy + rand.N(2*slowBy))
		}
		c.redProxy.Delay(0)
	})
	all = append(all, t.run(ctx, fmt.Sprintf("%v ± %v late", slowLate, slowBy), over))
	whole()
	late.Wait()
	if c.redProxy.Counts().Delayed == before.Delayed {
		c.violate("nothing of Redis was late")
	}
	c.whenReady(ctx, redisBack)
	before = c.redProxy.Counts()
	c.redProxy.Deafen()
	all = append(all, t.run(ctx, "silent", over))
	c.redProxy.Hear()
	if c.redProxy.Counts().Swallowed == before.Swallowed {
		c.violate("nothing of Redis was swallowed")
	}
	c.whenReady(ctx, redisBack)
	all = append(all, t.run(ctx, "whole again", over))
	t.print(out, all)
	for _, d := range c.took[redisBack] {
		c.verdict(out, d <= 2*time.Second, "Redis back → ready within 2 s: %s", short(d))
	}
	c.kept(ctx, out, ends.accepted, t.failed)
}

// trickler makes the requests.
type trickler struct {
	c     *chaos
	ends  *ends
	wires []*wire

	mu      sync.Mutex
	sheet   sheet
	numbers int64
	victims []string // to be cancelled
	known   string   // an operation that is completed
	failed  int      // submissions without an answer
}

// run makes requests for a time, waits until all that was submitted has ended, and says how it was.
func (t *trickler) run(ctx context.Context, name string, over time.Duration) pace {
	p := pace{name: name, took: map[string][]time.Duration{}}
	var from int64
	if err := t.c.db.QueryRowContext(ctx, `SELECT coalesce(max(num), 0) FROM operations`).Scan(&from); err != nil {
		t.c.violate("%v", err)
	}
	_, p.missed = open(ctx, slowRate, over, t.wires, func(w *wire, i int) {
		what := trickle[i%len(trickle)]
		t.mu.Lock()
		id := t.known
		if what == toCancel && len(t.victims) > 0 {
			id, t.victims = t.victims[0], t.victims[1:]
		}
		var body []byte
		if what == toSubmit {
			t.numbers++
			body = append(body, t.sheet.number(t.numbers)...)
		}
		t.mu.Unlock()
		sent := time.Now()
		var a reply
		var err error
		switch what {
		case toSubmit:
			a, err = w.ask(http.MethodPost, "/v1/operations?strategy=recursive", body)
		case toGet:
			a, err = w.ask(http.MethodGet, "/v1/operations/"+id, nil)
		case toPage:
			a, err = w.ask(http.MethodGet, "/v1/operations/"+id+"/chunks?limit=100", nil)
		case toCancel:
			a, err = w.ask(http.MethodPost, "/v1/operations/"+id+"/cancel", nil)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if err != nil || a.status >= 300 {
			t.c.violate("Redis %s: %s: %d %s, %v", name, what, a.status, a.code, err)
			t.failed++
			return
		}
		p.took[what] = append(p.took[what], a.took)
		p.all = append(p.all, a.took)
		if what == toSubmit {
			t.ends.submitted(a.id, sent)
			if i%len(trickle) == 2 {
				t.victims = append(t.victims, a.id)
			}
		}
	})
	if left := t.ends.drained(ctx, t.c.cfg.patience); left > 0 {
		t.c.violate("Redis %s: %d operations had not ended %v later", name, left, t.c.cfg.patience)
	}
	t.victims = nil
	for _, f := range t.ends.take() {
		if f.how == event.Completed && !f.answered.IsZero() {
			p.completions = append(p.completions, f.ended.Sub(f.began))
		}
	}
	rows, err := t.c.db.QueryContext(ctx, `SELECT finished_at - started_at FROM operations WHERE num > $1 AND status = 'completed'`, from)
	if err != nil {
		t.c.violate("%v", err)
		return p
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var ms int64
		if err := rows.Scan(&ms); err != nil {
			t.c.violate("%v", err)
			return p
		}
		p.runs = append(p.runs, time.Duration(ms)*time.Millisecond)
	}
	if err := rows.Err(); err != nil {
		t.c.violate("%v", err)
	}
	return p
}

// print prints all, and compares all but the first with that.
func (t *trickler) print(out io.Writer, all []pace) {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(table, "Redis\trequests\tp50\tp99\tlongest\tp99 of submit\tstate\tchunks\tcancel\tnot made\tsubmitted → end p50\tp99\tclaimed → end p99\n")
	for _, p := range all {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", p.name, len(p.all), short(quantile(p.all, 0.5)), short(quantile(p.all, 0.99)),
			short(quantile(p.all, 1)), short(quantile(p.took[toSubmit], 0.99)), short(quantile(p.took[toGet], 0.99)), short(quantile(p.took[toPage], 0.99)),
			short(quantile(p.took[toCancel], 0.99)), p.missed, short(quantile(p.completions, 0.5)), short(quantile(p.completions, 0.99)), short(quantile(p.runs, 0.99)))
	}
	_ = table.Flush() // nobody to tell
	first := all[0]
	longer := func(d time.Duration) time.Duration { return max(d*6/5, d+10*time.Millisecond) }
	for _, p := range all[1:] {
		most, seen := longer(quantile(first.all, 0.99)), quantile(p.all, 0.99)
		t.c.verdict(out, seen <= most, "Redis %s: a request takes at most %s (p99): %s", p.name, short(most), short(seen))
		most, seen = quantile(first.completions, 0.99)+2*time.Second, quantile(p.completions, 0.99)
		t.c.verdict(out, seen <= most, "Redis %s: from a submission to its end at most %s (p99): %s", p.name, short(most), short(seen))
		most, seen = longer(quantile(first.runs, 0.99)), quantile(p.runs, 0.99)
		t.c.verdict(out, seen <= most, "Redis %s: from a claim to the end at most %s (p99): %s", p.name, short(most), short(seen))
	}
}
