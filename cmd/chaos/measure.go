package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// measures are figures that are taken of whole processes in place of a run with faults, by the word that --measure takes.
// Each finds the processes ready, prints what it has seen beside its goals, notes a goal that was missed as a violation, and
// leaves nothing under way.
var measures = map[string]func(c *chaos, ctx context.Context, out io.Writer){
	"overload":   (*chaos).overload,
	"slow-redis": (*chaos).slowRedis,
	"crowd":      (*chaos).crowd,
}

// measureLease is the lease of what is measured, unless another one is asked for: the product's own.
const measureLease = 5 * time.Second

// checkMeasure says what is wrong with --measure.
func (c config) checkMeasure() error {
	switch _, there := measures[c.measure]; {
	case !there:
		return fmt.Errorf("--measure %q is none of: %s", c.measure, measureWords())
	case c.measure == "slow-redis" && (!c.redis || c.sentinel):
		return errors.New("--measure slow-redis takes --redis yes")
	case c.record != "" || c.soak > 0 || c.outage > 0:
		return errors.New("--measure takes the place of a run: --record, --soak and --outage are of one")
	}
	return nil
}

// measure takes the figures that --measure names. Whatever they are, all processes end in order and the database is sound.
func (c *chaos) measure(ctx context.Context, out io.Writer) {
	measures[c.cfg.measure](c, ctx, out)
	c.stop(ctx)
	c.sound(ctx)
	fmt.Fprintf(out, "%d violations, in %v\n", len(c.violations)+c.hidden, time.Since(c.began).Round(100*time.Millisecond))
}

// measureWords are what --measure takes.
func measureWords() string { return strings.Join(slices.Sorted(maps.Keys(measures)), ", ") }
