package chunk

import (
	"iter"
	"strings"
	"unicode/utf8"
)

// tabular cuts tables between their rows: CSV and its like (RFC 4180: a record in which a cell is quoted may span lines), or
// the tables of a Markdown document. A row that does not fit into a chunk is cut between cells, a cell that does not fit as
// recursive cuts text. A record ends at LF, CR or CR LF; a quote opens a cell only where the cell begins, so quotes
// elsewhere are text.
//
// What it is, is told by the first 8 KiB. With the delimiter auto or pipe, and a line of Markdown that parts the header of
// a table from its rows, it is Markdown, and cut as the strategy markdown does. Else the delimiter auto is the one of , ; tab
// and | that gives all records the same number of cells, the greater number if several do, and a comma if none does.
//
// The header, which is context of every chunk but the first, is the first record: with header true always, with auto if no
// cell of it is empty, a number or there twice. It is none if it does not end within those 8 KiB. In Markdown every table
// has one, unless header is false.
//
// chunk_overlap repeats whole rows, as many as it has room for.
type tabular struct {
	sizing
	Delimiter     string `json:"delimiter,omitempty"` // empty is auto
	Header        *bool  `json:"header,omitempty"`    // nil is auto
	ContextInSize bool   `json:"context_in_size,omitempty"`

	plain bool // a record is one cell, and the first one no header
}

const tableSummary = "Cuts CSV and other tables between their rows, with the header as context of every chunk."

// lookTable is how much of a document tells what kind of table it is, in bytes.
const lookTable = 8 << 10

const auto = "auto"

// noDelimiter is in no valid UTF-8.
const noDelimiter = 0xFF

// delimiters by their names, in order of preference.
var delimiters = []struct {
	name string
	b    byte
}{{"comma", ','}, {"semicolon", ';'}, {"tab", '\t'}, {"pipe", '|'}}

func (z *tabular) fields() []field {
	return append(z.sizing.fields(),
		field{
			"delimiter", `{"type":"string","enum":["auto","comma","semicolon","tab","pipe"],"default":"auto",` +
				`"description":"What is between cells; auto finds it in the first 8 KiB."}`,
			func(v value) *ParamError {
				perr := v.oneOf(&z.Delimiter, auto, "comma", "semicolon", "tab", "pipe")
				if z.Delimiter == auto {
					z.Delimiter = ""
				}
				return perr
			},
		},
		field{
			"header", `{"type":["boolean","string"],"pattern":"^auto$","default":"auto",` +
				`"description":"Whether the first row is a header, and so context of every chunk; auto looks at its cells."}`,
			func(v value) *ParamError {
				if v.token == auto {
					z.Header = nil
					return nil
				}
				var has bool
				if perr := v.boolean(&has); perr != nil {
					perr.Suggestion = `use true, false or "auto"`
					return perr
				}
				z.Header = &has
				return nil
			},
		},
		contextField(&z.ContextInSize))
}

// Split cuts text as the type says.
func (z *tabular) Split(text string) iter.Seq[Chunk] { return splitWalk(z, text) }

func (z *tabular) walk() walk {
	return &choiceWalk{look: lookTable, choose: func(head string) walk {
		if b := z.delimiter(); (b == 0 || b == '|') && hasPipeTable(head) {
			w := newMarkdownWalk(z.sizing, z.ContextInSize)
			w.headless = z.Header != nil && !*z.Header
			return w.undivided()
		}
		return newRowWalk(z, head)
	}}
}

// delimiter is the one that is set, or 0.
func (z *tabular) delimiter() byte {
	for _, d := range delimiters {
		if d.name == z.Delimiter {
			return d.b
		}
	}
	return 0
}

// choiceWalk walks as a walk that is chosen by how the document begins.
type choiceWalk struct {
	look   int // how many bytes tell
	choose func(head string) walk
	walk   walk
}

func (w *choiceWalk) next(text string, last bool) (Chunk, bool) {
	if w.walk == nil {
		if !last && len(text) < w.look+utf8.UTFMax {
			return Chunk{}, false
		}
		w.walk = w.chosen(text)
	}
	return w.walk.next(text, last)
}

// chosen is the walk for a document that begins with text.
func (w *choiceWalk) chosen(text string) walk {
	return w.choose(text[:floorRune(text, min(len(text), w.look))])
}

func (w *choiceWalk) kept() int {
	if w.walk == nil {
		return 0
	}
	return w.walk.kept()
}

func (w *choiceWalk) drop(n int) {
	if w.walk != nil {
		w.walk.drop(n)
	}
}

// hasPipeTable reports whether a line of head parts the header of a Markdown table from its rows.
func hasPipeTable(head string) bool {
	before := ""
	for line := range strings.Lines(head) {
		line = strings.TrimRight(line, "\r\n")
		if n := delimiterCells(line); n > 0 && strings.IndexByte(line, '|') >= 0 && n == cells(before) {
			return true
		}
		before = line
	}
	return false
}

// rowWalk walks a document of records.
type rowWalk struct {
	sizedWalk
	delimiter byte
	quoted    bool // start is inside of a quoted cell
	headEnd   int  // where the header ends, in the document
	header    *Context
}

func newRowWalk(z *tabular, head string) *rowWalk {
	w := &rowWalk{delimiter: z.delimiter()}
	switch {
	case z.plain:
		w.delimiter = noDelimiter
	case w.delimiter == 0:
		w.delimiter = delimiterOf(head)
	}
	w.sizedWalk = sizedWalk{measure: measure{sizing: z.sizing}, cut: w.cutRow}
	from := skipSpace(head, 0, len(head))
	if strings.HasPrefix(head[from:], "\ufeff") {
		from += len("\ufeff")
	}
	end, _, ended := w.record(head, from, len(head), false)
	if to := from + len(strings.TrimRight(head[from:end], "\r\n")); ended && to > from && !z.plain && w.heads(z, head[from:to]) {
		w.header = &Context{Span: Span{from, to}, Text: head[from:to], Kind: TableHeader}
		w.headEnd = end
		if z.ContextInSize {
			size, all := z.size(w.header.Text), z.ChunkSize
			if size > min(all/2, all-leastSize(z.Unit)) {
				w.header = nil
			} else {
				w.ChunkSize -= size
				w.ChunkOverlap = min(w.ChunkOverlap, w.ChunkSize/2)
				w.SoftChunkSize = min(w.SoftChunkSize, w.ChunkSize)
				w.MinChunkSize = min(w.MinChunkSize, w.ChunkSize)
			}
		}
	}
	return w
}

// place says that a quoted cell is more than a place.
func (w *rowWalk) place() (Span, bool) {
	at, ok := w.sizedWalk.place()
	return at, ok && !w.quoted
}

// record returns where the record that i is in ends, at most at hi, and whether hi is inside of a quoted cell; ended says
// that it ends.
func (w *rowWalk) record(text string, i, hi int, quoted bool) (end int, inside, ended bool) {
	for {
		if quoted {
			q := strings.IndexByte(text[i:hi], '"')
			if q < 0 {
				return hi, true, false
			}
			i += q + 1
			if i < len(text) && text[i] == '"' { // one quote, written twice
				if i == hi {
					return hi, true, false
				}
				i++
				continue
			}
			quoted = false
		}
		// Line ends and quotes are looked for bit by bit, so that none of them costs the way to the others.
		for i < hi && !quoted {
			far := min(hi, i+256)
			e := far
			if n := strings.IndexByte(text[i:e], '\n'); n >= 0 {
				e = i + n
			}
			if n := strings.IndexByte(text[i:e], '\r'); n >= 0 {
				e = i + n
			}
			for q := i; ; q++ {
				n := strings.IndexByte(text[q:e], '"')
				if n < 0 {
					break
				}
				if q += n; w.opensCell(text, q) {
					i, quoted = q+1, true
					break
				}
			}
			switch {
			case quoted:
			case e == far:
				i = far
			default:
				if text[e] == '\r' && e+1 < len(text) && text[e+1] == '\n' {
					e++
				}
				return min(hi, e+1), false, e < hi
			}
		}
		if !quoted {
			return hi, false, false
		}
	}
}

// opensCell reports whether a cell begins at i.
func (w *rowWalk) opensCell(text string, i int) bool {
	return i == 0 || text[i-1] == w.delimiter || endsLine(text[i-1])
}

// cutRow is the cutter.
func (w *rowWalk) cutRow(text string, lo, mid, hi int) (int, Boundary) {
	at := 0
	for i, quoted, ended := w.start, w.quoted, false; i < hi; {
		if i, quoted, ended = w.record(text, i, hi, quoted); ended && i > lo {
			at = i
		} else if !ended && !quoted && (text[hi] == '\n' || text[hi] == '\r') {
			return cutBack(text, lo, hi), Row // only the line end does not fit: see next
		}
	}
	if at > 0 {
		return at, Row
	}
	quoted := w.quoted
	for i := w.start; i < hi; i++ {
		switch c := text[i]; {
		case c == '"' && quoted:
			if i+1 < len(text) && text[i+1] == '"' {
				i++
			} else {
				quoted = false
			}
		case c == '"':
			quoted = w.opensCell(text, i)
		case c == w.delimiter && !quoted && i >= lo && isBreak(text, i+1):
			at = i + 1
		}
	}
	if at > 0 {
		return at, Clause
	}
	return cutAtBest(text, lo, mid, hi)
}

func (w *rowWalk) next(text string, last bool) (Chunk, bool) {
	c, ok := w.sizedWalk.next(text, last)
	if !ok {
		return c, false
	}
	c.Kind = Table
	if c.Start >= w.headEnd {
		c.Context = w.header
	}
	start, end := c.Start-w.base, w.end
	if c.Boundary == Row && end < len(text) && !endsLine(text[end-1]) { // its line end is left out
		for end < len(text) && endsLine(text[end]) && end < w.end+2 {
			if end++; text[end-1] == '\n' {
				break
			}
		}
		w.start, w.end = end, end
	}
	if w.start < w.end {
		w.start = w.rowFrom(text, start, c.Boundary)
	}
	for i := start; i < w.start; {
		i, w.quoted, _ = w.record(text, i, w.start, w.quoted)
	}
	return c, true
}

func endsLine(b byte) bool { return b == '\n' || b == '\r' }

// rowFrom returns where the first row starts that an overlap may begin with, or end: behind a place that is no end of a
// row, nothing is repeated.
func (w *rowWalk) rowFrom(text string, start int, b Boundary) int {
	if b != Row {
		return w.end
	}
	for i, quoted := start, w.quoted; i < w.end; {
		if i, quoted, _ = w.record(text, i, w.end, quoted); i >= w.start && i > start && w.base+i >= w.headEnd {
			return i
		}
	}
	return w.end
}

// delimiterOf finds the delimiter of the records in head.
func delimiterOf(head string) byte {
	best, most := byte(','), 1
	for _, d := range delimiters {
		w := rowWalk{delimiter: d.b}
		n, same := 0, true
		for i, rows := 0, 0; i < len(head) && rows < 20; rows++ {
			end, _, ended := w.record(head, i, len(head), false)
			if row := strings.TrimRight(head[i:end], "\r\n"); row != "" && (ended || n == 0) {
				k := len(w.split(row))
				same = same && (n == 0 || n == k)
				n = k
			}
			i = end
		}
		if same && n > most {
			best, most = d.b, n
		}
	}
	return best
}

// split are the cells of a record, with their quotes.
func (w *rowWalk) split(row string) (parts []string) {
	from, quoted := 0, false
	for i := range len(row) {
		switch {
		case row[i] == '"' && (quoted || i == from):
			quoted = !quoted
		case row[i] == w.delimiter && !quoted:
			parts, from = append(parts, row[from:i]), i+1
		}
	}
	return append(parts, row[from:])
}

// heads reports whether the first record is a header.
func (w *rowWalk) heads(z *tabular, row string) bool {
	if z.Header != nil {
		return *z.Header
	}
	seen := map[string]bool{}
	for _, c := range w.split(row) {
		c = strings.Trim(c, " \t\"")
		if seen[c] || strings.Trim(c, "0123456789.,+-%eE€$ ") == "" { // empty, or a number
			return false
		}
		seen[c] = true
	}
	return true
}
