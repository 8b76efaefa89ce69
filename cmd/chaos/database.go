package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// sqlFault does one fault to the database, mends it, and measures how long the product takes to be ready again.
func (c *chaos) sqlFault(ctx context.Context, f fault) outcome {
	c.unsettle(1)
	defer c.unsettle(-1)
	o := c.hurtDatabase(ctx, f)
	if o.bitten {
		c.whenReady(ctx, "database back → ready")
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
	case "sqlite-busy":
		return c.lockSQLite(ctx, 300*time.Millisecond+2*f.holds)
	case "sqlite-busy-long": // longer than the product's own patience
		return c.lockSQLite(ctx, 5500*time.Millisecond+f.holds)
	}
	before := c.sqlProxy.Counts()
	switch f.kind {
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
