package chunk

import (
	"iter"
	"strings"
)

// Parts is one large text divided for several goroutines. Cut each part, in any order and side by side; then Join gives
// the chunks that Split gives, in time that hardly grows with the text. The package starts no goroutine: that is for the
// caller, as in
//
//	parts := chunk.Divide(splitter, text, runtime.GOMAXPROCS(0))
//	var wg sync.WaitGroup
//	for i := range parts.Len() {
//		wg.Go(func() { parts.Cut(i) })
//	}
//	wg.Wait()
//	for c := range parts.Join() { … }
//
// It takes memory for every chunk until Join is through.
type Parts struct {
	s     Splitter
	text  string
	parts []part
}

type part struct {
	from, to int // to is where the next part begins
	walk     placedWalk
	chunks   []Chunk
	places   []Span // of the walk before each of chunks, {-1, -1} where it had none
}

// placedWalk is a walk whose every chunk depends on nothing but the text and the walk's place; that of a *markdownWalk also
// depends on the blocks around and the headings above: see markdownWalk.met.
type placedWalk interface {
	walk
	// begin starts the walk at a byte of the document that is all in the window.
	begin(at int)
	// place is where the next chunk starts and where the last one ended. ok is false while the walk has more on its mind:
	// then equal places do not make equal walks.
	place() (p Span, ok bool)
}

// partSearch is how far from its even place a part may begin, in bytes, so that it begins behind a blank line.
const partSearch = 16 << 10

// Divide prepares text to be cut in n parts at most, one if n is less. Each part has 64 KiB at least. One part is left where
// every cut depends on all that came before: for html, code, sliding_window, recursive with compat, and for markdown, hybrid
// and tables of Markdown with context_in_size.
func Divide(s Splitter, text string, n int) *Parts {
	n = max(1, min(n, len(text)/(4*partSearch)))
	froms := []int{0}
	for i := 1; i < n; i++ {
		even := len(text) / n * i
		froms = append(froms, ceilRune(text, even+partStart(text[even:even+partSearch])))
	}
	return divide(s, text, froms)
}

// divide makes a part from each of froms on, of which the first is 0, if the strategy allows it.
func divide(s Splitter, text string, froms []int) *Parts {
	p := &Parts{s: s, text: text}
	for i, from := range froms {
		part := part{from: from, to: len(text), walk: placed(s, text)}
		if part.walk != nil && i > 0 {
			part.walk.begin(from)
			p.parts[i-1].to = from
			expect(p.parts[i-1].walk, from)
		}
		if p.parts = append(p.parts, part); part.walk == nil {
			break
		}
	}
	return p
}

// placed is the walk of s through text, or nil if it cannot begin just anywhere.
func placed(s Splitter, text string) placedWalk {
	st, ok := s.(streamer)
	if !ok {
		return nil
	}
	w := st.walk()
	if c, ok := w.(*choiceWalk); ok {
		w = c.chosen(text)
	}
	p, _ := w.(placedWalk)
	return p
}

// partStart is where in s a part had best begin: at a heading of Markdown, at text behind a blank line, at a line. Where it
// begins changes no chunk, but how soon Join comes to where the part has been.
func partStart(s string) int {
	for _, before := range []string{"\n\n##", "\n\n# ", "\n\n", "\n"} {
		if i := strings.Index(s, before); i >= 0 {
			return i + strings.LastIndexByte(before, '\n') + 1
		}
	}
	return 0
}

// Len is how many parts there are, at least one.
func (p *Parts) Len() int { return len(p.parts) }

// Cut cuts part i, from 0. It may run beside Cut for other parts, and must not run twice for one.
func (p *Parts) Cut(i int) {
	part := &p.parts[i]
	if part.walk == nil {
		for c := range p.s.Split(p.text) {
			part.chunks = append(part.chunks, c)
		}
		return
	}
	for part.next(p.text) {
		if at, ok := part.walk.place(); ok && at.Start >= part.to {
			break
		}
	}
}

// next walks one chunk further.
func (p *part) next(text string) bool {
	at, ok := p.walk.place()
	if !ok {
		at = Span{-1, -1}
	}
	c, more := p.walk.next(text, true)
	if more {
		p.chunks, p.places = append(p.chunks, c), append(p.places, at)
	}
	return more
}

// Join yields the chunks of all parts as Split would. It goes on with each part until it comes to where the next one has
// been, which paragraphs bring about soon; where nothing does, it takes the time that Split takes. Call it once, after every
// Cut has returned.
func (p *Parts) Join() iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		for _, c := range p.parts[0].chunks {
			if !yield(c) {
				return
			}
		}
		walk := p.parts[0].walk
		if walk == nil {
			return
		}
		for i := 1; i < len(p.parts); i++ {
			next := &p.parts[i]
			k, met := 0, false
			for {
				if at, ok := walk.place(); ok && at.Start >= next.from {
					for k < len(next.places) && next.places[k].Start < at.Start {
						k++
					}
					met = k < len(next.places) && next.places[k] == at && leads(walk, next)
					if met || k == len(next.places) || !leads(walk, next) {
						break
					}
				}
				c, more := walk.next(p.text, true)
				if !more || !yield(c) {
					return
				}
			}
			if !met { // the part behind it may be met
				if i+1 < len(p.parts) {
					expect(walk, p.parts[i+1].from)
				}
				continue
			}
			var above *Context
			if m, ok := walk.(*markdownWalk); ok {
				above = m.pathBefore(next.from)
			}
			for _, c := range next.chunks[k:] {
				c.Context = c.Context.hang(above)
				if !yield(c) {
					return
				}
			}
			if m, ok := next.walk.(*markdownWalk); ok {
				m.hang(above)
			}
			walk = next.walk
		}
		for {
			c, more := walk.next(p.text, true)
			if !more || !yield(c) {
				return
			}
		}
	}
}

// expect tells a walk where the next part begins.
func expect(w placedWalk, from int) {
	if m, ok := w.(*markdownWalk); ok {
		m.expected, m.met = from, false
	}
}

// leads reports whether the chunks of next are those of w from an equal place on.
func leads(w placedWalk, next *part) bool {
	m, ok := w.(*markdownWalk)
	return !ok || m.met
}
