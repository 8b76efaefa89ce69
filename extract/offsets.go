package extract

import (
	"slices"
	"sort"
	"unicode/utf8"
)

// Offsets translates between byte offsets in a text and byte offsets in the source it was decoded from. It is exact at
// every character. A lookup takes a binary search and at most 256 characters of reading. Text that is its own source
// costs nothing; a stretch in which every character has the same number of bytes on each side costs 32 bytes however
// long it is; the worst is 0.63 bytes a character, and 4.1 bytes a source byte for an ISO-2022-JP source that is mostly
// escape sequences. It may be used by several goroutines at once.
type Offsets struct {
	text   string
	source int     // the source's length
	blocks []block // by text and by source; none: the text is the source
	widths []byte  // the bytes of the source of each character of the uneven blocks, two characters a byte
}

// A block covers the text up to the next block's start.
type block struct {
	text, source int
	widths       int   // for an uneven block: the number of its first character in Offsets.widths
	perText      uint8 // even in both: the bytes of each character; 0: only the source is even, or none is
	perSource    uint8 // 0: uneven
}

// Source gives the source offset of the character at text, an offset into the text: the text up to it was decoded from
// the source up to there. Inside a character it is the character's start; it is the source's length from the end of
// the text on, and 0 below 0. So text[a:b] comes from source[Source(a):Source(b)]. An escape sequence belongs to the
// character after it (of five and more in a row that nothing separates, the character before them has the first
// ones), so a slice of ISO-2022-JP needs the state that the source had there to be decoded again. The second half of one of
// the four Big5 sequences that stand for two characters has no bytes of its own.
func (o *Offsets) Source(text int) int {
	switch {
	case text >= len(o.text):
		return o.source
	case text <= 0:
		return 0
	}
	for !utf8.RuneStart(o.text[text]) {
		text--
	}
	if len(o.blocks) == 0 {
		return text
	}
	i := sort.Search(len(o.blocks), func(i int) bool { return o.blocks[i].text > text }) - 1
	b := o.blocks[i]
	if b.perText > 0 {
		return b.source + (text-b.text)/int(b.perText)*int(b.perSource)
	}
	if b.perSource > 0 {
		return b.source + utf8.RuneCountInString(o.text[b.text:text])*int(b.perSource)
	}
	at := b.source
	for n := range utf8.RuneCountInString(o.text[b.text:text]) {
		at += o.width(b.widths + n)
	}
	return at
}

// Text gives the text offset of the character that the byte at source belongs to. It is the text's length from the end
// of the source on, and 0 below 0. A byte of an escape sequence belongs to the character after it.
func (o *Offsets) Text(source int) int {
	switch {
	case source >= o.source:
		return len(o.text)
	case source <= 0:
		return 0
	case len(o.blocks) == 0:
		return o.start(source)
	}
	i := sort.Search(len(o.blocks), func(i int) bool { return o.blocks[i].source > source }) - 1
	b := o.blocks[max(i, 0)]
	end := len(o.text)
	if i+1 < len(o.blocks) {
		end = o.blocks[i+1].text
	}
	if b.perText > 0 {
		at := b.text + max(source-b.source, 0)/int(b.perSource)*int(b.perText)
		if at >= end {
			return end
		}
		return o.start(at)
	}
	at, n := b.source, 0
	for i := range o.text[b.text:end] {
		width := int(b.perSource)
		if width == 0 {
			width = o.width(b.widths + n)
		}
		if at += width; at > source {
			return b.text + i
		}
		n++
	}
	return end
}

func (o *Offsets) start(text int) int {
	for text > 0 && text < len(o.text) && !utf8.RuneStart(o.text[text]) {
		text--
	}
	return text
}

func (o *Offsets) width(n int) int { return int(o.widths[n/2] >> (n % 2 * 4) & 15) }

// blockBytes is a block in memory, on a 64-bit machine.
const blockBytes = 32

// blockRunes bounds what a lookup reads.
const blockRunes = 256

// mapper builds Offsets, character by character.
type mapper struct {
	blocks       []block
	widths       []byte
	count        int // of widths
	text, source int // after everything pending
	n            int // pending characters
	perText      [blockRunes]uint8
	perSource    [blockRunes]uint8
	startText    int // of the pending characters
	startSource  int
}

// add takes n characters of text bytes each, from source bytes each (at most 15).
func (m *mapper) add(n, text, source int) {
	if n == 1 && 0 < m.n && m.n < blockRunes-1 { // nearly every call
		m.perText[m.n], m.perSource[m.n] = uint8(text), uint8(source)
		m.n++
		m.text += text
		m.source += source
		return
	}
	for n > 0 {
		if m.n == 0 {
			m.startText, m.startSource = m.text, m.source
			if last := len(m.blocks) - 1; n >= blockRunes/4 || last >= 0 && m.continues(last, text, source) {
				m.even(text, source)
				m.text += n * text
				m.source += n * source
				return
			}
		} else if n >= blockRunes {
			m.flush()
			continue
		}
		k := min(n, blockRunes-m.n)
		for i := range k {
			m.perText[m.n+i], m.perSource[m.n+i] = uint8(text), uint8(source)
		}
		m.n += k
		m.text += k * text
		m.source += k * source
		if m.n == blockRunes {
			m.flush()
		}
		n -= k
	}
}

// skip takes bytes of the source that stand for no text.
func (m *mapper) skip(n int) {
	m.flush()
	m.source += n
	if last := len(m.blocks) - 1; last >= 0 && m.blocks[last].perText > 0 {
		// An even block would go on counting over the gap.
		m.blocks = append(m.blocks, block{text: m.text, source: m.source, widths: m.count})
	}
}

func (m *mapper) flush() {
	if m.n == 0 {
		return
	}
	text, source := m.perText[:m.n], m.perSource[:m.n]
	same := func(w []uint8) bool { return !slices.ContainsFunc(w, func(x uint8) bool { return x != w[0] }) }
	switch {
	case slices.Equal(text, source):
		m.even(1, 1)
	case same(text) && same(source):
		m.even(int(text[0]), int(source[0]))
	case same(source) && source[0] > 0:
		m.blocks = append(m.blocks, block{m.startText, m.startSource, 0, 0, source[0]})
	default:
		m.blocks = append(m.blocks, block{m.startText, m.startSource, m.count, 0, 0})
		for _, w := range source {
			if m.count%2 == 0 {
				m.widths = append(m.widths, w)
			} else {
				m.widths[m.count/2] |= w << 4
			}
			m.count++
		}
	}
	m.n = 0
}

// even starts a block at the pending characters' start, unless the last block goes on in the same way.
func (m *mapper) even(text, source int) {
	if last := len(m.blocks) - 1; last < 0 || !m.continues(last, text, source) {
		if text == source {
			text, source = 1, 1
		}
		m.blocks = append(m.blocks, block{m.startText, m.startSource, 0, uint8(text), uint8(source)})
	}
}

func (m *mapper) continues(last, text, source int) bool {
	b := m.blocks[last]
	if text == source {
		text, source = 1, 1
	}
	return b.perText == uint8(text) && b.perSource == uint8(source)
}

func (m *mapper) offsets(text string) *Offsets {
	m.flush()
	return &Offsets{text, m.source, slices.Clone(m.blocks), slices.Clone(m.widths)}
}

// Bytes gives the memory that the map takes beside the text, in bytes.
func (o *Offsets) Bytes() int {
	return cap(o.blocks)*blockBytes + cap(o.widths)
}
