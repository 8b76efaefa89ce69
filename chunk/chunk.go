// Package chunk cuts text into chunks: text in, byte offsets out.
//
// A chunk is a half-open span [Start, End) of UTF-8 bytes of one immutable text, so text[c.Start:c.End] is the chunk.
// Strategies are pure and deterministic: the same text and settings give the same chunks on every machine; they hold
// no context, clock, log or goroutine. They yield chunks one by one, so stopping early is free.
package chunk

import "iter"

// Version names the behaviour of all strategies together. It changes whenever any strategy would cut any text
// differently; an operation started under one version is never resumed under another.
const Version = "3"

// Span is a stretch of a text: the bytes [Start, End).
type Span struct{ Start, End int }

// Chunk is one chunk: its span, and what only the strategy that cut it knows of it.
type Chunk struct {
	Span
	// Boundary is the kind of place the chunk ends at, Reason why it ends there and not further on.
	Boundary Boundary
	Reason   Reason
	// Kind is what the chunk holds, for strategies that know.
	Kind Kind
	// Level is the size class of a hierarchical chunk, 0 for the largest; every other strategy yields level 0 only.
	Level uint8
	// Up is how many chunks before this one its parent was yielded, 0 for a chunk without one. A chunk lies inside its
	// parent, whose Level is one less.
	Up int
	// Context is the innermost piece of text that belongs to the chunk without being in it, nil when there is none.
	Context *Context
}

// Context is text elsewhere in the document without which a chunk is hard to understand: a heading above it, the header
// of the table it continues. The pieces form a list from the innermost outward. It is immutable, and shared by chunks.
type Context struct {
	Span              // in the document; it ends at or before the chunk's start
	Text  string      // the bytes of the span
	Kind  ContextKind //
	Level int         // of a heading, 1 to 6; of other kinds, their depth or 0
	Up    *Context    // the piece around this one, nil at the outermost
}

// Splitter cuts a text. Split yields chunks that are not empty, that lie in the text, and whose starts and ends
// strictly increase (on each level, if there are levels; a parent comes before its children); chunktest.Check is the
// whole contract. A Splitter is immutable: any number of goroutines may use it at once.
type Splitter interface {
	Split(text string) iter.Seq[Chunk]
}

// Boundary is the kind of place a chunk ends at. A higher one is a better place.
type Boundary uint8

// The kinds of boundary.
const (
	Character Boundary = iota // between two grapheme clusters; inside of one only if it alone is above the limit
	Word                      // behind white space, or at a change of words
	Clause                    // behind , ; : or their like in other scripts
	Sentence                  // behind the end of a sentence
	Line                      // behind a line end
	Row                       // behind a row of a table, a record or a list item
	Paragraph                 // behind a blank line
	Separator                 // at a separator that the settings name
	Topic                     // where the text turns to something else
	Block                     // behind a block of the document's structure: a list, a table, a function, an element
	Section                   // before a heading or its like
	End                       // the end of the text
)

var boundaryNames = [...]string{
	"character", "word", "clause", "sentence", "line", "row", "paragraph", "separator", "topic", "block", "section", "end",
}

// String is the boundary's name in JSON: character, word, clause and so on.
func (b Boundary) String() string { return name(boundaryNames[:], b) }

// Reason is why a chunk ends where it ends.
type Reason uint8

// The reasons.
const (
	AtLimit     Reason = iota // more would be above the size limit: this is the best boundary below it
	AtStructure               // the document's structure or topic ends here, although more would have fitted
	AtEnd                     // there is no more text
)

var reasonNames = [...]string{"limit", "structure", "end"}

// String is the reason's name in JSON: limit, structure or end.
func (r Reason) String() string { return name(reasonNames[:], r) }

// Kind is what a chunk holds.
type Kind uint8

// The kinds. Unknown is every chunk of a strategy that does not look at structure.
const (
	Unknown     Kind = iota
	Prose            // paragraphs, headings
	List             // list items
	Table            // rows
	Code             // a fence, an indented block, source text
	Quote            // a block quotation
	Markup           // HTML
	FrontMatter      // metadata at the start of a document
	Mixed            // several of them
)

var kindNames = [...]string{"", "prose", "list", "table", "code", "quote", "markup", "front_matter", "mixed"}

// String is the kind's name in JSON; it is empty for Unknown.
func (k Kind) String() string { return name(kindNames[:], k) }

// ContextKind is what a piece of context is.
type ContextKind uint8

// The kinds of context.
const (
	Heading     ContextKind = iota // a heading above the chunk
	TableHeader                    // the header of the table that the chunk continues
	FenceOpener                    // the first line of the code fence that the chunk continues
	Declaration                    // the first line of the function, class or block of code around the chunk
	Element                        // the opening of an element or a list item around the chunk
)

var contextNames = [...]string{"heading", "table_header", "fence", "declaration", "element"}

// String is the kind's name in JSON.
func (k ContextKind) String() string { return name(contextNames[:], k) }

// name is the string of an enumeration's value, also of one that is none.
func name[T ~uint8](names []string, v T) string {
	if int(v) >= len(names) {
		return "invalid"
	}
	return names[v]
}
