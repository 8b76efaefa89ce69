package main

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"

	"golang.org/x/net/html"
)

// cutTags cuts page and reports the chunks that end inside of what golang.org/x/net/html takes for a tag or a comment,
// although that fits into a chunk.
func cutTags(t *testing.T, page string, size int) (chunks int) {
	t.Helper()
	plan, err := chunk.Parse("html", fmt.Appendf(nil, `{"chunk_size":%d}`, size))
	if err != nil {
		t.Fatal(err)
	}
	z := html.NewTokenizer(strings.NewReader(page))
	var from, to int
	text := true
	next := func() bool {
		kind := z.Next()
		if kind == html.ErrorToken && len(z.Raw()) == 0 {
			return false
		}
		from, to = to, to+len(z.Raw())
		text = kind == html.TextToken || kind == html.ErrorToken
		return true
	}
	for c := range plan.Splitter.Split(page) {
		chunks++
		for to <= c.End && next() {
		}
		if from < c.End && c.End < to && !text {
			blank := len(page[:from]) - len(strings.TrimRightFunc(page[:from], unicode.IsSpace))
			if n := utf8.RuneCountInString(page[from:to]); n+blank <= size {
				t.Errorf("size %d: a chunk ends at byte %d, inside of %q", size, c.End, page[from:to])
			}
		}
	}
	return chunks
}

// trickyPage has what tokenizers differ on.
const trickyPage = `<!DOCTYPE html><html><head><title>a < b <p> c</title><script>if (a<b && "</p>") { x('<!--') }</script>
<style>p > a { content: "<p>" }</style></head><body class=a'b data-x="1 > 2" hidden><!-- one <p> > two -- three --><!--> <p>four<!--->
<p title='it is "> so' =x="y>z">five < six <7 &amp; seven &mdash; <a href=x?a="b>c">eight</a ><br/><img src=a.png/>
</ nine><?ten?><![CDATA[ eleven ]]><!twelve><textarea> <b> </textarea ><TABLE><TR><TD>Thirteen<Td/>fourteen</TABLE >
<pre
class="x">fifteen
  sixteen</pre><a b c = d e='f'g>seventeen</a><!-- eighteen --!><p>nineteen<!---!> --><svg><path d="M0 0>"/></svg></body></html`

func TestHTMLTags(t *testing.T) {
	for _, size := range []int{1, 5, 8, 13, 20, 30, 45, 70, 100} {
		if n := cutTags(t, trickyPage, size); n < 5 {
			t.Errorf("size %d: only %d chunks", size, n)
		}
	}
}

func FuzzHTMLTags(f *testing.F) {
	for i := range 20 {
		f.Add(trickyPage[i*len(trickyPage)/20:], uint8(20+3*i))
	}
	f.Fuzz(func(t *testing.T, page string, size uint8) {
		if strings.Contains(page, "\x00") || strings.Contains(strings.ToLower(page), "<script") && strings.Contains(page, "<!--") ||
			!utf8.ValidString(page) || strings.Contains(page, "<![CDATA[") {
			return // x/net knows the escaped states of script, and no CDATA
		}
		cutTags(t, page, 1+int(size))
	})
}
