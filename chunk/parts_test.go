package chunk_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// joined cuts the parts side by side and joins them.
func joined(p *chunk.Parts) []chunk.Chunk {
	var wg sync.WaitGroup
	for i := range p.Len() {
		wg.Go(func() { p.Cut(i) })
	}
	wg.Wait()
	return slices.Collect(p.Join())
}

func TestDivide(t *testing.T) {
	t.Parallel()
	const size = 140 << 10
	for _, info := range chunk.Strategies() {
		t.Run(info.Name, func(t *testing.T) {
			t.Parallel()
			for i, settings := range []string{
				`{"chunk_size":400}`, `{"chunk_size":400,"chunk_overlap":60}`, `{"chunk_size":300,"unit":"words"}`,
				`{"chunk_size":64,"chunk_overlap":9,"unit":"tokens"}`, `{"chunk_size":400,"context_in_size":true}`,
				`{"chunk_size":200,"split_headings":3,"min_chunk_size":50}`, `{"chunk_size":200,"mix":true}`,
			} {
				plan, err := parser.Parse(info.Name, []byte(settings))
				if err != nil {
					continue // not a setting of this strategy
				}
				texts := map[string]string{
					"prose": chunktest.Prose(size), "han": chunktest.Han(size), "one letter": strings.Repeat("a", size),
					"no paragraphs": strings.Repeat("word ", size/5), "blank": "x" + strings.Repeat("\n", size) + "y",
					"markdown": markdownPage(size), "code": chunktest.Code(size), "table": "id,text\n" + strings.Repeat("1,\"a,\n\nb\"\n2,c\n", size/15),
					"mixed":  strings.Repeat("# Title\n\n"+strings.Join(mixedTexts(), "\n\n# Next\n\n"), size/6000),
					"fences": strings.Repeat("# A\n\n```\n"+strings.Repeat("a\n\n## B\n", size/36)+"\n```\n", 4),
				}
				for name, text := range texts {
					if strings.Contains(settings, "tokens") && name != "prose" {
						continue
					}
					if sparse && i > 0 && !slices.Contains([]string{"prose", "markdown", "mixed"}, name) {
						continue
					}
					want := slices.Collect(plan.Splitter.Split(text))
					for _, n := range []int{2, 1000} {
						if sparse && n == 2 {
							continue // as many parts as there may be are two of most of these texts
						}
						p := chunk.Divide(plan.Splitter, text, n)
						got, parts := joined(p), p.Len()
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
	for _, info := range chunk.Strategies() {
		want := 4
		if slices.Contains([]string{"html", "code", "sliding_window"}, info.Name) {
			want = 1
		}
		plan, err := parser.Parse(info.Name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := chunk.Divide(plan.Splitter, chunktest.Prose(2*size), 4).Len(); n != want {
			t.Errorf("%s: got %d parts, want %d", info.Name, n, want)
		}
	}
	for i := range chunk.Divide(plan.Splitter, chunktest.Prose(size), 4).Join() { // a caller that cut nothing still gets all
		_ = i
		break
	}
}

// Wherever the parts begin, Join gives what Split gives.
func FuzzDivide(f *testing.F) {
	for i := range markdownTexts {
		text := markdownText(i)
		f.Add(text[:min(len(text), 400)], uint8(25+3*i), uint8(i), uint8(3*i), uint8(i), uint16(90*i))
	}
	for i, text := range append(mixedTexts(), "a,b\n1,\"x\ny\"\n2,z\n3,\"\"\"w\"\n") {
		f.Add(text, uint8(30+9*i), uint8(i), uint8(i), uint8(i), uint16(60*i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8, at uint16) {
		limits := anyLimits(t, size, overlap, which)
		froms := []int{0}
		for from := int(at) % (len(text) + 1); from < len(text) && len(froms) < 5; from += 1 + int(at)%100 {
			if utf8.RuneStart(text[from]) && from > froms[len(froms)-1] {
				froms = append(froms, from)
			}
		}
		for _, strategy := range []string{"markdown", "hybrid", "table", "document_structure", "recursive"} {
			s, err := sized(strategy, limits, how)
			if err != nil {
				t.Fatal(err)
			}
			parts := chunk.DivideAt(s, text, froms)
			for i := range parts.Len() { // not side by side: the same input then always takes the same way
				parts.Cut(i)
			}
			got, want := slices.Collect(parts.Join()), slices.Collect(s.Split(text))
			if !slices.EqualFunc(got, want, chunktest.Same) {
				t.Errorf("%s %+v from %v:\n got %v\nwant %v", strategy, limits, froms, got, want)
			}
		}
	})
}

// One after the other against side by side; the ratio of the two is what a second core brings.
func BenchmarkDivide(b *testing.B) {
	const size = 32 << 20
	prose, page := chunktest.Prose(size), markdownPage(size)
	csv := "id,words,day,number\n" + strings.Repeat("12345,\"Some, words\",2026-11-26,3.14\n6,other,2026-11-27,2\n", size/65)
	for _, settings := range []struct{ strategy, settings, text string }{
		{"recursive", `{}`, prose}, {"recursive", `{"chunk_size":512,"unit":"tokens"}`, prose}, {"optimal", `{}`, prose},
		{"sentence", `{"max_sentences":3}`, prose}, {"markdown", `{}`, page}, {"hybrid", `{}`, page}, {"document_structure", `{}`, page},
		{"table", `{}`, csv},
	} {
		text := settings.text
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
