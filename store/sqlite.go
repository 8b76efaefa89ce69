package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite" // which registers itself as "sqlite"
	lib "modernc.org/sqlite/lib"
)

// sqlite is one file: a pool that reads, and one writer.
type sqlite struct {
	*writer
	reads, writes *sql.DB
	prepared      sync.Map // query text → *sql.Stmt on reads
}

// dsn puts every setting into the data source name, so that each connection a pool opens has them all.
func dsn(path string, readOnly bool) string {
	q := url.Values{}
	for _, p := range []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "wal_autocheckpoint(0)",
		"journal_size_limit(67108864)", "temp_store(MEMORY)",
	} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	}
	q.Set("_txlock", "immediate")
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

const sqliteDriver = "sqlite"

func openSQLite(ctx context.Context, driver, path string) (*sqlite, error) {
	db := &sqlite{}
	var err error
	if db.writes, err = sql.Open(driver, dsn(path, false)); err != nil {
		return nil, err
	}
	db.writes.SetMaxOpenConns(2) // the writer's and the checkpoint's
	db.writes.SetMaxIdleConns(2)
	if err := migrateSQLite(ctx, db.writes); err != nil {
		return nil, errors.Join(err, db.writes.Close())
	}
	if db.reads, err = sql.Open(driver, dsn(path, true)); err != nil {
		return nil, errors.Join(err, db.writes.Close())
	}
	db.reads.SetMaxOpenConns(8)
	db.reads.SetMaxIdleConns(8)
	if db.writer, err = startWriter(ctx, db.writes); err != nil {
		return nil, errors.Join(err, db.reads.Close(), db.writes.Close())
	}
	return db, nil
}

func migrateSQLite(ctx context.Context, db *sql.DB) error {
	steps, err := migrationsFor("sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, nil, goose.WithGoMigrations(steps...), goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	// SQLite has no lock that spans transactions. Where several processes migrate at once, one of them has each migration
	// committed, and it fails for the others: they look again how far it has come, and go on from there.
	for range len(p.ListSources()) + 2 { // the table of versions is made in a race too
		if _, err = p.Up(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (db *sqlite) close() error {
	err := db.writer.close()
	return errors.Join(err, db.reads.Close(), db.writes.Close())
}

func (db *sqlite) engine() string { return "sqlite" }

func (db *sqlite) faults() int64 { return db.checkpointErrors.Load() }

// stmt prepares each text once.
func (db *sqlite) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if st, ok := db.prepared.Load(text); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := db.reads.PrepareContext(ctx, sqliteWords.Replace(text))
	if err != nil {
		return nil, outage(err)
	}
	if old, loaded := db.prepared.LoadOrStore(text, st); loaded {
		return old.(*sql.Stmt), st.Close()
	}
	return st, nil
}

func (db *sqlite) readOne(ctx context.Context, text string, args, dest []any) error {
	st, err := db.stmt(ctx, text)
	if err != nil {
		return err
	}
	return outage(st.QueryRowContext(ctx, args...).Scan(dest...))
}

func (db *sqlite) read(ctx context.Context, text string, args []any, row func(scan) error) error {
	st, err := db.stmt(ctx, text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return outage(err)
	}
	return outage(eachRow(rows, row))
}

func eachRow(rows *sql.Rows, row func(scan) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// outage marks the error of a statement for which the system had no file, room or memory, or the file was held by others:
// it says nothing about the request, which may be repeated. The codes are those of https://www.sqlite.org/rescode.html. A disk that
// cannot be read (EIO) is CORRUPT there, as a database that was damaged is: neither is the request's fault.
func outage(err error) error {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		switch e.Code() & 0xff { // without what an extended code adds
		case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_NOMEM, lib.SQLITE_READONLY, lib.SQLITE_IOERR, lib.SQLITE_FULL,
			lib.SQLITE_CANTOPEN, lib.SQLITE_PROTOCOL, lib.SQLITE_CORRUPT:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return err
}

// unconfirmed is the error of a COMMIT. The log's last frame makes a transaction durable, so without room for all of them
// nothing was changed. After any other error of the file, a failed sync for one, they may all be there, and a crash would
// bring the transaction back.
func unconfirmed(err error) error {
	e, ok := errors.AsType[*driver.Error](err)
	if ok && (e.Code()&0xff == lib.SQLITE_IOERR && e.Code() != lib.SQLITE_IOERR_WRITE || e.Code()&0xff == lib.SQLITE_CORRUPT) {
		return fmt.Errorf("%w: %v", ErrUnknownOutcome, err) // and not ErrUnavailable, which err is
	}
	return err
}
