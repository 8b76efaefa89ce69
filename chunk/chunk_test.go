package chunk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
	"chunkstream/token"
)

// parser counts tokens as a program does that hands over package token.
var parser = chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) { return token.Get(name) }}

func sizer(tb testing.TB, name string) chunk.Sizer {
	tb.Helper()
	s, err := token.Get(name)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// parse is parser.Parse for settings that must be right.
func parse(tb testing.TB, strategy string, limits chunktest.Limits) chunk.Splitter {
	tb.Helper()
	return parseMore(tb, strategy, limits, "")
}

// parseMore is parse with more settings, such as `,"a":1`.
func parseMore(tb testing.TB, strategy string, limits chunktest.Limits, more string) chunk.Splitter {
	tb.Helper()
	s, err := tryParse(strategy, limits, more)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func tryParse(strategy string, limits chunktest.Limits, more string) (chunk.Splitter, error) {
	settings := fmt.Appendf(nil, `{"chunk_size":%d,"chunk_overlap":%d,"unit":%q`, limits.Size, limits.Overlap, limits.Unit)
	if limits.AtMost && !strings.Contains(more, "overlap_mode") {
		settings = append(settings, `,"overlap_mode":"boundary"`...)
	}
	if limits.Soft > 0 {
		settings = fmt.Appendf(settings, `,"soft_chunk_size":%d`, limits.Soft)
	}
	if limits.Min > 0 {
		settings = fmt.Appendf(settings, `,"min_chunk_size":%d`, limits.Min)
	}
	if e, ok := limits.Sizer.(*token.Encoding); ok {
		settings = fmt.Appendf(settings, `,"tokenizer":%q`, e.Name())
	}
	plan, err := parser.Parse(strategy, append(append(settings, more...), '}'))
	return plan.Splitter, err
}

// texts are the texts of the contract, as much of each as there is time for.
func texts() []chunktest.Text {
	all := chunktest.Texts()
	for i := range all {
		all[i].Text = strings.ToValidUTF8(all[i].Text[:min(len(all[i].Text), mostText)], "")
	}
	return all
}

func slowly(strategy string, limits chunktest.Limits, text string) []chunk.Span {
	return slow{
		text: text, recursive: strategy == "recursive",
		bytes: limits.Unit == "bytes", words: limits.Unit == "words", size: limits.Size, overlap: limits.Overlap,
	}.spans()
}

var strategies = []string{"fixed_size", "recursive"}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, strategy := range strategies {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1},
			{Unit: "chars", Size: 2, Overlap: 1},
			{Unit: "chars", Size: 7, Overlap: 3},
			{Unit: "chars", Size: 100},
			{Unit: "chars", Size: 100, Overlap: 99},
			{Unit: "chars", Size: 1000},
			{Unit: "chars", Size: 1000, Overlap: 200},
			{Unit: "bytes", Size: 4},
			{Unit: "bytes", Size: 4, Overlap: 3},
			{Unit: "bytes", Size: 64, Overlap: 10},
			{Unit: "bytes", Size: 1000},
			{Unit: "bytes", Size: 1 << 30, Overlap: 1<<30 - 1},
			{Unit: "words", Size: 1},
			{Unit: "words", Size: 3, Overlap: 2},
			{Unit: "words", Size: 50, Overlap: 10},
			{Unit: "words", Size: 1 << 30, Overlap: 1<<30 - 1},
			{Unit: "tokens", Size: 8, Sizer: sizer(t, "cl100k_base")},
			{Unit: "tokens", Size: 8, Overlap: 7, Sizer: sizer(t, "o200k_base")},
			{Unit: "tokens", Size: 11, Overlap: 3, Sizer: sizer(t, "r50k_base")},
			{Unit: "tokens", Size: 64, Overlap: 10, Sizer: sizer(t, "cl100k_base")},
			{Unit: "tokens", Size: 512, Sizer: sizer(t, "o200k_base")},
			{Unit: "tokens", Size: 1 << 30, Overlap: 1<<30 - 1, Sizer: sizer(t, "cl100k_base")},
		} {
			t.Run(fmt.Sprintf("%s %d %d %s", strategy, limits.Size, limits.Overlap, limits.Unit), func(t *testing.T) {
				t.Parallel()
				s := parse(t, strategy, limits)
				for _, text := range texts() {
					if limits.Unit == "tokens" {
						text.Text = text.Text[:min(len(text.Text), tokenText)]
					}
					chunktest.Check(t, s, text.Text, limits)
					if t.Failed() {
						t.Fatalf("text: %s", text.Name)
					}
				}
			})
		}
	}
}

// The strategies are fast by working on words of eight bytes and by searching backward; what they cut must not show it.
func TestFastIsSlow(t *testing.T) {
	t.Parallel()
	for _, strategy := range strategies {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 3, Overlap: 1},
			{Unit: "chars", Size: 40},
			{Unit: "chars", Size: 150, Overlap: 40},
			{Unit: "bytes", Size: 5, Overlap: 4},
			{Unit: "bytes", Size: 90, Overlap: 30},
			{Unit: "words", Size: 5, Overlap: 2},
			{Unit: "words", Size: 20},
		} {
			s := parse(t, strategy, limits)
			for _, text := range chunktest.Texts() {
				short := text.Text[:min(len(text.Text), slowText)] // may end in a broken character, on purpose
				got, want := chunktest.Collect(s, short), slowly(strategy, limits, short)
				if !slices.Equal(got, want) {
					t.Errorf("%s %+v on %s:\n got %v\nwant %v", strategy, limits, text.Name, got, want)
				}
			}
		}
	}
}

func TestCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, strategy string
		limits         chunktest.Limits
		text           string
		want           []string
	}{
		{"the limit", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4}, "abcdefghij", []string{"abcd", "efgh", "ij"}},
		{
			"overlap", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4, Overlap: 1}, "abcdefghij",
			[]string{"abcd", "defg", "ghij"},
		},
		{"bytes on runes", "fixed_size", chunktest.Limits{Unit: "bytes", Size: 4}, "aéé€", []string{"aé", "é", "€"}},
		{"CR LF", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4}, "abc\r\nde", []string{"abc", "\r\nde"}},
		{"an accent", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4}, "abce\u0301f", []string{"abc", "e\u0301f"}},
		{"flags", "fixed_size", chunktest.Limits{Unit: "chars", Size: 3}, "🇩🇪🇫🇷", []string{"🇩🇪", "🇫🇷"}},
		{
			"a family", "fixed_size", chunktest.Limits{Unit: "chars", Size: 6}, "ab👩‍👩‍👧cd",
			[]string{"ab", "👩‍👩‍👧c", "d"},
		},
		{"a cluster above the limit", "fixed_size", chunktest.Limits{Unit: "chars", Size: 2}, "👩‍👩", []string{"👩‍", "👩"}},
		{
			"inside a cluster that has no end nearby", "fixed_size", chunktest.Limits{Unit: "chars", Size: 39},
			"xxx a" + strings.Repeat("\u0301", 40),
			[]string{"xxx a" + strings.Repeat("\u0301", 34), strings.Repeat("\u0301", 6)},
		},
		{"jamo", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4}, "\u1112\u1161\u11ab\u1112\u1161\u11ab",
			[]string{"\u1112\u1161\u11ab", "\u1112\u1161\u11ab"}},
		{
			"white space is left out where a chunk would be nothing else", "fixed_size",
			chunktest.Limits{Unit: "chars", Size: 3}, "abc       d  ", []string{"abc", "d  "},
		},
		{"white space that fits stays", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4}, "abc    def",
			[]string{"abc ", "   d", "ef"}},
		{"the end is no chunk of its own", "fixed_size", chunktest.Limits{Unit: "chars", Size: 4, Overlap: 2}, "abcd\n",
			[]string{"abcd"}},

		{"a blank line", "recursive", chunktest.Limits{Unit: "chars", Size: 20}, "One. Two.\n\nThree. Four. Five.",
			[]string{"One. Two.\n\n", "Three. Four. Five."}},
		{"a blank line with spaces, CR LF", "recursive", chunktest.Limits{Unit: "chars", Size: 20},
			"One. Two.\r\n \t\r\nThree.\r\nFour.", []string{"One. Two.\r\n \t\r\n", "Three.\r\nFour."}},
		{"a line end, indentation kept", "recursive", chunktest.Limits{Unit: "chars", Size: 17}, "if a {\n    b. c. d. e\n}",
			[]string{"if a {\n    b. c. ", "d. e\n}"}},
		{"a line end in the second half", "recursive", chunktest.Limits{Unit: "chars", Size: 16},
			"if a + b {\n    return c\n}", []string{"if a + b {\n", "    return c\n}"}},
		{"a sentence", "recursive", chunktest.Limits{Unit: "chars", Size: 20}, "It was so. Or, is it? No.",
			[]string{"It was so. ", "Or, is it? No."}},
		{"a quoted sentence", "recursive", chunktest.Limits{Unit: "chars", Size: 20}, "“Well, (go.)” he said then",
			[]string{"“Well, (go.)” ", "he said then"}},
		{"a clause", "recursive", chunktest.Limits{Unit: "chars", Size: 16}, "one two, three four",
			[]string{"one two, ", "three four"}},
		{"white space", "recursive", chunktest.Limits{Unit: "chars", Size: 12}, "one two three four",
			[]string{"one two ", "three four"}},
		{"not in a decimal", "recursive", chunktest.Limits{Unit: "chars", Size: 12}, "it is 3.14159, or",
			[]string{"it is ", "3.14159, or"}},
		{"not at a no-break space", "recursive", chunktest.Limits{Unit: "chars", Size: 10}, "a price 10\u00a0000 euros",
			[]string{"a price ", "10\u00a0000 ", "euros"}},
		{"Chinese sentences", "recursive", chunktest.Limits{Unit: "chars", Size: 10}, "他来了，我走了。「好！」他说，再见。",
			[]string{"他来了，我走了。", "「好！」他说，再见。"}},
		{"Chinese clauses", "recursive", chunktest.Limits{Unit: "chars", Size: 8}, "他们都来了，我们走了再见",
			[]string{"他们都来了，", "我们走了再见"}},
		{"Arabic", "recursive", chunktest.Limits{Unit: "chars", Size: 12}, "كيف حالك؟ أنا بخير",
			[]string{"كيف حالك؟ ", "أنا بخير"}},
		{"a long word after a short one", "recursive", chunktest.Limits{Unit: "chars", Size: 10}, "ab cd https://example.org/",
			[]string{"ab cd ", "https://ex", "ample.org/"}},
		{"no boundary at all", "recursive", chunktest.Limits{Unit: "chars", Size: 5}, "abcdefgh", []string{"abcde", "fgh"}},
		{"overlap reaches back exactly", "recursive", chunktest.Limits{Unit: "chars", Size: 12, Overlap: 4},
			"one two three four", []string{"one two ", "two three ", "ree four"}},
		{"no overlap over white space left out", "recursive", chunktest.Limits{Unit: "chars", Size: 6, Overlap: 2},
			"one" + strings.Repeat("\n", 20) + "two", []string{"one\n\n\n", "two"}},
		{"a clause before the limit, where a better place is behind the soft one", "recursive",
			chunktest.Limits{Unit: "chars", Size: 30, Soft: 12}, "one two, three four. five six", []string{"one two, ", "three four. ", "five six"}},
		{"nothing before the soft limit", "recursive", chunktest.Limits{Unit: "chars", Size: 20, Soft: 5},
			"extraordinary things. a b", []string{"extraordinary ", "things. a b"}},
		{"a least size", "recursive", chunktest.Limits{Unit: "chars", Size: 20, Min: 15}, "A b c d.\n\nEf g hi j kl mn o",
			[]string{"A b c d.\n\nEf g hi j ", "kl mn o"}},
		{"overlap at a sentence", "recursive", chunktest.Limits{Unit: "chars", Size: 30, Overlap: 12, AtMost: true},
			"One two three. Four. Five six seven eight.", []string{"One two three. Four. ", "Four. Five six seven eight."}},
		{"only white space", "recursive", chunktest.Limits{Unit: "chars", Size: 6}, " \n \u3000\n", nil},
		{"nothing", "recursive", chunktest.Limits{Unit: "chars", Size: 6}, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for sp := range parse(t, test.strategy, test.limits).Split(test.text) {
				got = append(got, test.text[sp.Start:sp.End])
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The service promises valid UTF-8; the library still ends, with exact offsets, on anything.
func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"\xff", strings.Repeat("\x80", 5000), strings.Repeat("\xf0\x9f", 999), strings.Repeat("a\xe3\x80\x80\x80 ", 500),
		strings.Repeat("\xe3", 4000), "abc\xf0\x9f\x98", strings.Repeat("\xf0\x80\x80\x80\x80\x80", 300),
	} {
		for _, strategy := range strategies {
			for _, limits := range []chunktest.Limits{
				{Unit: "chars", Size: 10, Overlap: 9}, {Unit: "chars", Size: 1}, {Unit: "bytes", Size: 4, Overlap: 3},
				{Unit: "words", Size: 3, Overlap: 1}, {Unit: "tokens", Size: 8, Overlap: 7, Sizer: sizer(t, "o200k_base")},
			} {
				s := parse(t, strategy, limits)
				text := text[:min(len(text), mostText)]
				chunktest.Check(t, s, text, limits)
				if limits.Unit == "tokens" {
					continue
				}
				if got, want := chunktest.Collect(s, text[:min(len(text), slowText)]),
					slowly(strategy, limits, text[:min(len(text), slowText)]); !slices.Equal(got, want) {
					t.Errorf("%s %+v on %.20q: got %v, want %v", strategy, limits, text, got, want)
				}
			}
		}
	}
}

func TestChars(t *testing.T) {
	t.Parallel()
	for _, text := range chunktest.Texts() {
		for i := range min(70, len(text.Text)) {
			s := text.Text[i:]
			if !utf8.ValidString(s) {
				continue
			}
			if got, want := chunk.Chars(s), utf8.RuneCountInString(s); got != want {
				t.Fatalf("%s from %d: got %d, want %d", text.Name, i, got, want)
			}
		}
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	plan, err := chunk.Parse("", nil)
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("0f", 32)
	id := chunk.ID(hash, plan.Strategy, plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 0, End: 12}})
	// Stored ids must stay what they are: a change here breaks every re-run of every user.
	if want := "chk_ldlhrmqpdn6p577vgeprsdtaamupwrvu"; id != want {
		t.Errorf("got %s, want %s", id, want)
	}
	seen := map[string]bool{id: true}
	for _, other := range []string{
		chunk.ID(hash[1:], plan.Strategy, plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 0, End: 12}}),
		chunk.ID(hash, "fixed_size", plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 0, End: 12}}),
		chunk.ID(hash, plan.Strategy, plan.Settings[1:], chunk.Chunk{Span: chunk.Span{Start: 0, End: 12}}),
		chunk.ID(hash, plan.Strategy, plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 1, End: 12}}),
		chunk.ID(hash, plan.Strategy, plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 0, End: 13}}),
		chunk.ID(hash, plan.Strategy, plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 0, End: 12}, Level: 1}),
		chunk.ID(hash+"r", plan.Strategy[1:], plan.Settings, chunk.Chunk{Span: chunk.Span{Start: 0, End: 12}}),
	} {
		if seen[other] {
			t.Errorf("id %s is not unique", other)
		}
		seen[other] = true
	}
}

func BenchmarkSplit(b *testing.B) {
	source, err := os.ReadFile("recursive.go")
	if err != nil {
		b.Fatal(err)
	}
	const size = 4 << 20
	texts := []chunktest.Text{
		{Name: "prose", Text: chunktest.Prose(size)},
		{Name: "cjk", Text: chunktest.Han(size)},
		{Name: "code", Text: strings.Repeat(string(source), size/len(source))},
		{Name: "minified", Text: strings.Repeat(`{"a":1,"b":[2,3]},`, size/18)},
	}
	for _, strategy := range strategies {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000}, {Unit: "chars", Size: 1000, Overlap: 200}, {Unit: "bytes", Size: 1000},
		} {
			for _, text := range texts {
				name := fmt.Sprintf("%s/%d-%d-%s/%s", strategy, limits.Size, limits.Overlap, limits.Unit, text.Name)
				b.Run(name, func(b *testing.B) {
					s := parse(b, strategy, limits)
					benchmarkSplit(b, s, text.Text)
				})
			}
		}
	}
}

func BenchmarkChars(b *testing.B) {
	for _, text := range []chunktest.Text{
		{Name: "prose", Text: chunktest.Prose(1 << 20)}, {Name: "cjk", Text: chunktest.Han(1 << 20)},
	} {
		b.Run(text.Name, func(b *testing.B) {
			b.SetBytes(int64(len(text.Text)))
			for b.Loop() {
				chunk.Chars(text.Text)
			}
		})
	}
}

func BenchmarkGuardAndID(b *testing.B) {
	text := chunktest.Prose(1 << 20)
	plan, err := chunk.Parse("", nil)
	if err != nil {
		b.Fatal(err)
	}
	hash := strings.Repeat("0f", 32)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		for sp, err := range chunk.Guard(plan.Strategy, plan.Splitter, text) {
			if err != nil {
				b.Fatal(err)
			}
			chunk.ID(hash, plan.Strategy, plan.Settings, sp)
		}
	}
}

// BenchmarkUnits is about words and tokens, on texts with more words than the made-up ones have. CHUNKSTREAM_CORPUS can
// name a folder with more texts, *.txt.
func BenchmarkUnits(b *testing.B) {
	texts := []chunktest.Text{{Name: "han", Text: chunktest.Han(1 << 20)}}
	globs := []string{"../docs/*.md", "*.go"}
	if folder := os.Getenv("CHUNKSTREAM_CORPUS"); folder != "" {
		globs = append(globs, filepath.Join(folder, "*.txt"))
	}
	for i, glob := range globs {
		files, err := filepath.Glob(glob)
		if err != nil {
			b.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			if i < 2 && len(texts) > i+1 {
				texts[i+1].Text += string(text)
			} else {
				texts = append(texts, chunktest.Text{Name: filepath.Base(file), Text: string(text)})
			}
		}
	}
	for _, strategy := range strategies {
		for _, limits := range []chunktest.Limits{
			{Unit: "words", Size: 200},
			{Unit: "tokens", Size: 512, Sizer: sizer(b, "cl100k_base")},
			{Unit: "tokens", Size: 512, Overlap: 50, Sizer: sizer(b, "cl100k_base")},
			{Unit: "tokens", Size: 512, Sizer: sizer(b, "o200k_base")},
		} {
			s := parse(b, strategy, limits)
			for _, text := range texts {
				unit := limits.Unit
				if e, ok := limits.Sizer.(*token.Encoding); ok {
					unit = e.Name()
				}
				name := fmt.Sprintf("%s/%d-%d-%s/%s", strategy, limits.Size, limits.Overlap, unit, text.Name)
				b.Run(name, func(b *testing.B) {
					benchmarkSplit(b, s, text.Text)
				})
			}
		}
	}
}

// benchmarkSplit measures how fast s cuts text.
func benchmarkSplit(b *testing.B, s chunk.Splitter, text string) {
	b.Helper()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for range s.Split(text) {
		}
	}
}
