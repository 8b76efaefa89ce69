package chunk

import (
	"fmt"
	"iter"
)

// hierarchical cuts the text at several sizes: chunks of chunk_size as recursive makes them, each of which is cut into
// chunks of the first of child_sizes, each of those into chunks of the next, and so on. A parent comes before its
// children, so chunks are in the order of their starts; Level and Up link them. The children of a parent cover it and stay
// inside. chunk_overlap is for the smallest chunks, inside their parent; the others do not overlap. min_chunk_size and
// soft_chunk_size are for the largest.
//
// It looks ahead as far as recursive does with chunk_size.
type hierarchical struct {
	sizing
	ChildSizes []int `json:"child_sizes"`
}

const hierarchicalSummary = "Cuts large chunks, and smaller ones inside them that know their parent: search in the small, " +
	"show the large."

// maxChildSizes is how many levels there may be below the first.
const maxChildSizes = 3

// hierarchicalRules is unitRules with room for children.
const hierarchicalRules = `[{"if":{"required":["unit"],"properties":{"unit":{"const":"bytes"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":16}}}},` +
	`{"if":{"required":["unit"],"properties":{"unit":{"const":"tokens"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":32}}},` +
	`"else":{"properties":{"tokenizer":false}}}]`

func (h *hierarchical) fields() []field {
	fields := h.sizing.fields()
	fields[0].schema = `{"type":"integer","minimum":4,"maximum":1073741824,"default":1000,` +
		`"description":"The most one of the largest chunks may hold, in the unit; never exceeded."}`
	return append(fields, field{
		"child_sizes", `{"type":"array","items":{"type":"integer","minimum":1,"maximum":1073741823},"minItems":1,"maxItems":3,` +
			`"description":"The sizes of the smaller chunks, each less than the one before and than chunk_size, in the unit. ` +
			`A quarter of chunk_size where none are given."}`,
		func(v value) *ParamError { return v.integers(&h.ChildSizes) },
	})
}

func (h *hierarchical) check(p Parser) *ParamError {
	if perr := h.sizing.check(p); perr != nil {
		return perr
	}
	least := leastSize(h.Unit)
	if h.ChunkSize < 4*least {
		return &ParamError{
			Param: "chunk_size", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d leaves no room for children: it must be at least %d %s", h.ChunkSize, 4*least, h.Unit),
			Suggestion: fmt.Sprintf("use %d, the default, or any larger size", defaultSize),
		}
	}
	if h.ChildSizes == nil {
		h.ChildSizes = []int{h.ChunkSize / 4}
	}
	wrong := func(format string, args ...any) *ParamError {
		return &ParamError{
			Param: "child_sizes", Code: CodeInvalidValue, Problem: fmt.Sprintf(format, args...),
			Suggestion: fmt.Sprintf("give sizes such as [%d,%d]", max(least, h.ChunkSize/4), max(least, h.ChunkSize/16)),
		}
	}
	if n := len(h.ChildSizes); n < 1 || n > maxChildSizes {
		return wrong("has %d sizes: it takes 1 to %d", n, maxChildSizes)
	}
	above := h.ChunkSize
	for _, size := range h.ChildSizes {
		if size < least || size >= above {
			return wrong("%d is out of range: it must be at least %d and less than %d, the size of its parent, in %s",
				size, least, above, h.Unit)
		}
		above = size
	}
	if h.ChunkOverlap >= above {
		return &ParamError{
			Param: "chunk_overlap", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range: it must stay below the smallest of child_sizes, %d %s", h.ChunkOverlap, above, h.Unit),
			Suggestion: fmt.Sprintf("use %d", above/5),
		}
	}
	return nil
}

// Split cuts text as the type says.
func (h *hierarchical) Split(text string) iter.Seq[Chunk] { return splitWalk(h, text) }

func (h *hierarchical) walk() walk {
	top := h.sizing
	top.ChunkOverlap = 0
	w := &hierarchicalWalk{top: sizedWalk{measure: measure{sizing: top}, cut: cutAtBest}}
	for i, size := range h.ChildSizes {
		z := top
		z.ChunkSize, z.MinChunkSize, z.SoftChunkSize = size, 0, 0
		if i == len(h.ChildSizes)-1 {
			z.ChunkOverlap = h.ChunkOverlap
		}
		w.lower = append(w.lower, childWalk{sizedWalk: sizedWalk{measure: measure{sizing: z}, cut: cutAtBest}})
	}
	return w
}

// hierarchicalWalk walks the document by the first level, and each chunk of a level by the next one as if it were a
// document of its own.
type hierarchicalWalk struct {
	top   sizedWalk
	lower []childWalk
	depth int // how many of lower have chunks left, perhaps
	n     int // how many chunks were yielded
}

// childWalk walks one parent.
type childWalk struct {
	sizedWalk
	parent Chunk
	text   string // of the parent
	order  int    // the parent's place among all chunks
}

func (w *hierarchicalWalk) begin(at int) { w.top.begin(at) }

// place is that of the largest chunks, between two of them.
func (w *hierarchicalWalk) place() (Span, bool) {
	at, ok := w.top.place()
	return at, ok && w.depth == 0
}

func (w *hierarchicalWalk) kept() int { return w.top.kept() }

func (w *hierarchicalWalk) drop(n int) { w.top.drop(n) }

func (w *hierarchicalWalk) next(text string, last bool) (Chunk, bool) {
	for w.depth > 0 {
		child := &w.lower[w.depth-1]
		c, ok := child.sizedWalk.next(child.text, true)
		if !ok {
			w.depth--
			continue
		}
		if c.End == child.parent.End {
			c.Boundary, c.Reason = child.parent.Boundary, child.parent.Reason
		}
		c.Level, c.Up = uint8(w.depth), w.n-child.order
		return w.descend(c, child.text[c.Start-child.parent.Start:c.End-child.parent.Start]), true
	}
	c, ok := w.top.next(text, last)
	if !ok {
		return c, false
	}
	return w.descend(c, text[c.Start-w.top.base:c.End-w.top.base]), true
}

// descend prepares the walk of c's children.
func (w *hierarchicalWalk) descend(c Chunk, text string) Chunk {
	if level := int(c.Level); level < len(w.lower) {
		child := &w.lower[level]
		child.parent, child.text, child.order = c, text, w.n
		child.measure.drop(0)
		child.base, child.start, child.end, child.skip = c.Start, 0, 0, false
		w.depth = level + 1
	}
	w.n++
	return c
}
