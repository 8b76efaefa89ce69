// Command chaos breaks a Chunkstream made of real processes, again and again, and then looks whether anything was lost.
//
// It starts web processes, workers, a Redis and a Postgres (or SQLite), keeps documents in flight and watched, and draws
// faults from one seeded schedule. Every fault must be seen to have bitten. At the end the load drains and everything
// that is promised is checked: the invariants in SQL, every chunk against a run without faults, every watcher's list
// against SQL's, every idempotency key, and that nothing was left behind. docs/reliability.md says what each check means.
//
//	go run ./cmd/chaos --store postgres --redis yes --faults 100 --redis-faults 30 --seed 1
//
// Exit status 0: nothing was violated. 1: something was; the seed, the command and the run's folder are printed. 2: the
// flags are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if what := os.Getenv(askerOf); what != "" {
		if err := ask(ctx, what, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// config is one run.
type config struct {
	store    string // sqlite or postgres
	redis    bool
	sentinel bool // a master, a replica and three sentinels in place of one Redis
	disk     bool // data and temporary files on a file system of their own
	machines bool // every process in a network of its own
	faults   int  // of processes
	redisN   int  // of Redis
	sqlN     int  // of the database
	seed     uint64
	lease    time.Duration
	soak     time.Duration // 0: no soak
	duration time.Duration // 0: until the faults are used up
	flows    int           // documents in flight
	webs     int           // web processes
	workers  int           // worker processes
	watchers int           // of each document from its beginning, at least
	small    bool          // most documents have less than 4 KiB
	outage   time.Duration // how long completions are measured without faults, and then again without Redis; 0: not at all
	record   string        // a file that gets a line of what the run has done; empty: none
	totals   string        // in place of a run: the file of such lines that is summed up
	measure  string        // in place of faults: one of measures
	folder   string
	program  string        // a build of the product with the tag crashpoints; empty: it is built
	overlay  string        // for the build, as go build -overlay takes it
	patience time.Duration // how long anything may take, on a machine that is busy with other things, before it counts as never
	only     string        // kinds of faults, separated by commas; empty: all
}

func parse(args []string, errs io.Writer) (config, error) {
	c := config{}
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.SetOutput(errs)
	redis := ""
	set.StringVar(&c.store, "store", "postgres", "`sqlite` or postgres")
	set.StringVar(&redis, "redis", "yes", "`yes`, no, or sentinel: a master, a replica and three sentinels; sqlite without redis is one process")
	set.BoolVar(&c.disk, "disk", false, "data and temporary files on a file system of their own, which gets full: needs root, and takes sqlite")
	set.BoolVar(&c.machines, "machines", false, "every process on a machine of its own, that is in a network namespace: needs root, and takes postgres and sentinel")
	set.IntVar(&c.faults, "faults", 100, "faults of processes")
	set.IntVar(&c.redisN, "redis-faults", 30, "faults of Redis")
	set.IntVar(&c.sqlN, "sql-faults", -1, "faults of the database; -1: one for every 20 of processes")
	set.Uint64Var(&c.seed, "seed", 0, "of the schedule and the load; 0 draws one")
	set.DurationVar(&c.lease, "lease", 500*time.Millisecond, "of the workers")
	set.DurationVar(&c.duration, "duration", 0, "stop drawing faults after this time; 0: when all are used up")
	set.DurationVar(&c.soak, "soak", 0, "in place of a number of faults: one every ten seconds for so long, at 60 % of what the processes can do at most")
	set.IntVar(&c.flows, "flows", 12, "documents in flight")
	set.IntVar(&c.webs, "webs", 2, "web processes, the first of which is never killed")
	set.IntVar(&c.workers, "workers", 3, "worker processes, the first of which is never killed")
	set.IntVar(&c.watchers, "watchers", 1, "of each document from its beginning, at least")
	set.BoolVar(&c.small, "small", false, "most documents have less than 4 KiB: more of them end between the faults")
	set.DurationVar(&c.outage, "outage", 0, "before the faults, how long completions are measured with Redis, and then as long without it; takes --redis yes")
	set.StringVar(&c.record, "record", "", "a `file` that gets one line of JSON: what the run has done and found")
	set.StringVar(&c.totals, "totals", "", "in place of a run: print, as a table in Markdown, what the runs recorded in this `file` come to")
	set.StringVar(&c.measure, "measure", "", "in place of a run with faults: take these `figures`, which have goals; --duration is that of each part. "+measureWords())
	set.DurationVar(&c.patience, "patience", time.Minute, "after which something that does not happen counts as never")
	set.StringVar(&c.folder, "folder", "", "where the run keeps everything; empty: a temporary one, kept when the run fails")
	set.StringVar(&c.program, "program", "", "a build of ./cmd/chunkstream with the tag crashpoints; empty: it is built")
	set.StringVar(&c.overlay, "overlay", "", "for that build, as go build -overlay takes it")
	set.StringVar(&c.only, "only", "", "draw these kinds of faults alone, separated by commas")
	if err := set.Parse(args); err != nil {
		return c, err
	}
	c.redis, c.sentinel = redis != "no", redis == "sentinel"
	if c.measure != "" {
		if err := c.checkMeasure(); err != nil {
			return c, err
		}
		leased := false
		set.Visit(func(f *flag.Flag) { leased = leased || f.Name == "lease" })
		if !leased {
			c.lease = measureLease
		}
	}
	switch {
	case c.store != "sqlite" && c.store != "postgres":
		return c, fmt.Errorf("--store %q is neither sqlite nor postgres", c.store)
	case redis != "yes" && redis != "no" && redis != "sentinel":
		return c, fmt.Errorf("--redis %q is neither yes, no nor sentinel", redis)
	case c.disk && c.store != "sqlite":
		return c, errors.New("--disk takes --store sqlite: Postgres ends when its disk is full")
	case c.machines && (c.store != "postgres" || !c.sentinel):
		return c, errors.New("--machines takes --store postgres and --redis sentinel: a file is on one machine")
	case set.NArg() > 0:
		return c, fmt.Errorf("%q is no flag", set.Arg(0))
	case c.flows < 1 || c.webs < 1 || c.workers < 2 || c.watchers < 1:
		return c, fmt.Errorf("--flows %d --webs %d --workers %d --watchers %d: at least one document, one web process, two workers and one watcher must be there",
			c.flows, c.webs, c.workers, c.watchers)
	case c.outage > 0 && redis != "yes":
		return c, errors.New("--outage takes --redis yes")
	}
	if !c.redis {
		c.redisN = 0
	}
	if c.sqlN < 0 {
		c.sqlN = c.faults / 20
	}
	for c.seed == 0 {
		c.seed = rand.Uint64()
	}
	if c.only != "" {
		for name := range strings.SplitSeq(c.only, ",") {
			if !known(name) {
				return c, fmt.Errorf("--only: there is no fault %q; there are %s", name, strings.Join(allKinds(), ", "))
			}
		}
	}
	return c, nil
}

// redisWord is what --redis says.
func (c config) redisWord() string {
	switch {
	case c.sentinel:
		return "sentinel"
	case c.redis:
		return "yes"
	}
	return "no"
}

// replay is the command that runs the same schedule again.
func (c config) replay() string {
	if c.measure != "" {
		s := fmt.Sprintf("go run ./cmd/chaos --measure %s --store %s --redis %s --webs %d --workers %d --lease %v --duration %v",
			c.measure, c.store, c.redisWord(), c.webs, c.workers, c.lease, c.duration)
		if c.small {
			s += " --small"
		}
		return s
	}
	s := fmt.Sprintf("go run ./cmd/chaos --store %s --redis %s --faults %d --redis-faults %d --sql-faults %d --seed %d --lease %v --flows %d",
		c.store, c.redisWord(), c.faults, c.redisN, c.sqlN, c.seed, c.lease, c.flows)
	if c.webs != 2 || c.workers != 3 {
		s += fmt.Sprintf(" --webs %d --workers %d", c.webs, c.workers)
	}
	if c.watchers != 1 {
		s += fmt.Sprintf(" --watchers %d", c.watchers)
	}
	if c.small {
		s += " --small"
	}
	if c.outage > 0 {
		s += fmt.Sprintf(" --outage %v", c.outage)
	}
	if c.soak > 0 {
		s += fmt.Sprintf(" --soak %v", c.soak)
	}
	if c.disk {
		s += " --disk"
	}
	if c.machines {
		s += " --machines"
	}
	if c.duration > 0 {
		s += fmt.Sprintf(" --duration %v", c.duration)
	}
	if c.only != "" {
		s += " --only " + c.only
	}
	return s
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	cfg, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		fmt.Fprintln(errs, "chaos:", err)
		return 2
	}
	if cfg.folder != "" { // servers are started elsewhere
		if cfg.folder, err = filepath.Abs(cfg.folder); err != nil {
			fmt.Fprintln(errs, "chaos:", err)
			return 1
		}
	}
	kept := cfg.folder != ""
	if cfg.totals != "" {
		return total(cfg.totals, out, errs)
	}
	if !kept {
		if cfg.folder, err = os.MkdirTemp("", "chunkstream-chaos-"); err != nil {
			fmt.Fprintln(errs, "chaos:", err)
			return 1
		}
	} else if err := os.MkdirAll(cfg.folder, 0o755); err != nil {
		fmt.Fprintln(errs, "chaos:", err)
		return 1
	}
	if cfg.program == "" {
		cfg.program = filepath.Join(cfg.folder, "chunkstream")
		if err := build(ctx, cfg); err != nil {
			fmt.Fprintln(errs, "chaos:", err)
			return 1
		}
	}
	c, err := newChaos(cfg)
	if err != nil {
		fmt.Fprintln(errs, "chaos:", err)
		return 1
	}
	fmt.Fprintf(out, "%s\n", cfg.replay())
	if cfg.measure != "" {
		c.among(ctx, func(ctx context.Context) { c.measure(ctx, out) })
		c.complain(out)
	} else {
		c.among(ctx, c.play)
		c.report(out)
	}
	if err := c.record(ctx); err != nil {
		fmt.Fprintln(errs, "chaos:", err)
		return 1
	}
	if len(c.violations) > 0 {
		fmt.Fprintf(out, "\nFAILED with seed %d. Again:\n  %s\nEverything of this run is in %s\n", cfg.seed, cfg.replay(), cfg.folder)
		return 1
	}
	if !kept {
		if err := os.RemoveAll(cfg.folder); err != nil {
			fmt.Fprintln(errs, "chaos:", err)
		}
	}
	return 0
}

// build makes the product as it is shipped, but for the named places where it can be killed.
func build(ctx context.Context, cfg config) error {
	args := []string{"build", "-tags", "crashpoints", "-o", cfg.program}
	if cfg.overlay != "" {
		args = append(args, "-overlay", cfg.overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "chunkstream/cmd/chunkstream")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the product: %w\n%s", err, text)
	}
	return nil
}

// pause waits, and says whether it was not cut short.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
