package store

import (
	"context"
	"fmt"
	"strings"
)

// backend is a database: SQLite's file or a Postgres server. Every statement of this package is one text for both; what
// they spell differently is a word in braces, which the backend fills in when it prepares the text.
type backend interface {
	// do runs fn in a transaction and returns when it is durable, or has failed. fn may run again when the database
	// asks for that, so it must set all it leaves behind anew. Whoever gives up before the commit began changed nothing;
	// after that the outcome is unknown.
	do(ctx context.Context, fn func(*tx) error) error
	// doShort is do for a transaction that many callers make at a time, that waits for nobody's lock for long, and that
	// seldom fails: several of them may become one. order is the same for those that lock the same row: all lock in its
	// order, so that no two wait for each other.
	doShort(ctx context.Context, order int64, fn func(*tx) error) error
	// doPart is do for a part of a long text: it is durable only with the next do that returns after it.
	doPart(ctx context.Context, fn func(*tx) error) error
	// doLease is do for taking or renewing a lease. What it did may be lost in a crash of the machine that ends all
	// workers of the database with it; anywhere else it is as durable as the rest, since a second holder of an epoch
	// would be one too many.
	doLease(ctx context.Context, fn func(*tx) error) error
	// read calls row once per row of a query outside any transaction, until it fails.
	read(ctx context.Context, text string, args []any, row func(scan) error) error
	// readOne scans the only row; no row is sql.ErrNoRows.
	readOne(ctx context.Context, text string, args, dest []any) error
	// faults counts what went wrong in the background since Open.
	faults() int64
	engine() string
	close() error
}

// session is what a transaction's statements run on.
type session interface {
	// exec runs a statement and gives the number of rows it changed.
	exec(text string, args ...any) (int64, error)
	// one scans the only row; no row is sql.ErrNoRows.
	one(text string, args []any, dest ...any) error
	// each calls row once per row. Its rows have all been read when it returns.
	each(text string, args []any, row func(scan) error) error
	// then runs a statement in its turn, but no later than the commit, and calls row once per row when it has. Its error
	// may come from a later statement, or from the commit: by the time row is called, the rest may have been committed.
	then(text string, args []any, row func(scan) error) error
	// later is then for a statement without rows.
	later(text string, args ...any) error
	// chunks stores spans as the chunks from index first on.
	chunks(operation, epoch, first int64, chunks []Chunk) error
	// wrote says how many bytes the transaction has added, roughly.
	wrote(bytes int64)
}

// scan copies the current row's columns into dest. An *sql.RawBytes holds until the next row.
type scan = func(dest ...any) error

// tx is the transaction that a function given to do runs in.
type tx struct{ session }

// call runs a transaction's function; its panic is that transaction's error.
func (t *tx) call(fn func(*tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a store transaction: %v", p)
		}
	}()
	return fn(t)
}

// The words of the statements that each database spells in its own way. SQLite has one writer at a time, so it needs
// no row locks.
const (
	nowMs      = `{now}`       // the database's clock in Unix milliseconds, the same all through a statement
	jsonEach   = `{json_each}` // a JSON array's elements, one a row, column value
	version    = `{version}`
	lockRow    = ` {lock}`           // wait for the rows of the only table, then hold them
	shareRow   = ` {share}`          // the same, beside others who share
	lockRowO   = ` {lock o}`         // as lockRow, for the table o alone
	skipLocked = ` {lock o or skip}` // hold the rows of o that nobody else holds
)

var sqliteWords = strings.NewReplacer(
	nowMs, `CAST(unixepoch('subsec') * 1000 AS INTEGER)`, jsonEach, `json_each`,
	version, `sqlite_version()`, lockRow, ``, shareRow, ``, lockRowO, ``, skipLocked, ``,
)

var postgresWords = strings.NewReplacer(
	nowMs, `(extract(epoch FROM statement_timestamp()) * 1000)::bigint`, jsonEach, `json_array_elements_text`,
	version, `current_setting('server_version')`, lockRow, ` FOR UPDATE`, shareRow, ` FOR SHARE`, lockRowO, ` FOR UPDATE OF o`,
	skipLocked, ` FOR UPDATE OF o SKIP LOCKED`,
)
