package chunk

import (
	"fmt"
	"iter"
	"unicode/utf8"
)

// The units a chunk can be sized in.
const (
	unitBytes = "bytes"
	unitChars = "chars"
)

// The bounds of chunk_size. Any rune fits in four bytes, so a chunk of bytes always has room for the next one.
const (
	minBytes    = utf8.UTFMax
	minChars    = 1
	maxSize     = 1 << 30
	defaultSize = 1000
)

// sizing is the part of the settings that says how large a chunk may be and how far it reaches back. The order of the
// fields is the order of the canonical JSON.
type sizing struct {
	ChunkSize    int    `json:"chunk_size"`
	ChunkOverlap int    `json:"chunk_overlap"`
	Unit         string `json:"unit"`
}

func defaultSizing() sizing { return sizing{ChunkSize: defaultSize, Unit: unitChars} }

// sizingSchema is what the JSON Schema of a strategy says of these fields.
const sizingSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",` +
	`"additionalProperties":false,"properties":{` +
	`"chunk_size":{"type":"integer","minimum":1,"maximum":1073741824,"default":1000,` +
	`"description":"The most a chunk may hold, in the unit; never exceeded."},` +
	`"chunk_overlap":{"type":"integer","minimum":0,"maximum":1073741823,"default":0,` +
	`"description":"How far a chunk starts before the end of the one before it, in the unit; less than chunk_size."},` +
	`"unit":{"type":"string","enum":["bytes","chars"],"default":"chars",` +
	`"description":"What chunk_size and chunk_overlap count: bytes of UTF-8, or chars (Unicode code points)."}},` +
	`"if":{"required":["unit"],"properties":{"unit":{"const":"bytes"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":4}}}}`

func (z *sizing) fields() []field {
	return []field{
		{"chunk_size", func(v value) *ParamError { return v.integer(&z.ChunkSize) }},
		{"chunk_overlap", func(v value) *ParamError { return v.integer(&z.ChunkOverlap) }},
		{"unit", func(v value) *ParamError { return v.text(&z.Unit) }},
	}
}

func (z *sizing) check() *ParamError {
	least := minChars
	switch z.Unit {
	case unitChars:
	case unitBytes:
		least = minBytes
	default:
		return unknownUnit(z.Unit)
	}
	if z.ChunkSize < least || z.ChunkSize > maxSize {
		return &ParamError{
			Param: "chunk_size", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is %d to %d %s", z.ChunkSize, least, maxSize, z.Unit),
			Suggestion: fmt.Sprintf("use %d, the default, or any size in the range", defaultSize),
		}
	}
	if z.ChunkOverlap < 0 || z.ChunkOverlap >= z.ChunkSize {
		return &ParamError{
			Param: "chunk_overlap", Code: CodeInvalidValue,
			Problem: fmt.Sprintf("%d is out of range, which is 0 to %d: it must stay below chunk_size, %d %s",
				z.ChunkOverlap, z.ChunkSize-1, z.ChunkSize, z.Unit),
			Suggestion: fmt.Sprintf("use %d", min(200, z.ChunkSize/5)),
		}
	}
	return nil
}

// A cutter chooses where a chunk ends: at a rune boundary in (lo, hi]. text[mid:hi] is the second half of what the
// chunk may hold. Some rune of the chunk that starts at or before lo is not white space, and hi < len(text).
type cutter func(text string, lo, mid, hi int) int

// spans walks the text once, choosing every end with cut. What cut cannot break is decided here: the limit, the
// overlap, progress, and that no chunk is white space only.
func (z sizing) spans(text string, cut cutter) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		start, end := 0, 0 // where the next chunk starts, and where the one before it ended
		for start < len(text) {
			floor, mid, limit := z.reach(text, start)
			ink := skipSpace(text, end, limit)
			if limit == len(text) {
				if ink < limit {
					yield(Span{start, limit})
				}
				return
			}
			if ink == limit && spaceStart(text, start, end) == start {
				start = skipSpace(text, limit, len(text))
				end = start
				continue
			}
			lo := min(max(end, floor), limit-1)
			at := 0
			if ink < limit {
				at = cut(text, max(lo, ink), mid, limit)
			} else {
				at = cutBack(text, lo, limit)
			}
			if !yield(Span{start, at}) {
				return
			}
			start, end = z.next(text, start, at), at
		}
	}
}

// reach returns how far a chunk that starts at start may go, where the second half of that begins, and the floor its
// end must pass so that the next chunk, reaching back by the overlap, still starts later. When the rest of the text
// fits, limit is its end and the other two mean nothing.
func (z sizing) reach(text string, start int) (floor, mid, limit int) {
	rest, half := len(text)-start, z.ChunkSize/2
	if rest <= z.ChunkSize {
		return start, start, len(text)
	}
	if z.Unit == unitBytes {
		return start + z.ChunkOverlap, start + half, floorRune(text, start+z.ChunkSize)
	}
	// No rune is longer than four bytes: this end changes nothing in valid text, and bounds the work in any other.
	end := len(text)
	if rest/utf8.UTFMax >= z.ChunkSize {
		end = start + utf8.UTFMax*z.ChunkSize
	}
	floor = start
	if z.ChunkOverlap > 0 {
		floor = after(text, start, z.ChunkOverlap, end)
	}
	mid = after(text, start, half, end)
	return floor, mid, floorRune(text, after(text, mid, z.ChunkSize-half, end))
}

// next returns where the chunk after Span{start, at} starts: overlap units before at, moved forward to a boundary of
// runes and clusters, and far enough that it passes start and has room for the rune at at.
func (z sizing) next(text string, start, at int) int {
	if z.ChunkOverlap == 0 {
		return at
	}
	s := 0
	if z.Unit == unitBytes {
		s = max(at-z.ChunkOverlap, at+runeLen(text, at)-z.ChunkSize)
	} else {
		s = start
		if (at-start)/utf8.UTFMax >= z.ChunkOverlap {
			s = at - utf8.UTFMax*z.ChunkOverlap
		}
		s = before(text, at, z.ChunkOverlap, s)
	}
	if s <= start {
		s = start + runeLen(text, start)
	}
	return cutForward(text, ceilRune(text, s), at)
}
