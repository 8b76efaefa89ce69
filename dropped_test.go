package chunkstream_test

import (
	"encoding/json"
	"errors"
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
	"strings"
	"testing"
)

// mayDrop lists the calls that are right to drop their error, as "file: method", each with its reason.
var mayDrop = map[string]string{
	"live/listen.go: Subscribe":   "a channel that could not be subscribed to now stays wanted, and a gap says when it is",
	"live/listen.go: Unsubscribe": "what stays subscribed ends with the connection, and its messages find nobody",
}

// TestNoRedisResultIsDropped: nobody may ignore the error of a Redis call, not with a bare call, go or defer, and not
// with an underscore. errcheck does not look at the underscore, and there it would forbid too much elsewhere.
func TestNoRedisResultIsDropped(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles",
		"./...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v", list, err)
	}
	exports := map[string]string{}
	type listed struct {
		ImportPath, Export, Dir string
		GoFiles                 []string
	}
	var users []listed
	for decode := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decode.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, "chunkstream/") {
			users = append(users, p)
		}
	}
	set := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	dropped := func(path string, files ...*ast.File) []droppedResult {
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		if _, err := config.Check(path, set, files, info); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return droppedResults(set, files, info)
	}
	checked, unused := 0, maps.Clone(mayDrop)
	for _, p := range users {
		var files []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		for _, d := range dropped(p.ImportPath, files...) {
			use := strings.TrimPrefix(p.ImportPath, "chunkstream/") + "/" + filepath.Base(d.file) + ": " + d.method
			if delete(unused, use); mayDrop[use] == "" {
				t.Errorf("%s:%d: the error of redisconn's %s is dropped", d.file, d.line, d.method)
			}
		}
		checked++
	}
	if checked == 0 || len(unused) != 0 {
		t.Errorf("%d packages checked; allowed and not there: %v", checked, unused)
	}

	// The check finds each line of the fixture that says so, and no other.
	const fixture = "redisconn/testdata/dropped.go"
	source, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(set, fixture, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, d := range dropped("dropped", file) {
		found[d.line] = true
	}
	for n, line := range strings.Split(string(source), "\n") {
		if want := strings.HasSuffix(line, "// dropped"); found[n+1] != want {
			t.Errorf("%s:%d: %s: found %v, want %v", fixture, n+1, strings.TrimSpace(line), found[n+1], want)
		}
	}
}

type droppedResult struct {
	file   string
	line   int
	method string
}

// droppedResults is each call of redisconn whose error goes nowhere. Close is left out: its error is always nil.
func droppedResults(set *token.FileSet, files []*ast.File, info *types.Info) (wrong []droppedResult) {
	redis := func(e ast.Expr) string {
		call, ok := ast.Unparen(e).(*ast.CallExpr)
		if !ok {
			return ""
		}
		name, ok := ast.Unparen(call.Fun).(*ast.Ident)
		if sel, isSel := ast.Unparen(call.Fun).(*ast.SelectorExpr); isSel {
			name, ok = sel.Sel, true
		}
		if !ok {
			return ""
		}
		f, ok := info.Uses[name].(*types.Func)
		if !ok || f.Pkg() == nil || f.Pkg().Path() != "chunkstream/redisconn" || !f.Exported() || f.Name() == "Close" {
			return ""
		}
		results := f.Signature().Results()
		if n := results.Len(); n == 0 || results.At(n-1).Type().String() != "error" {
			return ""
		}
		return f.Name()
	}
	note := func(at ast.Node, name string) {
		if name != "" {
			position := set.Position(at.Pos())
			wrong = append(wrong, droppedResult{position.Filename, position.Line, name})
		}
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ExprStmt:
				note(n, redis(n.X))
			case *ast.GoStmt:
				note(n, redis(n.Call))
			case *ast.DeferStmt:
				note(n, redis(n.Call))
			case *ast.AssignStmt:
				last, ok := n.Lhs[len(n.Lhs)-1].(*ast.Ident)
				if ok && last.Name == "_" && len(n.Rhs) == 1 {
					note(n, redis(n.Rhs[0]))
				}
			}
			return true
		})
	}
	return wrong
}
