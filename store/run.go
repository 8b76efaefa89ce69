package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"chunkstream/event"
)

// Claim asks for work.
type Claim struct {
	Worker          string // names the process; shown to users
	Lane            Lane
	Slots           int           // at most so many operations
	Bytes           int64         // and at most so many bytes of text together; none is skipped for a smaller, younger one
	Alone           bool          // nothing is in flight: the oldest one is taken even if it is larger than Bytes
	SplitterVersion string        // only operations that no other version has stored a chunk of; from now on of this one
	Lease           time.Duration // how long the lease holds without a renewal
	// Turn, if not nil, lets owners take turns: the oldest due operation of each owner comes first, at most one of each,
	// beginning behind the owner it holds; what room is left is for the oldest, whosesoever they are. It then holds where
	// the next claim is to begin. For a queue that has more than the worker has room for.
	Turn *string
}

// Run is one operation under lease. Its methods' writes are fenced by the epoch. A Run is used by one worker; Renew
// may be called beside the others.
type Run struct {
	Operation Operation // as claimed; Chunks is the index to go on with
	Started   event.Owned

	s             *Store
	text          string // the whole text, when it needs no reading
	num, document int64
	epoch         int64
	lease         int64 // ms
	crashes       int64 // without progress, this run counted as one until it makes some
}

// selectDue names the due operations of a lane, oldest first, and holds them. The index of what is queued gives them in
// this order.
const selectDue = selectOperation + `
 WHERE o.status = 'queued' AND o.lane = $1 AND o.run_after <= ` + nowMs + `
   AND (o.splitter_version = $2 OR o.next_index = 0)
 ORDER BY o.run_after, o.num LIMIT $3` + skipLocked

// selectTurns names the oldest due operation of each of at most $3 owners behind $4, in the order of the owners, and holds
// those that nobody else holds. The index of turns gives each with one look.
const selectTurns = `
WITH RECURSIVE turns(num, n) AS (
  SELECT (SELECT q.num FROM operations q
           WHERE q.status = 'queued' AND q.lane = $1 AND q.owner > $4 AND q.run_after <= ` + nowMs + `
             AND (q.splitter_version = $2 OR q.next_index = 0)
           ORDER BY q.owner, q.run_after, q.num LIMIT 1), 1
  UNION ALL
  SELECT (SELECT q.num FROM operations q
           WHERE q.status = 'queued' AND q.lane = $1 AND q.run_after <= ` + nowMs + `
             AND q.owner > (SELECT p.owner FROM operations p WHERE p.num = turns.num)
             AND (q.splitter_version = $2 OR q.next_index = 0)
           ORDER BY q.owner, q.run_after, q.num LIMIT 1), n + 1
    FROM turns WHERE num IS NOT NULL AND n < $3)` + selectOperation + `
 WHERE o.num IN (SELECT num FROM turns) AND o.status = 'queued'
 ORDER BY o.owner` + skipLocked

// Claim takes the oldest due operations of a lane: epoch and attempt go up by one, the lease begins. Nothing due gives
// none. more says that there may be others which the bounds kept out. Two claims never get the same operation.
func (s *Store) Claim(ctx context.Context, c Claim) ([]*Run, bool, error) {
	if c.Slots < 1 || c.Lease <= 0 {
		return nil, false, fmt.Errorf("store: claim: %d slots and a lease of %v must be positive", c.Slots, c.Lease)
	}
	var runs []*Run
	var more bool
	var turn string
	err := s.db.doLease(ctx, func(t *tx) error {
		runs, more, turn = nil, false, ""
		budget := c.Bytes
		var inTurn []int64
		due := func(text string, args ...any) error {
			return t.each(text, args, func(scan scan) error {
				row := operationRow{}
				if err := scan(row.dest()...); err != nil {
					return err
				}
				if len(runs) == c.Slots || slices.Contains(inTurn, row.num) {
					return nil
				}
				budget -= row.op.BytesTotal
				if more = more || budget < 0 && !(c.Alone && len(runs) == 0); more {
					return nil // the oldest goes first even if a younger one would fit
				}
				runs = append(runs, &Run{s: s, Operation: row.operation(), num: row.num, document: row.document,
					lease: c.Lease.Milliseconds(), crashes: row.crashCount + 1})
				return nil
			})
		}
		if c.Turn != nil {
			if err := due(selectTurns, string(c.Lane), c.SplitterVersion, c.Slots, *c.Turn); err != nil {
				return err
			}
			for _, r := range runs {
				inTurn, turn = append(inTurn, r.num), r.Operation.Owner
			}
			if len(runs) < c.Slots {
				turn = "" // that was the last owner
			}
		}
		if len(runs) < c.Slots && !more {
			// Those that have had their turn come up again.
			if err := due(selectDue, string(c.Lane), c.SplitterVersion, c.Slots+len(inTurn)); err != nil {
				return err
			}
		}
		more = more || len(runs) == c.Slots
		for _, r := range runs {
			if err := t.take(r, c.Worker, c.SplitterVersion); err != nil {
				return fmt.Errorf("take operation: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("store: claim: %w", err)
	}
	if c.Turn != nil {
		*c.Turn = turn
	}
	return slices.DeleteFunc(runs, func(r *Run) bool { return r.epoch == 0 }), more, nil
}

// take moves a due operation to its run, which has its epoch from then on. Should the row not be as it was seen, neither
// of the two statements matches it.
func (t *tx) take(r *Run, worker, version string) error {
	was, epoch := r.Operation, r.Operation.Attempt+1
	op := &r.Operation
	op.Status, op.Worker, op.Seq, op.Attempt, op.Error = Processing, worker, was.Seq+1, epoch, nil
	op.SplitterVersion = version
	ev := event.Event{Seq: op.Seq, Type: event.Started, OperationID: op.ID, Data: op.data()}
	data, err := json.Marshal(ev.Data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	err = t.then(`
UPDATE operations SET status = 'processing', epoch = epoch + 1, crash_count = crash_count + 1, seq = seq + 1, worker = $1, splitter_version = $6,
       lease_until = `+nowMs+` + $2, started_at = CASE WHEN started_at = 0 THEN `+nowMs+` ELSE started_at END
 WHERE num = $3 AND status = 'queued' AND epoch = $4 AND seq = $5 RETURNING started_at, lease_until`,
		[]any{worker, r.lease, r.num, was.Attempt, was.Seq, version}, func(scan scan) error {
			var started, until int64
			err := scan(&started, &until)
			r.epoch, op.StartedAt, op.ExpiresLease = epoch, instant(started), instant(until)
			ev.Time = event.Millis(until - r.lease)
			r.Started = event.Owned{Owner: op.Owner, Event: ev}
			return err
		})
	if err != nil {
		return err
	}
	return t.later(`
INSERT INTO operation_events (operation, seq, epoch, type, at, data)
SELECT num, seq, epoch, $1, lease_until - $2, $3 FROM operations
 WHERE num = $4 AND status = 'processing' AND epoch = $5 AND seq = $6`,
		string(ev.Type), r.lease, string(data), r.num, epoch, op.Seq)
}

// Text reads the whole text the operation's offsets refer to.
func (r *Run) Text(ctx context.Context) (string, error) {
	if r.text != "" {
		return r.text, nil
	}
	text, err := r.s.text(ctx, r.document, 0, r.Operation.BytesTotal)
	if err != nil {
		return "", fmt.Errorf("store: read text: %w", r.s.damage(ctx, r.document, r.Operation.ID, err))
	}
	return text, nil
}

// Batch is what a run adds in one transaction.
type Batch struct {
	First     int64 // index of Chunks[0]; what Operation.Chunks was after the batch before
	Chunks    []Chunk
	BytesDone int64
	ETAMs     int64 // estimated milliseconds left; 0 means no estimate
	Last      bool  // the text is at its end: complete the operation
}

// Commit adds a batch: fence, chunk rows and event in one transaction, and renews the lease. With Last it completes
// the operation. If a cancel was requested meanwhile the operation ends as cancelled instead and the batch is dropped:
// the event then says so and the run is over. ErrFenced means that nothing was written and the run is over.
func (r *Run) Commit(ctx context.Context, b Batch) (event.Owned, error) {
	var out event.Owned
	var op Operation
	err := r.s.db.doShort(ctx, r.num, func(t *tx) error {
		op, out = r.Operation, event.Owned{}
		next := b.First + int64(len(b.Chunks))
		var seq, at int64
		var status string
		err := t.one(`
UPDATE operations SET seq = seq + 1, crash_count = 0, failures = 0, error_code = '', error_detail = '',
       next_index = CASE WHEN cancel_requested = 1 THEN next_index ELSE $1 END,
       bytes_done = CASE WHEN cancel_requested = 1 THEN bytes_done ELSE $2 END,
       status = CASE WHEN cancel_requested = 1 THEN 'cancelled' WHEN $3 THEN 'completed' ELSE 'processing' END,
       finished_at = CASE WHEN cancel_requested = 1 OR $3 THEN `+nowMs+` ELSE 0 END,
       lease_until = CASE WHEN cancel_requested = 1 OR $3 THEN 0 ELSE `+nowMs+` + $4 END,
       worker = CASE WHEN cancel_requested = 1 OR $3 THEN '' ELSE worker END
 WHERE num = $5 AND epoch = $6 AND status = 'processing' AND next_index = $7
RETURNING seq, status, `+nowMs,
			[]any{next, b.BytesDone, b.Last, r.lease, r.num, r.epoch, b.First}, &seq, &status, &at)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrFenced
		}
		if err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		op.Status, op.Seq, op.Error, op.Failures = Status(status), seq, nil, 0
		typ := event.Batch
		switch op.Status {
		case Cancelled:
			typ = event.Cancelled
		case Completed:
			typ = event.Completed
		}
		if typ != event.Cancelled {
			op.Chunks, op.BytesDone = next, b.BytesDone
			if err := t.chunks(r.num, r.epoch, b.First, b.Chunks); err != nil {
				return fmt.Errorf("insert chunks: %w", err)
			}
		}
		ev, err := t.record(r.num, seq, at, typ, op, func(d *event.Data) {
			if typ == event.Batch && b.ETAMs > 0 {
				d.ETAMs = &b.ETAMs
			}
		})
		out = event.Owned{Owner: op.Owner, Event: ev}
		return err
	})
	if err != nil {
		return event.Owned{}, fmt.Errorf("store: commit batch: %w", err)
	}
	r.Operation, r.crashes = op, 0
	return out, nil
}

// Renew extends the leases of runs and gives those among them that must stop: first the lost ones (fenced or ended),
// then those asked to cancel. It never revives a lease that somebody else has taken.
func (s *Store) Renew(ctx context.Context, runs []*Run) ([]*Run, []*Run, error) {
	if len(runs) == 0 {
		return nil, nil, nil
	}
	// Groups of commits lock in this order too.
	runs = slices.SortedFunc(slices.Values(runs), func(a, b *Run) int { return cmp.Compare(a.num, b.num) })
	const held, asked = 1, 2
	states := make([]int, len(runs))
	err := s.db.doLease(ctx, func(t *tx) error {
		clear(states)
		for i, r := range runs {
			err := t.then(`UPDATE operations SET lease_until = `+nowMs+` + $1
 WHERE num = $2 AND epoch = $3 AND status = 'processing' RETURNING cancel_requested`,
				[]any{r.lease, r.num, r.epoch}, func(scan scan) error {
					var cancel int
					err := scan(&cancel)
					states[i] = held + cancel
					return err
				})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("store: renew leases: %w", err)
	}
	var lost, cancel []*Run
	for i, r := range runs {
		switch states[i] {
		case 0:
			lost = append(lost, r)
		case asked:
			cancel = append(cancel, r)
		}
	}
	return lost, cancel, nil
}

// Fail ends the run with an error. A positive retryIn says that the error may pass: the operation is queued again for
// after that time, unless it has failed Config.MaxFailures times without progress: then it ends as failed with the code
// "attempts_exhausted" and f in the detail. Otherwise it ends as failed with f; if a cancel was requested, as cancelled. ErrFenced means that nothing was written.
func (r *Run) Fail(ctx context.Context, f event.Failure, retryIn time.Duration) (event.Owned, error) {
	f.Code, f.Detail = storable(f.Code), storable(f.Detail)
	if failed := r.Operation.Failures + 1; retryIn > 0 && failed >= int64(r.s.cfg.MaxFailures) {
		f = event.Failure{Code: ExhaustedCode, Detail: fmt.Sprintf("%d attempts in a row without progress failed, the last with %s: %s",
			failed, f.Code, f.Detail)}
	}
	ev, err := r.leave(ctx, `
UPDATE operations SET seq = seq + 1, failures = failures + 1, crash_count = 0, worker = '', lease_until = 0,
       status = CASE WHEN cancel_requested = 1 THEN 'cancelled' WHEN $1 AND failures + 1 < $2 THEN 'queued' ELSE 'failed' END,
       finished_at = CASE WHEN cancel_requested = 1 OR NOT ($1 AND failures + 1 < $2) THEN `+nowMs+` ELSE 0 END,
       run_after = `+nowMs+` + $3, error_code = $4, error_detail = $5
 WHERE num = $6 AND epoch = $7 AND status = 'processing' RETURNING seq, status, `+nowMs,
		[]any{retryIn > 0, r.s.cfg.MaxFailures, retryIn.Milliseconds(), f.Code, f.Detail, r.num, r.epoch},
		event.Retrying, &f, retryIn)
	if err != nil {
		return event.Owned{}, fmt.Errorf("store: fail operation: %w", err)
	}
	return ev, nil
}

// Crash ends the run as the death of its worker would, for a worker that lived: a process that it had started for the run
// died of it. f says how; the operation is queued again for after retryIn, or ends as failed with the code "poison" when
// it has come to Config.PoisonAfter crashes without progress. If a cancel was requested it ends as cancelled. ErrFenced
// means that nothing was written.
func (r *Run) Crash(ctx context.Context, f event.Failure, retryIn time.Duration) (event.Owned, error) {
	f.Code, f.Detail = storable(f.Code), storable(f.Detail)
	poison := r.crashes >= int64(r.s.cfg.PoisonAfter)
	if poison {
		f = event.Failure{Code: PoisonCode, Detail: fmt.Sprintf("%d attempts in a row without progress died, the last with %s: %s.",
			r.crashes, f.Code, f.Detail)}
	}
	ev, err := r.leave(ctx, `
UPDATE operations SET seq = seq + 1, worker = '', lease_until = 0,
       status = CASE WHEN cancel_requested = 1 THEN 'cancelled' WHEN $1 THEN 'failed' ELSE 'queued' END,
       finished_at = CASE WHEN cancel_requested = 1 OR $1 THEN `+nowMs+` ELSE 0 END,
       run_after = `+nowMs+` + $2, error_code = $3, error_detail = $4
 WHERE num = $5 AND epoch = $6 AND status = 'processing' RETURNING seq, status, `+nowMs,
		[]any{poison, retryIn.Milliseconds(), f.Code, f.Detail, r.num, r.epoch}, event.Retrying, &f, retryIn)
	if err != nil {
		return event.Owned{}, fmt.Errorf("store: crash operation: %w", err)
	}
	return ev, nil
}

// HandOver gives the operation back so that another worker goes on at once; the claim then counts for nothing. If a
// cancel was requested it ends as cancelled. ErrFenced means that nothing was written.
func (r *Run) HandOver(ctx context.Context) (event.Owned, error) {
	ev, err := r.leave(ctx, `
UPDATE operations SET seq = seq + 1, crash_count = CASE WHEN crash_count > 0 THEN crash_count - 1 ELSE 0 END, worker = '', lease_until = 0,
       status = CASE WHEN cancel_requested = 1 THEN 'cancelled' ELSE 'queued' END,
       finished_at = CASE WHEN cancel_requested = 1 THEN `+nowMs+` ELSE 0 END, run_after = `+nowMs+`
 WHERE num = $1 AND epoch = $2 AND status = 'processing' RETURNING seq, status, `+nowMs,
		[]any{r.num, r.epoch}, event.HandedOver, nil, 0)
	if err != nil {
		return event.Owned{}, fmt.Errorf("store: hand over: %w", err)
	}
	return ev, nil
}

// leave runs a fenced update that ends the lease, and records its event.
func (r *Run) leave(ctx context.Context, update string, args []any, requeued event.Type, f *event.Failure,
	retryIn time.Duration,
) (event.Owned, error) {
	var out event.Owned
	op := r.Operation
	err := r.s.db.do(ctx, func(t *tx) error {
		var err error
		op, out, err = t.left(r.num, r.Operation, update, args, requeued, f, retryIn)
		return err
	})
	if err != nil {
		return event.Owned{}, err // not op and out: a caller that gave up must not look at what the writer may still fill
	}
	r.Operation = op
	return out, nil
}

// left runs an update that takes an operation out of processing, and records the event of where it went.
func (t *tx) left(num int64, op Operation, update string, args []any, requeued event.Type, f *event.Failure,
	retryIn time.Duration,
) (Operation, event.Owned, error) {
	var at int64
	var status string
	err := t.one(update, args, &op.Seq, &status, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return op, event.Owned{}, ErrFenced
	}
	if err != nil {
		return op, event.Owned{}, fmt.Errorf("fence: %w", err)
	}
	op.Status, op.Worker, op.Error = Status(status), "", f
	typ := requeued
	switch op.Status {
	case Cancelled:
		typ, op.Error = event.Cancelled, nil
	case Failed:
		typ = event.Failed
	}
	ev, err := t.record(num, op.Seq, at, typ, op, func(d *event.Data) {
		if typ == event.Retrying {
			d.RetryInMs = retryIn.Milliseconds()
		}
	})
	return op, event.Owned{Owner: op.Owner, Event: ev}, err
}

// Cancel asks for an operation to end. A queued one ends here, and the event is returned; a processing one is marked,
// and its worker ends it with its next batch or renewal; an ended one is returned as it is. ErrNotFound as everywhere.
func (s *Store) Cancel(ctx context.Context, owner, id string) (Operation, *event.Owned, error) {
	var op Operation
	var out *event.Owned
	err := s.db.do(ctx, func(t *tx) error {
		out = nil
		row := operationRow{}
		err := t.one(selectOperation+` WHERE o.id = $1 AND o.owner = $2`+visible+lockRowO, []any{id, owner}, row.dest()...)
		if missing(err) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		op = row.operation()
		switch op.Status {
		case Queued:
			var at int64
			err := t.one(`UPDATE operations SET status = 'cancelled', seq = seq + 1, cancel_requested = 1,
       finished_at = `+nowMs+` WHERE num = $1 AND status = 'queued' RETURNING seq, finished_at`,
				[]any{row.num}, &op.Seq, &at)
			if err != nil {
				return err
			}
			op.Status, op.CancelRequested, op.FinishedAt, op.Error = Cancelled, true, instant(at), nil
			ev, err := t.record(row.num, op.Seq, at, event.Cancelled, op)
			out = &event.Owned{Owner: owner, Event: ev}
			return err
		case Processing:
			op.CancelRequested = true
			_, err := t.exec(`UPDATE operations SET cancel_requested = 1 WHERE num = $1 AND status = 'processing'`, row.num)
			return err
		}
		return nil
	})
	if err != nil {
		return Operation{}, nil, fmt.Errorf("store: cancel: %w", err)
	}
	return op, out, nil
}
