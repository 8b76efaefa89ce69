package chunk

import (
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// slidingWindow lays windows over the text whatever it says: each chunk starts stride units behind the start of the one
// before it and holds window units. It has these two in place of chunk_size and chunk_overlap. Where no cut is moved, the
// chunks are those of fixed_size with a chunk_overlap of window less stride; but fixed_size counts an overlap back from
// where a chunk ends, so it is exact and the starts follow the text, while here the starts are even and the overlap is at most
// that.
//
// A start that would divide a grapheme cluster or CR LF is moved forward, though no further than the end of the chunk before,
// an end back, by a few runes at most. A chunk that would hold white space only, or would not start or end later than the one
// before it, is left out, and the last one is the first that reaches the end of the text. A pull examines nothing beyond the
// window of the chunk it yields but the rune behind it, and the strides that it leaves out; in tokens, no more than the
// window times the length of the longest token.
type slidingWindow struct {
	Window    int    `json:"window"`
	Stride    int    `json:"stride"`
	Unit      string `json:"unit"`
	Tokenizer string `json:"tokenizer,omitempty"` // only with the unit tokens

	sizing sizing // of a window
}

const slidingWindowSummary = "Lays windows of one size over the text, a new one every stride units, whatever the text says."

// slidingRules is unitRules for these settings.
var slidingRules = strings.ReplaceAll(unitRules, "chunk_size", "window")

func newSlidingWindow() *slidingWindow { return &slidingWindow{Window: defaultSize, Unit: unitChars} }

func (s *slidingWindow) fields() []field {
	var own []field
	for _, f := range s.sizing.fields() {
		switch f.name {
		case "unit":
			f.set = func(v value) *ParamError { return v.text(&s.Unit) }
		case "tokenizer":
			set := f.set
			f.set = func(v value) *ParamError {
				perr := set(v)
				s.Tokenizer = s.sizing.Tokenizer
				return perr
			}
		default:
			continue
		}
		own = append(own, f)
	}
	return append([]field{
		{
			"window", `{"type":"integer","minimum":1,"maximum":1073741824,"default":1000,` +
				`"description":"The most a chunk may hold, in the unit; never exceeded."}`,
			func(v value) *ParamError { return v.integer(&s.Window) },
		},
		{
			"stride", `{"type":"integer","minimum":1,"maximum":1073741824,` +
				`"description":"How far a chunk starts behind the start of the one before it, in the unit; at most window. ` +
				`Four fifths of window where none is given."}`,
			func(v value) *ParamError {
				perr := v.integer(&s.Stride)
				if perr == nil && s.Stride == 0 {
					s.Stride = -1 // given, and wrong
				}
				return perr
			},
		},
	}, own...)
}

func (s *slidingWindow) check(p Parser) *ParamError {
	least := leastSize(s.Unit)
	if least > 0 && (s.Window < least || s.Window > maxSize) {
		return &ParamError{
			Param: "window", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is %d to %d %s", s.Window, least, maxSize, s.Unit),
			Suggestion: fmt.Sprintf("use %d, the default, or any size in the range", defaultSize),
		}
	}
	s.sizing = sizing{ChunkSize: s.Window, Unit: s.Unit, Tokenizer: s.Tokenizer}
	if perr := s.sizing.check(p); perr != nil {
		return perr
	}
	s.Tokenizer = s.sizing.Tokenizer
	if s.Stride == 0 {
		s.Stride = max(1, s.Window-s.Window/5)
	}
	step := 1
	if s.Unit == unitTokens {
		step = maxTokensOfRune
	}
	if s.Stride < step || s.Stride > s.Window {
		return &ParamError{
			Param: "stride", Code: CodeInvalidValue,
			Problem: fmt.Sprintf("%d is out of range, which is %d to window, %d %s: beyond that, text would be lost",
				max(0, s.Stride), step, s.Window, s.Unit),
			Suggestion: fmt.Sprintf("use %d", max(1, s.Window-s.Window/5)),
		}
	}
	return nil
}

// maxTokensOfRune is how many tokens a character has at most.
const maxTokensOfRune = 4

func (s *slidingWindow) size(text string) int { return s.sizing.size(text) }

// Split cuts text as the type says.
func (s *slidingWindow) Split(text string) iter.Seq[Chunk] { return splitWalk(s, text) }

func (s *slidingWindow) walk() walk {
	return &slidingWalk{measure: measure{sizing: s.sizing}, stride: s.Stride, start: -1}
}

// slidingWalk walks window by window.
type slidingWalk struct {
	measure
	stride     int
	base       int // the window's place in the document
	grid       int // where the next chunk starts if it is not moved
	start, end int // of the last chunk; the end also of white space left out
}

func (w *slidingWalk) kept() int { return max(0, min(w.grid, w.end)-lookBack) }

func (w *slidingWalk) drop(n int) {
	w.measure.drop(n)
	w.base += n
	w.grid -= n
	w.start -= n
	w.end -= n
}

func (w *slidingWalk) next(text string, last bool) (Chunk, bool) {
	w.text = text
	for w.grid < len(text) {
		if !last && (w.grid > len(text)-slack || w.Unit == unitTokens && len(text)-w.grid < 2*tokenBytes*w.ChunkSize+slack) {
			return Chunk{}, false
		}
		start := 0
		if w.grid > 0 {
			if start = ceilRune(text, w.grid); start < w.end {
				start = cutForward(text, start, w.end)
			} else {
				start = w.end
			}
		}
		_, _, limit := w.reach(start, w.ChunkSize)
		if !last && limit > len(text)-slack {
			return Chunk{}, false
		}
		if limit == len(text) && start > w.start {
			w.grid = limit
			if skipSpace(text, w.end, limit) == limit {
				return Chunk{}, false
			}
			return Chunk{Span: Span{w.base + start, w.base + limit}, Boundary: End, Reason: AtEnd}, true
		}
		at := limit
		if start < limit && limit < len(text) {
			at = cutBack(text, start, limit)
			for !w.fits(at) {
				if hi := floorRune(text, at-1); hi > start {
					at = cutBack(text, start, hi)
				} else {
					at = limit
					break
				}
			}
		}
		w.grid = w.step(start)
		blank := skipSpace(text, start, at) == at
		if blank {
			w.end = max(w.end, at)
		}
		if blank || start <= w.start || at <= w.end {
			continue
		}
		w.start, w.end = start, at
		return Chunk{Span: Span{w.base + start, w.base + at}, Boundary: boundaryAt(text, at), Reason: AtLimit}, true
	}
	return Chunk{}, false
}

// step is the place a stride behind another. The text goes on behind it.
func (w *slidingWalk) step(from int) int {
	switch w.Unit {
	case unitBytes:
		return from + w.stride
	case unitChars:
		return after(w.text, from, w.stride, min(len(w.text), from+utf8.UTFMax*w.stride)) // the bound of reach
	case unitWords:
		return afterWords(w.text, from, w.stride)
	}
	end, _, _ := w.sizer.Furthest(w.text, from, w.stride, nil)
	return end
}
