package chunk

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// compatLangchain is the value of the setting compat that makes recursive cut as LangChain does.
const compatLangchain = "langchain"

// langchain cuts as RecursiveCharacterTextSplitter of LangChain.js 1.0 does with keepSeparator, its default: the text is
// split before each of the first separator it contains; what is smaller than chunk_size is merged again up to it, what is
// not is split by the separators behind that one in the list, in the end into characters. White space around a merged
// chunk is left out.
//
// The chunks are those of LangChain.js, byte for byte, for the same separators, chunk_size, chunk_overlap and length
// function, with these exceptions:
//
//   - the separator "" cuts between code points, as in LangChain for Python, not between UTF-16 code units, which may be
//     halves of a character and make two of an emoji;
//   - white space is Unicode's White_Space, nearly as in LangChain for Python: U+FEFF is not, U+0085 is;
//   - chunks that LangChain makes of white space only are left out;
//   - with an overlap LangChain may repeat a chunk, or make one that lies wholly inside the one before or behind it (where
//     the rest of the two is white space); those are left out, so that starts and ends always advance.
//
// LangChain for Python differs from both in two places: it does not split at a separator that overlaps the one before it
// (of four line ends it makes two blank lines, not three), and it leaves a piece whole when no separator is left, where
// this splits it into characters.
//
// A chunk is above chunk_size where the separators do not end in "" and none of them is in a piece. In tokens and words the
// sizes are sums of the sizes of the pieces, so a chunk may hold fewer than that.
//
// The first separator is looked for in the whole text, so there is no bound on the look-ahead, and no streaming. The time
// is linear in the text for given settings, whatever the text: each separator reads each byte at most twice.
type langchain struct {
	sizing
	separators []string
}

// The bounds of separators. The longest that LangChain has for a language takes twenty bytes.
const (
	maxSeparators     = 100
	maxSeparatorBytes = 100
)

func defaultSeparators() []string { return []string{"\n\n", "\n", " ", ""} }

// The values of keep_separator that are words.
const (
	keepAtEnd   = "end"
	keepAtStart = "start"
)

// compat is the part of the settings of recursive that is for cutting at separators, of the user's choice (see separated)
// or as another library does.
type compat struct {
	Compat        string   `json:"compat,omitempty"`
	Separators    []string `json:"separators,omitempty"`     // with compat never empty
	KeepSeparator string   `json:"keep_separator,omitempty"` // keepAtStart or empty, which is keepAtEnd; empty with compat

	keep, keepGiven bool
}

func (c *compat) fields() []field {
	return []field{
		{
			"compat", `{"type":"string","enum":["langchain"],` +
				`"description":"langchain: cut as its RecursiveCharacterTextSplitter does, at separators."}`,
			func(v value) *ParamError { return v.oneOf(&c.Compat, compatLangchain) },
		},
		{
			"separators", `{"type":"array","items":{"type":"string","maxLength":100},"minItems":1,"maxItems":100,` +
				`"description":"What to cut at, the best first, in place of recursive's own levels; white space and any character ` +
				`come behind them. With compat an empty string, last, splits between any two characters, and where none are ` +
				`given they are blank line, line end, space, any character."}`,
			func(v value) *ParamError { return v.texts(&c.Separators) },
		},
		{
			"keep_separator", `{"type":["string","boolean"],"anyOf":[{"enum":["end","start"]},{"const":true}],` +
				`"description":"Where separators stay: at the end of the chunk they close (the default), or at the start of the next. ` +
				`With compat they stay at the start, which is true."}`,
			c.setKeep,
		},
	}
}

func (c *compat) setKeep(v value) *ParamError {
	c.keepGiven = true
	if _, ok := v.token.(string); ok {
		return v.oneOf(&c.KeepSeparator, keepAtEnd, keepAtStart)
	}
	if _, ok := v.token.(bool); !ok {
		return v.wrong(`"end", "start" or true`)
	}
	return v.boolean(&c.keep)
}

// check looks at the fields together.
func (c *compat) check(z *sizing) *ParamError {
	wrong := func(param, problem, suggestion string) *ParamError {
		return &ParamError{Param: param, Problem: problem, Suggestion: suggestion, Code: CodeInvalidValue}
	}
	if c.Compat == "" {
		return c.checkSeparated(wrong)
	}
	switch {
	case c.KeepSeparator != "":
		e := wrong("keep_separator", quote(c.KeepSeparator)+" is not supported with compat", "use true")
		if c.KeepSeparator == keepAtStart {
			e.Suggestion = "use true, which means the same"
		}
		return e
	case c.keepGiven && !c.keep:
		return wrong("keep_separator", "false joins pieces by one separator where the text may have several, "+
			"so chunks would not be slices of the text", "leave it out, or use true")
	}
	const unknown = "leave it out: LangChain has no such setting"
	switch {
	case z.MinChunkSize != 0:
		return wrong("min_chunk_size", "means nothing with compat", unknown)
	case z.SoftChunkSize != 0:
		return wrong("soft_chunk_size", "means nothing with compat", unknown)
	case z.OverlapMode != "":
		return wrong("overlap_mode", "means nothing with compat", unknown)
	}
	if c.Separators == nil {
		c.Separators = defaultSeparators()
	}
	if n := len(c.Separators); n == 0 || n > maxSeparators {
		return wrong("separators", fmt.Sprintf("has %d values: it takes 1 to %d", n, maxSeparators), "leave it out for the default")
	}
	if perr := c.checkEach(wrong); perr != nil {
		return perr
	}
	for i, s := range c.Separators {
		if s == "" && i < len(c.Separators)-1 {
			return wrong("separators", `what follows "" is never used, as "" is found everywhere`, `move "" to the end`)
		}
	}
	return nil
}

// checkSeparated is check without compat.
func (c *compat) checkSeparated(wrong func(param, problem, suggestion string) *ParamError) *ParamError {
	switch {
	case c.keepGiven && c.KeepSeparator == "" && c.keep:
		return wrong("keep_separator", "true means nothing without compat", `use "start", which it means elsewhere, or "end"`)
	case c.keepGiven && c.KeepSeparator == "":
		return wrong("keep_separator", "false would drop text, and chunks are slices of it with nothing lost",
			`use "end" or "start", or leave it out`)
	case c.keepGiven && c.Separators == nil:
		return wrong("keep_separator", "means nothing without separators: recursive's own stay at the end of a chunk",
			`leave it out, or give "separators"`)
	case c.Separators != nil && len(c.Separators) == 0:
		return wrong("separators", fmt.Sprintf("has 0 values: it takes 1 to %d", maxSeparators), "leave it out for the default")
	}
	if c.KeepSeparator == keepAtEnd {
		c.KeepSeparator = ""
	}
	for _, s := range c.Separators {
		if s == "" {
			return wrong("separators", `"" is not a separator: any character is what comes last by itself`, `leave "" out`)
		}
	}
	return c.checkEach(wrong)
}

func (c *compat) checkEach(wrong func(param, problem, suggestion string) *ParamError) *ParamError {
	for _, s := range c.Separators {
		if len(s) > maxSeparatorBytes {
			return wrong("separators", fmt.Sprintf("%s is %d bytes long, above %d", quote(s), len(s), maxSeparatorBytes),
				"use a shorter one")
		}
		if strings.Contains(s, "\x00") {
			return wrong("separators", quote(s)+" holds a NUL, which no text does", "leave it out")
		}
	}
	return nil
}

// Split cuts text as the type says.
func (l *langchain) Split(text string) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		var held Chunk // what comes next may hold all of it
		some := false
		for c := range langchainChunks(text, l.separators, l.ChunkSize, l.ChunkOverlap, l.size) {
			if skipSpace(text, c.Start, c.End) == c.End || some && c.End == held.End {
				continue
			}
			if some && c.Start != held.Start && !yield(held) {
				return
			}
			held, some = c, true
		}
		if !some {
			return
		}
		if skipSpace(text, held.End, len(text)) == len(text) {
			held.Boundary, held.Reason = End, AtEnd
		}
		yield(held)
	}
}

// langchainChunks yields every chunk that LangChain makes, also those that Split leaves out. Neither their starts nor
// their ends ever go back. length is of a piece; sizes are sums of it.
func langchainChunks(text string, separators []string, size, overlap int, length func(string) int) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		w := langchainWalk{text: text, size: size, overlap: overlap, length: length, yield: yield}
		w.split(0, len(text), separators)
	}
}

// langchainWalk is one walk over a text. Its methods that report go on are false when nobody wants more.
type langchainWalk struct {
	text          string
	size, overlap int
	length        func(string) int
	yield         func(Chunk) bool

	// The pieces that are being merged are pieces[first:]; they lie one behind the other, and total is the sum of their
	// sizes.
	pieces       []langchainPiece
	first, total int

	// What is known of white space, so that none is read twice: text[x:ink] is white space for each start x of a chunk to
	// come that is before ink; inkEnd is where the last ink before scanned ends.
	ink, scanned, inkEnd int
}

type langchainPiece struct{ start, size int }

// split splits text[lo:hi] and yields its chunks.
func (w *langchainWalk) split(lo, hi int, separators []string) (more bool) {
	separator, deeper := "", false
	if len(separators) > 0 {
		separator = separators[len(separators)-1]
	}
	for i, s := range separators {
		if s == "" || strings.Contains(w.text[lo:hi], s) {
			separator, deeper, separators = s, s != "", separators[i+1:]
			break
		}
	}
	cut := Separator
	if separator == "" {
		cut = Character
	}
	for at := lo; at < hi; {
		end := hi
		if separator == "" {
			_, n := utf8.DecodeRuneInString(w.text[at:hi])
			end = at + n
		} else if i := strings.Index(w.text[at+1:hi], separator); i >= 0 {
			end = at + 1 + i
		}
		n := w.length(w.text[at:end])
		switch {
		case n < w.size:
			more = w.add(langchainPiece{at, n}, cut)
		case !w.flush(at):
			return false
		case deeper:
			more = w.split(at, end, separators)
		default:
			more = w.yield(Chunk{Span: Span{at, end}, Boundary: cut})
		}
		if !more {
			return false
		}
		at = end
	}
	return w.flush(hi)
}

// add merges one more piece; where it does not fit, the ones before it are a chunk, which ends at a place of kind b.
func (w *langchainWalk) add(p langchainPiece, b Boundary) (more bool) {
	if w.total+p.size > w.size && w.first < len(w.pieces) {
		if !w.emit(w.pieces[w.first].start, p.start, b) {
			return false
		}
		for w.total > w.overlap || w.total+p.size > w.size && w.total > 0 {
			w.total -= w.pieces[w.first].size
			w.first++
		}
		if w.first > len(w.pieces)/2 {
			w.pieces = slices.Delete(w.pieces, 0, w.first)
			w.first = 0
		}
	}
	w.pieces = append(w.pieces, p)
	w.total += p.size
	return true
}

// flush makes a chunk of the pieces there are, the last of which ends at end.
func (w *langchainWalk) flush(end int) (more bool) {
	more = w.first == len(w.pieces) || w.emit(w.pieces[w.first].start, end, Separator)
	w.pieces, w.first, w.total = w.pieces[:0], 0, 0
	return more
}

// emit yields text[start:end] without the white space around it, if anything is left.
func (w *langchainWalk) emit(start, end int, b Boundary) (more bool) {
	if w.ink = skipSpace(w.text, max(w.ink, start), end); w.ink == end {
		return true
	}
	from := max(w.scanned, start)
	if i := spaceStart(w.text, from, end); i > from {
		w.inkEnd = i
	}
	w.scanned = end
	return w.yield(Chunk{Span: Span{w.ink, w.inkEnd}, Boundary: b})
}
