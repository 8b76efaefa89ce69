package check

import (
	"sort"
	"strings"

	"chunkstream/chunk"
	"chunkstream/extract"
)

// shape is where the parts of a text are that should not be torn. Each list is in order, and its stretches do not overlap.
type shape struct{ fences, tables, headings []stretch }

// stretch is the bytes [start, end) of whole lines. A fence's are between its first and its last line, both in it; a table's
// begin with its header.
type stretch struct{ start, end int }

// shapeOf reads the lines of a text. Of Markdown it knows code fences (CommonMark 0.31, section 4.5), ATX and setext headings
// (4.2 and 4.3) and pipe tables (GFM 0.29, section 4.10), at any depth of quotations and lists.
func shapeOf(kind extract.Kind, text string) (s shape) {
	switch kind {
	case extract.CSV, extract.TSV:
		s.tables = []stretch{{0, len(text)}}
		return s
	case extract.Markdown:
	default:
		return s
	}
	var (
		fence  string // the marks that opened the fence we are in
		opened int
		table  = -1 // where the table we are in starts
		before string
		at     int
	)
	start := 0 // of the line before
	for line := range strings.SplitAfterSeq(text, "\n") {
		bare := strings.TrimRight(strings.TrimLeft(line, "> \t"), " \t\r\n")
		switch {
		case fence != "":
			if strings.HasPrefix(bare, fence) && strings.Trim(bare, fence[:1]) == "" {
				s.fences = append(s.fences, stretch{opened, at + len(line)})
				fence, bare = "", ""
			}
		case strings.HasPrefix(bare, "```") && !strings.Contains(strings.TrimLeft(bare, "`"), "`"), strings.HasPrefix(bare, "~~~"):
			fence, opened = bare[:len(bare)-len(strings.TrimLeft(bare, bare[:1]))], at
			if table >= 0 {
				s.tables, table = append(s.tables, stretch{table, at}), -1
			}
		case table >= 0:
			if !strings.Contains(bare, "|") {
				s.tables, table = append(s.tables, stretch{table, at}), -1
			}
		case isDelimiter(bare) && strings.Contains(before, "|") && cells(bare) == cells(before):
			table = start
		case isATX(bare):
			s.headings = append(s.headings, stretch{at, at + len(line)})
		case before != "" && len(bare) > 1 && (strings.Trim(bare, "=") == "" || strings.Trim(bare, "-") == "") && !isATX(before):
			s.headings = append(s.headings, stretch{start, at + len(line)})
			bare = "" // no heading is above another's line
		}
		start, before = at, bare
		at += len(line)
	}
	if fence != "" {
		s.fences = append(s.fences, stretch{opened, len(text)})
	}
	if table >= 0 {
		s.tables = append(s.tables, stretch{table, len(text)})
	}
	return s
}

func isATX(line string) bool {
	rest := strings.TrimLeft(line, "#")
	n := len(line) - len(rest)
	return n > 0 && n < 7 && rest != "" && (rest[0] == ' ' || rest[0] == '\t')
}

// isDelimiter reports whether a line is that between a table's header and its rows.
func isDelimiter(line string) bool {
	return strings.Contains(line, "-") && strings.Contains(line, "|") && strings.Trim(line, "|:- \t") == ""
}

func cells(row string) int {
	row = strings.ReplaceAll(strings.TrimSpace(row), `\|`, "")
	return strings.Count(strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|"), "|") + 1
}

// lastHeading gives where the heading starts that is the last of a chunk's text, if more text follows it in the document.
func (s shape) lastHeading(text string, d *chunk.Detail) (int, bool) {
	i := sort.Search(len(s.headings), func(i int) bool { return s.headings[i].end >= d.End }) - 1
	if j := i + 1; j < len(s.headings) && s.headings[j].start < d.End && strings.TrimSpace(text[min(d.End, s.headings[j].end):s.headings[j].end]) == "" {
		i = j // it ends with the chunk, or only white space of it does not
	}
	if i < 0 || s.headings[i].start < d.Start {
		return 0, false
	}
	return s.headings[i].start, strings.TrimSpace(text[min(d.End, s.headings[i].end):d.End]) == "" && strings.TrimSpace(text[d.End:]) != ""
}
