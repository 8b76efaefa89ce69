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
var outside = regexp.MustCompile(`^\(\*chunkstream/redisconn\.(?:(?:Commands|Blocking|Feed)\)\.[A-Z]\w*|(?:Commands\)\.(?:do|number|text|get)|Blocking\)\.(?:do|entries)|Tx\)\.(?:now|exec)|Feed\)\.send))$` +
	`|^\(\*os\.(?:File\)\.(?:Write|WriteString|WriteAt|Sync|Close|Truncate|Read|ReadAt|Seek|ReadDir|Chmod|Chown)|Root\)\.\w+)$` +
	`|^os\.(?:Open|OpenFile|Create|CreateTemp|ReadFile|WriteFile|ReadDir|Stat|Lstat|Mkdir|MkdirAll|MkdirTemp|Remove|RemoveAll|Rename|Chmod|Chown|` +
	`Truncate|Link|Symlink|Readlink|Pipe|OpenRoot|CopyFS)$|^path/filepath\.(?:Walk|WalkDir|Glob|EvalSymlinks)$|^crypto/tls\.LoadX509KeyPair$|^syscall\.Statfs$`)

// harmless is what of it cannot fail in a way that matters: these ask nothing of Redis, and a file that was written is synced
// before it is closed.
var harmless = regexp.MustCompile(`\)\.(?:Stats|BigStats|State|Close)$`)

// excused are the calls to the file system that have no case, and why a failure does no harm or cannot be told from another's.
var excused = map[string]string{
	"chunkstream/files above: os.Stat":         "what cannot be looked at is no repository, and the search goes on above it",
	"chunkstream/files with: os.ReadFile":      "an ignore file that cannot be read ignores nothing",
	"chunkstream/files argument: os.Lstat":     "a file that has gone since its name matched is reported as skipped, with the reason",
	"chunkstream/files folder: os.ReadDir":     "a folder that cannot be read is reported as skipped, with the reason; the argument itself ends the run with its name",
	"chunkstream/sandbox confine: os.ReadFile": "the child ends before it has had a text, and the parent starts none without limits",
	"chunkstream/sandbox limited: os.ReadFile": "the child is ended before it has had a text",

	"chunkstream/cmd/chunkstream tokens: os.ReadFile #2":         "auth.TestKeySet: an outage of the key set is bridged by the keys that were read before",
	"chunkstream/cmd/chunkstream Run: os.Lstat":                  "what cannot be looked at cannot be made either, which is said",
	"chunkstream/cmd/chunkstream keep: os.Chmod":                 "one way with keep: os.Rename; the owner of a new file may change it",
	"chunkstream/cmd/chunkstream keep: os.Remove":                "what made the file worthless is said, with this beside it",
	"chunkstream/cmd/chunkstream discard: os.Remove":             "what made the file worthless is said, with this beside it",
	"chunkstream/cmd/chunkstream commit: File.Sync":              "one way with the rename: an error before it leaves both parts, and the output as it was",
	"chunkstream/cmd/chunkstream commit: File.Sync #2":           "one way with the rename: an error before it leaves both parts, and the output as it was",
	"chunkstream/cmd/chunkstream commit: os.Rename #2":           "the manifest's: nothing has been renamed yet, and both parts stay",
	"chunkstream/cmd/chunkstream openResume: path/filepath.Glob": "its only error is a bad pattern, and the name is escaped",
	"chunkstream/cmd/chunkstream config: os.ReadFile":            "one way with config: crypto/tls.LoadX509KeyPair",
	"chunkstream/cmd/chunkstream changed: os.Stat":               "a file that cannot be looked at counts as changed, and reading it says why",
	"chunkstream/cmd/chunkstream Run: os.RemoveAll":              "the demonstration's own temporary folder",
	"chunkstream/cmd/chunkstream freeMiB: syscall.Statfs":        "the doctor says that it could not be looked at",
	"chunkstream/cmd/chunkstream summary: os.Stat":               "a summary without the size of the output",
	"chunkstream/cmd/chunkstream diskSync: os.Create":            "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream diskSync: File.Write":           "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream diskSync: File.Sync":            "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream diskSync: os.Remove":            "a benchmark's own temporary folder",
	"chunkstream/cmd/chunkstream bare: os.Create":                "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream bare: File.Write":               "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream bare: File.Sync":                "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream bare: os.Remove":                "a benchmark's own temporary folder",
	"chunkstream/cmd/chunkstream startChild: os.MkdirTemp":       "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream kill: os.RemoveAll":             "a benchmark's own temporary folder",
	"chunkstream/cmd/chunkstream status: os.ReadFile":            "a benchmark: a figure that is missing",
	"chunkstream/cmd/chunkstream start: os.Pipe":                 "a benchmark: its error ends the measurement",
}

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
	named := regexp.MustCompile(`^([\w ]+: [\w./]+)(?:,.*| #\d+)?$`)
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
		seen, asked := map[string]bool{}, map[ast.Node]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) { // a case that is asked for is not one that is there
			case *ast.BinaryExpr:
				asked[n.X], asked[n.Y] = true, true
			case *ast.CaseClause:
				for _, e := range n.List {
					asked[e] = true
				}
			}
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || asked[n] || seen[lit.Value] {
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

// TestOutsideCalls: each place in the source that asks something of Redis or of the file system has a case in its package's
// tests that lets it fail, and that fails itself when nothing came of it, or a reason in excused. A new one without fails here.
// Calls of Redis fail before and after they were executed, once and for ever; calls of files in the one way that the system
// makes them fail: there is no answer that can be lost.
func TestOutsideCalls(t *testing.T) {
	total, unused := 0, slices.Collect(maps.Keys(excused))
	for _, p := range productCalls(t) {
		cases := p.cases(t)
		for _, site := range slices.Sorted(maps.Keys(p.sites)) {
			total += p.sites[site]
			got, want := cases[site], p.sites[site]
			for n := range want {
				name := p.path + " " + site
				if n > 0 {
					name += fmt.Sprint(" #", n+1)
				}
				if excused[name] != "" {
					unused = slices.DeleteFunc(unused, func(u string) bool { return u == name })
					got++
				}
			}
			if got < want {
				t.Errorf("%s has %d cases for %q, want %d: it fails (on Redis before and after it was executed, once and for ever), and what comes of it",
					p.path, got, site, want)
			}
		}
	}
	if len(unused) > 0 {
		t.Errorf("these are excused and not there: %q", unused)
	}
	if total < 100 {
		t.Errorf("%d calls were found: the search is broken", total)
	}
	fmt.Fprintf(t.Output(), "%d calls\n", total)
}
