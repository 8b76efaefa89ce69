package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/store"
)

// TestDamage: whatever is wrong with the rows of a text or of its chunks, whoever reads what they say is told that it is
// damaged and of what it is; no size in them is believed, and what is whole is still read.
func TestDamage(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		text := strings.Repeat("Grün und 日本 𝒳.\n", 24_000) // three parts
		half, step := 0, 0
		var chunks []store.Chunk
		for at := 0; at < len(text); at += step {
			step = min(len("Grün und 日本 𝒳.\n")*4000, len(text)-at)
			chunks = append(chunks, store.Chunk{StartByte: int64(at), EndByte: int64(at + step),
				StartChar: int64(half), EndChar: int64(half + len([]rune(text[at:at+step])))})
			half += len([]rune(text[at : at+step]))
		}
		staged, err := s.StageDecoded(t.Context(), owner, text, func(at int) int { return at }, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: staged, Strategy: "r", Settings: []byte("{}"),
			SplitterVersion: version, Take: &store.Take{Worker: "w", Lease: lease}, Source: store.Source{Encoding: "utf-16le", SHA256: "x", Bytes: int64(len(text))}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run.Commit(t.Context(), store.Batch{Chunks: chunks, BytesDone: int64(len(text)), Last: true}); err != nil {
			t.Fatal(err)
		}
		op, doc := c.Operation.ID, c.Document.ID
		for _, table := range []string{"chunks", "document_parts", "documents"} {
			s.Spoil(t, `CREATE TABLE saved_`+table+` AS SELECT * FROM `+table)
		}
		type read struct {
			name, of string
			do       func(context.Context) error
		}
		chunksOf := func(name string, want store.Want) read {
			return read{name, op, func(ctx context.Context) error { _, err := s.Chunks(ctx, owner, op, 0, 1000, want); return err }}
		}
		spans := chunksOf("chunks", 0)
		places, texts := chunksOf("chunks with places", store.Places), chunksOf("chunks with texts", store.Texts)
		both := chunksOf("chunks with both", store.Places|store.Texts)
		whole := read{"text", doc, func(ctx context.Context) error { return s.DocumentText(ctx, owner, doc, io.Discard) }}
		piece := read{"piece of a text", doc, func(ctx context.Context) error {
			return s.DocumentRange(ctx, owner, doc, 300_001, int64(len(text))-300, io.Discard)
		}}
		all := []read{spans, places, texts, both, whole, piece}
		ofChunks, ofTexts := all[:4], []read{places, texts, both, whole, piece}
		for damage, wrong := range map[string][]read{
			`UPDATE chunks SET end_byte = 1099511627776 WHERE idx = 1`:                                          ofChunks,
			`UPDATE chunks SET end_byte = start_byte - 1 WHERE idx = 1`:                                         ofChunks,
			`UPDATE chunks SET end_byte = (SELECT max(bytes) FROM documents) + 1 WHERE idx = 1`:                 ofChunks,
			`UPDATE chunks SET start_byte = -1 WHERE idx = 1`:                                                   ofChunks,
			`UPDATE chunks SET start_byte = -9223372036854775807 WHERE idx = 0`:                                 ofChunks,
			`UPDATE chunks SET start_byte = 9223372036854775807, end_byte = 9223372036854775807 WHERE idx = 1`:  ofChunks,
			`UPDATE chunks SET start_byte = start_byte + 3 WHERE idx = 1`:                                       {texts, both},
			`UPDATE chunks SET start_char = -5 WHERE idx = 1`:                                                   ofChunks,
			`UPDATE chunks SET end_char = start_char - 1 WHERE idx = 1`:                                         ofChunks,
			`UPDATE chunks SET end_char = 1099511627776 WHERE idx = 1`:                                          ofChunks,
			`UPDATE chunks SET idx = 100, facts = 4611686018427387904 WHERE idx = 1`:                            ofChunks,
			`UPDATE chunks SET facts = -1 WHERE idx = 1`:                                                        ofChunks,
			`UPDATE chunks SET facts = 0, context = '[[0,1,5,1099511627776]]' WHERE idx = 1`:                    ofChunks,
			`UPDATE chunks SET facts = 0, context = '[[0,1,7,5]]' WHERE idx = 1`:                                ofChunks,
			`UPDATE chunks SET facts = 0, context = '[[0,1,3,4]]' WHERE idx = 1`:                                {texts, both},
			`UPDATE chunks SET facts = 0, context = 'no list' WHERE idx = 1`:                                    ofChunks,
			`DELETE FROM document_parts WHERE start_byte = 0`:                                                   {places, texts, both, whole},
			`DELETE FROM document_parts WHERE start_byte BETWEEN 1 AND 300000`:                                  ofTexts,
			`DELETE FROM document_parts WHERE start_byte > 300000`:                                              ofTexts,
			`UPDATE document_parts SET start_byte = start_byte + 1 WHERE start_byte BETWEEN 1 AND 300000`:       ofTexts,
			`UPDATE document_parts SET start_byte = start_byte - 1 WHERE start_byte BETWEEN 1 AND 300000`:       ofTexts,
			`UPDATE document_parts SET start_byte = -9223372036854775807 WHERE start_byte BETWEEN 1 AND 300000`: ofTexts,
			`UPDATE document_parts SET start_byte = 9223372036854775807 WHERE start_byte BETWEEN 1 AND 300000`:  ofTexts,
			`UPDATE document_parts SET key = key + 5 WHERE start_byte > 300000`:                                 ofTexts,
			`UPDATE document_parts SET body = substr(body, 1, 100) WHERE start_byte BETWEEN 1 AND 300000`:       ofTexts,
			`UPDATE document_parts SET body = substr(body, 1, 0) WHERE start_byte BETWEEN 1 AND 300000`:         ofTexts,
			`UPDATE document_parts SET body = substr(body, 2) WHERE start_byte BETWEEN 1 AND 300000`:            ofTexts,
			`UPDATE document_parts SET body = body || body WHERE start_byte BETWEEN 1 AND 300000`:               ofTexts,
			`UPDATE document_parts SET body = (SELECT body FROM saved_document_parts WHERE start_byte > 300000) WHERE start_byte = 0`: {
				places, texts, both, whole},
			`UPDATE document_parts SET lines = -1 WHERE start_byte = 0`:                                                       {places, both},
			`UPDATE document_parts SET astral = 1099511627776 WHERE start_byte = 0`:                                           {places, both},
			`UPDATE document_parts SET source_start = -1 WHERE start_byte = 0`:                                                {places, both},
			`UPDATE documents SET bytes = 1099511627776`:                                                                      {whole},
			`UPDATE documents SET bytes = 1099511627776, chars = 0; UPDATE chunks SET end_byte = 1099511627776 WHERE idx = 1`: {places, texts, both, whole},
			`UPDATE documents SET bytes = 9223372036854775807; UPDATE chunks SET end_byte = 9223372036854775807 WHERE idx = 1`: {
				places, texts, both, whole},
			`UPDATE documents SET bytes = 540000`: append(slices.Clone(ofChunks), whole),
			notUTF8(on(t)):                        {places, texts, both, whole},
		} {
			for _, one := range strings.Split(damage, ";") {
				s.Spoil(t, one)
			}
			for _, r := range all {
				err := r.do(t.Context())
				corrupt, ok := errors.AsType[*store.CorruptError](err)
				switch must := slices.ContainsFunc(wrong, func(w read) bool { return w.name == r.name }); {
				case must && !ok:
					t.Errorf("%s, %s: got %v, want a CorruptError", damage, r.name, err)
				case ok && (corrupt.Of != r.of || corrupt.Problem == "" || !strings.Contains(err.Error(), r.of)):
					t.Errorf("%s, %s: %v does not say of what it is", damage, r.name, err)
				case !must && err != nil && !strings.HasPrefix(damage, "UPDATE documents"): // of which the range does not lie in it
					t.Errorf("%s, %s: %v, for what is whole", damage, r.name, err)
				}
			}
			for _, table := range []string{"chunks", "document_parts", "documents"} {
				if table == "documents" {
					s.Spoil(t, `UPDATE documents SET bytes = (SELECT bytes FROM saved_documents)`)
					continue
				}
				s.Spoil(t, `DELETE FROM `+table)
				s.Spoil(t, `INSERT INTO `+table+` SELECT * FROM saved_`+table)
			}
		}
		for _, r := range all {
			if err := r.do(t.Context()); err != nil {
				t.Errorf("%s, with nothing damaged: %v", r.name, err)
			}
		}
		// A run reads it too, and what is being deleted is not damaged.
		second, err := s.Create(t.Context(), store.NewOperation{Owner: owner, DocumentID: doc, Strategy: "r", Settings: []byte("{}"), SplitterVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		s.Spoil(t, `DELETE FROM document_parts WHERE start_byte BETWEEN 1 AND 300000`)
		runs, _, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Large, Slots: 1, Bytes: 1 << 40, SplitterVersion: version, Lease: lease})
		if err != nil || len(runs) != 1 {
			t.Fatalf("%d runs, %v", len(runs), err)
		}
		_, err = runs[0].Text(t.Context())
		if corrupt, ok := errors.AsType[*store.CorruptError](err); !ok || corrupt.Of != second.Operation.ID {
			t.Errorf("a run: %v", err)
		}
		s.Spoil(t, `UPDATE documents SET state = 'deleting'`)
		if _, err = runs[0].Text(t.Context()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a run of what is being deleted: %v", err)
		}
	})
}

// notUTF8 is what puts a byte that begins no character into the middle part.
func notUTF8(cfg store.Config) string {
	zero, hex := `substr(body, 101)`, `X'FF'`
	if !cfg.DatabaseURL.Empty() {
		hex = `'\xFF'::bytea`
	}
	return fmt.Sprintf(`UPDATE document_parts SET body = substr(body, 1, 99) || %s || %s WHERE start_byte BETWEEN 1 AND 300000`, hex, zero)
}

// TestLastPart: a text may be a few bytes longer than its parts are long; chunks that lie in these bytes alone are read too.
func TestLastPart(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		for more := range 6 {
			text := strings.Repeat("0123456789abcde\n", store.PartBytes/16) + "vwxyz"[:more]
			if more == 5 {
				text = text[:store.PartBytes-1] + "𝒳" // lies on both sides
			}
			at := int64(store.PartBytes)
			if more == 5 {
				at--
			}
			st := stage(t, s, text)
			c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r", Settings: []byte("{}"),
				SplitterVersion: version, Take: &store.Take{Worker: "w", Lease: lease}})
			if err != nil {
				t.Fatal(err)
			}
			size := int64(len(text))
			chunks := []store.Chunk{{StartByte: 0, EndByte: at, EndChar: at}, {StartByte: at, EndByte: size, StartChar: at, EndChar: int64(utf8.RuneCountInString(text))}}
			if more == 0 {
				chunks = chunks[:1]
			}
			if _, err := c.Run.Commit(t.Context(), store.Batch{Chunks: chunks, BytesDone: size, Last: true}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []store.Want{store.Texts, store.Places, store.Texts | store.Places} {
				got, err := s.Chunks(t.Context(), owner, c.Operation.ID, int64(len(chunks)-1), 10, want)
				if err != nil || len(got) != 1 {
					t.Errorf("%d more, %d: %v, %v", more, want, got, err)
					continue
				}
				if last := got[0]; want&store.Texts != 0 && last.Text != text[last.StartByte:] {
					t.Errorf("%d more: got %q", more, last.Text)
				} else if lines := int64(store.PartBytes / 16); want&store.Places != 0 && more > 0 && more < 5 && last.Placed.FirstLine != lines+1 {
					t.Errorf("%d more: line %d, want %d", more, last.Placed.FirstLine, lines+1)
				}
			}
			var b strings.Builder
			if err := s.DocumentRange(t.Context(), owner, c.Document.ID, min(at, size), size, &b); err != nil || b.String() != text[min(at, size):] {
				t.Errorf("%d more: %q, %v", more, b.String(), err)
			}
		}
	})
}
