package chunk

import "unicode/utf8"

// A word of eight bytes is worked on at once: in lows every byte is 0x01, in highs 0x80.
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

// tails has 0x01 in each byte of w that continues a rune (10xxxxxx), else 0x00.
func tails(w uint64) uint64 { return (w >> 7) &^ (w >> 6) & lows }

// sum adds up the eight bytes of w; each must be small enough that the total is below 256.
func sum(w uint64) int { return int(w * lows >> 56) }

// isTail reports whether b continues a rune.
func isTail(b byte) bool { return b&0xC0 == 0x80 }

// Chars counts the code points of s: exactly utf8.RuneCountInString(s) when s is valid UTF-8. In any other string it
// counts the bytes that do not continue a rune. It allocates nothing.
func Chars(s string) int {
	tail, i := 0, 0
	for ; len(s)-i >= 32; i += 32 {
		a, b, c, d := load8(s, i), load8(s, i+8), load8(s, i+16), load8(s, i+24)
		if (a|b|c|d)&highs != 0 {
			tail += sum(tails(a) + tails(b) + tails(c) + tails(d))
		}
	}
	for ; i < len(s); i++ {
		if isTail(s[i]) {
			tail++
		}
	}
	return len(s) - tail
}

// after returns the furthest j in [i, end] for which text[i:j] holds at most n characters as Chars counts them.
func after(text string, i, n, end int) int {
	for n >= 32 && end-i >= 32 {
		a, b, c, d := load8(text, i), load8(text, i+8), load8(text, i+16), load8(text, i+24)
		n -= 32
		if (a|b|c|d)&highs != 0 {
			n += sum(tails(a) + tails(b) + tails(c) + tails(d))
		}
		i += 32
	}
	for n >= 8 && end-i >= 8 {
		n -= 8 - sum(tails(load8(text, i)))
		i += 8
	}
	for ; i < end; i++ {
		if !isTail(text[i]) {
			if n == 0 {
				break
			}
			n--
		}
	}
	return i
}

// before returns the nearest j in [start, i] for which text[j:i] holds n characters, or start when it holds fewer.
func before(text string, i, n, start int) int {
	for n > 32 && i-start >= 32 { // n stays above 0: the byte loop stops at the start of a rune
		a, b, c, d := load8(text, i-8), load8(text, i-16), load8(text, i-24), load8(text, i-32)
		n -= 32
		if (a|b|c|d)&highs != 0 {
			n += sum(tails(a) + tails(b) + tails(c) + tails(d))
		}
		i -= 32
	}
	for n > 8 && i-start >= 8 {
		n -= 8 - sum(tails(load8(text, i-8)))
		i -= 8
	}
	for n > 0 && i > start {
		i--
		if !isTail(text[i]) {
			n--
		}
	}
	return i
}

// onRune reports whether i, 0 <= i <= len(text), lies on a rune boundary: no valid encoding reaches across it. In valid
// UTF-8 these are the starts of runes and the end; a byte that belongs to no rune counts as a rune of its own.
func onRune(text string, i int) bool { return floorRune(text, i) == i }

// floorRune returns the last rune boundary at or before i.
func floorRune(text string, i int) int {
	if i <= 0 || i >= len(text) || !isTail(text[i]) {
		return i
	}
	for j := i - 1; j >= 0 && i-j < utf8.UTFMax; j-- {
		if !isTail(text[j]) {
			if _, w := utf8.DecodeRuneInString(text[j:]); j+w > i {
				return j
			}
			break
		}
	}
	return i
}

// ceilRune returns the first rune boundary at or after i.
func ceilRune(text string, i int) int {
	if j := floorRune(text, i); j < i {
		return j + runeLen(text, j)
	}
	return i
}

// runeLen is the number of bytes of the rune that starts at i, at least 1; i < len(text).
func runeLen(text string, i int) int {
	if text[i] < utf8.RuneSelf {
		return 1
	}
	_, w := utf8.DecodeRuneInString(text[i:])
	return w
}
