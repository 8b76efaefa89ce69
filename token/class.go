package token

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class says what the patterns ask of a character.
type class uint8

const (
	letter  class = 1 << iota // \p{L}
	number                    // \p{N}
	space                     // \s: White_Space
	newline                   // [\r\n]
	upper                     // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
	lower                     // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
)

// other reports whether c is [^\s\p{L}\p{N}].
func (c class) other() bool { return c&(letter|number|space) == 0 }

// classes gives the class of every code point in two steps: the page that its high bits choose, and its place there.
// Equal pages are kept once.
type classes struct {
	ascii [utf8.RuneSelf]class
	page  [(unicode.MaxRune + 1) >> 8]uint8
	pages [][256]class
}

var classTable = sync.OnceValue(func() *classes {
	all := make([]class, unicode.MaxRune+1)
	for _, set := range []struct {
		table *unicode.RangeTable
		class class
	}{
		{unicode.L, letter}, {unicode.N, number}, {unicode.White_Space, space},
		{unicode.Lu, upper}, {unicode.Ll, lower},
		{unicode.Lt, upper}, {unicode.Lm, upper | lower}, {unicode.Lo, upper | lower}, {unicode.M, upper | lower},
	} {
		for _, r := range set.table.R16 {
			for c := int(r.Lo); c <= int(r.Hi); c += int(r.Stride) {
				all[c] |= set.class
			}
		}
		for _, r := range set.table.R32 {
			for c := int(r.Lo); c <= int(r.Hi); c += int(r.Stride) {
				all[c] |= set.class
			}
		}
	}
	for _, set := range newer {
		for _, r := range set.ranges {
			for c := r[0]; c <= r[1]; c++ {
				all[c] |= set.class
			}
		}
	}
	all['\n'] |= newline
	all['\r'] |= newline

	t := &classes{ascii: [utf8.RuneSelf]class(all)}
	seen := map[[256]class]uint8{}
	for i := range t.page {
		page := [256]class(all[i<<8:])
		at, ok := seen[page]
		if !ok {
			at = uint8(len(t.pages))
			seen[page] = at
			t.pages = append(t.pages, page)
		}
		t.page[i] = at
	}
	return t
})

// at returns the class of the character of text at i and how many bytes it has. A byte that belongs to no character of
// valid UTF-8 is one of no class. i < len(text).
func (t *classes) at(text string, i int) (class, int) {
	b := text[i]
	if b < utf8.RuneSelf {
		return t.ascii[b], 1
	}
	if b >= 0xE0 && b < 0xF0 && len(text)-i >= 3 && b != 0xE0 && b != 0xED {
		// Three bytes, where only the last two need a look: most of the scripts that are not short.
		b1, b2 := text[i+1], text[i+2]
		if b1&0xC0 == 0x80 && b2&0xC0 == 0x80 {
			r := uint32(b&0x0F)<<12 | uint32(b1&0x3F)<<6 | uint32(b2&0x3F)
			return t.pages[t.page[r>>8]][r&0xFF], 3
		}
		return 0, 1
	}
	r, w := utf8.DecodeRuneInString(text[i:])
	if r == utf8.RuneError && w == 1 {
		return 0, 1
	}
	return t.pages[t.page[r>>8]][r&0xFF], w
}

// run returns the end of the run of characters that have one of the classes, from i on.
func (t *classes) run(text string, i int, any class) int {
	for i < len(text) {
		if b := text[i]; b < utf8.RuneSelf {
			if t.ascii[b]&any == 0 {
				break
			}
			i++
			continue
		}
		c, w := t.at(text, i)
		if c&any == 0 {
			break
		}
		i += w
	}
	return i
}

// runOther is run for the characters that are neither white space, letter nor number.
func (t *classes) runOther(text string, i int) int {
	for i < len(text) {
		if b := text[i]; b < utf8.RuneSelf {
			if !t.ascii[b].other() {
				break
			}
			i++
			continue
		}
		c, w := t.at(text, i)
		if !c.other() {
			break
		}
		i += w
	}
	return i
}
