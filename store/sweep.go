package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// Reaped is what a call of Reap did.
type Reaped struct {
	More bool // there is more to remove: call again
	// Operations are the ids of the operations that are gone. What is kept elsewhere under their ids may go too.
	Operations []string
}

// Reap removes rows nobody can see any more, and those whose time is over: deleted documents with everything that hangs
// on them, operations that ended longer ago than Config.Keep allows, staged texts that were never claimed, idempotency
// keys past their day, deliveries that ended a week ago. An operation that has not ended is never touched. Each call does one bounded piece. Any number of
// processes may reap.
func (s *Store) Reap(ctx context.Context) (Reaped, error) {
	var documents, keys, over, told int64
	// Reading first keeps the sweep of a store with nothing to remove out of the writer.
	err := s.read(ctx, `SELECT (SELECT count(*) FROM (`+unwanted+`) AS unwanted),
  (SELECT count(*) FROM (SELECT 1 FROM idempotency_keys WHERE created_at < `+nowMs+` - $2 LIMIT 1) AS old),
  (SELECT count(*) FROM (`+s.cfg.Keep.over()+` LIMIT 1) AS due),
  (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries WHERE state <> 'pending' AND ended_at < `+nowMs+` - $3 LIMIT 1) AS told)`,
		stagedFor.Milliseconds(), keptKeys.Milliseconds(), deliveriesKept.Milliseconds()).one(&documents, &keys, &over, &told)
	if err != nil || documents == 0 && keys == 0 && over == 0 && told == 0 {
		return Reaped{}, found("reap", err)
	}
	var out Reaped
	err = s.db.do(ctx, func(t *tx) error {
		out = Reaped{}
		if keys > 0 {
			n, err := t.exec(`DELETE FROM idempotency_keys WHERE (owner, key) IN
 (SELECT owner, key FROM idempotency_keys WHERE created_at < `+nowMs+` - $1 LIMIT $2)`, keptKeys.Milliseconds(), sweptKeys)
			if err != nil {
				return err
			}
			out.More = n == sweptKeys
		}
		if told > 0 {
			n, err := t.exec(`DELETE FROM webhook_deliveries WHERE num IN
 (SELECT num FROM webhook_deliveries WHERE state <> 'pending' AND ended_at < `+nowMs+` - $1 LIMIT $2)`, deliveriesKept.Milliseconds(), sweptKeys)
			if err != nil {
				return err
			}
			out.More = out.More || n == sweptKeys
		}
		var num int64
		err := sql.ErrNoRows
		if documents > 0 {
			// One that another reaper is at is left to it: all would wait for the same row.
			err = t.one(unwanted+skipLocked, []any{stagedFor.Milliseconds()}, &num)
		}
		switch {
		case err == nil:
			out.More = true // the rest of this document, or another one
			out.Operations, err = t.reapDocument(num)
		case !errors.Is(err, sql.ErrNoRows):
		case over > 0:
			out.More = true
			out.Operations, err = t.reapOver(s.cfg.Keep)
		default:
			err = nil
		}
		return err
	})
	if err != nil {
		return Reaped{}, fmt.Errorf("store: reap: %w", err)
	}
	return out, nil
}

// unwanted selects the oldest document that is being removed, or was never submitted.
const unwanted = `SELECT o.num FROM documents o WHERE o.state <> 'ready'
 AND (o.state = 'deleting' OR o.created_at < ` + nowMs + ` - $1) ORDER BY o.created_at LIMIT 1`

// over selects the operations that are being removed or whose time is over, with an index for each kind.
func (k Keep) over() string {
	const columns = `SELECT o.num, o.id, o.document, o.next_index + o.seq AS weight FROM operations o WHERE `
	text := columns + `o.removed = 1`
	for _, kind := range []struct {
		status Status
		kept   time.Duration
		ended  string
	}{
		{Completed, k.Completed, `o.finished_at > 0`}, {Failed, k.Failed, `o.status IN ('failed', 'cancelled')`},
		{Cancelled, k.Cancelled, `o.status IN ('failed', 'cancelled')`},
	} {
		if kind.kept > 0 {
			text += ` UNION ALL ` + columns + fmt.Sprintf(`o.status = '%s' AND %s AND o.finished_at < `+nowMs+` - %d AND o.removed = 0`,
				kind.status, kind.ended, kind.kept.Milliseconds())
		}
	}
	return text
}

// ended is an operation that is to go, with the number of its chunks and events.
type ended struct {
	num, document, weight int64
	id                    string
}

func (t *tx) ended(text string, args ...any) (all []ended, err error) {
	err = t.each(text, args, func(scan scan) error {
		var e ended
		err := scan(&e.num, &e.id, &e.document, &e.weight)
		all = append(all, e)
		return err
	})
	return all, err
}

// reapOver removes one piece of what Keep does not keep, and marks documents of which nothing is left.
func (t *tx) reapOver(k Keep) ([]string, error) {
	all, err := t.ended(`SELECT num, id, document, weight FROM (`+k.over()+`) AS due LIMIT $1`, sweepRuns)
	if err != nil {
		return nil, err
	}
	gone, err := t.reapOperations(all)
	if err != nil || k.Documents {
		return ids(gone), err
	}
	documents := map[int64]bool{}
	for _, e := range gone {
		documents[e.document] = true
	}
	for _, num := range slices.Sorted(maps.Keys(documents)) {
		// The lock comes first, as in DeleteDocument.
		var left int64
		err := t.one(`SELECT num FROM documents WHERE num = $1 AND state = 'ready'`+lockRow, []any{num}, &left)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil {
			err = t.one(`SELECT count(*) FROM (SELECT 1 FROM operations WHERE document = $1 LIMIT 1) AS l`, []any{num}, &left)
		}
		if err == nil && left == 0 {
			_, err = t.exec(`UPDATE documents SET state = 'deleting' WHERE num = $1`, num)
		}
		if err != nil {
			return nil, err
		}
	}
	return ids(gone), nil
}

func ids(all []ended) []string {
	var ids []string
	for _, e := range all {
		ids = append(ids, e.id)
	}
	return ids
}

// reapOperations removes as many operations as have sweepRows chunks and events together, or a piece of the first when it
// has more alone. It gives those that are gone.
func (t *tx) reapOperations(all []ended) ([]ended, error) {
	if len(all) == 0 {
		return nil, nil
	}
	n, rows := 1, all[0].weight
	for n < len(all) && rows+all[n].weight <= sweepRows {
		rows += all[n].weight
		n++
	}
	all = all[:n]
	nums := make([]int64, n)
	for i, e := range all {
		nums[i] = e.num
	}
	list, err := json.Marshal(nums)
	if err != nil {
		return nil, err
	}
	const these = `(SELECT CAST(value AS BIGINT) FROM ` + jsonEach + `($1))`
	// From here on nobody sees them: neither half an operation, nor a key that leads nowhere.
	marked, err := t.exec(`UPDATE operations SET removed = 1 WHERE num IN `+these+` AND finished_at > 0`, string(list))
	if err == nil && marked != int64(n) {
		return nil, nil // another reaper was faster
	}
	if err == nil {
		_, err = t.exec(`DELETE FROM idempotency_keys WHERE operation IN `+these, string(list))
	}
	for _, text := range []string{
		`DELETE FROM chunks WHERE operation = $1 AND idx IN (SELECT idx FROM chunks WHERE operation = $1 LIMIT $2)`,
		`DELETE FROM operation_events WHERE operation = $1 AND seq IN
 (SELECT seq FROM operation_events WHERE operation = $1 LIMIT $2)`,
	} {
		if err != nil || rows <= sweepRows {
			break
		}
		var gone int64
		if gone, err = t.exec(text, nums[0], sweepRows); err == nil && gone == sweepRows {
			return nil, nil // the rest with the next call
		}
	}
	// A place in a batch goes with the operation: SQLite gives its number to another one. A batch goes with its last operation; whoever
	// takes another one of it waits here and then sees that.
	const inBatches = `(SELECT batch FROM batch_operations WHERE operation IN ` + these + `)`
	batches := int64(0)
	if err == nil {
		err = t.each(`SELECT num FROM batches WHERE num IN `+inBatches+` ORDER BY num`+lockRow, []any{string(list)}, func(scan scan) error { return scan(&batches) })
	}
	if err == nil && batches > 0 {
		_, err = t.exec(`DELETE FROM batches WHERE num IN `+inBatches+`
   AND NOT EXISTS (SELECT 1 FROM batch_operations b WHERE b.batch = batches.num AND b.operation NOT IN `+these+`)`, string(list))
	}
	for _, table := range []string{"webhook_deliveries WHERE operation", "batch_operations WHERE operation", "chunks WHERE operation", "operation_events WHERE operation", "operations WHERE num"} {
		if err == nil {
			_, err = t.exec(`DELETE FROM `+table+` IN `+these, string(list))
		}
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// reapDocument removes one piece of a document that is deleting or forgotten, children first, down to
// the document itself, and gives the operations that are gone.
func (t *tx) reapDocument(num int64) ([]string, error) {
	// This also keeps a second reaper out, and finds that a staged text was claimed in the last moment, or that another
	// reaper was faster and SQLite has given the number to a text that is being received now.
	n, err := t.exec(`UPDATE documents SET state = 'deleting' WHERE num = $1
   AND (state = 'deleting' OR state = 'staged' AND created_at < `+nowMs+` - $2)`, num, stagedFor.Milliseconds())
	if err != nil || n == 0 {
		return nil, err
	}
	all, err := t.ended(`SELECT num, id, document, next_index + seq FROM operations WHERE document = $1 ORDER BY num LIMIT $2`,
		num, sweepRuns)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		gone, err := t.reapOperations(all)
		return ids(gone), err
	}
	n, err = t.exec(`DELETE FROM document_parts WHERE key IN (SELECT key FROM document_parts
 WHERE key BETWEEN $1 AND $2 LIMIT $3)`, num*partsPerDocument, (num+1)*partsPerDocument-1, sweepParts)
	if err != nil || n == sweepParts {
		return nil, err
	}
	_, err = t.exec(`DELETE FROM documents WHERE num = $1 AND state = 'deleting'`, num)
	return nil, err
}
