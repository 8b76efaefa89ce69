package chunk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// htmlWindow is how far html looks beyond the limit, in bytes.
const htmlWindow = 16

// page is made-up documentation of about n bytes.
func page(n int) string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=en>\n<head><title>A page</title>\n<style>p { margin: 0 }</style></head>\n<body>\n")
	words := strings.Fields(chunktest.Prose(n))
	take := func(k int) string {
		k = min(k, len(words))
		t := strings.Join(words[:k], " ")
		words = words[k:]
		return t
	}
	for i := 0; len(words) > 0; i++ {
		fmt.Fprintf(&b, "<section id=\"s%d\">\n<h%d>Part <code>%d</code><a class=\"headerlink\" href=\"#s%d\">¶</a></h%d>\n", i, 1+i%4, i, i, 1+i%4)
		for j := range 4 {
			fmt.Fprintf(&b, "<p>%s <a href=\"x?a=1&amp;b=%d\">%s</a> &mdash; %s</p>\n", take(30), j, take(3), take(25))
		}
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "<ul>\n<li>%s</li>\n<li>%s\n<li><p>%s</p></li></ul>\n", take(9), take(20), take(12))
		case 1:
			b.WriteString("<table><thead><tr><th>Name</th><th>What</th></tr></thead>\n<tbody>\n")
			for range 12 {
				fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td></tr>\n", take(2), take(6))
			}
			b.WriteString("</tbody></table>\n")
		case 2:
			fmt.Fprintf(&b, "<div class='highlight'><pre><span class=k>if</span> a &lt; b:\n    %s\n    %s\n</pre></div>\n", take(5), take(5))
		case 3:
			fmt.Fprintf(&b, "<blockquote>%s<br>%s</blockquote><!-- no <p> here --><script>if (a<b) { x(\"</p>\") }\n</script>\n", take(9), take(9))
		}
		b.WriteString("</section>\n")
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

// htmlTexts are the texts of chunktest and some that try the tokenizer.
func htmlTexts() []chunktest.Text {
	texts := append(chunktest.Texts(), chunktest.Text{Name: "page", Text: page(4000)})
	for _, unit := range []string{
		"<", "<a ", "<a href=\"", "<a href='x' b=\"y\">", "<!--", "<!-- x -->", "<div>", "</div>", "<div>x", "<p>", "&amp;", "&",
		"<h1>", "<h1>a</h1>", "<h2>a<h3>b", "<table><tr><th>a</th></tr><tr><td>b</td></tr>", "<script>", "<script>x</script>", "<li>a",
		"<![CDATA[x]]>", "<?x", "</", "</ x>", "<a =\"b>c\">", "<!-->", "<!--->x", "--!>", "<pre>a\n  b\n</pre>", "<br>", "<hr>",
		"<td>a<td>b<tr>", "< p>", "<p/>x", "<thead><tr>a</tr></thead>", "a<b>b</b>", "<h1>\n\n", "<section><h2>T</h2><p>x</p></section>",
		"<img>", "<plaintext>", "\n<p>  \n", "<textarea>", "</h1>", "<title>x", "<p>漢字。", "</p>\u0301", "<ul><li><ul><li>x",
	} {
		texts = append(texts, chunktest.Text{Name: unit, Text: strings.Repeat(unit, max(2, 1500/len(unit)))})
	}
	return texts
}

func TestHTML(t *testing.T) {
	t.Parallel()
	for _, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 1},
		{Unit: "chars", Size: 40, Overlap: 10, AtMost: true},
		{Unit: "chars", Size: 300},
		{Unit: "bytes", Size: 17, Overlap: 16, AtMost: true},
		{Unit: "bytes", Size: 120, Soft: 80, Min: 30},
		{Unit: "words", Size: 20, Overlap: 5, AtMost: true},
		{Unit: "tokens", Size: 40, Overlap: 10, AtMost: true, Sizer: sizer(t, "cl100k_base")},
		{Unit: "chars", Size: 90, Context: true},
		{Unit: "tokens", Size: 64, Context: true, Sizer: sizer(t, "o200k_base")},
	} {
		t.Run(fmt.Sprint(limits.Unit, limits.Size), func(t *testing.T) {
			t.Parallel()
			more := `,"overlap_mode":"exact"`
			if limits.Context {
				more += `,"context_in_size":true`
			}
			s := parseMore(t, "html", limits, more)
			limits.Window = htmlWindow
			for _, text := range htmlTexts() {
				if limits.Size < 20 {
					text.Text = strings.ToValidUTF8(text.Text[:min(len(text.Text), 200)], "")
				}
				chunktest.Check(t, s, text.Text, limits)
				if checkWindows(t, s, text.Text); t.Failed() {
					t.Fatalf("text: %s", text.Name)
				}
			}
		})
	}
}

// told is a chunk as the tables of examples show it.
func told(c chunk.Chunk, text string) string {
	s := fmt.Sprintf("%q %s", text[c.Start:c.End], c.Boundary)
	if c.Kind != chunk.Unknown {
		s += " " + c.Kind.String()
	}
	for x := c.Context; x != nil; x = x.Up {
		s += fmt.Sprintf(" < %s %q", x.Kind, x.Text)
	}
	return s
}

func TestHTMLCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		size int
		more string
		text string
		want []string
	}{
		{
			"headings", 60, "", "<h1>One</h1>\n<p>Some text here.</p>\n<h2>Two <a href=#>¶</a></h2>\n<p>More of it.</p><p>And more.</p>",
			[]string{
				`"<h1>One</h1>\n<p>Some text here.</p>\n" section prose`,
				`"<h2>Two <a href=#>¶</a></h2>\n<p>More of it.</p>" block prose < heading "One"`,
				`"<p>And more.</p>" end prose < heading "Two" < heading "One"`,
			},
		},
		{
			"sections open before their headings", 50, "",
			"<section><h1>A</h1><p>b c d</p>\n<section id=x>\n<h2>C</h2><p>d</p></section></section>",
			[]string{
				`"<section><h1>A</h1><p>b c d</p>\n" section prose`,
				`"<section id=x>\n<h2>C</h2><p>d</p></section>" block prose < heading "A"`,
				`"</section>" end markup < heading "C" < heading "A"`,
			},
		},
		{
			"a table", 70, "", "<table><tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n<tr><td>3</td><td>4</td></tr>\n</table><p>x</p>",
			[]string{
				`"<table><tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n" row table`,
				`"<tr><td>3</td><td>4</td></tr>\n</table><p>x</p>" end mixed < table_header "<tr><th>a</th><th>b</th></tr>"`,
			},
		},
		{
			"a list without end tags", 30, "", "<ul>\n<li>one two\n<li>three four\n<li>five</ul>after it",
			[]string{`"<ul>\n<li>one two\n" row list`, `"<li>three four\n<li>five</ul>" block list`, `"after it" end prose`},
		},
		{
			"never in a tag", 28, "", "some <a href=\"a b. c d e f\">words. Then</a> others",
			[]string{`"some " word prose`, `"<a href=\"a b. c d e f\">words" character prose`, `". Then</a> others" end prose`},
		},
		{
			"sentences through tags", 30, "", "One <b>two</b>. Three <i>four.</i> Five six seven",
			[]string{`"One <b>two</b>. " sentence prose`, `"Three <i>four.</i> " sentence prose`, `"Five six seven" end prose`},
		},
		{
			"a reference", 12, "", "aaaaaaaaaa&amp;bbbb", []string{`"aaaaaaaaaa" character prose`, `"&amp;bbbb" end prose`},
		},
		{
			"pre", 30, "", "<p>a</p><pre>one two\n  three\nfour five six\n</pre>",
			[]string{`"<p>a</p>" block prose`, `"<pre>one two\n  three\n" line code`, `"four five six\n</pre>" end code`},
		},
		{
			"script", 40, "", "<p>a</p><script>if (a<b) '</p>'; more();\n</script><p>b</p>",
			[]string{`"<p>a</p>" block prose`, `"<script>if (a<b) '</p>'; more();\n" line markup`, `"</script><p>b</p>" end mixed`},
		},
		{
			"comments", 26, "", "<p>a</p><!-- <p>b</p> --><p>c</p>",
			[]string{`"<p>a</p>" block prose`, `"<!-- <p>b</p> --><p>c</p>" end prose`},
		},
		{
			"context in the size", 40, `,"context_in_size":true`, "<h1>Nine bytes</h1><p>one two three four five six seven</p>",
			[]string{`"<h1>Nine bytes</h1><p>one two three " word prose`, `"four five six seven</p>" end prose < heading "Nine bytes"`},
		},
		{
			"context that is too long", 20, `,"context_in_size":true`, "<h1>Nine bytes</h1>one two three four five",
			[]string{`"<h1>Nine bytes</h1>" word prose`, `"one two " word prose < heading "Nine bytes"`, `"three " word prose < heading "Nine bytes"`,
				`"four five" end prose < heading "Nine bytes"`},
		},
		{"nothing", 20, "", " \n ", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for c := range parseMore(t, "html", chunktest.Limits{Unit: "chars", Size: test.size}, test.more).Split(test.text) {
				got = append(got, told(c, test.text))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func FuzzHTML(f *testing.F) {
	for i, text := range htmlTexts() {
		f.Add(text.Text[:min(len(text.Text), 400)], uint8(5*i), uint8(3*i), uint8(i), uint8(i))
	}
	f.Fuzz(fuzzStructure("html", htmlWindow, ""))
}

// fuzzStructure is a fuzz target for a strategy of structure that looks window bytes beyond the limit, with more settings.
func fuzzStructure(strategy string, window int, settings string) func(*testing.T, string, uint8, uint8, uint8, uint8) {
	return func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		limits.AtMost, limits.Window = true, window
		more := settings
		if limits.Context = how&8 != 0; limits.Context {
			more += `,"context_in_size":true`
		}
		if how&1 != 0 && limits.Overlap+1 < limits.Size {
			more += fmt.Sprintf(`,"soft_chunk_size":%d`, limits.Overlap+1+(limits.Size-limits.Overlap-1)*int(how>>4)/16)
		}
		s, err := tryParse(strategy, limits, more)
		if err != nil {
			t.Fatal(err)
		}
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
		checkGuard(t, strategy, s, text)
	}
}

func ExampleParse_html() {
	text := "<h1>Light</h1><p>It is fast.</p><h2>Colours</h2><p>There are <b>seven</b>.</p>"
	plan, err := chunk.Parse("html", []byte(`{"chunk_size":50}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%q ends at a %s", text[c.Start:c.End], c.Boundary)
		for x := c.Context; x != nil; x = x.Up {
			fmt.Printf(", under %q", x.Text)
		}
		fmt.Println()
	}
	// Output:
	// "<h1>Light</h1><p>It is fast.</p>" ends at a section
	// "<h2>Colours</h2><p>There are <b>seven</b>.</p>" ends at a end, under "Light"
}

// corpus joins what CHUNKSTREAM_CORPUS, a folder, has under a pattern.
func corpus(b *testing.B, pattern string) string {
	b.Helper()
	folder := os.Getenv("CHUNKSTREAM_CORPUS")
	if folder == "" {
		return ""
	}
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil {
		b.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func BenchmarkHTML(b *testing.B) {
	for _, text := range []struct{ name, text string }{
		{"page", page(1 << 20)}, {"prose", chunktest.Prose(1 << 20)}, {"cjk", chunktest.Han(1 << 20)},
		{"tags", strings.Repeat("<a >", 1<<18)}, {"corpus", corpus(b, "*.html")},
	} {
		if text.text == "" {
			continue
		}
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000}, {Unit: "tokens", Size: 512, Sizer: sizer(b, "cl100k_base")},
		} {
			b.Run(text.name+"/"+limits.Unit, func(b *testing.B) {
				s := parse(b, "html", limits)
				benchmarkSplit(b, s, text.text)
			})
		}
	}
}
