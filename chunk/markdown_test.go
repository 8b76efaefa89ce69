package chunk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// markdownWindow is how far markdown looks ahead beyond the limit, in bytes.
func markdownWindow(l chunktest.Limits) int {
	unit := map[string]int{"bytes": 1, "chars": 4, "words": 64, "tokens": 16}[l.Unit]
	return unit*l.Size + 16<<10
}

// described is a chunk with everything that is said of it: its kind, its text, where it ends, why unless it is by the
// limit, and its context from the outermost in.
func described(text string, c chunk.Chunk) string {
	s := fmt.Sprintf("%s %q %s", c.Kind, text[c.Start:c.End], c.Boundary)
	if c.Reason == chunk.AtStructure {
		s += " structure"
	}
	context := ""
	for x := c.Context; x != nil; x = x.Up {
		context = fmt.Sprintf(" < %s%.0d %q", x.Kind, x.Level, x.Text) + context
	}
	return s + context
}

// markdownTexts have broken splitters of Markdown: each is repeated to some thousand bytes.
var markdownTexts = []struct{ name, text string }{
	{"headings and text", "# One\n\nSome text here.\n\n## Two\n\nMore of it, a bit longer than that.\n\n"},
	{"underlined", "One\n===\n\nText\nof two lines.\n\nTwo\n---\nText\n"},
	{"a table", "| a | b |\n|---|---|\n" + strings.Repeat("| 1 | two words |\n", 30) + "\n"},
	{"a table below text", "Text above\na | b\n-|-\n1 | 2\n\n"},
	{"fences", "Text:\n\n```go\nfunc f() {\n\n\treturn\n}\n```\n\n~~~\n# no heading\n~~~\n"},
	{"an open fence", "```\nnever closed\n\n# no heading\n"},
	{"fences in lists", "- one\n\n  ```sh\n  # no heading\n  ls\n  ```\n\n- two\n  1. three\n     ~~~\n     | a |\n     ~~~\n"},
	{"fences in quotes", "> quote\n> ```\n> # no heading\n> ```\nlazy\n\n"},
	{"indented code", "Text\n\n    code\n\n    more code\n\n\ttab\n"},
	{"nested lists", "- a\n  - b\n    - c\n      - d\n  - e\n* f\n\n1. g\n2) h\n"},
	{"deep quotes", strings.Repeat(">", 60) + " deep\n"},
	{"deep lists", strings.Repeat("- ", 60) + "deep\n"},
	{"HTML", "<div>\n\n# heading\n\n</div>\n\n<!-- a\n\ncomment -->\n<pre>\n\n</pre> <b>\ntext\n\n<b>\ntext\n"},
	{"an open comment", "<!-- never closed\n\n# no heading\n\n"},
	{"front matter", "---\ntitle: x\n---\n# Heading\n\n+++\n\n"},
	{"rules", "a\n\n***\n\nb\n\n- - -\n\n___\n"},
	{"links", "[a]: /b\n[c]: /d \"e\"\n\n[a] and ![c](x)\n\n"},
	{"CR", "# One\r\rText\r- a\r- b\r\r```\rcode\r```\r"},
	{"CR LF", "# One\r\n\r\nText\r\n- a\r\n- b\r\n\r\n```\r\ncode\r\n```\r\n"},
	{"pipes", "|"}, {"pipe lines", "|\n"}, {"dashes", "-\n"}, {"delimiters", "|-"}, {"quotes", ">"}, {"quote lines", "> a\n"},
	{"bullets", "- "}, {"bullet lines", "-\n"}, {"rising indentation", " - a\n   - b\n     - c\n       - d\n"},
	{"ticks", "`"}, {"tick lines", "```\n"}, {"longer ticks", "```\n````\n`````\n"}, {"equals", "a\n=\n"}, {"tags", "<a>\n"},
	{"less", "<"}, {"tabs", "\t-\ta\n"}, {"plus", "+++\n"}, {"three dashes", "---\n"}, {"backslashes", "\\|a|\n|-|\n"},
	{"long heading", "# " + strings.Repeat("word ", 1000) + "\n"},
	{"long lines", strings.Repeat("word ", 1000) + "\n# h\n"},
	{"long table", "| " + strings.Repeat("word ", 1000) + "|\n|-|\n| a |\n"},
	{"long paragraph", strings.Repeat("some words\n", 500) + "===\n"},
	{"wide blank lines", "a\n" + strings.Repeat("\u3000\n", 900) + "# b\n"},
	{"ends without line end", "# a\n```\nb"},
}

func markdownText(i int) string {
	t := markdownTexts[i].text
	return strings.Repeat(t, max(1, 3000/len(t)))
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits chunktest.Limits
		more   string
	}{
		{chunktest.Limits{Unit: "chars", Size: 1}, ``},
		{chunktest.Limits{Unit: "chars", Size: 40, Overlap: 10}, `,"context_in_size":true`},
		{chunktest.Limits{Unit: "chars", Size: 300, Min: 50}, `,"split_headings":2`},
		{chunktest.Limits{Unit: "bytes", Size: 7, Overlap: 3}, `,"context_in_size":true`},
		{chunktest.Limits{Unit: "bytes", Size: 120, Soft: 60}, ``},
		{chunktest.Limits{Unit: "words", Size: 20, Overlap: 5}, `,"split_headings":6`},
		{chunktest.Limits{Unit: "tokens", Size: 8, Sizer: sizer(t, "cl100k_base")}, `,"context_in_size":true`},
		{chunktest.Limits{Unit: "tokens", Size: 40, Overlap: 10, Sizer: sizer(t, "o200k_base")}, ``},
	} {
		t.Run(fmt.Sprint(test.limits.Unit, test.limits.Size), func(t *testing.T) {
			t.Parallel()
			limits := test.limits
			limits.Window = markdownWindow(limits)
			s := parseMore(t, "markdown", limits, test.more)
			limits.AtMost, limits.Context = true, strings.Contains(test.more, "context")
			check := func(name, text string) {
				if limits.Size < 10 {
					text = strings.ToValidUTF8(text[:min(len(text), 700)], "")
				}
				chunktest.Check(t, s, text, limits)
				if checkWindows(t, s, text); t.Failed() {
					t.Fatalf("text: %s", name)
				}
			}
			for _, text := range texts() {
				check(text.Name, text.Text)
			}
			for i, text := range markdownTexts {
				check(text.name, markdownText(i))
			}
		})
	}
}

// cutTest is a text and the chunks that it is cut into, as described tells them; more is for parseMore, sizes are in characters.
type cutTest struct {
	name, more    string
	size, overlap int
	text          string
	want          []string
}

func (test cutTest) check(t *testing.T, strategy string) {
	t.Run(test.name, func(t *testing.T) {
		t.Parallel()
		s := parseMore(t, strategy, chunktest.Limits{Unit: "chars", Size: test.size, Overlap: test.overlap}, test.more)
		var got []string
		for c := range s.Split(test.text) {
			got = append(got, described(test.text, c))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	})
}

func TestMarkdownCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []cutTest{
		{
			"before the highest heading of the second half", ``, 60, 0, "# A\n\nOne two three four five six.\n\n# B\n\nThree.\n\n## C\n\nFive six seven eight.\n",
			[]string{
				`prose "# A\n\nOne two three four five six.\n\n" section`,
				`prose "# B\n\nThree.\n\n## C\n\nFive six seven eight.\n" end`,
			},
		},
		{
			"whole blocks, not half ones", ``, 40, 0, "One two three.\n\nFour five six. Seven eight nine ten.\n",
			[]string{
				`prose "One two three.\n\n" paragraph`,
				`prose "Four five six. Seven eight nine ten.\n" end`,
			},
		},
		{
			"a heading goes with what follows", ``, 30, 0, "Some text up to here.\n\n# B\n\nMore text.\n",
			[]string{
				`prose "Some text up to here.\n\n" section`,
				`prose "# B\n\nMore text.\n" end`,
			},
		},
		{
			"a heading goes with the first part of what is too long", ``, 30, 0, "# Title\n\nOne two three four. Five six seven. Eight nine.\n",
			[]string{
				`prose "# Title\n\nOne two three four. " sentence`,
				`prose "Five six seven. Eight nine.\n" end < heading1 "Title"`,
			},
		},
		{
			"a heading and a fence that fits only without it", ``, 24, 0, "# A title\n\n```\none\ntwo\nsix\n```\n",
			[]string{
				`prose "# A title\n\n" block`,
				"code \"```\\none\\ntwo\\nsix\\n```\\n\" end < heading1 \"A title\"",
			},
		},
		{
			"headings count in the limit", ``, 12, 0, "# A heading longer\n\ntext\n",
			[]string{
				`prose "# A heading " word`,
				`prose "longer\n\ntext" end`,
			},
		},
		{
			"headings in a row stay together", ``, 30, 0, "Text before all of it.\n\n# A\n\n## B\n\nText.\n",
			[]string{
				`prose "Text before all of it.\n\n" section`,
				`prose "# A\n\n## B\n\nText.\n" end`,
			},
		},
		{
			"a fence stays whole", ``, 40, 0, "Text of a line.\n\n```go\na := 1\n\nb := 2\n```\n\nMore.\n",
			[]string{
				`prose "Text of a line.\n\n" block`,
				"mixed \"```go\\na := 1\\n\\nb := 2\\n```\\n\\nMore.\\n\" end",
			},
		},
		{
			"a fence is torn at its lines, and says what it is", ``, 30, 0, "# H\n\n```go\nfirst line\nsecond line\nthird line\n```\n",
			[]string{
				"code \"# H\\n\\n```go\\nfirst line\\n\" line",
				"code \"second line\\nthird line\\n```\\n\" end < heading1 \"H\" < fence \"```go\"",
			},
		},
		{
			"a fence that never ends loses nothing", ``, 30, 0, "Text.\n\n```\ncode\n\n# no heading\n\nmore and more of it\n",
			[]string{
				"mixed \"Text.\\n\\n```\\ncode\\n\\n\" paragraph",
				"code \"# no heading\\n\\n\" line < fence \"```\"",
				"code \"more and more of it\\n\" end < fence \"```\"",
			},
		},
		{
			"a fence in a list", ``, 40, 0, "- one\n\n  ```\n  # no heading\n  code\n  ```\n\n- two and three\n",
			[]string{
				"list \"- one\\n\\n  ```\\n  # no heading\\n  code\\n  ```\" row",
				`list "- two and three\n" end`,
			},
		},
		{
			"a table is torn at its rows and keeps its header", ``, 44, 0, "# T\n\n| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n| 3 | z |\n| 4 | w |\n",
			[]string{
				`table "# T\n\n| a | b |\n|---|---|\n| 1 | x |\n" row`,
				`table "| 2 | y |\n| 3 | z |\n| 4 | w |\n" end < heading1 "T" < table_header "| a | b |\n|---|---|"`,
			},
		},
		{
			"a row above the limit is cut at its cells", ``, 30, 0, "| a | b |\n|---|---|\n| one two three | four five six seven |\n",
			[]string{
				`table "| a | b |\n|---|---|\n" row`,
				`table "| one two three |" clause < table_header "| a | b |\n|---|---|"`,
				`table " four five six seven |\n" end < table_header "| a | b |\n|---|---|"`,
			},
		},
		{
			"a table stays whole", ``, 44, 0, "Words before the table.\n\n| a | b |\n|---|---|\n| 1 | x |\n",
			[]string{
				`prose "Words before the table.\n\n" block`,
				`table "| a | b |\n|---|---|\n| 1 | x |\n" end`,
			},
		},
		{
			"a list is cut between its items", ``, 30, 0, "- one two\n- three four\n- five six\n- seven\n",
			[]string{
				`list "- one two\n- three four\n" row`,
				`list "- five six\n- seven\n" end`,
			},
		},
		{
			"nested items stay with theirs", ``, 30, 0, "- one\n  - two\n- three\n  - four\n  - five\n",
			[]string{
				`list "- one\n  - two\n" row`,
				`list "- three\n  - four\n  - five\n" end`,
			},
		},
		{
			"front matter is no rule", ``, 40, 0, "---\ntitle: A\ntags: [b]\n---\n\n# A\n\nText that goes on for a bit.\n",
			[]string{
				`front_matter "---\ntitle: A\ntags: [b]\n---\n\n" section`,
				`prose "# A\n\nText that goes on for a bit.\n" end`,
			},
		},
		{
			"front matter in TOML", ``, 40, 0, "+++\ntitle = 1\n+++\nText that goes on for a bit.\n",
			[]string{
				`front_matter "+++\ntitle = 1\n+++\n" block`,
				`prose "Text that goes on for a bit.\n" end`,
			},
		},
		{
			"a quotation", ``, 30, 0, "> One two three.\n> Four five.\n\nText after it.\n",
			[]string{
				`quote "> One two three.\n> Four five.\n" block`,
				`prose "Text after it.\n" end`,
			},
		},
		{
			"HTML", ``, 40, 0, "<div>\n\n# in\n\n</div>\n\n<!--\n\n# not\n\n-->\n\nText after all.\n",
			[]string{
				`markup "<div>\n\n# in\n\n</div>\n\n<!--\n\n# not\n\n-->\n\n" block`,
				`prose "Text after all.\n" end < heading1 "in"`,
			},
		},
		{
			"underlined headings", ``, 30, 0, "One\n===\n\nText of one.\n\nTwo\n---\n\nText of two.\n",
			[]string{
				`prose "One\n===\n\nText of one.\n\n" section`,
				`prose "Two\n---\n\nText of two.\n" end < heading1 "One"`,
			},
		},
		{
			"every heading of level 2 and above", `,"split_headings":2`, 200, 0, "Text.\n\n# A\n\nOne.\n\n## B\n\nTwo.\n\n### C\n\nThree.\n\n# D\n\nFour.\n",
			[]string{
				`prose "Text.\n\n" section structure`,
				`prose "# A\n\nOne.\n\n" section structure`,
				`prose "## B\n\nTwo.\n\n### C\n\nThree.\n\n" section structure < heading1 "A"`,
				`prose "# D\n\nFour.\n" end`,
			},
		},
		{
			"context counts", `,"context_in_size":true`, 30, 0, "# Head\n\nOne two three four five six seven eight nine.\n",
			[]string{
				`prose "# Head\n\nOne two three four " word`,
				`prose "five six seven eight nine." end < heading1 "Head"`,
			},
		},
		{
			"context that is too much is left out", `,"context_in_size":true`, 30, 0, "# Head of many words\n\n## B\n\nOne two three four five six seven eight nine.\n",
			[]string{
				`prose "# Head of many words\n\n## B\n\n" block`,
				`prose "One two three four five six " word < heading2 "B"`,
				`prose "seven eight nine.\n" end < heading2 "B"`,
			},
		},
		{
			"line ends of old", ``, 30, 0, "# A\r\rOne two three four.\r\r# B\r\rText.\r",
			[]string{
				`prose "# A\r\rOne two three four.\r\r" section`,
				`prose "# B\r\rText.\r" end`,
			},
		},
		{
			"overlap in text", ``, 30, 8, "# A\n\nOne two three. Four five six. Seven.\n\nEight nine ten.\n\n# B\n\nText\n",
			[]string{
				`prose "# A\n\nOne two three. " sentence`,
				`prose " three. Four five six. Seven.\n" paragraph < heading1 "A"`,
				`prose "Eight nine ten.\n\n# B\n\nText\n" end < heading1 "A"`,
			},
		},
		{
			"indented code", ``, 30, 0, "Text:\n\n    one two\n\n    three four\n\nText and more.\n",
			[]string{
				`prose "Text:\n\n" block`,
				`code "    one two\n\n    three four\n\n" block`,
				`prose "Text and more.\n" end`,
			},
		},
		{
			"white space that does not fit is left out", ``, 10, 0, "One two.\n\n\n\n\n\n\nThree.\n",
			[]string{
				`prose "One two.\n\n" paragraph`,
				`prose "Three.\n" end`,
			},
		},
	} {
		test.check(t, "markdown")
	}
}

func TestMarkdownRefuses(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{"split_headings":7}`:    "split_headings: 7 is out of range, which is 0 to 6 (use 2 for a chunk at each heading of the first two levels, or leave it out)",
		`{"split_headings":"h2"}`: `split_headings must be a whole number, not the string "h2" (give a whole number)`,
		`{"context_in_size":1}`:   "context_in_size must be true or false, not 1 (give true or false)",
	} {
		if _, err := chunk.Parse("markdown", []byte(settings)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", settings, err, want)
		}
	}
}

// What other splitters of Markdown get wrong: the limit, and what is lost.
func TestMarkdownKeepsAll(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"one line of a megabyte":  strings.Repeat("ab1c2def3", 1<<20/9),
		"quotes only":             strings.Repeat(">", 1<<18),
		"after an open fence":     "# a\n\n```\n" + strings.Repeat("code\n\ntext ", 5000),
		"headings only":           strings.Repeat("# h\n", 1<<16),
		"a heading over the size": "# " + strings.Repeat("word ", 5000) + "\n\ntext\n",
	} {
		for _, more := range []string{"", `,"context_in_size":true,"split_headings":6`} {
			s := parseMore(t, "markdown", chunktest.Limits{Unit: "chars", Size: 1000}, more)
			end := 0
			for c := range s.Split(text) {
				if strings.TrimSpace(text[end:c.Start]) != "" || c.End-c.Start > 1000 {
					t.Fatalf("%s: %v after %d", name, c.Span, end)
				}
				end = c.End
			}
			if strings.TrimSpace(text[end:]) != "" {
				t.Errorf("%s: ends at %d of %d", name, end, len(text))
			}
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	for i, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 300)], uint8(5*i), uint8(3*i), uint8(i), uint8(i))
	}
	for i := range markdownTexts {
		text := markdownText(i)
		f.Add(text[:min(len(text), 400)], uint8(25+3*i), uint8(i), uint8(1), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		fuzzMarkdownLike(t, "markdown", text, limits, how, fmt.Sprintf(`,"split_headings":%d`, which%7))
	})
}

// fuzzMarkdownLike checks a strategy that has the setting context_in_size and looks ahead as markdown does.
func fuzzMarkdownLike(t *testing.T, strategy, text string, limits chunktest.Limits, how uint8, more string) {
	t.Helper()
	if how&1 != 0 && limits.Overlap+1 < limits.Size {
		limits.Soft = limits.Overlap + 1 + (limits.Size-limits.Overlap-1)*int(how>>4)/16
	}
	if how&2 != 0 {
		limits.Min = max(limits.Soft, limits.Size*(1-int(how&1))) / 2
	}
	if limits.Context = how&4 != 0; limits.Context {
		more += `,"context_in_size":true`
	}
	limits.AtMost = how&8 != 0
	s := parseMore(t, strategy, limits, more)
	limits.AtMost, limits.Window = true, markdownWindow(limits)
	if limits.Context {
		limits.Min = 0                          // it gives way to the context
		limits.Context = utf8.ValidString(text) // else characters are counted differently
	}
	chunktest.Check(t, s, text, limits)
	checkWindows(t, s, text)
	checkGuard(t, strategy, s, text)
}

// markdownPage is made-up Markdown of n bytes, the same every time, with the mix of blocks that manuals have.
func markdownPage(n int) string {
	prose, code := chunktest.Prose(n), chunktest.Code(n)
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		from := i * 700 % max(1, n-700)
		paragraph := prose[from : from+500]
		fmt.Fprintf(&b, "## Section %d\n\n%s\n\n", i, strings.ReplaceAll(paragraph[:400], ". ", ".\n"))
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "```js\n%s\n```\n\n", code[from:from+600])
		case 1:
			fmt.Fprintf(&b, "* `one` {string} %s\n* `two` {number}\n  * **Default:** %s\n\n", paragraph[:60], paragraph[60:90])
		case 2:
			b.WriteString("| name | what |\n| --- | --- |\n")
			for range 8 {
				fmt.Fprintf(&b, "| `x` | %s |\n", paragraph[:50])
			}
			b.WriteByte('\n')
		case 3:
			fmt.Fprintf(&b, "> %s\n\n<!-- YAML\nadded: v0.1\n-->\n\n", paragraph[:120])
		}
	}
	return b.String()[:n]
}

func BenchmarkMarkdown(b *testing.B) {
	const size = 4 << 20
	for _, text := range []chunktest.Text{
		{Name: "page", Text: markdownPage(size)}, {Name: "prose", Text: chunktest.Prose(size)},
		{Name: "cjk", Text: chunktest.Han(size)}, {Name: "no line ends", Text: strings.Repeat("ab1c2def3", size/9)},
	} {
		for _, strategy := range []string{"markdown", "recursive"} {
			b.Run(text.Name+"/"+strategy, func(b *testing.B) {
				s := parse(b, strategy, chunktest.Limits{Unit: "chars", Size: 1000})
				b.SetBytes(int64(len(text.Text)))
				b.ReportAllocs()
				chunks := 0
				for b.Loop() {
					for range s.Split(text.Text) {
						chunks++
					}
				}
				b.ReportMetric(float64(chunks)/float64(b.N), "chunks/op")
			})
		}
	}
}

func ExampleParse_markdown() {
	text := "# Install\n\nGet the binary.\n\n## Linux\n\nUse the package.\n\n```sh\napt install it\n```\n"
	plan, err := chunk.Parse("markdown", []byte(`{"chunk_size":40}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		path := ""
		for x := c.Context; x != nil; x = x.Up {
			path = x.Text + " > " + path
		}
		fmt.Printf("%s%q: %s, ends at a %s\n", path, text[c.Start:c.End], c.Kind, c.Boundary)
	}
	// Output:
	// "# Install\n\nGet the binary.\n\n": prose, ends at a section
	// Install > "## Linux\n\nUse the package.\n\n": prose, ends at a block
	// Install > Linux > "```sh\napt install it\n```\n": code, ends at a end
}
