package chunk_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// langchainRun is what LangChain.js made of all documents with the same settings. See testdata/langchain/README.md.
type langchainRun struct {
	Separators    []string
	Size, Overlap int
	Unit          string
	Results       []string // one per document: the number of chunks, their sum, and "changed" where it is not as published
}

func langchainPlan(tb testing.TB, separators []string, size, overlap int, unit string) chunk.Plan {
	tb.Helper()
	settings, err := json.Marshal(map[string]any{
		"compat": "langchain", "separators": separators, "chunk_size": size, "chunk_overlap": overlap, "unit": unit,
	})
	if err != nil {
		tb.Fatal(err)
	}
	plan, err := parser.Parse("recursive", settings)
	if err != nil {
		tb.Fatal(err)
	}
	return plan
}

func readJSON(tb testing.TB, name string, to any) {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		tb.Fatal(err)
	}
}

// advancing is the chunks that hold ink and lie in no neighbour.
func advancing(text string, all []chunk.Span) (kept []chunk.Span) {
	all = slices.DeleteFunc(slices.Clone(all), func(s chunk.Span) bool { return strings.TrimSpace(text[s.Start:s.End]) == "" })
	for i, s := range all {
		inside := slices.ContainsFunc(all[:i], func(o chunk.Span) bool { return o.Start <= s.Start && s.End <= o.End }) ||
			slices.ContainsFunc(all[i+1:], func(o chunk.Span) bool { return o.Start <= s.Start && s.End < o.End })
		if !inside {
			kept = append(kept, s)
		}
	}
	return kept
}

func TestLangchainGolden(t *testing.T) {
	t.Parallel()
	var documents []string
	var runs []langchainRun
	readJSON(t, "testdata/langchain/documents.json", &documents)
	readJSON(t, "testdata/langchain/golden.json", &runs)
	pairs, changed, less := 0, 0, 0
	var joined []byte
	for _, run := range runs {
		plan := langchainPlan(t, run.Separators, run.Size, run.Overlap, run.Unit)
		if len(run.Results) != len(documents) {
			t.Fatalf("got %d results for %d documents", len(run.Results), len(documents))
		}
		for i, text := range documents {
			want, mark := strings.CutSuffix(run.Results[i], " changed")
			all, yielded := chunk.Langchain(plan, text)
			joined = joined[:0]
			for _, s := range all {
				joined = append(append(strconv.AppendInt(joined, int64(s.End-s.Start), 10), ':'), text[s.Start:s.End]...)
			}
			sum := sha256.Sum256(joined)
			if got := fmt.Sprintf("%d %s", len(all), hex.EncodeToString(sum[:6])); got != want {
				t.Fatalf("document %d %s: got %s, want %s\ntext: %q\ngot: %v", i, plan.Settings, got, want, text, all)
			}
			pairs++
			if mark {
				changed++
			}
			if len(yielded) < len(all) {
				less++
			}
			if len(all) > 20 { // advancing is quadratic
				continue
			}
			if kept := advancing(text, all); !slices.Equal(yielded, kept) {
				t.Fatalf("document %d %s: yields %v, want %v", i, plan.Settings, yielded, kept)
			}
		}
	}
	t.Logf("%d pairs, %d of them by code points, %d with chunks left out", pairs, changed, less)
	if pairs-changed < 2000 {
		t.Errorf("only %d pairs are of LangChain.js as published", pairs-changed)
	}
}

// langchainSlowly follows text_splitter.js line by line.
func langchainSlowly(text string, separators []string, size, overlap int) (chunks []string) {
	length := utf8.RuneCountInString
	var next []string
	separator, deeper := "", false
	if len(separators) > 0 {
		separator = separators[len(separators)-1]
	}
	for i, s := range separators {
		if s == "" {
			separator = s
			break
		}
		if strings.Contains(text, s) {
			separator, next, deeper = s, separators[i+1:], true
			break
		}
	}
	merge := func(splits []string) {
		var current []string
		total := 0
		join := func() {
			if doc := strings.TrimFunc(strings.Join(current, ""), unicode.IsSpace); doc != "" {
				chunks = append(chunks, doc)
			}
		}
		for _, d := range splits {
			n := length(d)
			if total+n > size && len(current) > 0 {
				join()
				for total > overlap || total+n > size && total > 0 {
					total -= length(current[0])
					current = current[1:]
				}
			}
			current = append(current, d)
			total += n
		}
		join()
	}
	var splits []string
	if separator == "" {
		splits = strings.Split(text, "")
	} else {
		from := 0
		for i := range text {
			if i > from && strings.HasPrefix(text[i:], separator) {
				splits, from = append(splits, text[from:i]), i
			}
		}
		splits = append(splits, text[from:])
	}
	var good []string
	for _, s := range splits {
		switch {
		case length(s) < size:
			good = append(good, s)
			continue
		case len(good) > 0:
			merge(good)
			good = nil
		}
		if deeper {
			chunks = append(chunks, langchainSlowly(s, next, size, overlap)...)
		} else {
			chunks = append(chunks, s)
		}
	}
	merge(good)
	return chunks
}

func FuzzLangchain(f *testing.F) {
	for i, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 300)], uint8(7*i), uint8(5*i), "\n\n", " ", i%2 == 0)
	}
	f.Add("  foo  bar", uint8(4), uint8(4), " ", "o", true)
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, one, two string, ends bool) {
		limits := chunktest.Limits{Unit: "chars", Size: 1 + int(size), AtMost: true, Window: -1}
		limits.Overlap = int(overlap) % limits.Size
		var separators []string
		for _, s := range []string{one, two} {
			if s != "" && len(s) <= 100 && utf8.ValidString(s) && !strings.Contains(s, "\x00") {
				separators = append(separators, s)
			}
		}
		if ends || len(separators) == 0 {
			separators = append(separators, "")
		}
		plan := langchainPlan(t, separators, limits.Size, limits.Overlap, limits.Unit)
		checkGuard(t, plan.Strategy, plan.Splitter, text)
		if !ends {
			limits.Size = 0 // the limit is not kept
		}
		chunktest.Check(t, plan.Splitter, text, limits)
		if len(text) > 1000 || !utf8.ValidString(text) {
			return
		}
		all, yielded := chunk.Langchain(plan, text)
		var got []string
		for _, s := range all {
			got = append(got, text[s.Start:s.End])
		}
		if want := langchainSlowly(text, separators, 1+int(size), int(overlap)%(1+int(size))); !slices.Equal(got, want) {
			t.Errorf("%s on %q:\n got %q\nwant %q", plan.Settings, text, got, want)
		}
		if kept := advancing(text, all); !slices.Equal(yielded, kept) {
			t.Errorf("%s on %q: yields %v, want %v", plan.Settings, text, yielded, kept)
		}
	})
}

func TestLangchainContract(t *testing.T) {
	t.Parallel()
	for _, text := range chunktest.Texts() {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1},
			{Unit: "chars", Size: 40, Overlap: 39},
			{Unit: "chars", Size: 1000, Overlap: 200},
			{Unit: "bytes", Size: 4},
			{Unit: "bytes", Size: 100, Overlap: 20},
			{Unit: "words", Size: 5, Overlap: 2},
		} {
			limits.AtMost, limits.Window = true, -1
			plan := langchainPlan(t, []string{"\n\n", "\n", " ", ""}, limits.Size, limits.Overlap, limits.Unit)
			chunktest.Check(t, plan.Splitter, text.Text, limits)
		}
	}
}

func TestLangchainPlaces(t *testing.T) {
	t.Parallel()
	var got []string
	text := "one two\n\nthreefour "
	for c := range langchainPlan(t, []string{"\n\n", " ", ""}, 6, 0, "chars").Splitter.Split(text) {
		got = append(got, fmt.Sprintf("%s %s %s", text[c.Start:c.End], c.Boundary, c.Reason))
	}
	want := []string{"one separator limit", "two separator limit", "thre character limit", "efour end end"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLangchainStreams(t *testing.T) {
	t.Parallel()
	plan := langchainPlan(t, []string{""}, 9, 0, "chars")
	for _, err := range chunk.Stream(plan.Splitter, strings.NewReader("text")) {
		if !errors.Is(err, chunk.ErrNotStreamed) {
			t.Errorf("got %v, want %v", err, chunk.ErrNotStreamed)
		}
	}
}

func BenchmarkLangchain(b *testing.B) {
	text := chunktest.Prose(1 << 20)
	for _, overlap := range []int{0, 200} {
		plan := langchainPlan(b, []string{"\n\n", "\n", " ", ""}, 1000, overlap, "chars")
		b.Run(fmt.Sprintf("overlap=%d", overlap), func(b *testing.B) {
			benchmarkSplit(b, plan.Splitter, text)
		})
	}
}
