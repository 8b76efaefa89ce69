package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Bounds of one call on Postgres.
const (
	defaultConnections = 20
	acquireWithin      = time.Second      // for a free connection
	answerWithin       = 7 * time.Second  // for one round trip: the server's own limit comes first
	lookWithin         = 15 * time.Second // for the few round trips of a start that tell whether there is something to migrate
	retries            = 3
)

// limits are set on every connection; the URL may set its own. The isolation level is what the locks and predicates of
// this package are written for. Who is cut off or stands still within a transaction keeps the rows it has locked for less
// than the default lease, or nobody could take its work over in time.
var limits = map[string]string{
	"statement_timeout":                   "5000",
	"lock_timeout":                        "2000",
	"idle_in_transaction_session_timeout": "4000",
	"default_transaction_isolation":       "read committed",
	"application_name":                    "chunkstream",
}

// postgres is a bounded pool of connections. Each transaction has one for itself. What costs is the round trip, so
// BEGIN travels with the first statement and COMMIT with the last ones.
type postgres struct {
	*gatherer
	pool     *pgxpool.Pool
	texts    sync.Map // a statement with words → as Postgres spells it
	isClosed atomic.Bool
}

func poolConfig(url string, connections int) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	switch {
	case connections > 0:
		cfg.MaxConns = int32(connections)
	case !strings.Contains(url, "pool_max_conns"):
		cfg.MaxConns = defaultConnections
	}
	return cfg, nil
}

func openPostgres(ctx context.Context, cfg *pgxpool.Config) (*postgres, error) {
	if err := migratePostgres(ctx, cfg.ConnConfig.Copy()); err != nil {
		return nil, err
	}
	for name, value := range limits {
		if _, set := cfg.ConnConfig.RuntimeParams[name]; !set {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	// The pool's own work must be able to go on when the opening's context has ended: it ends with close.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, err
	}
	p := &postgres{pool: pool}
	p.gatherer = gather(ctx, p)
	// The first connection may take longer than callers wait for one later. Its error comes again with the first question.
	first, cancel := context.WithTimeout(ctx, 10*time.Second)
	_ = pool.Ping(first)
	cancel()
	var encoding string
	err = p.readOne(ctx, `SELECT current_setting('server_encoding')`, nil, []any{&encoding})
	if err == nil && encoding != "UTF8" {
		err = fmt.Errorf("the database's encoding is %s and must be UTF8", encoding)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// migratePostgres migrates under an advisory lock, so that any number of processes may start at once. The limits do not
// hold here: a migration takes as long as it takes. Where there is none to be made, which is so at most starts, a server that
// has fallen silent must not keep the process from ending.
func migratePostgres(ctx context.Context, cfg *pgx.ConnConfig) (err error) {
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	steps, err := migrationsFor("postgres")
	if err != nil {
		return err
	}
	once, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600), lock.WithUnlockTimeout(1, 10))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, nil, goose.WithGoMigrations(steps...), goose.WithSessionLocker(once),
		goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if pending, err := anyPending(ctx, db, p); err != nil {
		return fmt.Errorf("see what version its tables have: %w", err)
	} else if !pending {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// anyPending reports whether there is a migration to be made. It writes nothing and takes no lock.
func anyPending(ctx context.Context, db *sql.DB, p *goose.Provider) (bool, error) {
	within, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	var there bool // without its table goose would make it, which several must not do at once
	err := db.QueryRowContext(within, `SELECT to_regclass($1) IS NOT NULL`, goose.DefaultTablename).Scan(&there)
	if err != nil || !there {
		return true, err
	}
	return p.HasPending(within)
}

func (p *postgres) close() error {
	p.gatherer.close()
	p.isClosed.Store(true)
	p.pool.Close()
	return nil
}

func (p *postgres) faults() int64 { return 0 }

func (p *postgres) engine() string { return "postgres" }

func (p *postgres) spell(text string) string {
	if spelt, ok := p.texts.Load(text); ok {
		return spelt.(string)
	}
	spelt := postgresWords.Replace(text)
	p.texts.Store(text, spelt)
	return spelt
}

func (p *postgres) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if p.isClosed.Load() {
		return nil, ErrClosed
	}
	within, cancel := context.WithTimeout(ctx, acquireWithin)
	defer cancel()
	conn, err := p.pool.Acquire(within)
	switch {
	case err == nil:
		return conn, nil
	case p.isClosed.Load():
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case within.Err() != nil:
		return nil, fmt.Errorf("%w: no connection became free within %v", ErrUnavailable, acquireWithin)
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// again waits a little before a repetition and says whether there is to be one.
func again(ctx context.Context, tries int) bool {
	if tries >= retries || ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(time.Duration(1+rand.IntN(10<<tries)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// repeatable reports whether the server undid a transaction only because of what ran beside it. A key that is taken is
// one of these: whoever repeats the transaction finds the row that took it.
func repeatable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01", "23505":
		return true
	}
	return false
}

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// unstorable marks the server's error for a text that it cannot hold.
func unstorable(err error) error {
	switch sqlState(err) {
	case "22021", "22P05":
		return fmt.Errorf("%w: %w", ErrInvalidText, err)
	}
	return err
}

// explain turns the server's error into one that callers decide on.
func explain(ctx context.Context, err error, lost bool) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	state := sqlState(err)
	switch {
	case ctx.Err() != nil:
		return errors.Join(err, ctx.Err())
	case lost:
		// Not %w: a deadline inside is that of the round trip, not the caller's.
		return fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	switch {
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "40"), strings.HasPrefix(state, "53"),
		strings.HasPrefix(state, "57"), state == "55P03", state == "25P03", state == "25006":
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// lost forgets the idle connections when one has failed: after a restart of the server all of them are dead.
func (p *postgres) lost(ctx context.Context, conn *pgxpool.Conn) bool {
	if !conn.Conn().IsClosed() {
		return false
	}
	if ctx.Err() == nil {
		p.pool.Reset()
	}
	return true
}

func (p *postgres) readOne(ctx context.Context, text string, args, dest []any) error {
	found := false
	err := p.read(ctx, text, args, func(scan scan) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
}

// read repeats a query whose connection was lost before it gave a row.
func (p *postgres) read(ctx context.Context, text string, args []any, row func(scan) error) error {
	for tries := 0; ; tries++ {
		seen := false
		lost, err := p.readOnce(ctx, text, args, func(scan scan) error {
			seen = true
			return row(scan)
		})
		if err == nil || seen || !lost || !again(ctx, tries) {
			return err
		}
	}
}

func (p *postgres) readOnce(ctx context.Context, text string, args []any, row func(scan) error) (bool, error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	rows, err := conn.Conn().Query(within, p.spell(text), args...)
	if err == nil {
		err = eachPgRow(rows, row)
	}
	if err == nil {
		return false, nil
	}
	lost := p.lost(ctx, conn)
	return lost, explain(ctx, unstorable(err), lost)
}

func eachPgRow(rows pgx.Rows, row func(scan) error) error {
	defer rows.Close()
	scan := func(dest ...any) error {
		for i, d := range dest {
			if raw, ok := d.(*sql.RawBytes); ok {
				dest[i] = (*pgtype.DriverBytes)(raw)
			}
		}
		return rows.Scan(dest...)
	}
	for rows.Next() {
		if err := row(scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (p *postgres) do(ctx context.Context, fn func(*tx) error) error {
	return p.transact(ctx, fn, []string{`BEGIN`})
}

// doLease is do: workers outlive a crash of the server.
func (p *postgres) doLease(ctx context.Context, fn func(*tx) error) error { return p.do(ctx, fn) }

// doPart does not wait for the disk: the write-ahead log is flushed in order, so the commit of the do that follows
// takes this one along.
func (p *postgres) doPart(ctx context.Context, fn func(*tx) error) error {
	return p.transact(ctx, fn, []string{`BEGIN`, `SET LOCAL synchronous_commit = off`})
}

func (p *postgres) transact(ctx context.Context, fn func(*tx) error, begin []string) error {
	for tries := 0; ; tries++ {
		retry, err := p.transactOnce(ctx, fn, begin)
		if err == nil || !retry || !again(ctx, tries) {
			return err
		}
	}
}

// transactOnce says beside its error whether nothing has happened and a repetition may help.
func (p *postgres) transactOnce(ctx context.Context, fn func(*tx) error, begin []string) (bool, error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	s := &pgSession{ctx: ctx, p: p, conn: conn.Conn(), begin: begin}
	if err = (&tx{s}).call(fn); err == nil {
		err = s.commit()
	}
	if err == nil {
		return false, nil
	}
	lost := p.lost(ctx, conn)
	if !lost {
		s.rollback()
	}
	retry := !errors.Is(err, ErrUnknownOutcome) && (lost || repeatable(err))
	return retry, explain(ctx, err, lost)
}

// pgSession is one transaction. Statements whose results nobody waits for gather in batch, and go with the next that
// somebody does wait for, in one round trip.
type pgSession struct {
	ctx    context.Context
	p      *postgres
	conn   *pgx.Conn
	begin  []string // what opens the transaction; empty once queued
	batch  pgx.Batch
	takers []taker      // for each statement of batch
	sent   int          // statements of the last batch whose results have come
	yield  func() error // sends what has gathered together with others' statements; nil: alone
}

// taker takes the result of a statement: its rows, or what it did, or nothing.
type taker struct {
	row func(scan) error
	tag *pgconn.CommandTag
}

func (s *pgSession) queue(text string, args []any, to taker) {
	for _, b := range s.begin {
		s.batch.Queue(b)
		s.takers = append(s.takers, taker{})
	}
	s.begin = nil
	s.batch.Queue(s.p.spell(text), args...)
	s.takers = append(s.takers, to)
}

// send sends what has gathered and reads the results.
func (s *pgSession) send() (err error) {
	if s.yield != nil {
		return s.yield()
	}
	within, cancel := context.WithTimeout(s.ctx, answerWithin)
	defer cancel()
	batch, takers := s.batch, s.takers
	s.batch, s.takers, s.sent = pgx.Batch{}, nil, 0
	br := s.conn.SendBatch(within, &batch)
	defer func() {
		if e := br.Close(); err == nil {
			err = e
		}
		err = unstorable(err)
	}()
	for _, to := range takers {
		if to.row == nil {
			var tag pgconn.CommandTag
			if tag, err = br.Exec(); to.tag != nil {
				*to.tag = tag
			}
		} else {
			var rows pgx.Rows
			if rows, err = br.Query(); err == nil {
				err = eachPgRow(rows, to.row)
			}
		}
		if err != nil {
			return err
		}
		s.sent++
	}
	return nil
}

func (s *pgSession) exec(text string, args ...any) (int64, error) {
	var tag pgconn.CommandTag
	s.queue(text, args, taker{tag: &tag})
	err := s.send()
	return tag.RowsAffected(), err
}

func (s *pgSession) one(text string, args []any, dest ...any) error {
	found := false
	err := s.each(text, args, func(scan scan) error {
		found = true
		return scan(dest...)
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
}

func (s *pgSession) each(text string, args []any, row func(scan) error) error {
	s.queue(text, args, taker{row: row})
	return s.send()
}

func (s *pgSession) then(text string, args []any, row func(scan) error) error {
	s.queue(text, args, taker{row: row})
	return nil
}

func (s *pgSession) later(text string, args ...any) error {
	s.queue(text, args, taker{})
	return nil
}

func (s *pgSession) wrote(int64) {}

func (s *pgSession) chunks(operation, epoch, first int64, chunks []Chunk) error {
	if len(chunks) == 0 {
		return nil
	}
	cols, facts, context := [4][]int64{}, make([]*int64, len(chunks)), make([]*string, len(chunks))
	for i := range cols {
		cols[i] = make([]int64, len(chunks))
	}
	for i, c := range chunks {
		cols[0][i], cols[1][i], cols[2][i], cols[3][i] = c.StartByte, c.EndByte, c.StartChar, c.EndChar
		facts[i], context[i] = c.Facts.pack()
	}
	return s.later(`
INSERT INTO chunks (operation, idx, epoch, start_byte, end_byte, start_char, end_char, facts, context)
SELECT $1, $2::bigint + n - 1, $3, start_byte, end_byte, start_char, end_char, facts, context
  FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[])
       WITH ORDINALITY AS c (start_byte, end_byte, start_char, end_char, facts, context, n)`,
		operation, first, epoch, cols[0], cols[1], cols[2], cols[3], facts, context)
}

// commit sends what has gathered with the COMMIT. If the connection is lost while the COMMIT may have arrived, the
// outcome is unknown.
func (s *pgSession) commit() error {
	if len(s.begin) > 0 {
		return nil // no statement, no transaction
	}
	var tag pgconn.CommandTag
	s.queue(`COMMIT`, nil, taker{tag: &tag})
	statements := s.batch.Len()
	err := s.send()
	switch {
	case s.sent == statements && tag.String() == "COMMIT":
		return nil
	case s.sent == statements:
		return errors.New("the server rolled back")
	case !s.conn.IsClosed() || pgconn.SafeToRetry(err):
		return err
	case s.sent < statements-1 && sqlState(err) != "":
		return err // the server's last words were for a statement before the COMMIT
	}
	return errors.Join(ErrUnknownOutcome, err)
}

// rollback makes the connection fit for the next one. If that fails, the pool drops it.
func (s *pgSession) rollback() {
	if s.conn.PgConn().TxStatus() == 'I' {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), acquireWithin)
	defer cancel()
	if _, err := s.conn.Exec(within, `ROLLBACK`); err != nil {
		return
	}
}
