package check_test

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"chunkstream/check"
	"chunkstream/chunk"
	"chunkstream/extract"
)

// given is a splitter whose chunks the test knows.
type given []chunk.Chunk

func (g given) Split(string) iter.Seq[chunk.Chunk] { return slices.Values(g) }

// marked gives a text without its marks and chunks that end at them: "¦" for any boundary, "✂" for one between characters.
// Text between « and » is in no chunk.
func marked(text string) (string, given) {
	var b strings.Builder
	var g given
	from := 0
	cut := func(kind chunk.Boundary) {
		if b.Len() > from {
			g = append(g, chunk.Chunk{Span: chunk.Span{Start: from, End: b.Len()}, Boundary: kind})
		}
		from = b.Len()
	}
	for _, r := range text {
		switch r {
		case '¦':
			cut(chunk.Line)
		case '✂':
			cut(chunk.Character)
		case '«':
			cut(chunk.Line)
		case '»':
			from = b.Len()
		default:
			b.WriteRune(r)
		}
	}
	cut(chunk.End)
	return b.String(), g
}

// found is what is wrong, each as kind, chunk and line.
func found(t *testing.T, settings string, kind extract.Kind, text string) (names []string, r check.Report) {
	t.Helper()
	text, g := marked(text)
	plan, err := chunk.Parse("", []byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	limit := plan
	plan.Splitter = g
	var all []chunk.Detail
	for i, c := range g { // not Describe, whose guard refuses gaps
		d := chunk.Detail{Chunk: c, Index: i, Text: text[c.Start:c.End], Size: chunk.Chars(text[c.Start:c.End])}
		d.From.Line, d.To.Line = strings.Count(text[:c.Start], "\n"), strings.Count(text[:c.End], "\n")
		all = append(all, d)
	}
	r = check.Chunks(limit, kind, text, all)
	for _, p := range r.Problems {
		names = append(names, fmt.Sprintf("%s %d line %d", p.Kind, p.Index, p.Line))
		if p.Kind != check.NotCovered && (p.StartByte != all[p.Index].Start || p.EndByte != all[p.Index].End) || p.Detail == "" {
			t.Errorf("got %+v for %+v", p, all[p.Index].Span)
		}
	}
	return names, r
}

func TestChunks(t *testing.T) {
	t.Parallel()
	prose := "The quick brown fox jumps over the lazy dog while nobody at all is looking at it"
	for name, c := range map[string]struct {
		kind       extract.Kind
		text, want string
	}{
		"nothing":                 {extract.Markdown, "", ""},
		"well":                    {extract.Markdown, "# A\n\nText.\n¦# B\n\nMore.\n", ""},
		"over the limit":          {extract.PlainText, strings.Repeat("word ", 21) + "¦end", "over_limit 0 line 1"},
		"a torn word":             {extract.PlainText, "one\ntwo th✂ree", "torn_word 0 line 2"},
		"no torn word":            {extract.PlainText, "漢字✂漢字 ไทย✂ไทย end.✂next 1✂,000", ""},
		"a gap":                   {extract.PlainText, "one\n«two\n»three", "not_covered -1 line 2"},
		"a gap of white space":    {extract.PlainText, "one« \n \u00a0»three", ""},
		"a gap at the end":        {extract.PlainText, "one\n\ntwo\n«x»", "not_covered -1 line 4"},
		"an open fence":           {extract.Markdown, "```go\na\n¦b\n```\nc", "open_fence 1 line 3"},
		"an open fence of tildes": {extract.Markdown, "> ~~~\n> ```\n> ¦b\n> ~~~\nc", "open_fence 1 line 3"},
		"a fence that is whole":   {extract.Markdown, "a\n¦```go\nb\n```\n¦c", ""},
		"a fence in plain text":   {extract.PlainText, "```go\na\n¦b\n```\nc", ""},
		"no fence":                {extract.Markdown, "``` `a\n¦b", ""},
		"an unclosed fence":       {extract.Markdown, "````\n```\n¦b", "open_fence 1 line 3"},
		"a torn table":            {extract.Markdown, "|a|b|\n|-|-|\n|1|2|\n¦|3|4|\n\nend", "torn_table 1 line 4"},
		"a torn table without outer pipes": {extract.Markdown, "a|b\n-|-\n1|2\n¦3|4\n",
			"torn_table 1 line 4"},
		"a whole table":               {extract.Markdown, "x\n¦|a|b|\n|-|-|\n|1|2|\n¦end", ""},
		"no table":                    {extract.Markdown, "|a|b|c|\n|-|-|\n|1|2|\n¦|3|4|\n", ""},
		"a table in a fence":          {extract.Markdown, "```\n|a|b|\n|-|-|\n|1|2|\n```\n¦|3|4|\n", ""},
		"rows of CSV":                 {extract.CSV, "a,b\n1,2\n¦3,4\n", "torn_table 1 line 3"},
		"an orphan heading":           {extract.Markdown, "Text.\n\n## B\n\n¦More.\n", "orphan_heading 0 line 3"},
		"its white space comes after": {extract.Markdown, "Text.\n\n## B¦\n\nMore.\n", "orphan_heading 0 line 3"},
		"an underlined heading":       {extract.Markdown, "Text.\n\nB\n---\n¦More.\n", "orphan_heading 0 line 3"},
		"a heading at the end":        {extract.Markdown, "Text.¦\n\n## B\n\n", ""},
		"a heading in a fence":        {extract.Markdown, "```\n# a\n```\n¦b", ""},
		"a copy":                      {extract.PlainText, prose + ".\n¦Else.\n¦the QUICK" + prose[9:] + "!", "near_duplicate 2 line 3"},
		"few words":                   {extract.PlainText, "See also.\n¦See also.\n¦See also.", ""},
		"half a copy":                 {extract.PlainText, prose + "\n¦" + prose[:40] + "but then everything changed for good", ""},
		"a copy in Chinese":           {extract.PlainText, "我们今天讨论的是文本分块¦我们今天讨论的是文本分块", "near_duplicate 1 line 1"},
	} {
		got, r := found(t, `{"chunk_size":100}`, c.kind, c.text)
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %q, want %q", name, s, c.want)
		}
		if covered := r.Count(check.NotCovered) == 0; covered != (r.Covered == 1) || r.Limit != 100 || r.Unit != "chars" {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

// Every way of cutting keeps its limit and leaves nothing out, whatever the text, and looking at it never panics.
func FuzzChunks(f *testing.F) {
	f.Add("# A\n\n```\ncode\n```\n\n|a|b|\n|-|-|\n|1|2|\n", uint8(0), 20)
	f.Add("a,b\n1,2\n", uint8(3), 4)
	f.Fuzz(func(t *testing.T, text string, which uint8, size int) {
		text = strings.ToValidUTF8(text, "")
		infos := chunk.Strategies()
		plan, err := chunk.Parse(infos[int(which)%len(infos)].Name, fmt.Appendf(nil, `{"chunk_size":%d}`, size))
		if err != nil {
			return
		}
		var all []chunk.Detail
		for d, err := range (chunk.Describer{}).Describe(plan, text) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
		for _, kind := range []extract.Kind{extract.PlainText, extract.Markdown, extract.CSV} {
			r := check.Chunks(plan, kind, text, all)
			if r.Count(check.OverLimit) > 0 || r.Covered != 1 {
				t.Errorf("%s cuts %q so: %+v", plan.Strategy, text, r)
			}
		}
	})
}

func BenchmarkChunks(b *testing.B) {
	text := strings.Repeat("# A heading\n\nSome words of a paragraph that goes on, and on, and on, until it ends.\n\n", 20000)
	plan, err := chunk.Parse("markdown", nil)
	if err != nil {
		b.Fatal(err)
	}
	var all []chunk.Detail
	for d := range (chunk.Describer{}).Describe(plan, text) {
		all = append(all, d)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		check.Chunks(plan, extract.Markdown, text, all)
	}
}
