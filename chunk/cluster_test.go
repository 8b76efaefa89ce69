package chunk_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// breakTest reads a test of UAX #29: lines of characters, with ÷ where text breaks and × where it does not.
func breakTest(t *testing.T, file string, each func(text string, ends []int)) (lines int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		text := ""
		var ends []int
		for i, word := range strings.Fields(line) {
			switch {
			case word == "÷" && i > 0:
				ends = append(ends, len(text))
			case word != "÷" && word != "×":
				r, err := strconv.ParseInt(word, 16, 32)
				if err != nil {
					t.Fatal(err)
				}
				text += string(rune(r))
			}
		}
		each(text, ends)
		lines++
	}
	return lines
}

// Clusters end where the standard's own test says.
func TestGraphemeBreakTest(t *testing.T) {
	t.Parallel()
	n := breakTest(t, "testdata/GraphemeBreakTest.txt", func(text string, want []int) {
		var got []int
		for i := range text {
			if i > 0 && chunk.IsBreak(text, i) {
				got = append(got, i)
			}
		}
		if got = append(got, len(text)); !slices.Equal(got, want) {
			t.Errorf("%+q: got %v, want %v", text, got, want)
		}
	})
	if n != 766 {
		t.Errorf("there are %d lines, want 766", n)
	}
}

// What a cut must not separate in scripts that the first drafts of every splitter forget.
func TestClusterCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		size       int
		want       []string
	}{
		{"a conjunct of Devanagari", "कक्षा", 3, []string{"क", "क्षा"[:len("क्षा")-len("ा")], "ा"}},
		{"a conjunct with a joiner", "कक्\u200dषक", 5, []string{"कक्\u200dष", "क"}},
		{"no conjunct without a linker", "कषक", 2, []string{"कष", "क"}},
		{"a mark that stands before", "ab\u0600123", 3, []string{"ab", "\u06001" + "2", "3"}},
		{"a joiner between letters", "ab\u200dcd", 3, []string{"ab\u200d", "cd"}},
		{"a soft hyphen", "ab\u00adcd", 3, []string{"ab\u00ad", "cd"}},
	} {
		var got []string
		for c := range parse(t, "fixed_size", chunktest.Limits{Unit: "chars", Size: test.size}).Split(test.text) {
			got = append(got, test.text[c.Start:c.End])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
