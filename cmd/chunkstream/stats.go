package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Figures is what --stats says of a file; --stats --json prints one a line. Sizes are in Unit.
type Figures struct {
	Document string  `json:"document"`
	Format   string  `json:"format"` // markdown, text, code, …
	Strategy string  `json:"strategy"`
	Bytes    int     `json:"bytes"` // of UTF-8
	Chunks   int     `json:"chunks"`
	Tokens   int     `json:"tokens"` // of all chunks, overlaps counted as often as they are there
	Counted  string  `json:"tokenizer"`
	Unit     string  `json:"unit"`
	Limit    int     `json:"limit"`
	Min      int     `json:"min"`
	Median   int     `json:"median"`
	P95      int     `json:"p95"`
	Max      int     `json:"max"`
	Covered  float64 `json:"coverage"` // the share of bytes other than white space that some chunk has
	Problems int     `json:"problems"`
	Millis   float64 `json:"ms"`
}

func (l *looked) figuresOf() Figures {
	f := Figures{Document: l.name, Format: string(l.format.Kind), Strategy: l.plan.Strategy, Bytes: len(l.text), Chunks: len(l.all), Tokens: l.tokens(),
		Counted: l.counted, Unit: l.report.Unit, Limit: l.report.Limit, Covered: l.report.Covered, Problems: len(l.report.Problems),
		Millis: float64(l.took.Microseconds()) / 1e3}
	if len(l.all) > 0 {
		s := sizesOf(l.all)
		f.Min, f.Median, f.P95, f.Max = s.least, s.median, s.p95, s.most
	}
	return f
}

// totals are the figures of several files together.
type totals struct{ files, bytes, chunks, tokens, problems int }

// head begins the table on rows, which reports at its end what could not be written.
func (t *totals) head(rows *tabwriter.Writer) {
	_, _ = fmt.Fprintln(rows, "bytes\tchunks\ttokens\tmin\tmedian\tp95\tmax\tproblems\t  file")
}

// add tells of one file: on rows, or as JSON on out without them.
func (t *totals) add(l *looked, rows *tabwriter.Writer, out io.Writer) error {
	f := l.figuresOf()
	t.files, t.bytes, t.chunks = t.files+1, t.bytes+f.Bytes, t.chunks+f.Chunks
	t.tokens, t.problems = t.tokens+f.Tokens, t.problems+f.Problems
	if rows == nil {
		return json.NewEncoder(out).Encode(f)
	}
	_, err := fmt.Fprintf(rows, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t  %s\n", grouped(f.Bytes), grouped(f.Chunks), grouped(f.Tokens), f.Min, f.Median, f.P95,
		f.Max, f.Problems, oneLine(f.Document, 200))
	return err
}

// end writes the last line and all that was gathered.
func (t *totals) end(rows *tabwriter.Writer) error {
	_, _ = fmt.Fprintf(rows, "%s\t%s\t%s\t\t\t\t\t%d\t  %d files\n", grouped(t.bytes), grouped(t.chunks), grouped(t.tokens), t.problems, t.files)
	return rows.Flush()
}
