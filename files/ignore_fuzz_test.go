package files

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzIgnore: no line of an ignore file and no path makes matching fail or go on without end; the last rule that matches
// decides, a rule for folders leaves files alone, and a comment or an empty line says nothing.
func FuzzIgnore(f *testing.F) {
	for _, line := range []string{"*.go", "/build/", "!keep", "a/**/b", "**/x/**", "# no", "\\#yes", "\\!yes", "a\\ ", "{a,b}", "[a-", "[!a]*", "/", "**", "***/a?"} {
		f.Add(line, "a/b/x.go", false)
		f.Add(line, "build", true)
	}
	f.Add(strings.Repeat("**/a*", 30), strings.Repeat("a/", 40)+"b", false)
	root, err := filepath.Abs("root")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line, path string, dir bool) {
		r, ok := parseRule(line)
		if said := strings.TrimRight(line, " "); ok && (said == "" || said[0] == '#') {
			t.Fatalf("%q is the rule %+v", line, r)
		}
		r.folder = root
		name := filepath.Join(root, filepath.FromSlash(path))
		left := ok && ruleset{r}.ignores(name, dir)
		if left && (r.negate || r.dirOnly && !dir) {
			t.Fatalf("%q leaves out %q, a folder: %v", line, path, dir)
		}
		if !left {
			return
		}
		back := r
		back.negate = true
		if (ruleset{r, back}).ignores(name, dir) || !(ruleset{back, r}).ignores(name, dir) {
			t.Fatalf("of %q and its opposite not the last decides about %q", line, path)
		}
	})
}
