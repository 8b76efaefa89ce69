package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"chunkstream/event"
	"chunkstream/store"
)

// resting is what a quiet process and Redis hold.
type resting struct {
	goroutines, fds map[string]float64 // by process
	clients         int64              // of Redis
}

// What may be more at the end than after the warm-up without being a leak: connections that pools keep.
const (
	moreGoroutines = 15
	moreFiles      = 30
	moreClients    = 4 // for each process
)

// rest waits until the processes do nothing and says what they hold.
func (c *chaos) rest(ctx context.Context) resting {
	for _, p := range c.load.webs {
		p.http.CloseIdleConnections()
	}
	pause(ctx, 300*time.Millisecond) // for connections that are being closed; more than that costs nothing but strictness
	r := resting{map[string]float64{}, map[string]float64{}, 0}
	for _, p := range c.processes {
		m, err := p.metrics(ctx)
		for end := time.Now().Add(c.cfg.patience / 2); err != nil && time.Now().Before(end) && ctx.Err() == nil; {
			pause(ctx, 200*time.Millisecond)
			m, err = p.metrics(ctx)
		}
		if err != nil {
			c.violate("%s: read metrics: %v", p.name, err)
			continue
		}
		r.goroutines[p.name], r.fds[p.name] = m["go_goroutines"], m["process_open_fds"]
	}
	if c.redis != nil {
		r.clients = c.redisNumber(`return tonumber(string.match(redis.call('INFO', 'clients'), 'connected_clients:(%d+)'))`)
	}
	return r
}

// leftovers compares what is held at the end with the baseline, until it is no more than that or never will be.
func (c *chaos) leftovers(ctx context.Context, baseline resting) {
	var wrong []string
	for end := time.Now().Add(c.cfg.patience / 2); ; {
		wrong = nil
		now := c.rest(ctx)
		more := func(what string, had, has, allowed float64) {
			if has > had+allowed {
				wrong = append(wrong, fmt.Sprintf("I12: %s: %v after the warm-up, %v at the end", what, had, has))
			}
		}
		for _, p := range c.processes {
			more(p.name+": goroutines", baseline.goroutines[p.name], now.goroutines[p.name], moreGoroutines)
			more(p.name+": open files", baseline.fds[p.name], now.fds[p.name], moreFiles)
		}
		more("connections to Redis", float64(baseline.clients), float64(now.clients), float64(moreClients*len(c.processes)))
		if len(wrong) == 0 || time.Now().After(end) || !pause(ctx, 200*time.Millisecond) {
			break
		}
	}
	for _, w := range wrong {
		c.violate("%s", w)
	}
	if c.redis != nil {
		n := c.redisNumber(`local n, at = 0, '0'
repeat
  local r = redis.call('SCAN', at, 'COUNT', 1000)
  at = r[1]
  for _, k in ipairs(r[2]) do
    if redis.call('PTTL', k) == -1 then
      redis.log(redis.LOG_WARNING, 'lives for ever: ' .. k)
      n = n + 1
    end
  end
until at == '0'
return n`)
		if n > 0 {
			c.violate("I12: %d keys of Redis live for ever: its log names them", n)
		}
	}
	if names, err := filepath.Glob(filepath.Join(c.temp, "*")); err != nil || len(names) > 0 {
		c.violate("I12: temporary files that are left: %q, %v", names, err)
	}
}

// crashed are words of a process that ended as no process should, whoever killed it later.
var crashed = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|WARNING: DATA RACE)|"panic in a run"`)

// sound looks at the logs of all processes and at whether the database obeys the invariants.
func (c *chaos) sound(ctx context.Context) {
	for _, p := range c.processes {
		text, err := os.ReadFile(p.log)
		if err != nil {
			c.violate("%v", err)
		}
		if found := crashed.Find(text); found != nil {
			c.violate("%s said %q: see %s", p.name, found, p.log)
		}
	}
	if c.cfg.store == "sqlite" {
		names, err := filepath.Glob(filepath.Join(filepath.Dir(c.database.Path), "*"))
		extra := slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, c.database.Path) })
		if err != nil || len(extra) > 0 {
			c.violate("I12: files beside the database: %v, %v", extra, err)
		}
	}
	for _, statement := range store.Invariants() {
		if err := c.checkInvariant(ctx, statement); err != nil {
			c.violate("%v in %s", err, statement)
		}
	}
}

// check looks at what the run has left in SQL and compares it with what clients were told.
func (c *chaos) check(ctx context.Context) {
	c.sound(ctx)
	db, err := store.Open(ctx, c.database)
	if err != nil {
		c.violate("open the database: %v", err)
		return
	}
	defer func() {
		if err := db.Close(); err != nil {
			c.violate("close the database: %v", err)
		}
	}()
	all, err := c.events(ctx)
	if err != nil {
		c.violate("read the events: %v", err)
		return
	}
	known := map[string]bool{}
	texts := map[string]string{} // document → sum of its text
	for _, t := range c.load.tickets {
		if _, there := known[t.op.ID]; there {
			c.violate("I10: %s answers for two keys", t.op.ID)
		}
		known[t.op.ID] = !t.deleted
		if t.deleted {
			for _, w := range t.watches {
				c.checkWatch(t, w, t.kept)
			}
		} else {
			c.checkOperation(ctx, db, t, all[t.op.ID], texts)
		}
		if wrong := t.history.check(); wrong != "" {
			c.violate("I13: key %s: %s", t.key, wrong)
		}
	}
	for _, f := range c.load.feeds {
		told, anew := c.checkFeed(f, all)
		c.told, c.anew = c.told+told, c.anew+anew
	}
	for _, owner := range c.owners {
		if dead, _, err := db.Operations(ctx, owner, store.Filter{DeadLetter: true}); err != nil || len(dead) > 0 {
			c.violate("dead letters of %s, where nothing is given up: %+v, %v", owner, dead, err)
		}
	}
	c.checkNobodyElse(ctx, known)
	c.receiver.check(ctx, all)
	if err := c.checkBatches(ctx); err != nil {
		c.violate("read the batches: %v", err)
	}
	c.recoveries(ctx)
}

// checkInvariant runs one of them on the run's own connection, which may take as long as it likes.
func (c *chaos) checkInvariant(ctx context.Context, statement string) error {
	rows, err := c.db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, operation, detail string
		if err := rows.Scan(&name, &operation, &detail); err != nil {
			return err
		}
		c.violate("%s: %s: %s", name, operation, detail)
	}
	return rows.Err()
}

// events are all events, by operation, those of deleted ones too.
func (c *chaos) events(ctx context.Context) (map[string]kept, error) {
	rows, err := c.db.QueryContext(ctx, selectEvents+` ORDER BY o.num, e.seq`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	all := map[string]kept{}
	for _, t := range c.load.tickets {
		if t.deleted {
			all[t.op.ID] = kept{t.owner, t.kept}
		}
	}
	for rows.Next() {
		owner, e, err := scanEvent(rows.Scan)
		if err != nil {
			return nil, err
		}
		all[e.OperationID] = kept{owner, append(all[e.OperationID].events, e)}
	}
	return all, rows.Err()
}

func (c *chaos) checkOperation(ctx context.Context, db *store.Store, t *ticket, in kept, texts map[string]string) {
	if in.owner != t.owner {
		c.violate("I11: %s was submitted by %s and is %q's", t.op.ID, t.owner, in.owner)
	}
	op, err := db.Operation(ctx, t.owner, t.op.ID)
	if err != nil {
		c.violate("I1: %s was acknowledged: %v", t.op.ID, err)
		return
	}
	end, err := c.load.split(t.text, op.Strategy, op.Settings)
	if err != nil {
		c.violate("I2: %s: %v", op.ID, err)
		return
	}
	want := store.Completed
	if t.fails {
		want = store.Failed
	}
	if t.fails != (end.code != "") {
		c.violate("%s, of %s with %s, would come to %q: the load is not what it is meant to be", op.ID, op.Strategy, op.Settings, end.code)
	}
	if t.cancelled == "asked" {
		want = store.Cancelled
	} else if t.cancelled != "" {
		want = store.Status(t.cancelled)
	}
	if op.RetryOf != t.retryOf {
		c.violate("%s is a retry of %q, want %q", op.ID, op.RetryOf, t.retryOf)
	}
	if op.Status != want {
		c.violate("%s ended as %s (%v), want %s (cancel: %q)", op.ID, op.Status, op.Error, want, t.cancelled)
	}
	for _, w := range t.watches {
		c.checkWatch(t, w, in.events)
	}
	if texts[op.DocumentID] == "" {
		sum := sha256.New()
		if err := db.DocumentText(ctx, t.owner, op.DocumentID, sum); err != nil {
			c.violate("I2: the text of %s: %v", op.ID, err)
		}
		texts[op.DocumentID] = hex.EncodeToString(sum.Sum(nil))
	}
	if sum := sha256.Sum256([]byte(t.text)); texts[op.DocumentID] != hex.EncodeToString(sum[:]) {
		c.violate("I2: the text of %s is not what was submitted", op.ID)
	}
	switch op.Status {
	case store.Failed:
		c.load.failed.Add(1)
		c.checkFailure(op, end, in.events)
		c.checkChunks(ctx, db, op, t, end)
	case store.Completed:
		c.checkChunks(ctx, db, op, t, end)
	}
}

// checkFailure looks at how an operation has failed: as in a run without faults, in its state as in its last event, and as nothing
// that is only given up.
func (c *chaos) checkFailure(op store.Operation, end ending, events []event.Event) {
	if wrong := c.load.failure(end, op.Error); wrong != "" {
		c.violate("%s failed: %s", op.ID, wrong)
	}
	last := events[len(events)-1]
	if last.Type != event.Failed || last.Data.Error == nil || op.Error == nil || *last.Data.Error != *op.Error {
		c.violate("%s failed with %+v, and its last event is %s with %+v", op.ID, op.Error, last.Type, last.Data.Error)
	}
	if op.DeadLetter() {
		c.violate("%s is among the dead letters, and failed for good at once: %+v", op.ID, op.Error)
	}
}

// checkWatch compares a watcher's list with SQL's from where it began.
func (c *chaos) checkWatch(t *ticket, w *watch, events []event.Event) {
	if !w.ended {
		c.violate("I8: a watcher of %s over %s never saw its end: %d events", t.op.ID, w.over, len(w.events))
		return
	}
	after := max(w.after, 0)
	want := events[min(after, int64(len(events))):]
	list := func(evs []event.Event) (lines []string) {
		for _, e := range evs {
			text, err := json.Marshal(e) // the whole of it, as it is on the wire
			if err != nil {
				text = []byte(err.Error())
			}
			lines = append(lines, string(text))
		}
		return lines
	}
	got, wanted := list(w.events), list(want)
	if !slices.Equal(got, wanted) {
		c.violate("I8: a watcher of %s over %s after %d saw\n  %s\nwant\n  %s", t.op.ID, w.over, after,
			strings.Join(got, "\n  "), strings.Join(wanted, "\n  "))
	}
}

// checkChunks compares what is stored with a run without faults. One that fails may have stored fewer.
func (c *chaos) checkChunks(ctx context.Context, db *store.Store, op store.Operation, t *ticket, end ending) {
	want := end.chunks
	const page = 5000
	n := 0
	for {
		got, err := db.Chunks(ctx, t.owner, op.ID, int64(n), page, 0)
		if err != nil {
			c.violate("I2: %s: %v", op.ID, err)
			return
		}
		for _, g := range got {
			if n >= len(want) || g.Index != int64(n) || g.StartByte != int64(want[n].Start) || g.EndByte != int64(want[n].End) ||
				!sameFacts(g.Facts, store.FactsOf(want[n])) {
				c.violate("I2: %s: chunk %d of %d is %d [%d, %d) %+v, not as in a run without faults", op.ID, n, len(want), g.Index,
					g.StartByte, g.EndByte, g.Facts)
				return
			}
			n++
		}
		if len(got) < page {
			break
		}
	}
	if op.Status == store.Completed && n != len(want) || op.Chunks != int64(n) {
		c.violate("I2: %s has %d chunks and says %d; a run without faults has %d", op.ID, n, op.Chunks, len(want))
	}
}

func sameFacts(a, b store.Facts) bool {
	if a.Known != b.Known || a.Boundary != b.Boundary || a.Reason != b.Reason || a.Kind != b.Kind || a.Level != b.Level || a.Up != b.Up {
		return false
	}
	return slices.EqualFunc(a.Context, b.Context, func(x, y store.Context) bool {
		return x.Kind == y.Kind && x.Level == y.Level && x.StartByte == y.StartByte && x.EndByte == y.EndByte
	})
}

// sampleName is the operation that a server on SQLite makes by itself.
const sampleName = "sample.md"

// checkNobodyElse looks for operations that no client was told of.
func (c *chaos) checkNobodyElse(ctx context.Context, known map[string]bool) {
	rows, err := c.db.QueryContext(ctx, `SELECT id FROM operations WHERE name <> '`+sampleName+`'`)
	if err != nil {
		c.violate("%v", err)
		return
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			c.violate("%v", err)
			return
		}
		if !known[id] {
			c.violate("I10: %s is there, and no client was told of it, or it was deleted", id)
		}
	}
	if err := rows.Err(); err != nil {
		c.violate("%v", err)
	}
}

// resumed is how long an operation was nobody's. It was hit once when, until it was resumed, nothing else was broken that may
// hold it up, and from when it could be taken there was a worker.
func (c *chaos) resumed(what string, hit, free, when time.Time) {
	if !c.alone(hit, when) || !c.manned(free, when) {
		what += disturbed
	}
	c.measured(what, when.Sub(hit))
}

// recoveries measures, from the events in SQL, how long what a dead or stopping worker had was nobody's.
func (c *chaos) recoveries(ctx context.Context) {
	died := map[string]death{}
	for _, d := range c.deaths {
		died[d.worker] = d
	}
	rows, err := c.db.QueryContext(ctx, `SELECT operation, type, at, COALESCE(data ->> 'worker', '') FROM operation_events ORDER BY operation, seq`)
	if err != nil {
		c.violate("%v", err)
		return
	}
	defer func() { _ = rows.Close() }()
	var before int64
	var holder string
	var handed time.Time
	var by string // who handed over
	for rows.Next() {
		var operation, at int64
		var typ, worker string
		if err := rows.Scan(&operation, &typ, &at, &worker); err != nil {
			c.violate("%v", err)
			return
		}
		when := time.UnixMilli(at).Add(-c.skew)
		if operation != before {
			before, holder, handed, by = operation, "", time.Time{}, ""
		}
		switch event.Type(typ) {
		case event.Started:
			if d, dead := died[holder]; dead && !d.asked && when.After(d.at) {
				// Its lease lapses two thirds of it later at the earliest. From then on somebody must be there.
				c.resumed(killResumed, d.at, d.at.Add(c.cfg.lease*2/3), when)
			}
			if d := died[by]; d.asked && !handed.IsZero() {
				c.resumed(termResumed, d.at, handed, when)
			}
			holder, handed, by = worker, time.Time{}, ""
		case event.HandedOver:
			holder, handed, by = "", when, holder
		}
	}
	if err := rows.Err(); err != nil {
		c.violate("%v", err)
	}
}
