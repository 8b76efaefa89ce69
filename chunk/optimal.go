package chunk

import (
	"fmt"
	"iter"
	"math"
	"unicode/utf8"
)

// optimal chooses its cuts together instead of one after the other. Every place where the text could be cut has a price by
// its kind, and every chunk one by how far its size is from soft_chunk_size (by default 7/10 of chunk_size), squared; of all
// ways to cut a stretch of four times chunk_size it takes the cheapest, by dynamic programming, keeps all of its chunks
// but the last, and goes on from there. At the end of the text it keeps all. That a chunk is small is so paid for by a
// better boundary, and the other way round: no long chunk is followed by a sliver.
//
// The places are the ends of paragraphs, lines and sentences, thinned out where they are nearer to each other than a
// sixteenth of the limit, and clauses, words and at last characters in stretches of an eighth without any.
//
// In tokens, places are weighed by the sum of the tokens between them, of which a whole chunk has fewer or as many but
// for rare pieces; each chunk is counted as a whole before it is yielded, and cut as recursive does if it is above the
// limit.
//
// A pull looks ahead as far as that stretch: four times chunk_size, and no more than 64 bytes for each unit of it, or in
// tokens 256.
type optimal struct{ sizing }

const optimalSummary = "Chooses all cuts of a stretch together: good boundaries and even sizes at the least total cost."

// The prices of boundaries, in the unit of a chunk that is empty or twice its best size.
var boundaryPrice = [...]float64{
	Character: 5, Word: 2, Clause: 1.4, Sentence: 0.8, Line: 0.4, Row: 0.2, Paragraph: 0, Separator: 0, Topic: 0, Block: 0,
	Section: 0, End: 0, // chosen by bench quality: between 0.5 and 1.5 times these, recall differs little
}

const (
	tooSmall    = 10 // the price of a chunk below min_chunk_size
	leftOut     = 4  // the price of leaving out white space
	stretch     = 4  // limits in a stretch
	placesMost  = 16 // places in a limit, about
	placesLeast = 8
	unitLength  = 64 // bytes of a stretch for each unit of chunk_size, at most
)

func (o *optimal) check(p Parser) *ParamError {
	if perr := o.sizing.check(p); perr != nil {
		return perr
	}
	return o.checkHalf()
}

// checkHalf refuses an overlap that leaves a chunk less than half of its size for what is new.
func (z *sizing) checkHalf() *ParamError {
	if z.ChunkOverlap <= z.ChunkSize/2 {
		return nil
	}
	return &ParamError{
		Param: "chunk_overlap", Code: CodeInvalidValue,
		Problem: fmt.Sprintf("%d is out of range, which is 0 to %d: half of chunk_size must stay for what is new",
			z.ChunkOverlap, z.ChunkSize/2),
		Suggestion: fmt.Sprintf("use %d", z.ChunkSize/5),
	}
}

// Split cuts text as the type says.
func (o *optimal) Split(text string) iter.Seq[Chunk] { return splitWalk(o, text) }

func (o *optimal) walk() walk { return newOptimalWalk(o.sizing) }

func newOptimalWalk(z sizing) *optimalWalk {
	w := &optimalWalk{even: 1, best: float64(z.SoftChunkSize)}
	if z.SoftChunkSize == 0 {
		w.best = 0.7 * float64(z.ChunkSize)
	}
	w.best = max(1, w.best-float64(z.ChunkOverlap))
	w.most = z.ChunkSize - z.ChunkOverlap
	w.least = max(0, z.MinChunkSize-z.ChunkOverlap)
	unit := map[string]int{unitBytes: 1, unitChars: 1, unitWords: 6, unitTokens: 4}[z.Unit] // bytes, about
	w.gap, w.step = w.most*unit/placesMost, max(1, w.most*unit/placesLeast)
	z.MinChunkSize, z.SoftChunkSize = 0, 0
	w.sizedWalk = sizedWalk{measure: measure{sizing: z}, cut: cutAtBest}
	return w
}

// optimalWalk plans a stretch and yields its chunks. What it embeds holds its place, and cuts what a plan got wrong.
type optimalWalk struct {
	sizedWalk
	best        float64 // size of what is new in a chunk
	even        float64 // what it weighs
	most, least int     // of what is new in a chunk
	gap, step   int     // bytes between places, at least and at most

	judge func([]place) // changes what the places of a stretch are and cost; may be nil

	places []place
	plan   []place // the ends of chunks to come, the next one last
}

// place is where the text could be cut, and the best way to get there from the start of the stretch.
type place struct {
	at   int
	kind Boundary
	size int // units from the start of the stretch
	ink  int // how many stretches between two places before it are not white space only

	price float64
	cost  float64
	from  int // the place before it on the best way
	why   Reason
}

// place is that between two plans.
func (w *optimalWalk) place() (Span, bool) {
	at, ok := w.sizedWalk.place()
	return at, ok && len(w.plan) == 0
}

func (w *optimalWalk) drop(n int) {
	w.sizedWalk.drop(n)
	for i := range w.plan {
		w.plan[i].at -= n
	}
}

func (w *optimalWalk) next(text string, last bool) (Chunk, bool) {
	w.text = text
	if !last && w.Unit == unitTokens && len(text)-w.start < 2*tokenBytes*w.ChunkSize {
		return Chunk{}, false
	}
	for {
		if w.skip {
			return w.sizedWalk.next(text, last)
		}
		if len(w.plan) == 0 {
			if w.end >= len(text) && last {
				return Chunk{}, false
			}
			if !w.gather(last) {
				return Chunk{}, false
			}
			if w.judge != nil {
				w.judge(w.places)
			}
			w.choose(last && w.places[len(w.places)-1].at == len(text))
		}
		to := w.plan[len(w.plan)-1]
		w.plan = w.plan[:len(w.plan)-1]
		if skipSpace(text, w.end, to.at) == to.at { // white space that no chunk takes
			w.start, w.end = to.at, to.at
			continue
		}
		if w.Unit == unitTokens {
			// The overlap is found by the marks that a search gives; without one, counting the chunk is enough.
			above := false
			if w.ChunkOverlap == 0 {
				above = w.size(w.start, to.at) > w.ChunkSize
			} else {
				w.search(w.start)
				above = to.at > w.limit || w.count(to.at) > w.ChunkSize
			}
			if above {
				w.plan = w.plan[:0]
				return w.sizedWalk.next(text, last)
			}
		}
		if to.at == len(text) {
			return w.finish(text)
		}
		c := Chunk{Span: Span{w.base + w.start, w.base + to.at}, Boundary: to.kind, Reason: to.why}
		w.start, w.end = w.measure.next(w.start, to.at), to.at
		return c, true
	}
}

// gather finds the places of the next stretch. It is false when the window does not show all of it.
func (w *optimalWalk) gather(last bool) bool {
	text, from := w.text, w.end
	most, far := stretch*w.ChunkSize, len(text)
	if bytes := w.ChunkSize * unitLength; len(text)-from > bytes {
		far = floorRune(text, from+bytes)
	}
	w.places = append(w.places[:0], place{at: from, kind: End, from: -1})
	i := from
	for w.places[len(w.places)-1].size < most {
		at := nextStop(text, i, far)
		if !last && (at > len(text)-slack || far > len(text)-slack && at == far) {
			return false
		}
		w.add(at, far)
		if i = at; i == far {
			break
		}
	}
	return true
}

// add adds the place at, and others where it is far from the one before.
func (w *optimalWalk) add(at, far int) {
	text := w.text
	for {
		prev := &w.places[len(w.places)-1]
		if at-prev.at <= w.step {
			break
		}
		lo, x := floorRune(text, prev.at+w.step/2), ceilRune(text, prev.at+w.step)
		lo = max(lo, prev.at)
		p, kind := 0, Character
		if x < at && lo < x {
			// Handed no more than this: it looks for what is before white space, as far back as there is text.
			if p, kind = lastSoft(text[lo:], 0, x-lo, false); p > 0 {
				p += lo
			}
		}
		if p == 0 {
			if x >= at {
				break
			}
			kind = Character
			if p = cutForward(text, x, at); w.size(prev.at, p) > w.most {
				_, _, hi := w.reach(prev.at, w.most)
				if hi = min(hi, at); hi <= prev.at {
					hi = prev.at + runeLen(text, prev.at)
				}
				if hi >= at {
					break
				}
				p = cutBack(text, prev.at, hi)
			}
		}
		w.put(p, kind)
	}
	kind := End
	if at < len(text) {
		from := w.places[0].at // white space may go on for long before the stretch
		if kind = boundaryAt(text[from:], at-from); kind == Character && at < far {
			return
		}
	}
	if n := len(w.places) - 1; n > 0 && at < far && at-w.places[n].at < w.gap {
		if boundaryPrice[kind] >= boundaryPrice[w.places[n].kind] {
			return
		}
		if at-w.places[n-1].at <= w.step { // else the gap without the worse one would be too wide
			w.places = w.places[:n]
		}
	}
	w.put(at, kind)
}

func (w *optimalWalk) put(at int, kind Boundary) {
	prev := w.places[len(w.places)-1]
	p := place{at: at, kind: kind, price: boundaryPrice[kind], size: prev.size + w.size(prev.at, at), ink: prev.ink}
	if skipSpace(w.text, prev.at, at) < at {
		p.ink++
	}
	w.places = append(w.places, p)
}

// nextStop returns the next place after i, at most far, that may be the end of a line or a sentence.
func nextStop(text string, i, far int) int {
	for ; i < far; i++ {
		switch stops[text[i]] {
		case 0:
			continue
		case 1: // a line end
			return i + 1
		}
		r, n := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			if r, n = utf8.DecodeRuneInString(text[i:far]); anyMark(r) != Sentence {
				i += n - 1
				continue
			}
		}
		k := i + n
		for range 4 {
			if k >= far {
				return far
			}
			c, m := utf8.DecodeRuneInString(text[k:far])
			if !isCloser(c) {
				break
			}
			k += m
		}
		wide := wideMark(r) == Sentence
		for k < far && (text[k] == ' ' || text[k] == '\t') {
			k++
			wide = true
		}
		if !wide {
			i += n - 1
			continue
		}
		if k < far && text[k] == '\n' {
			k++
		}
		return k
	}
	return far
}

// stops says which bytes may be, or start, a line end (1) or the mark of a sentence's end (2).
var stops = func() (t [256]uint8) {
	t['\n'] = 1
	t['.'], t['!'], t['?'] = 2, 2, 2
	for _, r := range "…؟۔।॥。！？．｡" {
		t[string(r)[0]] = 2
	}
	return t
}()

// choose finds the cheapest way through the places and plans it: to the last place if that is the end of the text, else
// to the best of those in the last limit, without the last chunk.
func (w *optimalWalk) choose(toEnd bool) {
	ps := w.places
	inverse := 1 / w.best
	low := 0
	for j := 1; j < len(ps); j++ {
		p := &ps[j]
		p.cost = math.Inf(1)
		for low < j-1 && p.size-ps[low].size > w.most {
			low++
		}
		for i := low; i < j; i++ {
			size := p.size - ps[i].size
			if size > w.most && i < j-1 {
				continue
			}
			cost := ps[i].cost
			if p.ink == ps[i].ink {
				cost += leftOut
			} else {
				off := (float64(size) - w.best) * inverse
				cost += w.even*off*off + p.price
				if size < w.least && p.kind != End {
					cost += tooSmall
				}
			}
			if cost < p.cost {
				p.cost, p.from = cost, i
			}
		}
	}
	end := len(ps) - 1
	if !toEnd {
		least := math.Inf(1)
		for j := len(ps) - 1; j > 0 && ps[len(ps)-1].size-ps[j].size < w.most; j-- {
			if cost := ps[j].cost / float64(max(1, ps[j].size)); cost < least {
				least, end = cost, j
			}
		}
	}
	w.plan = w.plan[:0]
	for j := end; j > 0; j = ps[j].from {
		p := ps[j]
		if !toEnd && j == end && p.from > 0 {
			continue // what follows may cut the last one better
		}
		p.why = AtStructure
		if j+1 < len(ps) && ps[j+1].size-ps[p.from].size > w.most {
			p.why = AtLimit
		}
		w.plan = append(w.plan, p)
	}
}
