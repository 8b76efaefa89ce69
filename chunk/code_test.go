package chunk_test

import (
	"errors"
	"fmt"
	"go/ast"
	goparser "go/parser"
	gotoken "go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// codeWindow is how far code looks beyond the limit, in bytes.
const codeWindow = 128

// samples are small files, by language.
var samples = map[string]string{
	"go":         "// Package a is one.\npackage a\n\nimport (\n\t\"fmt\"\n)\n\n// F does.\n// It does.\nfunc F(a int) {\n\ts := `}\nfunc x() {`\n\n\tif a > '}' {\n\t\tfmt.Println(s, \"{\")\n\t}\n}\n\ntype T struct {\n\tA int // }\n\n\tB int\n}\n\n/* { */\nfunc (t T) G() int { return 1 }\nfunc H() {\n\tx := []int{\n\t\t1,\n\t}\n}\n",
	"python":     "#!/usr/bin/env python3\n\"\"\"A module.\n\ndef no():\n\"\"\"\nimport os\nfrom sys import (\n    argv,\n)\n\n\n# About A.\n@deco(1)\nclass A(B):\n    \"\"\"Doc.\"\"\"\n\n    x = {\n  'a': 1,\n    }\n\n    @property\n    async def f(self):\n        # one\n        if x:\n            return '''\nclass no:\n'''\n\n        return 2\n\n    def g(self): return 'it\\'s # no'\n\n\ndef h():\n    pass\nprint(h())\n",
	"javascript": "'use strict';\nimport { a } from 'b';\n\n/** Doc. */\nexport default class A extends B {\n  x = 1\n  #p = /[/{]\\/}/g\n\n  // about f\n  f(a, b) {\n    return `x ${ a ? `{${b}` : '}' } function no() {`\n  }\n\n  get g() { return a / b / c }\n}\n\nfunction h() {\n  const r = x.match(/}/);\n  if (r) {\n    return 1;\n  }\n}\n\nconst k = () => {\n  h()\n}\nmodule.exports = { h }\n",
	"typescript": "import type { A } from './a'\n\nexport interface B<T extends string> {\n  a: number\n  f(x: string): void\n}\n\n@Component({ selector: 'x' })\nexport class C implements B<'}'> {\n  private readonly a: number = 1;\n\n  constructor(private x: string) {\n    this.a = 2;\n  }\n}\n\nexport const d = async (x: number): Promise<void> => {\n  await x\n}\n\ntype E = 'a' | 'b'\n",
	"java":       "package a.b;\n\nimport java.util.List;\n\n/**\n * A class.\n */\n@Entity\npublic class A {\n    private int x = '}';\n\n    /** Does. */\n    @Override\n    public String f(int a) {\n        if (a > 1) {\n            return \"{\";\n        }\n        return \"\"\"\n            class No {\n            \"\"\";\n    }\n\n    static class B {\n        void g() {}\n    }\n}\n\ninterface C {\n    void h();\n}\n",
	"c":          "/* License. */\n#include <stdio.h>\n#define X { \\\n  {\n\n#ifdef A\nint f(int a) {\n#else\nint f(long a) {\n#endif\n\tif (a) {\n\t\tputs(\"}\");\n\t}\n\n\treturn '{';\n}\n\nstruct s {\n\tint a;\n};\n\n/* g gives. */\nstatic int\ng(void)\n{\n\treturn 1;\n}\n",
	"cpp":        "#include <vector>\n\nnamespace a {\n\n// A class.\ntemplate <typename T>\nclass B : public C {\n public:\n  B() : x_(1'000) {}\n\n  int f() const {\n    auto s = R\"x(} class No {)\" )x\";\n    return x_;\n  }\n\n private:\n  int x_;\n};\n\nint g() {\n  return 1;\n}\n\n}  // namespace a\n",
	"rust":       "//! Docs.\nuse std::io;\n\n/// A thing.\n#[derive(Debug)]\npub struct A<'a> {\n    x: &'a str,\n}\n\nimpl<'a> A<'a> {\n    /// Makes.\n    pub fn new(x: &'a str) -> Self {\n        let c = '}'; let d = '\\'';\n        let s = r#\"fn no() { \"#;\n        /* nested /* { */ */\n        A { x }\n    }\n\n    fn g(&self) {}\n}\n\nfn main() {\n    println!(\"{}\", 1);\n}\n",
	"ruby":       "# frozen_string_literal: true\nrequire 'set'\n\nmodule M\n  # A class.\n  class A < B\n    attr_reader :x\n\n    def initialize(x)\n      @x = x\n      @s = <<~EOS\n        def no\n      EOS\n    end\n\n    def f\n      if @x\n        1\n      else\n        2\n      end\n    end\n  end\nend\n\nputs M::A.new(1).f\n",
	"php":        "<html>\n<p>it's</p>\n<?php\nnamespace A;\n\nuse B\\C;\n\n/**\n * Doc.\n */\n#[Attr]\nfinal class D extends C\n{\n    private $x = '}';\n\n    // f does\n    public function f(int $a): string\n    {\n        return <<<EOT\nfunction no() {\nEOT;\n    }\n\n    function g() { return \"{$this->x}\"; }\n}\n\nfunction h() {\n    return 1;\n}\n?>\n<p>end</p>\n",
	"shell":      "#!/bin/sh\nset -e\n\n# usage says.\nusage() {\n  cat <<EOF\nfunction no() {\nEOF\n  exit $#\n}\n\nfunction run {\n  for x in \"$@\"; do\n    echo \"it's ${x#y} {\"\n  done\n\n  if [ -n \"$1\" ]; then\n    usage\n  fi\n}\n\nrun 'a\nb' | grep x\n",
	"sql":        "-- Tables.\nCREATE TABLE a (\n    id int PRIMARY KEY,\n    b text DEFAULT 'it''s; {'\n);\n\n-- A function.\nCREATE FUNCTION f() RETURNS int AS $$\nBEGIN\n    SELECT 1;\n    RETURN 2;\nEND;\n$$ LANGUAGE plpgsql;\nINSERT INTO a VALUES (1, 'x'),\n    (2, 'y');\nselect * from a;\n",
	"other":      "thing Foo {\n    do it; // }\n\n    \"{\"\n}\n\nthing Bar {\n}\n",
}

// codeTexts are the texts of chunktest, the samples, and some that try the scanner.
func codeTexts() []chunktest.Text {
	texts := chunktest.Texts()
	for _, unit := range []string{
		"\"", "'", "`", "/*", "/* */", "{", "}", "{}", "(", "\\\n", "#if\n{\n#else\n", "    \n", "\t", "${", "`${", "<<EOF\n", "r#\"", "R\"x(", "$x$",
		"'''", "\"\"\"", "//", "--", "#", "def f():\n", "class A:\n  def f():\n", "func f() {\n}\n\n", "// c\n", "/", "=/", "/[", "<?php ?>", "?>", "@a\n",
		"end\n", "'a", "x;", "a{b;c}", "}\n", "\"\n", "\\", "function(){", "def f(\n", "  x\n x\n", "\r", "\n\r", "x\r\n\r\n", "/* /* ", "class A {\n", "<<-", "<<<a\n",
	} {
		texts = append(texts, chunktest.Text{Name: unit, Text: strings.Repeat(unit, max(2, 1200/len(unit)))})
	}
	var names []string
	for name := range samples {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		texts = append(texts, chunktest.Text{Name: name, Text: samples[name]})
	}
	return texts
}

func languages(t testing.TB) (names []string) {
	t.Helper()
	_, err := chunk.Parse("code", []byte(`{"language":"§"}`))
	var perr *chunk.ParamError
	if !errors.As(err, &perr) {
		t.Fatal(err)
	}
	return strings.Fields(strings.NewReplacer(",", "", "use ", "", " or ", " ").Replace(perr.Suggestion))[1:]
}

func TestCode(t *testing.T) {
	t.Parallel()
	names := languages(t)
	if len(names) != len(samples) {
		t.Fatalf("samples of %d languages, want %d", len(samples), len(names))
	}
	for i, limits := range []chunktest.Limits{
		{Unit: "chars", Size: 1},
		{Unit: "chars", Size: 40, Overlap: 10, AtMost: true},
		{Unit: "chars", Size: 200},
		{Unit: "bytes", Size: 15, Overlap: 14, AtMost: true},
		{Unit: "bytes", Size: 120, Soft: 80, Min: 30},
		{Unit: "words", Size: 12, Overlap: 3, AtMost: true},
		{Unit: "tokens", Size: 24, Overlap: 6, AtMost: true, Sizer: sizer(t, "cl100k_base")},
		{Unit: "chars", Size: 90, Context: true},
	} {
		t.Run(fmt.Sprint(limits.Unit, limits.Size), func(t *testing.T) {
			t.Parallel()
			limits.Window = codeWindow
			for j, text := range codeTexts() {
				if limits.Size < 20 {
					text.Text = strings.ToValidUTF8(text.Text[:min(len(text.Text), 250)], "")
				}
				name := names[(i+j)%len(names)]
				if samples[text.Name] != "" {
					name = text.Name
				}
				s := parseMore(t, "code", limits, fmt.Sprintf(`,"overlap_mode":"exact","language":%q,"context_in_size":%v`, name, limits.Context))
				chunktest.Check(t, s, text.Text, limits)
				if checkWindows(t, s, text.Text); t.Failed() {
					t.Fatalf("text: %s in %s", text.Name, name)
				}
			}
		})
	}
	// auto, which looks at the head
	s := parse(t, "code", chunktest.Limits{Unit: "chars", Size: 700})
	for _, text := range texts() {
		checkWindows(t, s, text.Text)
	}
}

// The lines at which a declaration of the file starts, in chunks of many sizes.
func TestCodeSections(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"go":         {"import (", "// F does.", "type T struct {", "/* { */", "func H() {"},
		"python":     {"# About A.", "def h():"},
		"javascript": {"import { a } from 'b';", "/** Doc. */", "function h() {", "const k = () => {"},
		"typescript": {"export interface B<T extends string> {", "@Component({ selector: 'x' })", "export const d = async (x: number): Promise<void> => {", "type E = 'a' | 'b'"},
		"java":       {"import java.util.List;", "/**", "interface C {"},
		"c":          {"int f(int a) {", "int f(long a) {", "struct s {", "/* g gives. */"},
		"cpp":        {"namespace a {"},
		"rust":       {"/// A thing.", "impl<'a> A<'a> {", "fn main() {"},
		"ruby":       {"module M"},
		"php":        {"namespace A;", "use B\\C;", "/**", "function h() {"},
		"shell":      {"# usage says.", "function run {"},
		"sql":        {"-- A function.", "INSERT INTO a VALUES (1, 'x'),", "select * from a;"},
		"other":      {"thing Bar {"},
	} {
		text := samples[name]
		var sections []int
		for size := 10; size < 400; size += 3 {
			for c := range parseMore(t, "code", chunktest.Limits{Unit: "chars", Size: size}, fmt.Sprintf(`,"language":%q`, name)).Split(text) {
				if c.Boundary == chunk.Section && !slices.Contains(sections, c.End) {
					sections = append(sections, c.End)
				}
			}
		}
		slices.Sort(sections)
		var got []string
		for _, at := range sections {
			line, _, _ := strings.Cut(text[at:], "\n")
			got = append(got, line)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestCodeCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, language string
		size           int
		more           string
		text           string
		want           []string
	}{
		{
			"methods know their class", "java", 50, "", "/** A. */\nclass A {\n    int f() {\n        return 1;\n    }\n\n    int g() {\n        return 2;\n    }\n}\n",
			[]string{
				`"/** A. */\nclass A {\n" block code`,
				`"    int f() {\n        return 1;\n    }\n\n" block code < declaration "class A {"`,
				`"    int g() {\n        return 2;\n    }\n}\n" end code < declaration "class A {"`,
			},
		},
		{
			"a function above the limit", "go", 45, "", "func f() {\n\ta := 1\n\tb := 2\n\n\tif a {\n\t\tc()\n\t}\n\td()\n}\n",
			[]string{
				`"func f() {\n\ta := 1\n\tb := 2\n\n" paragraph code`,
				`"\tif a {\n\t\tc()\n\t}\n\td()\n}\n" end code < declaration "func f() {"`,
			},
		},
		{
			"the tail of one and the head of the next", "go", 36, "", "func f() {\n\ta := 1\n}\n\nfunc g() {\n\tb := 1\n\tc := 2\n\td := 3\n}\n",
			[]string{
				`"func f() {\n\ta := 1\n}\n\n" section code`,
				`"func g() {\n\tb := 1\n\tc := 2\n" line code`,
				`"\td := 3\n}\n" end code < declaration "func g() {"`,
			},
		},
		{
			"one long line", "javascript", 20, "", "var a=1;f(a, b, c);g(a);h(b)",
			[]string{`"var a=1;f(a, b, " clause code`, `"c);g(a);h(b)" end code`},
		},
		{
			"context in the size", "python", 40, `,"context_in_size":true`, "class A:\n    def f(self):\n        return 1\n    def g(self):\n        return 2\n",
			[]string{
				`"class A:\n" block code`,
				`"    def f(self):\n" line code < declaration "class A:"`,
				`"        return 1\n" line code < declaration "def f(self):" < declaration "class A:"`,
				`"    def g(self):\n" line code < declaration "class A:"`,
				`"        return 2\n" end code < declaration "def g(self):" < declaration "class A:"`,
			},
		},
		{"auto", "auto", 22, "", "package a\n\nfunc f() {}\n\nfunc g() {}\n", []string{
			`"package a\n\n" section code`, `"func f() {}\n\n" section code`, `"func g() {}\n" end code`,
		}},
		{"nothing", "go", 20, "", "\n \n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			more := fmt.Sprintf(`,"language":%q%s`, test.language, test.more)
			var got []string
			for c := range parseMore(t, "code", chunktest.Limits{Unit: "chars", Size: test.size}, more).Split(test.text) {
				got = append(got, told(c, test.text))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestCodeLanguage(t *testing.T) {
	t.Parallel()
	for name, text := range samples {
		if got := chunk.Language(text); got != name {
			t.Errorf("%s is taken for %s", name, got)
		}
	}
	for text, want := range map[string]string{
		"#!/usr/bin/env node\nx": "javascript", "#! /bin/bash -e\n": "shell", "": "other", "Some prose, and more.": "other",
	} {
		if got := chunk.Language(text); got != want {
			t.Errorf("%q is taken for %s, not %s", text, got, want)
		}
	}
	for settings, want := range map[string]string{
		`{"language":"JS"}`:     `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars","language":"javascript"}`,
		`{"language":"c++"}`:    `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars","language":"cpp"}`,
		`{"language":"pyhton"}`: `language: "pyhton" is not a language that is known here (use "python")`,
		`{"language":"klingon"}`: `language: "klingon" is not a language that is known here (use auto, go, python, javascript, typescript, java, ` +
			`c, cpp, rust, ruby, php, shell, sql or other)`,
	} {
		plan, err := chunk.Parse("code", []byte(settings))
		got := string(plan.Settings)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", settings, got, want)
		}
	}
}

func FuzzCode(f *testing.F) {
	names := languages(f)
	for i, text := range codeTexts() {
		f.Add(text.Text[:min(len(text.Text), 600)], uint8(5*i), uint8(3*i), uint8(i), uint8(i), uint8(i))
	}
	for i, name := range names {
		f.Add(samples[name], uint8(100), uint8(0), uint8(3), uint8(0), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how, language uint8) {
		more := fmt.Sprintf(`,"language":%q`, names[int(language)%len(names)])
		fuzzStructure("code", codeWindow, more)(t, text, size, overlap, which, how)
	})
}

// goroot is where Go's own source is.
func goroot(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Go's own parser says where declarations start.
func TestCodeOfGo(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, folder := range []string{".", "../api", filepath.Join(goroot(t), "src/go/ast"), filepath.Join(goroot(t), "src/strings")} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tried++
			for _, size := range []int{200, 700, 2500} {
				checkGo(t, file, string(source), size)
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d files", tried)
	}
}

// checkGo compares the chunks of source with its declarations.
func checkGo(t *testing.T, file, source string, size int) {
	t.Helper()
	fset := gotoken.NewFileSet()
	parsed, err := goparser.ParseFile(fset, file, source, goparser.ParseComments|goparser.SkipObjectResolution)
	if err != nil {
		return
	}
	starts := map[int]bool{}
	var decls []chunk.Span
	for _, d := range parsed.Decls {
		from := d.Pos()
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		case *ast.GenDecl:
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		}
		sp := chunk.Span{Start: fset.Position(from).Offset, End: fset.Position(d.End()).Offset}
		if at := fset.PositionFor(from, false); at.Column > 1 { // several in a line
			return
		}
		sp.Start, sp.End = fset.PositionFor(from, false).Offset, fset.PositionFor(d.End(), false).Offset
		starts[sp.Start] = true
		decls = append(decls, sp)
	}
	pkg := parsed.Package
	if parsed.Doc != nil {
		pkg = parsed.Doc.Pos()
	}
	starts[fset.PositionFor(pkg, false).Offset] = true
	s := parseMore(t, "code", chunktest.Limits{Unit: "bytes", Size: size}, `,"language":"go"`)
	for c := range s.Split(source) {
		if c.Boundary == chunk.Section && !starts[c.End] {
			line, _, _ := strings.Cut(source[c.End:], "\n")
			t.Errorf("%s, size %d: a section starts at byte %d, where no declaration does: %q", file, size, c.End, line)
		}
		for i, d := range decls {
			// The chunk ends inside of d, and has some of the one before.
			if d.Start < c.End && c.End < d.End && i > 0 && c.Start < decls[i-1].End && c.Start < d.Start {
				t.Errorf("%s, size %d: chunk %v has the head of declaration %v and the tail of %v: %q", file, size, c.Span, d, decls[i-1], source[d.Start:min(len(source), d.Start+60)])
			}
			// A declaration that fits is whole.
			if d.Start < c.End && c.End < d.End && d.End-d.Start < size { // with its line end
				t.Errorf("%s, size %d: chunk %v cuts declaration %v, which fits: %q", file, size, c.Span, d, source[d.Start:min(len(source), d.Start+60)])
			}
		}
	}
}

func ExampleParse_code() {
	text := "# Greets.\ndef greet(name):\n    print(name)\n\nclass A:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2\n"
	plan, err := chunk.Parse("code", []byte(`{"chunk_size":60,"language":"python"}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%q ends at a %s", text[c.Start:c.End], c.Boundary)
		for x := c.Context; x != nil; x = x.Up {
			fmt.Printf(", in %q", x.Text)
		}
		fmt.Println()
	}
	// Output:
	// "# Greets.\ndef greet(name):\n    print(name)\n\n" ends at a section
	// "class A:\n    def f(self):\n        return 1\n\n" ends at a block
	// "    def g(self):\n        return 2\n" ends at a end, in "class A:"
}

func BenchmarkCode(b *testing.B) {
	var source strings.Builder
	for _, folder := range []string{".", filepath.Join(goroot(b), "src/net/http")} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			b.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			source.Write(text)
		}
	}
	for _, text := range []struct{ name, language, text string }{
		{"go", "go", source.String()}, {"python", "python", strings.Repeat(samples["python"], 2000)},
		{"java", "java", strings.Repeat(samples["java"], 2000)}, {"prose", "other", chunktest.Prose(1 << 20)},
		{"cjk", "other", chunktest.Han(1 << 20)},
		{"minified", "javascript", strings.Repeat("x=function(){return{a:[1,2,\"b\"]}};", 1<<15)}, {"brackets", "go", strings.Repeat("{", 1<<20)},
	} {
		for _, limits := range []chunktest.Limits{
			{Unit: "chars", Size: 1000}, {Unit: "tokens", Size: 512, Sizer: sizer(b, "cl100k_base")},
		} {
			if limits.Unit == "tokens" && text.name != "go" {
				continue
			}
			b.Run(text.name+"/"+limits.Unit, func(b *testing.B) {
				s := parseMore(b, "code", limits, fmt.Sprintf(`,"language":%q`, text.language))
				benchmarkSplit(b, s, text.text)
			})
		}
	}
}
