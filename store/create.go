package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"chunkstream/event"
)

// keptKeys is how long an idempotency key is remembered.
const keptKeys = 24 * time.Hour

// Create makes the operation, its document where the text is new to the owner, event 1 and the idempotency key in one
// transaction; when it returns they are durable, and so is what Take asked for. It returns ErrNotFound for
// a document id the owner does not have, ErrKeyReused for a key that came with another request, and *QuarantinedError.
func (s *Store) Create(ctx context.Context, n NewOperation) (Created, error) {
	if (n.Staged == nil) == (n.DocumentID == "") {
		return Created{}, errors.New("store: create: give exactly one of Staged and DocumentID")
	}
	if n.Staged != nil && n.Staged.owner != n.Owner {
		return Created{}, fmt.Errorf("store: create: staged text of another owner: %w", ErrNotFound)
	}
	if n.Take != nil && n.Take.Lease <= 0 {
		return Created{}, fmt.Errorf("store: create: a lease of %v must be positive", n.Take.Lease)
	}
	if n.Take != nil && n.Take.Done && n.Staged == nil {
		return Created{}, errors.New("store: create: Take.Done needs the staged text that the chunks are of")
	}
	for _, text := range []string{n.Owner, n.Name, n.DocumentID, n.Strategy, string(n.Settings), n.SplitterVersion, n.RetryOf,
		n.Configuration.Name, n.Webhook, n.Trace, n.IdempotencyKey, n.RequestHash} {
		if text != storable(text) {
			return Created{}, fmt.Errorf("store: create: %w: %q", ErrInvalidText, text)
		}
	}
	out := new(Created)
	opID, docID := newID("op_"), newID("doc_")
	err := s.db.doShort(ctx, n.order(), func(t *tx) error {
		*out = Created{}
		requestHash := n.RequestHash
		if n.Staged != nil {
			requestHash += " " + n.Staged.SHA256
		}
		if n.IdempotencyKey != "" {
			done, err := t.replay(n, requestHash, out)
			if err != nil || done {
				return err
			}
		}
		if err := t.document(n, docID, &out.Document); err != nil {
			return err
		}
		doc := &out.Document
		out.Operation = Operation{
			ID: opID, Owner: n.Owner, DocumentID: doc.ID, DocumentSHA256: doc.SHA256, Name: n.Name, Status: Queued,
			Strategy: n.Strategy, Settings: n.Settings, SplitterVersion: n.SplitterVersion, RetryOf: n.RetryOf, Seq: 1,
			BytesTotal: doc.Bytes, Source: n.Source, Configuration: n.Configuration, Webhook: n.Webhook, Trace: n.Trace,
		}
		if n.Staged == nil {
			out.Operation.Source = doc.Source
		}
		if err := s.operation(t, n, out); err != nil {
			return err
		}
		if n.IdempotencyKey != "" {
			err := t.later(`
INSERT INTO idempotency_keys (owner, key, request_hash, operation, created_at)
VALUES ($1, $2, $3, (SELECT num FROM operations WHERE id = $4), `+nowMs+`)`,
				n.Owner, n.IdempotencyKey, requestHash, opID)
			if err != nil {
				return fmt.Errorf("insert idempotency key: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return Created{}, fmt.Errorf("store: create operation: %w", err)
	}
	if n.Staged != nil && (out.Replayed || out.Document.ID != docID) {
		// The text was there already: give the second copy back now rather than at the next sweep.
		return *out, n.Staged.Discard(ctx)
	}
	return *out, nil
}

// step is an operation as one of its events shows it.
type step struct {
	event event.Type
	op    Operation
}

// steps are what happens to a new operation in the transaction that creates it.
func (n *NewOperation) steps(op Operation) []step {
	all := []step{{event.Queued, op}}
	if n.Take == nil {
		return all
	}
	op.Status, op.Worker, op.Seq, op.Attempt = Processing, n.Take.Worker, 2, 1
	all = append(all, step{event.Started, op})
	if n.Take.Done {
		op.Status, op.Worker, op.Seq = Completed, "", 3
		op.Chunks, op.BytesDone = int64(len(n.Take.Chunks)), op.BytesTotal
		all = append(all, step{event.Completed, op})
	}
	return all
}

// insertSteps gives the statement that stores the events of so many steps.
var insertSteps = func() (texts [4]string) {
	var rows []string
	for n := 1; n < len(texts); n++ {
		rows = append(rows, fmt.Sprintf(`
((SELECT num FROM operations WHERE id = $1), $%d, $%d, $%d, (SELECT created_at FROM operations WHERE id = $1), $%d)`,
			4*n-2, 4*n-1, 4*n, 4*n+1))
		texts[n] = `INSERT INTO operation_events (operation, seq, epoch, type, at, data) VALUES ` + strings.Join(rows, ",")
	}
	return texts
}()

// operation makes the row of out.Operation as it is after its last step, an event for each step, and its chunks if there
// are any. The rows name each other by id, so that no statement waits for the one before.
func (s *Store) operation(t *tx, n NewOperation, out *Created) error {
	steps := n.steps(out.Operation)
	op := steps[len(steps)-1].op
	var lease, crashes int64
	if op.Status == Processing {
		lease, crashes = n.Take.Lease.Milliseconds(), 1 // a crash, until its first batch
	}
	events, data := make([]event.Owned, len(steps)), make([]string, len(steps))
	for i, step := range steps {
		ev := event.Event{Seq: step.op.Seq, Type: step.event, OperationID: op.ID, Data: step.op.data()}
		b, err := json.Marshal(ev.Data)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		events[i], data[i] = event.Owned{Owner: n.Owner, Event: ev}, string(b)
	}
	var num int64
	created := func(scan scan) error {
		var document, at int64
		if err := scan(&num, &document, &at); err != nil {
			return err
		}
		for i := range steps {
			events[i].Event.Time, steps[i].op.CreatedAt = event.Millis(at), instant(at)
		}
		op.CreatedAt, op.StartedAt = instant(at), instant(at)
		out.Operation, out.Event = steps[0].op, events[0]
		switch op.Status {
		case Processing:
			op.ExpiresLease = instant(at + lease)
			out.Run = &Run{s: s, num: num, document: document, epoch: op.Attempt, lease: lease, crashes: crashes, Operation: op,
				Started: events[1]}
			if n.Staged != nil {
				out.Run.text = n.Staged.Text()
			}
		case Completed:
			op.FinishedAt = instant(at)
			out.Operation, out.Done = op, events[1:]
		}
		return nil
	}
	const insert = `
INSERT INTO operations (id, owner, document, name, status, lane, strategy, settings, splitter_version, retry_of,
                        bytes_total, bytes_done, next_index, epoch, seq, crash_count, worker, lease_until, started_at,
                        finished_at, run_after, created_at, source, configuration, trace, webhook)
VALUES ($1, $2, (SELECT num FROM documents WHERE id = $3), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
        CASE WHEN $5 = 'processing' THEN ` + nowMs + ` + $18 ELSE 0 END, CASE WHEN $5 = 'queued' THEN 0 ELSE ` + nowMs + ` END,
        CASE WHEN $5 = 'completed' THEN ` + nowMs + ` ELSE 0 END, ` + nowMs + `, ` + nowMs + `, $19, $20, $21,
        (SELECT num FROM webhooks WHERE id = $22 AND owner = $2))
RETURNING num, document, created_at`
	args := []any{op.ID, n.Owner, op.DocumentID, n.Name, string(op.Status), string(LaneOf(op.BytesTotal)), n.Strategy,
		string(n.Settings), n.SplitterVersion, n.RetryOf, op.BytesTotal, op.BytesDone, op.Chunks, op.Attempt, op.Seq, crashes,
		op.Worker, lease, op.Source.pack(), op.Configuration.pack(), orNothing(op.Trace), op.Webhook}
	run := t.then
	if op.Chunks > 0 {
		run = t.each // they go below its number
	}
	if err := run(insert, args, created); err != nil {
		return fmt.Errorf("insert operation: %w", err)
	}
	rows := []any{op.ID}
	for i, step := range steps {
		rows = append(rows, step.op.Seq, step.op.Attempt, string(step.event), data[i])
	}
	if err := t.later(insertSteps[len(steps)], rows...); err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	if op.Chunks > 0 {
		if err := t.chunks(num, op.Attempt, 0, n.Take.Chunks); err != nil {
			return fmt.Errorf("insert chunks: %w", err)
		}
	}
	if op.Status == Completed {
		if err := t.tell(op.ID, event.Completed); err != nil {
			return fmt.Errorf("insert deliveries: %w", err)
		}
	}
	return nil
}

// order is the same for the same text: whoever creates its document locks it.
func (n *NewOperation) order() int64 {
	if n.Staged == nil {
		return 0
	}
	h := fnv.New64a()
	io.WriteString(h, n.Staged.SHA256) //nolint:errcheck // a hash takes everything
	return int64(h.Sum64())
}

// storable gives the text as both databases can hold it: UTF-8 without NUL.
func storable(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\uFFFD"), "\uFFFD")
}

// orNothing gives the text as it is stored where most rows have none: NULL for "".
func orNothing(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// LaneOf gives the lane a text of that many bytes runs in.
func LaneOf(bytes int64) Lane {
	if bytes <= SmallBytes {
		return Small
	}
	return Large
}

// replay fills out from the operation an earlier request made under the same key, if there is one.
func (t *tx) replay(n NewOperation, requestHash string, out *Created) (bool, error) {
	var hash string
	var num int64
	err := t.one(`SELECT request_hash, operation FROM idempotency_keys
 WHERE owner = $1 AND key = $2 AND created_at > `+nowMs+` - $3`,
		[]any{n.Owner, n.IdempotencyKey, keptKeys.Milliseconds()}, &hash, &num)
	if errors.Is(err, sql.ErrNoRows) {
		// One that is older than that but not yet swept makes room.
		err := t.later(`DELETE FROM idempotency_keys WHERE owner = $1 AND key = $2 AND created_at <= `+nowMs+` - $3`,
			n.Owner, n.IdempotencyKey, keptKeys.Milliseconds())
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("read idempotency key: %w", err)
	}
	if hash != requestHash {
		return false, ErrKeyReused
	}
	row := operationRow{}
	if err := t.one(selectOperation+` WHERE o.num = $1`, []any{num}, row.dest()...); err != nil {
		return false, fmt.Errorf("read the key's operation: %w", err)
	}
	out.Operation, out.Replayed = row.operation(), true
	doc := documentRow{}
	if err := t.one(selectDocument+` WHERE num = $1`, []any{row.document}, doc.dest()...); err != nil {
		return false, fmt.Errorf("read the key's document: %w", err)
	}
	out.Document = doc.document()
	return true, nil
}

// selectKnown is selectDocument and the id of the operation for which the text is quarantined under strategy $3 of version
// $4, or nothing.
var selectKnown = strings.TrimSuffix(selectDocument, ` FROM documents`) + `, COALESCE((
         SELECT o.id FROM operations o
          WHERE o.document = documents.num AND o.error_code = 'poison' AND o.status = 'failed' AND o.strategy = $3
            AND o.splitter_version = $4 AND o.finished_at > ` + nowMs + ` - $5
          ORDER BY o.num DESC LIMIT 1), '') FROM documents`

// document finds or makes the operation's document and gives it in out, complete when the transaction is.
func (t *tx) document(n NewOperation, newID string, out *Document) error {
	st := n.Staged
	if st == nil {
		err := t.known(n, `id`, n.DocumentID, out)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("document: %w", ErrNotFound)
		}
		return err
	}
	made := Document{ID: newID, Owner: n.Owner, Name: n.Name, SHA256: st.SHA256, Bytes: st.Bytes, Chars: st.Chars, Source: n.Source}
	isNew := false
	created := func(scan scan) error {
		var at int64
		err := scan(&at)
		isNew, made.CreatedAt = true, instant(at)
		return err
	}
	if st.num != 0 {
		err := t.known(n, `sha256`, st.SHA256, out)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		err = t.each(`
UPDATE documents SET id = $1, state = 'ready', name = $2, sha256 = $3, bytes = $4, chars = $5, source = $6
 WHERE num = $7 AND state = 'staged' RETURNING created_at`,
			[]any{newID, n.Name, st.SHA256, st.Bytes, st.Chars, n.Source.pack(), st.num}, created)
		if err == nil && !isNew {
			err = errors.New("the staged text was discarded or took more than an hour")
		}
		if err != nil {
			return fmt.Errorf("take staged document: %w", err)
		}
		*out = made
		return nil
	}
	// Most texts are new, so the attempt to make it comes before the look for it. What stood in its way may be deleted before
	// it is looked for.
	var err error
	for again := 0; err == nil && !isNew; again++ {
		err = t.each(`
INSERT INTO documents (id, owner, state, name, sha256, bytes, chars, source, created_at)
VALUES ($1, $2, 'ready', $3, $4, $5, $6, $7, `+nowMs+`)
ON CONFLICT (owner, sha256) WHERE state = 'ready' DO NOTHING RETURNING created_at`,
			[]any{newID, n.Owner, n.Name, st.SHA256, st.Bytes, st.Chars, n.Source.pack()}, created)
		if err == nil && !isNew {
			if err := t.known(n, `sha256`, st.SHA256, out); !errors.Is(err, sql.ErrNoRows) || again == 3 {
				return err
			}
		}
	}
	*out = made
	switch {
	case err != nil || st.Bytes == 0:
	case st.source != nil:
		err = t.later(`INSERT INTO document_parts (key, start_byte, body, source_start, widths)
VALUES ((SELECT num FROM documents WHERE id = $1) * $2, 0, $3, 0, $4)`, newID, partsPerDocument, st.inline,
			packWidths(st.inline, 0, st.source))
		t.wrote(st.Bytes)
	default:
		err = t.later(`INSERT INTO document_parts (key, start_byte, body)
VALUES ((SELECT num FROM documents WHERE id = $1) * $2, 0, $3)`, newID, partsPerDocument, st.inline)
		t.wrote(st.Bytes)
	}
	if err != nil {
		return fmt.Errorf("insert document: %w", err)
	}
	return nil
}

// known gives in out the owner's document in which column has value, or sql.ErrNoRows; *QuarantinedError where the
// operation may not have it.
func (t *tx) known(n NewOperation, column, value string, out *Document) error {
	row, killed := documentRow{}, ""
	err := t.one(selectKnown+` WHERE owner = $1 AND `+column+` = $2 AND state = 'ready'`+shareRow,
		[]any{n.Owner, value, n.Strategy, n.SplitterVersion, QuarantinedFor.Milliseconds()}, append(row.dest(), &killed)...)
	if err != nil {
		return fmt.Errorf("look up document: %w", err)
	}
	*out = row.document()
	if killed != "" && n.RetryOf == "" {
		return &QuarantinedError{killed}
	}
	return nil
}

// record writes the event that brought the operation to the state op shows, with the number the row lock gave it.
func (t *tx) record(num, seq, at int64, typ event.Type, op Operation, more ...func(*event.Data)) (event.Event, error) {
	ev := event.Event{Seq: seq, Type: typ, OperationID: op.ID, Time: event.Millis(at), Data: op.data()}
	for _, f := range more {
		f(&ev.Data)
	}
	data, err := json.Marshal(ev.Data)
	if err != nil {
		return ev, fmt.Errorf("encode event: %w", err)
	}
	err = t.later(`INSERT INTO operation_events (operation, seq, epoch, type, at, data) VALUES ($1, $2, $3, $4, $5, $6)`,
		num, seq, op.Attempt, string(typ), at, string(data))
	if err != nil {
		return ev, fmt.Errorf("insert event: %w", err)
	}
	if typ.Terminal() {
		if err := t.tell(op.ID, typ); err != nil {
			return ev, fmt.Errorf("insert deliveries: %w", err)
		}
	}
	return ev, nil
}
