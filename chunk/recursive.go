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
// limit of the chunk it yields but the one rune after it.
type recursive struct{ sizing }

const recursiveSummary = "Cuts at the best boundary under the size limit: blank line, line end, sentence, clause, " +
	"white space, then any character."

func (r *recursive) Split(text string) iter.Seq[Span] { return r.spans(text, cutAtBest) }

func cutAtBest(text string, lo, mid, hi int) int {
	from := max(lo, mid)
	if at := lastLine(text, from, hi); at > 0 {
		return at
	}
	if at := lastSoft(text, from, hi, false); at > 0 {
		return at
	}
	if lo < from {
		if at := lastSoft(text, lo, from, true); at > 0 {
			return at
		}
	}
	return cutBack(text, lo, hi)
}

// lastLine returns the end of the last blank line in (lo, hi], else of the last line, else 0.
func lastLine(text string, lo, hi int) int {
	line := 0
	for i := lastNewline(text, lo, hi); i >= 0; i = lastNewline(text, lo, i) {
		k := i - 1
		for k >= 0 && (text[k] == ' ' || text[k] == '\t' || text[k] == '\r') {
			k--
		}
		if k >= 0 && text[k] == '\n' {
			return i + 1
		}
		if line == 0 {
			line = i + 1
		}
	}
	return line
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

// level ranks what lastSoft looks for. A line end counts there only when any boundary will do.
type level int

const (
	levelNone level = iota
	levelSpace
	levelClause
	levelSentence
)

// lastSoft returns the last boundary of the best level in (lo, hi], or of any level when anyLevel is set, or 0. Unless
// anyLevel is set there is no line end in text[lo:hi]. Each run of white space is read once, so the time is linear.
func lastSoft(text string, lo, hi int, anyLevel bool) int {
	clause, space := 0, 0
	for i := hi; i > lo; {
		if i-lo >= 8 {
			// Skip what is neither white space nor beyond ASCII: bytes of 0x21 to 0x7F. Some 0x21 may stop it too.
			w := load8(text, i-8)
			skip := bits.LeadingZeros64((w|(w-0x21*lows))&highs) / 8
			if i -= skip; skip == 8 {
				continue
			}
		}
		b := text[i-1]
		found, prev := levelNone, i-1
		switch {
		case b < utf8.RuneSelf:
			if !asciiSpace[b] {
				i--
				continue
			}
			if b == '\n' {
				if anyLevel {
					return i
				}
			} else if isBreak(text, i) {
				found, prev = spaceLevel(text, lo, i)
			}
		default:
			r, w := utf8.DecodeLastRuneInString(text[:i])
			prev = i - w
			switch {
			case breakingSpace(r):
				if isBreak(text, i) {
					found, prev = spaceLevel(text, lo, i)
				}
			case wideMark(r) != levelNone || isCloser(r):
				if q, _ := utf8.DecodeRuneInString(text[i:]); wideMark(q) == levelNone && !isCloser(q) && isBreak(text, i) {
					found = markLevel(text, i, wideMark)
				}
			}
		}
		switch {
		case found == levelNone:
		case found == levelSentence || anyLevel:
			return i
		case found == levelClause && clause == 0:
			clause = i
		case found == levelSpace && space == 0:
			space = i
		}
		i = prev
	}
	if clause > 0 {
		return clause
	}
	return space
}

// spaceLevel is the level of the boundary at i, which follows white space, and where the search goes on: at the start
// of that white space, or at the line end in it (then there is no boundary at i). It may look past lo, but not past the
// first character of the chunk.
func spaceLevel(text string, lo, i int) (level, int) {
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
			return levelNone, k
		}
		if !asciiSpace[b] {
			return max(levelSpace, markLevel(text, k, anyMark)), k
		}
		if k -= w; k <= 0 {
			return levelSpace, 0
		}
	}
}

// markLevel is the level of the mark before i, seen through at most four closers.
func markLevel(text string, i int, mark func(rune) level) level {
	for range 5 {
		r, w := utf8.DecodeLastRuneInString(text[:i])
		if l := mark(r); l != levelNone {
			return l
		}
		if !isCloser(r) {
			break
		}
		i -= w
	}
	return levelNone
}

// breakingSpace reports whether r is white space beyond ASCII after which a line may break: not the no-break spaces
// U+00A0, U+2007 and U+202F.
func breakingSpace(r rune) bool {
	switch r {
	case '\u0085', '\u1680', '\u2028', '\u2029', '\u205F', '\u3000':
		return true
	}
	return r >= '\u2000' && r <= '\u200A' && r != '\u2007'
}

// wideMark is the level of a mark that needs no white space after it.
func wideMark(r rune) level {
	switch r {
	case '。', '！', '？', '．', '｡':
		return levelSentence
	case '，', '、', '；', '：', '､':
		return levelClause
	}
	return levelNone
}

// anyMark is the level of a mark that white space follows.
func anyMark(r rune) level {
	switch r {
	case '.', '!', '?', '…', '؟', '۔', '।', '॥':
		return levelSentence
	case ',', ';', ':', '،', '؛':
		return levelClause
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
