package chunk

import "iter"

// fixedSize cuts at the limit. It moves a cut back, by a few runes at most, only to keep a CR LF pair or a grapheme
// cluster together. A pull examines nothing beyond the limit of the chunk it yields but the one rune after it; in
// tokens, no more than the limit times the length of the longest token.
type fixedSize struct{ sizing }

const fixedSizeSummary = "Cuts at the size limit, between characters: equal chunks, whatever the text says."

// Split cuts text as the type says.
func (f *fixedSize) Split(text string) iter.Seq[Chunk] { return splitWalk(f, text) }

func (f *fixedSize) walk() walk { return newSizedWalk(f.sizing, cutAtLimit) }

func cutAtLimit(text string, lo, _, hi int) (int, Boundary) {
	at := cutBack(text, lo, hi)
	return at, boundaryAt(text, at)
}
