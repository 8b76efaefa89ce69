package chunk_test

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// placeOf counts by the words of the documentation.
func placeOf(text string, at int) chunk.Place {
	head := text[:at]
	return chunk.Place{
		Byte: at, Char: utf8.RuneCountInString(head), Line: strings.Count(head, "\n"),
		UTF16: len(utf16.Encode([]rune(head))),
	}
}

func TestRuler(t *testing.T) {
	t.Parallel()
	for _, text := range chunktest.Texts() {
		text := text.Text[:min(len(text.Text), 600)]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		ruler := chunk.Ruler{UTF16: true}
		for i := range text { // forward, with steps back of all lengths
			for _, at := range []int{i, i / 2, i - i%7} {
				for at > 0 && !utf8.RuneStart(text[at]) {
					at--
				}
				if got, want := ruler.At(text, at), placeOf(text, at); got != want {
					t.Fatalf("%.20q: got %+v, want %+v", text, got, want)
				}
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	text := "😀 One. Two three.\n\nFour five six, seven."
	plan, err := parser.Parse("recursive", []byte(`{"chunk_size":20,"chunk_overlap":4}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for d, err := range (chunk.Describer{UTF16: true, Tokens: sizer(t, "cl100k_base")}).Describe(plan, text) {
		if err != nil {
			t.Fatal(err)
		}
		if d.From != placeOf(text, d.Start) || d.To != placeOf(text, d.End) || d.Text != text[d.Start:d.End] {
			t.Errorf("got %+v to %+v, %q", d.From, d.To, d.Text)
		}
		if want := sizer(t, "cl100k_base").Count(d.Text); d.Tokens != want || d.Size != utf8.RuneCountInString(d.Text) {
			t.Errorf("got %d chars, %d tokens", d.Size, d.Tokens)
		}
		got = append(got, fmt.Sprintf("%d %s–%s (%s) overlap %d", d.Index, d.Opens, d.Boundary, d.Reason, d.Overlap))
	}
	want := []string{
		"0 end–paragraph (limit) overlap 0", "1 character–clause (limit) overlap 4", "2 character–end (end) overlap 4",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Whatever the strategy, what it says of a boundary is what stands there.
func TestBoundaries(t *testing.T) {
	t.Parallel()
	levels := []chunk.Boundary{chunk.Character, chunk.Word, chunk.Clause, chunk.Sentence, chunk.Line, chunk.Paragraph}
	for _, strategy := range strategies {
		for _, limits := range []chunktest.Limits{{Unit: "chars", Size: 9}, {Unit: "chars", Size: 60, Overlap: 9}, {Unit: "words", Size: 4}} {
			s := parse(t, strategy, limits)
			for _, text := range chunktest.Texts() {
				text := text.Text[:min(len(text.Text), 700)]
				for !utf8.ValidString(text) {
					text = text[:len(text)-1]
				}
				for c := range s.Split(text) {
					want, reason := chunk.End, chunk.AtEnd
					if c.End < len(text) {
						want, reason = levels[slow{text: text}.level(c.End)], chunk.AtLimit
					}
					if c.Boundary != want || c.Reason != reason {
						t.Errorf("%s %+v: got %s, %s at %d of %q, want %s, %s", strategy, limits, c.Boundary, c.Reason, c.End, text, want, reason)
					}
				}
			}
		}
	}
}

// Chunks that were cut elsewhere get the same details, and those that are none of the text are refused.
func TestDescribeFrom(t *testing.T) {
	t.Parallel()
	text := "One sentence. Another one, and a third."
	plan, err := chunk.Parse("recursive", []byte(`{"chunk_size":3,"unit":"words"}`))
	if err != nil {
		t.Fatal(err)
	}
	var cut elsewhere
	var want, got []chunk.Detail
	for d := range (chunk.Describer{UTF16: true}).Describe(plan, text) {
		cut, want = append(cut, d.Chunk), append(want, d)
	}
	for d, err := range (chunk.Describer{UTF16: true}).DescribeFrom(plan, cut, text) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	if len(want) < 2 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	cut[1].Start = 0
	failed := false
	for _, err := range (chunk.Describer{}).DescribeFrom(plan, cut, text) {
		failed = failed || err != nil
	}
	if !failed {
		t.Error("a chunk that goes back was not refused")
	}
}

type elsewhere []chunk.Chunk

func (e elsewhere) Split(string) iter.Seq[chunk.Chunk] { return slices.Values(e) }
