package sandbox

import (
	"bytes"
	"io"
	"testing"

	"chunkstream/chunk"
)

// FuzzWire: whatever a child sends, the parent reads it without harm: no more than was sent is believed, places are in
// the text, and what was understood is written and read again as the same.
func FuzzWire(f *testing.F) {
	const text = "# Title\n\nA paragraph.\n\n## Part\n\nMore of it."
	title := &chunk.Context{Kind: chunk.Heading, Level: 1, Span: chunk.Span{Start: 2, End: 7}, Text: text[2:7]}
	part := &chunk.Context{Kind: chunk.Heading, Level: 2, Span: chunk.Span{Start: 26, End: 30}, Text: text[26:30], Up: title}
	var e encoder
	body := e.append(nil, chunk.Chunk{Span: chunk.Span{Start: 0, End: 20}, Context: title})
	body = e.append(body, chunk.Chunk{Span: chunk.Span{Start: 15, End: len(text)}, Context: part, Level: 1, Up: 1})
	var sent bytes.Buffer
	for _, fr := range []struct {
		kind byte
		body []byte
	}{{frameReady, nil}, {frameBegun, nil}, {frameChunks, body}, {frameEnd, nil}} {
		if err := writeFrame(&sent, fr.kind, fr.body); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(sent.Bytes())
	f.Add([]byte{frameChunks, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{frameChunks, 0, 0, 0, 2, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > 1<<16 {
			return // every piece of context is walked for every chunk
		}
		r := bytes.NewReader(sent)
		d, again, written := decoder{text: text}, decoder{text: text}, encoder{}
		var buf []byte
		for {
			before := r.Len()
			kind, body, err := readFrame(r, buf)
			if err != nil {
				if err == io.EOF && before != 0 {
					t.Fatalf("%d bytes before the end are said to be the end", before)
				}
				return
			}
			if before-r.Len() != 5+len(body) {
				t.Fatalf("a frame of %d bytes took %d", len(body), before-r.Len())
			}
			buf = body
			if kind != frameChunks {
				continue
			}
			for rest := body; len(rest) > 0; {
				var c chunk.Chunk
				left := len(rest)
				if c, rest, err = d.chunk(rest); err != nil {
					return
				}
				if len(rest) >= left || len(d.known) > len(sent) {
					t.Fatalf("%d bytes became %d, with %d pieces of context from %d bytes", left, len(rest), len(d.known), len(sent))
				}
				for x := c.Context; x != nil; x = x.Up {
					if x.Start < 0 || x.End < x.Start || x.End > len(text) || x.Text != text[x.Start:x.End] {
						t.Fatalf("context %+v of a text of %d bytes", x, len(text))
					}
				}
				if c.End < c.Start || c.Up < 0 {
					continue // the guard refuses it: it is never written
				}
				same, none, err := again.chunk(written.append(nil, c))
				if err != nil || len(none) > 0 || same.Span != c.Span || same.Boundary != c.Boundary || same.Reason != c.Reason || same.Kind != c.Kind ||
					same.Level != c.Level || same.Up != c.Up {
					t.Fatalf("%+v was written and read as %+v, %v", c, same, err)
				}
				x, y := c.Context, same.Context
				for ; x != nil && y != nil; x, y = x.Up, y.Up {
					if x.Kind != y.Kind || x.Level != y.Level || x.Start != y.Start || x.End != y.End {
						t.Fatalf("context %+v was written and read as %+v", x, y)
					}
				}
				if x != nil || y != nil {
					t.Fatalf("the contexts of %+v and %+v are not as deep", c, same)
				}
			}
		}
	})
}
