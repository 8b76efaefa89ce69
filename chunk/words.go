package chunk

import (
	"unicode"
	"unicode/utf8"
)

// A word is a run of characters that are not white space, but every character of Chinese or Japanese (wide) is a word
// of its own. Counted is what starts a word: each wide character, and each other one that is not white space and
// follows none of its kind. So a text that is cut inside of a word has one word more in its parts.

// wide reports whether r is a character or a mark of Chinese or Japanese, or one of their full width or half width
// forms. Korean, which has spaces, is not wide.
func wide(r rune) bool {
	switch {
	case r < 0x2E80:
		return false
	case r <= 0x2FDF, // radicals
		r >= 0x3001 && r <= 0x312F,                             // marks, kana, bopomofo
		r >= 0x3190 && r <= 0x31FF,                             // annotations, bopomofo, strokes, kana
		r >= 0x3220 && r <= 0x3247, r >= 0x3280 && r <= 0x4DBF, // enclosed and squared, ideographs
		r >= 0x4E00 && r <= 0x9FFF, r >= 0xF900 && r <= 0xFAFF, // ideographs
		r >= 0xFE30 && r <= 0xFE4F, r >= 0xFF01 && r <= 0xFF9F, // vertical, full and half width forms
		r >= 0x1B000 && r <= 0x1B16F, r >= 0x20000 && r <= 0x3FFFF: // kana, ideographs
		return true
	}
	return false
}

// afterWords returns the furthest j for which text[i:j] holds at most n words, after which white space is free.
func afterWords(text string, i, n int) int {
	inside := false
	for i < len(text) {
		b := text[i]
		if b < utf8.RuneSelf {
			if asciiSpace[b] {
				inside = false
			} else if !inside {
				if n == 0 {
					return i
				}
				n--
				inside = true
			}
			i++
			continue
		}
		r, w := utf8.DecodeRuneInString(text[i:])
		switch {
		case unicode.IsSpace(r):
			inside = false
		case wide(r):
			if n == 0 {
				return i
			}
			n--
			inside = false
		case !inside:
			if n == 0 {
				return i
			}
			n--
			inside = true
		}
		i += w
	}
	return i
}

// beforeWords returns the last j in [start, i] for which text[j:i] holds n words, or start when it holds fewer.
func beforeWords(text string, i, n, start int) int {
	for i > start && n > 0 {
		r, w := utf8.DecodeLastRuneInString(text[start:i])
		i -= w
		switch {
		case unicode.IsSpace(r):
		case wide(r):
			n--
		default: // the word starts here unless it goes on
			if r, _ := utf8.DecodeLastRuneInString(text[start:i]); i == start || unicode.IsSpace(r) || wide(r) {
				n--
			}
		}
	}
	return i
}

// countWords is how many words s holds.
func countWords(s string) int {
	n := 0
	for i := 0; i < len(s); n++ {
		if i = skipSpace(s, i, len(s)); i == len(s) {
			break
		}
		i = afterWords(s, i, 1)
	}
	return n
}
