package chunk_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// optimalWindow is how far optimal looks ahead, in bytes.
func optimalWindow(l chunktest.Limits) int {
	if l.Unit == "tokens" {
		return 256 * l.Size
	}
	return 64 * l.Size
}

func TestOptimal(t *testing.T) {
	t.Parallel()
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 1},
		{Unit: "chars", Size: 7, Overlap: 3},
		{Unit: "chars", Size: 200, Overlap: 40},
		{Unit: "bytes", Size: 4, Overlap: 2},
		{Unit: "bytes", Size: 100},
		{Unit: "words", Size: 20, Overlap: 5},
		{Unit: "tokens", Size: 8, Sizer: sizer(t, "cl100k_base")},
		{Unit: "tokens", Size: 40, Overlap: 10, Sizer: sizer(t, "o200k_base")},
	} {
		t.Run(fmt.Sprint(limits.Unit, limits.Size), func(t *testing.T) {
			t.Parallel()
			s := parse(t, "optimal", limits)
			limits.Window = optimalWindow(limits)
			for _, text := range texts() {
				if limits.Size < 10 {
					text.Text = strings.ToValidUTF8(text.Text[:min(len(text.Text), 1000)], "")
				}
				chunktest.Check(t, s, text.Text, limits)
				if checkWindows(t, s, text.Text); t.Failed() {
					t.Fatalf("text: %s", text.Name)
				}
			}
		})
	}
}

// The plan costs no more than any other way through the same places.
func TestOptimalIsOptimal(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, text := range chunktest.Texts() {
		for at := 0; at < len(text.Text); at += 331 {
			s := parse(t, "optimal", chunktest.Limits{Unit: "bytes", Size: 40})
			part := strings.ToValidUTF8(text.Text[at:min(len(text.Text), at+90)], "")
			places, best, most, got := chunk.Places(s, part)
			if n := len(places); n == 0 || n > 14 {
				continue
			}
			tried++
			want := math.Inf(1)
			for cuts := range 1 << (len(places) - 1) { // which of the places but the last are cut at
				cost, from, blank := 0.0, 0, true
				for i, p := range places {
					blank = blank && p.Blank
					if i < len(places)-1 && cuts&(1<<i) == 0 {
						continue
					}
					size := p.Size - from
					switch {
					case size > most:
						cost = math.Inf(1)
					case blank:
						cost += 4
					default:
						off := (float64(size) - best) / best
						cost += off*off + p.Price
					}
					from, blank = p.Size, true
				}
				want = min(want, cost)
			}
			if math.Abs(got-want) > 1e-9 {
				t.Errorf("%q: the plan costs %v, the best %v: %v", part, got, want, places)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d texts were small enough to try all ways", tried)
	}
}

func TestOptimalCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits chunktest.Limits
		text   string
		want   []string
	}{
		{ // recursive would fill the first chunk and leave a sliver
			chunktest.Limits{Unit: "chars", Size: 40}, "One two three four. Five six seven eight. Nine ten.",
			[]string{"One two three four. ", "Five six seven eight. Nine ten."},
		},
		{
			chunktest.Limits{Unit: "chars", Size: 40, Soft: 30}, "A paragraph here.\n\nAnother one, longer than that. And more of it.",
			[]string{"A paragraph here.\n\n", "Another one, longer than that. ", "And more of it."},
		},
		{chunktest.Limits{Unit: "chars", Size: 5}, "abcdefghij", []string{"abcde", "fghij"}},
		{chunktest.Limits{Unit: "chars", Size: 5}, " \n ", nil},
		{chunktest.Limits{Unit: "chars", Size: 5}, "", nil},
	} {
		var got []string
		for c := range parse(t, "optimal", test.limits).Split(test.text) {
			got = append(got, test.text[c.Start:c.End])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

func FuzzOptimal(f *testing.F) {
	for i, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 300)], uint8(5*i), uint8(3*i), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		limits.Overlap = min(limits.Overlap, limits.Size/2)
		limits.AtMost, limits.Window = how&4 != 0, optimalWindow(limits)
		s, err := sized("optimal", limits, how)
		if err != nil {
			t.Fatal(err)
		}
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
		checkGuard(t, "optimal", s, text)
	})
}

func ExampleParse_optimal() {
	text := "One two three four. Five six seven eight. Nine ten."
	plan, err := chunk.Parse("optimal", []byte(`{"chunk_size":40}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%q %s\n", text[c.Start:c.End], c.Boundary)
	}
	// Output:
	// "One two three four. " sentence
	// "Five six seven eight. Nine ten." end
}

func BenchmarkOptimal(b *testing.B) {
	for _, text := range []struct{ name, text string }{
		{"prose", chunktest.Prose(1 << 20)}, {"cjk", chunktest.Han(1 << 20)}, {"code", chunktest.Code(1 << 20)},
	} {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000}, {Unit: "chars", Size: 1000, Overlap: 200}, {Unit: "chars", Size: 100},
			{Unit: "tokens", Size: 512, Sizer: sizer(b, "cl100k_base")},
		} {
			b.Run(fmt.Sprintf("%s/%d-%d-%s", text.name, limits.Size, limits.Overlap, limits.Unit), func(b *testing.B) {
				s := parse(b, "optimal", limits)
				benchmarkSplit(b, s, text.text)
			})
		}
	}
}
