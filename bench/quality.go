package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"chunkstream/chunk"
)

// budgets are how many characters a reader is shown, best chunks first. Recall at a budget is what makes sizes
// comparable: neither do large chunks win by being large, nor small ones by being many.
var budgets = []int{2000, 4000, 8000}

func runQuality(args []string) error {
	flags := flag.NewFlagSet("quality", flag.ContinueOnError)
	folder := flags.String("corpus", defaultCorpus(), "folder with the texts")
	size := flags.Int("size", 800, "characters in a chunk at most")
	number := flags.Int("questions", 800, "how many to ask about each part of the corpus")
	seed := flags.Uint64("seed", 1, "of what is made up and drawn")
	against := flags.String("against", "recursive", "the variant that the others are compared with")
	how := flags.String("reader", "bm25", "what finds chunks: bm25 or grams")
	offline := flags.Bool("planted", false, "only the planted facts, which need no corpus")
	if err := flags.Parse(args); err != nil {
		return err
	}
	newReader := readers[*how]
	if newReader == nil {
		return fmt.Errorf("-reader: %q is none: use bm25 or grams", *how)
	}
	variants, err := allVariants(*size)
	if err != nil {
		return err
	}
	sets := []string{"planted", "markdown", "prose"}
	if *offline {
		sets = sets[:1]
	}
	for _, set := range sets {
		var docs []document
		var asked []question
		if set == "planted" {
			docs, asked = planted(*seed, 12)
		} else {
			if docs, err = load(*folder, set); err != nil {
				return err
			}
			docs = thin(docs, 6e6)
			asked = known(*seed, docs, *number)
		}
		bytes := 0
		for _, d := range docs {
			bytes += len(d.text)
		}
		fmt.Printf("%s: %d questions about %.1f MB in %d documents, found by %s, seed %d\n\n", set, len(asked),
			float64(bytes)/1e6, len(docs), *how, *seed)
		if err := compare(docs, asked, variants, newReader, *against); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

// thin takes every so manieth document, so that at most about so many bytes are left.
func thin(docs []document, most int) (kept []document) {
	total := 0
	for _, d := range docs {
		total += len(d.text)
	}
	step := float64(total) / float64(most)
	next := 0.0
	for i, d := range docs {
		if step <= 1 || float64(i) >= next {
			kept = append(kept, d)
			next += step
		}
	}
	return kept
}

// variant is a way to cut, and a way to index what was cut.
type variant struct {
	name     string
	splitter chunk.Splitter
	headings bool // the path of headings, as this program finds it, is indexed too
	context  bool // the chunk's own context is indexed too
	parents  bool // the smallest chunks are indexed, their parents are shown
	around   int  // so many characters of each neighbour are indexed too
}

// allVariants are every strategy at one size, and what overlap and context do for some.
func allVariants(size int) (all []variant, err error) {
	for _, info := range chunk.Strategies() {
		s, err := plan(info.Name, setting{unit: "chars", size: size}, nil)
		if err != nil {
			if s, err = plan(info.Name, setting{}, nil); err != nil {
				return nil, err
			}
		}
		all = append(all, variant{name: info.Name, splitter: s.splitter})
	}
	for _, v := range []struct {
		variant // its name is that of the strategy
		overlap int
		more    map[string]any
	}{
		{variant: variant{name: "recursive"}, more: map[string]any{"compat": "langchain"}},
		{variant: variant{name: "recursive"}, more: map[string]any{"compat": "langchain"}, overlap: size / 4},
		{variant: variant{name: "fixed_size"}, overlap: size / 4},
		{variant: variant{name: "recursive"}, overlap: size / 4},
		{variant: variant{name: "sentence"}, overlap: size / 4},
		{variant: variant{name: "optimal"}, overlap: size / 4},
		{variant: variant{name: "hierarchical", parents: true}},
		{variant: variant{name: "fixed_size", headings: true}},
		{variant: variant{name: "recursive", headings: true}},
		{variant: variant{name: "markdown", context: true}},
		{variant: variant{name: "hybrid", context: true}},
		{variant: variant{name: "hierarchical", context: true}},
		{variant: variant{name: "document_structure", context: true}},
		{variant: variant{name: "optimal", headings: true}},
		{variant: variant{name: "fixed_size", around: size / 4}},
		{variant: variant{name: "recursive", around: size / 4}},
		{variant: variant{name: "optimal", around: size / 4}},
	} {
		s, err := plan(v.name, setting{unit: "chars", size: size, overlap: v.overlap}, v.more)
		if err != nil {
			fmt.Fprintln(os.Stderr, "left out:", err)
			continue
		}
		if v.more != nil {
			v.name += ", as LangChain"
		}
		if v.overlap > 0 {
			v.name += fmt.Sprintf(", overlap %d", v.overlap)
		}
		if v.parents {
			v.name += ", smallest indexed, parents shown"
		}
		if v.headings {
			v.name += ", headings indexed"
		}
		if v.context {
			v.name += ", its context indexed"
		}
		if v.around > 0 {
			v.name += fmt.Sprintf(", %d of each neighbour indexed", v.around)
		}
		v.splitter = s.splitter
		all = append(all, v.variant)
	}
	return all, nil
}

// result is what one variant did, question by question.
type result struct {
	chunks, mean int
	cut          float64
	recall       [][]float64 // by budget, then by question
}

func compare(docs []document, asked []question, variants []variant, newReader func([]entry) *reader,
	against string,
) error {
	results := make([]result, len(variants))
	base := -1
	for i, v := range variants {
		results[i] = measure(docs, asked, v, newReader)
		if v.name == against {
			base = i
		}
	}
	if base < 0 {
		return fmt.Errorf("-against: %q is not a variant", against)
	}
	t := table{header: []string{"chunks of", "number", "mean", "cut %"}}
	for _, b := range budgets {
		t.header = append(t.header, fmt.Sprintf("recall at %d", b))
	}
	for _, b := range budgets {
		t.header = append(t.header, fmt.Sprintf("more than %s at %d", against, b))
	}
	for i, r := range results {
		cells := []string{variants[i].name, fmt.Sprint(r.chunks), fmt.Sprint(r.mean), fmt.Sprintf("%.1f", r.cut)}
		for b := range budgets {
			cells = append(cells, fmt.Sprintf("%.1f", 100*average(r.recall[b])))
		}
		for b := range budgets {
			if i == base {
				cells = append(cells, "")
				continue
			}
			cells = append(cells, difference(r.recall[b], results[base].recall[b]))
		}
		t.add(cells...)
	}
	t.print(os.Stdout)
	return nil
}

// measure cuts the documents, asks all questions, and compares what is shown with what was asked for.
func measure(docs []document, asked []question, v variant, newReader func([]entry) *reader) (r result) {
	var entries []entry
	byDoc := make([][]entry, len(docs))
	characters := 0
	for n, d := range docs {
		byDoc[n] = cut(n, d.text, v)
		entries = append(entries, byDoc[n]...)
		for _, e := range byDoc[n] {
			characters += utf8.RuneCountInString(d.text[e.start:e.end])
		}
	}
	r.chunks, r.mean = len(entries), characters/max(len(entries), 1)
	r.recall = make([][]float64, len(budgets))
	find := newReader(entries)
	torn := 0
	for _, q := range asked {
		if !slices.ContainsFunc(byDoc[q.doc], func(e entry) bool { return e.start <= q.start && q.end <= e.end }) {
			torn++
		}
		found := find.find(q.query)
		for b, budget := range budgets {
			r.recall[b] = append(r.recall[b], recall(docs, found, q, budget))
		}
	}
	r.cut = 100 * float64(torn) / max(float64(len(asked)), 1)
	return r
}

// cut makes the entries of one document.
func cut(doc int, text string, v variant) (entries []entry) {
	var o outline
	if v.headings {
		o = headings(text)
	}
	chunks := slices.Collect(v.splitter.Split(text))
	parent := make([]bool, len(chunks))
	for i, c := range chunks {
		if c.Up > 0 {
			parent[i-c.Up] = true
		}
	}
	for i, c := range chunks {
		e := entry{doc: doc, start: c.Start, end: c.End, indexed: text[c.Start:c.End]}
		if v.around > 0 {
			e.indexed = text[back(text, c.Start, v.around):forward(text, c.End, v.around)]
		}
		if v.headings {
			e.indexed = strings.Join(o.path(c.Start), " ") + "\n" + e.indexed
		}
		if v.context {
			for piece := c.Context; piece != nil; piece = piece.Up {
				e.indexed = piece.Text + "\n" + e.indexed
			}
		}
		if v.parents && parent[i] {
			continue
		}
		if v.parents && c.Up > 0 {
			e.start, e.end = chunks[i-c.Up].Start, chunks[i-c.Up].End
		}
		entries = append(entries, e)
	}
	return entries
}

// recall is the share of the excerpt that is shown when chunks are shown in their order until so many characters are
// reached; the last is shown as far as that goes. No chunk is shown twice; where two overlap, what they share is paid for
// twice and counts once.
func recall(docs []document, found []entry, q question, budget int) float64 {
	seen := make([]bool, q.end-q.start)
	shown := map[entry]bool{}
	for _, e := range found {
		e.indexed = ""
		if budget <= 0 {
			break
		} else if shown[e] {
			continue
		}
		shown[e] = true
		end := min(e.end, forward(docs[e.doc].text, e.start, budget))
		budget -= utf8.RuneCountInString(docs[e.doc].text[e.start:end])
		if e.doc != q.doc {
			continue
		}
		for i := max(e.start, q.start); i < min(end, q.end); i++ {
			seen[i-q.start] = true
		}
	}
	n := 0
	for _, s := range seen {
		if s {
			n++
		}
	}
	return float64(n) / float64(len(seen))
}

// forward is the byte n characters after at, back the one n before.
func forward(text string, at, n int) int {
	for ; n > 0 && at < len(text); n-- {
		_, w := utf8.DecodeRuneInString(text[at:])
		at += w
	}
	return at
}

func back(text string, at, n int) int {
	for ; n > 0 && at > 0; n-- {
		_, w := utf8.DecodeLastRuneInString(text[:at])
		at -= w
	}
	return at
}

func average(all []float64) (mean float64) {
	for _, v := range all {
		mean += v / float64(len(all))
	}
	return mean
}

// difference is a − b in points with its 95 % interval: the paired bootstrap over questions (Efron and Tibshirani, "An
// Introduction to the Bootstrap", 1993, percentile method). An interval with 0 in it is called noise.
func difference(a, b []float64) string {
	const draws = 2000
	random := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, draws)
	for i := range means {
		for range a {
			n := random.IntN(len(a))
			means[i] += 100 * (a[n] - b[n]) / float64(len(a))
		}
	}
	slices.Sort(means)
	low, high := means[draws*25/1000], means[draws*975/1000]
	said := fmt.Sprintf("%+.1f [%.1f, %.1f]", 100*(average(a)-average(b)), low, high)
	if low <= 0 && high >= 0 {
		return said + " noise"
	}
	return said
}
