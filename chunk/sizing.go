package chunk

import (
	"fmt"
	"strconv"
	"strings"
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

// The ways in which a chunk may reach back into the one before it.
const (
	overlapExact      = "exact"
	overlapAtBoundary = "boundary"
)

// sizing is the part of the settings that says how large a chunk may be and how far it reaches back. The order of the
// fields is the order of the canonical JSON; what is not set is left out of it, so that a new setting changes no id.
type sizing struct {
	ChunkSize     int    `json:"chunk_size"`
	ChunkOverlap  int    `json:"chunk_overlap"`
	Unit          string `json:"unit"`
	Tokenizer     string `json:"tokenizer,omitempty"` // only with the unit tokens
	MinChunkSize  int    `json:"min_chunk_size,omitempty"`
	SoftChunkSize int    `json:"soft_chunk_size,omitempty"`
	OverlapMode   string `json:"overlap_mode,omitempty"` // overlapAtBoundary or empty, which is exact

	percent int   // of chunk_size, what chunk_overlap is until check
	sizer   Sizer // what Tokenizer names, else nil
}

func defaultSizing() sizing { return sizing{ChunkSize: defaultSize, Unit: unitChars} }

// size is how much s holds, in the unit.
func (z *sizing) size(s string) int {
	switch z.Unit {
	case unitBytes:
		return len(s)
	case unitWords:
		return countWords(s)
	case unitTokens:
		return z.sizer.Count(s)
	}
	return Chars(s)
}

// unitRules is what the schema of a strategy with a sizing says of fields together.
const unitRules = `[{"if":{"required":["unit"],"properties":{"unit":{"const":"bytes"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":4}}}},` +
	`{"if":{"required":["unit"],"properties":{"unit":{"const":"tokens"}}},` +
	`"then":{"properties":{"chunk_size":{"minimum":8}}},` +
	`"else":{"properties":{"tokenizer":false}}}]`

func (z *sizing) fields() []field {
	return []field{
		{
			"chunk_size", `{"type":"integer","minimum":1,"maximum":1073741824,"default":1000,` +
				`"description":"The most a chunk may hold, in the unit; never exceeded."}`,
			func(v value) *ParamError { return v.integer(&z.ChunkSize) },
		},
		{
			"chunk_overlap", `{"type":["integer","string"],"minimum":0,"maximum":1073741823,"pattern":"^[0-9]{1,2}%$","default":0,` +
				`"description":"How far a chunk starts before the end of the one before it, in the unit, or as a percentage of ` +
				`chunk_size such as \"10%\"; less than chunk_size."}`,
			z.setOverlap,
		},
		{
			"unit", `{"type":"string","enum":["bytes","chars","words","tokens"],"default":"chars",` +
				`"description":"What sizes count: bytes of UTF-8, chars (Unicode code points), words ` +
				`(runs without white space; each Chinese or Japanese character is one), or tokens of the tokenizer."}`,
			func(v value) *ParamError { return v.text(&z.Unit) },
		},
		{
			"tokenizer", `{"type":"string",` +
				`"description":"Whose tokens, with the unit tokens; cl100k_base where none is named."}`,
			func(v value) *ParamError {
				if err := v.text(&z.Tokenizer); err != nil {
					return err
				} else if z.Tokenizer == "" {
					return &ParamError{
						Param: "tokenizer", Problem: "may not be empty", Code: CodeInvalidValue,
						Suggestion: "leave the field out for " + DefaultTokenizer,
					}
				}
				return nil
			},
		},
		{
			"min_chunk_size", `{"type":"integer","minimum":0,"maximum":1073741824,"default":0,` +
				`"description":"No chunk is smaller, in the unit, but where the text, a stretch of white space or, in bytes, a character that does not fit ends it."}`,
			func(v value) *ParamError { return v.integer(&z.MinChunkSize) },
		},
		{
			"soft_chunk_size", `{"type":"integer","minimum":0,"maximum":1073741824,"default":0,` +
				`"description":"Where chunks should end, in the unit: the best boundary up to here is taken, and only where there is ` +
				`none the best one up to chunk_size. 0 is chunk_size."}`,
			func(v value) *ParamError { return v.integer(&z.SoftChunkSize) },
		},
		{
			"overlap_mode", `{"type":"string","enum":["exact","boundary"],"default":"exact",` +
				`"description":"exact: the overlap is chunk_overlap, to the character. boundary: it is at most that, and starts ` +
				`at a line, sentence or word."}`,
			func(v value) *ParamError {
				perr := v.oneOf(&z.OverlapMode, overlapExact, overlapAtBoundary)
				if z.OverlapMode == overlapExact {
					z.OverlapMode = ""
				}
				return perr
			},
		},
	}
}

// setOverlap takes a number or a percentage, which check turns into a number.
func (z *sizing) setOverlap(v value) *ParamError {
	s, ok := v.token.(string)
	if !ok {
		return v.integer(&z.ChunkOverlap)
	}
	digits, found := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 0 || n > 99 || len(digits) > 2 {
		e := v.wrong("a whole number or a percentage")
		e.Suggestion = `write 200, or "20%" for a share of chunk_size, "99%" at most`
		return e
	}
	z.percent = n
	return nil
}

func (z *sizing) check(p Parser) *ParamError {
	least := leastSize(z.Unit)
	if least == 0 {
		return unknownUnit(z.Unit)
	}
	if z.ChunkSize < least || z.ChunkSize > maxSize {
		return &ParamError{
			Param: "chunk_size", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is %d to %d %s", z.ChunkSize, least, maxSize, z.Unit),
			Suggestion: fmt.Sprintf("use %d, the default, or any size in the range", defaultSize),
		}
	}
	if z.percent > 0 {
		z.ChunkOverlap, z.percent = int(int64(z.ChunkSize)*int64(z.percent)/100), 0
	}
	if z.ChunkOverlap < 0 || z.ChunkOverlap >= z.ChunkSize {
		return &ParamError{
			Param: "chunk_overlap", Code: CodeInvalidValue,
			Problem: fmt.Sprintf("%d is out of range, which is 0 to %d: it must stay below chunk_size, %d %s",
				z.ChunkOverlap, z.ChunkSize-1, z.ChunkSize, z.Unit),
			Suggestion: fmt.Sprintf("use %d", min(200, z.ChunkSize/5)),
		}
	}
	soft := z.SoftChunkSize
	if soft == 0 {
		soft = z.ChunkSize
	}
	if soft < 0 || soft > z.ChunkSize || soft <= z.ChunkOverlap {
		return &ParamError{
			Param: "soft_chunk_size", Code: CodeInvalidValue,
			Problem: fmt.Sprintf("%d is out of range: it must be above chunk_overlap, %d, and at most chunk_size, %d %s",
				z.SoftChunkSize, z.ChunkOverlap, z.ChunkSize, z.Unit),
			Suggestion: "leave it out, or use a size between them",
		}
	}
	if z.MinChunkSize < 0 || z.MinChunkSize > soft {
		return &ParamError{
			Param: "min_chunk_size", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is 0 to %d %s", z.MinChunkSize, soft, z.Unit),
			Suggestion: fmt.Sprintf("use %d, or leave it out", soft/4),
		}
	}
	if z.SoftChunkSize == z.ChunkSize {
		z.SoftChunkSize = 0 // says nothing more
	}
	return z.choose(p)
}

// leastSize is the least that a chunk_size may be, or 0 for what is no unit.
func leastSize(unit string) int {
	switch unit {
	case unitChars:
		return minChars
	case unitBytes:
		return minBytes
	case unitWords:
		return minWords
	case unitTokens:
		return minTokens
	}
	return 0
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
		return &ParamError{
			Param: "tokenizer", Code: CodeInvalidValue, Problem: quote(z.Tokenizer) + ": " + err.Error(),
			Suggestion: "leave the field out for " + DefaultTokenizer,
		}
	}
	z.sizer = sizer
	return nil
}
