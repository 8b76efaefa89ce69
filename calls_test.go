package chunkstream_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chunkstream/servertest/sites"
)

// excused are the calls to the file system that no test lets fail, and why a failure does no harm or cannot be told from another's.
var excused = map[string]string{
	"chunkstream/sandbox confine: os.ReadFile": "of /proc: the child ends before it has had a text, and the parent starts none without limits",
	"chunkstream/sandbox limited: os.ReadFile": "of /proc: the child is ended before it has had a text",

	"chunkstream/cmd/chunkstream tokens: os.ReadFile #2":   "auth.TestKeySet: an outage of the key set is bridged by the keys that were read before",
	"chunkstream/cmd/chunkstream changed: os.Stat":         "a file that cannot be looked at counts as changed, and reading it says why",
	"chunkstream/cmd/chunkstream diskSync: os.Create":      "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream diskSync: File.Write":     "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream diskSync: File.Sync":      "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream diskSync: os.Remove":      "a benchmark's own temporary folder",
	"chunkstream/cmd/chunkstream bare: os.Create":          "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream bare: File.Write":         "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream bare: File.Sync":          "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream bare: os.Remove":          "a benchmark's own temporary folder",
	"chunkstream/cmd/chunkstream startChild: os.MkdirTemp": "a benchmark: its error ends the measurement",
	"chunkstream/cmd/chunkstream kill: os.RemoveAll":       "a benchmark's own temporary folder",
	"chunkstream/cmd/chunkstream status: os.ReadFile":      "a benchmark: a figure that is missing",
	"chunkstream/cmd/chunkstream start: os.Pipe":           "a benchmark: its error ends the measurement",
}

// failed are the calls to the file system of which the list says that main.TestDiskCommands has seen them fail; it fails when
// the list is not what it has seen.
func failed(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("cmd/chunkstream/testdata/disk-calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// cases counts the texts in a package's tests that name a site, "function: callee", alone or with more behind a comma or
// a number.
func cases(t *testing.T, p sites.Package) map[string]int {
	t.Helper()
	named := regexp.MustCompile(`^([\w ]+: [\w./]+)(?:,.*| #\d+)?$`)
	found := map[string]int{}
	tests, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
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

// TestOutsideCalls: each place in the source that asks something of Redis has a case in its package's tests that lets it fail, and that
// fails itself when nothing came of it. Each that asks something of the file system has failed on a disk that lets every operation fail,
// and was noted by the program itself, or has a reason in excused. Both fail before and after they were carried out, once and for
// ever. A new one without fails here.
func TestOutsideCalls(t *testing.T) {
	packages, err := sites.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	redis, files := 0, 0
	listed, reasons := failed(t), maps.Clone(excused)
	for _, p := range packages {
		want, got := map[string]int{}, cases(t, p)
		for _, c := range p.Calls {
			if !c.File {
				redis++
				want[c.Site()]++
				continue
			}
			files++
			name := p.Path + " " + c.Name()
			i, excused := slices.Index(listed, name), reasons[name] != ""
			if i >= 0 {
				listed = slices.Delete(listed, i, i+1)
			}
			delete(reasons, name)
			if i >= 0 == excused {
				t.Errorf("%s has failed nowhere: TestDiskCommands needs a case that comes to it, and its list the name; or it is listed and excused", name)
			}
		}
		for _, site := range slices.Sorted(maps.Keys(want)) {
			if got[site] < want[site] {
				t.Errorf("%s has %d cases for %q, want %d: it fails before and after it was executed, once and for ever, and what comes of it",
					p.Path, got[site], site, want[site])
			}
		}
	}
	if len(listed) > 0 || len(reasons) > 0 {
		t.Errorf("these are listed or excused and not there: %q %q", listed, slices.Sorted(maps.Keys(reasons)))
	}
	if redis < 50 || files < 50 {
		t.Errorf("%d calls to Redis and %d to the file system were found: the search is broken", redis, files)
	}
	fmt.Fprintf(t.Output(), "%d calls to Redis; %d to the file system, %d of them excused\n", redis, files, len(excused))
}
