package chunk_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// checkStructure checks a strategy that looks ahead as markdown does, and 288 bytes more, on all texts of Markdown and
// tables.
func checkStructure(t *testing.T, strategy, more string, limits chunktest.Limits) {
	t.Helper()
	limits.Window = markdownWindow(limits) + 288
	s := parseMore(t, strategy, limits, more)
	limits.AtMost, limits.Context = true, strings.Contains(more, "context")
	check := func(name, text string) {
		if limits.Size < 10 {
			text = strings.ToValidUTF8(text[:min(len(text), 700)], "")
		}
		chunktest.Check(t, s, text, limits)
		if checkWindows(t, s, text); t.Failed() {
			t.Fatalf("text: %s", name)
		}
	}
	for _, text := range chunktest.Texts() {
		check(text.Name, text.Text)
	}
	for i, text := range markdownTexts {
		check(text.name, markdownText(i))
	}
	for _, text := range tableTexts {
		check(text.name, strings.Repeat(text.text, max(1, 1000/len(text.text))))
	}
	for _, text := range documents {
		check(text.name, text.text)
	}
	for i, text := range mixedTexts() {
		check(fmt.Sprint("mixed", i), text)
	}
}

// mixedTexts are documents with code of every language and HTML, also in lists and quotations.
func mixedTexts() (texts []string) {
	const page = "<div>\n<h2>Two</h2>\n<table><tr><th>a<th>b<tr><td>c\n<td>d</table>\n<!-- ```\n --> <p>Some text.\n</div>\n"
	for i, name := range slices.Sorted(maps.Keys(samples)) {
		text := "## One\n\nText.\n\n~~~ " + name + "\n" + samples[name] + "~~~\n\n" + page
		switch i % 3 {
		case 1:
			text = "- Text.\n\n  " + strings.ReplaceAll(text, "\n", "\n  ")
		case 2:
			text = "> Text.\n>\n> " + strings.ReplaceAll(text, "\n", "\n> ")
		}
		texts = append(texts, text+"\nText that goes on, in a paragraph. And so on.\n")
	}
	return texts
}

func TestHybrid(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits chunktest.Limits
		more   string
	}{
		{chunktest.Limits{Unit: "chars", Size: 3}, ``},
		{chunktest.Limits{Unit: "chars", Size: 90, Overlap: 20}, `,"context_in_size":true`},
		{chunktest.Limits{Unit: "bytes", Size: 150, Soft: 90, Min: 20}, `,"mix":true`},
		{chunktest.Limits{Unit: "words", Size: 15}, ``},
		{chunktest.Limits{Unit: "tokens", Size: 30, Sizer: sizer(t, "cl100k_base")}, `,"context_in_size":true`},
	} {
		t.Run(fmt.Sprint(test.limits.Unit, test.limits.Size), func(t *testing.T) {
			t.Parallel()
			checkStructure(t, "hybrid", test.more, test.limits)
		})
	}
}

const mixedPage = "# Title\n\nDr. Smith wrote\nthis. It is so.\n\n- one\n- two\n\n## Code\n\n```go\nf()\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n" +
	"<div>\nx <b>y</b>\n</div>\n\nLast. Words.\n"

func TestHybridCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []cutTest{
		{"blocks that fit share chunks", ``, 100, 0, mixedPage, []string{
			`mixed "# Title\n\nDr. Smith wrote\nthis. It is so.\n\n- one\n- two\n\n" section`,
			"mixed \"## Code\\n\\n```go\\nf()\\n```\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n<div>\\nx <b>y</b>\\n</div>\\n\\nLast. Words.\\n\" end < heading1 \"Title\"",
		}},
		{"a block that is cut shares none with other kinds", ``, 30, 0, "Go says.\n\n- x\n\n```go\nvar a = 1\nvar b = 2\n\nvar c = 3\n```\n\n- y\n", []string{
			`mixed "Go says.\n\n- x\n\n" block structure`,
			"code \"```go\\nvar a = 1\\nvar b = 2\\n\\n\" section",
			"code \"var c = 3\\n```\\n\\n\" block structure < fence \"```go\"",
			`list "- y\n" end`,
		}},
		{"with mix it does", `,"mix":true`, 36, 0, "Go says.\n\n- x\n\n```go\nvar a = 1\nvar b = 2\n\nvar c = 3\n```\n\n- y\n", []string{
			"mixed \"Go says.\\n\\n- x\\n\\n```go\\nvar a = 1\\n\" section",
			"mixed \"var b = 2\\n\\nvar c = 3\\n```\\n\\n- y\\n\" end < fence \"```go\"",
		}},
		{"prose is cut in sentences", ``, 30, 0, "Dr. Smith wrote\nthis. It is\nso. And so it is.\n", []string{
			`prose "Dr. Smith wrote\nthis. " sentence`,
			`prose "It is\nso. And so it is.\n" end`,
		}},
		{"HTML is cut between elements, with its headings", ``, 48, 0, "# A\n\n<h2>b</h2>\n<p>one <b>two</b></p>\n<p>three</p>\n<p>four</p>\n", []string{
			`markup "# A\n\n<h2>b</h2>\n<p>one <b>two</b></p>\n" block`,
			`markup "<p>three</p>\n<p>four</p>\n" end < heading1 "A" < heading2 "b"`,
		}},
		{"code is cut between declarations, and knows those around", ``, 46, 0, "- In a list:\n\n  ~~~ {.python}\n  class A:\n      def f(self):\n          return 1\n\n      def g(self):\n          return 2\n  ~~~\n", []string{
			`list "- In a list:\n\n  ~~~ {.python}\n  class A:\n" line`,
			`code "      def f(self):\n          return 1\n\n" block < fence "~~~ {.python}" < declaration "class A:"`,
			`code "      def g(self):\n          return 2\n  ~~~\n" end < fence "~~~ {.python}" < declaration "class A:"`,
		}},
		{"code of no language that is known", ``, 30, 0, "```\nsome words\n\nmore words\nand more\n```\n", []string{
			"code \"```\\nsome words\\n\\n\" paragraph",
			"code \"more words\\nand more\\n```\\n\" end < fence \"```\"",
		}},
		{"indented code", ``, 34, 0, "    func f() {\n    }\n\n    func g() {\n      x()\n    }\n", []string{
			`code "    func f() {\n    }\n\n" section`,
			`code "    func g() {\n      x()\n    }\n" end`,
		}},
	} {
		test.check(t, "hybrid")
	}
}

// Without mix, a chunk of several kinds holds whole blocks only, and one with a part of a block is of its kind.
func TestHybridSaysWhatItCut(t *testing.T) {
	t.Parallel()
	prose, code := chunktest.Prose(20000), chunktest.Code(20000)
	blocks := []struct {
		kind chunk.Kind
		text func(n int) string
	}{
		{chunk.Prose, func(n int) string { return strings.ReplaceAll(prose[n:n+n], "\n\n", "\n") }},
		{chunk.List, func(n int) string { return strings.Repeat("- item\n", 1+n/7) }},
		{chunk.Table, func(n int) string { return "| a | b |\n|---|---|\n" + strings.Repeat("| 1 | 2 |\n", 1+n/10) }},
		{chunk.Code, func(n int) string { return "```js\n" + code[n:n+n] + "\n```" }},
		{chunk.Quote, func(n int) string { return "> " + strings.ReplaceAll(prose[n:n+n], "\n", " ") }},
		{chunk.Markup, func(n int) string { return "<div>\n" + strings.Repeat("<p>word</p>\n", 1+n/12) + "</div>" }},
	}
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	var starts []int
	var kinds []chunk.Kind
	for range 600 {
		b := blocks[random.IntN(len(blocks))]
		n := 20 + random.IntN(200)
		if random.IntN(5) == 0 {
			n *= 10
		}
		starts, kinds = append(starts, text.Len()), append(kinds, b.kind)
		text.WriteString(strings.TrimSpace(b.text(n)) + "\n\n")
	}
	starts = append(starts, text.Len())
	found := map[chunk.Kind]int{}
	for c := range parse(t, "hybrid", chunktest.Limits{Unit: "chars", Size: 800}).Split(text.String()) {
		from, startsBlock := slices.BinarySearch(starts, c.Start)
		rest := text.String()[c.End:]
		end := c.End + len(rest) - len(strings.TrimLeft(rest, "\n"))
		to, endsBlock := slices.BinarySearch(starts, end)
		if !startsBlock {
			from--
		}
		want := kinds[from]
		for _, k := range kinds[from:to] {
			if k != want {
				want = chunk.Mixed
			}
		}
		found[want]++
		if c.Kind != want {
			t.Errorf("%v is %s, want %s", c.Span, c.Kind, want)
		}
		if want == chunk.Mixed && (!startsBlock || !endsBlock) {
			t.Errorf("%v is of several kinds and holds a part of a block", c.Span)
		}
	}
	for _, k := range []chunk.Kind{chunk.Prose, chunk.List, chunk.Table, chunk.Code, chunk.Quote, chunk.Markup, chunk.Mixed} {
		if found[k] == 0 {
			t.Errorf("no chunk is %s", k)
		}
	}
}

// documents are of every format that document_structure knows; kind is what its chunks are, if that is one.
var documents = []struct {
	name string
	kind chunk.Kind
	text string
}{
	{"plain text", chunk.Prose, "A letter.\n\nDear reader, this is plain text, without anything.\n\nYours.\n"},
	{"a list of two is Markdown", chunk.List, "- one\n- two\n"},
	{"one dash is not", chunk.Prose, "He said:\n- Well.\n\nAnd left.\n"},
	{"Markdown", chunk.Mixed, "# Title\n\nText.\n\n```\ncode\n```\n"},
	{"front matter", chunk.FrontMatter, "---\na: b\n---\n"},
	{"HTML", chunk.Prose, "<!DOCTYPE html>\n<p>one</p>\n"},
	{"a part of HTML", chunk.Prose, "\ufeff <div class=x>\n# no heading</div>\n"},
	{"CSV", chunk.Table, "id,name\n1,\"a,\nb\"\n2,c\n3,d\n4,e\n"},
	{"TSV", chunk.Table, "id\tname\n1\ta\n2\tb\n3\tc\n"},
	{"a table of Markdown", chunk.Table, "|a|b|\n|-|-|\n|1|2|\n|3|4|\n"},
	{"JSON Lines", chunk.Table, "{\"a\":1}\n{\"a\":2}\n"},
	{"Go", chunk.Code, "package a\n\n// # no heading\nfunc f() {\n}\n"},
	{"Python", chunk.Code, "# no heading\nimport os\n\ndef f(x):\n    return (x)\n\nclass A(B):\n    pass\n"},
	{"a script", chunk.Code, "#!/bin/sh\n# no heading\nls\n"},
	{"prose with commas", chunk.Prose, "One, two.\nThree, four, five.\nSix.\nSeven, eight.\n"},
}

func TestDocumentStructure(t *testing.T) {
	t.Parallel()
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 60, Overlap: 10}, {Unit: "bytes", Size: 9}, {Unit: "words", Size: 12},
		{Unit: "tokens", Size: 30, Sizer: sizer(t, "cl100k_base")},
	} {
		t.Run(fmt.Sprint(limits.Unit, limits.Size), func(t *testing.T) {
			t.Parallel()
			checkStructure(t, "document_structure", "", limits)
		})
	}
	s := parse(t, "document_structure", chunktest.Limits{Unit: "chars", Size: 1000})
	for _, d := range documents {
		for c := range s.Split(d.text) {
			if c.Kind != d.kind {
				t.Errorf("%s: got %s, want %s", d.name, c.Kind, d.kind)
			}
		}
	}
}

func FuzzHybrid(f *testing.F) {
	for i := range markdownTexts {
		text := markdownText(i)
		f.Add(text[:min(len(text), 400)], uint8(25+3*i), uint8(i), uint8(1), uint8(i))
	}
	for i, d := range documents {
		f.Add(d.text, uint8(20+3*i), uint8(i), uint8(1), uint8(i))
	}
	for i, text := range mixedTexts() {
		f.Add(text, uint8(30+9*i), uint8(i), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		fuzzMarkdownLike(t, "hybrid", text, limits, how, fmt.Sprintf(`,"mix":%t`, which&4 == 0))
		fuzzMarkdownLike(t, "document_structure", text, limits, how&^4, "")
	})
}

func BenchmarkHybrid(b *testing.B) {
	const size = 4 << 20
	for _, text := range []chunktest.Text{
		{Name: "page", Text: markdownPage(size)}, {Name: "prose", Text: chunktest.Prose(size)}, {Name: "cjk", Text: chunktest.Han(size)},
	} {
		for _, strategy := range []string{"hybrid", "document_structure"} {
			b.Run(text.Name+"/"+strategy, func(b *testing.B) {
				s := parse(b, strategy, chunktest.Limits{Unit: "chars", Size: 1000})
				benchmarkSplit(b, s, text.Text)
			})
		}
	}
}

func ExampleParse_hybrid() {
	text := "Some text. It goes on.\n\n- and on\n\n```go\nfunc f() {\n\tg()\n}\n\nfunc h() {\n\tf()\n}\n```\n"
	plan, err := chunk.Parse("hybrid", []byte(`{"chunk_size":40}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%s: %q\n", c.Kind, text[c.Start:c.End])
	}
	// Output:
	// mixed: "Some text. It goes on.\n\n- and on\n\n"
	// code: "```go\nfunc f() {\n\tg()\n}\n\n"
	// code: "func h() {\n\tf()\n}\n```\n"
}

func ExampleParse_documentStructure() {
	plan, err := chunk.Parse("document_structure", nil)
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"Plain text.\n", "{\"a\":1}\n{\"a\":2}\n", "#!/bin/sh\nls\n"} {
		for c := range plan.Splitter.Split(text) {
			fmt.Printf("%s: %q\n", c.Kind, text[c.Start:c.End])
		}
	}
	// Output:
	// prose: "Plain text.\n"
	// table: "{\"a\":1}\n{\"a\":2}\n"
	// code: "#!/bin/sh\nls\n"
}
