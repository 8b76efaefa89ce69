// Package check says what is wrong with chunks, whoever cut them: chunks above the limit, text that no chunk has, torn words,
// tables and code fences, headings without what they stand above, and near copies. It reads Markdown's lines by itself, so
// that a strategy is not judged by its own eyes. All of it takes time linear in the text.
package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/extract"
)

// Kind is one thing that can be wrong.
type Kind string

// The kinds, in the order of Kinds.
const (
	OverLimit     Kind = "over_limit"     // larger than the settings allow
	NotCovered    Kind = "not_covered"    // text other than white space that is in no chunk
	TornWord      Kind = "torn_word"      // ends inside of a word
	OpenFence     Kind = "open_fence"     // goes on with a code fence, and neither text nor context has its first line
	TornTable     Kind = "torn_table"     // goes on with a table, and neither text nor context has its header
	OrphanHeading Kind = "orphan_heading" // ends with a heading, and what that stands above is in the next
	NearDuplicate Kind = "near_duplicate" // has nearly the words of an earlier chunk that shares no text with it
)

// Kinds are all kinds there are.
func Kinds() []Kind {
	return []Kind{OverLimit, NotCovered, TornWord, OpenFence, TornTable, OrphanHeading, NearDuplicate}
}

// Problem is one thing that is wrong.
type Problem struct {
	Kind      Kind   `json:"kind"`
	Index     int    `json:"index"` // of the chunk; -1 for text that is in none
	StartByte int    `json:"start_byte"`
	EndByte   int    `json:"end_byte"` // of the chunk or the text at fault, half-open
	Line      int    `json:"line"`     // where it is seen, from 1: a torn word's at the chunk's end, others' at their start
	Detail    string `json:"detail"`   // in words
	Other     *int   `json:"other,omitempty"`
}

// Report is what Chunks found.
type Report struct {
	Chunks  int
	Limit   int    // of chunks of the first level, in Unit; 0 if the settings have none
	Unit    string // chars, bytes, words or tokens
	Covered float64
	// Problems are sorted by where they start.
	Problems []Problem
}

// Count is how many problems of a kind there are.
func (r Report) Count(k Kind) (n int) {
	for _, p := range r.Problems {
		if p.Kind == k {
			n++
		}
	}
	return n
}

// Chunks looks at the chunks of a text, which are all that p gives for it, in order, and of what kind the text is: fences,
// headings and tables are looked for in Markdown, and a header in CSV and TSV. Covered is the share of the text's bytes
// other than white space that some chunk has, 1 for an empty text.
func Chunks(p chunk.Plan, kind extract.Kind, text string, all []chunk.Detail) Report {
	var s struct {
		Size     int    `json:"chunk_size"`
		Window   int    `json:"window"`
		Children []int  `json:"child_sizes"`
		Unit     string `json:"unit"`
	}
	_ = json.Unmarshal(p.Settings, &s) // of a plan they are canonical; of anything else they name no limit
	r := Report{Chunks: len(all), Limit: max(s.Size, s.Window), Unit: cmp.Or(s.Unit, "chars")}
	limits := append([]int{r.Limit}, s.Children...)
	shape := shapeOf(kind, text)
	for i := range all {
		d := &all[i]
		if level := int(d.Level); level < len(limits) && limits[level] > 0 && d.Size > limits[level] {
			r.add(OverLimit, d, d.From.Line, "%d %s, and the limit is %d", d.Size, r.Unit, limits[level])
		}
		if d.Boundary == chunk.Character && insideWord(text, d.End) {
			r.add(TornWord, d, d.To.Line, "ends inside of %q", wordAt(text, d.End))
		}
		if f, ok := shape.around(shape.fences, d.Start); ok && !has(d.Context, chunk.FenceOpener) {
			r.add(OpenFence, d, d.From.Line, "goes on with a code fence without its first line, %q", lineAt(text, f.start))
		}
		if t, ok := shape.around(shape.tables, d.Start); ok && !has(d.Context, chunk.TableHeader) {
			r.add(TornTable, d, d.From.Line, "goes on with a table without its header, %q", lineAt(text, t.start))
		}
		if at, ok := shape.lastHeading(text, d); ok {
			r.add(OrphanHeading, d, d.From.Line+lines(text[d.Start:at]), "ends with the heading %q", lineAt(text, at))
		}
	}
	r.gaps(text, all)
	r.copies(text, all)
	slices.SortStableFunc(r.Problems, func(a, b Problem) int { return cmp.Compare(a.StartByte, b.StartByte) })
	return r
}

func (r *Report) add(k Kind, d *chunk.Detail, line int, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{Kind: k, Index: d.Index, StartByte: d.Start, EndByte: d.End, Line: line + 1,
		Detail: fmt.Sprintf(format, args...)})
}

// gaps finds text that no chunk has. Chunks of level 0 are in the order of their starts.
func (r *Report) gaps(text string, all []chunk.Detail) {
	missing, done, line, counted := 0, 0, 0, 0
	gap := func(to int) {
		from := done
		for from < to && isSpace(text, from) {
			from++
		}
		if from >= to {
			return
		}
		n := words(text[from:to])
		missing += n
		line, counted = line+lines(text[counted:from]), from
		r.Problems = append(r.Problems, Problem{Kind: NotCovered, Index: -1, StartByte: from, EndByte: to, Line: line + 1,
			Detail: fmt.Sprintf("%d bytes are in no chunk: %q", n, lineAt(text[:to], from))})
	}
	for i := range all {
		if d := &all[i]; d.Level == 0 {
			gap(d.Start)
			done = max(done, d.End)
		}
	}
	gap(len(text))
	r.Covered = 1
	if n := words(text); n > 0 {
		r.Covered = 1 - float64(missing)/float64(n)
	}
}

func isSpace(text string, at int) bool {
	r, _ := utf8.DecodeRuneInString(text[at:])
	return unicode.IsSpace(r) || !utf8.RuneStart(text[at]) && at > 0 && isSpace(text, runeStart(text, at))
}

func runeStart(text string, at int) int {
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return at
}

// words is how many bytes of s are not of white space.
func words(s string) (n int) {
	for _, r := range s {
		if !unicode.IsSpace(r) {
			n += utf8.RuneLen(r)
		}
	}
	return n
}

func lines(s string) (n int) {
	for i := range len(s) {
		if s[i] == '\n' {
			n++
		}
	}
	return n
}

// has reports whether a chunk's context has something of a kind.
func has(c *chunk.Context, kind chunk.ContextKind) bool {
	for ; c != nil; c = c.Up {
		if c.Kind == kind {
			return true
		}
	}
	return false
}

// solid reports whether r is part of words that white space or punctuation ends. Scripts that write words without a space
// between them are not: where their words end only a dictionary knows.
func solid(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsNumber(r)) && !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai,
		unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan)
}

func insideWord(text string, at int) bool {
	if at <= 0 || at >= len(text) {
		return false
	}
	before, _ := utf8.DecodeLastRuneInString(text[:at])
	after, _ := utf8.DecodeRuneInString(text[at:])
	return solid(before) && solid(after)
}

// wordAt is the word around a place, no more than some 40 bytes of it.
func wordAt(text string, at int) string {
	from, to := at, at
	for from > max(0, at-20) {
		r, n := utf8.DecodeLastRuneInString(text[:from])
		if !solid(r) {
			break
		}
		from -= n
	}
	for to < min(len(text), at+20) {
		r, n := utf8.DecodeRuneInString(text[to:])
		if !solid(r) {
			break
		}
		to += n
	}
	return text[from:to]
}

// lineAt is the line that starts at a place, no more than some 60 bytes of it.
func lineAt(text string, at int) string {
	end := at
	for end < len(text) && text[end] != '\n' && end < at+60 {
		end++
	}
	if end < len(text) {
		end = max(at, runeStart(text, end))
	}
	return text[at:end]
}

// around gives the stretch that a place is inside of: behind its start, before its end.
func (shape) around(all []stretch, at int) (stretch, bool) {
	i := sort.Search(len(all), func(i int) bool { return all[i].end > at })
	if i < len(all) && all[i].start < at {
		return all[i], true
	}
	return stretch{}, false
}
