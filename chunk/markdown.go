package chunk

import (
	"fmt"
	"iter"
	"math/bits"
	"strings"
)

// markdown cuts a Markdown document between its blocks (see markdownScan for what those are). A chunk takes as many whole
// blocks as fit. Where it ends, best first:
//
//	section    before a heading in the second half of chunk_size: the highest there, of equals the last
//	block      before the block that does not fit any more, on the top level, then in lists and quotations
//	inside     in that block, if it does not fit into a chunk of its own and starts in the first half of this one
//
// Headings stay with what follows them, unless that is a block which must stay whole and fits only without them. Text
// (paragraphs, list items, quotations, HTML) is cut inside as recursive does, code at line ends, a table between its rows,
// a row that does not fit between its cells. Every chunk has the headings above it as its context; one that begins inside a
// fence or a table also has the first line of the fence or the header of the table.
//
// With split_headings n, each heading of level n or less starts a chunk unless that makes the one before smaller than
// min_chunk_size. With context_in_size a chunk and its context together stay within chunk_size; context that would take more
// than half of it is left out, the outermost first.
//
// chunk_overlap reaches back into text of the same section only: not over a heading, nor into or out of code, tables,
// HTML and front matter; with context_in_size it is at most a quarter of chunk_size.
//
// A chunk is of the Kind of its blocks on the top level, or of the block that it lies inside of; a heading is of the kind
// of what is with it.
//
// Divide cuts a document in parts, but with context_in_size, where sizes depend on all headings before. A part that begins inside
// of a fence, a list or the like is cut once more by Join.
//
// A pull looks ahead by no more than chunk_size once again (at most 64 bytes for each unit of it, in tokens 16), and
// 16 KiB. What does not show by then is read as text.
type markdown struct {
	sizing
	SplitHeadings int  `json:"split_headings,omitempty"`
	ContextInSize bool `json:"context_in_size,omitempty"`
}

const markdownSummary = "Cuts Markdown between sections and blocks; code and tables stay whole where they fit, and every chunk " +
	"knows its headings."

func (z *markdown) fields() []field {
	return append(z.sizing.fields(),
		field{
			"split_headings", `{"type":"integer","minimum":0,"maximum":6,"default":0,` +
				`"description":"Headings up to this level always start a chunk; 0 for none."}`,
			func(v value) *ParamError { return v.integer(&z.SplitHeadings) },
		},
		contextField(&z.ContextInSize))
}

func (z *markdown) check(p Parser) *ParamError {
	if z.SplitHeadings < 0 || z.SplitHeadings > 6 {
		return &ParamError{
			Param: "split_headings", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is 0 to 6", z.SplitHeadings),
			Suggestion: "use 2 for a chunk at each heading of the first two levels, or leave it out",
		}
	}
	return z.sizing.check(p)
}

// Split cuts text as the type says.
func (z *markdown) Split(text string) iter.Seq[Chunk] { return splitWalk(z, text) }

func (z *markdown) walk() walk {
	w := newMarkdownWalk(z.sizing, z.ContextInSize)
	w.splits = z.SplitHeadings
	return w.undivided()
}

// undivided hides that w could begin anywhere where the context counts: it depends on all of the document before.
func (w *markdownWalk) undivided() walk {
	if w.context {
		return onwardWalk{w}
	}
	return w
}

// markdownWalk walks a document by its blocks.
type markdownWalk struct {
	measure
	scan       markdownScan
	base       int  // the window's place in the document
	start, end int  // where the next chunk starts, and where the one before it ended
	skip       bool // only white space has come since end
	splits     int  // up to which level headings start chunks
	inside     bool // start is inside of a block on the top level
	regions    *regions
	ahead      int // how far regions look beyond a limit

	full     sizing // what was asked for; that of measure is what the context leaves of it
	context  bool   // whether it does
	headless bool   // headers of tables are no context

	// Of the blocks of scan, the first seen start at or before start. open are those of them that start is inside of, by
	// their depth; path are the headings above, without title, which is there if start is in it.
	seen   int
	open   []passage
	title  passage
	path   *Context
	known  *Context // what the block that start is in is known by, in front of path
	opener int      // where that block starts in the document

	fitted, within *Context // a context, and what of it there is room for

	now []passage // open, of a place further on

	// expected is a place in the document; once start is past it, met says that a block on the top level starts there. What
	// follows does not depend on the blocks before it then, but for the path.
	expected int
	met      bool
}

func newMarkdownWalk(z sizing, context bool) *markdownWalk {
	if context {
		z.ChunkOverlap = min(z.ChunkOverlap, z.ChunkSize/4)
	}
	return &markdownWalk{measure: measure{sizing: z}, full: z, context: context, opener: -1}
}

// begin starts the walk where a block on the top level starts, below headings that are not known.
func (w *markdownWalk) begin(at int) {
	w.start, w.end, w.scan.pos, w.scan.inside = at, at, at, true
	w.path = unknownPath(7)
}

func (w *markdownWalk) place() (Span, bool) {
	return Span{w.base + w.start, w.base + w.end}, !w.skip && (w.regions == nil || !w.inside && len(w.regions.open) == 0)
}

// unknownPath stands for the headings of levels below level that are above a place. It is below them all.
func unknownPath(level int) *Context { return &Context{Level: -level} }

// below is the path c without what ends where a heading of that level starts.
func (c *Context) below(level int) *Context {
	for c != nil && c.Level >= level {
		c = c.Up
	}
	if c != nil && c.Level < -level {
		return unknownPath(level)
	}
	return c
}

// hang puts path in the place of an unknown one.
func (c *Context) hang(path *Context) *Context {
	if c != nil && c.Level < 0 {
		return path.below(-c.Level)
	}
	for x := c; x != nil; x = x.Up {
		if x.Up != nil && x.Up.Level < 0 {
			x.Up = x.Up.hang(path)
		}
	}
	return c
}

// hang puts path in the place of the unknown one that the walk began with.
func (w *markdownWalk) hang(path *Context) {
	w.path, w.known = w.path.hang(path), w.known.hang(path)
}

// pathBefore is what of the headings above the next chunk is before at.
func (w *markdownWalk) pathBefore(at int) *Context {
	c := w.path
	for c != nil && c.Start >= at {
		c = c.Up
	}
	return c
}

func (w *markdownWalk) kept() int {
	keep := min(w.start, w.scan.final())
	if w.title.level > 0 {
		keep = min(keep, w.title.from)
	}
	if n := len(w.open); n > 0 && w.open[n-1].to > w.start {
		keep = min(keep, w.open[n-1].from)
	}
	if w.regions != nil {
		keep = w.regions.kept(keep)
	}
	return max(0, keep-lookBack)
}

func (w *markdownWalk) drop(n int) {
	w.measure.drop(n)
	w.scan.drop(n)
	w.base += n
	w.start -= n
	w.end -= n
	w.title.drop(n)
	for i := range w.open {
		w.open[i].drop(n)
	}
	if w.regions != nil {
		w.regions.drop(n)
	}
}

func (w *markdownWalk) next(text string, last bool) (Chunk, bool) {
	w.text = text
	for w.start < len(text) {
		if w.skip {
			w.start = skipSpace(text, w.start, len(text))
			if w.regions != nil { // what holds no chunk is not kept for them
				w.regions.pass(w, min(w.start, len(text)-slack-w.ahead)-1)
			}
			if !w.scan.past(text, w.start, last) || !last && w.start > len(text)-slack {
				return Chunk{}, false
			}
			w.skip, w.end = false, w.start
		}
		if !w.scan.past(text, w.start, last) || !last && w.start > len(text)-slack-w.ahead {
			return Chunk{}, false
		}
		w.arrive()
		around := w.around()
		if !last && w.Unit == unitTokens && len(text)-w.start < 2*tokenBytes*w.ChunkSize {
			return Chunk{}, false
		}
		if w.splits > 0 || w.inside && w.regions.apart() {
			e, ok := w.nextSplit(w.start+w.full.bytes(), last)
			if !ok || !last && e.at > len(text)-slack-w.ahead {
				return Chunk{}, false
			}
			if e.at > 0 {
				return w.yield(e, around), true
			}
		}
		_, mid, limit := w.reach(w.start, w.ChunkSize)
		if !last && limit > len(text)-slack-w.ahead {
			return Chunk{}, false
		}
		ink := skipSpace(text, w.end, limit)
		switch {
		case limit == len(text) && ink == limit:
			return Chunk{}, false
		case ink == limit:
			w.start, w.skip = limit, true
			continue
		case limit <= w.end: // the context of this chunk leaves no room behind an overlap
			w.start = w.end
			continue
		}
		if limit == len(text) {
			w.scan.past(text, limit, true)
			if e := w.splitIn(max(w.end, ink), limit); e.at > 0 {
				return w.yield(e, around), true
			}
			return w.yield(ending{at: limit, next: limit, kind: End, why: AtEnd}, around), true
		}
		lo := min(max(w.end, ink), limit-1)
		if w.MinChunkSize > 0 {
			lo = min(max(lo, w.least(w.start, min(w.MinChunkSize, w.ChunkSize), limit)-1), limit-1)
		}
		var e ending
		ok := true
		if soft := w.SoftChunkSize; soft > 0 && soft < w.ChunkSize {
			if _, middle, hi := w.reach(w.start, soft); lo < hi {
				if e, ok = w.choose(lo, middle, hi, last); !ok {
					return Chunk{}, false
				}
			}
		}
		if !e.whole {
			softly := e
			if e, ok = w.choose(lo, mid, limit, last); !ok {
				return Chunk{}, false
			}
			if !e.whole && softly.kind > Character {
				e = softly
			}
		}
		for !w.measure.fits(e.at) { // seldom, and found within the bytes of a token
			hi := floorRune(text, e.at-1)
			if hi <= lo {
				e = ending{at: limit, next: limit, inside: true}
				break
			}
			e = ending{inside: true}
			e.at, e.kind = cutAtBest(text, lo, min(max(lo, mid), hi), hi)
			e.next = e.at
		}
		return w.yield(e, around), true
	}
	return Chunk{}, false
}

// ending is where a chunk ends, and where the next one starts if there is no overlap: behind white space that did not fit.
type ending struct {
	at, next int
	kind     Boundary
	why      Reason
	whole    bool // no block is cut that did fit
	inside   bool // the next chunk starts inside of a block on the top level
}

// yield is the chunk that ends so.
func (w *markdownWalk) yield(e ending, around *Context) Chunk {
	if w.regions != nil {
		around = w.regions.settled(w, around, e.at)
	}
	c := Chunk{
		Span: Span{w.base + w.start, w.base + e.at}, Boundary: e.kind, Reason: e.why, Kind: w.kind(e.at), Context: around,
	}
	to := e.next
	if w.ChunkOverlap > 0 && e.next == e.at && e.why != AtEnd {
		if run := w.run(e.at); run >= 0 {
			to = max(run, w.measure.next(w.start, e.at))
		}
	}
	w.start, w.end, w.inside = to, e.next, e.inside
	if e.why != AtEnd {
		w.arrive()
	}
	return c
}

// arrive takes in the blocks up to start.
func (w *markdownWalk) arrive() {
	blocks := w.scan.blocks
	for ; w.seen < len(blocks) && blocks[w.seen].at <= w.start; w.seen++ {
		b := blocks[w.seen]
		w.open = append(outer(w.open, b.depth), b)
		if b.level > 0 {
			w.pass()
			w.title = b
			w.path = w.path.below(int(b.level))
		}
		if b.depth == 0 && w.base+b.at == w.expected {
			w.met = true
		}
	}
	w.pass()
	if w.regions != nil {
		w.regions.arrive(w)
	}
	if w.seen > 64 && w.seen > len(blocks)/2 {
		w.scan.blocks = blocks[:copy(blocks, blocks[w.seen:])]
		w.seen = 0
	}
}

// pass adds title to path once it is above start.
func (w *markdownWalk) pass() {
	if b := &w.title; b.level > 0 && b.to <= w.start {
		w.path = w.piece(b, Heading)
		b.level = 0
	}
}

// piece is what b is known by, as context.
func (w *markdownWalk) piece(b *passage, kind ContextKind) *Context {
	return &Context{
		Span: Span{w.base + b.from, w.base + b.to}, Text: w.text[b.from:b.to], Kind: kind, Level: int(b.level), Up: w.path,
	}
}

// outer are the blocks around one of that depth.
func outer(open []passage, depth uint8) []passage {
	n := len(open)
	for n > 0 && open[n-1].depth >= depth {
		n--
	}
	return open[:n]
}

// around is the context of a chunk from start on. It leaves in ChunkSize what there is room for besides.
func (w *markdownWalk) around() *Context {
	c := w.path
	if n := len(w.open); n > 0 {
		if b := &w.open[n-1]; (b.shape == fence || b.shape == pipeTable && !w.headless) && b.to <= w.start && b.to < b.from+2*lookLine {
			if w.opener != w.base+b.at {
				kind := TableHeader
				if b.shape == fence {
					kind = FenceOpener
				}
				w.known, w.opener = w.piece(b, kind), w.base+b.at
			}
			c = w.known
		}
	}
	if w.regions != nil {
		c = w.regions.around(w, c)
	}
	if !w.context {
		return c
	}
	if w.fitted != c {
		w.fitted = c
		size := w.full.ChunkSize
		w.within = w.full.room(c, min(size/2, size-leastSize(w.Unit)))
		for x := w.within; x != nil; x = x.Up {
			size -= w.full.size(x.Text)
		}
		if w.ChunkSize != size {
			w.ChunkSize = size
			w.limit = 0
		}
	}
	return w.within
}

// room is c without the outermost pieces that are too much for size units.
func (z *sizing) room(c *Context, size int) *Context {
	if c == nil {
		return nil
	}
	if size -= z.size(c.Text); size < 0 {
		return nil
	}
	up := z.room(c.Up, size)
	if up == c.Up {
		return c
	}
	short := *c
	short.Up = up
	return &short
}

// bytes is how much text chunk_size is at most looked for in, besides what its words or tokens need if they are longer.
func (z *sizing) bytes() int {
	switch z.Unit {
	case unitBytes:
		return z.ChunkSize
	case unitChars:
		return 4 * z.ChunkSize
	case unitTokens:
		return 16 * z.ChunkSize
	}
	return 64 * z.ChunkSize
}

// nextSplit returns the first place up to far where a chunk has to start, if what is before it fits into one and is not too
// small; else at is 0. ok is false if there is too little to see. It costs as much as is before the place.
func (w *markdownWalk) nextSplit(far int, last bool) (e ending, ok bool) {
	size, from, most := 0, w.start, w.ChunkSize
	if w.SoftChunkSize > 0 {
		most = min(most, w.SoftChunkSize)
	}
	for k := w.seen; ; k++ {
		for k == len(w.scan.blocks) || w.scan.final() <= w.scan.blocks[k].at {
			if w.scan.pos > far {
				return e, true
			}
			if !w.scan.step(w.text, last) {
				if last && k < len(w.scan.blocks) {
					break
				}
				return e, last
			}
		}
		b := &w.scan.blocks[k]
		if b.at > far {
			return e, true
		}
		at := w.split(b)
		if at <= from || skipSpace(w.text, w.end, at) == at {
			continue
		}
		if size += w.size(from, at); size > most {
			return e, true
		}
		from = at
		if size >= w.MinChunkSize && (w.Unit != unitTokens || w.size(w.start, at) <= most) {
			return splitting(b, at), true
		}
	}
}

// split is where a chunk has to start because of b, or 0.
func (w *markdownWalk) split(b *passage) int {
	switch {
	case b.level > 0 && int(b.level) <= w.splits:
		return b.at
	case b.turns && w.inside && w.regions.apart():
		return b.lead
	}
	return 0
}

// splitting is the end of a chunk at at, where another one has to start because of b.
func splitting(b *passage, at int) ending {
	e := ending{at: at, next: at, kind: Block, why: AtStructure, whole: true}
	if b.rank > 0 {
		e.kind = Section
	}
	return e
}

// splitIn is the first place in (lo, hi] where a chunk has to start. The document ends at hi.
func (w *markdownWalk) splitIn(lo, hi int) ending {
	if w.MinChunkSize > 0 {
		lo = max(lo, w.least(w.start, min(w.MinChunkSize, w.ChunkSize), hi)-1)
	}
	for k := range w.scan.blocks[w.seen:] {
		b := &w.scan.blocks[w.seen+k]
		if at := w.split(b); at > lo {
			return splitting(b, at)
		}
	}
	return ending{}
}

// choose finds the end of a chunk in (lo, hi], by the rules of markdown; the second half begins at mid. ok is false if
// there is too little to see.
func (w *markdownWalk) choose(lo, mid, hi int, last bool) (e ending, ok bool) {
	text := w.text
	ink := skipSpace(text, hi, min(len(text), hi+lookLine)) // what does not fit
	if !last && ink > len(text)-slack || !w.scan.past(text, ink, last) {
		return e, false
	}
	if ink == len(text) || ink == hi+lookLine {
		e = ending{at: cutBack(text, lo, hi), next: hi, kind: Paragraph, whole: true}
		if ink == len(text) {
			e.next, e.kind, e.why = ink, End, AtEnd
		}
		return e, true
	}
	before := func(b *passage, at int) ending {
		e := ending{at: at, next: at, kind: Block, whole: true, inside: b.depth > 0}
		if at > hi {
			e.at = cutBack(text, lo, hi)
		}
		switch {
		case b.rank > 0 && at == b.lead:
			e.kind = Section
		case b.shape == listItem:
			e.kind = Row
		case b.joins:
			e.kind = Paragraph
		}
		return e
	}
	w.now = append(w.now[:0], w.open...)
	var section *passage
	turned := false // what is of several kinds is not cut inside
	k := w.seen
	for ; k < len(w.scan.blocks) && w.scan.blocks[k].at <= ink; k++ {
		b := &w.scan.blocks[k]
		w.now = append(outer(w.now, b.depth), *b)
		if b.at <= lo {
			continue
		}
		if at := w.split(b); at > lo {
			e := before(b, at)
			e.why = AtStructure
			if b.rank > 0 {
				e.kind = Section
			}
			return e, true
		}
		turned = turned || b.turns && b.lead > lo && w.regions.apart()
		if b.at > mid && b.level > 0 && b.at == b.lead && (section == nil || b.level <= section.level) {
			section = b
		}
	}
	if section != nil {
		return before(section, section.at), true
	}
	var back *passage // the innermost block that this chunk could end before, and where
	backAt := 0
	for i := range w.now {
		b := &w.now[i]
		if b.lead > lo {
			fits := b.lead > mid || b.at >= hi
			if !fits {
				if fits, ok = w.alone(b.lead, b.depth, k, last); !ok {
					return e, false
				}
			}
			if !fits && b.lead < b.at && b.stays() {
				if fits, ok = w.alone(b.at, b.depth, k, last); !ok {
					return e, false
				}
			}
			if fits {
				return before(b, b.lead), true
			}
			if turned && b.depth == 0 {
				e := before(b, b.lead)
				e.why = AtStructure
				return e, true
			}
			back, backAt = b, b.lead
		} else if b.lead < b.at && b.at > lo && (b.at >= hi || b.stays()) {
			fits := b.at >= hi
			if !fits {
				if fits, ok = w.alone(b.at, b.depth, k, last); !ok {
					return e, false
				}
			}
			if fits {
				return before(b, b.at), true
			}
		}
		if b.lead <= lo && lo < b.at {
			back, backAt = b, b.at
		}
	}
	leaf := passage{}
	if n := len(w.now); n > 0 {
		leaf = w.now[n-1]
	}
	from := max(lo, leaf.at)
	e.at, e.kind = w.tear(&leaf, from, max(from, mid), hi)
	if back != nil && (e.kind == Character || e.kind < Line && leaf.stays() || leaf.shape == fence && e.at <= lineBehind(text, leaf.to)) {
		return before(back, backAt), true
	}
	e.next, e.inside = e.at, true
	return e, true
}

// stays reports whether b should not be cut even if that leaves a heading alone.
func (b *passage) stays() bool {
	switch b.shape {
	case fence, indented, htmlBlock, pipeTable, headline, thematic, frontMatter:
		return true
	}
	return false
}

// alone reports whether a chunk could hold the text from at to the end of the block of that depth there. The blocks from
// the one numbered next on start behind it. ok is false if there is too little to see.
func (w *markdownWalk) alone(at int, depth uint8, next int, last bool) (fits, ok bool) {
	text := w.text
	far := len(text)
	if w.Unit != unitTokens {
		_, _, far = w.reach(at, w.ChunkSize)
	}
	if most := at + w.full.bytes(); far > most {
		far = floorRune(text, most)
	}
	ink := skipSpace(text, far, min(len(text), far+lookLine))
	if !last && ink > len(text)-slack || !w.scan.past(text, ink, last) {
		return false, false
	}
	end := len(text)
	fits = ink == end || ink == far+lookLine
	for k := next; k < len(w.scan.blocks) && w.scan.blocks[k].at <= ink; k++ {
		if b := &w.scan.blocks[k]; b.depth <= depth {
			fits, end = true, b.at
			break
		}
	}
	if fits && w.Unit == unitTokens {
		return w.size(at, spaceStart(text, at, min(end, far))) <= w.ChunkSize, true
	}
	return fits, true
}

// tear finds the best end of a chunk in (lo, hi] inside of leaf.
func (w *markdownWalk) tear(leaf *passage, lo, mid, hi int) (int, Boundary) {
	if w.regions != nil {
		return w.regions.tear(w, leaf, lo, mid, hi)
	}
	return leaf.tear(w.text, lo, mid, hi)
}

// tear finds the best end of a chunk in (lo, hi] inside of b.
func (b *passage) tear(text string, lo, mid, hi int) (int, Boundary) {
	switch b.shape {
	case fence, indented, frontMatter:
		if at, kind := lastLine(text, mid, hi); at > 0 {
			return at, kind
		}
		if at := lastLineEnd(text, lo, hi); at > 0 {
			return at, Line
		}
	case pipeTable:
		if at := lastLineEnd(text, max(lo, min(b.to, hi)), hi); at > 0 {
			return at, Row
		}
		for at := hi; at > lo; at-- {
			if text[at-1] == '|' && (at < 2 || text[at-2] != '\\') && isBreak(text, at) {
				return at, Clause
			}
		}
	}
	return cutAtBest(text, lo, mid, hi)
}

// lastLineEnd returns the last place in (lo, hi] behind a line end (LF, CR or CR LF), or 0.
func lastLineEnd(text string, lo, hi int) int {
	if i := lastNewline(text, lo, hi); i >= 0 {
		return i + 1
	}
	if strings.IndexByte(text[lo:hi], '\r') >= 0 {
		for i := hi; i > lo; i-- {
			if text[i-1] == '\r' && text[i] != '\n' {
				return i
			}
		}
	}
	return 0
}

// kind is what the chunk from start to at holds.
func (w *markdownWalk) kind(at int) Kind {
	var kinds uint
	inside := Prose
	if n := len(w.open); n > 0 {
		inside = w.open[n-1].kind
		if w.open[0].level == 0 {
			kinds = 1 << w.open[0].kind
		}
	}
	one := true
	for k := w.seen; k < len(w.scan.blocks) && w.scan.blocks[k].at < at; k++ {
		one = false
		if b := &w.scan.blocks[k]; b.depth == 0 && b.level == 0 {
			kinds |= 1 << b.kind
		}
	}
	switch {
	case one:
		return inside
	case kinds == 0:
		return Prose
	case kinds&(kinds-1) == 0:
		return Kind(bits.TrailingZeros(kinds))
	}
	return Mixed
}

// run returns where the text begins that an overlap before at may reach back into, or -1.
func (w *markdownWalk) run(at int) int {
	run := w.start
	if n := len(w.open); n > 0 && !w.open[n-1].flows() {
		run = -1
	}
	for k := w.seen; k < len(w.scan.blocks) && w.scan.blocks[k].at <= at; k++ {
		switch b := &w.scan.blocks[k]; {
		case !b.flows():
			run = -1
		case run < 0 && b.at < at:
			run = b.at
		}
	}
	return run
}

// flows reports whether b is text, or has only text in it before the next block.
func (b *passage) flows() bool {
	switch b.shape {
	case fence, indented, htmlBlock, pipeTable, frontMatter:
		return false
	}
	return b.level == 0
}
