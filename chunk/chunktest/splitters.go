package chunktest

import (
	"iter"

	"chunkstream/chunk"
)

// Spans is a splitter that yields these spans for every text, right or wrong: for testing what runs splitters.
type Spans []chunk.Span

// Split yields the spans in order.
func (s Spans) Split(string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		for _, sp := range s {
			if !yield(chunk.Chunk{Span: sp}) {
				return
			}
		}
	}
}

// Func is a splitter made of a function that gives spans.
type Func func(text string) iter.Seq[chunk.Span]

// Split yields what f does.
func (f Func) Split(text string) iter.Seq[chunk.Chunk] {
	return func(yield func(chunk.Chunk) bool) {
		for sp := range f(text) {
			if !yield(chunk.Chunk{Span: sp}) {
				return
			}
		}
	}
}

// Collect is the spans that s cuts text into.
func Collect(s chunk.Splitter, text string) (spans []chunk.Span) {
	for c := range s.Split(text) {
		spans = append(spans, c.Span)
	}
	return spans
}
