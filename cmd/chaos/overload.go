package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"chunkstream/event"
)

// What is offered is a multiple of what the same processes did at their best just before.
var overloads = []float64{0.5, 1, 2, 3}

const (
	overloadClients = 64  // of the peak, each waiting for its operation's end
	overloadWires   = 512 // requests in flight at most
	overloadPart    = 15 * time.Second
	overloadWarm    = 3 * time.Second
	refuseWithin    = 10 * time.Millisecond // p99
	goodputShare    = 0.9                   // of the peak, at the greatest load
)

// pressed is what one level of load has come to.
type pressed struct {
	share                   float64
	offered, missed, failed int
	accepted                int
	refused                 map[string]int // by status and code
	bare                    int            // refusals that do not say when to come back
	refusals, waits         []time.Duration
	completed               int // within the level
	rss                     float64
	over, drained           time.Duration
}

// overload finds the peak and then offers shares and multiples of it, with the limits that the product has of itself.
func (c *chaos) overload(ctx context.Context, out io.Writer) {
	over := c.cfg.duration
	if over == 0 {
		over = overloadPart
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
	var numbers atomic.Int64
	wires := make([]*wire, overloadWires)
	sheets := map[*wire]sheet{}
	for i := range wires {
		wires[i] = &wire{p: webs[i%len(webs)]}
		defer wires[i].close()
		sheets[wires[i]] = newSheet(text[i*997:])
	}
	submit := func(w *wire) (reply, error) {
		return w.ask("POST", "/v1/operations?strategy=recursive", sheets[w].number(numbers.Add(1)))
	}
	peak := c.peak(ctx, ends, wires[:overloadClients], submit, over)
	fmt.Fprintf(out, "peak, %d clients that each wait for the end: %.0f completed a second\n", overloadClients, peak)
	unanswered := 0
	var levels []pressed
	for _, share := range overloads {
		l := c.press(ctx, ends, webs, wires, submit, share, peak*share, over)
		unanswered += l.failed
		levels = append(levels, l)
		if ctx.Err() != nil {
			return
		}
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "load\toffered/s\tnot offered\taccepted/s\trefused/s\tcompleted/s\tof peak\trefused in p50\tp99\taccepted → end p50\tp99\trss of a web process\tdrained in\n")
	for _, l := range levels {
		per := func(n int) string { return fmt.Sprintf("%.0f", float64(n)/l.over.Seconds()) }
		var refused []string
		for _, what := range slices.Sorted(maps.Keys(l.refused)) {
			refused = append(refused, per(l.refused[what])+" × "+what)
		}
		if l.failed > 0 {
			refused = append(refused, per(l.failed)+" × no answer")
		}
		fmt.Fprintf(t, "%g×\t%s\t%d\t%s\t%s\t%s\t%.0f %%\t%s\t%s\t%s\t%s\t%.0f MiB\t%v\n", l.share, per(l.offered), l.missed, per(l.accepted),
			strings.Join(refused, ", "), per(l.completed), 100*float64(l.completed)/l.over.Seconds()/peak,
			short(quantile(l.refusals, 0.5)), short(quantile(l.refusals, 0.99)), short(quantile(l.waits, 0.5)), short(quantile(l.waits, 0.99)),
			l.rss/(1<<20), l.drained.Round(100*time.Millisecond))
	}
	_ = t.Flush() // nobody to tell
	last := levels[len(levels)-1]
	goodput := float64(last.completed) / last.over.Seconds()
	c.verdict(out, goodput >= goodputShare*peak, "completed at %g× ≥ %.0f %% of the peak: %.0f of %.0f a second", last.share, 100*goodputShare, goodput, peak)
	refusals, bare := 0, 0
	for _, l := range levels {
		refusals, bare = refusals+len(l.refusals), bare+l.bare
		if len(l.refusals) > 0 {
			p99 := quantile(l.refusals, 0.99)
			c.verdict(out, p99 <= refuseWithin, "refused within %v at %g× (p99): %s", refuseWithin, l.share, short(p99))
		}
	}
	c.verdict(out, bare == 0, "every refusal says when to come back: %d of %d do not", bare, refusals)
	c.kept(ctx, out, ends.accepted, unanswered)
}

// kept compares what was accepted with what the database has.
func (c *chaos) kept(ctx context.Context, out io.Writer, accepted, unanswered int) {
	var all, completed, cancelled int
	err := c.db.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN status = 'completed' THEN 1 END), count(CASE WHEN status = 'cancelled' THEN 1 END)
  FROM operations`).Scan(&all, &completed, &cancelled)
	if err != nil {
		c.violate("count the operations: %v", err)
		return
	}
	c.verdict(out, all == completed+cancelled && all >= accepted && all <= accepted+unanswered,
		"what was accepted has ended: %d accepted, %d without an answer, %d in the database, %d completed, %d cancelled as asked",
		accepted, unanswered, all, completed, cancelled)
}

// peak is how many operations a second are completed while so many clients each have one in flight.
func (c *chaos) peak(ctx context.Context, ends *ends, wires []*wire, submit func(*wire) (reply, error), over time.Duration) float64 {
	from := time.Now().Add(min(overloadWarm, over))
	until := from.Add(over)
	var all sync.WaitGroup
	for _, w := range wires {
		all.Go(func() {
			for time.Now().Before(until) && ctx.Err() == nil {
				began := time.Now()
				a, err := submit(w)
				if err != nil || a.status != http.StatusAccepted {
					c.violate("at the peak: %d %s, %v", a.status, a.code, err)
					return
				}
				select {
				case <-ends.submitted(a.id, began).over:
				case <-time.After(c.cfg.patience):
					c.violate("the end of %s was not heard of within %v", a.id, c.cfg.patience)
					return
				}
			}
		})
	}
	all.Wait()
	within := 0
	for _, f := range ends.take() {
		if f.ended.After(from) && f.ended.Before(until) {
			within++
		}
	}
	return float64(within) / over.Seconds()
}

// press offers so many documents a second and waits until all that were accepted have ended.
func (c *chaos) press(ctx context.Context, ends *ends, webs []*process, wires []*wire, submit func(*wire) (reply, error),
	share, rate float64, over time.Duration) pressed {
	l := pressed{share: share, over: over, refused: map[string]int{}}
	var mu sync.Mutex
	began := time.Now()
	l.offered, l.missed = open(ctx, rate, over, wires, func(w *wire, _ int) {
		sent := time.Now()
		a, err := submit(w)
		if err == nil && a.status == http.StatusAccepted {
			ends.submitted(a.id, sent)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			l.failed++
			c.note(map[string]any{"no answer": err.Error()})
			return
		}
		l.refused[fmt.Sprint(a.status, " ", a.code)]++
		l.refusals = append(l.refusals, a.took)
		if !a.retry {
			l.bare++
		}
	})
	for _, p := range webs {
		if m, err := p.metrics(ctx); err == nil {
			l.rss = max(l.rss, m["process_resident_memory_bytes"])
		}
	}
	late := time.Now()
	if left := ends.drained(ctx, c.cfg.patience); left > 0 {
		c.violate("%d operations that were accepted at %g× had not ended %v later", left, share, c.cfg.patience)
	}
	l.drained = time.Since(late)
	for _, f := range ends.take() {
		if f.answered.IsZero() {
			continue // of a submission without an answer
		}
		l.accepted++
		if f.ended.IsZero() {
			continue
		}
		if f.how != event.Completed {
			c.violate("an operation ended as %s at %g×", f.how, share)
		}
		if f.ended.Before(began.Add(over)) {
			l.completed++
		}
		l.waits = append(l.waits, max(0, f.ended.Sub(f.answered)))
	}
	return l
}
