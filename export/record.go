// Package export writes chunks in the formats that other programs read.
package export

import (
	"strconv"

	"chunkstream/chunk"
)

// Record is a chunk as it is written. Offsets are half-open, from 0, into the extracted text; lines are from 1.
type Record struct {
	ID       string // as chunk.ID
	Document string // the name it was read under
	Strategy string
	Unit     string // of Size
	UTF16    bool   // the places also count UTF-16 code units
	Tokens   bool   // the detail also counts tokens
	NoText   bool   // offsets alone
	// Encoding is of the source if the text is not the source as it stands, else empty. SourceStart and SourceEnd are then
	// where the chunk's bytes are in the source.
	Encoding               string
	SourceStart, SourceEnd int
	chunk.Detail
}

// Writer writes records in one format. It is not for concurrent use.
type Writer interface {
	// Append adds the record's bytes to b.
	Append(b []byte, r *Record) ([]byte, error)
	// Open, Between and Close are what stands before the first record, between two of them, and behind the last.
	Open() string
	Between() string
	Close() string
}

// Formats are the names of the formats that New knows, the usual one first.
func Formats() []string {
	return []string{"jsonl", "json", "csv", "text", "langchain", "qdrant", "pgvector"}
}

// Media is the media type and the file ending of a format, and whether there is one of that name: those of Formats, and
// parquet, which NewParquet writes.
func Media(format string) (media, ending string, ok bool) {
	switch format {
	case "jsonl", "langchain", "qdrant":
		return "application/x-ndjson", ".jsonl", true
	case "json":
		return "application/json", ".json", true
	case "csv":
		return "text/csv; charset=utf-8", ".csv", true
	case "text":
		return "text/plain; charset=utf-8", ".txt", true
	case "pgvector":
		return "application/sql", ".sql", true
	case "parquet":
		return "application/vnd.apache.parquet", ".parquet", true
	}
	return "", "", false
}

// New gives the writer of a format; ok is false for a name that is not in Formats.
func New(format string) (w Writer, ok bool) {
	switch format {
	case "jsonl":
		return lines{}, true
	case "json":
		return array{}, true
	case "csv":
		return table{}, true
	case "text":
		return plain{}, true
	case "langchain":
		return langchain{}, true
	case "qdrant":
		return qdrant{}, true
	case "pgvector":
		return pgvector{}, true
	}
	return nil, false
}

// lines is JSON Lines: one object a line.
type lines struct{}

func (lines) Open() string    { return "" }
func (lines) Between() string { return "" }
func (lines) Close() string   { return "" }
func (lines) Append(b []byte, r *Record) ([]byte, error) {
	return append(r.appendJSON(b), '\n'), nil
}

// array is one JSON array (RFC 8259).
type array struct{}

func (array) Open() string    { return "[\n" }
func (array) Between() string { return ",\n" }
func (array) Close() string   { return "\n]\n" }
func (array) Append(b []byte, r *Record) ([]byte, error) {
	return r.appendJSON(b), nil
}

// plain is for people: a line that says what the chunk is, then its text.
type plain struct{}

func (plain) Open() string    { return "" }
func (plain) Between() string { return "" }
func (plain) Close() string   { return "" }
func (plain) Append(b []byte, r *Record) ([]byte, error) {
	b = append(b, "── "...)
	if r.Document != "" {
		b = append(append(b, r.Document...), ' ')
	}
	b = append(b, '#')
	b = strconv.AppendInt(b, int64(r.Index), 10)
	b = append(b, " · lines "...)
	b = strconv.AppendInt(b, int64(r.From.Line+1), 10)
	b = append(b, "–"...)
	b = strconv.AppendInt(b, int64(r.lastLine()), 10)
	b = append(b, " · "...)
	b = strconv.AppendInt(b, int64(r.Size), 10)
	b = append(append(b, ' '), r.Unit...)
	b = append(append(b, " · ends at "...), r.Boundary.String()...)
	b = append(append(b, " ("...), r.Reason.String()...)
	b = append(b, ")\n"...)
	if !r.NoText {
		b = append(b, r.Text...)
		if len(r.Text) == 0 || r.Text[len(r.Text)-1] != '\n' {
			b = append(b, '\n')
		}
	}
	return b, nil
}

// lastLine is the line of the chunk's last character, from 1.
func (r *Record) lastLine() int {
	last := r.To.Line + 1
	if len(r.Text) > 0 && r.Text[len(r.Text)-1] == '\n' {
		last--
	}
	return last
}

// appendJSON adds the record as a JSON object. Fields that say nothing are left out.
func (r *Record) appendJSON(b []byte) []byte {
	b = append(append(append(b, `{"id":"`...), r.ID...), '"')
	if r.Document != "" {
		b = AppendString(append(b, `,"document":`...), r.Document)
	}
	b = number(b, `,"index":`, r.Index)
	if !r.NoText {
		b = AppendString(append(b, `,"text":`...), r.Text)
	}
	b = number(b, `,"start_byte":`, r.Start)
	b = number(b, `,"end_byte":`, r.End)
	b = number(b, `,"start_char":`, r.From.Char)
	b = number(b, `,"end_char":`, r.To.Char)
	if r.UTF16 {
		b = number(b, `,"start_utf16":`, r.From.UTF16)
		b = number(b, `,"end_utf16":`, r.To.UTF16)
	}
	if r.Encoding != "" {
		b = append(append(append(b, `,"encoding":"`...), r.Encoding...), '"')
		b = number(b, `,"source_start_byte":`, r.SourceStart)
		b = number(b, `,"source_end_byte":`, r.SourceEnd)
	}
	b = number(b, `,"start_line":`, r.From.Line+1)
	b = number(b, `,"end_line":`, r.lastLine())
	b = number(b, `,"char_count":`, r.To.Char-r.From.Char)
	if r.Tokens {
		b = number(b, `,"token_count":`, r.Detail.Tokens)
	}
	b = number(b, `,"size":`, r.Size)
	b = append(append(append(b, `,"unit":"`...), r.Unit...), '"')
	if r.Overlap > 0 {
		b = number(b, `,"overlap_bytes":`, r.Overlap)
	}
	b = append(append(append(b, `,"opens":"`...), opens(r)...), '"')
	b = append(append(append(b, `,"boundary":"`...), r.Boundary.String()...), '"')
	b = append(append(append(b, `,"reason":"`...), r.Reason.String()...), '"')
	if r.Kind != chunk.Unknown {
		b = append(append(append(b, `,"kind":"`...), r.Kind.String()...), '"')
	}
	if r.Strategy == "hierarchical" {
		b = number(b, `,"level":`, int(r.Level))
	}
	if r.Up > 0 {
		b = number(b, `,"parent_index":`, r.Index-r.Up)
	}
	if r.Context != nil {
		b = append(appendContext(append(b, `,"context":[`...), r.Context), ']')
	}
	return append(append(append(b, `,"strategy":"`...), r.Strategy...), `"}`...)
}

// opens is the kind of place the chunk starts at.
func opens(r *Record) string {
	if r.Opens == chunk.End {
		return "start"
	}
	return r.Opens.String()
}

// appendContext adds the pieces, the outermost first.
func appendContext(b []byte, x *chunk.Context) []byte {
	if x.Up != nil {
		b = append(appendContext(b, x.Up), ',')
	}
	b = append(append(append(b, `{"kind":"`...), x.Kind.String()...), '"')
	if x.Level > 0 {
		b = number(b, `,"level":`, x.Level)
	}
	b = number(b, `,"start_byte":`, x.Start)
	b = number(b, `,"end_byte":`, x.End)
	return append(AppendString(append(b, `,"text":`...), x.Text), '}')
}

func number(b []byte, name string, n int) []byte {
	return strconv.AppendInt(append(b, name...), int64(n), 10)
}
