package chunk

import "strings"

// The bounds of what decides how a line of Markdown is read, in bytes and levels. Beyond them text is plain text: a line
// that shows no end in lookLine bytes is no heading, fence, rule or table row that opens anything, a paragraph longer than
// that does not become a heading by an underline, and front matter that does not end in lookFront is none.
const (
	lookLine   = 4 << 10
	lookFront  = 16 << 10
	maxNesting = 16 // lists and quotes in each other
)

// shape is what a block of Markdown is.
type shape uint8

const (
	noShape shape = iota
	paragraph
	headline
	thematic // a thematic break
	fence
	indented
	htmlBlock
	pipeTable
	listBlock
	listItem
	quotation
	frontMatter
	paragraphGoesOn // only in what a line starts
)

// passage is where a block starts. It ends where the next one of the same depth or less starts; a list is one deeper than
// what is around it, each of its items one deeper than that, and so on. A paragraph that begins on the line of its item or
// quotation is not a block of its own.
type passage struct {
	at    int // the start of its first line
	from  int // [from, to) is what it is known by: the words of a heading, the first line of a fence, the header of a table
	to    int
	lead  int // where the headings begin that stand directly above it, on the top level; at if there are none
	depth uint8
	shape shape
	level uint8 // of a heading on the top level, from 1; no other is one
	rank  uint8 // the level of the heading at lead, 0 if there is none
	kind  Kind
	joins bool // a paragraph that follows another one
	turns bool // on the top level, of another kind than what was before
}

// markdownScan reads Markdown line by line and finds its blocks: those of CommonMark 0.31.2 (https://spec.commonmark.org)
// with the tables of GitHub Flavored Markdown and with front matter. It differs from them where its bounds say so, and in
// link reference definitions, which it takes for paragraphs.
type markdownScan struct {
	pos    int  // the start of the next line, or the rest of a long one
	long   bool // the latter
	inside bool // some line has been read
	lf, cr finder

	stack  [maxNesting]container
	n      int   // of stack, how many are open
	leaf   shape // the open block that is no container
	leafAt int   // where it starts, and its last line
	lastAt int
	lastIn int  // where the text of the last line starts
	tooFar bool // the last line is too long to be the header of a table
	mark   byte // of the open fence, and how many of them
	marks  int
	ends   uint8 // which kind of HTML block is open, numbered as in the specification

	blocks []passage
	above  passage // the last one on the top level, and the one before that
	before passage
	joint  shape // the last one of all, and its depth
	deep   uint8
	region Kind // of the last one on the top level that is no heading, and of the one before
	former Kind
}

// container is an open list item or quotation.
type container struct {
	width int   // columns that the lines of an item are indented by; 0 for a quotation
	mark  byte  // of a list: its bullet, or what follows the number
	inner uint8 // the depth of what is in it
	empty bool  // nothing has followed an item's mark
	dead  bool  // nothing may follow any more
}

func (k *container) quotes() bool { return k.width == 0 }

func (m *markdownScan) drop(n int) {
	m.pos -= n
	m.lf.drop(n)
	m.cr.drop(n)
	m.leafAt -= n
	m.lastAt -= n
	m.lastIn -= n
	for i := range m.blocks {
		m.blocks[i].drop(n)
	}
	m.above.drop(n)
	m.before.drop(n)
}

func (b *passage) drop(n int) {
	b.at -= n
	b.from -= n
	b.to -= n
	b.lead -= n
}

// final is the place before which the blocks do not change any more. The last line of a paragraph may become the header
// of a table, and all of a short one a heading.
func (m *markdownScan) final() int {
	switch {
	case m.leaf != paragraph:
		return m.pos
	case m.n == 0 && m.pos-m.leafAt <= lookLine:
		return m.leafAt
	case m.tooFar:
		return m.pos
	}
	return m.lastAt
}

// past reads on until the blocks that start at or before place are final. It is false if that takes more of the document
// than there is to see.
func (m *markdownScan) past(text string, place int, last bool) bool {
	for m.final() <= place {
		if !m.step(text, last) {
			return last
		}
	}
	return true
}

// finder finds the next of a byte, reading nothing twice.
type finder struct{ at, to int } // the byte is at at, if that is before to; there is no other before to

func (f *finder) drop(n int) {
	f.at -= n
	f.to -= n
}

// next returns where b is first in text[p:far], or far.
func (f *finder) next(text string, b byte, p, far int) int {
	if f.at < p || f.at >= f.to {
		from := max(p, f.to)
		if from >= far {
			return far
		}
		i := strings.IndexByte(text[from:far], b)
		if i < 0 {
			f.at, f.to = -1, far
			return far
		}
		f.at, f.to = from+i, from+i+1
	}
	return min(f.at, far)
}

// line finds the end of the line that begins at pos: text[pos:c] is the line, and e is behind its line end, which is LF,
// CR or CR LF. long says that there is more of it, at e.
func (m *markdownScan) line(text string, last bool) (c, e int, long, ok bool) {
	p := m.pos
	far := min(len(text), p+lookLine)
	e = m.lf.next(text, '\n', p, far)
	cr := e
	if m.cr.at >= p || m.cr.to < e { // else there is none
		if cr = m.cr.next(text, '\r', p, min(len(text), e+lookLine)); cr < e {
			c = cr
		}
	}
	if cr < e {
		switch {
		case c+1 < len(text) && text[c+1] == '\n':
			return c, c + 2, false, true
		case c+1 == len(text) && !last:
			return 0, 0, false, false
		}
		return c, c + 1, false, true
	}
	switch {
	case e < far:
		return e, e + 1, false, true
	case far == p+lookLine:
		return far, far, true, true
	}
	return far, far, false, last
}

// step reads a line. It is false if there is none, or no end of it to see.
func (m *markdownScan) step(text string, last bool) bool {
	if m.pos >= len(text) {
		return false
	}
	if !m.inside {
		switch to, ok := front(text, last); {
		case !ok:
			return false
		case to > 0:
			m.emit(passage{at: m.pos, shape: frontMatter, kind: FrontMatter})
			m.pos, m.inside = to, true
			return true
		}
		m.inside = true
	}
	c, e, long, ok := m.line(text, last)
	if !ok {
		return false
	}
	switch p := m.pos; {
	case m.long:
		if m.leaf == htmlBlock && m.ends < 6 && htmlEnds(text[max(0, p-8):c], m.ends) {
			m.leaf = noShape
		}
	case m.n == 0 && m.leaf == paragraph && letters[text[p]]:
		m.lastAt, m.lastIn, m.tooFar = p, p, long
	case m.n == 0 && m.leaf == fence && text[p] > ' ' && text[p] != m.mark: // nothing ends
	default:
		m.read(text, p, c, long)
		m.tooFar = long
	}
	m.pos, m.long = e, long
	return true
}

// letters are the bytes that begin nothing but a paragraph, and do not end one.
var letters = func() (t [256]bool) {
	for c := range 256 {
		b := byte(c)
		t[c] = b >= 0x80 || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '[' || b == '(' || b == '!' || b == '"'
	}
	return t
}()

// front returns where the front matter that text starts with ends, or 0: lines between two of --- or +++. ok is false if
// there is too little to see.
func front(text string, last bool) (to int, ok bool) {
	i := 0
	if strings.HasPrefix(text, "\ufeff") {
		i = len("\ufeff")
	}
	if len(text)-i < 4 {
		return 0, last
	}
	mark := text[i : i+3]
	if mark != "---" && mark != "+++" {
		return 0, true
	}
	head := text[:min(len(text), lookFront)]
	for n := 0; i < len(head); n++ {
		c := i + strings.IndexByte(head[i:], '\n')
		e := c + 1
		if c < i {
			if len(head) == lookFront || !last {
				break
			}
			c, e = len(head), len(head)
		}
		line := strings.TrimRight(head[i:c], " \t\r")
		switch {
		case n == 0 && line != mark, n == 1 && line == "": // a rule
			return 0, true
		case n > 0 && (line == mark || line == "..." && mark == "---"):
			return e, true
		}
		i = e
	}
	return 0, last || len(head) == lookFront
}

// indent returns the first place in text[i:c] that is no space or tab, and its column; i is in column col.
func indent(text string, i, c, col int) (int, int) {
	for ; i < c; i++ {
		switch text[i] {
		case ' ':
			col++
		case '\t':
			col += 4 - col&3
		default:
			return i, col
		}
	}
	return i, col
}

// read reads the line text[p:c], as the specification's appendix "A parsing strategy" says.
func (m *markdownScan) read(text string, p, c int, long bool) {
	n, base := 0, 0 // how many containers go on, and the column in which what is in them begins
	j, col := indent(text, p, c, 0)
	for n < m.n {
		k := &m.stack[n]
		if k.quotes() {
			if j == c || col-base > 3 || text[j] != '>' {
				break
			}
			j, col, base = afterQuote(text, j, c, col)
		} else {
			if k.dead || j < c && col-base < k.width {
				break
			}
			if j == c {
				k.dead = k.empty
			} else {
				base += k.width
				k.empty = false
			}
		}
		n++
	}
	all := n == m.n
	blank := j == c
	flows := m.leaf == paragraph || m.leaf == pipeTable // text that the next line of text joins
	switch {
	case all && m.leaf == fence:
		if !blank && !long && col-base <= 3 && text[j] == m.mark && fenceEnds(text[j:c], m.mark, m.marks) {
			m.leaf = noShape
		}
		return
	case all && m.leaf == htmlBlock:
		if m.ends >= 6 && blank || m.ends < 6 && htmlEnds(text[p:c], m.ends) {
			m.leaf = noShape
		}
		return
	case all && m.leaf == indented && (blank || col-base >= 4):
		return
	case !flows:
		m.leaf = noShape
	}
	if blank {
		m.leaf = noShape
		for i := n; i < m.n; i++ {
			if m.stack[i].quotes() {
				m.n = i
			}
		}
		return
	}
	head := "" // what could be the header of a table
	if all && m.leaf == paragraph && !m.tooFar && !long {
		head = text[m.lastIn:p]
	}
	for opened := false; ; opened = true {
		what, x := m.starts(text[j:c], head, all && flows && !opened, flows && !opened, col-base, p, long)
		if what == paragraphGoesOn {
			m.lastAt, m.lastIn = p, j
			return
		}
		if (what == quotation || what == listItem) && n == maxNesting {
			what = paragraph
			if flows && !opened {
				m.lastAt, m.lastIn = p, j
				return
			}
		}
		switch what {
		case quotation:
			b := m.opens(n, p, quotation)
			m.n, m.leaf = n, noShape
			m.emit(b)
			m.stack[n] = container{inner: b.depth + 1}
			j, col, base = afterQuote(text, j, c, col)
		case listItem:
			b := m.opens(n, p, listBlock)
			if opened || n == m.n || m.stack[n].quotes() || m.stack[n].mark != x.mark {
				m.emit(b)
			}
			m.n, m.leaf = n, noShape
			b.depth, b.shape = b.depth+1, listItem
			m.emit(b)
			k := container{mark: x.mark, inner: b.depth + 1, width: col - base + x.size}
			after := col + x.size
			i, to := indent(text, j+x.size, c, after)
			if k.empty = i == c; k.empty || to-after > 4 {
				k.width++
			} else {
				k.width += to - after
			}
			m.stack[n] = k
			j, col, base = i, to, base+k.width
		case headline: // by its underline, if it has no mark
			if x.size == 0 {
				m.underlined(text, p, x.level)
				return
			}
			m.n, m.leaf = n, noShape
			b := m.opens(n, p, headline)
			if n == 0 {
				b.level = x.level
				b.from, b.to = headingWords(text, j, c, x.size)
			}
			m.emit(b)
			return
		case pipeTable:
			m.tabulates(text, c)
			return
		default:
			m.n, m.leaf, m.leafAt, m.lastAt, m.lastIn = n, what, p, p, j
			b := m.opens(n, p, what)
			switch what {
			case thematic:
				m.leaf = noShape
			case fence:
				m.mark, m.marks = text[j], x.size
				b.from, b.to = j, j+len(strings.TrimRight(text[j:c], " \t"))
			case htmlBlock:
				if m.ends = x.level; m.ends < 6 && htmlEnds(text[j:c], m.ends) {
					m.leaf = noShape
				}
			}
			if what != paragraph || !opened {
				m.emit(b)
			}
			return
		}
		n++
		m.n = n
		if j == c {
			return
		}
	}
}

// afterQuote returns what follows the mark of a quotation at j, its column, and the column where the quotation begins.
func afterQuote(text string, j, c, col int) (int, int, int) {
	base := col + 1
	if j+1 < c && (text[j+1] == ' ' || text[j+1] == '\t') {
		base++
	}
	j, col = indent(text, j+1, c, col+1)
	return j, max(col, base), base
}

// opens is the block that starts at p in n containers.
func (m *markdownScan) opens(n, p int, what shape) passage {
	b := passage{at: p, shape: what, kind: Prose}
	if n > 0 {
		b.depth = m.stack[n-1].inner
		b.kind = List
		if m.stack[0].quotes() {
			b.kind = Quote
		}
	}
	switch what {
	case listBlock, quotation:
		if n == 0 && what == listBlock {
			b.kind = List
		} else if n == 0 {
			b.kind = Quote
		}
	case fence, indented:
		b.kind = Code
	case htmlBlock:
		b.kind = Markup
	case pipeTable:
		b.kind = Table
	}
	return b
}

func (m *markdownScan) emit(b passage) {
	b.lead, b.rank = b.at, b.level
	if b.depth == 0 {
		if up := &m.above; up.level > 0 && (b.level == 0 || b.level > up.level) {
			b.lead, b.rank = up.lead, up.rank
		}
		if b.level == 0 {
			b.turns = m.region != Unknown && m.region != b.kind
			m.former, m.region = m.region, b.kind
		}
		m.before, m.above = m.above, b
	}
	b.joins = b.shape == paragraph && m.joint == paragraph && b.depth == m.deep
	m.joint, m.deep = b.shape, b.depth
	m.blocks = append(m.blocks, b)
}

// underlined makes a heading of the open paragraph.
func (m *markdownScan) underlined(text string, p int, level uint8) {
	m.leaf = noShape
	if m.n > 0 {
		return
	}
	b := m.above
	b.shape, b.level = headline, level
	b.from, _ = indent(text, b.at, p, 0)
	b.to = b.from + len(strings.TrimRight(text[b.from:p], " \t\r\n"))
	m.blocks = m.blocks[:len(m.blocks)-1]
	m.above, m.region = m.before, m.former
	m.emit(b)
}

// tabulates makes a table of the last line of the open paragraph; the line that ends at c parts its header from its rows.
func (m *markdownScan) tabulates(text string, c int) {
	b := m.opens(m.n, m.lastAt, pipeTable)
	b.from, _ = indent(text, m.lastAt, c, 0)
	b.to = c
	m.leaf = pipeTable
	if k := len(m.blocks) - 1; k >= 0 && m.blocks[k].at == m.lastAt && m.blocks[k].shape == paragraph {
		m.blocks = m.blocks[:k]
		if b.depth == 0 {
			m.above, m.region = m.before, m.former
		}
	}
	m.emit(b)
}

// start says more of what a line starts.
type start struct {
	size  int   // of its mark: #, ```, - or 1.
	level uint8 // of a heading, or the kind of an HTML block
	mark  byte  // of a list
}

// starts says what a line starts, of which s is what is behind its containers and its indentation of in columns; it is
// not blank; it begins at p. head is the last line of the open paragraph, if that could be the header of a table. flows says that a paragraph or a table is open that s would go on, lazy that it may even so, though its
// containers do not.
func (m *markdownScan) starts(s, head string, flows, lazy bool, in, p int, long bool) (shape, start) {
	text := paragraph
	if lazy {
		text = paragraphGoesOn
	}
	if in >= 4 {
		if lazy {
			return text, start{}
		}
		return indented, start{}
	}
	b := s[0]
	switch {
	case b == '>':
		return quotation, start{}
	case b == '<':
		if kind := htmlStarts(s, lazy, long); kind > 0 {
			return htmlBlock, start{level: kind}
		}
	case b == '#' && !long:
		if n := run(s, '#'); n <= 6 && (n == len(s) || s[n] == ' ' || s[n] == '\t') {
			return headline, start{size: n, level: uint8(n)}
		}
	case (b == '`' || b == '~') && !long:
		if n := run(s, b); n >= 3 && (b == '~' || strings.IndexByte(s[n:], '`') < 0) {
			return fence, start{size: n}
		}
	}
	if flows && m.leaf == paragraph && !long {
		if (b == '=' || b == '-') && p-m.leafAt <= lookLine && strings.TrimRight(s[run(s, b):], " \t") == "" {
			if b == '=' {
				return headline, start{level: 1}
			}
			return headline, start{level: 2}
		}
	}
	if (b == '-' || b == '_' || b == '*') && !long && isRule(s) {
		return thematic, start{}
	}
	if b == '-' || b == '*' || b == '+' || '0' <= b && b <= '9' {
		n, one := 1, true
		if b <= '9' && b >= '0' {
			for n < len(s) && n < 10 && '0' <= s[n] && s[n] <= '9' {
				n++
			}
			if n == 10 || n == len(s) || s[n] != '.' && s[n] != ')' {
				return text, start{}
			}
			one = strings.TrimLeft(s[:n], "0") == "1" // "01" too, as number
			b = s[n]
			n++
		}
		switch rest := strings.TrimLeft(s[n:], " \t"); {
		case n < len(s) && s[n] != ' ' && s[n] != '\t', flows && (!one || rest == ""):
		default:
			return listItem, start{size: n, mark: b}
		}
	}
	if flows && head != "" && (b == '|' || b == '-' || b == ':') {
		if n := delimiterCells(s); n > 0 && n == cells(head) {
			return pipeTable, start{}
		}
	}
	return text, start{}
}

// run is how many of b the string s begins with.
func run(s string, b byte) int {
	n := 0
	for n < len(s) && s[n] == b {
		n++
	}
	return n
}

// isRule reports whether s is a thematic break: three or more of its first byte, and else only white space.
func isRule(s string) bool {
	n := 0
	for i := range len(s) {
		switch s[i] {
		case s[0]:
			n++
		case ' ', '\t':
		default:
			return false
		}
	}
	return n >= 3
}

// fenceEnds reports whether s closes a fence of n marks.
func fenceEnds(s string, mark byte, n int) bool {
	k := run(s, mark)
	return k >= n && strings.TrimRight(s[k:], " \t") == ""
}

// headingWords is where the words of the heading text[j:c] are, whose mark is n long: without the mark, white space and closing
// marks; the mark itself if there are none.
func headingWords(text string, j, c, n int) (from, to int) {
	s := strings.TrimRight(text[j:c], " \t")
	k := len(s)
	for k > n && s[k-1] == '#' {
		k--
	}
	if k < len(s) && (k == n || s[k-1] == ' ' || s[k-1] == '\t') {
		s = strings.TrimRight(s[:k], " \t")
	}
	if len(s) <= n {
		return j, j + n
	}
	rest := strings.TrimLeft(s[n:], " \t")
	return j + len(s) - len(rest), j + len(s)
}

// cells is how many cells the row s of a table has: parts between pipes that have no backslash before them. Pipes at the
// ends of the row are no more than that.
func cells(s string) int {
	s = strings.Trim(s, " \t\r\n")
	n := 1
	for i := range len(s) {
		if s[i] == '|' && (i == 0 || s[i-1] != '\\') {
			if n++; i == 0 || i == len(s)-1 {
				n--
			}
		}
	}
	return n
}

// delimiterCells is how many cells s has if it parts the header of a table from its rows, else 0.
func delimiterCells(s string) int {
	s = strings.Trim(s, " \t")
	n := 1
	dashes, colon, gap, plain := 0, false, false, true // in this cell; plain: there is nothing but dashes in the row
	for i := range len(s) {
		switch s[i] {
		case '-':
			if colon && dashes > 0 || gap && (colon || dashes > 0) {
				return 0
			}
			dashes++
		case ':':
			if gap && dashes > 0 || colon && dashes == 0 {
				return 0
			}
			colon, plain = true, false
		case ' ', '\t':
			gap = dashes > 0 || colon
			plain = false
		case '|':
			plain = false
			if i == 0 {
				continue
			}
			if dashes == 0 {
				return 0
			}
			if i < len(s)-1 {
				n++
			}
			if i < len(s)-1 {
				dashes = 0
			}
			colon, gap = false, false
		default:
			return 0
		}
	}
	if dashes == 0 || plain {
		return 0
	}
	return n
}

// htmlStarts says which of the seven kinds of HTML block s starts, or 0. lazy says that it would interrupt a paragraph,
// which the last kind may not do.
func htmlStarts(s string, lazy, long bool) uint8 {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '?':
		return 3
	case '!':
		switch {
		case strings.HasPrefix(s, "<!--"):
			return 2
		case strings.HasPrefix(s, "<![CDATA["):
			return 5
		case len(s) > 2 && isLetter(s[2]):
			return 4
		}
		return 0
	}
	i := 1
	closing := s[1] == '/'
	if closing {
		i = 2
	}
	var lower [16]byte
	n := 0
	for i+n < len(s) && n < len(lower) && (isLetter(s[i+n]) || n > 0 && '0' <= s[i+n] && s[i+n] <= '9') {
		lower[n] = s[i+n] | 0x20 // a digit stays what it is
		n++
	}
	if n == 0 {
		return 0
	}
	tag, rest := blockTags[string(lower[:n])], s[i+n:]
	ends := rest == "" || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '>'
	switch {
	case tag == 1 && !closing && ends:
		return 1
	case tag == 6 && (ends || strings.HasPrefix(rest, "/>")):
		return 6
	case tag != 1 && !lazy && !long && wholeTag(s):
		return 7
	}
	return 0
}

// blockTags are the elements that start an HTML block of kind 1 or 6.
var blockTags = func() map[string]uint8 {
	tags := map[string]uint8{"script": 1, "pre": 1, "style": 1, "textarea": 1}
	for _, t := range strings.Fields("address article aside base basefont blockquote body caption center col colgroup dd " +
		"details dialog dir div dl dt fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header " +
		"hr html iframe legend li link main menu menuitem nav noframes ol optgroup option p param search section summary " +
		"table tbody td tfoot th thead title tr track ul") {
		tags[t] = 6
	}
	return tags
}()

// wholeTag reports whether s is an opening or a closing tag, and nothing else.
func wholeTag(s string) bool {
	s = strings.TrimRight(s, " \t")
	i := 1
	closing := s[i] == '/'
	if closing {
		i++
	}
	for i < len(s) && (isLetter(s[i]) || s[i] == '-' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	space := func() bool {
		from := i
		for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
			i++
		}
		return i > from
	}
	for {
		spaced := space()
		switch {
		case i == len(s):
			return false
		case s[i] == '>':
			return i == len(s)-1
		case s[i] == '/' && !closing:
			return s[i:] == "/>"
		case closing || !spaced || !isLetter(s[i]) && s[i] != '_' && s[i] != ':':
			return false
		}
		for i < len(s) && strings.IndexByte(" \t\"'=<>`/", s[i]) < 0 {
			i++
		}
		name := i
		space()
		if i == len(s) || s[i] != '=' {
			i = name
			continue
		}
		i++
		space()
		if i == len(s) {
			return false
		}
		if q := s[i]; q == '"' || q == '\'' {
			n := strings.IndexByte(s[i+1:], q)
			if n < 0 {
				return false
			}
			i += n + 2
			continue
		}
		from := i
		for i < len(s) && strings.IndexByte(" \t\"'=<>`", s[i]) < 0 {
			i++
		}
		if i == from {
			return false
		}
	}
}

// htmlEnds reports whether the line s, or the rest of one, ends an HTML block of kind 1 to 5.
func htmlEnds(s string, kind uint8) bool {
	switch kind {
	case 2:
		return strings.Contains(s, "-->")
	case 3:
		return strings.Contains(s, "?>")
	case 4:
		return strings.IndexByte(s, '>') >= 0
	case 5:
		return strings.Contains(s, "]]>")
	}
	for {
		i := strings.Index(s, "</")
		if i < 0 {
			return false
		}
		s = s[i+2:]
		for _, tag := range [...]string{"script>", "pre>", "style>", "textarea>"} {
			if len(s) >= len(tag) && strings.EqualFold(s[:len(tag)], tag) {
				return true
			}
		}
	}
}
