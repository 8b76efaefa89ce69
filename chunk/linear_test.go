//go:build !race

package chunk_test

import (
	"slices"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// tokenText is how much of each text is checked in tokens, in bytes.
const tokenText = 1 << 30

// slowText is how much of each text the slow splitters cut, in bytes.
const slowText = 400

// mostText is how much of each text the contract is checked on, in bytes.
const mostText = 1 << 30

// sparse leaves out cases that differ little from others: nothing is too slow for them all.
const sparse = false

// Not parallel: it measures time.
func TestLinear(t *testing.T) {
	for _, strategy := range append(strategies, "sentence") {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000},
			{Unit: "chars", Size: 1000, Overlap: 200},
			{Unit: "bytes", Size: 4096},
			{Unit: "words", Size: 10},
			{Unit: "words", Size: 10, Overlap: 3},
			{Unit: "tokens", Size: 64, Sizer: sizer(t, "cl100k_base")},
			{Unit: "tokens", Size: 64, Overlap: 8, Sizer: sizer(t, "o200k_base")},
		} {
			chunktest.Linear(t, parse(t, strategy, limits))
		}
	}
	for _, limits := range []chunktest.Limits{{Size: 1000}, {Size: 1000, Overlap: 999}, {Size: 10, Overlap: 3}} {
		plan := langchainPlan(t, []string{"\n\n", "\n", " ", ""}, limits.Size, limits.Overlap, "chars")
		if chunktest.Linear(t, plan.Splitter); t.Failed() {
			t.Fatal(string(plan.Settings))
		}
	}
	for _, sep := range separatorSettings {
		chunktest.Linear(t, separatorSplitter(t, chunktest.Limits{Unit: "chars", Size: 1000}, sep.levels, sep.start))
	}
	for _, info := range chunk.Strategies() {
		if slices.Contains(strategies, info.Name) {
			continue
		}
		if info.Name == "sliding_window" { // it has other settings
			chunktest.Linear(t, sliding(t, chunktest.Limits{Unit: "chars", Size: 1000, Overlap: 200}))
			continue
		}
		if chunktest.Linear(t, parse(t, info.Name, chunktest.Limits{Unit: "chars", Size: 1000})); t.Failed() {
			t.Fatal(info.Name)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	text := chunktest.Prose(1 << 18)
	for _, strategy := range append(strategies, "sentence") {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000, Overlap: 100}, {Unit: "words", Size: 100, Overlap: 10},
			{Unit: "tokens", Size: 100, Overlap: 10, Sizer: sizer(t, "cl100k_base")},
		} {
			s := parse(t, strategy, limits)
			spans := 0
			got := testing.AllocsPerRun(5, func() {
				for range s.Split(text) {
					spans++
				}
			})
			if got > 16 { // the walk itself, not its hundreds of spans
				t.Errorf("%s %s: got %v allocations a walk, want at most 16", strategy, limits.Unit, got)
			}
		}
	}
}
