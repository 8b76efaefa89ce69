package export

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"

	"chunkstream/chunk"
)

// table is CSV (RFC 4180) with a header: one record a row, whose fields may hold line ends. Lines end in LF.
type table struct{}

var columns = []string{
	"id", "document", "index", "text", "start_byte", "end_byte", "start_char", "end_char", "start_line", "end_line",
	"token_count", "size", "unit", "boundary", "reason", "kind", "level", "parent_index", "headings", "strategy",
}

func (table) Open() string    { return strings.Join(columns, ",") + "\n" }
func (table) Between() string { return "" }
func (table) Close() string   { return "" }
func (table) Append(b []byte, r *Record) ([]byte, error) {
	text, tokens, level, parent := r.Text, "", "", ""
	if r.NoText {
		text = ""
	}
	if r.Tokens {
		tokens = strconv.Itoa(r.Detail.Tokens)
	}
	if r.Strategy == "hierarchical" {
		level = strconv.Itoa(int(r.Level))
	}
	if r.Up > 0 {
		parent = strconv.Itoa(r.Index - r.Up)
	}
	return appendRow(b, []string{
		r.ID, harmless(r.Document), strconv.Itoa(r.Index), harmless(text), strconv.Itoa(r.Start), strconv.Itoa(r.End), strconv.Itoa(r.From.Char),
		strconv.Itoa(r.To.Char), strconv.Itoa(r.From.Line + 1), strconv.Itoa(r.lastLine()), tokens, strconv.Itoa(r.Size), r.Unit,
		r.Boundary.String(), r.Reason.String(), r.Kind.String(), level, parent, harmless(headings(r.Context)), r.Strategy,
	})
}

// headings are the texts of the headings above, the outermost first.
func headings(x *chunk.Context) string { return strings.Join(headingTexts(nil, x), " › ") }

func headingTexts(to []string, x *chunk.Context) []string {
	if x == nil {
		return to
	}
	if to = headingTexts(to, x.Up); x.Kind == chunk.Heading {
		to = append(to, x.Text)
	}
	return to
}

// harmless keeps a spreadsheet from taking a text for a formula (OWASP, CSV Injection): one that starts as a formula, behind
// any number of single quotes, gets one more in front, which spreadsheets do not show. Who reads it otherwise takes one
// single quote away where one or more of them stand before =, +, -, @, a tab or a carriage return.
func harmless(s string) string {
	bare := strings.TrimLeft(s, "'")
	if bare != "" && strings.IndexByte("=+-@\t\r", bare[0]) >= 0 {
		return "'" + s
	}
	return s
}

func appendRow(b []byte, fields []string) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	w := csv.NewWriter(buf)
	if err := w.Write(fields); err != nil {
		return b, err
	}
	w.Flush()
	return buf.Bytes(), w.Error()
}
