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

// placedWalk is a walk whose every chunk depends on nothing but the text and the walk's place.
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

// Divide prepares text to be cut in n parts at most. A strategy whose chunks depend on more than where the one before
// ended is not divided, and neither is a text too short to be worth it.
func Divide(s Splitter, text string, n int) *Parts {
	p := &Parts{s: s, text: text}
	st, ok := s.(streamer)
	if ok {
		_, ok = st.walk().(placedWalk)
	}
	if !ok || n < 1 {
		n = 1
	}
	n = max(1, min(n, len(text)/(4*partSearch)))
	for i := range n {
		from := 0
		if i > 0 {
			from = len(text) / n * i
			if at := strings.Index(text[from:from+partSearch], "\n\n"); at >= 0 {
				from += at + 2
			}
			from = ceilRune(text, from)
			p.parts[i-1].to = from
		}
		p.parts = append(p.parts, part{from: from, to: len(text)})
		if ok {
			p.parts[i].walk = st.walk().(placedWalk)
			p.parts[i].walk.begin(from)
		}
	}
	return p
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
				if at, ok := walk.place(); ok {
					for k < len(next.places) && next.places[k].Start < at.Start {
						k++
					}
					if met = k < len(next.places) && next.places[k] == at; met || k == len(next.places) {
						break
					}
				}
				c, more := walk.next(p.text, true)
				if !more || !yield(c) {
					return
				}
			}
			if !met { // all of it was passed: the part behind it may be met
				continue
			}
			for _, c := range next.chunks[k:] {
				if !yield(c) {
					return
				}
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
