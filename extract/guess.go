package extract

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// guessWide looks for UTF-16 and UTF-32 without a byte order mark in data that has NUL bytes, as those encodings have
// for every space and line end. sure is 0 when it is none of them.
func guessWide(data []byte) (name string, sure float64) {
	sample := data[:min(len(data), 4096)]
	nul, low := bytes.Count(sample, []byte{0}), 0
	for _, b := range sample {
		if b < ' ' && b != '\t' && b != '\n' && b != '\r' {
			low++
		}
	}
	if nul == 0 || utf8.Valid(sample) && low*4 < len(sample) {
		return "", 0 // a text with a stray NUL in it
	}
	best := 0
	for _, c := range []struct {
		name string
		unit int
	}{{"utf-32le", 4}, {"utf-32be", 4}, {"utf-16le", 2}, {"utf-16be", 2}} {
		if len(data)%c.unit != 0 {
			continue
		}
		spaces, ok := plausible(findCharset(c.name), sample)
		if ok && spaces > best {
			name, best = c.name, spaces
		}
	}
	if best == 0 {
		return "", 0
	}
	return name, 1
}

// plausible reports whether sample is text in c without anything that text does not have, and how many of its
// characters are ASCII.
func plausible(c *charset, sample []byte) (ascii int, ok bool) {
	var state uint8
	for len(sample) > 0 {
		r, n := c.next(&state, sample, false)
		if n == 0 {
			break
		}
		if r == '\t' || r == '\n' || r == '\r' || ' ' <= r && r < 0x7f {
			ascii++
		} else if r <= 0 || !unicode.IsPrint(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) {
			return 0, false
		}
		sample = sample[n:]
	}
	return ascii, ascii > 0
}

// guess
func guess(data []byte) (name string, sure float64) { return "windows-1252", 0 }
