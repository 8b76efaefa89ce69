package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"chunkstream/chunk"
	"chunkstream/export"
)

// hostile are chunks whose texts and names would do harm where they are not quoted, and awkward ones.
func hostile() (all []export.Record) {
	head := &chunk.Context{Text: "=HYPERLINK(\"x\")", Kind: chunk.Heading, Level: 1}
	deep := &chunk.Context{Text: "'); DROP TABLE chunks; --", Kind: chunk.Heading, Level: 2, Up: head}
	for i, text := range []string{
		"plain\n", "=1+1", "'=1+1", "''@x", "+49", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted'", "it's '' \\' E'\\n' $$ $1 :x",
		"'); DROP TABLE chunks; --", "\\'; DROP TABLE chunks; --", "a,b;\"c\"\r\nd\n", "漢字 😀 é \u2028 \ufeff", "\x01\x7f\u0085", "{\"a\":1}\n",
		strings.Repeat("long ", 3000), "\n\n", "null", "NaN", "007",
	} {
		r := export.Record{ID: "chk_" + strings.Repeat("a", 3) + string(rune('a'+i)), Document: "=a'b\".md", Strategy: "markdown", Unit: "chars"}
		r.Detail = chunk.Detail{Index: i, Text: text, Size: len(text), From: chunk.Place{Line: i}, To: chunk.Place{Line: i + 1}}
		r.Start, r.End, r.Context = i*10, i*10+len(text), deep
		all = append(all, r)
	}
	return all
}

// written is what a format makes of records.
func written(t *testing.T, format string, all []export.Record) []byte {
	t.Helper()
	if format == "parquet" {
		var b bytes.Buffer
		p := export.NewParquet(&b)
		for i := range all {
			if err := p.Write(&all[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	w, ok := export.New(format)
	if !ok {
		t.Fatalf("no format %s", format)
	}
	b := []byte(w.Open())
	for i := range all {
		if i > 0 {
			b = append(b, w.Between()...)
		}
		var err error
		if b, err = w.Append(b, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return append(b, w.Close()...)
}

// No cell starts a formula, and each is told back exactly.
func TestCSVIsHarmless(t *testing.T) {
	t.Parallel()
	all := hostile()
	rows, err := csv.NewReader(bytes.NewReader(written(t, "csv", all))).ReadAll()
	if err != nil || len(rows) != len(all)+1 {
		t.Fatalf("got %d rows, %v", len(rows), err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	back := func(s string) string {
		if bare := strings.TrimLeft(s, "'"); bare != s && strings.ContainsAny(bare[:min(1, len(bare))], "=+-@\t\r") {
			return s[1:]
		}
		return s
	}
	for i, row := range rows[1:] {
		for name, at := range column {
			if row[at] != "" && strings.ContainsAny(row[at][:1], "=+-@\t\r") {
				t.Errorf("row %d: %s is %q", i, name, row[at])
			}
		}
		// encoding/csv makes LF of CR LF within quotes.
		if got, want := back(row[column["text"]]), strings.ReplaceAll(all[i].Text, "\r\n", "\n"); got != want {
			t.Errorf("row %d: got %q, want %q", i, got, want)
		}
		if got := back(row[column["document"]]); got != all[i].Document {
			t.Errorf("row %d: got the document %q", i, got)
		}
	}
}

// Postgres's own reading of a literal: everything up to a single quote that stands alone.
func TestPgvectorQuotes(t *testing.T) {
	t.Parallel()
	all := hostile()
	sql := string(written(t, "pgvector", all))
	if !strings.HasPrefix(sql, "BEGIN;\nSET LOCAL standard_conforming_strings = on;\n") || !strings.HasSuffix(sql, "COMMIT;\n") {
		t.Errorf("got %.200q", sql)
	}
	var literals []string
	outside := ""
	for rest := sql; rest != ""; {
		before, after, found := strings.Cut(rest, "'")
		outside += before
		if !found {
			break
		}
		var text strings.Builder
		for {
			piece, tail, _ := strings.Cut(after, "'")
			text.WriteString(piece)
			after = tail
			if !strings.HasPrefix(after, "'") {
				break
			}
			text.WriteByte('\'')
			after = after[1:]
		}
		literals = append(literals, text.String())
		rest = after
	}
	if strings.Contains(outside, "DROP") || strings.Count(outside, ";") != 6+len(all) {
		t.Errorf("outside of literals there is %.500q", outside)
	}
	for i, r := range all {
		row := literals[1+4*i : 5+4*i] // the first is UTF8
		var meta map[string]any
		if err := json.Unmarshal([]byte(row[3]), &meta); err != nil || meta["index"] != float64(i) || meta["source"] != r.Document {
			t.Errorf("row %d: metadata %s, %v", i, row[3], err)
		}
		if want := []string{r.ID, r.Document, r.Text}; !reflect.DeepEqual(row[:3], want) {
			t.Errorf("row %d: got %q, want %q", i, row[:3], want)
		}
	}
}

func TestLinesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	all := hostile()
	for _, format := range []string{"langchain", "qdrant"} {
		lines := bytes.Split(bytes.TrimSpace(written(t, format, all)), []byte("\n"))
		if len(lines) != len(all) {
			t.Fatalf("%s: got %d lines, want %d", format, len(lines), len(all))
		}
		for i, line := range lines {
			var x struct {
				ID          string
				PageContent string `json:"page_content"`
				Metadata    map[string]any
				Vector      map[string]any
				Payload     map[string]any
			}
			if err := json.Unmarshal(line, &x); err != nil {
				t.Fatalf("%s: %v in %s", format, err, line)
			}
			switch {
			case format == "langchain" && (x.PageContent != all[i].Text || x.ID != all[i].ID || x.Metadata["start_byte"] != float64(10*i) ||
				x.Metadata["source"] != all[i].Document || x.Metadata["start_index"] == nil):
				t.Errorf("got %s", line)
			case format == "qdrant" && (x.Payload["text"] != all[i].Text || x.Payload["chunk_id"] != all[i].ID || x.Vector == nil ||
				x.ID != export.PointID(all[i].ID)):
				t.Errorf("got %s", line)
			}
		}
	}
	// Python: uuid.uuid5(uuid.NAMESPACE_URL, "urn:chunkstream:chk_x")
	if got, want := export.PointID("chk_x"), "871b5d64-e48c-5af6-8f15-5c4f1d57d466"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParquet(t *testing.T) {
	t.Parallel()
	all := hostile()
	file := written(t, "parquet", all)
	if again := written(t, "parquet", all); !bytes.Equal(file, again) {
		t.Error("the same records gave other bytes")
	}
	type row struct {
		ID       string   `parquet:"id"`
		Text     *string  `parquet:"text,optional"`
		Start    int64    `parquet:"start_byte"`
		UTF16    *int64   `parquet:"start_utf16,optional"`
		Headings []string `parquet:"headings,list"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
	if err != nil || len(rows) != len(all) {
		t.Fatalf("got %d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		if r.ID != all[i].ID || *r.Text != all[i].Text || r.Start != int64(all[i].Start) || r.UTF16 != nil || len(r.Headings) != 2 {
			t.Errorf("row %d: got %+v", i, r)
		}
	}
	if got := written(t, "parquet", nil); len(got) < 12 {
		t.Errorf("a file of nothing has %d bytes", len(got))
	}
}

// A file of any length is written in bounded memory: what is held is a row group.
func TestParquetMemory(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("some text that does not repeat exactly ", 100)
	var n countingWriter
	p := export.NewParquet(&n)
	for i := range 5_000 { // 20 MB
		r := export.Record{ID: "chk_x", Detail: chunk.Detail{Index: i, Text: text}}
		if err := p.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	before := n
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if before == 0 {
		t.Error("nothing was written before the end")
	}
}

type countingWriter int64

func (n *countingWriter) Write(b []byte) (int, error) {
	*n += countingWriter(len(b))
	return len(b), nil
}
