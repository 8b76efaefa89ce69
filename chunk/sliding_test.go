package chunk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

func sliding(tb testing.TB, limits chunktest.Limits) chunk.Splitter {
	tb.Helper()
	plan, err := parser.Parse("sliding_window", fmt.Appendf(nil, `{"window":%d,"stride":%d,"unit":%q}`,
		limits.Size, limits.Size-limits.Overlap, limits.Unit))
	if err != nil {
		tb.Fatal(err)
	}
	return plan.Splitter
}

var slidingLimits = []chunktest.Limits{
	{Unit: "chars", Size: 1, AtMost: true},
	{Unit: "chars", Size: 5, Overlap: 4, AtMost: true},
	{Unit: "chars", Size: 100, Overlap: 30, AtMost: true},
	{Unit: "bytes", Size: 7, Overlap: 6, AtMost: true},
	{Unit: "bytes", Size: 90, AtMost: true},
	{Unit: "words", Size: 7, Overlap: 3, AtMost: true},
}

func TestSlidingWindow(t *testing.T) {
	t.Parallel()
	for _, limits := range append([]chunktest.Limits{
		{Unit: "tokens", Size: 16, Overlap: 12, AtMost: true, Sizer: sizer(t, "cl100k_base")},
	}, slidingLimits...) {
		s := sliding(t, limits)
		if limits.Unit == "tokens" {
			limits.Overlap = limits.Size // tokens do not add up
		}
		limits.Window = -1 // white space is left out window by window
		for _, text := range texts() {
			if limits.Unit == "tokens" {
				text.Text = strings.ToValidUTF8(text.Text[:min(len(text.Text), 400)], "")
			}
			chunktest.Check(t, s, text.Text, limits)
			if checkWindows(t, s, text.Text); t.Failed() {
				t.Fatalf("text: %s, %+v", text.Name, limits)
			}
		}
	}
}

// Where no cut is moved, chunk k is the characters from k times stride on.
func TestSlidingWindowGrid(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("aé€😀 bcdefghij\n", 50) + "."
	runes := []rune(text)
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 9, Overlap: 5}, {Unit: "chars", Size: 30}, {Unit: "chars", Size: 7, Overlap: 6},
	} {
		var got, want []string
		for c := range sliding(t, limits).Split(text) {
			got = append(got, text[c.Start:c.End])
		}
		for k := 0; ; k += limits.Size - limits.Overlap {
			end := min(len(runes), k+limits.Size)
			want = append(want, string(runes[k:end]))
			if end == len(runes) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %q, want %q", limits, got, want)
		}
	}
}

func TestSlidingWindowCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits chunktest.Limits
		text   string
		want   []string
	}{
		{chunktest.Limits{Unit: "chars", Size: 4, Overlap: 2}, "abcdefgh", []string{"abcd", "cdef", "efgh"}},
		{chunktest.Limits{Unit: "chars", Size: 4, Overlap: 1}, "abcdefgh", []string{"abcd", "defg", "gh"}},
		{chunktest.Limits{Unit: "chars", Size: 4}, "abce\u0301fghijk", []string{"abc", "e\u0301fg", "hijk"}},
		{chunktest.Limits{Unit: "chars", Size: 4, Overlap: 2}, "ae\u0301bcdefg", []string{"ae\u0301b", "bcde", "defg"}},
		{chunktest.Limits{Unit: "bytes", Size: 4, Overlap: 2}, "a€bcde", []string{"a€", "bcde"}},
		{chunktest.Limits{Unit: "words", Size: 3, Overlap: 1}, "a b c d e f", []string{"a b c ", "c d e ", "e f"}},
		{chunktest.Limits{Unit: "chars", Size: 3}, "abc       def", []string{"abc", " de", "f"}},
		{chunktest.Limits{Unit: "chars", Size: 4, Overlap: 2}, "abcd  ", []string{"abcd"}},
	} {
		var got []string
		for c := range sliding(t, test.limits).Split(test.text) {
			got = append(got, test.text[c.Start:c.End])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v on %q: got %q, want %q", test.limits, test.text, got, test.want)
		}
	}
}

func TestSlidingWindowSettings(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{}`:                             `{"window":1000,"stride":800,"unit":"chars"}`,
		`{"window":1}`:                   `{"window":1,"stride":1,"unit":"chars"}`,
		`{"unit":"tokens","window":100}`: `{"window":100,"stride":80,"unit":"tokens","tokenizer":"cl100k_base"}`,
	} {
		plan, err := parser.Parse("sliding_window", []byte(settings))
		if err != nil || string(plan.Settings) != want {
			t.Errorf("%s: got %s, %v, want %s", settings, plan.Settings, err, want)
		}
	}
	for settings, want := range map[string]string{
		`{"stride":0}`:                 `stride: 0 is out of range, which is 1 to window, 1000 chars: beyond that, text would be lost (use 800)`,
		`{"stride":1001}`:              `stride: 1001 is out of range, which is 1 to window, 1000 chars: beyond that, text would be lost (use 800)`,
		`{"unit":"tokens","stride":3}`: `stride: 3 is out of range, which is 4 to window, 1000 tokens: beyond that, text would be lost (use 800)`,
		`{"window":3,"unit":"bytes"}`:  `window: 3 is out of range, which is 4 to 1073741824 bytes (use 1000, the default, or any size in the range)`,
		`{"chunk_size":5}`:             `chunk_size is not a setting of sliding_window (use "window")`,
		`{"chunk_overlap":5}`:          `chunk_overlap is not a setting of sliding_window (use "stride", which is window less the overlap)`,
		`{"unit":"pages"}`:             `unit: "pages" is not a unit (use bytes, chars, words or tokens)`,
		`{"tokenizer":"cl100k_base"}`:  `tokenizer means nothing with the unit chars (leave it out, or use "unit":"tokens")`,
	} {
		if _, err := parser.Parse("sliding_window", []byte(settings)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", settings, err, want)
		}
	}
}

func FuzzSlidingWindow(f *testing.F) {
	addTexts(f)
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, inBytes bool) {
		limits := fuzzLimits(size, overlap, inBytes)
		s := sliding(t, limits)
		limits.AtMost, limits.Window = true, -1
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
		for c := range s.Split(text) {
			for _, i := range []int{c.Start, c.End} {
				if utf8.ValidString(text) && i > 0 && i < len(text) && size > 40 && !chunk.IsBreak(text, i) &&
					!strings.ContainsFunc(text, func(r rune) bool { return chunk.ClusterClass(r) != 'o' && r >= 0x300 }) {
					t.Errorf("%q: a cut at %d divides a cluster", text, i)
				}
			}
		}
	})
}

func ExampleParse_slidingWindow() {
	text := "abcdefghij"
	plan, err := chunk.Parse("sliding_window", []byte(`{"window":4,"stride":3}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Println(c.Start, text[c.Start:c.End])
	}
	// Output:
	// 0 abcd
	// 3 defg
	// 6 ghij
}

func BenchmarkSlidingWindow(b *testing.B) {
	for _, text := range []chunktest.Text{
		{Name: "prose", Text: chunktest.Prose(4 << 20)}, {Name: "cjk", Text: chunktest.Han(4 << 20)},
	} {
		b.Run(text.Name, func(b *testing.B) {
			s := sliding(b, chunktest.Limits{Unit: "chars", Size: 1000, Overlap: 200})
			benchmarkSplit(b, s, text.Text)
		})
	}
}
