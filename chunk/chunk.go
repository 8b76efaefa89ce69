// Package chunk cuts text into spans: text in, byte offsets out.
//
// A chunk is a half-open span [Start, End) of UTF-8 bytes of one immutable text, so text[s.Start:s.End] is the chunk.
// Strategies are pure and deterministic: the same text and settings give the same spans on every machine; they hold
// no context, clock, log or goroutine. They yield spans one by one, so stopping early is free.
package chunk

import "iter"

// Version names the behaviour of all strategies together. It changes whenever any strategy would cut any text
// differently; an operation started under one version is never resumed under another.
const Version = "1"

// Span is one chunk's place: bytes [Start, End) of the text it was cut from.
type Span struct{ Start, End int }

// Splitter cuts a text. Split yields spans whose starts strictly increase, that are not empty, and that lie in the
// text; chunktest.Check is the whole contract. A Splitter is immutable: any number of goroutines may use it at once.
type Splitter interface {
	Split(text string) iter.Seq[Span]
}
