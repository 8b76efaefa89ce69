//go:build !race

package chunk_test

import (
	"strings"
	"testing"

	"chunkstream/chunk/chunktest"
)

// structureLimits are what strategies of structure are measured with.
func structureLimits(tb testing.TB) []chunktest.Limits {
	return []chunktest.Limits{
		{Unit: "chars", Size: 1000}, {Unit: "chars", Size: 100, Overlap: 90, AtMost: true}, {Unit: "bytes", Size: 8000},
		{Unit: "tokens", Size: 64, Sizer: sizer(tb, "cl100k_base")},
	}
}

// Not parallel: it measures time.
func TestHTMLLinear(t *testing.T) {
	for _, limits := range structureLimits(t) {
		chunktest.Linear(t, parseMore(t, "html", limits, `,"context_in_size":true`),
			"<", "<a ", "<a b=\"", "<!--", "<div>", "<div>x", "</div>", "&amp;", ">", "<!-- >", "<h1>a", "<h6>a</h6>",
			"<table><tr><th>x</th></tr>", "<script>", "</", "&", "<p>a", "<script><", "<p>"+strings.Repeat("x", 900),
			strings.Repeat("<div>a", 70)+strings.Repeat("x", 900))
	}
}

func TestHTMLAllocations(t *testing.T) {
	text := strings.Repeat("<div><p>"+chunktest.Prose(700)+"</p><a href=\"x\">y</a>\n<ul><li>one<li>two</ul></div>\n", 400)
	for _, limits := range structureLimits(t) {
		s := parse(t, "html", limits)
		got := testing.AllocsPerRun(3, func() {
			for range s.Split(text) {
			}
		})
		if got > 64 { // the walk itself, not its hundreds of chunks
			t.Errorf("%+v: got %v allocations a walk, want at most 64", limits, got)
		}
	}
}

// Not parallel: it measures time.
func TestCodeLinear(t *testing.T) {
	units := []string{
		"\"", "`", "'", "/*", "/* /*", "*", "{", "}", "(", "{\n", "class A {\n", "func f() {\n", "${", "`${", "'\"\"\"", "/", "=/[", "<<A\n", "$x$",
		"r#\"", "// c\n", "@a\n", "def f():\n", " ", "        \n", "x=function(){return{a:[1,2,\"b\"]}};", "\\\n", "#if\n", "x\n",
		strings.Repeat("\t", 500) + "x\n", "func f() {\n" + strings.Repeat("x", 990),
	}
	languages := []string{"go", "python", "javascript", "rust", "shell", "sql"}
	for i, limits := range append(structureLimits(t), structureLimits(t)[:2]...) {
		chunktest.Linear(t, parseMore(t, "code", limits, `,"context_in_size":true,"language":"`+languages[i]+`"`), units...)
	}
	chunktest.Linear(t, parseMore(t, "code", structureLimits(t)[0], ""))
}

func TestCodeAllocations(t *testing.T) {
	text := strings.Repeat("x = 1\n\ty(\"z\") // see\n\n", 10000)
	for _, limits := range structureLimits(t) {
		s := parseMore(t, "code", limits, `,"language":"go"`)
		got := testing.AllocsPerRun(3, func() {
			for range s.Split(text) {
			}
		})
		if got > 64 { // the walk itself, not its hundreds of chunks
			t.Errorf("%+v: got %v allocations a walk, want at most 64", limits, got)
		}
	}
}
