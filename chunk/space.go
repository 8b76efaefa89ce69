package chunk

import (
	"unicode"
	"unicode/utf8"
)

// asciiSpace is unicode.IsSpace for the bytes below utf8.RuneSelf.
var asciiSpace = [256]bool{'\t': true, '\n': true, '\v': true, '\f': true, '\r': true, ' ': true}

// skipSpace returns the start of the first rune in text[i:end] that is not white space (unicode.IsSpace), or end.
func skipSpace(text string, i, end int) int {
	for i < end {
		if b := text[i]; b < utf8.RuneSelf {
			if !asciiSpace[b] {
				return i
			}
			i++
			continue
		}
		r, w := utf8.DecodeRuneInString(text[i:end])
		if !unicode.IsSpace(r) {
			return i
		}
		i += w
	}
	return end
}

// spaceStart returns where the white space that ends at i begins, looking back no further than start; it is i when the
// rune before i is not white space.
func spaceStart(text string, start, i int) int {
	for i > start {
		if b := text[i-1]; b < utf8.RuneSelf {
			if !asciiSpace[b] {
				return i
			}
			i--
			continue
		}
		r, w := utf8.DecodeLastRuneInString(text[start:i])
		if !unicode.IsSpace(r) {
			return i
		}
		i -= w
	}
	return start
}
