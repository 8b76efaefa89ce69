package chunk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

func hierarchy(tb testing.TB, limits chunktest.Limits) chunk.Splitter {
	tb.Helper()
	return parseMore(tb, "hierarchical", limits, fmt.Sprintf(`,"child_sizes":%s`, strings.ReplaceAll(fmt.Sprint(limits.Levels), " ", ",")))
}

func TestHierarchical(t *testing.T) {
	t.Parallel()
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 400, Levels: []int{100, 25}},
		{Unit: "chars", Size: 4, Levels: []int{3, 2, 1}},
		{Unit: "bytes", Size: 90, Levels: []int{30}},
		{Unit: "words", Size: 40, Levels: []int{10, 3}},
		{Unit: "tokens", Size: 64, Levels: []int{16}, Sizer: sizer(t, "cl100k_base")},
	} {
		s := hierarchy(t, limits)
		for _, text := range texts() {
			chunktest.Check(t, s, text.Text, limits)
			if checkWindows(t, s, text.Text); t.Failed() {
				t.Fatalf("text: %s", text.Name)
			}
		}
	}
}

// The largest chunks are those of recursive, and the children of each are those of recursive on its text alone.
func TestHierarchicalIsRecursive(t *testing.T) {
	t.Parallel()
	text := chunktest.Prose(20000)
	limits := chunktest.Limits{Unit: "chars", Size: 900, Levels: []int{200, 60}}
	levels := make([][]chunk.Chunk, 3)
	for c := range hierarchy(t, limits).Split(text) {
		levels[c.Level] = append(levels[c.Level], c)
	}
	for level, size := range []int{900, 200, 60} {
		parents := []chunk.Chunk{{Span: chunk.Span{Start: 0, End: len(text)}}}
		if level > 0 {
			parents = levels[level-1]
		}
		var got, want []chunk.Span
		for _, c := range levels[level] {
			got = append(got, c.Span)
		}
		for _, p := range parents {
			for _, sp := range chunktest.Collect(parse(t, "recursive", chunktest.Limits{Unit: "chars", Size: size}), text[p.Start:p.End]) {
				want = append(want, chunk.Span{Start: p.Start + sp.Start, End: p.Start + sp.End})
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("level %d: got %v, want %v", level, got, want)
		}
	}
}

func TestHierarchicalLinks(t *testing.T) {
	t.Parallel()
	limits := chunktest.Limits{Unit: "chars", Size: 24, Overlap: 3, AtMost: true, Levels: []int{12}}
	text := "One two three. Four five.\n\nSix seven."
	var got []string
	for c := range parseMore(t, "hierarchical", chunktest.Limits{Unit: "chars", Size: 24, Overlap: 3}, `,"child_sizes":[12]`).Split(text) {
		got = append(got, fmt.Sprintf("%d ↑%d %q %s %s", c.Level, c.Up, text[c.Start:c.End], c.Boundary, c.Reason))
	}
	want := []string{
		`0 ↑0 "One two three. " sentence limit`, `1 ↑1 "One two " word limit`, `1 ↑2 "wo three. " sentence limit`,
		`0 ↑0 "Four five.\n\nSix seven." end end`, `1 ↑1 "Four five.\n\n" paragraph limit`, `1 ↑2 ".\n\nSix " word limit`,
		`1 ↑3 "ix seven." end end`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	chunktest.Check(t, parseMore(t, "hierarchical", chunktest.Limits{Unit: "chars", Size: 24, Overlap: 3}, `,"child_sizes":[12]`),
		text, chunktest.Limits{Unit: "chars", Size: limits.Size, Overlap: 3, AtMost: true, Levels: limits.Levels})
}

func TestHierarchicalRefuses(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{"child_sizes":[]}`:                        `child_sizes has 0 sizes: it takes 1 to 3 (give sizes such as [250,62])`,
		`{"child_sizes":[900,800,700,600]}`:         `child_sizes has 4 sizes: it takes 1 to 3 (give sizes such as [250,62])`,
		`{"child_sizes":[1000]}`:                    `child_sizes: 1000 is out of range: it must be at least 1 and less than 1000, the size of its parent, in chars (give sizes such as [250,62])`,
		`{"child_sizes":[100,200]}`:                 `child_sizes: 200 is out of range: it must be at least 1 and less than 100, the size of its parent, in chars (give sizes such as [250,62])`,
		`{"child_sizes":[0]}`:                       `child_sizes: 0 is out of range: it must be at least 1 and less than 1000, the size of its parent, in chars (give sizes such as [250,62])`,
		`{"child_sizes":["a"]}`:                     `child_sizes must be a whole number, not the string "a" (give a whole number)`,
		`{"child_sizes":7}`:                         `child_sizes must be an array of whole numbers, not 7 (give an array of whole numbers)`,
		`{"child_sizes":[100],"chunk_overlap":100}`: `chunk_overlap: 100 is out of range: it must stay below the smallest of child_sizes, 100 chars (use 20)`,
		`{"chunk_size":3}`:                          `chunk_size: 3 leaves no room for children: it must be at least 4 chars (use 1000, the default, or any larger size)`,
	} {
		if _, err := chunk.Parse("hierarchical", []byte(settings)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", settings, err, want)
		}
	}
}

func FuzzHierarchical(f *testing.F) {
	addTexts(f)
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, inBytes bool) {
		limits := fuzzLimits(size, 0, inBytes)
		limits.Size = max(limits.Size, 16)
		limits.Levels = []int{limits.Size / 2, limits.Size / 4}
		limits.Overlap, limits.AtMost = int(overlap)%limits.Levels[1], true
		s := hierarchy(t, limits)
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
		checkGuard(t, "hierarchical", s, text)
	})
}

func ExampleParse_hierarchical() {
	text := "Large chunks give context. Small ones are found.\n\nEach small one knows its parent."
	plan, err := chunk.Parse("hierarchical", []byte(`{"chunk_size":50,"child_sizes":[30]}`))
	if err != nil {
		panic(err)
	}
	i := 0
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%d: level %d, parent %d, %q\n", i, c.Level, i-c.Up, text[c.Start:c.End])
		i++
	}
	// Output:
	// 0: level 0, parent 0, "Large chunks give context. Small ones are found.\n\n"
	// 1: level 1, parent 0, "Large chunks give context. "
	// 2: level 1, parent 0, "Small ones are found.\n\n"
	// 3: level 0, parent 3, "Each small one knows its parent."
	// 4: level 1, parent 3, "Each small one knows its "
	// 5: level 1, parent 3, "parent."
}
