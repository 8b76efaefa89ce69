package chunk

import "sort"

// DefaultTokenizer is what the unit tokens counts by when no tokenizer is named.
const DefaultTokenizer = "cl100k_base"

// Sizer says how many tokens a text has; package token has some. It is pure, and safe for concurrent use.
type Sizer interface {
	// Count returns how many tokens text has. No character has more than four.
	Count(text string) int
	// Furthest returns how far budget tokens of text reach from the byte from on: end, on the boundary of a character,
	// and how many tokens text[from:end] has by itself, at most budget. end is after from if budget is 4 or more. It
	// appends to marks, in order, the places on the way that the text can be counted to by themselves.
	Furthest(text string, from, budget int, marks []Mark) (end, tokens int, _ []Mark)
}

// A Mark is such a place: for every end from End on that lies on the boundary of a character, no further than Furthest
// reached, Count(text[from:end]) is Tokens + Count(text[End:end]).
type Mark = struct{ End, Tokens int }

// reachTokens is reach in tokens. floor and mid are the last marks within the overlap and within half of the size, and
// so is the limit of less than chunk_size.
func (m *measure) reachTokens(start, size int) (floor, mid, limit int) {
	if m.from != start || m.limit == 0 {
		m.search(start)
	}
	limit = m.limit
	if size < m.ChunkSize {
		if i := sort.Search(len(m.marks), func(i int) bool { return m.marks[i].Tokens > size }); i < len(m.marks) {
			limit = m.mark(size).End
		}
	}
	return m.mark(m.ChunkOverlap).End, m.mark(size / 2).End, limit
}

func (m *measure) search(from int) {
	m.from = from
	m.limit, _, m.marks = m.sizer.Furthest(m.text, from, m.ChunkSize, m.marks[:0])
}

// mark returns the last mark of at most so many tokens.
func (m *measure) mark(tokens int) Mark {
	i := sort.Search(len(m.marks), func(i int) bool { return m.marks[i].Tokens > tokens })
	if i == 0 {
		return Mark{End: m.from}
	}
	return m.marks[i-1]
}

// count returns how many tokens text[from:at] has, at no further than limit.
func (m *measure) count(at int) int {
	last := m.markAt(at)
	if last.End == at {
		return last.Tokens
	}
	return last.Tokens + m.sizer.Count(m.text[last.End:at])
}

// markAt returns the last mark at or before at.
func (m *measure) markAt(at int) Mark {
	if i := sort.Search(len(m.marks), func(i int) bool { return m.marks[i].End > at }); i > 0 {
		return m.marks[i-1]
	}
	return Mark{End: m.from}
}

// nextTokens is next in tokens: where the last chunk_overlap tokens of text[start:at] begin. It is later, by as few
// clusters as will do, if they would be more by themselves, or would leave no room for the rune at at.
func (m *measure) nextTokens(start, at int) int {
	text, s := m.text, start
	if keep := m.count(at) - m.ChunkOverlap; keep > 0 { // the tokens that stay behind
		last := m.mark(keep)
		if last.End > at { // at is inside of a piece, whose beginning has more tokens than all of it
			last = m.markAt(at)
		}
		if s = last.End; last.Tokens < keep {
			s, _, _ = m.sizer.Furthest(text[:at], s, keep-last.Tokens, nil)
		}
	}
	if s <= start {
		s = start + runeLen(text, start)
	}
	for s = m.aligned(cutForward(text, s, at), at); s < at; s = cutForward(text, s+runeLen(text, s), at) {
		if m.search(s); m.limit > at && m.count(at) <= m.ChunkOverlap {
			break
		}
	}
	return s
}
