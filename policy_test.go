package chunkstream_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// allowed lists the uses of a forbidden thing that are right, as "file: thing", each with its reason.
var allowed = map[string]string{
	"api/keys.go: Secret string":      "the only answer that has the key",
	"api/webhooks.go: Secret string":  "the only answers that have the secret",
	"client/client.go: APIKey string": "what a caller of the client has; it goes into a header and nowhere else",
}

// source is one parsed Go file; its path is relative to the module's root, with slashes.
type source struct {
	path string
	set  *token.FileSet
	file *ast.File
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file of the module, under every build tag.
func sources(t *testing.T) (all []source) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		all = append(all, source{filepath.ToSlash(path), set, file})
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("reading the module's source: %d files, %v", len(all), err)
	}
	return all
}

// parsed is one planted file, for the tests that show that a rule can fail.
func parsed(t *testing.T, path, code string) []source {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return []source{{path, set, file}}
}

// forbidden gives a complaint for every use of pkg.Name or x.Method in the files that rule picks.
func forbidden(all []source, in func(source) bool, match func(x, name string) bool, instead string) (wrong []string) {
	for _, s := range all {
		if !in(s) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := sel.X.(*ast.Ident)
			if x == nil || !match(x.Name, sel.Sel.Name) {
				return true
			}
			use := x.Name + "." + sel.Sel.Name
			if _, ok := allowed[s.path+": "+use]; !ok {
				line := s.set.Position(sel.Pos()).Line
				wrong = append(wrong, fmt.Sprintf("%s:%d: %s: %s", s.path, line, use, instead))
			}
			return true
		})
	}
	return wrong
}

func rootContexts(all []source) []string {
	return forbidden(all, func(s source) bool { return !s.test() && !strings.HasPrefix(s.path, "cmd/") },
		func(x, name string) bool { return x == "context" && (name == "Background" || name == "TODO") },
		"take the context from the caller; work that outlives it needs an owner that ends it")
}

func sleeps(all []source) []string {
	return forbidden(all, func(s source) bool { return !s.test() },
		func(x, name string) bool { return x == "time" && name == "Sleep" },
		"wait for the thing itself, or for a timer together with the context")
}

func skips(all []source) []string {
	return forbidden(all, source.test,
		func(_, name string) bool { return name == "Skip" || name == "Skipf" || name == "SkipNow" },
		"a skipped test proves nothing: make it run, or give long ones the build tag long")
}

// pure packages compute: they start no goroutine (the import table keeps clock, context and logs out of them).
func goroutines(all []source) (wrong []string) {
	pure := []string{"chunk", "check", "token", "extract", "event", "crashpoint"}
	for _, s := range all {
		if s.test() || !slices.Contains(pure, filepath.Dir(s.path)) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				wrong = append(wrong, fmt.Sprintf("%s:%d: a pure package starts no goroutine",
					s.path, s.set.Position(g.Pos()).Line))
			}
			return true
		})
	}
	return wrong
}

// secrets keeps what is to be hidden out of plain strings, which any %v prints: package secret has the type.
func secrets(all []source) (wrong []string) {
	hidden := regexp.MustCompile(`(?i)(secret|password|apikey)s?$`)
	for _, s := range all {
		if s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			made, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range made.Fields.List {
				kind := f.Type
				if list, ok := kind.(*ast.ArrayType); ok {
					kind = list.Elt
				}
				if name, ok := kind.(*ast.Ident); !ok || name.Name != "string" {
					continue
				}
				for _, name := range f.Names {
					if _, ok := allowed[s.path+": "+name.Name+" string"]; hidden.MatchString(name.Name) && !ok {
						wrong = append(wrong, fmt.Sprintf("%s:%d: %s is a string: make it a secret.Text", s.path, s.set.Position(name.Pos()).Line, name.Name))
					}
				}
			}
			return true
		})
	}
	return wrong
}

// docs wants one package comment per package: none hides what it owns, and two drift apart. It follows go doc's
// convention: "Package name …", or "Command name …" for a program.
func docs(all []source) (wrong []string) {
	found := map[string]int{}
	for _, s := range all {
		dir := filepath.Dir(s.path)
		if name := s.file.Name.Name; s.test() && dir != "." || strings.HasSuffix(name, "_test") && dir != "." {
			continue
		} else if doc := s.file.Doc.Text(); doc == "" {
			found[dir] += 0
		} else if found[dir]++; !strings.HasPrefix(doc, "Package "+name+" ") && !strings.HasPrefix(doc, "Command ") {
			wrong = append(wrong, s.path+": the package comment must begin with \"Package "+name+" \"")
		}
	}
	for dir, n := range found {
		if n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s: %d package comments, want 1", dir, n))
		}
	}
	return wrong
}

func TestPolicies(t *testing.T) {
	all := sources(t)
	for name, rule := range rules {
		for _, complaint := range rule(all) {
			t.Errorf("%s: %s", name, complaint)
		}
	}
	for use, reason := range allowed {
		path, thing, _ := strings.Cut(use, ": ")
		if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), thing) || reason == "" {
			t.Errorf("allowed[%q] allows nothing that exists, or gives no reason", use)
		}
	}
}

var rules = map[string]func([]source) []string{
	"root contexts": rootContexts, "sleeps": sleeps, "skips": skips, "goroutines": goroutines, "package docs": docs, "secrets": secrets,
}

// TestPoliciesCanFail plants a fault for each rule, and the same thing where it is right.
func TestPoliciesCanFail(t *testing.T) {
	const doc = "// Package p is planted.\npackage p\n"
	for _, c := range []struct{ rule, path, code string }{
		{"root contexts", "worker/p.go", doc + "func f() { g(context.Background()) }"},
		{"root contexts", "live/p.go", doc + "var f = context.TODO"},
		{"sleeps", "store/p.go", doc + "func f() { time.Sleep(1) }"},
		{"skips", "store/p_test.go", doc + "func TestX(t *testing.T) { t.Skip() }"},
		{"skips", "store/p_test.go", doc + "func TestX(tb testing.TB) { if true { tb.Skipf(\"\") } }"},
		{"goroutines", "chunk/p.go", doc + "func f() { go f() }"},
		{"secrets", "store/p.go", doc + "type t struct { a int; signingSecret string }"},
		{"secrets", "auth/p.go", doc + "func f() { var _ struct { Passwords []string } }"},
		{"package docs", "store/p.go", "package p"},
		{"package docs", "store/p.go", "// Something else.\npackage p"},
	} {
		if got := rules[c.rule](parsed(t, c.path, c.code)); len(got) != 1 {
			t.Errorf("%s did not see %q in %s: got %q", c.rule, c.code, c.path, got)
		}
	}
	for _, c := range []struct{ rule, path, code string }{
		{"root contexts", "cmd/chunkstream/p.go", doc + "func main() { f(context.Background()) }"},
		{"root contexts", "worker/p_test.go", doc + "func f() { g(context.Background()) }"},
		{"goroutines", "live/p.go", doc + "func f() { go f() }"},
		{"secrets", "store/p.go", doc + "type t struct { Secret secret.Text; SecretFile string; HasPassword bool }"},
		{"package docs", "cmd/p/p.go", "// Command p is planted.\npackage main"},
	} {
		if got := rules[c.rule](parsed(t, c.path, c.code)); len(got) != 0 {
			t.Errorf("%s refused %q in %s: got %q", c.rule, c.code, c.path, got)
		}
	}
	two := append(parsed(t, "store/p.go", doc), parsed(t, "store/q.go", doc)...)
	if got := docs(two); len(got) != 1 {
		t.Errorf("package docs did not see two comments: got %q", got)
	}
}

var replaces = regexp.MustCompile(`(?m)^\s*(replace\b|.*=>)`)

// TestNoReplace: a replaced module builds here and nowhere else (go install of a module with one is refused).
func TestNoReplace(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if at := replaces.Find(b); at != nil {
		t.Errorf("go.mod: %q: use the published module", at)
	}
	for _, planted := range []string{"module m\n\nreplace a => b\n", "module m\nreplace (\n\ta v1 => ../b\n)\n"} {
		if replaces.FindString(planted) == "" {
			t.Errorf("did not see the replacement in %q", planted)
		}
	}
}
