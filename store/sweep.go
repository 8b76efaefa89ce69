package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"chunkstream/event"
)

// Bounds of one sweep's transactions, so that none holds the writer for long.
const (
	sweepRuns   = 100
	sweepRows   = 5000
	sweepParts  = 16
	stagedFor   = time.Hour // a staged text that nobody claimed
	sweptKeys   = 1000
	lapsedCode  = "lease_lapsed"
	lapsedWords = "The worker stopped renewing its lease; another one goes on from the last committed batch."
)

const countLapsed = `SELECT count(*) FROM operations WHERE status = 'processing' AND lease_until < ` + nowMs

// selectLapsed names the operations whose lease has run out, and holds them.
const selectLapsed = selectOperation + ` WHERE o.status = 'processing' AND o.lease_until < ` + nowMs + `
 ORDER BY o.lease_until LIMIT $1` + skipLocked

// Sweep puts back what lapsed: operations whose lease has run out are queued again (or ended, when a cancel was
// requested or they crashed too often without progress). It returns their events. Any number of processes may sweep.
func (s *Store) Sweep(ctx context.Context) ([]event.Owned, error) {
	// Reading first keeps an idle queue's sweep out of the writer.
	var due int64
	err := s.read(ctx, countLapsed).one(&due)
	if err != nil || due == 0 {
		return nil, found("sweep", err)
	}
	var out []event.Owned
	err = s.db.do(ctx, func(t *tx) error {
		out = nil
		var rows []operationRow
		err := t.each(selectLapsed, []any{sweepRuns}, func(scan scan) error {
			row := operationRow{}
			err := scan(row.dest()...)
			rows = append(rows, row)
			return err
		})
		if err != nil {
			return err
		}
		for _, row := range rows {
			f := event.Failure{Code: lapsedCode, Detail: lapsedWords}
			poison := row.crashCount >= int64(s.cfg.PoisonAfter)
			if poison {
				f = event.Failure{Code: PoisonCode, Detail: fmt.Sprintf(
					"%d workers in a row ended without progress while they held this operation.", row.crashCount)}
			}
			_, ev, err := t.left(row.num, row.operation(), `
UPDATE operations SET seq = seq + 1, worker = '', lease_until = 0, run_after = `+nowMs+`,
       status = CASE WHEN cancel_requested = 1 THEN 'cancelled' WHEN $1 THEN 'failed' ELSE 'queued' END,
       finished_at = CASE WHEN cancel_requested = 1 OR $1 THEN `+nowMs+` ELSE 0 END,
       error_code = $2, error_detail = $3
 WHERE num = $4 AND status = 'processing' RETURNING seq, status, `+nowMs,
				[]any{poison, f.Code, f.Detail, row.num}, event.Retrying, &f, 0)
			if err != nil {
				return err
			}
			out = append(out, ev)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: sweep: %w", err)
	}
	return out, nil
}

// DeleteDocument removes the owner's document with all its operations, chunks, events and idempotency keys. They are
// invisible when it returns; the rows go piece by piece with the next calls of Reap. ErrInUse: an operation on it has
// not ended; cancel it first.
func (s *Store) DeleteDocument(ctx context.Context, owner, id string) error {
	err := s.db.do(ctx, func(t *tx) error {
		var num, live int64
		// The lock comes first: an operation that is being created on it either shares it and is seen, or comes too late.
		err := t.one(`SELECT num FROM documents WHERE owner = $1 AND id = $2 AND state = 'ready'`+lockRow,
			[]any{owner, id}, &num)
		if missing(err) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		err = t.one(`SELECT count(*) FROM operations WHERE document = $1 AND finished_at = 0`, []any{num}, &live)
		if err != nil {
			return err
		}
		if live > 0 {
			return ErrInUse
		}
		_, err = t.exec(`UPDATE documents SET state = 'deleting' WHERE num = $1`, num)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: delete document: %w", err)
	}
	return nil
}

// Reap removes rows nobody can see any more: deleted documents with everything that hangs on them, staged texts that
// were never claimed, idempotency keys past their day. Each call does one bounded piece and says whether there is
// more.
func (s *Store) Reap(ctx context.Context) (bool, error) {
	var num, keys int64
	err := s.read(ctx, `SELECT COALESCE((SELECT num FROM documents WHERE state <> 'ready'
    AND (state = 'deleting' OR created_at < `+nowMs+` - $1) ORDER BY created_at LIMIT 1), 0),
  (SELECT count(*) FROM (SELECT 1 FROM idempotency_keys WHERE created_at < `+nowMs+` - $2 LIMIT 1) AS old)`,
		stagedFor.Milliseconds(), keptKeys.Milliseconds()).one(&num, &keys)
	if err != nil || num == 0 && keys == 0 {
		return false, found("reap", err)
	}
	var more bool
	err = s.db.do(ctx, func(t *tx) error {
		more = false
		if keys > 0 {
			n, err := t.exec(`DELETE FROM idempotency_keys WHERE (owner, key) IN
 (SELECT owner, key FROM idempotency_keys WHERE created_at < `+nowMs+` - $1 LIMIT $2)`, keptKeys.Milliseconds(), sweptKeys)
			if err != nil {
				return err
			}
			more = n == sweptKeys
		}
		if num == 0 {
			return nil
		}
		more = true // the rest of this document, or another one
		return t.reapDocument(num)
	})
	if err != nil {
		return false, fmt.Errorf("store: reap: %w", err)
	}
	return more, nil
}

// reapDocument removes one piece of a document that is deleting or forgotten, children first, down to
// the document itself.
func (t *tx) reapDocument(num int64) error {
	// This also keeps a second reaper out, and finds that a staged text was claimed in the last moment.
	if n, err := t.exec(`UPDATE documents SET state = 'deleting' WHERE num = $1 AND state <> 'ready'`, num); err != nil || n == 0 {
		return err
	}
	var op int64
	err := t.one(`SELECT num FROM operations WHERE document = $1 ORDER BY num LIMIT 1`, []any{num}, &op)
	if err == nil {
		for _, text := range []string{
			`DELETE FROM chunks WHERE operation = $1 AND idx IN (SELECT idx FROM chunks WHERE operation = $1 LIMIT $2)`,
			`DELETE FROM operation_events WHERE operation = $1 AND seq IN
 (SELECT seq FROM operation_events WHERE operation = $1 LIMIT $2)`,
		} {
			if n, err := t.exec(text, op, sweepRows); err != nil || n == sweepRows {
				return err
			}
		}
		if _, err := t.exec(`DELETE FROM idempotency_keys WHERE operation = $1`, op); err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM operations WHERE num = $1`, op)
		return err
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	n, err := t.exec(`DELETE FROM document_parts WHERE key IN (SELECT key FROM document_parts
 WHERE key BETWEEN $1 AND $2 LIMIT $3)`, num*partsPerDocument, (num+1)*partsPerDocument-1, sweepParts)
	if err != nil || n == sweepParts {
		return err
	}
	_, err = t.exec(`DELETE FROM documents WHERE num = $1 AND state = 'deleting'`, num)
	return err
}
