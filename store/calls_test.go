//go:build !race

package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modernc.org/sqlite"

	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/store"
)

// The tests of this file let calls to the database fail, each of them, before it is carried out and after it, once and for
// as long as the step goes on. What fails lies below the package: the driver of SQLite, the connection to Postgres.

// errBroken is what a call fails with.
var errBroken = errors.New("broken by the test")

// failure says how calls fail.
type failure struct {
	after   bool // the call is carried out, and its answer is lost
	forEver bool // and all that follow it fail too
}

func (f failure) String() string {
	s := "before, "
	if f.after {
		s = "after, "
	}
	if f.forEver {
		return s + "for ever"
	}
	return s + "once"
}

var failures = []failure{{false, false}, {true, false}, {false, true}, {true, true}}

// calls sees every call to the database while it is armed, and lets some of them fail. A path is a step of the test, a call
// of the package in it, and what became of it below: preparing, querying, a round trip.
type calls struct {
	mu     sync.Mutex
	how    failure
	armed  bool
	step   string
	kth    int // the one to fail; 0: the first on each path
	seen   int // calls while armed
	broken bool
	fired  int
	paths  map[string]bool // → it has failed
	lines  map[string]bool // calls of the package, as file:line
}

func newCalls(how failure) *calls {
	return &calls{how: how, paths: map[string]bool{}, lines: map[string]bool{}}
}

func (c *calls) arm(step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.step, c.fired, c.broken = true, step, 0, false
}

// disarm mends everything and says how many calls have failed.
func (c *calls) disarm() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.broken = false, false
	return c.fired
}

// call is asked at every call. An error of its own is for before; after says that it is to fail once it is carried out.
func (c *calls) call(kind string) (before error, after bool) {
	line := site()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.armed {
		return nil, false
	}
	c.seen++
	path := c.step + ": " + line + " " + kind
	failed := c.paths[path]
	c.lines[line] = true
	fail := c.broken
	if c.kth > 0 {
		c.paths[path] = failed || c.seen == c.kth
		fail = fail || c.seen == c.kth
	} else if !fail {
		c.paths[path] = true
		fail = !failed
	}
	if !fail {
		return nil, false
	}
	first := !c.broken
	c.broken = c.how.forEver
	c.fired++
	if c.how.after && first {
		return nil, true
	}
	return errBroken, false
}

// plumbing are the methods that every call goes through.
var plumbing = []string{"(*writer).exec", "(*writer).one", "(*writer).each", "(*writer).then", "(*writer).later", "(*writer).stmt",
	"(*writer).chunks", "(*sqlite).", "query.", "(*tx).call", "(*Store).read", "(*postgres).", "(*pgSession).", "(*gatherer).", "eachRow"}

// site is the innermost call of the package that is not plumbing, as file:line; or else the innermost.
func site() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	fallback := "a connection of the pool"
	for {
		f, more := frames.Next()
		if name, ours := strings.CutPrefix(f.Function, "chunkstream/store."); ours && !strings.HasSuffix(f.File, "_test.go") {
			at := fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
			if !slices.ContainsFunc(plumbing, func(p string) bool { return strings.HasPrefix(name, p) }) {
				return at
			}
			if strings.HasPrefix(fallback, "a ") {
				fallback = at
			}
		}
		if !more {
			return fallback
		}
	}
}

// brokenDriver is SQLite's driver with calls that fail.
type brokenDriver struct {
	driver.Driver
	calls *calls
}

func (d brokenDriver) Open(name string) (driver.Conn, error) {
	before, after := d.calls.call("open")
	if before != nil {
		return nil, before
	}
	conn, err := d.Driver.Open(name)
	if err != nil {
		return nil, err
	}
	if after {
		return nil, errors.Join(errBroken, conn.Close())
	}
	return brokenConn{conn.(sqliteConn), d.calls}, nil
}

// sqliteConn is what the driver's connections can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type brokenConn struct {
	sqliteConn
	calls *calls
}

func through[T any](c *calls, kind string, do func() (T, error), undo func(T) error) (T, error) {
	var none T
	before, after := c.call(kind)
	if before != nil {
		return none, before
	}
	v, err := do()
	if err == nil && after {
		return none, errors.Join(errBroken, undo(v))
	}
	return v, err
}

func nothing[T any](T) error { return nil }

func (c brokenConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	t, err := through(c.calls, "begin", func() (driver.Tx, error) { return c.sqliteConn.BeginTx(ctx, o) }, driver.Tx.Rollback)
	if err != nil {
		return nil, err
	}
	return brokenTx{t, c.calls}, nil
}

type brokenTx struct {
	driver.Tx
	calls *calls
}

// Commit that fails before it is carried out leaves a transaction that database/sql believes to be over; the database
// undoes it when the connection goes, so here it is undone at once.
func (t brokenTx) Commit() error {
	before, after := t.calls.call("commit")
	if before != nil {
		return errors.Join(before, t.Tx.Rollback())
	}
	err := t.Tx.Commit()
	if err == nil && after {
		return errBroken
	}
	return err
}

func (c brokenConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	st, err := through(c.calls, "prepare", func() (driver.Stmt, error) { return c.sqliteConn.PrepareContext(ctx, q) }, driver.Stmt.Close)
	if err != nil {
		return nil, err
	}
	return brokenStmt{st, c.calls}, nil
}

func (c brokenConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return through(c.calls, "exec", func() (driver.Result, error) { return c.sqliteConn.ExecContext(ctx, q, args) }, nothing)
}

func (c brokenConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	return through(c.calls, "query", func() (driver.Rows, error) { return c.sqliteConn.QueryContext(ctx, q, args) }, readAll)
}

// readAll reads the rows: a statement that returns what it wrote has written it when all are read.
func readAll(r driver.Rows) error {
	for {
		if err := r.Next(make([]driver.Value, len(r.Columns()))); err != nil {
			return r.Close()
		}
	}
}

type brokenStmt struct {
	driver.Stmt
	calls *calls
}

func (s brokenStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return through(s.calls, "exec", func() (driver.Result, error) { return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args) }, nothing)
}

func (s brokenStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return through(s.calls, "query", func() (driver.Rows, error) { return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args) }, readAll)
}

// brokenWire is a connection to Postgres with round trips that fail: the connection is lost before what is asked has
// arrived, or when the answer has.
type brokenWire struct {
	net.Conn
	calls *calls
	drop  atomic.Bool
}

func (c *calls) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := through(c, "connect", func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) }, net.Conn.Close)
	if err != nil {
		return nil, err
	}
	return &brokenWire{Conn: conn, calls: c}, nil
}

func (w *brokenWire) Write(b []byte) (int, error) {
	before, after := w.calls.call("round trip")
	if before != nil {
		return 0, errors.Join(before, w.Close())
	}
	if after {
		w.drop.Store(true)
	}
	return w.Conn.Write(b)
}

func (w *brokenWire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err == nil && w.drop.Load() {
		return 0, errors.Join(errBroken, w.Close())
	}
	return n, err
}

var drivers atomic.Int64

// open opens a store whose calls fail, as often as it takes.
func (c *calls) open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	name := fmt.Sprint("sqlite-broken-", drivers.Add(1))
	sql.Register(name, brokenDriver{&sqlite.Driver{}, c})
	for range 2000 {
		unlocked(t, cfg)
		c.arm("open")
		s, err := store.OpenThrough(t.Context(), cfg, name, c.dial)
		fired := c.disarm()
		if err == nil {
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		if fired == 0 {
			t.Fatalf("open, with nothing broken: %v", err)
		}
	}
	t.Fatal("it was never opened")
	return nil
}

// unlocked waits until Postgres has noticed that whoever held the lock for migrations is gone; the next one would look
// again only after a second.
func unlocked(t *testing.T, cfg store.Config) {
	t.Helper()
	if cfg.DatabaseURL.Empty() {
		return
	}
	db, err := sql.Open("pgx", cfg.DatabaseURL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	for held, end := 1, time.Now().Add(30*time.Second); held > 0; {
		err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database =
 (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&held)
		if err != nil || time.Now().After(end) {
			t.Fatalf("the lock for migrations is still held: %v", err)
		}
	}
}

// stepper does the steps: each is something that a caller does, and what it needs is made anew, with nothing broken, before
// every try. Its store is whole: what it does never fails.
type stepper struct {
	t     *testing.T
	calls *calls
	s     *store.Store // of which calls fail while armed
	whole *store.Store
	n     int
	keeps bool // a step leaves its operations to the next one
}

// one arms the calls for do alone.
func (st *stepper) one(name string, do func(ctx context.Context) error) error {
	st.calls.arm(name)
	return do(st.t.Context())
}

// try does a step until it went through with nothing broken. prepare gives what is to be done.
func (st *stepper) try(name string, prepare func() func(context.Context) error) {
	st.t.Helper()
	for range 1000 {
		if !st.keeps {
			st.recover()         // what a step has left goes on to its end
			st.whole.Clear(st.t) // or else each check takes longer than the one before
			for _, table := range []string{"batch_operations", "batches", "document_parts", "documents"} {
				st.whole.Spoil(st.t, `DELETE FROM `+table)
			}
		}
		do := prepare()
		err := st.one(name, do)
		fired := st.calls.disarm()
		if fired == 0 && err != nil {
			st.t.Fatalf("%s, with nothing broken: %v", name, err)
		}
		if err != nil && !errors.Is(err, errBroken) && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) {
			st.t.Errorf("%s with a call failing %v: %v, which does not tell that the database failed", name, st.calls.how, err)
		}
		for _, wrong := range []error{store.ErrNotFound, store.ErrFenced, store.ErrKeyReused, store.ErrInUse, store.ErrInvalidText, store.ErrClosed,
			store.ErrChanged, store.ErrTooMany} {
			if errors.Is(err, wrong) {
				st.t.Errorf("%s with a call failing %v: %v", name, st.calls.how, err)
			}
		}
		if err != nil {
			st.sound(name, false)
			if got := st.s.Synchronous(st.t); got != 2 {
				st.t.Errorf("after %s with a call failing %v commits are not synced: %d", name, st.calls.how, got)
			}
		}
		if fired == 0 {
			if !st.keeps {
				st.recover()
				st.sound(name, true)
			}
			return
		}
	}
	st.t.Fatalf("%s: calls fail again and again", name)
}

// sound checks the invariants; before everything has ended some operations have not.
func (st *stepper) sound(name string, ended bool) {
	st.t.Helper()
	lines, err := st.whole.CheckInvariants(st.t.Context())
	if err != nil {
		st.t.Fatal(err)
	}
	for _, l := range lines {
		if name == muchToReap && strings.HasPrefix(l, "I2 chunk indexes") {
			continue // as it was told
		}
		if ended || !strings.HasPrefix(l, "I1 ") && !strings.HasPrefix(l, "I12 a lease") {
			st.t.Errorf("after %s with a call failing %v: %s", name, st.calls.how, l)
		}
	}
}

func (st *stepper) fresh(what string) string {
	st.n++
	return fmt.Sprintf("%s %03d 0123456789 0123456789", what, st.n)
}

// staged receives a text.
func (st *stepper) staged(owner, text string) *store.Staged {
	st.t.Helper()
	staged, err := st.s.Stage(st.t.Context(), owner, strings.NewReader(text), 8<<20)
	if err != nil {
		st.t.Fatal(err)
	}
	return staged
}

func (st *stepper) request(staged *store.Staged) store.NewOperation {
	return store.NewOperation{Owner: owner, Staged: staged, Strategy: "r", Settings: []byte("{}"), SplitterVersion: version}
}

// made creates an operation.
func (st *stepper) made(text string) store.Created {
	st.t.Helper()
	c, err := st.s.Create(st.t.Context(), st.request(st.staged(owner, text)))
	if err != nil {
		st.t.Fatal(err)
	}
	return c
}

var anyLane = store.Claim{Worker: "w", Lane: store.Small, Slots: 50, Bytes: 1 << 40, SplitterVersion: version, Lease: time.Hour}

var taken = store.Take{Worker: "w", Lease: time.Hour}

// held creates an operation and claims it.
func (st *stepper) held(text string) *store.Run {
	st.t.Helper()
	n := st.request(st.staged(owner, text))
	n.Take = &taken
	c, err := st.s.Create(st.t.Context(), n)
	if err != nil {
		st.t.Fatal(err)
	}
	return c.Run
}

// ended creates an operation and completes it.
func (st *stepper) ended(text string) store.Operation {
	st.t.Helper()
	r := st.held(text)
	complete(st.t, r, text)
	return r.Operation
}

// wrong is what a call gave in place of what it should have given.
func wrong(got, want any) error { return fmt.Errorf("got %v, want %v", got, want) }

func equal[T comparable](got, want T) error {
	if got != want {
		return wrong(got, want)
	}
	return nil
}

// muchToReap is a step in which an operation says that it has more chunks than one piece may remove.
const muchToReap = "reap, much"

// all does everything that the package does.
func (st *stepper) all(cfg store.Config) {
	s, whole := st.s, st.whole
	retry := event.Failure{Code: "x", Detail: "y"}
	reads := func(name string, do func(context.Context) error) {
		st.try(name, func() func(context.Context) error { return do })
	}
	long := strings.Repeat("Wörter 0123456789\n", 15_000) // two parts

	reads("ping", s.Ping)
	reads("info", func(ctx context.Context) error { _, err := s.Info(ctx); return err })

	for _, text := range []string{"", long} {
		st.try("stage", func() func(context.Context) error {
			text := st.fresh(text)
			return func(ctx context.Context) error {
				staged, err := s.Stage(ctx, owner, strings.NewReader(text), 8<<20)
				if err != nil {
					return err
				}
				all, err := staged.Read(ctx)
				if err != nil {
					return err
				}
				return equal(string(all), text)
			}
		})
	}
	st.try("give staged up", func() func(context.Context) error { return st.staged(owner, st.fresh(long)).Discard })
	st.try("too long a text", func() func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.Stage(ctx, owner, strings.NewReader(long), 280_000)
			if tooLarge := (*store.TooLargeError)(nil); errors.As(err, &tooLarge) && !errors.Is(err, errBroken) && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) {
				return nil
			}
			return err
		}
	})
	st.try("create with a short text that was decoded", func() func(context.Context) error {
		text := st.fresh("decoded")
		staged, err := s.StageDecoded(st.t.Context(), owner, text, func(at int) int { return at }, 8<<20)
		if err != nil {
			st.t.Fatal(err)
		}
		return func(ctx context.Context) error { _, err := s.Create(ctx, st.request(staged)); return err }
	})
	for _, how := range []string{"", "key", "claimed", "done"} {
		st.try("create "+how, func() func(context.Context) error {
			n := st.request(st.staged(owner, st.fresh("create")))
			switch how {
			case "key":
				n.IdempotencyKey, n.RequestHash = st.fresh("key"), "h"
			case "claimed":
				n.Take = &taken
			case "done":
				n.Take = &store.Take{Worker: "w", Lease: time.Hour, Done: true, Chunks: cut(0, n.Staged.Text(), 10)}
			}
			return func(ctx context.Context) error { _, err := s.Create(ctx, n); return err }
		})
	}
	st.try("create under a key that is known", func() func(context.Context) error {
		text, key := st.fresh("replay"), st.fresh("key")
		n := st.request(st.staged(owner, text))
		n.IdempotencyKey = key
		first, err := s.Create(st.t.Context(), n)
		if err != nil {
			st.t.Fatal(err)
		}
		n.Staged = st.staged(owner, text)
		return func(ctx context.Context) error {
			c, err := s.Create(ctx, n)
			if err != nil {
				return err
			}
			return equal(c.Operation.ID, first.Operation.ID)
		}
	})
	st.try("create with a long text that is there", func() func(context.Context) error {
		text := st.fresh(long)
		first := st.made(text)
		n := st.request(st.staged(owner, text))
		return func(ctx context.Context) error {
			c, err := s.Create(ctx, n)
			if err != nil {
				return err
			}
			return equal(c.Document.ID, first.Document.ID)
		}
	})
	st.try("create for a document", func() func(context.Context) error {
		n := st.request(nil)
		n.DocumentID = st.made(st.fresh("again")).Document.ID
		return func(ctx context.Context) error { _, err := s.Create(ctx, n); return err }
	})

	for _, turns := range []bool{false, true} {
		st.try(fmt.Sprint("claim, turns ", turns), func() func(context.Context) error {
			st.made(st.fresh("claim"))
			st.made(st.fresh("claim"))
			c := anyLane
			if turn := ""; turns {
				c.Turn = &turn
			}
			return func(ctx context.Context) error {
				runs, _, err := s.Claim(ctx, c)
				if err != nil {
					return err
				}
				return equal(len(runs), 2)
			}
		})
	}
	st.try("text", func() func(context.Context) error {
		text := st.fresh(long)
		made := st.made(text)
		c := anyLane
		c.Lane = store.Large
		runs, _, err := s.Claim(st.t.Context(), c)
		if err != nil {
			st.t.Fatal(err)
		}
		at := slices.IndexFunc(runs, func(r *store.Run) bool { return r.Operation.ID == made.Operation.ID })
		return func(ctx context.Context) error {
			got, err := runs[at].Text(ctx)
			if err != nil {
				return err
			}
			return equal(got, text)
		}
	})
	for _, last := range []bool{false, true} {
		st.try(fmt.Sprint("commit, last ", last), func() func(context.Context) error {
			text := strings.Repeat(st.fresh("commit"), 100) // more rows than one statement inserts
			r := st.held(text)
			return func(ctx context.Context) error {
				_, err := r.Commit(ctx, store.Batch{Chunks: cut(0, text, 10), BytesDone: int64(len(text)), Last: last})
				return err
			}
		})
	}
	for name, leave := range map[string]func(context.Context, *store.Run) (event.Owned, error){
		"fail":         func(ctx context.Context, r *store.Run) (event.Owned, error) { return r.Fail(ctx, retry, 0) },
		"fail for now": func(ctx context.Context, r *store.Run) (event.Owned, error) { return r.Fail(ctx, retry, time.Hour) },
		"crash":        func(ctx context.Context, r *store.Run) (event.Owned, error) { return r.Crash(ctx, retry, time.Hour) },
		"hand over":    func(ctx context.Context, r *store.Run) (event.Owned, error) { return r.HandOver(ctx) },
	} {
		st.try(name, func() func(context.Context) error {
			r := st.held(st.fresh(name))
			return func(ctx context.Context) error { _, err := leave(ctx, r); return err }
		})
	}
	st.try("renew", func() func(context.Context) error {
		runs := []*store.Run{st.held(st.fresh("renew")), st.held(st.fresh("renew"))}
		return func(ctx context.Context) error {
			lost, _, err := s.Renew(ctx, runs)
			if err != nil {
				return err
			}
			return equal(len(lost), 0)
		}
	})
	for _, status := range []store.Status{store.Queued, store.Processing, store.Completed} {
		st.try(fmt.Sprint("cancel ", status), func() func(context.Context) error {
			var id string
			switch status {
			case store.Queued:
				id = st.made(st.fresh("cancel")).Operation.ID
			case store.Processing:
				id = st.held(st.fresh("cancel")).Operation.ID
			default:
				id = st.ended(st.fresh("cancel")).ID
			}
			return func(ctx context.Context) error { _, _, err := s.Cancel(ctx, owner, id); return err }
		})
	}
	st.try("sweep", func() func(context.Context) error {
		st.held(st.fresh("sweep"))
		st.held(st.fresh("sweep"))
		whole.LapseLeases(st.t)
		return func(ctx context.Context) error {
			swept, err := s.Sweep(ctx)
			if err != nil {
				return err
			}
			return equal(len(swept), 2)
		}
	})
	st.webhooks()
	// What is read is read of operations that have ended.
	st.keeps = true
	var decoded store.Operation
	st.try("stage decoded", func() func(context.Context) error {
		text := st.fresh(long)
		return func(ctx context.Context) error {
			staged, err := s.StageDecoded(ctx, owner, text, func(at int) int { return at }, 8<<20)
			if err != nil {
				return err
			}
			n := st.request(staged)
			n.Take, n.Source = &taken, store.Source{Encoding: "utf-16le", SHA256: "x", Bytes: int64(len(text))}
			c, err := s.Create(ctx, n)
			if err != nil {
				return err
			}
			decoded = c.Operation
			got, err := c.Run.Text(ctx)
			if err != nil {
				return err
			}
			if err := equal(got, text); err != nil {
				return err
			}
			_, err = c.Run.Commit(ctx, store.Batch{Chunks: cut(0, text, 1000), BytesDone: int64(len(text)), Last: true})
			return err
		}
	})

	ended := st.ended(st.fresh("read"))
	queued := st.made(st.fresh("read")).Operation
	reads("operation", func(ctx context.Context) error { _, err := s.Operation(ctx, owner, ended.ID); return err })
	reads("operations", func(ctx context.Context) error {
		all, _, err := s.Operations(ctx, owner, store.Filter{Before: queued.ID, DocumentID: ended.DocumentID})
		if err != nil {
			return err
		}
		return equal(len(all), 1)
	})
	reads("active", func(ctx context.Context) error { _, err := s.Active(ctx, owner); return err })
	reads("heads", func(ctx context.Context) error {
		heads, err := s.Heads(ctx, []string{ended.ID, queued.ID})
		if err != nil {
			return err
		}
		return equal(len(heads), 2)
	})
	reads("heads of an owner", func(ctx context.Context) error { _, _, err := s.OwnerHeads(ctx, owner, time.Time{}); return err })
	reads("events", func(ctx context.Context) error {
		all, err := s.Events(ctx, owner, ended.ID, 0, 100)
		if err != nil {
			return err
		}
		return equal(len(all), 3)
	})
	reads("document", func(ctx context.Context) error { _, err := s.Document(ctx, owner, ended.DocumentID); return err })
	reads("documents", func(ctx context.Context) error { _, err := s.Documents(ctx, owner, ended.DocumentID, 10); return err })
	reads("text of a document", func(ctx context.Context) error { return s.DocumentText(ctx, owner, decoded.DocumentID, io.Discard) })
	reads("part of a document", func(ctx context.Context) error {
		var b strings.Builder
		if err := s.DocumentRange(ctx, owner, decoded.DocumentID, 10, 270_000, &b); err != nil {
			return err
		}
		return equal(b.Len(), 270_000-10)
	})
	reads("chunks", func(ctx context.Context) error {
		all, err := s.Chunks(ctx, owner, decoded.ID, 0, 1000, store.Texts|store.Places)
		if err != nil {
			return err
		}
		return equal(len(all), len(cut(0, st.fresh(long), 1000)))
	})
	hurt := st.ended(st.fresh("damaged"))
	whole.Spoil(st.t, `UPDATE chunks SET facts = -1 WHERE operation = (SELECT num FROM operations WHERE id = '`+hurt.ID+`')`)
	reads("chunks that are damaged", func(ctx context.Context) error {
		_, err := s.Chunks(ctx, owner, hurt.ID, 0, 10, 0)
		if _, told := errors.AsType[*store.CorruptError](err); told {
			return nil
		}
		return err
	})
	st.try("chunks of a text that was stored before lines were counted", func() func(context.Context) error {
		whole.Spoil(st.t, `UPDATE document_parts SET lines = NULL, astral = NULL`)
		return func(ctx context.Context) error {
			_, err := s.Chunks(ctx, owner, decoded.ID, 280, 1000, store.Texts|store.Places)
			return err
		}
	})
	reads("chunks at a place", func(ctx context.Context) error {
		for place, want := range map[int64]int64{5: 0, 1 << 40: 2} { // in the first one, and behind the last
			_, nearest, err := s.ChunksAt(ctx, owner, ended.ID, store.Offset{At: place}, 10)
			if err != nil {
				return err
			}
			if err := equal(nearest, want); err != nil {
				return err
			}
		}
		return nil
	})
	reads("find a chunk", func(ctx context.Context) error {
		index, err := s.FindChunk(ctx, owner, ended.ID, func(c store.Chunk) bool { return c.StartByte == 10 })
		if err != nil {
			return err
		}
		return equal(index, 1)
	})
	reads("invariants", func(ctx context.Context) error { _, err := s.CheckInvariants(ctx); return err })
	reads("stats", func(ctx context.Context) error { _, err := s.Stats(ctx); return err })
	reads("load", func(ctx context.Context) error { _, err := s.Load(ctx); return err })
	reads("statistics", func(ctx context.Context) error { _, err := s.Statistics(ctx, owner, time.Hour); return err })
	reads("usage", func(ctx context.Context) error { _, err := s.Usage(ctx, owner); return err })

	configuration := func(name string) store.Configuration {
		st.t.Helper()
		c, err := s.SaveConfiguration(st.t.Context(), store.Configuration{Owner: st.fresh(name), Name: "a", Strategy: "r", Settings: []byte("{}")})
		if err != nil {
			st.t.Fatal(err)
		}
		return c
	}
	st.try("make a configuration", func() func(context.Context) error {
		c := store.Configuration{Owner: st.fresh("owner"), Name: "a", Strategy: "r", Settings: []byte("{}"), Default: true}
		return func(ctx context.Context) error { _, err := s.SaveConfiguration(ctx, c); return err }
	})
	st.try("change a configuration", func() func(context.Context) error {
		c := configuration("owner")
		return func(ctx context.Context) error { _, err := s.SaveConfiguration(ctx, c); return err }
	})
	st.try("change a configuration that has changed", func() func(context.Context) error {
		c := configuration("owner")
		if _, err := s.SaveConfiguration(st.t.Context(), c); err != nil {
			st.t.Fatal(err)
		}
		return func(ctx context.Context) error {
			if _, err := s.SaveConfiguration(ctx, c); !errors.Is(err, store.ErrChanged) {
				return err
			}
			return nil
		}
	})
	kept := configuration("owner")
	reads("configuration", func(ctx context.Context) error { _, err := s.Configuration(ctx, kept.Owner, kept.ID); return err })
	reads("configuration by its name", func(ctx context.Context) error {
		_, err := s.ConfigurationNamed(ctx, kept.Owner, kept.Name)
		return err
	})
	reads("configurations", func(ctx context.Context) error { _, err := s.Configurations(ctx, kept.Owner); return err })
	st.try("remove a configuration", func() func(context.Context) error {
		c := configuration("owner")
		return func(ctx context.Context) error { return s.DeleteConfiguration(ctx, c.Owner, c.ID) }
	})
	batch := ""
	st.try("make a batch", func() func(context.Context) error {
		batch = store.NewBatchID()
		return func(ctx context.Context) error {
			return s.CreateBatch(ctx, owner, batch, "b", []string{ended.ID, queued.ID})
		}
	})
	reads("batch", func(ctx context.Context) error {
		b, err := s.Batch(ctx, owner, batch)
		if err != nil {
			return err
		}
		return equal(len(b.Operations), 2)
	})

	st.try("replace in a batch", func() func(context.Context) error {
		return func(ctx context.Context) error { return s.ReplaceInBatch(ctx, owner, batch, queued.ID, decoded.ID) }
	})

	by := store.Act{Actor: "root"}
	key := func() store.Key {
		st.t.Helper()
		k, err := s.CreateKey(st.t.Context(), store.NewKey{Digest: st.fresh("digest"), Owner: owner, Scopes: []string{"a"}}, by)
		if err != nil {
			st.t.Fatal(err)
		}
		return k
	}
	st.try("make a key", func() func(context.Context) error {
		n := store.NewKey{Digest: st.fresh("digest"), Owner: owner, Scopes: []string{"a"}}
		return func(ctx context.Context) error { _, err := s.CreateKey(ctx, n, by); return err }
	})
	known := st.fresh("digest")
	if _, err := whole.CreateKey(st.t.Context(), store.NewKey{Digest: known, Owner: owner, Scopes: []string{"a"}}, by); err != nil {
		st.t.Fatal(err)
	}
	some := key()
	reads("keys", func(ctx context.Context) error { _, err := s.Keys(ctx, owner, some.ID, 10); return err })
	reads("key", func(ctx context.Context) error { _, err := s.KeyByDigest(ctx, known); return err })
	reads("any key", func(ctx context.Context) error {
		is, err := s.AnyKey(ctx, "a")
		if err != nil {
			return err
		}
		return equal(is, true)
	})
	st.try("use a key", func() func(context.Context) error {
		k := key()
		return func(ctx context.Context) error { return s.UsedKey(ctx, k.ID) }
	})
	reads("blocked", func(ctx context.Context) error {
		is, err := s.Blocked(ctx, []store.Standing{{Key: some.ID, Owner: owner}, {Key: "nobody's", Owner: owner}})
		if err != nil {
			return err
		}
		return equal(fmt.Sprint(is), "[false true]")
	})
	st.try("revoke a key", func() func(context.Context) error {
		k := key()
		return func(ctx context.Context) error { _, err := s.RevokeKey(ctx, k.ID, by); return err }
	})
	st.try("block", func() func(context.Context) error {
		value := st.fresh("token")
		return func(ctx context.Context) error { _, err := s.Block(ctx, "token", value, "", by); return err }
	})
	st.try("unblock", func() func(context.Context) error {
		value := st.fresh("token")
		if _, err := s.Block(st.t.Context(), "token", value, "", by); err != nil {
			st.t.Fatal(err)
		}
		return func(ctx context.Context) error { return s.Unblock(ctx, "token", value, by) }
	})
	reads("blocks", func(ctx context.Context) error { _, err := s.Blocks(ctx); return err })
	reads("audit", func(ctx context.Context) error { _, err := s.Audit(ctx, 0, 10); return err })
	st.try("make a ticket", func() func(context.Context) error {
		digest := st.fresh("ticket")
		return func(ctx context.Context) error {
			_, err := s.CreateTicket(ctx, digest, store.Ticket{Owner: owner}, time.Hour)
			return err
		}
	})
	st.try("take a ticket", func() func(context.Context) error {
		digest := st.fresh("ticket")
		if _, err := s.CreateTicket(st.t.Context(), digest, store.Ticket{Owner: owner}, time.Hour); err != nil {
			st.t.Fatal(err)
		}
		return func(ctx context.Context) error { _, err := s.TakeTicket(ctx, digest); return err }
	})
	st.try("a group", func() func(context.Context) error {
		a, b := key(), key()
		return func(ctx context.Context) error {
			errs := s.Together(ctx, a.ID, b.ID, "nobody's")
			if errors.Is(errs[2], store.ErrNotFound) && errs[0] == nil && errs[1] == nil {
				errs[2] = nil // in a group that did not fail as one
			}
			for i, err := range errs {
				if err != nil && (i < 2 || !errors.Is(err, store.ErrNotFound)) {
					return err
				}
			}
			return nil
		}
	})
	if cfg.Path != "" {
		reads("copy the log", func(context.Context) error { s.Checkpoint(); return nil })
		reads("start the log over", func(context.Context) error { s.RestartLog(); return nil })
	}

	st.keeps = false
	st.try("remove a document", func() func(context.Context) error {
		op := st.ended(st.fresh("remove"))
		return func(ctx context.Context) error { return s.DeleteDocument(ctx, owner, op.DocumentID) }
	})
	// Too much for one piece, then in one piece; and keys that have aged.
	for _, name := range []string{muchToReap, "reap"} {
		st.try(name, func() func(context.Context) error {
			n := st.request(st.staged(owner, st.fresh("reap")))
			n.IdempotencyKey = st.fresh("key")
			c, err := s.Create(st.t.Context(), n)
			if err != nil {
				st.t.Fatal(err)
			}
			if err := whole.CreateBatch(st.t.Context(), owner, store.NewBatchID(), "", []string{c.Operation.ID}); err != nil {
				st.t.Fatal(err)
			}
			st.recover()
			if err := whole.DeleteDocument(st.t.Context(), owner, c.Document.ID); err != nil {
				st.t.Fatal(err)
			}
			whole.AgeKeys(st.t)
			if name == muchToReap { // as the operation says
				whole.Spoil(st.t, `UPDATE operations SET next_index = 1000000`)
			}
			return func(ctx context.Context) error {
				for {
					r, err := s.Reap(ctx)
					if err != nil || !r.More {
						return err
					}
				}
			}
		})
	}
	st.try("reap what is over", func() func(context.Context) error {
		st.ended(st.fresh("over"))
		time.Sleep(2 * time.Millisecond) // the database's clock counts in these
		return func(ctx context.Context) error {
			for {
				r, err := s.Reap(ctx)
				if err != nil || !r.More {
					return err
				}
			}
		}
	})
}

// recover does what workers do with what is left behind: leases lapse, somebody else takes the operations and completes
// them.
// webhooks are the steps of webhooks and their deliveries.
func (st *stepper) webhooks() {
	s, whole := st.s, st.whole
	hook := func(everything bool) store.Webhook {
		st.t.Helper()
		w, err := s.CreateWebhook(st.t.Context(), store.NewWebhook{Owner: st.fresh("owner"), URL: "https://a.example", Secret: secret.New("s"),
			Events: []event.Type{event.Completed}, Everything: everything})
		if err != nil {
			st.t.Fatal(err)
		}
		return w
	}
	// told has something to deliver.
	told := func() (store.Webhook, store.Created) {
		st.t.Helper()
		w := hook(true)
		n := st.request(st.staged(w.Owner, st.fresh("told")))
		n.Owner = w.Owner
		n.Take = &store.Take{Worker: "w", Lease: time.Hour, Done: true, Chunks: cut(0, n.Staged.Text(), 10)}
		c, err := s.Create(st.t.Context(), n)
		if err != nil {
			st.t.Fatal(err)
		}
		return w, c
	}
	taken := func() *store.Attempt {
		st.t.Helper()
		a, err := s.ClaimDelivery(st.t.Context(), time.Hour, nil)
		if err != nil || a == nil {
			st.t.Fatalf("got %v, %v", a, err)
		}
		return a
	}

	st.try("make a webhook", func() func(context.Context) error {
		n := store.NewWebhook{Owner: st.fresh("owner"), URL: "https://a.example", Secret: secret.New("s"), Events: []event.Type{event.Completed}}
		return func(ctx context.Context) error { _, err := s.CreateWebhook(ctx, n); return err }
	})
	st.try("webhooks", func() func(context.Context) error {
		w := hook(false)
		return func(ctx context.Context) error {
			all, err := s.Webhooks(ctx, w.Owner)
			if err != nil {
				return err
			}
			return equal(len(all), 1)
		}
	})
	st.try("webhook", func() func(context.Context) error {
		w := hook(false)
		return func(ctx context.Context) error { _, err := s.Webhook(ctx, w.Owner, w.ID); return err }
	})
	st.try("give a webhook another secret", func() func(context.Context) error {
		w := hook(false)
		return func(ctx context.Context) error {
			_, err := s.RotateWebhook(ctx, w.Owner, w.ID, secret.New("other"), time.Hour)
			return err
		}
	})
	st.try("remove a webhook", func() func(context.Context) error {
		w, _ := told()
		return func(ctx context.Context) error { return s.DeleteWebhook(ctx, w.Owner, w.ID) }
	})
	st.try("deliveries", func() func(context.Context) error {
		w, _ := told()
		all, err := s.Deliveries(st.t.Context(), w.Owner, w.ID, "", "", 10)
		if err != nil || len(all) != 1 {
			st.t.Fatalf("got %v, %v", all, err)
		}
		return func(ctx context.Context) error {
			before, err := s.Deliveries(ctx, w.Owner, w.ID, "", all[0].ID, 10)
			if err != nil {
				return err
			}
			return equal(len(before), 0)
		}
	})
	st.try("claim a delivery", func() func(context.Context) error {
		told()
		return func(ctx context.Context) error {
			a, err := s.ClaimDelivery(ctx, time.Hour, nil)
			if err != nil {
				return err
			}
			return equal(a != nil, true)
		}
	})
	st.try("claim a delivery whose document is gone", func() func(context.Context) error {
		w, c := told()
		if err := whole.DeleteDocument(st.t.Context(), w.Owner, c.Document.ID); err != nil {
			st.t.Fatal(err)
		}
		return func(ctx context.Context) error {
			a, err := s.ClaimDelivery(ctx, time.Hour, nil)
			if err != nil {
				return err
			}
			return equal(a == nil, true)
		}
	})
	st.try("end a delivery", func() func(context.Context) error {
		told()
		a := taken()
		return func(ctx context.Context) error {
			_, err := s.EndDelivery(ctx, a, store.Outcome{Delivered: true, Status: 200})
			return err
		}
	})
	st.try("deliver again", func() func(context.Context) error {
		w, _ := told()
		if _, err := whole.EndDelivery(st.t.Context(), taken(), store.Outcome{Dead: true}); err != nil {
			st.t.Fatal(err)
		}
		return func(ctx context.Context) error {
			n, err := s.Redeliver(ctx, w.Owner, w.ID)
			if err != nil {
				return err
			}
			return equal(n, 1)
		}
	})
	st.try("reap deliveries", func() func(context.Context) error {
		told()
		if _, err := whole.EndDelivery(st.t.Context(), taken(), store.Outcome{Dead: true}); err != nil {
			st.t.Fatal(err)
		}
		whole.Spoil(st.t, `UPDATE webhook_deliveries SET ended_at = 1`)
		return func(ctx context.Context) error {
			for {
				r, err := s.Reap(ctx)
				if err != nil || !r.More {
					return err
				}
			}
		}
	})
}

func (st *stepper) recover() {
	st.t.Helper()
	ctx := st.t.Context()
	st.whole.LapseLeases(st.t)
	if _, err := st.whole.Sweep(ctx); err != nil {
		st.t.Fatal(err)
	}
	st.whole.MakeDue(st.t)
	for _, lane := range []store.Lane{store.Small, store.Large} {
		for more := true; more; {
			c := anyLane
			c.Lane = lane
			runs, _, err := st.whole.Claim(ctx, c)
			if err != nil {
				st.t.Fatal(err)
			}
			for _, r := range runs {
				text, err := r.Text(ctx)
				if err == nil {
					size := max(10, len(text)/300)
					_, err = r.Commit(ctx, store.Batch{First: r.Operation.Chunks, Chunks: cut(r.Operation.Chunks, text, size), BytesDone: int64(len(text)), Last: true})
				}
				if err != nil {
					st.t.Fatal(err)
				}
			}
			more = len(runs) > 0
		}
	}
}

// onNothing is SQLite without a file, so that the migrations' calls fail too.
func onNothing(t testing.TB) store.Config {
	t.Helper()
	return store.Config{Path: filepath.Join(t.TempDir(), "new.db")}
}

// testCalls lets every path fail once in one way.
func testCalls(t *testing.T, on backend, how failure, kth int) *calls {
	cfg := on(t)
	cfg.PoisonAfter, cfg.MaxFailures, cfg.Connections = 1000, 1000, 4
	cfg.Keep.Completed = time.Millisecond
	c := newCalls(how)
	c.kth = kth
	st := &stepper{t: t, calls: c}
	st.s = c.open(t, cfg)
	cfg.Keep = store.Keep{}
	st.whole = openAt(t, cfg)
	st.all(cfg)
	st.recover()
	st.sound("everything", true)
	return c
}

// TestCalls: whichever call to the database fails, before it is carried out or after, once or for as long as the caller
// goes on, the caller is told that the database failed, or the call was repeated; no operation is left half-way; and once
// the database is whole again everything goes on.
func TestCalls(t *testing.T) {
	t.Parallel()
	ways := map[string]struct {
		on  backend
		how []failure
	}{"sqlite": {onNothing, failures}, "postgres": {onPostgres, postgresFailures}}
	var mu sync.Mutex
	paths, hit := map[string]bool{}, 0
	lines := map[string]bool{}
	t.Run("each", func(t *testing.T) {
		for name, way := range ways {
			for _, how := range way.how {
				t.Run(name+" "+how.String(), func(t *testing.T) {
					t.Parallel()
					c := testCalls(t, way.on, how, 0)
					mu.Lock()
					defer mu.Unlock()
					for path, failed := range c.paths {
						paths[name+" "+how.String()+" "+path] = failed
						if failed {
							hit++
						}
					}
					if name == "sqlite" {
						maps.Copy(lines, c.lines)
					}
				})
			}
		}
	})
	total, missed := callsInSource(t, lines)
	t.Logf("%d of %d paths failed; %d of %d calls in the source were made", hit, len(paths), total-len(missed), total)
	if hit != len(paths) || len(missed) > 0 {
		t.Errorf("of the calls in the source these were not made, as no step of stepper.all comes there: %s", strings.Join(missed, " "))
	}
}

// callsInSource is how many calls to the database the package has in its source, and those that are on none of the lines.
func callsInSource(t *testing.T, lines map[string]bool) (total int, missed []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	methods := []string{"exec", "one", "each", "then", "later", "chunks"}
	isPlumbing := append([]string{"stmt"}, methods...)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || slices.Contains([]string{"backend.go", "sqlite.go", "postgres.go", "gather.go"}, file) {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || slices.Contains([]string{"writer.go", "store.go"}, file) && slices.Contains(isPlumbing, f.Name.Name) {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || !slices.Contains(methods, sel.Sel.Name) && !strings.HasSuffix(sel.Sel.Name, "Context") {
					return true
				}
				total++
				from, to := set.Position(call.Pos()).Line, set.Position(call.End()).Line
				for line := from; line <= to; line++ {
					if lines[fmt.Sprintf("%s:%d", file, line)] {
						return true
					}
				}
				missed = append(missed, fmt.Sprintf("%s:%d", file, from))
				return true
			})
		}
	}
	return total, missed
}
