package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// writer is SQLite's one writer. It commits what has gathered: all waiting callers' work in one transaction with one
// fsync, each in its own savepoint, so that a fence that matches no row undoes only its own caller.
type writer struct {
	conn  *sql.Conn
	pool  *sql.DB
	stmts map[string]*sql.Stmt // owned by the writing goroutine
	full  bool                 // what PRAGMA synchronous is set to, owned by the writing goroutine
	inTx  bool                 // a transaction may still be open that has failed, owned by the writing goroutine

	jobs  chan *job // gathered into groups, synced
	parts chan *job // parts of big texts: alone, not synced, at most one between two groups

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	closed chan struct{} // closed first: nobody may send any more
	once   sync.Once
	wait   sync.WaitGroup

	written          atomic.Int64 // bytes that went into the log since the last checkpoint, roughly
	restart          atomic.Bool  // the log has grown long: start it over
	checkpointErrors atomic.Int64
}

// maxGroup bounds a group, so that the first caller's wait stays short.
const maxGroup = 256

// The write-ahead log is copied back after checkpointBytes, beside the writer. Under steady load that alone never
// lets it start over, so above restartBytes the writer itself pauses for the rest.
const (
	checkpointBytes = 8 << 20
	restartBytes    = 32 << 20
	pageBytes       = 4096
	callerBytes     = 8 << 10 // what a caller's own rows and index pages come to in the log, roughly
)

// job is one caller's work. Its fn runs on the writing goroutine inside a transaction and must not wait for anything.
type job struct {
	fn    func(*tx) error
	sync  bool         // its commit must be on the disk
	state atomic.Int32 // waiting → running → alone, or waiting → abandoned
	err   error        // read after done
	done  chan struct{}

	ctx   context.Context // on Postgres: the caller's, for when it runs alone
	order int64           // on Postgres: where it stands in a group
}

const (
	jobWaiting = iota
	jobRunning
	jobAbandoned
	jobAlone // it heeds its ctx itself
)

func startWriter(ctx context.Context, pool *sql.DB) (*writer, error) {
	// The writer must be able to finish a commit whose caller has gone: its context ends with close alone.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &writer{
		pool: pool, stmts: map[string]*sql.Stmt{}, full: true,
		jobs: make(chan *job, maxGroup), parts: make(chan *job),
		ctx: own, cancel: cancel, closed: make(chan struct{}),
	}
	var err error
	if w.conn, err = pool.Conn(ctx); err != nil {
		cancel()
		return nil, err
	}
	w.wait.Go(w.run)
	w.wait.Go(w.checkpoints)
	return w, nil
}

func (w *writer) close() error {
	var err error
	w.once.Do(func() {
		close(w.closed)
		w.cancel()
		w.wait.Wait()
		err = w.conn.Close()
	})
	return err
}

// do runs fn in a durable transaction and returns when it is committed and synced, or has failed. Whoever stops
// waiting (ctx) before fn began changed nothing; after that the outcome is unknown.
func (w *writer) do(ctx context.Context, fn func(*tx) error) error {
	return w.send(ctx, w.jobs, &job{fn: fn, sync: true})
}

// doShort is do: all share commits here.
func (w *writer) doShort(ctx context.Context, _ int64, fn func(*tx) error) error {
	return w.do(ctx, fn)
}

// doLease joins a group as do does, and asks for no sync of its own: SQLite's workers run on its machine, so whatever
// loses the commit ends them too.
func (w *writer) doLease(ctx context.Context, fn func(*tx) error) error {
	return w.send(ctx, w.jobs, &job{fn: fn})
}

// doPart runs fn in a transaction of its own that is not synced: the next synced commit makes it durable, since both
// are in the same write-ahead log.
func (w *writer) doPart(ctx context.Context, fn func(*tx) error) error {
	return w.send(ctx, w.parts, &job{fn: fn})
}

func (w *writer) send(ctx context.Context, to chan *job, j *job) error {
	return j.send(ctx, to, w.closed)
}

// send hands the job over and waits until it has ended. After closed is closed nothing is handed over any more.
func (j *job) send(ctx context.Context, to chan *job, closed <-chan struct{}) error {
	select {
	case <-closed:
		return ErrClosed
	default:
	}
	j.done = make(chan struct{})
	select {
	case to <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-closed:
		return ErrClosed
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobAbandoned) {
			return ctx.Err()
		}
		if j.state.Load() == jobAlone {
			<-j.done
			return j.err
		}
		select {
		case <-j.done: // it had ended already
			return j.err
		default:
			return errors.Join(ErrUnknownOutcome, ctx.Err())
		}
	}
}

func (w *writer) run() {
	group := make([]*job, 0, maxGroup)
	for {
		group = group[:0]
		var part *job
		select {
		case j := <-w.jobs:
			group = append(group, j)
		case part = <-w.parts:
		case <-w.closed:
			w.drain()
			return
		}
	gather:
		for len(group) < maxGroup {
			select {
			case j := <-w.jobs:
				group = append(group, j)
			default:
				break gather
			}
		}
		if part == nil {
			select {
			case part = <-w.parts:
			default:
			}
		}
		w.commit(group)
		if part != nil {
			w.commit([]*job{part})
		}
		w.restartLog()
	}
}

// drain fails what was sent but not begun when the store was closed.
func (w *writer) drain() {
	for {
		select {
		case j := <-w.jobs:
			j.finish(ErrClosed)
		case j := <-w.parts:
			j.finish(ErrClosed)
		default:
			return
		}
	}
}

func (j *job) finish(err error) {
	j.err = err
	close(j.done)
}

// commit runs the group in one transaction. A job's own error undoes that job; an error of the transaction is
// everybody's.
func (w *writer) commit(group []*job) {
	live, sync := group[:0], false
	for _, j := range group {
		if j.state.CompareAndSwap(jobWaiting, jobRunning) {
			live, sync = append(live, j), sync || j.sync
		} else {
			j.finish(context.Canceled) // nobody waits
		}
	}
	if len(live) == 0 {
		return
	}
	err := w.transact(live, sync)
	w.written.Add(int64(len(live)) * callerBytes)
	for _, j := range live {
		if err != nil {
			j.err = err
		}
		close(j.done)
	}
}

func (w *writer) transact(group []*job, sync bool) error {
	t := &tx{w}
	var stuck error // of use only when what follows fails too: there may be no transaction to roll back
	if w.inTx {
		_, stuck = w.exec(`ROLLBACK`)
	}
	if err := w.setSync(sync); err != nil {
		return fmt.Errorf("%w: set synchronous: %w", ErrUnavailable, errors.Join(err, stuck))
	}
	w.inTx = true
	if _, err := w.exec(`BEGIN IMMEDIATE`); err != nil {
		return fmt.Errorf("%w: begin: %w", ErrUnavailable, errors.Join(err, stuck))
	}
	kept := 0
	for _, j := range group {
		alone := len(group) == 1
		if !alone {
			if _, err := w.exec(`SAVEPOINT caller`); err != nil {
				return w.undone(fmt.Errorf("%w: savepoint: %w", ErrUnavailable, err))
			}
		}
		if j.err = t.call(j.fn); j.err == nil {
			kept++
		} else if !alone {
			if _, err := w.exec(`ROLLBACK TO caller`); err != nil {
				return w.undone(fmt.Errorf("%w: roll back to savepoint: %w, after: %v", ErrUnavailable, err, j.err))
			}
		}
		if !alone {
			if _, err := w.exec(`RELEASE caller`); err != nil {
				return w.undone(fmt.Errorf("%w: release savepoint: %w", ErrUnavailable, err))
			}
		}
	}
	if kept == 0 {
		w.rollback()
		return nil // each has its own error
	}
	if _, err := w.exec(`COMMIT`); err != nil {
		return w.undone(fmt.Errorf("commit: %w", unconfirmed(err)))
	}
	w.inTx = false
	return nil
}

// undone rolls the transaction back and gives cause.
func (w *writer) undone(cause error) error {
	w.rollback()
	return cause
}

// rollback ends the transaction. SQLite has already rolled back after some errors (disk full, for one), and then the
// ROLLBACK itself fails; when it fails for another reason, the next transaction cannot begin before it has been tried again.
func (w *writer) rollback() {
	_, err := w.exec(`ROLLBACK`)
	w.inTx = err != nil
}

func (w *writer) setSync(full bool) error {
	if w.full == full {
		return nil
	}
	// A PRAGMA acts while it is compiled, so it is never prepared ahead.
	text := `PRAGMA synchronous = NORMAL`
	if full {
		text = `PRAGMA synchronous = FULL`
	}
	_, err := w.conn.ExecContext(w.working(), text)
	w.full = full && err == nil // after an error it may be either: the next synced commit sets it again
	return err
}

// working is the context of the writer's own statements. It has no Done channel: a statement of a group is never
// interrupted half-way, and the driver then needs no watcher goroutine for each.
func (w *writer) working() context.Context { return context.WithoutCancel(w.ctx) }

func (w *writer) stmt(text string) (*sql.Stmt, error) {
	if st := w.stmts[text]; st != nil {
		return st, nil
	}
	st, err := w.conn.PrepareContext(w.working(), sqliteWords.Replace(text))
	if err != nil {
		return nil, outage(err)
	}
	w.stmts[text] = st
	return st, nil
}

// exec runs a statement, prepared once per text, and gives the number of rows it changed.
func (w *writer) exec(text string, args ...any) (int64, error) {
	st, err := w.stmt(text)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(w.working(), args...)
	if err != nil {
		return 0, outage(err)
	}
	return res.RowsAffected()
}

// one scans the only row; no row is sql.ErrNoRows.
func (w *writer) one(text string, args []any, dest ...any) error {
	st, err := w.stmt(text)
	if err != nil {
		return err
	}
	return outage(st.QueryRowContext(w.working(), args...).Scan(dest...))
}

// each calls row once per row. It ends before the next statement begins: rows must not be kept open.
func (w *writer) each(text string, args []any, row func(scan) error) error {
	st, err := w.stmt(text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(w.working(), args...)
	if err != nil {
		return outage(err)
	}
	return outage(eachRow(rows, row))
}

// then has no reason to wait: a statement is a function call here.
func (w *writer) then(text string, args []any, row func(scan) error) error {
	return w.each(text, args, row)
}

func (w *writer) later(text string, args ...any) error {
	_, err := w.exec(text, args...)
	return err
}

func (w *writer) wrote(bytes int64) { w.written.Add(bytes) }

// checkpoints copies the log back into the database beside the writer. PASSIVE never blocks a writer or a reader. A
// failed one is counted and tried again at the next tick: the log only grows meanwhile.
func (w *writer) checkpoints() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	idle := 0
	for {
		select {
		case <-w.closed:
			return
		case <-tick.C:
		}
		written := w.written.Load()
		idle++
		if written == 0 || written < checkpointBytes && idle < 50 {
			continue
		}
		idle = 0
		var busy, frames, moved int64
		err := w.pool.QueryRowContext(w.ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &frames, &moved)
		if err != nil {
			w.checkpointErrors.Add(1)
			continue
		}
		w.written.Add(-written)
		if frames*pageBytes >= restartBytes {
			w.restart.Store(true)
		}
	}
}

// restartLog finishes the checkpoint and lets the log start over from its beginning. It runs between two groups, and
// gives up soon when a reader is in the way: the next checkpoint asks for it again.
func (w *writer) restartLog() {
	if !w.restart.CompareAndSwap(true, false) {
		return
	}
	for _, text := range []string{
		`PRAGMA busy_timeout = 50`, `PRAGMA wal_checkpoint(RESTART)`, `PRAGMA busy_timeout = 5000`,
	} {
		if _, err := w.conn.ExecContext(w.working(), text); err != nil {
			w.checkpointErrors.Add(1)
		}
	}
}

// rowsPerInsert is how many chunk rows one statement carries: 100 at a time are three times as fast as one by one.
const rowsPerInsert = 100

// insertChunks gives the statement for n rows. Its parameters have no numbers: SQLite counts $1 as a name, and the
// driver searches the names for each value it binds, which for hundreds of them takes longer than the insert.
var insertChunks = func() (texts [rowsPerInsert + 1]string) {
	for n := 1; n <= rowsPerInsert; n++ {
		texts[n] = `INSERT INTO chunks (operation, idx, epoch, start_byte, end_byte, start_char, end_char, facts, context) VALUES ` +
			strings.Repeat("(?,?,?,?,?,?,?,?,?),", n-1) + "(?,?,?,?,?,?,?,?,?)"
	}
	return texts
}()

// orNull is what v points to: the driver of SQLite takes no pointers.
func orNull[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func (w *writer) chunks(operation, epoch, first int64, chunks []Chunk) error {
	args := make([]any, 0, min(len(chunks), rowsPerInsert)*9)
	for i := 0; i < len(chunks); {
		n := min(len(chunks)-i, rowsPerInsert)
		args = args[:0]
		for k, c := range chunks[i : i+n] {
			facts, context := c.Facts.pack()
			args = append(args, operation, first+int64(i+k), epoch, c.StartByte, c.EndByte, c.StartChar, c.EndChar,
				orNull(facts), orNull(context))
		}
		if _, err := w.exec(insertChunks[n], args...); err != nil {
			return err
		}
		i += n
	}
	w.wrote(int64(len(chunks)) * 24)
	return nil
}
