package chunk

import (
	"unicode"
	"unicode/utf8"
)

// clusterReach is how many runes a cut moves to stay out of a grapheme cluster. A longer cluster is cut at the limit:
// no writing system needs one, and the bound keeps text made of combining marks linear.
const clusterReach = 32

// isBreak reports whether a cut at i, 0 < i < len(text), separates two grapheme clusters. i lies on a rune boundary.
//
// It follows the rules of UAX #29, section 3.1.1, as far as two neighbouring runes and the general categories of
// package unicode tell: CR LF (GB3), controls (GB4), Hangul jamo (GB6 to GB8), combining marks, variation selectors,
// joiners, emoji modifiers and tags (GB9, GB9a), the rune after a zero width joiner (GB11, for any rune that is not
// ASCII), and pairs of regional indicators (GB12, GB13, over the last clusterReach of them). Approximated: every Mc
// counts as a spacing mark. Left out: prepended marks (GB9b) and conjuncts without a joiner (GB9c).
func isBreak(text string, i int) bool {
	if b := text[i]; b < utf8.RuneSelf {
		return b != '\n' || text[i-1] != '\r'
	}
	next, _ := utf8.DecodeRuneInString(text[i:])
	prev, _ := utf8.DecodeLastRuneInString(text[:i])
	switch {
	case unicode.IsControl(prev) || prev == '\u2028' || prev == '\u2029':
		return true
	case extends(next), prev == '\u200D' && next != utf8.RuneError:
		return false
	case isIndicator(next) && isIndicator(prev):
		return indicators(text[:i])%2 == 0
	case prev >= 0x1100 && prev <= 0x115F: // a leading consonant takes another one or a whole syllable
		return !(next >= 0x1100 && next <= 0x115F || next >= 0xAC00 && next <= 0xD7A3)
	}
	return true
}

// extends reports whether r belongs to the cluster of the rune before it.
func extends(r rune) bool {
	switch {
	case r < 0x300, r >= 0x3100 && r < 0xA66F, r >= 0xAC00 && r <= 0xD7A3: // most text: no table is asked
		return false
	case r == 0x200C || r == 0x200D, r == 0xFF9E || r == 0xFF9F,
		r >= 0x1160 && r <= 0x11FF, r >= 0xD7B0 && r <= 0xD7FB,
		r >= 0x1F3FB && r <= 0x1F3FF, r >= 0xE0020 && r <= 0xE007F:
		return true
	}
	return unicode.Is(unicode.M, r)
}

// isIndicator reports whether r is a regional indicator, half of a flag.
func isIndicator(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }

// indicators counts the regional indicators that text ends with, up to clusterReach of them.
func indicators(text string) int {
	n := 0
	for n < clusterReach {
		r, w := utf8.DecodeLastRuneInString(text)
		if !isIndicator(r) {
			break
		}
		text = text[:len(text)-w]
		n++
	}
	return n
}

// cutBack returns the last cluster boundary in (lo, hi], or hi when there is none within clusterReach runes.
// lo < hi < len(text), and hi lies on a rune boundary.
func cutBack(text string, lo, hi int) int {
	at := hi
	for range clusterReach {
		if isBreak(text, at) {
			return at
		}
		if at = floorRune(text, at-1); at <= lo {
			break
		}
	}
	return hi
}

// cutForward returns the first cluster boundary in [lo, hi], or lo when there is none within clusterReach runes.
// 0 < lo <= hi < len(text), both on rune boundaries.
func cutForward(text string, lo, hi int) int {
	at := lo
	for range clusterReach {
		if at == hi || isBreak(text, at) {
			return at
		}
		at += runeLen(text, at)
	}
	return lo
}
