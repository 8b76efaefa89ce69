package chunk

// mark is a place where the structure of a document offers a cut, and what holds from there to the next mark.
type mark struct {
	at    int
	ctx   *Context
	rank  Boundary // what it is chosen by; Character is no place to cut
	said  Boundary // what a chunk that ends here says of it
	depth uint8    // of two with one rank the one with less is better
	kinds uint8    // what the text up to the next mark holds: a bit for each Kind, bit 0 for what has none
	lines bool     // line ends in it are the text's own
}

// outline reads a document for a structureWalk and adds marks to it, in order. What it knows of the text up to a place
// depends on nothing beyond that place and the ahead bytes behind it.
type outline interface {
	// read goes on from where it stopped to the first place behind to that suits it.
	read(text string, to int)
	// cut is the cutter for a stretch in which no mark will do.
	cut(text string, lo, mid, hi int) (int, Boundary)
	// aligned returns the first place in [s, at] where a chunk may start although the one before it ends at at.
	aligned(text string, s, at int) int
	// kept is the place before which it will not look, at most start; drop says that the window lost its first n bytes.
	kept(start int) int
	drop(n int)
	// forget says that nobody asks for anything before start again.
	forget(start int)
}

// structureWalk ends chunks at the marks of an outline. The rule:
//
// Of the marks in reach, those of the highest rank count. If it is strong, they count wherever they are: the outermost
// ones of the second half of chunk_size, else those of the first; of these the last. Lower ranks count in the second half
// first. With no mark, the outline cuts. A place with nothing between the start of the chunk and itself does not count.
//
// Overlap stops at the last strong mark before the end of the chunk it reaches into.
type structureWalk struct {
	sizedWalk
	outline outline
	strong  Boundary // the lowest strong rank
	overlap Boundary // the lowest rank that overlap does not reach across
	near    bool     // ranks that are not strong count in the second half only
	plain   Kind     // of a chunk that holds nothing that has a kind

	marks []mark

	inSize  bool // chunk_size is for a chunk and its context together
	full    int  // chunk_size
	soft    int  // soft_chunk_size
	counted counted
}

// counted remembers of a context how much of it fits.
type counted struct {
	whole, kept *Context
	size        int
}

// contextField is the setting context_in_size.
func contextField(to *bool) field {
	return field{
		"context_in_size", `{"type":"boolean","default":false,` +
			`"description":"chunk_size is for a chunk and its context together; of context that would take more than half, the ` +
			`outermost is left out."}`,
		func(v value) *ParamError { return v.boolean(to) },
	}
}

// onwardWalk hides that a walk has a place: its chunks depend on more of what came before, so no other walk can begin there.
type onwardWalk struct{ walk }

// init sets what all structure walks have.
func (w *structureWalk) init(z sizing, contextInSize bool, o outline, ahead int) {
	w.sizedWalk = sizedWalk{measure: measure{sizing: z}, cut: w.cutAtMark, ahead: ahead}
	w.outline, w.inSize, w.full, w.soft = o, contextInSize, z.ChunkSize, z.SoftChunkSize
}

func (w *structureWalk) kept() int { return w.outline.kept(w.sizedWalk.kept()) }

func (w *structureWalk) drop(n int) {
	w.sizedWalk.drop(n)
	w.outline.drop(n)
	for i := range w.marks {
		w.marks[i].at -= n
	}
}

func (w *structureWalk) next(text string, last bool) (Chunk, bool) {
	if w.inSize {
		var ctx *Context
		if i := w.holds(w.start); i >= 0 {
			ctx = w.fitting(w.marks[i].ctx)
		}
		size := w.full
		if ctx != nil {
			size -= w.counted.size
		}
		if size != w.ChunkSize {
			w.ChunkSize, w.limit = size, 0
			if w.SoftChunkSize = w.soft; w.soft >= size {
				w.SoftChunkSize = 0
			}
		}
	}
	c, ok := w.sizedWalk.next(text, last)
	if !ok {
		if w.skip { // nothing but white space has come: what holds no chunk is not kept for the outline
			w.outline.read(text, min(w.start, len(text)-slack-w.ahead)-1)
		}
		return c, false
	}
	start, end := c.Start-w.base, c.End-w.base
	w.outline.read(text, end)
	w.describe(&c, start, end)
	if w.start < w.end {
		w.start = w.alignedStart(text)
	}
	w.forget()
	return c, true
}

// describe fills in what the marks say of the chunk.
func (w *structureWalk) describe(c *Chunk, start, end int) {
	kinds := uint8(0)
	i := w.holds(start)
	if i >= 0 {
		c.Context = w.marks[i].ctx
	}
	for i = max(i, 0); i < len(w.marks) && w.marks[i].at < end; i++ {
		kinds |= w.marks[i].kinds
	}
	c.Kind = w.plain
	if kinds &^= 1; kinds != 0 {
		c.Kind = Mixed
		for k := Unknown; k < Mixed; k++ {
			if kinds == 1<<k {
				c.Kind = k
			}
		}
	}
	if w.inSize && c.Context != nil {
		ctx := w.fitting(c.Context)
		if ctx != nil && w.counted.size+w.size(start, end) > w.full { // seldom: other context than was thought of
			ctx = nil
		}
		c.Context = ctx
	}
}

// fitting is the innermost part of ctx that takes at most half of what a chunk has for what is new. Its size is then in
// counted.
func (w *structureWalk) fitting(ctx *Context) *Context {
	k := &w.counted
	if ctx == nil || ctx == k.whole {
		if ctx == nil {
			return nil
		}
		return k.kept
	}
	*k = counted{whole: ctx, kept: ctx}
	room := min((w.full-w.ChunkOverlap)/2, w.full-w.ChunkOverlap-leastSize(w.Unit))
	n := 0
	for x := ctx; x != nil; x = x.Up {
		size := w.sizing.size(x.Text)
		if k.size+size > room {
			k.kept = shortened(ctx, n)
			break
		}
		k.size += size
		n++
	}
	return k.kept
}

// shortened is a copy of the innermost n pieces of ctx.
func shortened(ctx *Context, n int) *Context {
	if n == 0 {
		return nil
	}
	x := *ctx
	x.Up = shortened(ctx.Up, n-1)
	return &x
}

// holds returns the last mark at or before at, or -1.
func (w *structureWalk) holds(at int) int {
	lo, hi := 0, len(w.marks)
	for lo < hi {
		if mid := (lo + hi) / 2; w.marks[mid].at <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// alignedStart moves the start of an overlap on to where the structure allows it.
func (w *structureWalk) alignedStart(text string) int {
	s := w.start
	for i := w.holds(w.end); i >= 0 && w.marks[i].at > s; i-- {
		if w.marks[i].rank >= w.overlap {
			s = w.marks[i].at
			break
		}
	}
	for s < w.end {
		if s = w.outline.aligned(text, s, w.end); w.size(s, w.end) <= w.ChunkOverlap {
			break
		}
		s += runeLen(text, s)
	}
	return min(s, w.end)
}

func (w *structureWalk) forget() {
	if i := w.holds(w.start); i > 0 {
		w.marks = w.marks[:copy(w.marks, w.marks[i:])]
	}
	w.outline.forget(w.start)
}

// cutAtMark is the cutter.
func (w *structureWalk) cutAtMark(text string, lo, mid, hi int) (int, Boundary) {
	w.outline.read(text, hi)
	at, said, best, ink := 0, Character, 0, false
	for i := range w.marks {
		m := &w.marks[i]
		if m.at > hi {
			break
		}
		if m.at > lo && ink && m.rank > Character {
			if score := w.score(m, mid); score >= best {
				at, said, best = m.at, m.said, score
			}
		}
		ink = ink || m.kinds != 0
	}
	if best > 0 {
		return at, said
	}
	return w.outline.cut(text, lo, mid, hi)
}

// score is greater for a better mark; of equal ones the last is best.
func (w *structureWalk) score(m *mark, mid int) int {
	second := m.at > mid
	outer := 0
	if second {
		outer = 255 - int(m.depth)
	}
	half := 0
	if second {
		half = 1
	}
	switch {
	case m.rank >= w.strong:
		return 1<<24 | int(m.rank)<<12 | half<<10 | outer + 1
	case second || !w.near:
		return half<<20 | int(m.rank)<<12 | outer + 1
	}
	return 0
}
