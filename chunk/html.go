package chunk

import (
	"iter"
	"strings"
	"unicode/utf8"
)

// html cuts HTML source at its elements, tags included: a chunk is a slice of the source. Where a cut may be, best first:
//
//	section    before h1 to h6, section and article; for a heading, before the tags that open directly around it. The
//	           higher heading is the better place
//	block      before and behind p, div, ul, ol, table, pre, script and the like; of two places the one outside of more
//	           elements is better
//	row        behind li, tr, dd and the like, and before the next one
//	line       behind br and between cells; in pre and in script, style and the like at line ends
//	text       sentence, clause, word
//
// Section, block and row count wherever the limit allows one, so a list, a table or a pre is kept whole if it fits; the
// others count in the second half of chunk_size first, and then the last place in the first half. A heading stays with what
// follows it, tags that close with what they close. No cut is inside of a tag, a comment or a character reference unless
// it alone is above the limit. Nothing is left out: scripts, styles and comments stay where they are.
//
// Context are the headings above a chunk, and the first row of a table of th cells, or its thead, if it has at most 2048
// bytes. The text of a heading is from its first letter or digit to its last one in the element, with the tags between
// them as they are; headings of more than 1024 bytes give none. With context_in_size, chunk_size is for both.
//
// Tags are found as the HTML standard tokenizes them (section 13.2.5), except that script has no escaped states and CDATA
// sections are known everywhere. There is no tree: a stack of at most 64 open elements tells how deep a place is, and tags
// that do not match are passed over.
//
// It looks 16 bytes beyond the limit. Overlap starts in text, never in a tag, and never reaches across a section.
//
// Divide leaves it as one part: what a place means depends on all tags before it, and to read those alone takes 76 % of the
// time in chars, so that two cores would gain 1.14 times at most (in tokens, where the time goes into counting, more).
type html struct {
	sizing
	ContextInSize bool `json:"context_in_size,omitempty"`
}

const htmlSummary = "Cuts HTML source at its elements: headings, blocks, table rows and list items, then text; never inside a tag."

func (h *html) fields() []field { return append(h.sizing.fields(), contextField(&h.ContextInSize)) }

// Split cuts text as the type says.
func (h *html) Split(text string) iter.Seq[Chunk] { return splitWalk(h, text) }

func (h *html) walk() walk { return newHTMLWalk(h.sizing, h.ContextInSize) }

func newHTMLWalk(z sizing, contextInSize bool) walk {
	w := htmlFrom(0)
	w.init(z, contextInSize, w.outline, htmlAhead)
	return onwardWalk{w}
}

// htmlFrom has the outline of the HTML that starts at at in the window, and no sizes yet.
func htmlFrom(at int) *structureWalk {
	w := &structureWalk{strong: Row, overlap: Section, near: true, plain: Markup}
	o := &htmlOutline{w: w, pos: at, gap: true, comment: -1, heading: -1, header: -1}
	o.open[0].kind = Prose
	w.outline = o
	w.marks = append(w.marks, mark{at: at})
	return w
}

const (
	htmlAhead   = 16   // bytes beyond a place that tell what tag is there
	htmlDepth   = 64   // open elements that are told apart
	maxHeading  = 1024 // bytes of a heading
	maxHeader   = 2048 // bytes of a table's header
	maxEntity   = 32   // bytes of a character reference
	hushed      = 7    // is hush behind a table's header
	htmlSection = 5    // the level of a section before its heading is seen
)

// htmlOutline is the outline of HTML source. Content is text that is not white space, or an element such as img; what lies
// between two pieces of content is a gap, which offers one place to cut at most: behind the last element that closes
// there, else before the first one that opens. The mark of an open gap is the last mark.
type htmlOutline struct {
	w     *structureWalk
	pos   int // what was read
	state htmlState
	quote byte // in a quoted value
	tag   htmlTag
	close bool
	raw   uint64 // the name of the element whose text is being read

	gap    bool
	opened bool  // something has opened in the gap
	hush   uint8 // the level of the heading that closed in the gap; until its end only such or higher ones are places to cut

	comment int    // where the text of a comment starts
	holes   []hole // the last one may have no end yet

	open  [htmlDepth]htmlElement // open[0] is around all
	depth int
	over  int // elements open beyond those

	heading       int // where the text of the open heading starts, or -1
	level         int
	first, beyond int // its text
	headings      *Context

	header   int // where the header of the table starts, or -1
	headRows bool
}

// hole is a tag or a comment. Its start may be before the window.
type hole struct {
	Span
	closes bool // it is an end tag
}

type htmlState uint8

const (
	inText htmlState = iota
	inTagName
	beforeName
	inName
	afterName
	beforeValue
	inValue
	inQuotes
	inComment
	inBogus // up to the next >
	inCData
	inRaw
)

// htmlElement is an open element.
type htmlElement struct {
	name  uint64
	kind  Kind
	lines bool
	rows  bool // of a table: a row was seen
	th    bool // of a row: only header cells were seen
	td    bool
	head  *Context // of a table: its header
}

// htmlClass is what a tag is to the outline.
type htmlClass uint8

const (
	inline htmlClass = iota
	block
	section
	heading
	row
	cell
	breaks  // br
	rule    // hr
	content // img and the like
	void    // link and the like
)

type htmlTag struct {
	name  uint64 // its first eight bytes
	class htmlClass
	level uint8
	kind  Kind
	raw   bool // what it holds is text up to its end tag
	lines bool
}

// htmlName packs the first eight bytes of a name that is in lower case, and its length, so that different names differ.
func htmlName(s string) (n uint64) {
	for i := range min(8, len(s)) {
		n = n<<8 | uint64(s[i]|0x20)
	}
	return n + uint64(len(s))<<59
}

// htmlTags finds a tag by the name, at the slot of its hash or behind it.
var htmlTags = func() (t [512]htmlTag) {
	add := func(tag htmlTag, names string) {
		for _, name := range strings.Fields(names) {
			tag := tag
			if tag.name = htmlName(name); tag.class == heading {
				tag.level = name[1] - '0'
			}
			i := htmlSlot(tag.name)
			for t[i].name != 0 {
				i = (i + 1) % len(t)
			}
			t[i] = tag
		}
	}
	add(htmlTag{class: block}, "address aside body center details dialog div fieldset figure figcaption footer form frameset "+
		"header hgroup html main nav p search summary noscript template optgroup")
	add(htmlTag{class: block, kind: List}, "ul ol dl dir menu select")
	add(htmlTag{class: block, kind: Table}, "table caption colgroup")
	add(htmlTag{class: block, kind: Quote}, "blockquote")
	add(htmlTag{class: block, kind: Code, lines: true}, "pre listing")
	add(htmlTag{class: block, kind: Code, lines: true, raw: true}, "xmp plaintext")
	add(htmlTag{class: block, kind: Markup}, "head")
	add(htmlTag{class: block, kind: Markup, raw: true, lines: true}, "script style textarea title iframe noembed noframes")
	add(htmlTag{class: section}, "section article")
	add(htmlTag{class: heading}, "h1 h2 h3 h4 h5 h6")
	add(htmlTag{class: row, kind: List}, "li dt dd option")
	add(htmlTag{class: row, kind: Table}, "tr thead tbody tfoot")
	add(htmlTag{class: cell, kind: Table}, "td th")
	add(htmlTag{class: breaks}, "br")
	add(htmlTag{class: rule}, "hr")
	add(htmlTag{class: content}, "img input embed")
	add(htmlTag{class: void}, "link meta base col area param source track wbr frame")
	return t
}()

func htmlSlot(name uint64) int { return int(name * 0x9E3779B97F4A7C15 >> 55) }

// Names that the outline asks for.
var (
	nameP, nameLi, nameDt, nameDd   = htmlName("p"), htmlName("li"), htmlName("dt"), htmlName("dd")
	nameTr, nameTd, nameTh          = htmlName("tr"), htmlName("td"), htmlName("th")
	nameThead, nameTbody, nameTfoot = htmlName("thead"), htmlName("tbody"), htmlName("tfoot")
	nameTable, nameOption           = htmlName("table"), htmlName("option")
)

func (o *htmlOutline) kept(start int) int {
	start = min(start, o.pos-len("--!"))
	if o.heading >= 0 && o.pos-o.heading <= maxHeading {
		start = min(start, o.heading)
	}
	if o.header >= 0 && o.pos-o.header <= maxHeader {
		start = min(start, o.header)
	}
	return max(0, start)
}

func (o *htmlOutline) drop(n int) {
	o.pos -= n
	o.comment -= n
	if o.heading >= 0 {
		if o.heading -= n; o.heading < 0 {
			o.heading = -1
		}
		o.first, o.beyond = o.first-n, o.beyond-n
	}
	if o.header >= 0 {
		if o.header -= n; o.header < 0 {
			o.header = -1
		}
	}
	for i := range o.holes {
		o.holes[i].Start -= n
		if o.holes[i].End != noEnd {
			o.holes[i].End -= n
		}
	}
}

// noEnd is the end of a hole that is still open.
const noEnd = int(^uint(0) >> 1)

func (o *htmlOutline) forget(start int) {
	n := 0
	for n < len(o.holes) && o.holes[n].End <= start {
		n++
	}
	if n > 0 {
		o.holes = o.holes[:copy(o.holes, o.holes[n:])]
	}
}

// read reads what starts at or before to.
func (o *htmlOutline) read(text string, to int) {
	end := min(len(text), to+1)
	for o.pos < end {
		i := o.pos
		switch o.state {
		case inText:
			n := strings.IndexByte(text[i:end], '<')
			if n < 0 {
				n = end - i
			}
			if n > 0 {
				o.text(text, i, i+n)
			}
			if o.pos = i + n; o.pos < end {
				o.markup(text, end)
			}
		case inRaw:
			n := strings.IndexByte(text[i:end], '<')
			if n < 0 {
				n = end - i
			}
			if o.gap && n > 0 {
				o.text(text, i, i+n)
			}
			if o.pos = i + n; o.pos < end {
				if o.closesRaw(text, o.pos) {
					o.state = inText
				} else {
					o.text(text, o.pos, o.pos+1)
					o.pos++
				}
			}
		case inTagName:
			c := text[i]
			switch o.pos++; {
			case c == '>':
				o.tagEnd(text, to)
			case c == '/' || htmlSpace(c):
				o.state = beforeName
			}
		case beforeName:
			c := text[i]
			switch o.pos++; {
			case c == '>':
				o.tagEnd(text, to)
			case c != '/' && !htmlSpace(c): // a name may begin with =
				o.state = inName
			}
		case inName:
			for i < end && !htmlNameEnd[text[i]] {
				i++
			}
			if o.pos = i; i == end {
				break
			}
			o.pos++
			switch c := text[i]; c {
			case '>':
				o.tagEnd(text, to)
			case '=':
				o.state = beforeValue
			case '/':
				o.state = beforeName
			default:
				o.state = afterName
			}
		case afterName:
			switch c := text[i]; {
			case c == '>':
				o.pos++
				o.tagEnd(text, to)
			case c == '=':
				o.pos++
				o.state = beforeValue
			case htmlSpace(c):
				o.pos++
			default:
				o.state = beforeName
			}
		case beforeValue:
			c := text[i]
			switch o.pos++; {
			case c == '"' || c == '\'':
				o.quote, o.state = c, inQuotes
			case c == '>':
				o.tagEnd(text, to)
			case !htmlSpace(c):
				o.state = inValue
			}
		case inValue:
			for i < end && text[i] != '>' && !htmlSpace(text[i]) {
				i++
			}
			if o.pos = i; i == end {
				break
			}
			o.pos++
			if text[i] == '>' {
				o.tagEnd(text, to)
			} else {
				o.state = beforeName
			}
		case inQuotes:
			if n := strings.IndexByte(text[i:end], o.quote); n < 0 {
				o.pos = end
			} else {
				o.pos, o.state = i+n+1, beforeName
			}
		case inComment, inBogus, inCData:
			n := strings.IndexByte(text[i:end], '>')
			if n < 0 {
				o.pos = end
				break
			}
			if o.pos = i + n + 1; o.endsComment(text, i+n) {
				o.holes[len(o.holes)-1].End = o.pos
				o.state = inText
			}
		}
	}
}

// htmlNameEnd has the bytes that end the name of an attribute.
var htmlNameEnd = [256]bool{' ': true, '\t': true, '\n': true, '\f': true, '\r': true, '/': true, '=': true, '>': true}

func htmlSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' }

// endsComment reports whether the > at i ends what is being read.
func (o *htmlOutline) endsComment(text string, i int) bool {
	switch n := i - o.comment; {
	case o.state == inBogus:
		return true
	case o.state == inCData:
		return n >= 2 && text[i-2:i] == "]]"
	case n == 0 || n == 1 && text[i-1] == '-':
		return true
	case n >= 2 && text[i-2:i] == "--":
		return true
	default:
		return n >= 3 && text[i-3:i] == "--!"
	}
}

// closesRaw reports whether the end tag of the element whose text is being read starts at i.
func (o *htmlOutline) closesRaw(text string, i int) bool {
	if i+1 >= len(text) || text[i+1] != '/' {
		return false
	}
	name, n := tagName(text, i+2)
	if name != o.raw || i+2+n >= len(text) {
		return false
	}
	c := text[i+2+n]
	return c == '>' || c == '/' || htmlSpace(c)
}

// tagName packs the name of a tag at i, and tells how many bytes of it were read, at most 12.
func tagName(text string, i int) (name uint64, n int) {
	for n < 12 && i+n < len(text) {
		c := text[i+n]
		if c == '>' || c == '/' || htmlSpace(c) {
			break
		}
		if c-'A' < 26 {
			c |= 0x20
		}
		if n < 8 {
			name = name<<8 | uint64(c)
		}
		n++
	}
	return name + uint64(n)<<59, n
}

func isLetter(c byte) bool { return (c|0x20)-'a' < 26 }

// markup reads what the < at pos starts, up to the name of a tag.
func (o *htmlOutline) markup(text string, end int) {
	i := o.pos
	next := byte(0)
	if i+1 < len(text) {
		next = text[i+1]
	}
	o.close = false
	switch {
	case isLetter(next):
	case next == '/' && i+2 < len(text) && isLetter(text[i+2]):
		o.close = true
		i++
	case next == '/' && i+2 < len(text), next == '?':
		o.state = inBogus
	case next == '!' && strings.HasPrefix(text[i+2:], "--"):
		o.state, o.comment = inComment, i+4
	case next == '!' && strings.HasPrefix(text[i+2:], "[CDATA["):
		o.content(false)
		o.state, o.comment = inCData, i+9
	case next == '!':
		o.state = inBogus
	default:
		o.text(text, i, i+1)
		o.pos++
		return
	}
	o.holes = append(o.holes, hole{Span{o.pos, noEnd}, o.close})
	if o.state == inText {
		name, n := tagName(text, i+1)
		slot := htmlSlot(name)
		for htmlTags[slot].name != name && htmlTags[slot].name != 0 {
			slot = (slot + 1) % len(htmlTags)
		}
		o.tag = htmlTags[slot]
		if !o.close {
			o.tagStart(o.pos)
		}
		o.pos, o.state = i+1+n, inTagName
		return
	}
	switch o.pos += 2; o.state {
	case inComment, inCData:
		o.pos = o.comment
	}
}

// text reads text[i:end], in which there are no tags.
func (o *htmlOutline) text(text string, i, end int) {
	if o.gap {
		if skipSpace(text, i, end) == end {
			return
		}
		o.content(true)
	}
	if o.heading < 0 {
		return
	}
	for ; i < end; i++ {
		if c := text[i]; isLetter(c) || c-'0' < 10 || c >= utf8.RuneSelf && o.spells(text, i) {
			if o.first < 0 {
				o.first = i
			}
			o.beyond = i + runeLen(text, i)
		}
	}
}

// spells reports whether a letter or digit beyond ASCII starts at i. Signs such as those of permanent links are none.
func (o *htmlOutline) spells(text string, i int) bool {
	r, _ := utf8.DecodeRuneInString(text[i:])
	return r >= 0xC0 && r != '×' && r != '÷' && (r < 0x2000 || r > 0x2BFF) && r != utf8.RuneError
}

// content ends a gap. said tells whether it is text, which has a kind.
func (o *htmlOutline) content(said bool) {
	if !o.gap {
		return
	}
	m := &o.w.marks[len(o.w.marks)-1]
	top := &o.open[o.depth]
	m.kinds |= 1
	if said {
		m.kinds |= 1 << top.kind
	}
	m.lines = top.lines
	o.gap, o.opened, o.hush = false, false, 0
}

// context is what is above a place here.
func (o *htmlOutline) context() *Context {
	for i := o.depth; i > 0; i-- {
		if o.open[i].head != nil {
			return o.open[i].head
		}
		if o.open[i].name == nameTable {
			break
		}
	}
	return o.headings
}

// above is the innermost heading of a level below level.
func (o *htmlOutline) above(level int) *Context {
	x := o.headings
	for x != nil && x.Level >= level {
		x = x.Up
	}
	return x
}

// tagStart is called when an element begins at i, before its tag is read.
func (o *htmlOutline) tagStart(i int) {
	t := &o.tag
	switch t.class {
	case inline, void:
		return
	case content:
		o.content(false)
		return
	case breaks:
		return
	}
	o.implied(t)
	rank, depth := Block, uint8(min(o.depth+o.over, 255))
	ctx := o.context()
	switch t.class {
	case section:
		rank, depth = Section, htmlSection
	case heading:
		rank, depth, ctx = Section, t.level, o.above(int(t.level))
	case row:
		rank = Row
		if t.name == nameDd {
			rank = Character
		}
	case cell:
		rank = Line
	}
	if !o.gap {
		o.gap = true
		o.w.marks = append(o.w.marks, mark{at: i, rank: rank, said: rank, depth: depth, ctx: ctx})
	} else if m := &o.w.marks[len(o.w.marks)-1]; t.class == heading || t.class == section {
		if (o.hush == 0 || depth <= o.hush) && (m.rank < Section || t.class == heading && m.depth == htmlSection || depth < m.depth) {
			m.rank, m.said, m.depth, o.hush = Section, Section, depth, 0
			m.ctx = ctx
		}
	} else if !o.opened && o.hush == 0 && rank > m.rank && m.at > 0 {
		m.rank, m.said = rank, rank
	}
	o.opened = true
	switch {
	case t.class == rule:
		o.content(false)
		return
	case t.name == nameThead:
		o.header, o.headRows = i, false
	case t.name == nameTr:
		if table := o.table(); table != nil && !table.rows {
			if table.rows = true; o.header < 0 {
				o.header, o.headRows = i, true
			}
		}
	case t.name == nameTh, t.name == nameTd:
		if o.open[o.depth].name == nameTr {
			if o.open[o.depth].th = o.open[o.depth].th || t.name == nameTh; t.name == nameTd {
				o.open[o.depth].td = true
			}
		}
	}
	o.push(t)
}

// table is the innermost open table.
func (o *htmlOutline) table() *htmlElement {
	for i := o.depth; i > 0; i-- {
		if o.open[i].name == nameTable {
			return &o.open[i]
		}
	}
	return nil
}

func (o *htmlOutline) push(t *htmlTag) {
	if o.depth == htmlDepth-1 {
		o.over++
		return
	}
	e := htmlElement{name: t.name, kind: t.kind, lines: t.lines || o.open[o.depth].lines}
	if e.kind == Unknown {
		e.kind = o.open[o.depth].kind
	}
	o.depth++
	o.open[o.depth] = e
}

// implied closes what the start of t closes by itself.
func (o *htmlOutline) implied(t *htmlTag) {
	if o.over > 0 {
		return
	}
	pop := func(names ...uint64) {
		for _, n := range names {
			if o.depth > 0 && o.open[o.depth].name == n {
				o.depth--
			}
		}
	}
	if o.open[o.depth].name == nameP {
		o.depth--
	}
	switch t.name {
	case nameLi, nameOption:
		pop(t.name)
	case nameDt, nameDd:
		pop(nameDt, nameDd)
	case nameTd, nameTh:
		pop(nameTd, nameTh)
	case nameTr:
		pop(nameTd, nameTh, nameTr)
	case nameThead, nameTbody, nameTfoot:
		pop(nameTd, nameTh, nameTr, nameThead, nameTbody, nameTfoot)
	}
}

// tagEnd is called behind the > of a tag. to is how far is being read.
func (o *htmlOutline) tagEnd(text string, to int) {
	o.holes[len(o.holes)-1].End = o.pos
	o.state = inText
	t := &o.tag
	if o.close {
		o.closed(text, t, to)
		return
	}
	switch {
	case t.raw:
		o.state, o.raw = inRaw, t.name
	case t.class == heading:
		o.heading, o.level, o.first, o.beyond = o.pos, int(t.level), -1, -1
	case t.class == breaks && !o.gap:
		o.gapAt(text, to, Line)
	case t.class == rule:
		o.gapAt(text, to, Block)
	}
}

// gapAt opens a gap behind what ends at pos, or moves the mark of one.
func (o *htmlOutline) gapAt(text string, to int, rank Boundary) {
	at := o.pos
	for at < len(text) && at < to && asciiSpace[text[at]] {
		at++
	}
	m := mark{at: at, rank: rank, said: rank, depth: uint8(min(o.depth+o.over, 255)), ctx: o.context()}
	if o.hush > 0 {
		m.rank = Character
	}
	if last := len(o.w.marks) - 1; o.gap && (o.w.marks[last].at > o.w.end || o.w.marks[last].at == m.at) {
		m.kinds = o.w.marks[last].kinds
		o.w.marks[last] = m
	} else {
		o.w.marks = append(o.w.marks, m)
	}
	o.gap, o.opened = true, false
}

// closed is called behind an end tag.
func (o *htmlOutline) closed(text string, t *htmlTag, to int) {
	rank := Block
	switch t.class {
	case inline, void, content, breaks, rule:
		return
	case row:
		if rank = Row; t.name == nameDt || t.name == nameTr && o.header >= 0 && !o.headRows {
			rank = Character
		}
	case cell:
		rank = Line
	case heading:
		o.headingEnds(text)
		o.hush = uint8(o.level)
	}
	var head *Context
	switch {
	case o.header < 0:
	case t.name == nameThead || t.name == nameTr && o.headRows:
		row := &o.open[o.depth]
		for i := o.depth; i > 0 && row.name != nameTr; i-- {
			row = &o.open[i]
		}
		if o.pos-o.header <= maxHeader && (t.name == nameThead || row.name == nameTr && row.th && !row.td) {
			head = &Context{Span{o.w.base + o.header, o.w.base + o.pos}, text[o.header:o.pos], TableHeader, 0, o.headings}
		}
		o.header = -1
	case t.name == nameTable:
		o.header = -1
	}
	if o.over > 0 {
		o.over--
	} else {
		for i := o.depth; i > 0; i-- {
			if o.open[i].name == t.name {
				o.depth = i - 1
				break
			}
		}
	}
	if head != nil {
		if table := o.table(); table != nil {
			table.head = head
		}
		o.hush = hushed // the header stays with the row behind it
	}
	o.gapAt(text, to, rank)
}

// headingEnds makes context of the open heading, whose end tag ends at pos.
func (o *htmlOutline) headingEnds(text string) {
	if o.heading >= 0 && o.pos-o.heading <= maxHeading && o.first >= 0 {
		o.headings = &Context{
			Span{o.w.base + o.first, o.w.base + o.beyond}, text[o.first:o.beyond], Heading, o.level, o.above(o.level),
		}
	}
	o.heading = -1
}

// cut finds a place in text, else between text and a tag, else anywhere.
func (o *htmlOutline) cut(text string, lo, mid, hi int) (int, Boundary) {
	from := max(lo, mid)
	if at, b := o.lastText(text, from, hi, false); at > 0 {
		return at, b
	}
	if at := o.lastEdge(from, hi); at > 0 {
		return at, Word
	}
	if lo < from {
		if at, b := o.lastText(text, lo, from, true); at > 0 {
			return at, b
		}
		if at := o.lastEdge(lo, hi); at > 0 {
			return at, Word
		}
	}
	if j := o.hole(hi); j >= 0 && o.holes[j].End > hi { // in a tag that is too long
		return cutAtBest(text, lo, mid, hi)
	}
	return beforeReference(text, lo, cutBack(text, lo, hi)), Character
}

// lastEdge returns the last place in (lo, hi] before a tag or behind an end tag, or 0.
func (o *htmlOutline) lastEdge(lo, hi int) int {
	for j := o.hole(hi); j >= 0 && o.holes[j].End > lo; j-- {
		h := o.holes[j]
		if h.closes && h.End <= hi {
			return h.End
		}
		if h.Start > lo {
			return h.Start
		}
	}
	return 0
}

// hole returns the last hole that starts before at, or -1.
func (o *htmlOutline) hole(at int) int {
	lo, hi := 0, len(o.holes)
	for lo < hi {
		if mid := (lo + hi) / 2; o.holes[mid].Start < at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// beforeReference moves a cut at at out of a character reference, but not to lo or before.
func beforeReference(text string, lo, at int) int {
	if c := text[at]; c != ';' && !isLetter(c) && c-'0' >= 10 && c != '#' {
		return at
	}
	for i := at - 1; i > lo && at-i < maxEntity; i-- {
		switch c := text[i]; {
		case c == '&':
			return i
		case !isLetter(c) && c-'0' >= 10 && c != '#':
			return at
		}
	}
	return at
}

// lastText returns the last place of the best kind, or of any with anyLevel, in the text in (lo, hi].
func (o *htmlOutline) lastText(text string, lo, hi int, anyLevel bool) (at int, best Boundary) {
	i := o.w.holds(hi - 1)
	end := hi
	for j := o.hole(hi); end > lo; j-- {
		begin := lo
		if j >= 0 {
			begin = max(begin, o.holes[j].End)
		}
		for begin < end { // in stretches with the same meaning of line ends
			from, lines := begin, false
			for i >= 0 && o.w.marks[i].at >= end {
				i--
			}
			if i >= 0 {
				from, lines = max(from, o.w.marks[i].at), o.w.marks[i].lines
			}
			if p, b := o.lastSpace(text, from, end, j, lines, anyLevel); b > best {
				if at, best = p, b; anyLevel || best >= Sentence {
					return at, best
				}
			}
			end = from
		}
		if j < 0 {
			break
		}
		end = min(end, o.holes[j].Start)
	}
	return at, best
}

// lastSpace is lastText in text[lo:hi], which has no tags; the last one before it is the hole j.
func (o *htmlOutline) lastSpace(text string, lo, hi, j int, lines, anyLevel bool) (at int, best Boundary) {
	for i := hi; i > lo; {
		c := text[i-1]
		if c < utf8.RuneSelf && !asciiSpace[c] {
			i--
			continue
		}
		var next int
		found, p := Character, i
		if c < utf8.RuneSelf {
			next = spaceStart(text, max(lo, 0), i)
			if lines {
				if n := strings.LastIndexByte(text[next:i], '\n'); n >= 0 {
					found, p = Line, next+n+1
				}
			}
			if found == Character && isBreak(text, i) {
				found = max(Word, o.levelBefore(text, next, j))
			}
		} else {
			r, w := utf8.DecodeLastRuneInString(text[:i])
			next = i - w
			if wideMark(r) != Character {
				if p = closeMark(text, i, hi); p > 0 {
					found = wideMark(r)
				}
			} else if breakingSpace(r) && isBreak(text, i) {
				found = Word
			}
		}
		if found > best {
			if at, best = p, found; anyLevel || best >= Sentence {
				break
			}
		}
		i = next
	}
	return at, best
}

// levelBefore is markLevel, seen through the tags that end at i.
func (o *htmlOutline) levelBefore(text string, i, j int) Boundary {
	for n := 0; n < 4 && j >= 0 && o.holes[j].End == i && o.holes[j].Start > 0; n++ {
		i = o.holes[j].Start
		j--
	}
	return markLevel(text, i)
}

func (o *htmlOutline) aligned(text string, s, at int) int {
	if j := o.hole(s); j >= 0 && o.holes[j].End > s {
		s = min(at, o.holes[j].End)
	}
	if s >= at || s == 0 {
		return s
	}
	if beforeReference(text, max(0, s-maxEntity), s) < s {
		for i := s; i < at && i-s < maxEntity; i++ {
			if c := text[i]; c == ';' {
				return i + 1
			} else if !isLetter(c) && c-'0' >= 10 && c != '#' {
				break
			}
		}
	}
	return s
}
