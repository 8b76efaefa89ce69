package extract

import (
	"bytes"
	_ "embed"
	"math"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// guessWide looks for UTF-16 and UTF-32 without a byte order mark in data that has NUL bytes, as those encodings have
// for every space and line end, or many other bytes that no text has. sure is 0 when it is none of them, or not clear.
func guessWide(data []byte) (name string, sure float64) {
	sample := data[:min(len(data), sampleBytes)]
	nul, controls := 0, 0
	for _, b := range sample {
		if b == 0 {
			nul++
		}
		if control(rune(b)) {
			controls++
		}
	}
	if many := controls*4 >= len(sample); !many && (nul == 0 || utf8.Valid(sample)) {
		return "", 0 // at most a text with a stray NUL in it
	}
	best := 0.0
	for _, c := range []struct {
		name string
		unit int
	}{{"utf-32le", 4}, {"utf-32be", 4}, {"utf-16le", 2}, {"utf-16be", 2}} {
		if len(data) < c.unit || len(data)%c.unit != 0 {
			continue
		}
		ascii, pages, all, ok := plausible(findCharset(c.name), sample)
		// Text keeps to a few blocks of 256 characters, or has spaces and line ends, or is long enough to have shown a
		// character that does not exist. UTF-32 needs none of that: few sequences are valid at all.
		if !ok || c.unit == 2 && pages > all/4+2 && ascii < all/20+1 && all < 400 {
			continue
		}
		if score := 1 + float64(2*ascii+all-pages)/float64(all); score > best {
			name, best = c.name, score
		}
		if c.unit == 4 && best > 0 {
			break
		}
	}
	return name, min(best, 1)
}

// plausible reports whether sample is text in c without anything that text does not have, how many of its characters are
// ASCII, and in how many blocks of 256 characters they all are.
func plausible(c *charset, sample []byte) (ascii, pages, all int, ok bool) {
	var state uint8
	var seen [(utf8.MaxRune + 1) >> 8]bool
	for len(sample) > 0 {
		r, n := c.next(&state, sample, false)
		if n == 0 {
			break
		}
		if r < 0 || control(r) || odd(r) {
			return 0, 0, 0, false
		}
		if r < utf8.RuneSelf {
			ascii++
		}
		if !seen[r>>8] {
			seen[r>>8] = true
			pages++
		}
		all++
		sample = sample[n:]
	}
	return ascii, pages, all, all > 0
}

// control reports whether r is an ASCII control character that no text has.
func control(r rune) bool {
	return r == 0x7f || 0 <= r && r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f' && r != 0x1b
}

// languages.txt has what a language's letters are and how they follow each other; languages/train.go makes it.
//
//go:embed languages.txt
var languagesText string

// A language says how surprising a text is in it, in quarters of a bit.
type language struct {
	class map[rune]uint8 // of a letter; see classOf
	n     int            // classes
	latin bool           // its commonest letter is an ASCII letter
	pair  []uint8        // by class of the one before * n + class
	char  map[rune]uint8 // instead of the above, where a script has thousands of characters
}

// Costs in quarters of a bit.
const (
	costFault   = 200 // a byte that the encoding does not allow
	costControl = 160 // a character that no text has: C1 controls, private use, unassigned
	costAlien   = 60  // a letter of no business in the language
	costCase    = 32  // a capital after a small letter
	costScript  = 40  // another script than the Latin, in a text of mostly ASCII letters
	costRare    = 72  // a Han character or Hangul syllable the language's table does not have
)

var languages = sync.OnceValue(func() map[string]*language {
	all := map[string]*language{}
	for part := range strings.SplitSeq(strings.TrimSuffix(languagesText, "\n\n"), "\n\n") {
		head, rest, _ := strings.Cut(part, "\n")
		name, letters, alphabetic := strings.Cut(head, " ")
		l := &language{}
		all[name] = l
		if !alphabetic {
			l.char = map[rune]uint8{}
			for line := range strings.SplitSeq(rest, "\n") {
				for _, r := range line[1:] {
					l.char[r] = line[0] - '!'
				}
			}
			continue
		}
		l.class = map[rune]uint8{}
		for i, r := range []rune(letters) {
			l.class[r] = uint8(i + 3)
		}
		l.n, l.latin = len(l.class)+3, letters[0] < utf8.RuneSelf
		for line := range strings.SplitSeq(rest, "\n") {
			for _, c := range []byte(line) {
				l.pair = append(l.pair, c-'!')
			}
		}
	}
	return all
})

// candidates are the encodings that a source without a declaration may be in, each with the languages that people wrote
// in it, and how much better than others it must be, in quarters of a bit. Where two read a source as the same text, the
// first is named.
var candidates = []struct {
	name, languages string
	handicap        int
}{
	{"windows-1252", "en fr de es pt it nl sv da nb fi is ca eu ga sq", 0},
	{"windows-1251", "ru uk bg sr mk be", 0},
	{"windows-1250", "pl cs sk hu ro hr sl sq de", 4},
	{"shift_jis", "ja", 0}, {"euc-jp", "ja", 0},
	{"gb18030", "zh_CN zh_TW", 0}, {"big5", "zh_TW", 0}, {"euc-kr", "ko", 0},
	{"windows-1253", "el", 0}, {"windows-1254", "tr", 4}, {"windows-1255", "he", 0}, {"windows-1256", "ar", 0},
	{"windows-1257", "lt lv et", 4}, {"windows-1258", "vi", 4}, {"windows-874", "th", 0},
	{"koi8-r", "ru bg", 0}, {"koi8-u", "uk be", 4},
	{"iso-8859-2", "pl cs sk hu ro hr sl sq de", 8}, {"iso-8859-5", "ru uk bg sr mk be", 8}, {"iso-8859-6", "ar", 4},
	{"iso-8859-7", "el", 4}, {"iso-8859-8", "he", 4}, {"iso-8859-15", "en fr de es pt it nl sv da nb fi is ca eu ga sq", 8},
	{"iso-8859-13", "lt lv et", 12}, {"iso-8859-4", "lt lv et", 40}, {"iso-8859-3", "eo", 24},
	{"iso-8859-10", "is lt", 32}, {"iso-8859-14", "cy ga", 24}, {"iso-8859-16", "ro pl hu hr sl", 20},
	{"ibm866", "ru be bg", 16}, {"x-mac-cyrillic", "ru uk sr mk be bg", 20},
	{"macintosh", "en fr de es pt it nl sv da nb fi is ca", 20},
	{"utf-16le", "zh_CN zh_TW ja ko", 24}, {"utf-16be", "zh_CN zh_TW ja ko", 24},
}

// guess finds the encoding in which data, which is not valid UTF-8, is the least surprising text. sure grows from 0 to 1
// with the distance to the next best that reads it as another text.
func guess(data []byte) (name string, sure float64) {
	if ok, sure := nearlyUTF8(data); ok {
		return "utf-8", sure
	}
	sample, whole := telling(data)
	latin := mostlyLatin(sample)
	type read struct {
		name string
		text string
		cost int
	}
	var best, next read
	best.cost, next.cost = 1<<60, 1<<60
	for _, c := range candidates {
		if wide(c.name) && (!whole || len(data)%2 != 0) {
			continue
		}
		runes, ok := readAs(findCharset(c.name), sample)
		if !ok {
			continue
		}
		cost := 1 << 60
		for l := range strings.FieldsSeq(c.languages) {
			cost = min(cost, languages()[l].cost(runes, cost))
		}
		first, _, _ := strings.Cut(c.languages, " ")
		if latin && !languages()[first].latin {
			cost += costScript
		}
		r := read{c.name, string(runes), cost + c.handicap}
		switch {
		case r.cost < best.cost:
			if r.text != best.text {
				next = best
			}
			best = r
		case r.cost < next.cost && r.text != best.text:
			next = r
		}
	}
	if best.name == "" {
		return "windows-1252", 0 // nothing reads it; this one has a character for every byte
	}
	margin := float64(next.cost - best.cost)
	return best.name, math.Round(100*margin/(margin+80)) / 100
}

// mostlyLatin reports whether a sample has four ASCII letters for every byte beyond ASCII.
func mostlyLatin(sample []byte) bool {
	letters, high := 0, 0
	for _, b := range sample {
		if b >= utf8.RuneSelf {
			high++
		} else if 'a' <= b|0x20 && b|0x20 <= 'z' {
			letters++
		}
	}
	return letters >= 4*high
}

// nearlyUTF8 reports whether data is UTF-8 with a few faults: four times as many characters of several bytes as faults.
func nearlyUTF8(data []byte) (ok bool, sure float64) {
	good, faults := 0, 0
	var state uint8
	for at := 0; at < len(data); {
		if data[at] < utf8.RuneSelf {
			at++
			continue
		}
		r, n := nextUTF8(&state, data[at:], true)
		if r == bad {
			faults++
		} else {
			good++
		}
		at += n
	}
	return good > 1 && good >= 4*faults, 1 - float64(faults)/float64(good+1)
}

// sampleBytes is how much of a source a guess looks at.
const sampleBytes = 2 << 10

// telling gives the lines of data that are not ASCII, up to 2 KiB, as only these differ between the candidates; none of
// them has a line end inside a character. whole says that this is all of data.
func telling(data []byte) (sample []byte, whole bool) {
	if len(data) <= sampleBytes {
		return data, true
	}
	for line := range bytes.Lines(data) {
		if plain(line) == len(line) {
			continue
		}
		sample = append(sample, line[:min(len(line), sampleBytes)]...)
		if len(sample) >= sampleBytes {
			break
		}
	}
	return sample, false
}

// readAs decodes a sample for a guess, its cut-off end left out. It is false where more than one character in thirty is
// a fault.
func readAs(c *charset, sample []byte) (runes []rune, ok bool) {
	var state uint8
	faults, high := 0, 0
	for at := 0; at < len(sample); {
		r, n := c.next(&state, sample[at:], false)
		if n == 0 {
			break
		}
		if r == bad {
			faults++
		} else if r <= pairs {
			r = utf8.RuneError
		}
		if r != quiet {
			runes = append(runes, r)
		}
		if sample[at] >= utf8.RuneSelf {
			high++
		}
		at += n
	}
	return runes, faults*30 <= high || faults == 1 && high > 8
}

// cost says how surprising a text is; it gives up beyond limit. Only what is not ASCII, and what stands beside it, counts:
// of the rest all candidates think alike.
func (l *language) cost(text []rune, limit int) (sum int) {
	var before rune = ' '
	var class, lower = uint8(0), false
	for _, r := range text {
		ascii := before < utf8.RuneSelf && 0 <= r && r < utf8.RuneSelf
		switch {
		case r == bad:
			sum += costFault
		case control(r) || r >= utf8.RuneSelf && odd(r):
			sum += costControl
		case l.char != nil:
			if r >= utf8.RuneSelf {
				if c, ok := l.char[r]; ok {
					sum += int(c)
				} else {
					sum += costRare
				}
			}
		}
		if l.char == nil && r != bad {
			folded := fold(r)
			c := l.classOf(folded)
			if !ascii {
				if c == 2 || class == 2 {
					sum += costAlien
				} else {
					sum += int(l.pair[int(class)*l.n+int(c)])
				}
				if folded != r && lower {
					sum += costCase
				}
			}
			class = c
			lower = c > 2 && folded == r && unicode.IsLower(r)
		}
		if sum > limit {
			break
		}
		before = r
	}
	return sum
}

// classOf is 0 for what stands between words, 1 for punctuation beyond ASCII, 2 for what the language does not have,
// and else the letter's number.
func (l *language) classOf(r rune) uint8 {
	if c, ok := l.class[r]; ok {
		return c
	}
	switch {
	case r < utf8.RuneSelf || unicode.IsSpace(r):
		return 0
	case typographic(r):
		return 1
	}
	return 2
}

// typographic is the punctuation and the signs that texts of all languages have: not box drawing and mathematics.
func typographic(r rune) bool {
	return 0xa1 <= r && r <= 0xbf && r != 0xaa && r != 0xb5 && r != 0xba || 0x2010 <= r && r <= 0x203a ||
		r == '€' || r == '№' || r == '™'
}

// fold takes letters as one that differ in case, or in the comma and the cedilla of Romanian, of which the older
// encodings have only the latter.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	switch r = unicode.ToLower(r); r {
	case 'ș':
		return 'ş'
	case 'ț':
		return 'ţ'
	}
	return r
}

// odd reports whether no text has the character.
func odd(r rune) bool {
	return 0x80 <= r && r < 0xa0 || unicode.Is(unicode.Co, r) || r == utf8.RuneError ||
		!unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r)
}
