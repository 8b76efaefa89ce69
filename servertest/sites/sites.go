// Package sites finds where the product asks something of Redis or of the file system, by type-checking its sources, and builds
// the program so that it makes a note of each such place that fails. For tests.
package sites

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// outside is what of the product can fail because of Redis or of the file system, by the full name of what is called.
var outside = regexp.MustCompile(`^\(\*chunkstream/redisconn\.(?:(?:Commands|Blocking|Feed)\)\.[A-Z]\w*|(?:Commands\)\.(?:do|number|text|get)|Blocking\)\.(?:do|entries)|Tx\)\.(?:now|exec)|Feed\)\.send))$` +
	`|^\(\*os\.(?:File\)\.(?:Write|WriteString|WriteAt|Sync|Close|Truncate|Read|ReadAt|Seek|ReadDir|Chmod|Chown)|Root\)\.\w+)$` +
	`|^os\.(?:Open|OpenFile|Create|CreateTemp|ReadFile|WriteFile|ReadDir|Stat|Lstat|Mkdir|MkdirAll|MkdirTemp|Remove|RemoveAll|Rename|Chmod|Chown|` +
	`Truncate|Link|Symlink|Readlink|Pipe|OpenRoot|CopyFS)$|^path/filepath\.(?:Walk|WalkDir|Glob|EvalSymlinks)$|^crypto/tls\.LoadX509KeyPair$|^syscall\.Statfs$`)

// harmless is what of it cannot fail in a way that matters: these ask nothing of Redis, and a file that was written is synced
// before it is closed.
var harmless = regexp.MustCompile(`\)\.(?:Stats|BigStats|State|Close)$`)

// inside are the functions of redisconn that each of its calls goes through; the cases are those of their callers.
var inside = []string{"do", "number", "text", "get", "entries", "send"}

// Package is a package of the product that has calls to the outside.
type Package struct {
	Path, Dir string
	Calls     []Call
	name      string
}

// Call is one of them.
type Call struct {
	In     string // the function it stands in, or "a variable"
	Callee string // such as "os.Open" or "File.Write"
	N      int    // the N-th of this callee in functions of this name, from 1
	File   bool   // it asks the file system, not Redis

	path       string // the source
	start, end int    // of the call
	results    int
	deferred   bool // it is what defer or go starts
}

// Site is the call without its number.
func (c Call) Site() string { return c.In + ": " + c.Callee }

// Name is the call within its package: "function: callee", from the second on with " #2".
func (c Call) Name() string {
	if c.N == 1 {
		return c.Site()
	}
	return fmt.Sprintf("%s #%d", c.Site(), c.N)
}

// Find type-checks the packages of the module that are the product and gives all their calls to the outside, in the order of
// the sources.
func Find(ctx context.Context) (all []Package, err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-f",
		"{{.ImportPath}}\t{{.Export}}\t{{.Dir}}\t{{.Name}}\t{{join .GoFiles \" \"}}", "chunkstream/...").Output()
	if err != nil {
		return nil, fmt.Errorf("sites: go list: %w", err)
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
		p := Package{Path: f[0], Dir: f[2], name: f[3]}
		if err := p.read(set, imports, strings.Fields(f[4])); err != nil {
			return nil, fmt.Errorf("sites: %w", err)
		}
		if len(p.Calls) > 0 {
			all = append(all, p)
		}
	}
	return all, nil
}

func (p *Package) read(set *token.FileSet, imports types.Importer, names []string) error {
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	if _, err := (&types.Config{Importer: imports}).Check(p.Path, set, files, info); err != nil {
		return err
	}
	count := map[string]int{}
	for _, file := range files {
		for _, d := range file.Decls {
			in := "a variable"
			if f, ok := d.(*ast.FuncDecl); ok {
				in = f.Name.Name
			}
			if p.Path == "chunkstream/redisconn" && slices.Contains(inside, in) {
				continue
			}
			calls, deferred := map[ast.Expr]*ast.CallExpr{}, map[*ast.CallExpr]bool{}
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					calls[n.Fun] = n
				case *ast.DeferStmt:
					deferred[n.Call] = true
				case *ast.GoStmt:
					deferred[n.Call] = true
				case *ast.SelectorExpr:
					f, ok := info.Uses[n.Sel].(*types.Func)
					if !ok || f.Pkg() == nil || !outside.MatchString(f.FullName()) || harmless.MatchString(f.FullName()) {
						return true
					}
					name := strings.TrimPrefix(f.FullName(), "(*"+f.Pkg().Path()+".")
					c := Call{
						In: in, Callee: strings.Replace(name, ").", ".", 1), File: !strings.HasPrefix(f.Pkg().Path(), "chunkstream"),
						path: set.Position(n.Pos()).Filename, results: f.Signature().Results().Len(),
					}
					count[c.Site()]++
					c.N = count[c.Site()]
					if call := calls[n]; call != nil {
						c.start, c.end, c.deferred = set.Position(call.Pos()).Offset, set.Position(call.End()).Offset, deferred[call]
					}
					p.Calls = append(p.Calls, c)
				}
				return true
			})
		}
	}
	return nil
}

// Notes is the variable of the environment that names a file, to which the program that Build makes adds a line for each call of the
// file system that failed with EIO: its package, a space, and its name.
const Notes = "CHUNKSTREAM_TEST_SITES"

// Build builds the program as the file out so that it keeps notes. Calls that nothing could be put around are given in unnoted.
func Build(ctx context.Context, packages []Package, out string) (unnoted []string, err error) {
	dir, err := os.MkdirTemp("", "sites-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	replace := map[string]string{}
	for i, p := range packages {
		own := "package " + p.name + "\n\nimport (\n\t\"errors\"\n\t\"os\"\n\t\"syscall\"\n)\n" + note
		added := map[string]map[int]string{} // to the sources, by offset
		for n, c := range p.Calls {
			if !c.File {
				continue
			} else if c.end == 0 || c.deferred {
				unnoted = append(unnoted, p.Path+" "+c.Name())
				continue
			}
			if added[c.path] == nil {
				added[c.path] = map[int]string{}
			}
			added[c.path][c.start], added[c.path][c.end] = fmt.Sprintf("note%d(", n), ")"
			name := fmt.Sprintf("%s %s", p.Path, c.Name())
			own += fmt.Sprintf([]string{
				1: "\nfunc note%d(err error) error { return noteSite(%q, err) }\n",
				2: "\nfunc note%d[T any](v T, err error) (T, error) { return v, noteSite(%q, err) }\n",
				3: "\nfunc note%d[T, U any](v T, w U, err error) (T, U, error) { return v, w, noteSite(%q, err) }\n",
			}[c.results], n, name)
		}
		if len(added) == 0 {
			continue
		}
		sources := map[string][]byte{filepath.Join(p.Dir, "notes_of_sites.go"): []byte(own)}
		for path, texts := range added {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			for at, c := range b {
				sources[path] = append(append(sources[path], texts[at]...), c)
			}
		}
		for path, b := range sources {
			copied := filepath.Join(dir, fmt.Sprintf("%d_%s", i, filepath.Base(path)))
			if err := os.WriteFile(copied, b, 0o600); err != nil {
				return nil, err
			}
			replace[path] = copied
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", file, "-o", out, "chunkstream/cmd/chunkstream")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sites: go build: %w: %s", err, said)
	}
	return unnoted, nil
}

// note is what a package gets beside its calls.
const note = `
func noteSite(site string, err error) error {
	if errors.Is(err, syscall.EIO) {
		if f, ferr := os.OpenFile(os.Getenv("` + Notes + `"), os.O_APPEND|os.O_WRONLY, 0); ferr == nil {
			_, _ = f.WriteString(site + "\n")
			_ = f.Close()
		}
	}
	return err
}
`
