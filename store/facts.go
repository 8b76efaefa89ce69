package store

import (
	"encoding/json"
	"fmt"

	"chunkstream/chunk"
)

// Facts is what a strategy said of a chunk beyond its span, as chunk.Chunk has it.
type Facts struct {
	Known    bool // false for a chunk that was stored before facts were kept: the rest means nothing
	Boundary chunk.Boundary
	Reason   chunk.Reason
	Kind     chunk.Kind
	Level    uint8
	Up       int       // how many chunks before this one its parent is; 0 for none
	Context  []Context // the outermost first
}

// Context is a piece of text elsewhere in the document that belongs to a chunk.
type Context struct {
	Kind               chunk.ContextKind
	Level              int
	StartByte, EndByte int64
	Text               string // empty when the spans alone were asked for
}

// FactsOf is the facts of a chunk.
func FactsOf(c chunk.Chunk) Facts {
	f := Facts{Known: true, Boundary: c.Boundary, Reason: c.Reason, Kind: c.Kind, Level: c.Level, Up: c.Up}
	n := 0
	for x := c.Context; x != nil; x = x.Up {
		n++
	}
	if n == 0 {
		return f
	}
	f.Context = make([]Context, n)
	for x := c.Context; x != nil; x = x.Up {
		n--
		f.Context[n] = Context{x.Kind, x.Level, int64(x.Start), int64(x.End), x.Text}
	}
	return f
}

// facts are kept in two columns: a number, of which boundary, reason, kind and level have 8 bits each from the lowest on
// and up has the rest, and a JSON array of [kind, level, start_byte, end_byte]. Both are NULL where there is nothing.

func (f Facts) pack() (number *int64, context *string) {
	if !f.Known {
		return nil, nil
	}
	n := int64(f.Boundary) | int64(f.Reason)<<8 | int64(f.Kind)<<16 | int64(f.Level)<<24 | int64(f.Up)<<32
	if len(f.Context) == 0 {
		return &n, nil
	}
	b := []byte{'['}
	for i, c := range f.Context {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "[%d,%d,%d,%d]", c.Kind, c.Level, c.StartByte, c.EndByte)
	}
	s := string(append(b, ']'))
	return &n, &s
}

func unpackFacts(number *int64, context *string) (Facts, error) {
	if number == nil {
		return Facts{}, nil
	}
	n := *number
	f := Facts{
		Known: true, Boundary: chunk.Boundary(n & 255), Reason: chunk.Reason(n >> 8 & 255), Kind: chunk.Kind(n >> 16 & 255),
		Level: uint8(n >> 24 & 255), Up: int(n >> 32),
	}
	if context == nil {
		return f, nil
	}
	var pieces [][4]int64
	if err := json.Unmarshal([]byte(*context), &pieces); err != nil {
		return f, damaged("a chunk's context: %v", err)
	}
	for _, p := range pieces {
		f.Context = append(f.Context, Context{Kind: chunk.ContextKind(p[0]), Level: int(p[1]), StartByte: p[2], EndByte: p[3]})
	}
	return f, nil
}
