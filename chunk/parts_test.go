package chunk_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// divided cuts text in n parts, side by side.
func divided(s chunk.Splitter, text string, n int) (all []chunk.Chunk, parts int) {
	p := chunk.Divide(s, text, n)
	var wg sync.WaitGroup
	for i := range p.Len() {
		wg.Go(func() { p.Cut(i) })
	}
	wg.Wait()
	return slices.Collect(p.Join()), p.Len()
}

func TestDivide(t *testing.T) {
	t.Parallel()
	const size = 140 << 10
	for _, info := range chunk.Strategies() {
		t.Run(info.Name, func(t *testing.T) {
			t.Parallel()
			for _, settings := range []string{
				`{"chunk_size":400}`, `{"chunk_size":400,"chunk_overlap":60}`, `{"chunk_size":300,"unit":"words"}`,
				`{"chunk_size":64,"chunk_overlap":9,"unit":"tokens"}`,
			} {
				plan, err := parser.Parse(info.Name, []byte(settings))
				if err != nil {
					continue // not a setting of this strategy
				}
				texts := map[string]string{
					"prose": chunktest.Prose(size), "han": chunktest.Han(size), "one letter": strings.Repeat("a", size),
					"no paragraphs": strings.Repeat("word ", size/5), "blank": "x" + strings.Repeat("\n", size) + "y",
				}
				for name, text := range texts {
					if strings.Contains(settings, "tokens") && name != "prose" {
						continue
					}
					want := slices.Collect(plan.Splitter.Split(text))
					for _, n := range []int{2, 1000} {
						got, parts := divided(plan.Splitter, text, n)
						if !slices.EqualFunc(got, want, chunktest.Same) {
							t.Fatalf("%s, %s in %d parts: got %d chunks, want the %d of one", settings, name, parts, len(got), len(want))
						}
					}
				}
			}
		})
	}
	plan, err := parser.Parse("recursive", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := chunk.Divide(plan.Splitter, chunktest.Prose(2*size), 4).Len(); n != 4 {
		t.Errorf("got %d parts, want 4", n)
	}
	for i := range chunk.Divide(plan.Splitter, chunktest.Prose(size), 4).Join() { // a caller that cut nothing still gets all
		_ = i
		break
	}
}

// One after the other against side by side; the ratio of the two is what a second core brings.
func BenchmarkDivide(b *testing.B) {
	text := chunktest.Prose(32 << 20)
	for _, settings := range []struct{ strategy, settings string }{
		{"recursive", `{}`}, {"recursive", `{"chunk_size":512,"unit":"tokens"}`}, {"optimal", `{}`}, {"sentence", `{"max_sentences":3}`},
	} {
		plan, err := parser.Parse(settings.strategy, []byte(settings.settings))
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{1, runtime.GOMAXPROCS(0)} {
			b.Run(fmt.Sprintf("%s%s/%d", settings.strategy, settings.settings, n), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					p := chunk.Divide(plan.Splitter, text, n)
					var wg sync.WaitGroup
					for i := range p.Len() {
						wg.Go(func() { p.Cut(i) })
					}
					wg.Wait()
					for range p.Join() {
					}
				}
			})
		}
	}
}
