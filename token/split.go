package token

import "math/bits"

// A pattern is the regular expression by which an encoding cuts text into pieces; no token reaches across two pieces.
// The expressions are those of OpenAI's tiktoken, where no special token is recognised:
//
//	cl100k  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
//	        \s+(?!\S)|\s+
//	o200k   [^\r\n\p{L}\p{N}]?[U]*[L]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[U]+[L]*(?i:'s|…|'d)?|
//	        \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//	        where U is \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M} and L is \p{Ll}\p{Lm}\p{Lo}\p{M}
//	gpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Each method below that is named after one returns the end of the piece that starts at i, i < len(text).
type pattern uint8

const (
	cl100k pattern = iota
	o200k
	gpt2
)

// piece returns the end of the piece of text that starts at i, i < len(text). seen is how far that depends on the text,
// but for one contraction or character. unsure is set for white space that \s+ matched, in either alternative: if the
// text ended with it, all of such a run would be one piece.
func (p pattern) piece(t *classes, text string, i int) (end, seen int, unsure bool) {
	if end := p.word(text, i); end > 0 {
		return end, end, false
	}
	switch p {
	case cl100k:
		return t.cl100k(text, i)
	case o200k:
		return t.o200k(text, i)
	default:
		return t.gpt2(text, i)
	}
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// load8 reads text[i:i+8], the first byte lowest. The compiler makes one load of it.
func load8(text string, i int) uint64 {
	b := text[i : i+8]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// word is the short way for most pieces: up to nine ASCII characters, the first a space or a letter, the others
// letters, then an ASCII character that is not. Where case matters only the first letter may be upper. It returns 0
// when the piece is not of that kind.
func (p pattern) word(text string, i int) int {
	if len(text)-i < 10 {
		return 0
	}
	first := text[i]
	w := load8(text, i+1)
	folded := w&^highs | 0x20*lows
	// No sum below carries into the next byte: all bytes are below 0x80.
	letters := (folded + (0x80-'a')*lows) &^ (folded + (0x80-'z'-1)*lows) &^ w & highs
	n := bits.TrailingZeros64(letters^highs) / 8
	after := text[i+1+n]
	if first == ' ' {
		if n == 0 {
			return 0
		}
	} else if first|0x20 < 'a' || first|0x20 > 'z' {
		return 0
	}
	if n == 8 && (after|0x20 >= 'a' && after|0x20 <= 'z') || after >= 0x80 {
		return 0
	}
	if p == o200k {
		uppers := ^w & (0x20 * lows) & (1<<(8*n) - 1)
		if first == ' ' {
			uppers &^= 0xFF // of the first letter
		}
		if uppers != 0 || after == '\'' {
			return 0
		}
	}
	return i + 1 + n
}

// contraction returns the end of (?i:'s|'t|'re|'ve|'m|'ll|'d) at i, or i. Without regard to case ſ is an s too.
func contraction(text string, i int, fold bool) int {
	if len(text)-i < 2 || text[i] != '\'' {
		return i
	}
	a, b := text[i+1], byte(0)
	if len(text)-i > 2 {
		b = text[i+2]
	}
	if fold {
		if a == 0xC5 && b == 0xBF {
			return i + 3
		}
		if a >= 'A' && a <= 'Z' {
			a |= 0x20
		}
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
	}
	switch {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return i + 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return i + 3
	}
	return i
}

func (t *classes) cl100k(text string, i int) (end, seen int, unsure bool) {
	c, w := t.at(text, i)
	if c&letter != 0 {
		end = t.run(text, i+w, letter)
		return end, end, false
	}
	if text[i] == '\'' {
		if end := contraction(text, i, true); end > i {
			return end, end, false
		}
	}
	if c&number != 0 {
		end = t.numbers(text, i)
		return end, end, false
	}
	if c&newline == 0 {
		if end := t.run(text, i+w, letter); end > i+w {
			return end, end, false
		}
	}
	if end := t.others(text, i); end > i {
		for end < len(text) && (text[end] == '\n' || text[end] == '\r') {
			end++
		}
		return end, end, false
	}
	return t.blank(text, i, true)
}

func (t *classes) gpt2(text string, i int) (end, seen int, unsure bool) {
	if end := contraction(text, i, false); end > i {
		return end, end, false
	}
	from := i
	if text[i] == ' ' && i+1 < len(text) {
		from++
	}
	c, w := t.at(text, from)
	switch {
	case c&letter != 0:
		end = t.run(text, from+w, letter)
		return end, end, false
	case c&number != 0:
		end = t.run(text, from+w, number)
		return end, end, false
	case c.other():
		end = t.runOther(text, from+w)
		return end, end, false
	}
	return t.blank(text, i, false)
}

func (t *classes) o200k(text string, i int) (end, seen int, unsure bool) {
	c, w := t.at(text, i)
	if c&(letter|number|newline) == 0 {
		first, second, seen := t.cased(text, i+w)
		if first == 0 && c&lower != 0 { // a mark: it can be the first character, or one of L
			first, _, seen = t.cased(text, i)
		}
		if end := max(first, second); end > 0 {
			end = contraction(text, end, true)
			return end, max(end, seen), false
		}
	} else if c&letter != 0 {
		first, second, seen := t.cased(text, i)
		end = contraction(text, max(first, second), true)
		return end, max(end, seen), false
	}
	if c&number != 0 {
		end = t.numbers(text, i)
		return end, end, false
	}
	if end := t.others(text, i); end > i {
		for end < len(text) && (text[end] == '\n' || text[end] == '\r' || text[end] == '/') {
			end++
		}
		return end, end, false
	}
	return t.blank(text, i, true)
}

// cased returns the end of [U]*[L]+ at i in first, or else that of [U]+ in second, which no L follows, or else 0, 0.
// Many characters are in both sets, so [U]* gives back what [L]+ needs. seen is where it stopped to look.
func (t *classes) cased(text string, i int) (first, second, seen int) {
	end := i
	for end < len(text) {
		c, w := t.at(text, end)
		if c&upper == 0 {
			if c&lower != 0 {
				end = t.run(text, end+w, lower)
				return end, 0, end
			}
			break
		}
		if end += w; c&lower != 0 {
			first = end
		}
	}
	if first > 0 || end == i {
		return first, 0, end
	}
	return 0, end, end
}

// numbers is \p{N}{1,3}.
func (t *classes) numbers(text string, i int) int {
	for n := 0; n < 3 && i < len(text); n++ {
		c, w := t.at(text, i)
		if c&number == 0 {
			break
		}
		i += w
	}
	return i
}

// others is " ?[^\s\p{L}\p{N}]+", or i.
func (t *classes) others(text string, i int) int {
	from := i
	if text[i] == ' ' {
		from++
	}
	if end := t.runOther(text, from); end > from {
		return end
	}
	return i
}

// blank is \s*[\r\n]+ if lines is set, then \s+(?!\S), then \s+. There is white space at i.
func (t *classes) blank(text string, i int, lines bool) (end, seen int, unsure bool) {
	line, last := i, i
	for end = i; end < len(text); {
		c, w := t.at(text, end)
		if c&space == 0 {
			break
		}
		last = end
		if end += w; c&newline != 0 {
			line = end
		}
	}
	switch {
	case lines && line > i:
		return line, end, false
	case end == len(text) || last == i:
		return end, end, true
	default:
		return last, end, true
	}
}
