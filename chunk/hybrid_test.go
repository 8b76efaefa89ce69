package chunk_test

import (
	"fmt"
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
	for _, test := range []struct {
		name, more string
		size       int
		text       string
		want       []string
	}{
		{"a chunk for each region", ``, 100, mixedPage, []string{
			`prose "# Title\n\nDr. Smith wrote\nthis. It is so.\n\n" block structure`,
			`list "- one\n- two\n\n" section structure < heading1 "Title"`,
			"code \"## Code\\n\\n```go\\nf()\\n```\\n\\n\" block structure < heading1 \"Title\"",
			`table "| a | b |\n|---|---|\n| 1 | 2 |\n\n" block structure < heading1 "Title" < heading2 "Code"`,
			`markup "<div>\nx <b>y</b>\n</div>\n\n" block structure < heading1 "Title" < heading2 "Code"`,
			`prose "Last. Words.\n" end < heading1 "Title" < heading2 "Code"`,
		}},
		{"regions may share chunks", `,"mix":true`, 100, mixedPage, []string{
			`mixed "# Title\n\nDr. Smith wrote\nthis. It is so.\n\n- one\n- two\n\n" section`,
			"mixed \"## Code\\n\\n```go\\nf()\\n```\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n<div>\\nx <b>y</b>\\n</div>\\n\\nLast. Words.\\n\" end < heading1 \"Title\"",
		}},
		{"prose is cut in sentences", ``, 30, "Dr. Smith wrote\nthis. It is\nso. And so it is.\n", []string{
			`prose "Dr. Smith wrote\nthis. " sentence`,
			`prose "It is\nso. And so it is.\n" end`,
		}},
		{"HTML is cut between tags", ``, 20, "<div><p>one</p><p>two</p></div>\n", []string{
			`markup "<div><p>one</p><p>" clause`,
			`markup "two</p></div>\n" end`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := parseMore(t, "hybrid", chunktest.Limits{Unit: "chars", Size: test.size}, test.more)
			var got []string
			for c := range s.Split(test.text) {
				got = append(got, described(test.text, c))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// Without mix, every chunk is of one kind.
func TestHybridDoesNotMix(t *testing.T) {
	t.Parallel()
	text, found := markdownPage(50000), map[chunk.Kind]int{}
	for c := range parse(t, "hybrid", chunktest.Limits{Unit: "chars", Size: 800}).Split(text) {
		found[c.Kind]++
	}
	for _, k := range []chunk.Kind{chunk.Prose, chunk.List, chunk.Table, chunk.Code, chunk.Quote, chunk.Markup} {
		if found[k] == 0 {
			t.Errorf("no chunk is %s", k)
		}
	}
	if found[chunk.Mixed]+found[chunk.Unknown] > 0 {
		t.Errorf("got %v", found)
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
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := fuzzLimits(size, overlap, which&1 == 0)
		if which&2 == 0 {
			limits = wordLimits(t, size, overlap, which>>2)
		}
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
				b.SetBytes(int64(len(text.Text)))
				b.ReportAllocs()
				for b.Loop() {
					for range s.Split(text.Text) {
					}
				}
			})
		}
	}
}

func ExampleParse_hybrid() {
	text := "Some text. It goes on.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```go\nf()\n```\n"
	plan, err := chunk.Parse("hybrid", nil)
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%s: %q\n", c.Kind, text[c.Start:c.End])
	}
	// Output:
	// prose: "Some text. It goes on.\n\n"
	// table: "| a | b |\n|---|---|\n| 1 | 2 |\n\n"
	// code: "```go\nf()\n```\n"
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
