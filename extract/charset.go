package extract

import (
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// Charset gives the canonical name of the encoding that label names, as the WHATWG Encoding Standard has it ("latin1"
// is windows-1252, "gb2312" and "gbk" are gb18030, "utf-16" is utf-16le), with utf-32le and utf-32be added, which that
// standard lacks. Case and surrounding white space do not matter. It is false for a label that no known encoding has.
func Charset(label string) (name string, ok bool) {
	label = strings.ToLower(strings.TrimSpace(label))
	switch label {
	case "utf-32", "utf32", "utf-32le", "ucs-4", "ucs4":
		return "utf-32le", true
	case "utf-32be":
		return "utf-32be", true
	}
	e, err := htmlindex.Get(label)
	if err != nil {
		return "", false
	}
	name, err = htmlindex.Name(e)
	if err != nil {
		return "", false
	}
	switch name {
	case "gbk":
		name = "gb18030" // a superset of it
	case "iso-8859-8-i":
		name = "iso-8859-8" // the same bytes; the two differ in the order a screen shows them in
	case "replacement", "x-user-defined":
		return "", false // no encodings of text
	}
	return name, true
}

// What next says instead of a character. Values below pairs stand for two characters: see pairText.
const (
	bad   rune = -1 - iota // n bytes that the encoding does not allow
	quiet                  // n bytes that change the state and stand for no text
	pairs
)

// A charset reads one encoding. next looks at the start of src, which is not empty, and gives the character and the
// number of bytes it is written in; n = 0 asks for more bytes and happens only when last is false. state is 0 at the
// start of a source.
type charset struct {
	name  string
	ascii bool // in state 0 a byte below 0x80 is itself
	// single has the character of each byte, where each byte is one; next does the same.
	single *[256]rune
	next   func(state *uint8, src []byte, last bool) (r rune, n int)
}

// findCharset wants a name that Charset gave. The table of an encoding is made when it is first used, by asking
// golang.org/x/text about every sequence, which takes milliseconds; a table that says how many bytes each character
// takes is what an offset map needs and x/text's own decoders do not say.
func findCharset(name string) *charset {
	switch name {
	case "utf-8":
		return &charset{name: name, ascii: true, next: nextUTF8}
	case "utf-16le":
		return &charset{name: name, ascii: false, next: nextUTF16(0, 1)}
	case "utf-16be":
		return &charset{name: name, ascii: false, next: nextUTF16(1, 0)}
	case "utf-32le":
		return &charset{name: name, ascii: false, next: nextUTF32(0, 1, 2, 3)}
	case "utf-32be":
		return &charset{name: name, ascii: false, next: nextUTF32(3, 2, 1, 0)}
	case "iso-2022-jp":
		return &charset{name: name, ascii: true, next: nextISO2022JP}
	case "euc-jp":
		return &charset{name: name, ascii: true, next: eucJP().next}
	case "shift_jis":
		return &charset{name: name, ascii: true, next: shiftJIS().next}
	case "euc-kr":
		return &charset{name: name, ascii: true, next: eucKR().next}
	case "big5":
		return &charset{name: name, ascii: true, next: big5().next}
	case "gb18030":
		return &charset{name: name, ascii: true, next: gb18030().next}
	}
	t := singles(name)
	return &charset{name, true, t, func(_ *uint8, src []byte, _ bool) (rune, int) { return t[src[0]], 1 }}
}

var (
	eucJP    = sync.OnceValue(func() *table { return newTable(japanese.EUCJP, 0x8f, 0) })
	shiftJIS = sync.OnceValue(func() *table { return newTable(japanese.ShiftJIS, 0, 0) })
	eucKR    = sync.OnceValue(func() *table { return newTable(korean.EUCKR, 0, 0) })
	big5     = sync.OnceValue(func() *table { return newTable(traditionalchinese.Big5, 0, 0) })
	gb18030  = sync.OnceValue(func() *table { return newTable(simplifiedchinese.GB18030, 0, 39420) })
)

var singleTables sync.Map // name → *[256]rune

func singles(name string) *[256]rune {
	if t, ok := singleTables.Load(name); ok {
		return t.(*[256]rune)
	}
	e, err := htmlindex.Get(name)
	if err != nil {
		panic("extract: no encoding " + name) // Charset gave the name: a bug here, not bad input
	}
	d := e.NewDecoder()
	var t [256]rune
	for b := range t {
		t[b] = ask(d, byte(b))
	}
	// Two callers that build it at the same time build the same.
	singleTables.Store(name, &t)
	return &t
}

// ask gives what d makes of seq as a whole: one character, one of pairText, or bad.
func ask(d *encoding.Decoder, seq ...byte) rune {
	out, err := d.Bytes(seq)
	r, n := utf8.DecodeRune(out)
	if err != nil || r == utf8.RuneError && !isGB18030Replacement(seq) {
		return bad
	}
	if n == len(out) {
		return r
	}
	for i, p := range pairText {
		if p == string(out) {
			return pairs - rune(i)
		}
	}
	return bad
}

// isGB18030Replacement: 84 31 A4 37 is how GB18030 writes U+FFFD itself.
func isGB18030Replacement(seq []byte) bool { return string(seq) == "\x84\x31\xa4\x37" }

// pairText is what four sequences of Big5 stand for that have no character of their own (WHATWG, Big5 decoder, step 3).
var pairText = [...]string{"\u00ca\u0304", "\u00ca\u030c", "\u00ea\u0304", "\u00ea\u030c"}

// A table is an encoding of one to four bytes a character, in which a byte below 0x80 that starts one is ASCII.
type table struct {
	one   [256]rune // bad also where the byte leads a longer sequence
	two   []rune    // by (lead - 0x80) << 8 | second byte
	lead3 byte      // leads three bytes, the others being in 0xA1–0xFE; 0: none (EUC-JP's JIS X 0212)
	three []rune    // by (second - 0xA0) * 96 + third - 0xA0
	four  []rune    // GB18030's part below U+10000, by its linear number
	lead  [256]bool
}

func newTable(e encoding.Encoding, lead3 byte, fours int) *table {
	d := e.NewDecoder()
	t := &table{two: make([]rune, 128<<8), lead3: lead3}
	for b := range t.one {
		t.one[b] = ask(d, byte(b))
	}
	for i := range t.two {
		lead, trail := byte(0x80+i>>8), byte(i)
		t.two[i] = bad
		if t.one[lead] == bad {
			t.two[i] = ask(d, lead, trail)
			t.lead[lead] = t.lead[lead] || t.two[i] != bad || lead == lead3
		}
	}
	if lead3 != 0 {
		t.three = make([]rune, 96*96)
		for i := range t.three {
			t.three[i] = ask(d, lead3, byte(0xa0+i/96), byte(0xa0+i%96))
		}
	}
	if fours > 0 {
		t.four = make([]rune, fours)
		for i := range t.four {
			t.four[i] = ask(d, byte(0x81+i/12600), byte(0x30+i/1260%10), byte(0x81+i/10%126), byte(0x30+i%10))
		}
		for b := 0x81; b < 0xff; b++ {
			t.lead[b] = true
		}
	}
	return t
}

// next reads as the WHATWG decoders do: a lead byte with a second byte that does not go with it is a fault of two
// bytes, or of one when the second is ASCII, so that a lost byte never swallows a line end or a quote.
func (t *table) next(_ *uint8, src []byte, last bool) (rune, int) {
	lead := src[0]
	if !t.lead[lead] {
		return t.one[lead], 1
	}
	if len(src) < 2 {
		return short(1, last)
	}
	second := src[1]
	if r := t.two[int(lead-0x80)<<8|int(second)]; r != bad {
		return r, 2
	}
	inThree := func(b byte) bool { return 0xa1 <= b && b <= 0xfe }
	switch {
	case t.four != nil && '0' <= second && second <= '9':
		if len(src) < 3 {
			return short(1, last)
		}
		if src[2] < 0x81 || src[2] > 0xfe {
			return bad, 1
		}
		if len(src) < 4 {
			return short(1, last)
		}
		if src[3] < '0' || src[3] > '9' {
			return bad, 1
		}
		i := ((int(lead-0x81)*10+int(second-'0'))*126+int(src[2]-0x81))*10 + int(src[3]-'0')
		switch {
		case i < len(t.four) && t.four[i] != bad:
			return t.four[i], 4
		case 189000 <= i && i < 189000+0x100000: // the planes from U+10000, in order (GB 18030)
			return rune(i-189000) + 0x10000, 4
		}
		return bad, 1
	case lead == t.lead3 && t.lead3 != 0 && inThree(second):
		if len(src) < 3 {
			return short(2, last)
		}
		if !inThree(src[2]) {
			return bad, 2
		}
		return t.three[int(second-0xa0)*96+int(src[2]-0xa0)], 3
	case second < utf8.RuneSelf:
		return bad, 1
	}
	return bad, 2
}

// short is the answer when src ends inside a character: n bytes of it are a fault when nothing follows.
func short(n int, last bool) (rune, int) {
	if last {
		return bad, n
	}
	return 0, 0
}

// nextUTF8 takes a fault to be a maximal subpart (Unicode 16, section 3.9, table 3-8): the longest start of a character
// that never ends, or else one byte.
func nextUTF8(_ *uint8, src []byte, last bool) (rune, int) {
	r, n := utf8.DecodeRune(src)
	if r != utf8.RuneError || n > 1 {
		return r, n
	}
	n = 1
	for n < len(src) && n < utf8.UTFMax && !utf8.FullRune(src[:n+1]) {
		n++
	}
	if n == len(src) && !utf8.FullRune(src) {
		return short(n, last)
	}
	return bad, n
}

func nextUTF16(lo, hi int) func(*uint8, []byte, bool) (rune, int) {
	unit := func(b []byte) rune { return rune(b[lo]) | rune(b[hi])<<8 }
	return func(_ *uint8, src []byte, last bool) (rune, int) {
		if len(src) < 2 {
			return short(1, last)
		}
		r := unit(src)
		switch {
		case r < 0xd800 || r > 0xdfff:
			return r, 2
		case r >= 0xdc00:
			return bad, 2 // a low surrogate without its high one
		case len(src) < 4:
			return short(2, last)
		}
		low := unit(src[2:])
		if low < 0xdc00 || low > 0xdfff {
			return bad, 2
		}
		return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), 4
	}
}

func nextUTF32(a, b, c, d int) func(*uint8, []byte, bool) (rune, int) {
	return func(_ *uint8, src []byte, last bool) (rune, int) {
		if len(src) < 4 {
			return short(len(src), last)
		}
		r := uint32(src[a]) | uint32(src[b])<<8 | uint32(src[c])<<16 | uint32(src[d])<<24
		if r > utf8.MaxRune || 0xd800 <= r && r <= 0xdfff {
			return bad, 4
		}
		return rune(r), 4
	}
}

// The states of ISO-2022-JP (RFC 1468, with JIS X 0212 of RFC 1554 and the half-width katakana that mails have).
const (
	jisASCII uint8 = iota
	jisKatakana
	jis0208
	jis0212
)

var jisEscapes = []struct {
	seq   string
	state uint8
}{
	{"\x1b(B", jisASCII}, {"\x1b(J", jisASCII}, {"\x1b(I", jisKatakana},
	{"\x1b$@", jis0208}, {"\x1b$B", jis0208}, {"\x1b$(D", jis0212},
}

func nextISO2022JP(state *uint8, src []byte, last bool) (rune, int) {
	c := src[0]
	switch {
	case c >= utf8.RuneSelf:
		return bad, 1
	case c == 0x1b:
		for _, e := range jisEscapes {
			if len(src) >= len(e.seq) {
				if string(src[:len(e.seq)]) == e.seq {
					*state = e.state
					return quiet, len(e.seq)
				}
			} else if !last && strings.HasPrefix(e.seq, string(src)) {
				return 0, 0
			}
		}
		return bad, 1
	case c == '\n' || c == '\r': // a line starts in ASCII (RFC 1468)
		*state = jisASCII
		return rune(c), 1
	case *state == jisASCII:
		return rune(c), 1
	case c < 0x21 || c > 0x7e:
		return rune(c), 1 // a control character or a space, in any state
	case *state == jisKatakana:
		if c > 0x5f {
			return bad, 1
		}
		return rune(c) + 0xff61 - 0x21, 1
	case len(src) < 2:
		return short(1, last)
	}
	t := eucJP()
	second := src[1]
	if second < 0x21 || second > 0x7e {
		return bad, 1
	}
	r := t.two[int(c)<<8|int(second|0x80)]
	if *state == jis0212 {
		r = t.three[int(c-0x20)*96+int(second-0x20)]
	}
	return r, 2
}
