package chunktest

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
)

// recorder keeps what a check reports; Check and Linear use nothing else of a testing.TB.
type recorder struct {
	testing.TB
	problems []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// pairs makes spans of their starts and ends.
func pairs(at ...int) (s Spans) {
	for p := range slices.Chunk(at, 2) {
		s = append(s, chunk.Span{Start: p[0], End: p[1]})
	}
	return s
}

// tiles cuts every size runes, reaching back by overlap runes: right for text that has no white space.
func tiles(size, overlap int) Func {
	return func(text string) iter.Seq[chunk.Span] {
		return func(yield func(chunk.Span) bool) {
			var at []int
			for i := range text {
				at = append(at, i)
			}
			at = append(at, len(text))
			for i := 0; ; i += size - overlap {
				end := min(i+size, len(at)-1)
				if i >= end || !yield(chunk.Span{Start: at[i], End: at[end]}) || end == len(at)-1 {
					return
				}
			}
		}
	}
}

// edited changes each span of tiles(10, overlap); edit gets its number too.
func edited(overlap int, edit func(i int, s chunk.Span, text string) chunk.Span) Func {
	return func(text string) iter.Seq[chunk.Span] {
		return func(yield func(chunk.Span) bool) {
			i := 0
			for s := range tiles(10, overlap)(text) {
				if !yield(edit(i, s, text)) {
					return
				}
				i++
			}
		}
	}
}

func TestCheckPasses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", strings.Repeat("abcdefg", 30), strings.Repeat("aé€😀", 30)} {
		for _, overlap := range []int{0, 3, 9} {
			r := &recorder{TB: t}
			Check(r, tiles(10, overlap), text, Limits{Unit: "chars", Size: 10, Overlap: overlap})
			if len(r.problems) > 0 {
				t.Errorf("overlap %d: got %q, want none", overlap, r.problems)
			}
		}
	}
}

// Each splitter breaks one rule; the check must say which.
func TestCheckCatches(t *testing.T) {
	t.Parallel()
	walks := 0
	plain := strings.Repeat("abcdefg", 30)
	wide := strings.Repeat("aé€😀", 30)
	for _, test := range []struct {
		name     string
		splitter chunk.Splitter
		text     string
		overlap  int
		want     string
	}{
		{"skips text", edited(0, func(i int, s chunk.Span, _ string) chunk.Span {
			if i == 3 {
				s.Start++
			}
			return s
		}), plain, 0, "bytes 30 to 31 are left out"},
		{"loses the end", edited(0, func(_ int, s chunk.Span, text string) chunk.Span {
			if s.End == len(text) {
				s.End--
			}
			return s
		}), plain, 0, "after the last span, bytes 209 to 210 are left out"},
		{"loses all", Spans{}, plain, 0, "after the last span, bytes 0 to 210 are left out"},
		{"stalls", Func(func(string) iter.Seq[chunk.Span] {
			return func(yield func(chunk.Span) bool) {
				for yield(chunk.Span{Start: 0, End: 5}) {
				}
			}
		}), plain, 0, "span 1 is {0 5}, whose start does not advance"},
		{"ends stall", pairs(0, 10, 5, 10), plain, 5, "span 1 is {5 10}, whose end does not advance"},
		{"is empty", pairs(0, 0), plain, 0, "span 0 is {0 0}, which is empty"},
		{"is outside", pairs(0, 10, 10, 211), plain, 0, "outside the text of 210 bytes"},
		{"runs backward", pairs(10, 0), plain, 0, "outside the text of 210 bytes"},
		{"is white space", pairs(0, 1, 1, 2, 2, 3), "a b", 0, "span {1 2} is white space only"},
		{"cuts runes", edited(0, func(i int, s chunk.Span, _ string) chunk.Span {
			if i == 0 {
				s.End--
			}
			if i == 1 {
				s.Start--
			}
			return s
		}), "abcdefghé" + "é" + plain, 0, "span 0 {0 11} cuts a character"},
		{"is over the limit", tiles(11, 0), plain, 0, "holds 11 chars, above the limit of 10"},
		{"overlaps unasked", tiles(10, 3), plain, 0, "with overlap 0"},
		{"overlaps too much", tiles(10, 4), plain, 3, "by 4 chars, above 3"},
		{"overlaps too little", tiles(10, 2), plain, 3, "by less than 3 chars: it also should have"},
		{"overlaps not at all", tiles(10, 0), plain, 3, "by less than 3 chars"},
		{"looks ahead", Func(func(text string) iter.Seq[chunk.Span] {
			return tiles(10-strings.Count(text, "x"), 0)(text)
		}), plain, 0, "when the text from byte 18 is \"x\""},
		{"wants the whole text", Func(func(text string) iter.Seq[chunk.Span] {
			return tiles(8+len(text)%2, 0)(text)
		}), plain, 0, "when the text from byte"},
		{"changes its mind", Func(func(text string) iter.Seq[chunk.Span] {
			walks++
			return tiles(9+walks%2, 0)(text)
		}), plain[:20], 0, "in another walk, not as in the first"},
		{"tires", Func(func(text string) iter.Seq[chunk.Span] {
			if walks++; walks%3 == 2 {
				return slices.Values([]chunk.Span(nil))
			}
			return tiles(10, 0)(text)
		}), plain[:15], 0, "another walk yields 0 spans, not 2"},
		{"splits text of all widths by bytes", Func(func(text string) iter.Seq[chunk.Span] {
			return func(yield func(chunk.Span) bool) {
				for i := 0; i < len(text) && yield(chunk.Span{Start: i, End: min(len(text), i+7)}); i += 7 {
				}
			}
		}), wide, 0, "cuts a character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			walks = 0
			r := &recorder{TB: t}
			Check(r, test.splitter, test.text, Limits{Unit: "chars", Size: 10, Overlap: test.overlap})
			if !slices.ContainsFunc(r.problems, func(p string) bool { return strings.Contains(p, test.want) }) {
				t.Errorf("got %q, want one with %q", r.problems, test.want)
			}
		})
	}
}

// Not parallel: it measures time.
func TestLinearCatches(t *testing.T) {
	r := &recorder{TB: t}
	quadratic := Func(func(text string) iter.Seq[chunk.Span] {
		return func(yield func(chunk.Span) bool) {
			for i := 0; i < len(text); i += 1000 {
				end := min(len(text), i+1000)
				if utf8.RuneCountInString(text[:end]) == 0 || !yield(chunk.Span{Start: i, End: end}) {
					return
				}
			}
		}
	})
	Linear(r, quadratic)
	if len(r.problems) != 1 || !strings.Contains(r.problems[0], "one letter: eight times the text takes") {
		t.Errorf("got %q, want one about one letter", r.problems)
	}

	r = &recorder{TB: t}
	Linear(r, Func(func(text string) iter.Seq[chunk.Span] {
		return func(yield func(chunk.Span) bool) {
			for i := 0; i < len(text); i += 100 {
				end := min(len(text), i+100)
				if utf8.RuneCountInString(text[i:end]) == 0 || !yield(chunk.Span{Start: i, End: end}) {
					return
				}
			}
		}
	}))
	if len(r.problems) > 0 {
		t.Errorf("got %q, want none", r.problems)
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, text := range Texts() {
		if names[text.Name] {
			t.Errorf("%s: twice", text.Name)
		}
		names[text.Name] = true
		if !utf8.ValidString(text.Text) || len(text.Text) > 20<<10 {
			t.Errorf("%s: got %d bytes, valid %t; want valid UTF-8 below 20 KiB",
				text.Name, len(text.Text), utf8.ValidString(text.Text))
		}
	}
}
