package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// semantics goes up when a fault, what counts as its having bitten, or a check becomes another than it was. What runs came to
// is told by it, and docs/reliability.md says what each has not seen yet.
const semantics = 3

// record is one run, as a line of the file of --record.
type record struct {
	Semantics  int               `json:"semantics"`
	Commit     string            `json:"commit"`
	Store      string            `json:"store"`
	Redis      string            `json:"redis"`
	Machines   bool              `json:"machines,omitempty"`
	Disk       bool              `json:"disk,omitempty"`
	Soak       string            `json:"soak,omitempty"`
	Lease      string            `json:"lease"`
	Seed       uint64            `json:"seed"`
	Seconds    int               `json:"seconds"`
	Documents  int               `json:"documents"`
	Deliveries int64             `json:"deliveries"`
	ToAll      int64             `json:"deliveries_to_all,omitempty"` // of the deliveries, those to watchers of everything
	Anew       int               `json:"told_anew,omitempty"`         // see chaos.anew
	Owners     int               `json:"owners,omitempty"`
	Deleted    int64             `json:"deleted,omitempty"` // documents
	Retried    int64             `json:"retried,omitempty"` // operations, by hand
	Failed     int64             `json:"failed,omitempty"`  // operations, for good, as they had to
	Batches    int               `json:"batches,omitempty"`
	Told       int64             `json:"webhook_deliveries,omitempty"`
	Reopened   int64             `json:"reopened"`
	Process    int               `json:"process"` // faults that bit
	RedisN     int               `json:"redis_faults"`
	SQL        int               `json:"sql"`
	Bitten     map[string]int    `json:"bitten"`
	Took       map[string]spread `json:"took"`
	Violations []string          `json:"violations,omitempty"`
	Because    string            `json:"because,omitempty"` // what the violations came from, written by who found it
}

// bitten is how many faults of a lane bit.
func (c *chaos) bitten(lane string) (n int) {
	for _, k := range lanes[lane] {
		if t := c.tally[k.name]; t != nil {
			n += t.bitten
		}
	}
	return n
}

// record appends the run to its file.
func (c *chaos) record(ctx context.Context) (err error) {
	if c.cfg.record == "" {
		return nil
	}
	r := record{Semantics: semantics, Commit: commit(ctx), Store: c.cfg.store, Redis: c.cfg.redisWord(), Machines: c.cfg.machines,
		Disk: c.cfg.disk, Lease: c.cfg.lease.String(), Seed: c.cfg.seed, Seconds: int(time.Since(c.began).Seconds()),
		Process: c.bitten("process"), RedisN: c.bitten("redis"), SQL: c.bitten("sql"), Bitten: map[string]int{}, Took: map[string]spread{}}
	if c.cfg.soak > 0 {
		r.Soak = c.cfg.soak.String()
	}
	if l := c.load; l != nil {
		r.Documents, r.Deliveries, r.Reopened = len(l.tickets), l.delivered.Load()+int64(c.told), l.reconnects.Load()
		r.Deleted, r.Retried, r.Failed = l.deleted.Load(), l.retried.Load(), l.failed.Load()
		r.Batches = len(l.batches)
		r.Told, _ = c.receiver.deliveries()
		r.ToAll, r.Anew, r.Owners = int64(c.told), c.anew, len(c.owners)
	}
	for name, t := range c.tally {
		if t.bitten > 0 {
			r.Bitten[name] = t.bitten
		}
	}
	for what := range c.took {
		if !strings.HasSuffix(what, disturbed) {
			r.Took[what] = c.spread(what)
		}
	}
	for i, v := range c.violations {
		first, _, _ := strings.Cut(v, "\n")
		if i < 5 {
			r.Violations = append(r.Violations, first)
		}
	}
	if more := len(c.violations) + c.hidden - len(r.Violations); more > 0 {
		r.Violations = append(r.Violations, fmt.Sprintf("and %d more", more))
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(c.cfg.record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

// commit names the sources: a + says that they have been changed since.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// read gives the runs of a file.
func read(path string) (all []record, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n+1, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// total prints what the runs of a file come to.
func total(path string, out, errs io.Writer) int {
	all, err := read(path)
	if err != nil {
		fmt.Fprintln(errs, "chaos:", err)
		return 1
	}
	fmt.Fprint(out, table(all))
	return 0
}

// table is what runs come to, in Markdown: one line for each store and kind of Redis, then for each version of the checks, then
// the worst of what was timed, and all violations.
func table(all []record) string {
	all = slices.DeleteFunc(all, func(r record) bool { return r.Semantics < 1 || r.Semantics > semantics })
	by, versions := map[string][]record{}, map[string][]record{}
	for _, r := range all {
		version := fmt.Sprint("version ", r.Semantics, " of the checks")
		versions[version] = append(versions[version], r)
		how := map[string]string{"postgres": "Postgres", "sqlite": "SQLite"}[r.Store]
		switch {
		case r.Machines:
			how += ", Sentinel, many machines"
		case r.Redis == "sentinel":
			how += ", Sentinel"
		case r.Redis == "yes":
			how += " and Redis"
		}
		if r.Disk {
			how += ", a disk that gets full"
		}
		by[how] = append(by[how], r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| | runs | faults of processes | of Redis | of the database | documents | events delivered | streams opened again | runs with violations |\n")
	fmt.Fprintf(&b, "|---|---|---|---|---|---|---|---|---|\n")
	var sum record
	failed := 0
	line := func(how string, runs int, s record, failed int) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %d |\n", how, thousands(runs), thousands(s.Process), thousands(s.RedisN),
			thousands(s.SQL), thousands(s.Documents), thousands(int(s.Deliveries)), thousands(int(s.Reopened)), failed)
	}
	lines := func(by map[string][]record) {
		sum, failed = record{}, 0
		for _, how := range slices.Sorted(maps.Keys(by)) {
			var s record
			n := 0
			for _, r := range by[how] {
				s.add(r)
				if len(r.Violations) > 0 {
					n++
				}
			}
			sum.add(s)
			failed += n
			line(how, len(by[how]), s, n)
		}
	}
	lines(by)
	line("all", len(all), sum, failed)
	lines(versions)

	fmt.Fprintf(&b, "\n| measured, while nothing else was broken that may have held it up | times | p99 of the median run | p99 of the worst run | longest |\n|---|---|---|---|---|\n")
	took := map[string][]spread{}
	for _, r := range all {
		for what, s := range r.Took {
			if what == killResumed {
				what += ", lease " + r.Lease
			}
			took[what] = append(took[what], s)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(took)) {
		n, longest := 0, millis(0)
		var p99 []millis
		for _, s := range took[what] {
			n += s.Count
			longest = max(longest, s.Max)
			p99 = append(p99, s.P99)
		}
		slices.Sort(p99)
		fmt.Fprintf(&b, "| %s | %s | %v | %v | %v |\n", what, thousands(n), p99[len(p99)/2].d(), p99[len(p99)-1].d(), longest.d())
	}
	if failed > 0 {
		fmt.Fprintf(&b, "\nRuns with violations:\n\n")
	}
	for _, r := range all {
		if len(r.Violations) > 0 {
			because := ""
			if r.Because != "" {
				because = " " + r.Because
			}
			fmt.Fprintf(&b, "- %s, Redis %s, seed %d, commit %s: %s.%s\n", r.Store, r.Redis, r.Seed, r.Commit, strings.Join(r.Violations, "; "), because)
		}
	}
	return b.String()
}

func (r *record) add(o record) {
	r.Process, r.RedisN, r.SQL, r.Documents = r.Process+o.Process, r.RedisN+o.RedisN, r.SQL+o.SQL, r.Documents+o.Documents
	r.Deliveries, r.Reopened = r.Deliveries+o.Deliveries, r.Reopened+o.Reopened
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
