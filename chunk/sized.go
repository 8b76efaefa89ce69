package chunk

// A cutter chooses where a chunk ends: at a rune boundary in (lo, hi], and says what kind of place that is. text[mid:hi]
// is the second half of what the chunk may hold. Some rune of the chunk that starts at or before lo is not white space,
// and hi < len(text). It examines nothing before the chunk but lookBack bytes, and nothing beyond hi but Slack.
type cutter func(text string, lo, mid, hi int) (at int, b Boundary)

const (
	// slack is how many bytes beyond a limit decide what a place there is: the rune behind it, and its neighbour's rest.
	slack = 8
	// lookBack is how many bytes before a chunk decide what a place in it is: clusterReach runes, rounded up.
	lookBack = 160
	// tokenBytes is how long a token can be.
	tokenBytes = 128
)

// sizedWalk walks a text once, choosing every end with cut. What cut cannot break is decided here: the limit, the
// overlap, progress, and that no chunk is white space only.
type sizedWalk struct {
	measure
	cut        cutter
	ideal      cutter // for the search up to soft_chunk_size, if it is another; Character where there is no ideal place
	ahead      int    // bytes beyond a limit that decide what a place there is, besides slack
	kind       Kind   // of all chunks
	base       int    // the window's place in the document
	start, end int    // where the next chunk starts, and where the one before it ended
	skip       bool   // only white space has come since end
}

func newSizedWalk(z sizing, cut cutter) walk {
	return &sizedWalk{measure: measure{sizing: z}, cut: cut}
}

func (w *sizedWalk) kept() int { return max(0, w.start-lookBack) }

func (w *sizedWalk) drop(n int) {
	w.measure.drop(n)
	w.base += n
	w.start -= n
	w.end -= n
}

func (w *sizedWalk) begin(at int) { w.start, w.end = at, at }

func (w *sizedWalk) place() (Span, bool) { return Span{w.base + w.start, w.base + w.end}, !w.skip }

func (w *sizedWalk) next(text string, last bool) (Chunk, bool) {
	w.text = text
	for w.start < len(text) {
		if w.skip {
			w.start = skipSpace(text, w.start, len(text))
			if !last && w.start > len(text)-slack { // what is here may be half of a character
				return Chunk{}, false
			}
			w.skip, w.end = false, w.start
			continue
		}
		if !last && w.Unit == unitTokens && len(text)-w.start < 2*tokenBytes*w.ChunkSize {
			return Chunk{}, false
		}
		floor, mid, limit := w.reach(w.start, w.ChunkSize)
		if !last && limit > len(text)-slack-w.ahead {
			return Chunk{}, false
		}
		ink := skipSpace(text, w.end, limit)
		soft := limit
		if w.SoftChunkSize > 0 {
			floor, mid, soft = w.reach(w.start, w.SoftChunkSize)
		}
		if limit == len(text) && ink == limit {
			return Chunk{}, false
		}
		if soft == len(text) {
			return w.finish(text)
		}
		if ink == limit && spaceStart(text, w.start, w.end) == w.start {
			w.start, w.skip = limit, true
			continue
		}
		at, b := 0, Character
		lo := min(max(w.end, floor), limit-1)
		if w.MinChunkSize > 0 {
			lo = min(max(lo, w.least(w.start, w.MinChunkSize, limit)-1), limit-1)
		}
		if ink < limit {
			lo = max(lo, ink)
		}
		switch {
		case ink == limit:
			at = cutBack(text, lo, limit)
		case soft == limit:
			at, b = w.cut(text, lo, mid, limit)
		default:
			if lo < soft && w.ideal != nil {
				at, b = w.ideal(text, lo, mid, soft)
			} else if lo < soft {
				at, b = w.cut(text, lo, mid, soft)
			}
			if b == Character { // no place to end where it should: go on as far as it may
				if limit == len(text) {
					return w.finish(text)
				}
				from := max(lo, soft)
				at, b = w.cut(text, min(from, limit-1), from, limit)
			}
		}
		for at < limit && !w.fits(at) { // seldom, and found within the bytes of a token
			hi := floorRune(text, at-1)
			switch {
			case hi <= lo:
				at, b = limit, Character
			case ink < limit:
				at, b = w.cut(text, lo, min(mid, hi), hi)
			default:
				at = cutBack(text, lo, hi)
			}
		}
		if at == len(text) {
			return w.finish(text)
		}
		c := Chunk{Span: Span{w.base + w.start, w.base + at}, Boundary: b, Reason: AtLimit, Kind: w.kind}
		w.start, w.end = w.measure.next(w.start, at), at
		return c, true
	}
	return Chunk{}, false
}

// finish is the last chunk, which ends where the text does.
func (w *sizedWalk) finish(text string) (Chunk, bool) {
	c := Chunk{Span: Span{w.base + w.start, w.base + len(text)}, Boundary: End, Reason: AtEnd, Kind: w.kind}
	w.start, w.end = len(text), len(text)
	return c, true
}
