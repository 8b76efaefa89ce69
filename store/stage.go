package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// inlineBytes is the size up to which a text travels with the transaction that creates its operation. A longer one is
// written part by part beforehand, so that it never holds up a group of small ones.
const inlineBytes = 64 << 10

// The receiving buffer grows from firstBytes, since most texts are short, to one part and the rest of the rune that
// ends it.
const (
	firstBytes  = 8 << 10
	bufferBytes = PartBytes + utf8.UTFMax
)

// partsPerDocument bounds a document to 16 GiB; the key of a part is document*partsPerDocument + index.
const partsPerDocument = 1 << 16

// Staged is a text that has been received in full and has no document yet. Hand it to Create, or Discard it; one that
// is forgotten is swept after an hour.
type Staged struct {
	Bytes  int64  // UTF-8 bytes
	Chars  int64  // code points
	SHA256 string // lower-case hex

	owner  string
	num    int64  // documents row of a long text; 0 while inline
	inline []byte // the whole text of a short one
	store  *Store

	lines, astral int64              // line ends and characters beyond U+FFFF in the parts written so far
	source        func(text int) int // where a text offset is in the source; nil where they are the same
}

// Stage receives a text of at most limit bytes. Short ones stay in memory; long ones go to the database in parts of
// PartBytes while they arrive, so memory stays constant. r must give valid UTF-8 (see extract.NewText); its error is
// returned wrapped. A text that is longer gives *TooLargeError. On any error nothing is left behind that a sweep does
// not remove.
func (s *Store) Stage(ctx context.Context, owner string, r io.Reader, limit int64) (*Staged, error) {
	return s.stage(ctx, &Staged{owner: owner, store: s}, r, limit)
}

// StageDecoded is Stage for a text that was decoded from a source in another encoding. source gives the offset in the
// source of each offset of a character in the text, as extract.Offsets does; it is not kept.
func (s *Store) StageDecoded(ctx context.Context, owner, text string, source func(text int) int, limit int64) (*Staged, error) {
	return s.stage(ctx, &Staged{owner: owner, store: s, source: source}, strings.NewReader(text), limit)
}

// Read gives what was staged, whole. It is for the one who staged it, before Create.
func (st *Staged) Read(ctx context.Context) ([]byte, error) {
	if st.num == 0 {
		return st.inline, nil
	}
	all := bytes.NewBuffer(make([]byte, 0, st.Bytes))
	err := st.store.parts(ctx, st.num, st.Bytes, false, all)
	if err != nil {
		return nil, fmt.Errorf("store: read staged text: %w", err)
	}
	return all.Bytes(), nil
}

func (s *Store) stage(ctx context.Context, st *Staged, r io.Reader, limit int64) (*Staged, error) {
	hash := sha256.New()
	buf := make([]byte, 0, firstBytes)
	var start, parts int64 // of the part being filled
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		hash.Write(buf[len(buf) : len(buf)+n])
		buf = buf[:len(buf)+n]
		if start+int64(len(buf)) > limit {
			return nil, errors.Join(&TooLargeError{Limit: limit}, st.Discard(ctx))
		}
		last := err == io.EOF
		if err != nil && !last {
			return nil, errors.Join(fmt.Errorf("store: receive text: %w", err), st.Discard(ctx))
		}
		if last && st.num == 0 && len(buf) <= inlineBytes {
			st.inline = buf
			break
		}
		if len(buf) < cap(buf) && !last {
			continue
		}
		if more := cap(buf) * 8; cap(buf) < bufferBytes && !last {
			buf = append(make([]byte, 0, min(more, bufferBytes)), buf...)
			continue
		}
		if st.num == 0 {
			if err := st.begin(ctx); err != nil {
				return nil, err
			}
		}
		end := len(buf)
		if !last {
			// Part i+1 starts at the last rune boundary at or before (i+1)*PartBytes.
			end = runeBoundary(buf, int((parts+1)*PartBytes-start))
		}
		if end > 0 {
			if err := st.put(ctx, parts, start, buf[:end]); err != nil {
				return nil, errors.Join(fmt.Errorf("store: write text: %w", err), st.Discard(ctx))
			}
		}
		parts++
		start += int64(end)
		rest := copy(buf[:cap(buf)], buf[end:])
		buf = buf[:rest]
		if last {
			break
		}
	}
	if st.num == 0 {
		st.Bytes = int64(len(st.inline))
		st.Chars = int64(utf8.RuneCount(st.inline))
	} else {
		st.Bytes = start
	}
	st.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return st, nil
}

// Text gives the whole text of a short one (at most 64 KiB), which is in memory; "" for a longer one.
func (st *Staged) Text() string { return string(st.inline) }

// runeBoundary gives the last rune boundary of b at or before at; at must lie inside b.
func runeBoundary(b []byte, at int) int {
	for i := at; i > at-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(b[i]) {
			return i
		}
	}
	return at // not UTF-8: any cut is as good
}

func (st *Staged) begin(ctx context.Context) error {
	id := newID("doc_")
	var num int64
	err := st.store.db.doPart(ctx, func(t *tx) error {
		return t.one(`
INSERT INTO documents (id, owner, state, name, sha256, bytes, chars, created_at)
VALUES ($1, $2, 'staged', '', '', 0, 0, `+nowMs+`) RETURNING num`, []any{id, st.owner}, &num)
	})
	if err != nil {
		return fmt.Errorf("store: begin staging: %w", err)
	}
	st.num = num
	return nil
}

func (st *Staged) put(ctx context.Context, part, start int64, body []byte) error {
	if part >= partsPerDocument {
		return &TooLargeError{Limit: partsPerDocument * PartBytes}
	}
	st.Chars += int64(utf8.RuneCount(body))
	// A caller that gives up may leave the writer reading body while the buffer is filled again: wait it out.
	var sourceStart *int64
	var widths []byte
	if st.source != nil {
		at := int64(st.source(int(start)))
		sourceStart, widths = &at, packWidths(body, start, st.source)
	}
	err := st.store.db.doPart(context.WithoutCancel(ctx), func(t *tx) error {
		t.wrote(int64(len(body)))
		return t.later(`
INSERT INTO document_parts (key, start_byte, body, lines, astral, source_start, widths) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			st.num*partsPerDocument+part, start, body, st.lines, st.astral, sourceStart, widths)
	})
	st.lines += int64(bytes.Count(body, []byte{'\n'}))
	st.astral += astral(body)
	return errors.Join(err, ctx.Err())
}

// astral counts the characters that UTF-16 has two code units for.
func astral[T string | []byte](text T) (n int64) {
	for i := range len(text) {
		if text[i] >= 0xF0 {
			n++
		}
	}
	return n
}

// Discard gives the staged text up. Its rows are removed by the next sweep. Discarding after Create does nothing.
func (st *Staged) Discard(ctx context.Context) error {
	if st.num == 0 {
		return nil
	}
	err := st.store.db.do(context.WithoutCancel(ctx), func(t *tx) error {
		_, err := t.exec(`UPDATE documents SET state = 'deleting' WHERE num = $1 AND state = 'staged'`, st.num)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: discard staged text: %w", err)
	}
	return nil
}

// newID gives a time-sortable identifier: the prefix and a version 7 UUID (RFC 9562) in hex without dashes.
func newID(prefix string) string {
	return prefix + strings.ReplaceAll(uuid.Must(uuid.NewV7()).String(), "-", "")
}
