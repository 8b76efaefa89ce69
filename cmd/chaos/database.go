package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chunkstream/servertest"
)

// sqlFault does one fault to the database, mends it, and measures how long the product takes to be ready again.
func (c *chaos) sqlFault(ctx context.Context, f fault) outcome {
	c.unsettle(1)
	defer c.unsettle(-1)
	c.times.begin(theDatabase, time.Now())
	o := c.hurtDatabase(ctx, f)
	c.times.end(theDatabase)
	what := databaseBack
	if f.kind == "pg-half-open" { // it was never away: how long the product believes its connections is what passes
		what = halfOpenReady
	}
	if o.bitten {
		c.whenReady(ctx, what, theRedis)
	}
	return o
}

func (c *chaos) unsettle(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsettled += n
}

func (c *chaos) hurtDatabase(ctx context.Context, f fault) outcome {
	switch f.kind {
	case "disk-full":
		return c.disk.fill(ctx, f.holds)
	case "sqlite-busy":
		return c.lockSQLite(ctx, 300*time.Millisecond+2*f.holds)
	case "sqlite-busy-long": // longer than the product's own patience
		return c.lockSQLite(ctx, 5500*time.Millisecond+f.holds)
	}
	before := c.sqlProxy.Counts()
	swallowed := func() int64 { return c.sqlProxy.Counts().Swallowed - before.Swallowed }
	switch f.kind {
	case "pg-freeze":
		return c.freezePostgres(ctx, f)
	case "pg-blackhole":
		c.sqlProxy.Deafen()
		felt := waits(ctx, func() bool { return c.sayUnavailable(ctx) })
		pause(ctx, f.holds)
		c.sqlProxy.Hear()
		return outcome{felt && swallowed() > 0, fmt.Sprintf("%d pieces swallowed; processes said unavailable", swallowed())}
	case "pg-half-open":
		n := c.sqlProxy.HalfOpen()
		felt := waits(ctx, func() bool { return swallowed() > 0 })
		pause(ctx, f.holds)
		return outcome{felt && n > 0, fmt.Sprintf("%d connections half open, %d pieces lost", n, swallowed())}
	case "pg-restart":
		c.pg.Kill()
		waits(ctx, func() bool { return c.sqlProxy.Counts().Broken > before.Broken })
		pause(ctx, f.holds)
		c.pg.Start()
		n := c.sqlProxy.Counts().Broken - before.Broken
		return outcome{n > 0, fmt.Sprintf("%d connections ended", n)}
	case "pg-cut":
		n := c.sqlProxy.Cut()
		return outcome{n > 0, fmt.Sprintf("%d connections cut", n)}
	case "pg-commit-unanswered": // the server's word for a commit that was made
		c.sqlProxy.DropReply("COMMIT\x00", f.n)
		felt := waits(ctx, func() bool { return c.sqlProxy.Counts().Trapped > before.Trapped })
		pause(ctx, f.holds)
		c.sqlProxy.DropReply("", 0)
		return outcome{felt, fmt.Sprintf("%d commits were made and not answered", c.sqlProxy.Counts().Trapped-before.Trapped)}
	case "pg-commit-lost":
		c.sqlProxy.DropRequest(commitStatement, f.n)
		felt := waits(ctx, func() bool { return c.sqlProxy.Counts().Trapped > before.Trapped })
		pause(ctx, f.holds)
		c.sqlProxy.DropRequest("", 0)
		return outcome{felt, fmt.Sprintf("%d commits never arrived", c.sqlProxy.Counts().Trapped-before.Trapped)}
	case "pg-slow":
		c.sqlProxy.Delay(10*time.Millisecond + f.holds/10)
		pause(ctx, 300*time.Millisecond+f.holds)
		c.sqlProxy.Delay(0)
		n := c.sqlProxy.Counts().Delayed - before.Delayed
		return outcome{n > 0, fmt.Sprintf("%d pieces were late", n)}
	case "pg-terminate":
		var n int
		err := c.db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM
 (SELECT pid FROM pg_stat_activity WHERE application_name = 'chunkstream' ORDER BY random() LIMIT $1) AS victims`, f.n).Scan(&n)
		return outcome{err == nil && n > 0, fmt.Sprintf("%d backends ended, %v", n, err)}
	}
	return outcome{how: "unknown"}
}

// freezePostgres stops all of Postgres's processes, and lets them go on.
func (c *chaos) freezePostgres(ctx context.Context, f fault) outcome {
	text, err := os.ReadFile(filepath.Join(c.pgData, "postmaster.pid"))
	if err != nil {
		return outcome{how: err.Error()}
	}
	first, _, _ := strings.Cut(string(text), "\n")
	postmaster, err := strconv.Atoi(first)
	if err != nil {
		return outcome{how: err.Error()}
	}
	all := []int{postmaster} // the first to stop, so that there are no more
	for i := 0; i < len(all); i++ {
		if err := syscall.Kill(all[i], syscall.SIGSTOP); err == nil && i == 0 {
			all = append(all, servertest.Children(c.host, postmaster)...)
		}
	}
	defer func() {
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
		}
	}()
	felt := waits(ctx, func() bool { return c.sayUnavailable(ctx) })
	pause(ctx, f.holds)
	return outcome{felt, fmt.Sprintf("%d processes of Postgres stood still; processes said unavailable", len(all))}
}

// sayUnavailable reports whether any process that is well says that the database does not answer.
func (c *chaos) sayUnavailable(ctx context.Context) bool {
	for _, p := range c.processes {
		if p.well() {
			if s, _, err := p.readiness(ctx); err == nil && s == "unavailable" {
				return true
			}
		}
	}
	return false
}

// commitStatement is how pgx names the prepared statement of a COMMIT, by the hash of its text.
var commitStatement = func() string {
	sum := sha256.Sum256([]byte("COMMIT"))
	return "stmtcache_" + hex.EncodeToString(sum[:24])
}()

// lockSQLite holds the write lock. It has bitten when somebody waited for it all the time: submissions were under way
// and no operation came or moved.
func (c *chaos) lockSQLite(ctx context.Context, d time.Duration) outcome {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return outcome{how: err.Error()}
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return outcome{how: err.Error()} // the product holds it for long
	}
	waiting := int64(0)
	for end := time.Now().Add(d); time.Now().Before(end) && pause(ctx, 5*time.Millisecond); {
		waiting = max(waiting, c.load.submitting.Load())
	}
	// Without the caller's end: whatever happens, the lock must go.
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`); err != nil && !errors.Is(err, sql.ErrConnDone) {
		c.violate("give the lock back: %v", err)
	}
	return outcome{waiting > 0, fmt.Sprintf("locked for %v while up to %d submissions waited", d.Round(time.Millisecond), waiting)}
}

// setClock lets the Postgres of this run have another time than the machine that the processes run on, by one to
// ten minutes: behind for an odd seed, ahead for an even one. Only the database's clock counts.
func (c *chaos) setClock(ctx context.Context, source string) (err error) {
	db, err := sql.Open("pgx", source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rng := rand.New(rand.NewPCG(c.cfg.seed, 300))
	c.skew = time.Minute + time.Duration(rng.IntN(540))*time.Second
	if c.cfg.seed%2 == 1 {
		c.skew = -c.skew
	}
	u, err := url.Parse(source)
	if err != nil {
		return err
	}
	// A function of that name before pg_catalog's in the search path.
	for _, text := range []string{
		`CREATE SCHEMA skew`,
		fmt.Sprintf(`CREATE FUNCTION skew.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
 $$ SELECT pg_catalog.statement_timestamp() + interval '%d seconds' $$`, int(c.skew.Seconds())),
		`ALTER DATABASE ` + strings.TrimPrefix(u.Path, "/") + ` SET search_path = skew, public, pg_catalog`,
		`GRANT USAGE ON SCHEMA skew TO PUBLIC`,
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("set the database's clock: %w", err)
		}
	}
	var at time.Time
	err = db.QueryRowContext(ctx, `SELECT skew.statement_timestamp(), current_setting('data_directory')`).Scan(&at, &c.pgData)
	if off := time.Until(at) - c.skew; err == nil && off.Abs() > time.Minute {
		err = fmt.Errorf("the database's clock is off by %v, want %v", time.Until(at), c.skew)
	}
	return err
}

// clockBites sees that events carry the database's time, and counts a clock that is off as a fault.
func (c *chaos) clockBites(ctx context.Context) {
	if c.skew != 0 {
		defer c.try(ctx, fault{lane: "sql", kind: clockFault}, func(context.Context, fault) outcome {
			return outcome{true, fmt.Sprintf("the database's clock is off by %v all the time, and so are the times of events", c.skew)}
		})
	}
	var at int64
	err := c.db.QueryRowContext(ctx, `SELECT COALESCE(max(at), 0) FROM operation_events`).Scan(&at)
	if off := time.Since(time.UnixMilli(at)) + c.skew; err != nil || off.Abs() > c.cfg.patience {
		c.violate("the newest event is %v old by the database's clock, which is off by %v: %v", off, c.skew, err)
	}
}

// writable reports whether nobody holds SQLite's write lock for long: a process that was frozen with it lets nobody else
// claim anything.
func (c *chaos) writable(ctx context.Context) bool {
	if c.cfg.store != "sqlite" {
		return true
	}
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if _, err = conn.ExecContext(ctx, `PRAGMA busy_timeout = 30`); err == nil {
		_, err = conn.ExecContext(ctx, `BEGIN IMMEDIATE`)
	}
	free := err == nil
	again := context.WithoutCancel(ctx) // whatever happens, the lock must go
	if free {
		_, err = conn.ExecContext(again, `ROLLBACK`)
	}
	if _, other := conn.ExecContext(again, `PRAGMA busy_timeout = 5000`); free && (err != nil || other != nil) {
		c.violate("give SQLite's lock back: %v, %v", err, other)
	}
	return free
}
