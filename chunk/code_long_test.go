//go:build long

package chunk_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// All of Go's own source.
func TestCodeOfGoRoot(t *testing.T) {
	t.Parallel()
	tried := 0
	err := filepath.WalkDir(filepath.Join(goroot(t), "src"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tried++
		for _, size := range []int{300, 1000} {
			checkGo(t, path, string(source), size)
		}
		return nil
	})
	if err != nil || tried < 1000 {
		t.Errorf("%d files, %v", tried, err)
	}
}

// pythonDeclarations prints, for each file it is given, where the lines of its functions and classes start and end.
const pythonDeclarations = `
import ast, json, sys
for name in sys.argv[1:]:
    try:
        text = open(name, encoding="utf-8", newline="").read()
        tree = ast.parse(text)
    except (SyntaxError, UnicodeDecodeError, ValueError):
        continue
    if "\r" in text or "\f" in text:
        continue
    lines = [0]
    for line in text.encode().split(b"\n"):
        lines.append(lines[-1] + len(line) + 1)
    spans = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno] + [d.lineno for d in node.decorator_list])
            spans.append({"Start": lines[first - 1], "End": lines[node.end_lineno] - 1})
    print(json.dumps({"name": name, "spans": spans}))
`

// Python's own parser, on its library.
func TestCodeOfPython(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("/usr/lib/python3*/*.py")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", append([]string{"-c", pythonDeclarations}, files...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	sections, wrong := 0, 0
	for line := range strings.Lines(string(out)) {
		var file struct {
			Name  string
			Spans []chunk.Span
		}
		if err := json.Unmarshal([]byte(line), &file); err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(file.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{500, 1500} {
			for c := range parseMore(t, "code", chunktest.Limits{Unit: "bytes", Size: size}, `,"language":"python"`).Split(string(source)) {
				inside := false
				for i, d := range file.Spans {
					inside = inside || d.Start < c.End && c.End < d.End
					if i > 0 && c.Start < file.Spans[i-1].End && c.Start < d.Start && d.Start < c.End && c.End < d.End {
						t.Errorf("%s: chunk %v has the head of %v and the tail of %v", file.Name, c.Span, d, file.Spans[i-1])
					}
				}
				if c.Boundary == chunk.Section {
					if sections++; inside {
						wrong++
						line, _, _ := strings.Cut(string(source[c.End:]), "\n")
						t.Errorf("%s: a section at byte %d, inside of a declaration: %q", file.Name, c.End, line)
					}
				}
			}
		}
	}
	if sections < 1000 {
		t.Errorf("only %d sections", sections)
	}
	t.Logf("%d sections, %d of them inside of a declaration", sections, wrong)
}
