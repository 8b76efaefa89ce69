package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chunkstream/token"
)

func TestHTMLText(t *testing.T) {
	page := `<html><head><title>no</title></head><body><div class="related x"><div>no</div>no</div><h1>A  title</h1>
<p>One <b>bold</b>
word &amp; more.</p><pre>no <span>no</span></pre><ul><li>first<li>second</ul><script>no</script>end`
	want := "A title\n\nOne bold word & more.\n\nfirst\n\nsecond\n\nend\n\n"
	if got := string(htmlText([]byte(page))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEastern(t *testing.T) {
	got := string(eastern([]byte("left in English\n\n漢字と kana\n\n한국어 text")))
	if want := "漢字と kana\n\n한국어 text"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCorpusIsChecked(t *testing.T) {
	folder := t.TempDir()
	source := source{part: "prose", glob: "in/**/*.txt", most: 10}
	for name, text := range map[string]string{
		"in/a/1.txt": "123456", "in/a/b/2.txt": "12345", "in/c/3.txt": "too much", "in/a/0.txt": "\xff", "in/a/0.md": "x",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var sums strings.Builder
	if err := take(source, folder, filepath.Join(folder, "out", "prose"), "00", &sums); err != nil {
		t.Fatal(err)
	}
	docs, err := load(filepath.Join(folder, "out"), "prose")
	if err != nil || len(docs) != 2 || docs[0].text != "123456" || docs[1].text != "12345" {
		t.Fatalf("got %v, %v, want the first two documents", docs, err)
	}
	if err := verify(filepath.Join(folder, "out"), sums.String()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "out", docs[1].name), []byte("12346"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = verify(filepath.Join(folder, "out"), sums.String())
	if err == nil || !strings.Contains(err.Error(), docs[1].name) {
		t.Errorf("a changed document: got %v, want an error that names it", err)
	}
	if !repository(".") || repository(folder) {
		t.Error("a folder in the repository must be told from one outside")
	}
}

// The peers must count as we do: they get our vocabulary.
func TestPeersCountTheSame(t *testing.T) {
	text := "Hello, world! 漢字 and 12345 numbers.\n\nfunc main() {}\n"
	for _, name := range []string{"cl100k_base", "o200k_base"} {
		encoding, err := token.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		length, err := tokenLength(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := length(text), encoding.Count(text); got != want {
			t.Errorf("%s: langchaingo's counter gives %d, ours %d", name, got, want)
		}
	}
}

// Every strategy there is must be measured, at least once.
func TestSettingsHaveAllStrategies(t *testing.T) {
	all, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		spans := 0
		for c := range s.splitter.Split("# One\n\nSome text. More text.\n\n# Two\n\nThe end.\n") {
			if c.End <= c.Start {
				t.Errorf("%v: got an empty chunk", s)
			}
			spans++
		}
		if spans == 0 {
			t.Errorf("%v: got no chunks", s)
		}
	}
	if len(all) < 12 {
		t.Errorf("got %d settings, want at least six of each strategy that takes all sizes", len(all))
	}
}

func TestSampleIsFromAllOver(t *testing.T) {
	var b strings.Builder
	for b.Len() < 1<<20 {
		b.WriteString(strings.Repeat(string(rune('a'+b.Len()>>16)), 63) + "\n")
	}
	text := b.String()
	got := sample(text, func(text string) bool { return len(text) >= 128<<10 })
	if len(got) < 100<<10 || len(got) > 256<<10 {
		t.Errorf("got %d bytes, want about 128 KiB", len(got))
	}
	for letter := 'a'; letter < 'q'; letter++ {
		if !strings.ContainsRune(got, letter) {
			t.Errorf("nothing of the part with %c", letter)
		}
	}
	if whole := sample("short", func(string) bool { return true }); whole != "short" {
		t.Errorf("got %q, want all of a short text", whole)
	}
}

// A slow or fast stretch must show: one that is quadratic stands out of what is linear.
func TestWorstSeesQuadratic(t *testing.T) {
	work := 0
	if ratio, pattern := worst(func(text string) {
		for range len(text) / 4096 * (len(text) / 4096) / 4 {
			work += strings.Count(text[:4096], "a")
		}
	}); ratio < 32 {
		t.Errorf("quadratic work: got ratio %.1f (%s), want about 64", ratio, pattern)
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		rate, ratio float64
		want        string
	}{{100, 7, "met"}, {99, 7, "MISSED"}, {100, 6, "MISSED"}, {100, 0, "met"}} {
		if got := (goal{100, 7}).verdict("x", c.rate, c.ratio); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v MB/s, %v×: got %q, want %s", c.rate, c.ratio, got, c.want)
		}
	}
}

func TestReaders(t *testing.T) {
	entries := []entry{
		{doc: 0, indexed: "pumps and valves"}, {doc: 1, indexed: "a pump, a pump"}, {doc: 2, indexed: "nothing of the kind"},
		{doc: 3, indexed: "the valley of turbines, where the river is wide"},
	}
	for _, c := range []struct {
		reader, query string
		want          []int
	}{
		{"bm25", "PUMP valve?", []int{0, 1}},
		{"bm25", "valle", nil},
		{"grams", "valley pump", []int{3, 1, 0}},
		{"grams", "turbinery", []int{3}},
	} {
		var got []int
		for _, e := range readers[c.reader](entries).find(c.query) {
			got = append(got, e.doc)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s, %q: got documents %v, want %v", c.reader, c.query, got, c.want)
		}
	}
	for word, want := range map[string]string{
		"ponies": "pony", "horses": "horse", "pumps": "pump", "press": "press", "status": "status", "is": "is", "goes": "goe",
	} {
		if got := stem(word); got != want {
			t.Errorf("stem of %s: got %s, want %s", word, got, want)
		}
	}
}

func TestPlantedFactsAreWhereTheyAre(t *testing.T) {
	docs, asked := planted(7, 2)
	again, _ := planted(7, 2)
	if len(asked) != 2*6*(3+6+12+3) || docs[1] != again[1] {
		t.Fatalf("got %d questions, want 288, the same each time", len(asked))
	}
	kinds := map[string]int{}
	for _, q := range asked {
		fact := docs[q.doc].text[q.start:q.end]
		device := strings.Fields(q.query[strings.LastIndex(q.query, " the ")+5:])[0]
		above := strings.Join(headings(docs[q.doc].text).path(q.start), " ")
		if fact != strings.TrimSpace(fact) || !strings.Contains(above, device) && !strings.Contains(q.query, "that the") {
			t.Errorf("%q asks for %q below %q", q.query, fact, above)
		}
		kinds[fact[:1]]++
	}
	if kinds["|"] != 144 || kinds["/"] != 36 {
		t.Errorf("got first letters %v, want 144 rows and 36 functions", kinds)
	}
}

func TestKnownItems(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 0))
	var docs []document
	for n := range 12 {
		var b strings.Builder
		for range 20 {
			for range 5 {
				b.WriteString("The")
				for range 10 {
					fmt.Fprintf(&b, " word%dx", (n+random.IntN(4))%12)
				}
				b.WriteString(". ")
			}
			b.WriteString("\n\n")
		}
		docs = append(docs, document{fmt.Sprint(n), b.String()})
	}
	asked := known(7, docs, 50)
	if len(asked) != 50 {
		t.Fatalf("got %d questions, want 50", len(asked))
	}
	for _, q := range asked {
		words := terms(docs[q.doc].text[q.start:q.end])
		n := 0
		for _, w := range strings.Fields(q.query) {
			if slices.Contains(words, w) {
				n++
			}
		}
		if n < 2 || q.end-q.start < 60 {
			t.Errorf("%q shares %d words with %q", q.query, n, docs[q.doc].text[q.start:q.end])
		}
	}
}

func TestRecall(t *testing.T) {
	docs := []document{{"a", strings.Repeat("é", 100)}, {"b", strings.Repeat("b", 100)}}
	q := question{doc: 0, start: 20, end: 60} // characters 10 to 30
	for _, c := range []struct {
		found  []entry
		budget int
		want   float64
	}{
		{nil, 100, 0},
		{[]entry{{doc: 0, start: 0, end: 200}}, 100, 1},
		{[]entry{{doc: 0, start: 0, end: 200}}, 20, 0.5},                                // the budget ends in the excerpt
		{[]entry{{doc: 1, start: 0, end: 90}, {doc: 0, start: 20, end: 200}}, 100, 0.5}, // paid for another document
		{[]entry{{doc: 0, start: 20, end: 40}, {doc: 0, start: 20, end: 40}}, 100, 0.5}, // twice is once
		{[]entry{{doc: 0, start: 0, end: 40}, {doc: 0, start: 0, end: 40}, {doc: 0, start: 40, end: 80}}, 40, 1},
	} {
		if got := recall(docs, c.found, q, c.budget); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v at %d: got %v, want %v", c.found, c.budget, got, c.want)
		}
	}
}

func TestDifference(t *testing.T) {
	a, b := make([]float64, 400), make([]float64, 400)
	for i := range a {
		a[i], b[i] = float64(i%2), float64((i/2)%2)
	}
	if got := difference(a, b); !strings.HasSuffix(got, "noise") {
		t.Errorf("equal means: got %q, want noise", got)
	}
	for i := range 100 {
		a[4*i] = 1
	}
	if got := difference(a, b); strings.HasSuffix(got, "noise") || !strings.HasPrefix(got, "+25.0 [") {
		t.Errorf("a quarter more: got %q, want +25 and an interval above 0", got)
	}
}

// A variant that never cuts an excerpt, and one that always does.
func TestCut(t *testing.T) {
	docs, asked := planted(7, 1)
	whole, err := plan("fixed_size", setting{unit: "chars", size: 1 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tiny, err := plan("fixed_size", setting{unit: "chars", size: 8}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := measure(docs, asked, variant{splitter: whole.splitter}, readers["bm25"]); r.cut != 0 || r.chunks != 1 {
		t.Errorf("one chunk: got %.1f %% cut in %d chunks", r.cut, r.chunks)
	}
	if r := measure(docs, asked, variant{splitter: tiny.splitter}, readers["bm25"]); r.cut != 100 || r.mean > 8 {
		t.Errorf("tiny chunks: got %.1f %% cut, mean size %d", r.cut, r.mean)
	}
}
