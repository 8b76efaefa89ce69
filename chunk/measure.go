package chunk

import (
	"sort"
	"unicode/utf8"
)

// measure finds its way in one text by a sizing.
type measure struct {
	sizing
	text string
	// edge, where it is not nil, is aligned with overlap_mode boundary.
	edge func(s, at int) int

	// In tokens: the marks between from and limit, the furthest that a chunk from there on may reach. See Sizer.
	marks       []Mark
	from, limit int
}

// reach returns how far a chunk of size units that starts at start may go, where the second half of that begins, and the
// floor its end must pass so that the next chunk, reaching back by the overlap, still starts later. When the rest of the
// text fits, limit is its end and the other two mean nothing. size is at most ChunkSize.
func (m *measure) reach(start, size int) (floor, mid, limit int) {
	text := m.text
	rest, half := len(text)-start, size/2
	switch m.Unit {
	case unitWords:
		floor = start
		if m.ChunkOverlap > 0 {
			floor = afterWords(text, start, m.ChunkOverlap)
		}
		mid = afterWords(text, start, half)
		return floor, mid, afterWords(text, mid, size-half)
	case unitTokens:
		return m.reachTokens(start, size)
	}
	if rest <= size {
		return start, start, len(text)
	}
	if m.Unit == unitBytes {
		return start + m.ChunkOverlap, start + half, floorRune(text, start+size)
	}
	// No rune is longer than four bytes: this end changes nothing in valid text, and bounds the work in any other.
	end := len(text)
	if rest/utf8.UTFMax >= size {
		end = start + utf8.UTFMax*size
	}
	floor = start
	if m.ChunkOverlap > 0 {
		floor = after(text, start, m.ChunkOverlap, end)
	}
	mid = after(text, start, half, end)
	return floor, mid, floorRune(text, after(text, mid, size-half, end))
}

// least returns the first place at which a chunk that starts at start holds n units, or limit.
func (m *measure) least(start, n, limit int) int {
	switch m.Unit {
	case unitBytes:
		return min(limit, ceilRune(m.text, min(start+n, len(m.text))))
	case unitChars:
		return after(m.text, start, n, limit)
	case unitWords:
		return min(limit, afterWords(m.text, start, n))
	}
	i := sort.Search(len(m.marks), func(i int) bool { return m.marks[i].Tokens >= n })
	if i == len(m.marks) {
		return limit
	}
	return min(limit, m.marks[i].End)
}

// size is how much text[from:to] holds, in the unit.
func (m *measure) size(from, to int) int { return m.sizing.size(m.text[from:to]) }

// drop moves everything that is known about the text when it loses its first n bytes.
func (m *measure) drop(int) { m.limit = 0 }

// next returns where the chunk after Span{start, at} starts: overlap units before at, moved forward to a boundary of
// runes and clusters, and far enough that it passes start and has room for the rune at at.
func (m *measure) next(start, at int) int {
	if m.ChunkOverlap == 0 {
		return at
	}
	text := m.text
	s := start
	switch m.Unit {
	case unitBytes:
		s = max(at-m.ChunkOverlap, at+runeLen(text, at)-m.ChunkSize)
	case unitChars:
		if (at-start)/utf8.UTFMax >= m.ChunkOverlap {
			s = at - utf8.UTFMax*m.ChunkOverlap
		}
		s = before(text, at, m.ChunkOverlap, s)
	case unitWords:
		s = beforeWords(text, at, m.ChunkOverlap, start)
	case unitTokens:
		return m.nextTokens(start, at)
	}
	if s <= start {
		s = start + runeLen(text, start)
	}
	return m.aligned(cutForward(text, ceilRune(text, s), at), at)
}

// aligned moves the start s of an overlap that ends at at forward to a boundary if the settings ask for that: to the
// best one in its first half, else to any but at, else it stays.
func (m *measure) aligned(s, at int) int {
	if m.OverlapMode != overlapAtBoundary || at-s < 2 {
		return s
	}
	if m.edge != nil {
		return m.edge(s, at)
	}
	half := floorRune(m.text, s+(at-s)/2)
	if half > s {
		if i, b := cutAtBest(m.text, s, s, half); b != Character {
			return i
		}
	}
	for i := half; i < at; i += runeLen(m.text, i) {
		if i > s && boundaryAt(m.text, i) != Character {
			return i
		}
	}
	return s
}

// fits reports whether the chunk that reach was asked about is within the limit when it ends at at. Only in tokens can
// less text be more.
func (m *measure) fits(at int) bool {
	return m.Unit != unitTokens || m.count(at) <= m.ChunkSize
}
