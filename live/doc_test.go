package live_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// constants returns the values of a package's exported constants of one type, by name.
func constants(t *testing.T, dir, typeName string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), dir+"/"+f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if named, ok := spec.Type.(*ast.Ident); ok && named.Name == typeName {
				if v, ok := spec.Values[0].(*ast.BasicLit); ok {
					out[spec.Names[0].Name] = v.Value
				}
			}
			return true
		})
	}
	return out
}

// docs/events.md must name every event type and every close code there is.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	types, codes := constants(t, "../event", "Type"), constants(t, ".", "CloseCode")
	if len(types) != 12 || len(codes) != 8 {
		t.Errorf("found %d types and %d codes; want 12 and 8: is this test still looking in the right place?",
			len(types), len(codes))
	}
	for name, value := range types {
		value, err := strconv.Unquote(value)
		if err != nil || !strings.Contains(string(text), "| `"+value+"` |") {
			t.Errorf("event.%s: no row for %q (%v)", name, value, err)
		}
	}
	for name, value := range codes {
		if !strings.Contains(string(text), "\n| "+value+" |") {
			t.Errorf("live.%s: no row for %s", name, value)
		}
	}
}
