package chunk_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

func TestSemantic(t *testing.T) {
	t.Parallel()
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 5},
		{Unit: "chars", Size: 200, Overlap: 40},
		{Unit: "bytes", Size: 100},
		{Unit: "words", Size: 20, Overlap: 5},
		{Unit: "tokens", Size: 40, Overlap: 10, Sizer: sizer(t, "cl100k_base")},
	} {
		t.Run(fmt.Sprint(limits.Unit, limits.Size), func(t *testing.T) {
			t.Parallel()
			s := parse(t, "semantic", limits)
			limits.Window = optimalWindow(limits)
			for _, text := range texts() {
				chunktest.Check(t, s, text.Text[:min(len(text.Text), 2000)], chunktest.Limits{}) // may end in half of a character
				chunktest.Check(t, s, strings.ToValidUTF8(text.Text[:min(len(text.Text), 2000)], ""), limits)
				if checkWindows(t, s, text.Text); t.Failed() {
					t.Fatalf("text: %s", text.Name)
				}
			}
		})
	}
}

const threeTopics = "The kettle boils the water for the tea. Green tea wants cooler water. A kettle with a thermometer helps the tea. " +
	"The engine drives the train over the bridge. An engine needs coal for the train. The bridge carries the train. " +
	"Bees carry pollen to the hive. The hive stores honey for the bees. Honey feeds the hive in winter."

func TestSemanticFindsTopics(t *testing.T) {
	t.Parallel()
	s := parseMore(t, "semantic", chunktest.Limits{Unit: "chars", Size: 180}, `,"sentence_window":2`)
	var got []string
	for c := range s.Split(threeTopics) {
		got = append(got, threeTopics[c.Start:c.Start+11]+"… "+c.Boundary.String())
	}
	want := []string{"The kettle … topic", "The engine … topic", "Bees carry … end"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A distance from outside decides where the built in one would not cut, whatever scale it has, and also where it is wrong.
func TestSemanticDistance(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]chunk.Distance{
		"engines": func(_, right string) float64 {
			if strings.HasPrefix(right, "An engine") {
				return 0.02
			}
			return 0.01
		},
		"nothing": func(string, string) float64 { return math.NaN() },
		"all":     func(string, string) float64 { return math.Inf(1) },
	} {
		p := chunk.Parser{Distance: func(asked string) (chunk.Distance, error) {
			if asked != name {
				return nil, errors.New("unknown")
			}
			return d, nil
		}}
		plan, err := p.Parse("semantic", fmt.Appendf(nil, `{"distance":%q,"chunk_size":200}`, name))
		if err != nil {
			t.Fatal(err)
		}
		chunktest.Check(t, plan.Splitter, threeTopics, chunktest.Limits{Unit: "chars", Size: 200, Window: 64 * 200})
		cut := false
		for c := range plan.Splitter.Split(threeTopics) {
			cut = cut || strings.HasPrefix(threeTopics[c.Start:], "An engine") && c.Start > 0
		}
		if name == "engines" && !cut {
			t.Error("did not cut where the distance is greatest")
		}
		if _, err := p.Parse("semantic", []byte(`{"distance":"other"}`)); err == nil ||
			err.Error() != `distance: "other": unknown (leave the field out for lexical)` {
			t.Errorf("got %v", err)
		}
	}
}

func TestSemanticRefuses(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{"sentence_window":0}`: "sentence_window: 0 is out of range, which is 1 to 20 (use 3)",
		`{"distance":"openai"}`: `distance: "openai" is not a distance that is known here (use "lexical", or give chunk.Parser a Distance)`,
		`{"chunk_overlap":501}`: "chunk_overlap: 501 is out of range, which is 0 to 500: half of chunk_size must stay for what is new (use 200)",
	} {
		if _, err := chunk.Parse("semantic", []byte(settings)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", settings, err, want)
		}
	}
}

// slowLexical counts words by the documentation, in a map; only the classes are those of the fast one.
func slowLexical(left, right string) float64 {
	count := func(s string) map[string]float64 {
		words := map[string]float64{}
		word, plain := "", true
		flush := func() {
			if len(word) >= 4 || word != "" && !plain {
				words[word[:min(len(word), 8)]]++
			}
			word, plain = "", true
		}
		for _, r := range s {
			switch {
			case slowWide(r):
				flush()
				words[string(r)]++
			case r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)):
				word += strings.ToLower(string(r))
			case r >= 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r)):
				word, plain = word+string(r), false
			default:
				flush()
			}
		}
		flush()
		return words
	}
	l, r := count(left), count(right)
	var dot, ll, rr float64
	for w, n := range l {
		dot += n * r[w]
		ll += n * n
	}
	for _, n := range r {
		rr += n * n
	}
	if ll == 0 || rr == 0 {
		return 0
	}
	return 1 - dot/math.Sqrt(ll*rr)
}

// With few words no two share a class, so the counts by class are those by word.
func TestLexical(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ left, right string }{
		{"", ""}, {"tea", "tea"}, {"some words here", "other words there"}, {"Some WORDS here", "some words HERE"},
		{"élan vital été", "Élan vital été"}, {"日本語の文", "日本の文"}, {"abcdefghij", "abcdefghXX"}, {"mixed日本mixed", "日 mixed"},
		{"a1b2 c3d4", "a1b2…c3d4"}, {"…", "—"},
	} {
		if got, want := chunk.Lexical(test.left, test.right), slowLexical(test.left, test.right); math.Abs(got-want) > 1e-12 {
			t.Errorf("%q, %q: got %v, want %v", test.left, test.right, got, want)
		}
	}
}

// Counting a stretch once, place by place, gives what comparing the texts around each place does.
func FuzzSemanticCounts(f *testing.F) {
	for _, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 400)], uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, window uint8) {
		stretches := strings.SplitAfter(text, " ")
		for at := 1; at < len(stretches); at++ {
			left, right := max(0, at-int(window)), min(len(stretches), at+int(window))
			got := chunk.Apart(stretches, at, left, right)
			want := chunk.Lexical(strings.Join(stretches[left:at], ""), strings.Join(stretches[at:right], ""))
			if math.Abs(got-want) > 1e-12 {
				t.Errorf("%q at %d: got %v, want %v", text, at, got, want)
			}
		}
	})
}

func FuzzSemantic(f *testing.F) {
	for i, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 300)], uint8(5*i), uint8(3*i), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		limits.Overlap = min(limits.Overlap, limits.Size/2)
		limits.AtMost, limits.Window = how&4 != 0, optimalWindow(limits)
		s, err := sized("semantic", limits, how)
		if err != nil {
			t.Fatal(err)
		}
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
	})
}

func BenchmarkSemantic(b *testing.B) {
	for _, text := range []struct{ name, text string }{
		{"prose", chunktest.Prose(1 << 20)}, {"cjk", chunktest.Han(1 << 20)}, {"code", chunktest.Code(1 << 20)},
	} {
		b.Run(text.name, func(b *testing.B) {
			s := parse(b, "semantic", chunktest.Limits{Unit: "chars", Size: 1000})
			benchmarkSplit(b, s, text.text)
		})
	}
}

func ExampleParse_semantic() {
	text := "Tea needs hot water. Green tea needs cooler water. Trains need coal. A train needs a bridge."
	plan, err := chunk.Parse("semantic", []byte(`{"chunk_size":60,"sentence_window":1}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%q %s\n", text[c.Start:c.End], c.Boundary)
	}
	// Output:
	// "Tea needs hot water. Green tea needs cooler water. " topic
	// "Trains need coal. A train needs a bridge." end
}
