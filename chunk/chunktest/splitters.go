package chunktest

import (
	"iter"
	"slices"

	"chunkstream/chunk"
)

// Spans is a splitter that yields these spans for every text, right or wrong: for testing what runs splitters.
type Spans []chunk.Span

// Split yields the spans in order.
func (s Spans) Split(string) iter.Seq[chunk.Span] { return slices.Values(s) }

// Func is a splitter made of a function.
type Func func(text string) iter.Seq[chunk.Span]

// Split calls f.
func (f Func) Split(text string) iter.Seq[chunk.Span] { return f(text) }
