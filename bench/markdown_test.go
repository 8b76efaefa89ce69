package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"chunkstream/chunk"
)

// parsed is what goldmark finds in a Markdown document, by where it starts in lines.
type parsed struct {
	inside   []chunk.Span // code and tables: from behind the start of their first line to the start of their last one
	headings []string     // of the top level: level and text
}

func goldmarkBlocks(doc string) (b parsed) {
	source := []byte(doc)
	root := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader(source))
	lineStart := func(i int) int { return strings.LastIndexByte(doc[:i], '\n') + 1 }
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering || n.Type() == ast.TypeInline {
			return ast.WalkSkipChildren, nil
		}
		switch n := n.(type) {
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			if l := n.Lines(); l.Len() > 0 {
				first, last := lineStart(l.At(0).Start), lineStart(l.At(l.Len()-1).Start)
				if n.Kind() == ast.KindFencedCodeBlock { // its first line is above
					first--
				}
				b.inside = append(b.inside, chunk.Span{Start: first, End: last})
			}
		case *tables.Table:
			first, last := -1, 0
			_ = ast.Walk(n, func(c ast.Node, entering bool) (ast.WalkStatus, error) {
				if t, ok := c.(*ast.Text); ok {
					if first < 0 {
						first = lineStart(t.Segment.Start)
					}
					last = max(last, lineStart(t.Segment.Start))
				}
				return ast.WalkContinue, nil
			})
			if first >= 0 {
				b.inside = append(b.inside, chunk.Span{Start: first, End: last})
			}
			return ast.WalkSkipChildren, nil
		case *ast.Heading:
			if n.Parent().Kind() == ast.KindDocument {
				s := ""
				for i := range n.Lines().Len() {
					line := n.Lines().At(i)
					s += string(line.Value(source))
				}
				b.headings = append(b.headings, fmt.Sprint(n.Level, " ", strings.TrimSpace(s)))
			}
		}
		return ast.WalkContinue, nil
	})
	return b
}

// differs says what chunk and goldmark do not agree on.
func differs(t *testing.T, doc string) (problems []string) {
	t.Helper()
	want := goldmarkBlocks(doc)
	for _, size := range []int{8, 25, 60, 400, 1000} {
		plan, err := chunk.Parse("markdown", fmt.Appendf(nil, `{"chunk_size":%d}`, size))
		if err != nil {
			t.Fatal(err)
		}
		starts := map[int]chunk.Chunk{}
		for c := range plan.Splitter.Split(doc) {
			if c.Boundary == chunk.Block || c.Boundary == chunk.Section {
				starts[c.End] = c
			}
		}
		for at, c := range starts {
			for _, in := range want.inside {
				if in.Start < at && at <= in.End {
					problems = append(problems, fmt.Sprintf("size %d: %s at %d, inside %q", size, c.Boundary, at, clip(doc[max(0, in.Start):in.End])))
				}
			}
		}
	}
	headings := headingsOf(t, doc)
	if !slices.Equal(headings, want.headings) {
		for i := range max(len(headings), len(want.headings)) {
			g, w := "none", "none"
			if i < len(headings) {
				g = headings[i]
			}
			if i < len(want.headings) {
				w = want.headings[i]
			}
			if g != w {
				problems = append(problems, fmt.Sprintf("heading %d is %q, goldmark's %q", i, g, w))
				break
			}
		}
	}
	return problems
}

// headingsOf finds the headings by what the library says from outside: with split_headings each starts a chunk, and is the
// context of text that follows it.
func headingsOf(t *testing.T, doc string) (headings []string) {
	t.Helper()
	whole, err := chunk.Parse("markdown", []byte(`{"chunk_size":100000000,"unit":"bytes","split_headings":6}`))
	if err != nil {
		t.Fatal(err)
	}
	for c := range whole.Splitter.Split(doc) {
		section := doc[c.Start:c.End]
		plan, err := chunk.Parse("markdown", fmt.Appendf(nil, `{"chunk_size":%d,"unit":"bytes"}`, len(section)+10))
		if err != nil {
			t.Fatal(err)
		}
		var last chunk.Chunk
		for last = range plan.Splitter.Split(section + "\n\n" + strings.Repeat("y", len(section)+9)) {
		}
		for x := last.Context; x != nil; x = x.Up {
			if x.Kind == chunk.Heading {
				words := strings.TrimSpace(strings.ReplaceAll(x.Text, "\r", ""))
				if strings.Trim(words, "#") == "" { // without words it is known by its mark
					words = ""
				}
				headings = append(headings, fmt.Sprint(x.Level, " ", words))
				break
			}
		}
	}
	return headings
}

func clip(s string) string { return s[:min(len(s), 80)] }

// The blocks of real documents are those that a parser of the whole language finds.
func TestMarkdownBlocks(t *testing.T) {
	roots := []string{"/usr/local/go", filepath.Join(defaultCorpus(), "markdown")}
	if out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE").Output(); err == nil {
		roots = append(roots, strings.Fields(string(out))...)
	}
	n := 0
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".md") {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil || len(b) > 1<<20 {
				return nil
			}
			doc := strings.ToValidUTF8(string(b), "")
			if strings.HasPrefix(doc, "---\n") || strings.HasPrefix(doc, "+++\n") {
				return nil // goldmark has no front matter
			}
			n++
			if problems := differs(t, doc); len(problems) > 0 {
				t.Errorf("%s: %s", path, strings.Join(problems, "\n\t"))
			}
			return nil
		})
	}
	if n < 20 {
		t.Errorf("found %d documents in %v", n, roots)
	}
}

// others are examples that are read otherwise here, and why.
var others = map[int]string{
	96:  "what begins with --- is front matter",
	215: "a link reference definition is a paragraph, so it is part of the heading",
	216: "likewise",
}

// The examples of the CommonMark specification.
func TestMarkdownExamples(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yuin/goldmark").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "_test", "spec.json"))
	if err != nil {
		t.Fatal(err)
	}
	var examples []struct {
		Markdown string
		Example  int
	}
	if err := json.Unmarshal(b, &examples); err != nil {
		t.Fatal(err)
	}
	if len(examples) < 600 {
		t.Errorf("found %d examples", len(examples))
	}
	for _, e := range examples {
		_, known := others[e.Example]
		if problems := differs(t, e.Markdown); len(problems) > 0 != known {
			t.Errorf("example %d %q: %s", e.Example, e.Markdown, strings.Join(problems, "\n\t"))
		}
	}
}
