package chunk_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// slowSeparators cuts at separators place by place.
func slowSeparators(limits chunktest.Limits, levels []string, start bool, text string) []chunk.Span {
	return slow{
		text: text, bytes: limits.Unit == "bytes", words: limits.Unit == "words", size: limits.Size, overlap: limits.Overlap,
		choose: func(s slow, begin, limit int, candidates []int) int {
			best, at, early := 99999, 0, 0
			for _, i := range candidates {
				level := s.separator(i, levels, start)
				if s.measure(begin, i) <= s.size/2 {
					if level <= len(levels) {
						early = i
					}
				} else if level <= len(levels) && level <= best {
					best, at = level, i
				}
			}
			if at == 0 {
				return early
			}
			return at
		},
	}.spans()
}

// separator is which of levels i is a boundary of, their number for white space, and more for none.
func (s slow) separator(i int, levels []string, start bool) int {
	if !s.apart(i) {
		return len(levels) + 1
	}
	for k, level := range levels {
		if start && strings.HasPrefix(s.text[i:], level) || !start && strings.HasSuffix(s.text[:i], level) {
			return k
		}
	}
	body := strings.TrimRightFunc(s.text[:i], unicode.IsSpace)
	if strings.Contains(s.text[len(body):i], "\n") && !strings.HasSuffix(s.text[:i], "\n") {
		return len(levels) + 1
	}
	before, _ := utf8.DecodeLastRuneInString(s.text[:i])
	if unicode.IsSpace(before) && !strings.ContainsRune("\u00a0\u2007\u202f", before) {
		return len(levels)
	}
	return len(levels) + 1
}

var separatorSettings = []struct {
	levels []string
	start  bool
}{
	{[]string{"\n\n", "\n", ". "}, false},
	{[]string{"\n", "a", "bc"}, true},
	{[]string{"\n\n\n", "。", "||", "…", "\r", "」"}, true},
	{[]string{" \n", "aa", "\u0301", "\U0001F469"}, false},
}

func separatorSplitter(tb testing.TB, limits chunktest.Limits, levels []string, start bool) chunk.Splitter {
	tb.Helper()
	list, err := json.Marshal(levels)
	if err != nil {
		tb.Fatal(err)
	}
	keep := "end"
	if start {
		keep = "start"
	}
	return parseMore(tb, "recursive", limits, fmt.Sprintf(`,"separators":%s,"keep_separator":%q`, list, keep))
}

func TestSeparators(t *testing.T) {
	t.Parallel()
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 3, Overlap: 1},
		{Unit: "chars", Size: 60},
		{Unit: "bytes", Size: 90, Overlap: 30},
		{Unit: "words", Size: 12},
		{Unit: "chars", Size: 60, Overlap: 20, AtMost: true},
	} {
		for _, sep := range separatorSettings {
			s := separatorSplitter(t, limits, sep.levels, sep.start)
			if sep.start {
				limits.Window = 100
			}
			for _, text := range texts() {
				text.Text = strings.ToValidUTF8(text.Text[:min(len(text.Text), 4*slowText)], "")
				chunktest.Check(t, s, text.Text, limits)
				checkWindows(t, s, text.Text[:min(len(text.Text), 1000)])
				if short := text.Text[:min(len(text.Text), slowText)]; !limits.AtMost {
					got, want := chunktest.Collect(s, short), slowSeparators(limits, sep.levels, sep.start, short)
					if !slices.Equal(got, want) {
						t.Errorf("%q: got %s\nwant %s", sep.levels, cuts(short, got), cuts(short, want))
					}
				}
				if t.Failed() {
					t.Fatalf("text: %s, %q, %+v", text.Name, sep.levels, limits)
				}
			}
		}
	}
}

func TestSeparatorCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		levels  []string
		start   bool
		limits  chunktest.Limits
		text    string
		want    []string
		because []chunk.Boundary
	}{
		{
			[]string{"---", ";"}, false, chunktest.Limits{Unit: "chars", Size: 12}, "ab cd---ef;gh ij;kl mn",
			[]string{"ab cd---", "ef;gh ij;", "kl mn"}, []chunk.Boundary{chunk.Separator, chunk.Separator, chunk.End},
		},
		{
			[]string{"---", ";"}, true, chunktest.Limits{Unit: "chars", Size: 12}, "ab cd ef---gh ij;kl mn",
			[]string{"ab cd ef", "---gh ij", ";kl mn"}, []chunk.Boundary{chunk.Separator, chunk.Separator, chunk.End},
		},
		{ // the first level is the best, also where another one is nearer to the limit
			[]string{"|", ";"}, false, chunktest.Limits{Unit: "chars", Size: 10}, "abcdef|g;hijkl",
			[]string{"abcdef|", "g;hijkl"}, []chunk.Boundary{chunk.Separator, chunk.End},
		},
		{ // white space, then any character
			[]string{"|"}, false, chunktest.Limits{Unit: "chars", Size: 8}, "one two, threefoursix. x\ny z",
			[]string{"one ", "two, ", "threefou", "rsix. x\n", "y z"},
			[]chunk.Boundary{chunk.Word, chunk.Word, chunk.Character, chunk.Line, chunk.End},
		},
		{ // with an overlap at separators
			[]string{";"}, false, chunktest.Limits{Unit: "chars", Size: 12, Overlap: 5, AtMost: true}, "abcd;ef;gh;ijklmn;o",
			[]string{"abcd;ef;gh;", "gh;ijklmn;o"}, []chunk.Boundary{chunk.Separator, chunk.End},
		},
	} {
		var got []string
		var because []chunk.Boundary
		for c := range separatorSplitter(t, test.limits, test.levels, test.start).Split(test.text) {
			got, because = append(got, test.text[c.Start:c.End]), append(because, c.Boundary)
		}
		if !slices.Equal(got, test.want) || !slices.Equal(because, test.because) {
			t.Errorf("%q: got %q %v, want %q %v", test.levels, got, because, test.want, test.because)
		}
	}
}

func FuzzSeparators(f *testing.F) {
	addTexts(f)
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, inBytes bool) {
		limits := fuzzLimits(size, overlap, inBytes)
		sep := separatorSettings[int(size^overlap)%len(separatorSettings)]
		s := separatorSplitter(t, limits, sep.levels, sep.start)
		limits.Window = 100
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
		if len(text) <= 1000 {
			if got, want := chunktest.Collect(s, text), slowSeparators(limits, sep.levels, sep.start, text); !slices.Equal(got, want) {
				t.Errorf("%q %+v on %+q: got %s\nwant %s", sep.levels, limits, text, cuts(text, got), cuts(text, want))
			}
		}
		limits.AtMost = true
		chunktest.Check(t, separatorSplitter(t, limits, sep.levels, sep.start), text, limits)
	})
}

func ExampleParse_separators() {
	text := "## One\nfirst\n## Two\nsecond"
	plan, err := chunk.Parse("recursive", []byte(`{"chunk_size":16,"separators":["\n## ","\n"],"keep_separator":"start"}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%q\n", text[c.Start:c.End])
	}
	// Output:
	// "## One\nfirst"
	// "\n## Two\nsecond"
}

func BenchmarkSeparators(b *testing.B) {
	for _, text := range []chunktest.Text{
		{Name: "prose", Text: chunktest.Prose(4 << 20)}, {Name: "cjk", Text: chunktest.Han(4 << 20)},
	} {
		b.Run(text.Name, func(b *testing.B) {
			s := separatorSplitter(b, chunktest.Limits{Unit: "chars", Size: 1000}, []string{"\n\n", "\n", ". ", "。"}, false)
			benchmarkSplit(b, s, text.Text)
		})
	}
}
