package chunk

import (
	"fmt"
	"iter"
	"unicode/utf8"
)

// The units a chunk can be sized in.
const (
	unitBytes  = "bytes"
	unitChars  = "chars"
	unitWords  = "words"
	unitTokens = "tokens"
)

// units are all of them, in the order in which people are told of them.
var units = []string{unitBytes, unitChars, unitWords, unitTokens}

// The bounds of chunk_size. Any rune fits in four bytes, and in four tokens, so a chunk always has room for the next.
const (
	minBytes    = utf8.UTFMax
	minChars    = 1
	minWords    = 1
	minTokens   = 8
	maxSize     = 1 << 30
	defaultSize = 1000
)

// sizing is the part of the settings that says how large a chunk may be and how far it reaches back. The order of the
// fields is the order of the canonical JSON.
type sizing struct {
	ChunkSize    int    `json:"chunk_size"`
	ChunkOverlap int    `json:"chunk_overlap"`
	Unit         string `json:"unit"`
	Tokenizer    string `json:"tokenizer,omitempty"` // only with the unit tokens

	sizer Sizer // what Tokenizer names, else nil
}

func defaultSizing() sizing { return sizing{ChunkSize: defaultSize, Unit: unitChars} }

// sizingSchema is what the JSON Schema of a strategy says of these fields.
const sizingSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",` +
	`"additionalProperties":false,"properties":{` +
	`"chunk_size":{"type":"integer","minimum":1,"maximum":1073741824,"default":1000,` +
	`"description":"The most a chunk may hold, in the unit; never exceeded."},` +
	`"chunk_overlap":{"type":"integer","minimum":0,"maximum":1073741823,"default":0,` +
	`"description":"How far a chunk starts before the end of the one before it, in the unit; less than chunk_size."},` +
	`"unit":{"type":"string","enum":["bytes","chars","words","tokens"],"default":"chars",` +
	`"description":"What chunk_size and chunk_overlap count: bytes of UTF-8, chars (Unicode code points), words ` +
	`(runs without white space; each Chinese or Japanese character is one), or tokens of the tokenizer."},` +
	`"tokenizer":{"type":"string",` +
	`"description":"Whose tokens, with the unit tokens; cl100k_base where none is named."}},` +
	`"allOf":[{"if":{"required":["unit"],"properties":{"unit":{"const":"bytes"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":4}}}},` +
	`{"if":{"required":["unit"],"properties":{"unit":{"const":"tokens"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":8}}},` +
	`"else":{"properties":{"tokenizer":false}}}]}`

func (z *sizing) fields() []field {
	return []field{
		{"chunk_size", func(v value) *ParamError { return v.integer(&z.ChunkSize) }},
		{"chunk_overlap", func(v value) *ParamError { return v.integer(&z.ChunkOverlap) }},
		{"unit", func(v value) *ParamError { return v.text(&z.Unit) }},
		{"tokenizer", func(v value) *ParamError {
			if err := v.text(&z.Tokenizer); err != nil {
				return err
			} else if z.Tokenizer == "" {
				return &ParamError{
					Param: "tokenizer", Problem: "may not be empty", Code: CodeInvalidValue,
					Suggestion: "leave the field out for " + DefaultTokenizer,
				}
			}
			return nil
		}},
	}
}

func (z *sizing) check(p Parser) *ParamError {
	least := 0
	switch z.Unit {
	case unitChars:
		least = minChars
	case unitBytes:
		least = minBytes
	case unitWords:
		least = minWords
	case unitTokens:
		least = minTokens
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
	return z.choose(p)
}

// choose finds the tokenizer, which only the unit tokens has.
func (z *sizing) choose(p Parser) *ParamError {
	if z.Unit != unitTokens {
		if z.Tokenizer != "" {
			return &ParamError{
				Param: "tokenizer", Code: CodeInvalidValue, Problem: "means nothing with the unit " + z.Unit,
				Suggestion: `leave it out, or use "unit":"tokens"`,
			}
		}
		return nil
	}
	if p.Tokenizer == nil {
		return &ParamError{
			Param: "unit", Code: CodeInvalidValue, Problem: "tokens cannot be counted here: no tokenizer was handed over",
			Suggestion: "use bytes, chars or words, or give chunk.Parser a Tokenizer",
		}
	}
	if z.Tokenizer == "" {
		z.Tokenizer = DefaultTokenizer
	}
	sizer, err := p.Tokenizer(z.Tokenizer)
	if err != nil {
		return &ParamError{Param: "tokenizer", Code: CodeInvalidValue, Problem: quote(z.Tokenizer) + ": " + err.Error()}
	}
	z.sizer = sizer
	return nil
}

// A cutter chooses where a chunk ends: at a rune boundary in (lo, hi]. text[mid:hi] is the second half of what the
// chunk may hold. Some rune of the chunk that starts at or before lo is not white space, and hi < len(text).
type cutter func(text string, lo, mid, hi int) int

// spans walks the text once, choosing every end with cut. What cut cannot break is decided here: the limit, the
// overlap, progress, and that no chunk is white space only.
func (z sizing) spans(text string, cut cutter) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		m := measure{sizing: z, text: text}
		start, end := 0, 0 // where the next chunk starts, and where the one before it ended
		for start < len(text) {
			floor, mid, limit := m.reach(start)
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
				lo = max(lo, ink)
				at = cut(text, lo, mid, limit)
			} else {
				at = cutBack(text, lo, limit)
			}
			for at < limit && !m.fits(at) { // seldom, and found within the bytes of a token
				hi := floorRune(text, at-1)
				switch {
				case hi <= lo:
					at = limit
				case ink < limit:
					at = cut(text, lo, min(mid, hi), hi)
				default:
					at = cutBack(text, lo, hi)
				}
			}
			if !yield(Span{start, at}) {
				return
			}
			start, end = m.next(start, at), at
		}
	}
}
