package export_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/export"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "a \"quote\" and a \\", "\x00\x1f\n\r\t\x7f", "é€😀\u2028", strings.Repeat("x", 7) + "\"" + strings.Repeat("y", 9), " !\"#[\\]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		got := export.AppendString([]byte("before"), s)
		var back string
		if err := json.Unmarshal(got[len("before"):], &back); err != nil || back != s {
			t.Errorf("%q became %s, which is %q, %v", s, got, back, err)
		}
	})
}

// Every field of a record comes back from each format that programs read.
func TestJSON(t *testing.T) {
	t.Parallel()
	text := "# Head\n\ntext \"é\" here\n"
	head := &chunk.Context{Span: chunk.Span{Start: 2, End: 6}, Text: "Head", Kind: chunk.Heading, Level: 1}
	fence := &chunk.Context{Span: chunk.Span{Start: 3, End: 4}, Text: "e", Kind: chunk.FenceOpener, Up: head}
	r := export.Record{
		ID: "chk_x", Document: "a.md", Strategy: "hierarchical", Unit: "words", UTF16: true, Tokens: true,
		Detail: chunk.Detail{
			Chunk: chunk.Chunk{Span: chunk.Span{Start: 8, End: 23}, Boundary: chunk.Line, Reason: chunk.AtLimit, Kind: chunk.Code,
				Level: 1, Up: 2, Context: fence},
			Index: 5, Text: text[8:], From: chunk.Place{Byte: 8, Char: 8, Line: 2, UTF16: 8}, To: chunk.Place{Byte: 23, Char: 22, Line: 3, UTF16: 22},
			Size: 3, Tokens: 7, Overlap: 4, Opens: chunk.Sentence,
		},
	}
	w, ok := export.New("jsonl")
	if !ok {
		t.Fatal("no jsonl")
	}
	b, err := w.Append(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"chk_x","document":"a.md","index":5,"text":"text \"é\" here\n","start_byte":8,"end_byte":23,"start_char":8,` +
		`"end_char":22,"start_utf16":8,"end_utf16":22,"start_line":3,"end_line":3,"char_count":14,"token_count":7,"size":3,` +
		`"unit":"words","overlap_bytes":4,"opens":"sentence","boundary":"line","reason":"limit","kind":"code","level":1,` +
		`"parent_index":3,"context":[{"kind":"heading","level":1,"start_byte":2,"end_byte":6,"text":"Head"},` +
		`{"kind":"fence","start_byte":3,"end_byte":4,"text":"e"}],"strategy":"hierarchical"}` + "\n"
	if string(b) != want || !json.Valid(b) {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	for _, name := range export.Formats() {
		if _, ok := export.New(name); !ok {
			t.Errorf("no format %s", name)
		}
	}
	if _, ok := export.New("xml"); ok {
		t.Error("there is a format xml")
	}
}

func BenchmarkAppendString(b *testing.B) {
	text := strings.Repeat("Some words, and \"a quote\" now and then.\n", 25)
	buf := make([]byte, 0, 2*len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		export.AppendString(buf, text)
	}
}
