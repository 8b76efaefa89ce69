package chunk

import (
	"iter"
	"strings"
)

// hybrid cuts a document of several kinds of text, each by what suits it. Markdown (see markdown) tells where the regions
// are: stretches of one Kind, headings with what they stand above. A chunk holds one region only, so it is of one Kind, unless
// mix is true; then regions share chunks as in markdown. What does not fit into a chunk is cut, by its Kind:
//
//	Prose, Quote      as sentence does; paragraphs stay whole where they fit
//	List              between items, outermost first, then as sentence does
//	Table             between rows, then cells, with the header as context
//	Code              at line ends, blank lines first, with the first line of the fence as context
//	Markup (HTML)     at line ends, then between tags
//	FrontMatter       at line ends
//
// What else holds for markdown holds here: context, overlap, headings, and how far it looks ahead, which is 288 bytes more.
type hybrid struct {
	sizing
	Mix           bool `json:"mix,omitempty"`
	ContextInSize bool `json:"context_in_size,omitempty"`
}

const hybridSummary = "Cuts each region of a mixed document by what suits it: prose in sentences, tables in rows, code in lines, " +
	"lists in items."

func (z *hybrid) fields() []field {
	return append(z.sizing.fields(),
		field{
			"mix", `{"type":"boolean","default":false,` +
				`"description":"Whether a chunk may hold regions of several kinds, where they fit."}`,
			func(v value) *ParamError { return v.boolean(&z.Mix) },
		},
		contextField(&z.ContextInSize))
}

// Split cuts text as the type says.
func (z *hybrid) Split(text string) iter.Seq[Chunk] { return splitWalk(z, text) }

func (z *hybrid) walk() walk {
	w := newMarkdownWalk(z.sizing, z.ContextInSize)
	w.regions = !z.Mix
	w.prose, w.ahead = (&sentence{sizing: z.sizing}).cut, sentenceAhead
	return w
}

// cutMarkup cuts inside of HTML.
func cutMarkup(text string, lo, mid, hi int) (int, Boundary) {
	if at := lastLineEnd(text, mid, hi); at > 0 {
		return at, Line
	}
	if i := strings.LastIndexByte(text[lo:hi], '>'); i >= 0 && isBreak(text, lo+i+1) {
		return lo + i + 1, Clause
	}
	return cutAtBest(text, lo, mid, hi)
}
