package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"chunkstream/event"
)

const selectDocument = `SELECT num, id, owner, name, sha256, bytes, chars, created_at, COALESCE(source, '') FROM documents`

type documentRow struct {
	num, bytes, chars, createdAt int64
	id, owner, name, sha256      string
	source                       string
}

func (r *documentRow) dest() []any {
	return []any{&r.num, &r.id, &r.owner, &r.name, &r.sha256, &r.bytes, &r.chars, &r.createdAt, &r.source}
}

func (r *documentRow) document() Document {
	return Document{ID: r.id, Owner: r.owner, Name: r.name, SHA256: r.sha256, Bytes: r.bytes, Chars: r.chars,
		Source: unpackSource(r.source), CreatedAt: time.UnixMilli(r.createdAt).UTC()}
}

// pack gives the source as it is stored: NULL when nothing is known.
func (s Source) pack() *string {
	if s == (Source{}) {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a struct of strings and finite numbers
	}
	text := string(b)
	return &text
}

// unpackSource reads what pack wrote. What another version wrote otherwise is not known.
func unpackSource(text string) (s Source) {
	if text == "" || json.Unmarshal([]byte(text), &s) != nil {
		return Source{}
	}
	return s
}

// pack gives the configuration as it is stored: NULL for none.
func (c UsedConfiguration) pack() *string {
	if c == (UsedConfiguration{}) {
		return nil
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // a struct of strings and a number
	}
	text := string(b)
	return &text
}

func unpackConfiguration(text string) (c UsedConfiguration) {
	if text == "" || json.Unmarshal([]byte(text), &c) != nil {
		return UsedConfiguration{}
	}
	return c
}

const selectOperation = `
SELECT o.num, o.id, o.owner, o.document, d.id, d.sha256, o.name, o.status, o.strategy, o.settings, o.splitter_version,
       o.retry_of, o.seq, o.epoch, o.bytes_total, o.bytes_done, o.next_index, o.cancel_requested, o.worker,
       o.error_code, o.error_detail, o.created_at, o.started_at, o.finished_at, o.lease_until, o.crash_count, o.failures,
       COALESCE(o.source, d.source, ''), COALESCE(o.configuration, ''), COALESCE(o.trace, ''),
       CASE WHEN o.webhook IS NULL THEN '' ELSE COALESCE((SELECT w.id FROM webhooks w WHERE w.num = o.webhook), '') END
  FROM operations o JOIN documents d ON d.num = o.document`

// visible leaves out what is being removed, alone or with its document.
const visible = ` AND d.state = 'ready' AND o.removed = 0`

type operationRow struct {
	op                                           Operation
	num, document                                int64
	status, settings, errorCode, errorDetail     string
	source, configuration                        string
	cancelRequested, crashCount                  int64
	createdAt, startedAt, finishedAt, leaseUntil int64
}

func (r *operationRow) dest() []any {
	o := &r.op
	return []any{&r.num, &o.ID, &o.Owner, &r.document, &o.DocumentID, &o.DocumentSHA256, &o.Name, &r.status, &o.Strategy,
		&r.settings, &o.SplitterVersion, &o.RetryOf, &o.Seq, &o.Attempt, &o.BytesTotal, &o.BytesDone, &o.Chunks,
		&r.cancelRequested, &o.Worker, &r.errorCode, &r.errorDetail, &r.createdAt, &r.startedAt, &r.finishedAt,
		&r.leaseUntil, &r.crashCount, &o.Failures, &r.source, &r.configuration, &o.Trace, &o.Webhook}
}

func (r *operationRow) operation() Operation {
	o := r.op
	o.Status, o.Settings, o.CancelRequested = Status(r.status), json.RawMessage(r.settings), r.cancelRequested != 0
	if r.errorCode != "" {
		o.Error = &event.Failure{Code: r.errorCode, Detail: r.errorDetail}
	}
	o.Source, o.Configuration = unpackSource(r.source), unpackConfiguration(r.configuration)
	o.CreatedAt = instant(r.createdAt)
	o.StartedAt = instant(r.startedAt)
	o.FinishedAt = instant(r.finishedAt)
	o.ExpiresLease = instant(r.leaseUntil)
	return o
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Operation gives one operation's state, or ErrNotFound.
func (s *Store) Operation(ctx context.Context, owner, id string) (Operation, error) {
	row := operationRow{}
	err := s.read(ctx, selectOperation+` WHERE o.id = $1 AND o.owner = $2`+visible, id, owner).one(row.dest()...)
	if err != nil {
		return Operation{}, found("read operation", err)
	}
	return row.operation(), nil
}

// dead is the predicate of the index of dead letters.
const dead = ` AND o.status = 'failed' AND o.error_code IN ('` + PoisonCode + `', '` + ExhaustedCode + `')`

// Operations lists the owner's operations, newest first, and says whether there are more. A cursor (Filter.Before) that
// names no operation of the owner's gives ErrNotFound.
func (s *Store) Operations(ctx context.Context, owner string, f Filter) ([]Operation, bool, error) {
	if f.Limit == 0 {
		f.Limit = 50
	}
	if f.Limit < 1 || f.Limit > 200 {
		return nil, false, fmt.Errorf("store: list operations: limit %d is outside 1 to 200", f.Limit)
	}
	text, args := selectOperation+` WHERE o.owner = $1`+visible, []any{owner}
	where := func(cond string, arg any) {
		args = append(args, arg)
		text += fmt.Sprintf(cond, len(args))
	}
	if f.Status != "" {
		where(` AND o.status = $%d`, string(f.Status))
	}
	if f.DeadLetter {
		text += dead
	}
	if f.Strategy != "" {
		where(` AND o.strategy = $%d`, f.Strategy)
	}
	if f.DocumentID != "" {
		where(` AND d.id = $%d`, f.DocumentID)
	}
	if f.Before != "" {
		var num int64
		err := s.read(ctx, `SELECT num FROM operations WHERE id = $1 AND owner = $2`, f.Before, owner).one(&num)
		if err != nil {
			return nil, false, found("read cursor", err)
		}
		where(` AND o.num < $%d`, num)
	}
	where(` ORDER BY o.num DESC LIMIT $%d`, f.Limit+1)
	ops, err := s.operations(ctx, text, args...)
	if errors.Is(err, ErrInvalidText) {
		return nil, false, nil // nothing has that status or document
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: list operations: %w", err)
	}
	if len(ops) > f.Limit {
		return ops[:f.Limit], true, nil
	}
	return ops, false, nil
}

func (s *Store) operations(ctx context.Context, text string, args ...any) ([]Operation, error) {
	var ops []Operation
	err := s.read(ctx, text, args...).each(func(scan scan) error {
		row := operationRow{}
		if err := scan(row.dest()...); err != nil {
			return err
		}
		ops = append(ops, row.operation())
		return nil
	})
	return ops, err
}

// maxActive bounds Active.
const maxActive = 1000

// Active gives the owner's operations that have not ended, oldest first, at most 1000.
func (s *Store) Active(ctx context.Context, owner string) ([]Operation, error) {
	ops, err := s.operations(ctx, selectOperation+
		` WHERE o.owner = $1 AND o.finished_at = 0`+visible+` ORDER BY o.num LIMIT $2`, owner, maxActive)
	if err != nil {
		return nil, fmt.Errorf("store: list active operations: %w", err)
	}
	return ops, nil
}

// Heads gives the newest durable sequence number of each of the named operations that exist. It asks for no owner: the
// ids come from watchers that were authorised, and a number alone is of use to nobody else.
func (s *Store) Heads(ctx context.Context, operationIDs []string) ([]Head, error) {
	ids, err := json.Marshal(operationIDs)
	if err != nil {
		return nil, fmt.Errorf("store: read heads: %w", err)
	}
	heads, err := s.heads(ctx, `SELECT id, seq FROM operations WHERE id IN (SELECT value FROM `+jsonEach+`($1))`, string(ids))
	if err != nil {
		return nil, fmt.Errorf("store: read heads: %w", err)
	}
	return heads, nil
}

const selectLive = `SELECT id, seq FROM operations WHERE owner = $1 AND finished_at = 0`

// OwnerHeads gives the newest sequence numbers of the owner's operations that have not ended and of those that ended
// at or after since (the zero time: of none), and the database's time to ask with next.
func (s *Store) OwnerHeads(ctx context.Context, owner string, since time.Time) ([]Head, time.Time, error) {
	var now int64
	if err := s.read(ctx, `SELECT `+nowMs).one(&now); err != nil {
		return nil, time.Time{}, fmt.Errorf("store: read the clock: %w", err)
	}
	heads, err := s.heads(ctx, selectLive, owner)
	if err == nil && !since.IsZero() {
		var ended []Head
		ended, err = s.heads(ctx, `SELECT id, seq FROM operations WHERE finished_at > 0 AND finished_at >= $1 AND owner = $2`,
			since.UnixMilli(), owner)
		heads = append(heads, ended...)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("store: read the owner's heads: %w", err)
	}
	return heads, time.UnixMilli(now).UTC(), nil
}

func (s *Store) heads(ctx context.Context, text string, args ...any) ([]Head, error) {
	var heads []Head
	err := s.read(ctx, text, args...).each(func(scan scan) error {
		var h Head
		if err := scan(&h.OperationID, &h.Seq); err != nil {
			return err
		}
		heads = append(heads, h)
		return nil
	})
	return heads, err
}

// Events gives at most limit durable events with a sequence number above after, in order. An operation that is not the
// owner's gives ErrNotFound.
func (s *Store) Events(ctx context.Context, owner, operationID string, after int64, limit int) ([]event.Event, error) {
	num, err := s.number(ctx, owner, operationID)
	if err != nil {
		return nil, err
	}
	var evs []event.Event
	err = s.read(ctx, `
SELECT seq, type, at, data FROM operation_events WHERE operation = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		num, after, limit).each(func(scan scan) error {
		ev := event.Event{OperationID: operationID}
		var typ, data string
		var at int64
		if err := scan(&ev.Seq, &typ, &at, &data); err != nil {
			return err
		}
		ev.Type, ev.Time = event.Type(typ), event.Millis(at)
		if err := json.Unmarshal([]byte(data), &ev.Data); err != nil {
			return fmt.Errorf("event %d: %w", ev.Seq, err)
		}
		evs = append(evs, ev)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: read events: %w", err)
	}
	return evs, nil
}

func (s *Store) number(ctx context.Context, owner, operationID string) (int64, error) {
	var num int64
	err := s.read(ctx, `SELECT o.num FROM operations o JOIN documents d ON d.num = o.document
 WHERE o.id = $1 AND o.owner = $2`+visible, operationID, owner).one(&num)
	return num, found("read operation", err)
}

// Document gives one document, or ErrNotFound.
func (s *Store) Document(ctx context.Context, owner, id string) (Document, error) {
	row := documentRow{}
	err := s.read(ctx, selectDocument+` WHERE owner = $1 AND id = $2 AND state = 'ready'`, owner, id).one(row.dest()...)
	if err != nil {
		return Document{}, found("read document", err)
	}
	return row.document(), nil
}

// DocumentText writes the document's text to w, part by part, so memory stays constant. Nothing is written when the
// document is not the owner's (ErrNotFound). An error of w is returned wrapped.
func (s *Store) DocumentText(ctx context.Context, owner, id string, w io.Writer) error {
	row := documentRow{}
	err := s.read(ctx, selectDocument+` WHERE owner = $1 AND id = $2 AND state = 'ready'`, owner, id).one(row.dest()...)
	if err != nil {
		return found("read document", err)
	}
	return s.damage(ctx, row.num, id, s.parts(ctx, row.num, row.bytes, true, w))
}

// damage names in a CorruptError what is read; but a text that is deleted while it is read is gone, not damaged.
func (s *Store) damage(ctx context.Context, document int64, of string, err error) error {
	corrupt, ok := errors.AsType[*CorruptError](err)
	if !ok {
		return err
	}
	var there int64
	if gone := s.read(ctx, `SELECT count(*) FROM documents WHERE num = $1 AND state = 'ready'`, document).one(&there); gone != nil {
		return fmt.Errorf("store: read document: %w", gone)
	}
	if there == 0 {
		return fmt.Errorf("store: read text: %w", ErrNotFound)
	}
	return &CorruptError{Of: of, Problem: corrupt.Problem}
}

// parts writes the text of a document's row to w. What is only staged need not be UTF-8 yet.
func (s *Store) parts(ctx context.Context, num, size int64, utf8 bool, w io.Writer) error {
	for at, part := int64(0), int64(0); at < size; part++ {
		// Each part is copied out of its row before it is written: a slow reader holds memory, never a connection.
		var start int64
		var body []byte
		err := s.read(ctx, `SELECT start_byte, body FROM document_parts WHERE key = $1`, num*partsPerDocument+part).one(&start, &body)
		switch {
		case missing(err):
			err = damaged("part %d is missing", part)
		case err == nil && start != at:
			err = damaged("part %d starts at byte %d, not %d", part, start, at)
		case err == nil && int64(len(body)) > size-at:
			err = damaged("part %d has %d bytes, more than the %d that are left of the text", part, len(body), size-at)
		case err == nil && utf8:
			err = checkPart(part, start, body, 0, int64(len(body)))
		case err == nil:
			err = checkPart(part, start, body, 0, 0)
		}
		if err != nil {
			return fmt.Errorf("store: read text: %w", err)
		}
		if _, err := w.Write(body); err != nil {
			return fmt.Errorf("store: write text: %w", err)
		}
		at += int64(len(body))
	}
	return nil
}

// checkPart says what is wrong with a part, of whose text the bytes [from, to) are looked at and the characters that these cut.
func checkPart(part, start int64, body []byte, from, to int64) error {
	if start > part*PartBytes || start < max(0, part*PartBytes-utf8.UTFMax) {
		return damaged("part %d starts at byte %d", part, start)
	}
	if len(body) == 0 || len(body) > bufferBytes {
		return damaged("part %d has %d bytes", part, len(body))
	}
	if from == to {
		return nil
	}
	for n := 1; n < utf8.UTFMax && from > 0 && !utf8.RuneStart(body[from]); n++ {
		from--
	}
	for n := 1; n < utf8.UTFMax && to < int64(len(body)) && !utf8.RuneStart(body[to]); n++ {
		to++
	}
	if !utf8.Valid(body[from:to]) {
		return damaged("part %d is not UTF-8", part)
	}
	return nil
}

// partsPerRead bounds how much one query gives, and so how long it takes.
const partsPerRead = 16

// believed is how long a text may be said to be before its last part was seen.
const believed = PartBytes

// partOf is the first part that may hold a byte: the last part of a text holds up to three bytes of the one after it.
func partOf(at int64) int64 {
	if part := at / PartBytes; at%PartBytes >= utf8.UTFMax || part == 0 {
		return part
	}
	return at/PartBytes - 1
}

// text reads bytes [from, to) of a document's text.
func (s *Store) text(ctx context.Context, document, from, to int64) (string, error) {
	if from >= to {
		return "", nil
	}
	part, last := partOf(from), (to-1)/PartBytes
	if from < 0 || last >= partsPerDocument {
		return "", damaged("a span from byte %d to byte %d", from, to)
	}
	if to-from > believed {
		var there int64
		err := s.read(ctx, `SELECT count(*) FROM document_parts WHERE key = $1`, document*partsPerDocument+partOf(to-1)).one(&there)
		if err != nil {
			return "", err
		}
		if there == 0 {
			return "", damaged("part %d is missing", last)
		}
	}
	var b strings.Builder
	b.Grow(int(to - from))
	// The parts are found by arithmetic; the one after the last is needed when the rune that straddles the multiple of
	// PartBytes put the boundary before it.
	for at := int64(-1); from < to; {
		first, start, body := part, int64(0), sql.RawBytes(nil)
		err := s.read(ctx, `SELECT start_byte, body FROM document_parts WHERE key BETWEEN $1 AND $2 ORDER BY key`,
			document*partsPerDocument+first, document*partsPerDocument+max(first, min(last, first+partsPerRead-1))).
			each(func(scan scan) error {
				if err := scan(&start, &body); err != nil {
					return err
				}
				if at >= 0 && start != at {
					return damaged("part %d starts at byte %d, not %d", part, start, at)
				}
				if err := checkPart(part, start, body, 0, 0); err != nil {
					return err
				}
				if start > from {
					return damaged("part %d starts at byte %d, after byte %d", part, start, from)
				}
				at = start + int64(len(body))
				if at > from && from < to {
					upTo := min(at, to)
					if err := checkPart(part, start, body, from-start, upTo-start); err != nil {
						return err
					}
					b.Write(body[from-start : upTo-start])
					from = upTo
				}
				part++
				return nil
			})
		if err != nil {
			return "", err
		}
		if part == first {
			return "", damaged("part %d is missing", part)
		}
	}
	return b.String(), nil
}

// Want says what Chunks is to read beside the spans.
type Want uint8

// What can be wanted. Both read the text of the chunks.
const (
	Texts  Want = 1 << iota // Chunk.Text and the texts of the context
	Places                  // Chunk.Placed
)

// Chunks gives at most limit of the operation's stored chunks from index from on, in order, with what is wanted of
// them. Chunks are there as soon as their batch is committed, also while the operation is still running. An operation
// that is not the owner's gives ErrNotFound.
func (s *Store) Chunks(ctx context.Context, owner, operationID string, from int64, limit int, want Want) ([]Chunk, error) {
	var num, document, size int64
	var source, first string
	err := s.read(ctx, `SELECT o.num, o.document, d.bytes, COALESCE(o.source, ''), COALESCE(d.source, '')
  FROM operations o JOIN documents d ON d.num = o.document
 WHERE o.id = $1 AND o.owner = $2`+visible, operationID, owner).one(&num, &document, &size, &source, &first)
	if err != nil {
		return nil, found("read operation", err)
	}
	var chunks []Chunk
	var before *Chunk
	begin, rows := max(from-1, 0), limit // the overlap of the first is with the chunk before it
	if from > 0 {
		rows++
	}
	err = s.read(ctx, `
SELECT idx, start_byte, end_byte, start_char, end_char, facts, context FROM chunks
 WHERE operation = $1 AND idx >= $2 ORDER BY idx LIMIT $3`, num, begin, rows).
		each(func(scan scan) error {
			var c Chunk
			var facts *int64
			var context *string
			err := scan(&c.Index, &c.StartByte, &c.EndByte, &c.StartChar, &c.EndChar, &facts, &context)
			if err == nil {
				c.Facts, err = unpackFacts(facts, context)
			}
			if err == nil {
				err = c.check(size)
			}
			// Chunks that overlap follow each other: in a hierarchy these are the smallest of one parent.
			if before != nil && before.Facts.Level == c.Facts.Level {
				c.Overlap = max(0, before.EndByte-c.StartByte)
			}
			before = &c
			if c.Index >= from && len(chunks) < limit {
				chunks = append(chunks, c)
			}
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("store: read chunks: %w", s.damage(ctx, document, operationID, err))
	}
	if len(chunks) == 0 {
		return chunks, nil
	}
	if want&Places != 0 {
		decoded := unpackSource(source).SHA256
		err = s.addPlaces(ctx, document, chunks, decoded != "" && decoded == unpackSource(first).SHA256, want&Texts != 0)
	} else if want&Texts != 0 {
		err = s.addTexts(ctx, document, chunks, "", 0)
	}
	if err != nil {
		return nil, fmt.Errorf("store: read chunk texts: %w", s.damage(ctx, document, operationID, err))
	}
	return chunks, nil
}

// check says what of a chunk cannot be of a text of size bytes.
func (c *Chunk) check(size int64) error {
	switch f := c.Facts; {
	case c.Index < 0:
		return damaged("a chunk has the number %d", c.Index)
	case c.StartByte < 0 || c.EndByte < c.StartByte || c.EndByte > size:
		return damaged("chunk %d is from byte %d to byte %d of %d", c.Index, c.StartByte, c.EndByte, size)
	case c.StartChar < 0 || c.EndChar < c.StartChar || c.StartChar > c.StartByte || c.EndChar-c.StartChar > c.EndByte-c.StartByte:
		return damaged("chunk %d is from character %d to character %d, and from byte %d to byte %d", c.Index, c.StartChar, c.EndChar, c.StartByte, c.EndByte)
	case f.Up < 0 || int64(f.Up) > c.Index:
		return damaged("the parent of chunk %d is %d before it", c.Index, f.Up)
	}
	for _, x := range c.Facts.Context {
		if x.StartByte < 0 || x.EndByte < x.StartByte || x.EndByte > size {
			return damaged("chunk %d has context from byte %d to byte %d of %d", c.Index, x.StartByte, x.EndByte, size)
		}
	}
	return nil
}

// Offset is a place in a document's text: in bytes, or in code points.
type Offset struct {
	At    int64
	Chars bool
}

// ChunksAt gives the indexes of the operation's stored chunks that hold the place, in order, at most limit, and the index of
// the nearest one: the last of these, or where none holds the place the first that lies behind it, or else the last of all; -1 when
// there is no chunk. An operation that is not the owner's gives ErrNotFound.
func (s *Store) ChunksAt(ctx context.Context, owner, operationID string, at Offset, limit int) (holding []int64, nearest int64, err error) {
	num, err := s.number(ctx, owner, operationID)
	if err != nil {
		return nil, -1, err
	}
	unit := "byte"
	if at.Chars {
		unit = "char"
	}
	err = s.read(ctx, `SELECT idx FROM chunks WHERE operation = $1 AND start_`+unit+` <= $2 AND end_`+unit+` > $2 ORDER BY idx LIMIT $3`,
		num, at.At, limit).each(func(scan scan) error {
		var index int64
		err := scan(&index)
		holding = append(holding, index)
		return err
	})
	if err == nil && len(holding) > 0 {
		return holding, holding[len(holding)-1], nil
	}
	if err == nil {
		err = s.read(ctx, `SELECT COALESCE((SELECT min(idx) FROM chunks WHERE operation = $1 AND start_`+unit+` > $2),
 (SELECT max(idx) FROM chunks WHERE operation = $1), -1)`, num, at.At).one(&nearest)
	}
	if err != nil {
		return nil, -1, fmt.Errorf("store: look for a place: %w", err)
	}
	return nil, nearest, nil
}

// FindChunk gives the index of the operation's first stored chunk for which is says so, of its span and level alone, or
// ErrNotFound; so it does for an operation that is not the owner's.
func (s *Store) FindChunk(ctx context.Context, owner, operationID string, is func(Chunk) bool) (int64, error) {
	num, err := s.number(ctx, owner, operationID)
	if err != nil {
		return 0, err
	}
	const pageSize = 4096
	for from := int64(0); ; {
		n, index := 0, int64(-1)
		err := s.read(ctx, `SELECT idx, start_byte, end_byte, facts FROM chunks WHERE operation = $1 AND idx >= $2 ORDER BY idx LIMIT $3`,
			num, from, pageSize).each(func(scan scan) error {
			var c Chunk
			var facts *int64
			err := scan(&c.Index, &c.StartByte, &c.EndByte, &facts)
			if err == nil {
				c.Facts, err = unpackFacts(facts, nil)
			}
			if err == nil && index < 0 && is(c) {
				index = c.Index
			}
			n, from = n+1, c.Index+1
			return err
		})
		switch {
		case err != nil:
			return 0, fmt.Errorf("store: find chunk: %w", err)
		case index >= 0:
			return index, nil
		case n < pageSize:
			return 0, fmt.Errorf("store: find chunk: %w", ErrNotFound)
		}
	}
}

// span is what chunks cover together.
func span(chunks []Chunk) (start, end int64) {
	start = chunks[0].StartByte
	for _, c := range chunks {
		start, end = min(start, c.StartByte), max(end, c.EndByte)
	}
	return start, end
}

// wholeCharacters reports whether a piece of UTF-8 begins and ends with a whole character.
func wholeCharacters(text string) bool {
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	return text == "" || first != utf8.RuneError && last != utf8.RuneError || utf8.ValidString(text) // U+FFFD may stand in it
}

// addTexts reads what chunks span in one go, unless all is that already, from base on, and each piece of context that lies
// before it once.
func (s *Store) addTexts(ctx context.Context, document int64, chunks []Chunk, all string, base int64) (err error) {
	if all == "" {
		var end int64
		base, end = span(chunks)
		if all, err = s.text(ctx, document, base, end); err != nil {
			return err
		}
	}
	before := map[[2]int64]string{}
	for i := range chunks {
		c := &chunks[i]
		c.Text = all[c.StartByte-base : c.EndByte-base]
		if !wholeCharacters(c.Text) {
			return damaged("chunk %d begins or ends inside of a character", c.Index)
		}
		for k := range c.Facts.Context {
			x := &c.Facts.Context[k]
			if x.StartByte >= base && x.EndByte <= base+int64(len(all)) {
				x.Text = all[x.StartByte-base : x.EndByte-base]
				if !wholeCharacters(x.Text) {
					return damaged("the context of chunk %d begins or ends inside of a character", c.Index)
				}
				continue
			}
			span := [2]int64{x.StartByte, x.EndByte}
			text, known := before[span]
			if !known {
				if text, err = s.text(ctx, document, x.StartByte, x.EndByte); err != nil {
					return err
				}
				before[span] = text
			}
			x.Text = text
		}
	}
	return nil
}
