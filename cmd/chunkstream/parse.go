package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"chunkstream/chunk"
	"chunkstream/sandbox"
	"chunkstream/worker"
)

// parseChild is what a child of the service runs, see package sandbox: it cuts texts until its parent is done with it, with
// no more memory than so many bytes beyond what it has. Nobody types it, and it starts for the first text of a format, so it
// does without the commands and flags of the program, which take half of its start. The signals that end a service are
// for the parent, which may still want the chunks.
func parseChild(memory string) (code int) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	bytes, err := strconv.ParseInt(memory, 10, 64)
	if err == nil {
		err = sandbox.Serve(os.Stdin, os.Stdout, bytes, parser.Parse)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chunkstream:", err)
		return exitFailed
	}
	return 0
}

// parseFlags bound what the text of a document can do to the process.
type parseFlags struct {
	Isolate     string        `enum:"formats,all,none" default:"formats" help:"Which texts are cut in child processes: those of strategies that parse a format, all, or none."`
	ParseTime   time.Duration `default:"60s" help:"How long a child may take over one text before it is killed."`
	ParseMemory int64         `default:"512" help:"MiB of memory a child may take before it dies."`
}

// formats are the strategies that parse a format, and so do the more the stranger their text is. The others count and
// compare what is in a window. docs/decisions has the measurement.
var formats = []string{"markdown", "table", "hybrid", "document_structure", "html", "code"}

// isolated says whether a strategy's texts are cut in a child.
func (f parseFlags) isolated(strategy string) bool {
	return f.Isolate == "all" || f.Isolate == "formats" && slices.Contains(formats, strategy)
}

// cutter cuts texts in this process or in a child, as the flags say.
type cutter struct {
	parseFlags
	pool *sandbox.Pool
}

// here is worker.Config.Here.
func (c cutter) here(strategy string) bool { return !c.isolated(strategy) }

// split is worker.Config.Split.
func (c cutter) split(ctx context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
	if !c.isolated(plan.Strategy) {
		return chunk.Guard(plan.Strategy, plan.Splitter, text)
	}
	return func(yield func(chunk.Chunk, error) bool) {
		for ch, err := range c.pool.Split(ctx, plan, text, 0) {
			if died, ok := errors.AsType[*sandbox.Error](err); ok {
				err = &worker.CrashError{Code: died.Code, Detail: died.Detail}
			} else if errors.Is(err, sandbox.ErrUnavailable) {
				err = fmt.Errorf("%w: %w", worker.ErrNoProcess, err)
			}
			if !yield(ch, err) {
				return
			}
		}
	}
}
