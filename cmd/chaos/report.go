package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints what was done, and every violation.
func (c *chaos) report(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\nfault\tbitten\tdrawn again\n")
	var never []string
	for _, lane := range laneNames {
		for _, k := range lanes[lane] {
			if n := c.tally[k.name]; n != nil {
				fmt.Fprintf(t, "%s\t%d\t%d\n", k.name, n.bitten, n.redrawn)
			}
		}
		for _, k := range drawable(c.cfg, lane) {
			if c.tally[k.name] == nil && c.cfg.wanted(lane) > 0 {
				never = append(never, k.name)
			}
		}
	}
	if len(never) > 0 {
		fmt.Fprintf(t, "never come to: %s\n", strings.Join(never, ", "))
	}
	fmt.Fprintf(t, "\nmeasured\tcount\tp50\tp99\tmax\tgoal\n")
	for _, what := range slices.Sorted(maps.Keys(c.took)) {
		s := c.spread(what)
		fmt.Fprintf(t, "%s\t%d\t%v\t%v\t%v\t%s\n", what, s.Count, s.P50.d(), s.P99.d(), s.Max.d(), c.goal(what, s))
	}
	if len(c.slopes) > 0 {
		fmt.Fprintf(t, "\nafter a third of the soak\tof\tmedian\tgrown by\tallowed\n")
		for _, line := range c.slopes {
			fmt.Fprintln(t, line)
		}
	}
	_ = t.Flush() // nobody to tell
	if l := c.load; l != nil {
		fmt.Fprintf(out, "\n%d documents, %d submissions repeated under their key; %d events delivered, streams opened again %d times\n",
			len(l.tickets), l.repeated.Load(), l.delivered.Load()+int64(c.told), l.reconnects.Load())
		fmt.Fprintf(out, "%d of these events to watchers of everything of an owner's; %d operations told anew within a connection\n", c.told, c.anew)
		fmt.Fprintf(out, "%d documents deleted, %d operations run again by hand; %d failed for good, as they had to; %d batches\n",
			l.deleted.Load(), l.retried.Load(), l.failed.Load(), len(l.batches))
		told, again := c.receiver.deliveries()
		fmt.Fprintf(out, "%d deliveries to webhooks, %d repetitions of them; the receiver failed %d times\n", told, again, c.receiver.failed.Load())
		if len(c.owners) > 1 {
			fmt.Fprintf(out, "%d owners; %d times one asked for what is another's\n", len(c.owners), l.trespasses.Load())
		} else {
			fmt.Fprintf(out, "one owner, as for everybody on loopback: that nobody is told of what is another's is not tried here\n")
		}
	}
	fmt.Fprintf(out, "faults that bit: %d of processes, %d of Redis, %d of the database; %d violations, in %v\n", c.bitten("process"),
		c.bitten("redis"), c.bitten("sql"), len(c.violations)+c.hidden, time.Since(c.began).Round(100*time.Millisecond))
	c.complain(out)
}

// complain prints every violation.
func (c *chaos) complain(out io.Writer) {
	for _, v := range c.violations {
		fmt.Fprintf(out, "VIOLATED %s\n", v)
	}
	if c.hidden > 0 {
		fmt.Fprintf(out, "and %d more\n", c.hidden)
	}
}
