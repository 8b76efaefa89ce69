package chunk

import (
	"iter"
	"strings"
	"unicode/utf8"
)

// Place is where a byte offset lies in a text, in the other ways in which programs count.
type Place struct {
	Byte  int
	Char  int // code points before it, as Chars counts them
	Line  int // line ends (LF) before it, so from 0
	UTF16 int // UTF-16 code units before it, as JavaScript, Java and .NET count; only Ruler.UTF16 counts them
}

// Ruler finds places in one text. It reads each stretch of it about once as long as the offsets it is asked for grow, or
// go back by no more than an overlap. The zero value is ready. It is not for concurrent use.
type Ruler struct {
	// UTF16 asks for UTF-16 code units also, which costs as much again as the rest.
	UTF16 bool
	at    Place
}

// At returns the place of a byte offset of text, 0 <= offset <= len(text), on a rune boundary. text must be the same,
// or begin with what was asked about before, in every call.
func (r *Ruler) At(text string, offset int) Place {
	from := r.at
	if offset < from.Byte {
		if offset < from.Byte/2 {
			r.at = Place{} // nearer to the start
			return r.At(text, offset)
		}
		back := r.count(text[offset:from.Byte])
		return Place{offset, from.Char - back.Char, from.Line - back.Line, from.UTF16 - back.UTF16}
	}
	on := r.count(text[from.Byte:offset])
	r.at = Place{offset, from.Char + on.Char, from.Line + on.Line, from.UTF16 + on.UTF16}
	return r.at
}

func (r *Ruler) count(s string) Place {
	p := Place{len(s), Chars(s), strings.Count(s, "\n"), 0}
	if r.UTF16 {
		p.UTF16 = p.Char
		if p.Char < len(s) {
			for i := 0; i < len(s); i++ {
				if s[i] >= 0xF0 { // starts a rune of four bytes, which is a pair of surrogates
					p.UTF16++
				}
			}
		}
	}
	return p
}

// Detail is a chunk with everything that can be said of it.
type Detail struct {
	Chunk
	Index int    // from 0, in the order of the strategy
	Text  string // text[Start:End]
	From  Place  // of Start
	To    Place  // of End
	// Size is how much the chunk holds in the unit of the settings; Tokens is how many tokens if the describer was given
	// something to count by, else 0.
	Size, Tokens int
	// Overlap is how many bytes of the chunk are also in the one before it, on the same level.
	Overlap int
	// Opens is the kind of place the chunk starts at: the boundary that ended the one before, or, where the chunk reaches
	// back into that one, what stands at its start. The first chunk starts at End, of nothing.
	Opens Boundary
}

// Size gives how much text holds in the unit of the plan's settings; in code points if its splitter is not one of ours.
func (p Plan) Size(text string) int {
	if s, ok := p.Splitter.(interface{ size(string) int }); ok {
		return s.size(text)
	}
	return utf8.RuneCountInString(text)
}

// Opening is the kind of place that an offset is, 0 < at < len(text), as Detail.Opens has it for a chunk that reaches back
// into the one before.
func Opening(text string, at int) Boundary { return boundaryAt(text, at) }

// Describer makes details of chunks.
type Describer struct {
	UTF16  bool  // count UTF-16 code units also
	Tokens Sizer // count tokens by it; nil for not at all
}

// Describe cuts text by the plan, under Guard, and yields each chunk with its details.
func (d Describer) Describe(p Plan, text string) iter.Seq2[Detail, error] {
	return d.DescribeFrom(p, p.Splitter, text)
}

// DescribeFrom is Describe for chunks of the text that were cut elsewhere by the same plan, which from yields.
func (d Describer) DescribeFrom(p Plan, from Splitter, text string) iter.Seq2[Detail, error] {
	return func(yield func(Detail, error) bool) {
		var (
			ruler  = Ruler{UTF16: d.UTF16}
			before [maxLevels]Chunk
			some   [maxLevels]bool
			n      int
		)
		for c, err := range Guard(p.Strategy, from, text) {
			if err != nil {
				yield(Detail{}, err)
				return
			}
			t := text[c.Start:c.End]
			x := Detail{Chunk: c, Index: n, Text: t, From: ruler.At(text, c.Start), To: ruler.At(text, c.End), Size: p.Size(t), Opens: End}
			if some[c.Level] {
				last := before[c.Level]
				x.Overlap = max(0, last.End-c.Start)
				x.Opens = last.Boundary
				if x.Overlap > 0 {
					x.Opens = boundaryAt(text, c.Start)
				}
			} else if c.Start > 0 {
				x.Opens = boundaryAt(text, c.Start)
			}
			if d.Tokens != nil {
				x.Tokens = d.Tokens.Count(t)
			}
			before[c.Level], some[c.Level] = c, true
			n++
			if !yield(x, nil) {
				return
			}
		}
	}
}
