package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"chunkstream/check"
	"chunkstream/chunk"
)

// lintCmd checks the chunks of files.
type lintCmd struct {
	Paths    []string `arg:"" name:"path" help:"Files, folders, patterns such as 'docs/**/*.md', or - for standard input."`
	Strategy string   `default:"auto" help:"How to cut, see docs/strategies.md; auto: by what each file is."`
	settingFlags
	sourceFlags

	Allow []string `placeholder:"KIND" help:"What may be: over_limit, not_covered, torn_word, open_fence, torn_table, orphan_heading or near_duplicate. May be given again."`
	JSON  bool     `name:"json" help:"Print each problem as a line of JSON."`
	Quiet bool     `short:"q" help:"Print no summary."`
}

// Flaw is one line of what --json prints.
type Flaw struct {
	Document string `json:"document"`
	check.Problem
}

// Help is what --help shows below the flags.
func (lintCmd) Help() string {
	return `Examples:
  chunkstream lint README.md                        what is wrong with its chunks
  chunkstream lint docs/ --strategy recursive --chunk-size 512 --unit tokens
  chunkstream lint docs/ --allow near_duplicate     for CI: copies may be
  git diff --name-only main -- '*.md' | xargs chunkstream lint

Each problem is a line "file:line: kind: what"; docs/strategies.md says what the kinds mean.

Exit codes: 0 nothing is wrong; 1 something is, or a file could not be read; 2 wrong flags; 3 nothing matched.`
}

// Run checks each file and prints what is wrong on standard output.
func (c *lintCmd) Run(ctx context.Context, screen *screen) error {
	for _, kind := range c.Allow {
		if !slices.Contains(check.Kinds(), check.Kind(kind)) {
			return &exitError{exitUsage, fmt.Errorf("--allow: %q is not a kind of problem", kind), fmt.Sprintf("one of %v", check.Kinds())}
		}
	}
	job := &cutting{stdin: screen.in, encoding: c.Encoding}
	var err error
	if job.policy, err = c.policy(); err != nil {
		return err
	}
	if c.Strategy == "auto" {
		job.choose = c.byFormat
	} else if job.plan, err = c.plan(c.Strategy); err != nil {
		return err
	}
	found, err := c.sourceFlags.find(c.Paths, screen.err)
	if err != nil {
		return err
	}
	failed, wrong, chunks := 0, 0, 0
	for _, f := range found {
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted"), ""}
		}
		doc, plan, err := job.read(f)
		var all []chunk.Detail
		if err == nil {
			for d, derr := range job.describer.Describe(plan, doc.Text) {
				err = derr
				all = append(all, d)
			}
		}
		if err != nil {
			failed++
			fmt.Fprintf(screen.err, "! %s: %v\n", f.Path, err)
			continue
		}
		chunks += len(all)
		for _, p := range check.Chunks(plan, doc.Format.Kind, doc.Text, all).Problems {
			if slices.Contains(c.Allow, string(p.Kind)) {
				continue
			}
			wrong++
			if c.JSON {
				err = json.NewEncoder(screen.out).Encode(Flaw{f.Path, p})
			} else {
				_, err = fmt.Fprintf(screen.out, "%s:%v\n", f.Path, p)
			}
			if err != nil {
				return written(err)
			}
		}
	}
	if !c.Quiet && !c.JSON {
		fmt.Fprintf(screen.err, "%d files · %d chunks · %d problems\n", len(found)-failed, chunks, wrong)
	}
	if err := c.failed(failed, len(found)); err != nil {
		return err
	}
	return foundWrong(wrong)
}
