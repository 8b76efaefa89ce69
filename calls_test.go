package chunkstream_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// outside is what of the product can fail because of Redis or of the file system, by the full name of what is called.
var outside = regexp.MustCompile(`^\(\*chunkstream/redisconn\.(?:(?:Commands|Blocking|Feed)\)\.[A-Z]\w*|(?:Commands\)\.(?:do|number|text|get)|Blocking\)\.(?:do|entries)|Tx\)\.(?:now|exec)|Feed\)\.send))$`)

// harmless is what of it cannot fail in a way that matters: these ask nothing of Redis.
var harmless = regexp.MustCompile(`\)\.(?:Stats|BigStats|State|Close)$`)

// inside are the functions of redisconn that each of its calls goes through; the cases are those of their callers.
var inside = []string{"do", "number", "text", "get", "entries", "send"}

// sourcePackage is a package of the product: its calls to the outside, by function and callee, and how many of each.
type sourcePackage struct {
	path, dir string
	sites     map[string]int
}

// productCalls type-checks the packages of the product and finds all calls to the outside.
func productCalls(t *testing.T) (all []sourcePackage) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f",
		"{{.ImportPath}}\t{{.Export}}\t{{.Dir}}\t{{join .GoFiles \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	exports, lines := map[string]string{}, [][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		exports[f[0]] = f[1]
		if ours := strings.HasPrefix(f[0], "chunkstream/"); ours && !slices.ContainsFunc([]string{"cmd/chaos", "servertest", "packaging"},
			func(other string) bool { return strings.HasPrefix(f[0], "chunkstream/"+other) }) {
			lines = append(lines, f)
		}
	}
	set := token.NewFileSet()
	imports := importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, f := range lines {
		p := sourcePackage{path: f[0], dir: f[2], sites: map[string]int{}}
		var files []*ast.File
		for _, name := range strings.Fields(f[3]) {
			file, err := parser.ParseFile(set, filepath.Join(p.dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		if _, err := (&types.Config{Importer: imports}).Check(p.path, set, files, info); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, d := range file.Decls {
				in := "a variable"
				if f, ok := d.(*ast.FuncDecl); ok {
					in = f.Name.Name
				}
				ast.Inspect(d, func(n ast.Node) bool {
					sel, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					f, ok := info.Uses[sel.Sel].(*types.Func)
					if !ok || f.Pkg() == nil || !outside.MatchString(f.FullName()) || harmless.MatchString(f.FullName()) {
						return true
					}
					if p.path == "chunkstream/redisconn" && slices.Contains(inside, in) {
						return true
					}
					name := strings.TrimPrefix(f.FullName(), "(*"+f.Pkg().Path()+".")
					p.sites[in+": "+strings.Replace(name, ").", ".", 1)]++
					return true
				})
			}
		}
		if len(p.sites) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// cases counts the texts in the package's tests that name a site, "function: callee", alone or with more behind a comma or
// a number.
func (p sourcePackage) cases(t *testing.T) map[string]int {
	t.Helper()
	named := regexp.MustCompile(`^([\w ]+: [\w.]+)(?:,.*| #\d+)?$`)
	found := map[string]int{}
	tests, err := filepath.Glob(filepath.Join(p.dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tests {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || seen[lit.Value] {
				return true
			}
			if m := named.FindStringSubmatch(strings.Trim(lit.Value, "\"`")); m != nil {
				seen[lit.Value] = true
				found[m[1]]++
			}
			return true
		})
	}
	return found
}

// TestOutsideCalls: each place in the source that asks something of Redis has a case in its package's tests that lets it fail,
// and that fails itself when the place was not reached. A new one without a case fails here.
func TestOutsideCalls(t *testing.T) {
	total := 0
	for _, p := range productCalls(t) {
		cases := p.cases(t)
		for _, site := range slices.Sorted(maps.Keys(p.sites)) {
			total += p.sites[site]
			if got, want := cases[site], p.sites[site]; got < want {
				t.Errorf("%s has %d cases for %q, want %d: a failure before the call and after it, once and for ever, and what comes of it",
					p.path, got, site, want)
			}
		}
	}
	if total < 50 {
		t.Errorf("%d calls were found: the search is broken", total)
	}
	fmt.Fprintf(t.Output(), "%d calls\n", total)
}
