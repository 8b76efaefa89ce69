package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTotals: what docs/reliability.md says the recorded runs come to is what they come to.
func TestTotals(t *testing.T) {
	t.Parallel()
	docs := filepath.Join("..", "..", "docs")
	all, err := read(filepath.Join(docs, "reliability-totals.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(filepath.Join(docs, "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := table(all); !strings.Contains(string(said), want) {
		t.Errorf("docs/reliability.md has not what\n  go run ./cmd/chaos --totals docs/reliability-totals.jsonl\nprints:\n%s", want)
	}
	for _, r := range all {
		if len(r.Violations) > 0 && r.Because == "" {
			t.Errorf("seed %d: nobody says what its violations came from", r.Seed)
		}
	}
}

// TestRecordedRuns writes runs and sums them up, all and by the version of the checks: those with violations are in it, those
// of versions that there are not are not.
func TestRecordedRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "runs.jsonl")
	for n := range 3 {
		c := judged(t)
		c.cfg = config{store: "sqlite", redis: true, record: path, seed: uint64(n), lease: time.Second}
		for range 1000 {
			c.count("kill", outcome{bitten: true})
			c.count("redis-cut", outcome{})
		}
		c.measured(killResumed, time.Duration(n)*time.Second)
		c.measured(killResumed+disturbed, time.Hour)
		if n == 2 {
			c.violate("I5: lost\nand more")
		}
		if err := c.record(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{0, 1, semantics + 1} {
		if _, err := fmt.Fprintf(file, `{"semantics":%d,"store":"sqlite","redis":"yes","process":5}`+"\n", version); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"--totals", path}, &out, &errs); code != 0 {
		t.Fatalf("%d: %s", code, errs.String())
	}
	for _, want := range []string{
		"| SQLite and Redis | 4 | 3,005 | 0 | 0 | 0 | 0 | 0 | 1 |\n", "| all | 4 | 3,005 | 0 |",
		"| version 1 of the checks | 1 | 5 | 0 |", fmt.Sprintf("| version %d of the checks | 3 | 3,000 | 0 | 0 | 0 | 0 | 0 | 1 |\n", semantics),
		"| kill → resumed, lease 1s | 3 | 1s | 2s | 2s |\n", "- sqlite, Redis yes, seed 2, commit ", ": I5: lost.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// TestTimeline: what was broken at any moment of a time is found, whether it is whole again or not.
func TestTimeline(t *testing.T) {
	t.Parallel()
	c := judged(t)
	c.processes = []*process{{name: "web1", web: true}, {name: "worker1", works: true}, {name: "worker2", works: true}}
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	c.times.begin("worker1", at(-10))
	c.times.end("worker1") // about now
	c.times.begin("worker2", at(-3))
	c.times.begin(aFreeze+"web1", at(-20))
	c.times.begin(aFreeze+"web1", at(-2)) // it has been for long
	c.times.end(aFreeze + "web1")
	c.times.end("nothing")
	c.times.begin(theDatabase, at(60))
	for _, s := range []struct {
		from, to      int
		alone, manned bool
	}{
		{-30, -21, true, true},
		{-30, -19, false, true}, // frozen at its end
		{-15, -12, false, true}, // frozen for all of it
		{-9, -4, false, true},   // the second worker was there
		{-9, -2, false, false},  // and was not
		{10, 20, true, true},    // the first one is there again
		{10, 61, false, true},   // the database is not
		{100, 110, false, true}, // nor is it later
	} {
		if alone, manned := c.alone(at(s.from), at(s.to)), c.manned(at(s.from), at(s.to)); alone != s.alone || manned != s.manned {
			t.Errorf("%d to %d: alone %v, manned %v, want %v, %v", s.from, s.to, alone, manned, s.alone, s.manned)
		}
	}
}

// TestGoals: a goal that was missed is told.
func TestGoals(t *testing.T) {
	t.Parallel()
	c := judged(t)
	c.cfg.lease = 5 * time.Second
	c.measured(withRedis, time.Second)
	for what, most := range map[string]time.Duration{
		killResumed: 7 * time.Second, termEnded: 2 * time.Second, termResumed: 2 * time.Second, redisBack: 2 * time.Second, redisDelivers: 2 * time.Second,
		databaseBack: 5 * time.Second, absentRedis: 3 * time.Second,
	} {
		c.measured(what, most)
		if got := c.goal(what, c.spread(what)); !strings.HasSuffix(got, most.String()+": met") {
			t.Errorf("%s in %v: %q", what, most, got)
		}
		c.took[what][0] += time.Millisecond
		if got := c.goal(what, c.spread(what)); !strings.HasSuffix(got, most.String()+": MISSED") {
			t.Errorf("%s in %v: %q", what, c.took[what][0], got)
		}
		if got := c.goal(what+disturbed, spread{}); got != "" {
			t.Errorf("%s has a goal: %q", what+disturbed, got)
		}
	}
}
