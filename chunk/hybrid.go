package chunk

import (
	"iter"
	"slices"
	"strings"
)

// hybrid cuts a document of several kinds of text, each by what suits it. Blocks that fit into a chunk share chunks as in
// markdown. A block that does not fit is cut, and then it and what is next to it in the same chunk are of one Kind, unless
// mix is true. So the Kind of a chunk that holds a part of a block says by which strategy it was cut:
//
//	Prose, Quote      as sentence does; paragraphs stay whole where they fit
//	List              between items, outermost first, then as sentence does
//	Table             between rows, then cells, with the header as context
//	Code              as code does, in the language that the fence names, else in the language other; the lines that open
//	                  and close a fence stay with the code next to them where there is a choice. Context are the
//	                  declarations around and the first line of the fence
//	Markup (HTML)     as html does, with the headings and table headers of the region as context
//	FrontMatter       at line ends
//
// Inside of lists and quotations it is the innermost block that is cut so; a chunk that holds more than a part of that one is
// of the Kind List or Quote. A chunk of the Kind Mixed holds whole blocks only, unless mix is true or min_chunk_size wants more.
//
// What else holds for markdown holds here: context, overlap, headings, and how far it looks ahead, which is 288 bytes more.
type hybrid struct {
	sizing
	Mix           bool `json:"mix,omitempty"`
	ContextInSize bool `json:"context_in_size,omitempty"`
}

const hybridSummary = "Cuts each region of a mixed document by what suits it: prose in sentences, tables in rows, code between " +
	"declarations, HTML between elements, lists in items."

func (z *hybrid) fields() []field {
	return append(z.sizing.fields(),
		field{
			"mix", `{"type":"boolean","default":false,` +
				`"description":"Whether a part of what does not fit into a chunk may share one with what is of another kind."}`,
			func(v value) *ParamError { return v.boolean(&z.Mix) },
		},
		contextField(&z.ContextInSize))
}

// Split cuts text as the type says.
func (z *hybrid) Split(text string) iter.Seq[Chunk] { return splitWalk(z, text) }

func (z *hybrid) walk() walk {
	w := newMarkdownWalk(z.sizing, z.ContextInSize)
	w.regions = &regions{prose: (&sentence{sizing: z.sizing}).cut, mix: z.Mix}
	w.ahead = sentenceAhead // which is more than code and HTML need
	return w.undivided()
}

// regions cut inside of the blocks of a document for a markdownWalk.
type regions struct {
	prose cutter
	mix   bool
	// open are the blocks of code and HTML that some chunk was to be cut in, in order: the one that the next chunk starts in,
	// if it does, and some behind it.
	open []region
}

// region is a block of code or HTML, and what finds places to cut in it.
type region struct {
	at   int // where the block starts, in the document
	walk *structureWalk

	context, outer, all *Context // the last context in it, what is around it, and both
}

// apart reports whether a block that is cut shares no chunk with what is of another kind.
func (r *regions) apart() bool { return r != nil && !r.mix }

func (r *regions) kept(start int) int {
	keep := start
	for i := range r.open {
		keep = min(keep, r.open[i].walk.outline.kept(start))
	}
	return keep
}

func (r *regions) drop(n int) {
	for i := range r.open {
		r.open[i].walk.drop(n)
	}
}

// tear finds the best end of a chunk in (lo, hi] inside of leaf.
func (r *regions) tear(w *markdownWalk, leaf *passage, lo, mid, hi int) (int, Boundary) {
	switch leaf.shape {
	case fence, indented, htmlBlock:
		s := r.at(w, leaf).walk
		s.start, s.end = w.start, w.end
		return s.cutAtMark(w.text, lo, mid, hi)
	case pipeTable, thematic, frontMatter:
		return leaf.tear(w.text, lo, mid, hi)
	}
	return r.prose(w.text, lo, mid, hi)
}

// at is the region that is the block b. If it is not open yet, b starts in the window.
func (r *regions) at(w *markdownWalk, b *passage) *region {
	at := w.base + b.at
	i, found := slices.BinarySearchFunc(r.open, at, func(x region, at int) int { return x.at - at })
	if !found {
		r.open = slices.Insert(r.open, i, region{at: at, walk: outlined(w.text, b)})
		r.open[i].walk.base = w.base
	}
	return &r.open[i]
}

// outlined is what finds places to cut in b.
func outlined(text string, b *passage) *structureWalk {
	switch b.shape {
	case htmlBlock:
		return htmlFrom(b.at)
	case fence:
		info := strings.TrimLeft(text[b.from:b.to], text[b.from:b.from+1])
		mark := text[b.from : b.to-len(info)]
		w := codeFrom(fenceLanguage(info), lineBehind(text, b.to))
		w.code.fence = mark[:min(len(mark), codeAhead/2)]
		for _, c := range []byte(text[b.at:b.from]) {
			if w.code.margin++; c == '\t' {
				w.code.margin = (w.code.margin + 3) &^ 3
			}
		}
		return &w.structureWalk
	}
	w := codeFrom(languages[len(languages)-1], b.at)
	w.code.margin = 4
	return &w.structureWalk
}

// lineBehind is where the line behind the one that i is at the end of starts.
func lineBehind(text string, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	if i < len(text) && text[i] == '\r' {
		i++
	}
	if i < len(text) && text[i] == '\n' {
		i++
	}
	return i
}

// fenceLanguage is the language that the info string of a fence names: its first word, in braces or not, up to what is no
// part of a name.
func fenceLanguage(info string) *language {
	name := strings.ToLower(strings.TrimLeft(info, " \t{."))
	if i := strings.IndexAny(name, " \t,:;{}[]("); i >= 0 {
		name = name[:i]
	}
	if l := findLanguage(name); l != nil {
		return l
	}
	return languages[len(languages)-1]
}

// current is the region that the next chunk starts inside of, or nil.
func (r *regions) current(w *markdownWalk) *region {
	if len(r.open) == 0 || len(w.open) == 0 {
		return nil
	}
	if b := &w.open[len(w.open)-1]; r.open[0].at == w.base+b.at && b.at < w.start {
		return &r.open[0]
	}
	return nil
}

// arrive opens the region that the next chunk starts inside of, and forgets those before.
func (r *regions) arrive(w *markdownWalk) {
	n := 0
	for n < len(r.open) && r.open[n].at < w.base+w.start {
		n++
	}
	if len(w.open) == 0 {
		r.open = slices.Delete(r.open, 0, n)
		return
	}
	b := &w.open[len(w.open)-1]
	inside := b.at < w.start && (b.shape == fence || b.shape == indented || b.shape == htmlBlock)
	if inside && n > 0 && r.open[n-1].at == w.base+b.at {
		n--
	}
	r.open = slices.Delete(r.open, 0, n)
	if inside {
		s := r.at(w, b).walk
		s.start, s.end = w.start, w.end
		s.forget()
	}
}

// pass reads the region that the next chunk starts in up to to.
func (r *regions) pass(w *markdownWalk, to int) {
	if x := r.current(w); x != nil {
		x.walk.start, x.walk.end = w.start, w.end
		x.walk.outline.read(w.text, to)
	}
}

// around is the context of a chunk from the start of w on, of which outer is what does not come of regions.
func (r *regions) around(w *markdownWalk, outer *Context) *Context {
	x := r.current(w)
	if x == nil {
		return outer
	}
	r.pass(w, w.start)
	var c *Context
	if i := x.walk.holds(w.start); i >= 0 {
		c = x.walk.marks[i].ctx
	}
	if x.context != c || x.outer != outer {
		x.context, x.outer, x.all = c, outer, under(c, outer)
	}
	return x.all
}

// under is the context c of a region with what is around the region around it. A heading of HTML takes the place of those of
// its level and below.
func under(c, outer *Context) *Context {
	if c == nil {
		return outer
	}
	if c.Up == nil && c.Kind == Heading {
		outer = outer.below(c.Level)
	}
	whole := *c
	whole.Up = under(c.Up, outer)
	return &whole
}

// settled is the context of the chunk from the start of w to end, which was thought to be around: what the region holds up to
// end may tell better where its start belongs.
func (r *regions) settled(w *markdownWalk, around *Context, end int) *Context {
	x := r.current(w)
	if x == nil {
		return around
	}
	x.walk.start, x.walk.end = w.start, end
	x.walk.outline.read(w.text, end)
	c := w.around()
	if c == around || !w.context {
		return c
	}
	size := w.size(w.start, end)
	for up := c; up != nil; up = up.Up {
		size += w.full.size(up.Text)
	}
	if size > w.full.ChunkSize { // seldom: other context than was thought of
		return nil
	}
	return c
}
