package chunk

import (
	"iter"
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// recursive ends each chunk at the best boundary the limit allows. The levels, best first:
//
//	blank line   after a line end (LF, CR LF) whose line is empty or holds only spaces and tabs
//	line end     after any other line end
//	sentence     after white space behind . ! ? … or a full stop of another script; after 。！？．｡ at once
//	clause       after white space behind , ; : or a comma of another script; after ，、；：､ at once
//	white space  after any other white space but no-break spaces; where it holds a line end, only there
//
// Up to four closing quotes or brackets may stand between the mark and the boundary; marks written without a space
// after them are kept together with the marks and closers that follow. A separator always stays at the end of the chunk
// it closes, and a boundary never splits CR LF or a grapheme cluster.
//
// The rule: of the boundaries in the second half of chunk_size, counted in the unit, the last one of the best level
// found there; with none there, the last boundary of any level in the first half; with none at all, the cut of
// fixed_size at the limit. Boundaries before the first character that is new in this chunk, or within the first
// chunk_overlap units, do not count.
//
// The search goes back from the limit, so a pull costs the chunk, not the document, and examines nothing beyond the
// limit of the chunk it yields but the one rune after it; in tokens, no more than the limit times the length of the
// longest token. There the halves are told to a whole piece (a word, about), and a boundary that would make more tokens
// than the limit, which less text can do, does not count.
//
// With the setting separators they are the levels instead: see separated. With the setting compat it cuts as another
// library does: see langchain.
type recursive struct {
	sizing
	compat
}

const recursiveSummary = "Cuts at the best boundary under the size limit: blank line, line end, sentence, clause, " +
	"white space, then any character."

func (r *recursive) fields() []field { return append(r.sizing.fields(), r.compat.fields()...) }

func (r *recursive) check(p Parser) *ParamError {
	if perr := r.sizing.check(p); perr != nil {
		return perr
	}
	return r.compat.check(&r.sizing)
}

// Split cuts text as the type says.
func (r *recursive) Split(text string) iter.Seq[Chunk] { return splitWalk(r, text) }

func (r *recursive) walk() walk {
	if r.Separators != nil {
		return separated{r.Separators, r.KeepSeparator == keepAtStart}.walk(r.sizing)
	}
	return newSizedWalk(r.sizing, cutAtBest)
}

func cutAtBest(text string, lo, mid, hi int) (int, Boundary) {
	from := max(lo, mid)
	if at, b := lastLine(text, from, hi); at > 0 {
		return at, b
	}
	if at, b := lastSoft(text, from, hi, false); at > 0 {
		return at, b
	}
	if lo < from {
		if at, b := lastSoft(text, lo, from, true); at > 0 {
			return at, b
		}
	}
	return cutBack(text, lo, hi), Character
}

// boundaryAt is the kind of place that i is, 0 < i < len(text).
func boundaryAt(text string, i int) Boundary {
	lo := floorRune(text, i-1)
	if at, b := lastLine(text, lo, i); at == i {
		return b
	}
	if at, b := lastSoft(text, lo, i, true); at == i {
		return b
	}
	return Character
}

// lastLine returns the end of the last blank line in (lo, hi], else of the last line, else 0.
func lastLine(text string, lo, hi int) (int, Boundary) {
	line := 0
	for i := lastNewline(text, lo, hi); i >= 0; i = lastNewline(text, lo, i) {
		k := i - 1
		for k >= 0 && (text[k] == ' ' || text[k] == '\t' || text[k] == '\r') {
			k--
		}
		if k >= 0 && text[k] == '\n' {
			return i + 1, Paragraph
		}
		if line == 0 {
			line = i + 1
		}
	}
	return line, Line
}

// lastNewline returns the index of the last '\n' in text[lo:hi], or -1. strings.LastIndexByte goes byte by byte.
func lastNewline(text string, lo, hi int) int {
	for hi-lo >= 16 {
		a, b := load8(text, hi-8)^('\n'*lows), load8(text, hi-16)^('\n'*lows)
		if ((a-lows)&^a|(b-lows)&^b)&highs != 0 {
			if z := zeros(a); z != 0 {
				return hi - 1 - bits.LeadingZeros64(z)/8
			}
			return hi - 9 - bits.LeadingZeros64(zeros(b))/8
		}
		hi -= 16
	}
	for hi--; hi >= lo; hi-- {
		if text[hi] == '\n' {
			return hi
		}
	}
	return -1
}

// zeros has 0x80 in each byte of w that is zero, and only there; the shorter test above may also mark bytes over one.
func zeros(w uint64) uint64 {
	const rest = 0x7F * lows
	return ^((w&rest + rest) | w | rest)
}

// lastSoft returns the last boundary of the best level in (lo, hi], or of any level when anyLevel is set, or 0. Unless
// anyLevel is set there is no line end in text[lo:hi]. Each run of white space is read once, so the time is linear.
func lastSoft(text string, lo, hi int, anyLevel bool) (at int, best Boundary) {
	// better keeps a boundary and reports whether the search is over. Boundaries come in order, the last first.
	better := func(found Boundary, i int) bool {
		if found > best {
			best, at = found, i
		}
		return best == Sentence || anyLevel && best != Character
	}
	i := hi
	for i > lo {
		if i-lo >= 8 {
			// Skip what is neither white space nor beyond ASCII: bytes of 0x21 to 0x7F. Some 0x21 may stop it too.
			w := load8(text, i-8)
			skip := bits.LeadingZeros64((w|(w-0x21*lows))&highs) / 8
			if i -= skip; skip == 8 {
				continue
			}
		}
		b := text[i-1]
		if b < utf8.RuneSelf && !asciiSpace[b] {
			i--
			continue
		}
		if b == '\n' && anyLevel {
			return i, Line
		}
		r, w := rune(b), 1
		if b >= utf8.RuneSelf {
			r, w = utf8.DecodeLastRuneInString(text[:i])
		}
		switch {
		case b == ' ' || breakingSpace(r):
			if !isBreak(text, i) {
				i -= w
				continue
			}
			found, prev := spaceLevel(text, i)
			if better(found, i) {
				return at, best
			}
			i = prev
		case wideMark(r) != Character:
			if j := closeMark(text, i, hi); j > 0 && better(wideMark(r), j) {
				return at, best
			}
			i -= w
		default:
			i -= w
		}
	}
	// A mark at or before lo may have closers that reach beyond it.
	for range 5 {
		r, w := utf8.DecodeLastRuneInString(text[:i])
		if found := wideMark(r); found != Character {
			if j := closeMark(text, i, hi); j > lo {
				better(found, j)
			}
			break
		}
		if !isCloser(r) {
			break
		}
		i -= w
	}
	return at, best
}

// closeMark returns the boundary that belongs to the wide mark before i, behind at most four closers; it is 0 when there
// is none up to hi, or when another mark or closer follows.
func closeMark(text string, i, hi int) int {
	for n := 0; i <= hi; n++ {
		r, w := utf8.DecodeRuneInString(text[i:])
		switch {
		case isCloser(r) && n < 4:
			i += w
		case isCloser(r) || wideMark(r) != Character || !isBreak(text, i):
			return 0
		default:
			return i
		}
	}
	return 0
}

// spaceLevel is the level of the boundary at i, which follows white space, and where the search goes on: at the start
// of that white space, or at the line end in it (then there is no boundary at i). It may look before the range of the
// search, but no further than the first character of the chunk.
func spaceLevel(text string, i int) (Boundary, int) {
	for k := i; ; {
		b := text[k-1]
		w := 1
		if b >= utf8.RuneSelf {
			var r rune
			if r, w = utf8.DecodeLastRuneInString(text[:k]); !unicode.IsSpace(r) {
				b = 'x'
			} else {
				b = ' '
			}
		}
		if b == '\n' {
			return Character, k
		}
		if !asciiSpace[b] {
			return max(Word, markLevel(text, k)), k
		}
		if k -= w; k <= 0 {
			return Word, 0
		}
	}
}

// markLevel is the level of the mark before i, seen through at most four closers.
func markLevel(text string, i int) Boundary {
	for range 5 {
		r, w := utf8.DecodeLastRuneInString(text[:i])
		if l := anyMark(r); l != Character {
			return l
		}
		if !isCloser(r) {
			break
		}
		i -= w
	}
	return Character
}

// breakingSpace reports whether r is white space after which a line may break: not the no-break spaces U+00A0, U+2007
// and U+202F.
func breakingSpace(r rune) bool {
	switch r {
	case '\t', '\v', '\f', '\r', ' ', '\u0085', '\u1680', '\u2028', '\u2029', '\u205F', '\u3000':
		return true
	}
	return r >= '\u2000' && r <= '\u200A' && r != '\u2007'
}

// wideMark is the level of a mark that needs no white space after it.
func wideMark(r rune) Boundary {
	switch r {
	case '。', '！', '？', '．', '｡':
		return Sentence
	case '，', '、', '；', '：', '､':
		return Clause
	}
	return Character
}

// anyMark is the level of a mark that white space follows.
func anyMark(r rune) Boundary {
	switch r {
	case '.', '!', '?', '…', '؟', '۔', '।', '॥':
		return Sentence
	case ',', ';', ':', '،', '؛':
		return Clause
	}
	return wideMark(r)
}

// isCloser reports whether r closes a quotation or a bracket, and so belongs to the sentence before it.
func isCloser(r rune) bool {
	switch r {
	case '"', '\'', ')', ']', '}', '’', '”', '»', '」', '』', '）', '】', '》', '〉', '〕', '］', '｝', '｣':
		return true
	}
	return false
}
