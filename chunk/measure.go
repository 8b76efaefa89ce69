package chunk

import "unicode/utf8"

// measure finds its way in one text by a sizing.
type measure struct {
	sizing
	text string

	// In tokens: the marks between from and limit, the furthest that a chunk from there on may reach. See Sizer.
	marks       []Mark
	from, limit int
}

// reach returns how far a chunk that starts at start may go, where the second half of that begins, and the floor its
// end must pass so that the next chunk, reaching back by the overlap, still starts later. When the rest of the text
// fits, limit is its end and the other two mean nothing.
func (m *measure) reach(start int) (floor, mid, limit int) {
	text := m.text
	rest, half := len(text)-start, m.ChunkSize/2
	switch m.Unit {
	case unitWords:
		floor = start
		if m.ChunkOverlap > 0 {
			floor = afterWords(text, start, m.ChunkOverlap)
		}
		mid = afterWords(text, start, half)
		return floor, mid, afterWords(text, mid, m.ChunkSize-half)
	case unitTokens:
		return m.reachTokens(start)
	}
	if rest <= m.ChunkSize {
		return start, start, len(text)
	}
	if m.Unit == unitBytes {
		return start + m.ChunkOverlap, start + half, floorRune(text, start+m.ChunkSize)
	}
	// No rune is longer than four bytes: this end changes nothing in valid text, and bounds the work in any other.
	end := len(text)
	if rest/utf8.UTFMax >= m.ChunkSize {
		end = start + utf8.UTFMax*m.ChunkSize
	}
	floor = start
	if m.ChunkOverlap > 0 {
		floor = after(text, start, m.ChunkOverlap, end)
	}
	mid = after(text, start, half, end)
	return floor, mid, floorRune(text, after(text, mid, m.ChunkSize-half, end))
}

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
	return cutForward(text, ceilRune(text, s), at)
}

// fits reports whether the chunk that reach was asked about is within the limit when it ends at at. Only in tokens can
// less text be more.
func (m *measure) fits(at int) bool {
	return m.Unit != unitTokens || m.count(at) <= m.ChunkSize
}
