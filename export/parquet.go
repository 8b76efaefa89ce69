package export

import (
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Parquet writes records as an Apache Parquet file, which ends with its index and so cannot be put together from pieces. It
// holds at most about groupBytes of text before it writes them as a row group. The same records give the same bytes.
type Parquet struct {
	w    *parquet.GenericWriter[row]
	held int // bytes of text in the row group that is being filled
}

// groupBytes and groupRows bound a row group.
const (
	groupBytes = 8 << 20
	groupRows  = 50_000
)

// row is a record as Parquet has it. What does not apply is null.
type row struct {
	ID          string   `parquet:"id"`
	Document    string   `parquet:"document,dict"`
	Index       int64    `parquet:"index"`
	Text        *string  `parquet:"text,optional"`
	StartByte   int64    `parquet:"start_byte"`
	EndByte     int64    `parquet:"end_byte"`
	StartChar   int64    `parquet:"start_char"`
	EndChar     int64    `parquet:"end_char"`
	StartUTF16  *int64   `parquet:"start_utf16,optional"`
	EndUTF16    *int64   `parquet:"end_utf16,optional"`
	StartLine   int64    `parquet:"start_line"`
	EndLine     int64    `parquet:"end_line"`
	SourceStart *int64   `parquet:"source_start_byte,optional"`
	SourceEnd   *int64   `parquet:"source_end_byte,optional"`
	Encoding    *string  `parquet:"encoding,optional,dict"`
	Tokens      *int64   `parquet:"token_count,optional"`
	Size        int64    `parquet:"size"`
	Unit        string   `parquet:"unit,dict"`
	Overlap     int64    `parquet:"overlap_bytes"`
	Boundary    string   `parquet:"boundary,dict"`
	Reason      string   `parquet:"reason,dict"`
	Kind        *string  `parquet:"kind,optional,dict"`
	Level       *int64   `parquet:"level,optional"`
	Parent      *int64   `parquet:"parent_index,optional"`
	Headings    []string `parquet:"headings,list"`
	Strategy    string   `parquet:"strategy,dict"`
}

// NewParquet writes to w. Close it.
func NewParquet(w io.Writer) *Parquet {
	return &Parquet{w: parquet.NewGenericWriter[row](w, parquet.Compression(&zstd.Codec{}), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.CreatedBy("chunkstream", "1", "parquet-go"))}
}

// Write adds a record; it keeps nothing of it but its texts, until they are written.
func (p *Parquet) Write(r *Record) error {
	x := row{
		ID: r.ID, Document: r.Document, Index: int64(r.Index), StartByte: int64(r.Start), EndByte: int64(r.End),
		StartChar: int64(r.From.Char), EndChar: int64(r.To.Char), StartLine: int64(r.From.Line + 1), EndLine: int64(r.lastLine()),
		Size: int64(r.Size), Unit: r.Unit, Overlap: int64(r.Overlap), Boundary: r.Boundary.String(), Reason: r.Reason.String(),
		Headings: headingTexts(nil, r.Context), Strategy: r.Strategy,
	}
	if !r.NoText {
		x.Text = &r.Text
	}
	some := func(to **int64, n int, when bool) {
		if when {
			v := int64(n)
			*to = &v
		}
	}
	some(&x.StartUTF16, r.From.UTF16, r.UTF16)
	some(&x.EndUTF16, r.To.UTF16, r.UTF16)
	some(&x.Tokens, r.Detail.Tokens, r.Tokens)
	some(&x.Level, int(r.Level), r.Strategy == "hierarchical")
	some(&x.Parent, r.Index-r.Up, r.Up > 0)
	some(&x.SourceStart, r.SourceStart, r.Encoding != "")
	some(&x.SourceEnd, r.SourceEnd, r.Encoding != "")
	if r.Encoding != "" {
		x.Encoding = &r.Encoding
	}
	if kind := r.Kind.String(); r.Kind != 0 {
		x.Kind = &kind
	}
	if _, err := p.w.Write([]row{x}); err != nil {
		return err
	}
	if p.held += len(r.Text); p.held >= groupBytes {
		p.held = 0
		return p.w.Flush()
	}
	return nil
}

// Close writes what is held and the index. It does not close what it writes to.
func (p *Parquet) Close() error { return p.w.Close() }
