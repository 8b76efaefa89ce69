package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"chunkstream/chunk"
	"chunkstream/files"
)

// compareCmd cuts one file by several strategies.
type compareCmd struct {
	Path       string   `arg:"" help:"A file, or - for standard input."`
	Strategies []string `arg:"" optional:"" name:"strategy" help:"The strategies, two or more; default: all."`
	settingFlags

	JSON bool `name:"json" help:"Print one JSON object a strategy instead of a table."`

	stdin  io.Reader
	stdout io.Writer
}

// Comparison is one line of what --json prints. Sizes are in the unit of the settings.
type Comparison struct {
	Strategy string  `json:"strategy"`
	Refused  string  `json:"refused,omitempty"` // why the strategy does not take the settings
	Chunks   int     `json:"chunks"`
	Unit     string  `json:"unit"`
	Least    int     `json:"least"`
	Median   int     `json:"median"`
	Mean     float64 `json:"mean"`
	P95      int     `json:"p95"`
	Most     int     `json:"most"`
	// Good is the share of cuts at the end of a sentence or something better, Torn of those inside of a word.
	Good float64 `json:"good_cuts"`
	Torn float64 `json:"torn_words"`
	// Shared is the share of cuts that the first strategy has too.
	Shared  float64 `json:"shared_cuts"`
	Seconds float64 `json:"seconds"` // to cut and describe, once, on one core
}

// Help is what --help shows below the flags.
func (compareCmd) Help() string {
	return `Examples:
  chunkstream compare README.md                                   all strategies
  chunkstream compare README.md recursive markdown optimal --chunk-size 512 --unit tokens
  chunkstream compare notes.txt recursive sentence --json`
}

// Run compares and prints.
func (c *compareCmd) Run(ctx context.Context) error {
	if c.stdout == nil {
		c.stdin, c.stdout = os.Stdin, os.Stdout
	}
	names, all := c.Strategies, len(c.Strategies) == 0
	if all {
		for _, info := range chunk.Strategies() {
			names = append(names, info.Name)
		}
	}
	if len(names) == 1 {
		return &exitError{exitUsage, errors.New("one strategy compares with nothing"), "name two or more, or none for all"}
	}
	var plans []chunk.Plan
	var results []Comparison
	for _, name := range names {
		plan, err := c.plan(name)
		if err != nil && !all {
			return err
		}
		r := Comparison{Strategy: name}
		if err != nil {
			r.Refused = err.Error()
		}
		plans, results = append(plans, plan), append(results, r)
	}
	doc, _, err := (&cutting{stdin: c.stdin}).read(files.File{Path: c.Path})
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("%s: %w", c.Path, err), ""}
	}
	var first map[int]bool
	for i, plan := range plans {
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted"), ""}
		}
		if plan.Splitter == nil {
			continue
		}
		cuts, err := results[i].measure(plan, doc.Text, first)
		if err != nil {
			return err
		}
		if first == nil {
			first = cuts
		}
	}
	return c.print(results)
}

// measure cuts text, and gives where it was cut on the last level.
func (r *Comparison) measure(plan chunk.Plan, text string, first map[int]bool) (map[int]bool, error) {
	begin := time.Now()
	var all []chunk.Detail
	for d, err := range (chunk.Describer{}).Describe(plan, text) {
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	r.Strategy, r.Unit, r.Seconds, r.Chunks = plan.Strategy, unitOf(plan), time.Since(begin).Seconds(), len(all)
	if len(all) == 0 {
		return map[int]bool{}, nil
	}
	s := sizesOf(all)
	r.Least, r.Median, r.P95, r.Most, r.Mean = s.least, s.median, s.p95, s.most, float64(s.sum)/float64(len(all))
	cuts, good, torn, shared, n := map[int]bool{}, 0, 0, 0, 0
	for _, d := range all {
		if d.Boundary == chunk.End {
			continue
		}
		n++
		cuts[d.End] = true
		if d.Boundary >= chunk.Sentence {
			good++
		}
		if d.Boundary == chunk.Character {
			torn++
		}
		if first == nil || first[d.End] {
			shared++
		}
	}
	if n > 0 {
		r.Good, r.Torn, r.Shared = float64(good)/float64(n), float64(torn)/float64(n), float64(shared)/float64(n)
	}
	return cuts, nil
}

func (c *compareCmd) print(results []Comparison) error {
	if c.JSON {
		e := json.NewEncoder(c.stdout)
		for _, r := range results {
			if err := e.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	row := func(format string, values ...any) { _, _ = fmt.Fprintf(t, format+"\n", values...) } // Flush reports what went wrong
	row("strategy\tchunks\tleast\tmedian\tmean\tp95\tmost\tgood cuts\ttorn words\tas the first\ttime")
	for _, r := range results {
		if r.Refused != "" {
			row("%s\t%s", r.Strategy, r.Refused)
			continue
		}
		row("%s\t%d\t%d\t%d\t%.0f\t%d\t%d\t%.0f %%\t%.0f %%\t%.0f %%\t%s", r.Strategy, r.Chunks, r.Least, r.Median, r.Mean, r.P95, r.Most,
			100*r.Good, 100*r.Torn, 100*r.Shared, time.Duration(r.Seconds*1e9).Round(time.Microsecond))
	}
	return t.Flush()
}
