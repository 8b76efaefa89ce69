//go:build !race

package chunk_test

import (
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// Not parallel: it measures time.
func TestMarkdownLinear(t *testing.T) {
	var units []string
	for _, text := range markdownTexts {
		units = append(units, text.text)
	}
	for _, more := range []string{"", `,"context_in_size":true,"split_headings":6`} {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000}, {Unit: "chars", Size: 1 << 30}, {Unit: "chars", Size: 20, Overlap: 5}, {Unit: "words", Size: 100},
		} {
			s := parseMore(t, "markdown", limits, more)
			chunktest.Linear(t, s, units...)
		}
	}
}

// No chunk of its own costs memory: what does is a heading, a table or a fence that is context.
func TestMarkdownAllocations(t *testing.T) {
	text := markdownPage(1 << 19)
	s := parse(t, "markdown", chunktest.Limits{Unit: "chars", Size: 200})
	chunks, pieces := 0, map[*chunk.Context]bool{}
	for c := range s.Split(text) {
		chunks++
		for x := c.Context; x != nil; x = x.Up {
			pieces[x] = true
		}
	}
	got := testing.AllocsPerRun(3, func() {
		for range s.Split(text) {
		}
	})
	if most := float64(strings.Count(text, "\n## ") + len(pieces) + 40); got > most || chunks < 2000 {
		t.Errorf("got %v allocations for %d chunks, want at most %v", got, chunks, most)
	}
}

// Not parallel: it measures time.
func TestTableLinear(t *testing.T) {
	var units []string
	for _, text := range tableTexts {
		units = append(units, text.text)
	}
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 1000, Overlap: 300}, {Unit: "bytes", Size: 1 << 20}, {Unit: "words", Size: 50},
	} {
		for _, more := range []string{"", `,"delimiter":"tab"`} {
			chunktest.Linear(t, parseMore(t, "table", limits, more), units...)
		}
	}
}

// Not parallel: it measures time.
func TestHybridLinear(t *testing.T) {
	var units []string
	for _, text := range markdownTexts {
		units = append(units, text.text)
	}
	for _, strategy := range []string{"hybrid", "document_structure"} {
		for _, limits := range []chunktest.Limits{{Unit: "chars", Size: 1000}, {Unit: "chars", Size: 1 << 30}, {Unit: "bytes", Size: 30}} {
			chunktest.Linear(t, parse(t, strategy, limits), units...)
		}
	}
}
