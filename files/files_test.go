package files_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chunkstream/files"
)

// tree makes files, given as "path" or "path: text", in a folder of the test's own.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, n := range names {
		name, text, _ := strings.Cut(n, ": ")
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func find(t *testing.T, root string, o files.Options, args ...string) []string {
	t.Helper()
	for i := range args {
		args[i] = filepath.Join(root, args[i])
	}
	found, _, err := files.Find(args, o)
	if err != nil && !errors.Is(err, files.ErrNothing) {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		rel, err := filepath.Rel(root, f.Path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.ToSlash(rel))
	}
	return names
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := tree(t, "a.md: text", "b/c.md", "b/d.txt", "b/e/f.md", ".hidden/g.md", ".h.md", "big.md: "+strings.Repeat("x", 100))
	if err := os.Symlink("a.md", filepath.Join(root, "link.md")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		o    files.Options
		args []string
		want string
	}{
		{"a folder", files.Options{}, []string{"."}, "a.md b/c.md b/d.txt b/e/f.md big.md"},
		{"hidden", files.Options{Hidden: true}, []string{"."}, ".h.md .hidden/g.md a.md b/c.md b/d.txt b/e/f.md big.md"},
		{"a hidden file that is named", files.Options{}, []string{".h.md"}, ".h.md"},
		{"names", files.Options{Include: []string{"*.md"}}, []string{"."}, "a.md b/c.md b/e/f.md big.md"},
		{"paths", files.Options{Include: []string{"b/**/*.md"}}, []string{"."}, "b/c.md b/e/f.md"},
		{"not", files.Options{Exclude: []string{"*.md", "/b/*.txt"}}, []string{"."}, ""},
		{"size", files.Options{MaxBytes: 99}, []string{"."}, "a.md b/c.md b/d.txt b/e/f.md"},
		{"a large file that is named", files.Options{MaxBytes: 99}, []string{"big.md"}, "big.md"},
		{"each once", files.Options{}, []string{"b/c.md", "b", "b/*.md"}, "b/c.md b/d.txt b/e/f.md"},
		{"a pattern", files.Options{}, []string{"**/*.md"}, "a.md b/c.md b/e/f.md big.md"},
		{"alternatives", files.Options{}, []string{"b/*.{md,txt}"}, "b/c.md b/d.txt"},
		{"a pattern of nothing", files.Options{}, []string{"*.go"}, ""},
		{"a link that is named", files.Options{}, []string{"link.md"}, "link.md"},
	} {
		got := find(t, root, test.o, test.args...)
		want := strings.Fields(test.want)
		if test.name == "a pattern" { // patterns of the shell's kind leave hidden names to those who write the dot
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, ".") })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", test.name, got, want)
		}
	}
	if _, _, err := files.Find([]string{filepath.Join(root, "missing.md")}, files.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
	if _, _, err := files.Find([]string{root}, files.Options{Include: []string{"[a"}}); err == nil || !strings.Contains(err.Error(), `"[a"`) {
		t.Errorf("got %v, want the pattern that is wrong", err)
	}
	_, skipped, err := files.Find([]string{root}, files.Options{MaxBytes: 99})
	if err != nil {
		t.Fatal(err)
	}
	var why []string
	for _, s := range skipped {
		why = append(why, filepath.Base(s.Path)+" "+s.Why)
	}
	if want := []string{".h.md hidden", ".hidden hidden", "big.md too large", "link.md not a regular file"}; !slices.Equal(why, want) {
		t.Errorf("got %q, want %q", why, want)
	}
}

// What is left out is what git leaves out.
func TestIgnoreAsGit(t *testing.T) {
	t.Parallel()
	root := tree(t,
		".gitignore: *.log\n# a comment\n\\#hash\n!keep.log\n/top.md\nbuild/\ndoc/*.txt\n**/deep/x.md\ntrail   \nspace\\ \n{a,b}.md\nfoo/**\n!foo/bar\n[ab]c.md\nq?.md\n\\!bang\n",
		"a.log", "keep.log", "sub/a.log", "sub/keep.log", "top.md", "sub/top.md", "build/x.md", "sub/build/y.md", "sub2/build",
		"doc/a.txt", "doc/sub/a.txt", "x/deep/x.md", "deep/x.md", "trail", "space ", "{a,b}.md", "a.md", "foo/a/b.md", "foo/bar",
		"foo/bar2/c.md", "ac.md", "dc.md", "qx.md", "#hash", "!bang",
		"sub/.gitignore: !a.log\n/only.md\n", "sub/only.md", "sub/in/only.md", "sub/in/.gitignore: *\n!.gitignore\n", "sub/in/z.md",
		"nested/.gitignore: [z\n*.tmp\r\n", "nested/a.tmp", "nested/[z",
	)
	if out, err := exec.CommandContext(t.Context(), "git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	list := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.Trim(string(out), "\x00"), "\x00")
	got := find(t, root, files.Options{Hidden: true}, ".")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	// From a folder below, the same rules hold.
	var below []string
	for _, w := range want {
		if strings.HasPrefix(w, "sub/") {
			below = append(below, w)
		}
	}
	got = find(t, root, files.Options{Hidden: true}, "sub")
	if slices.Sort(got); !slices.Equal(got, below) {
		t.Errorf("below sub: got %q\nwant %q", got, below)
	}
	if got := find(t, root, files.Options{Hidden: true, NoIgnore: true}, "build"); !slices.Equal(got, []string{"build/x.md"}) {
		t.Errorf("got %q without ignore files", got)
	}
}

// TestIgnoreUnreadable: an ignore file that cannot be read leaves out its whole folder, said with its name, and ends the search in the
// argument itself: what it names may be secret.
func TestIgnoreUnreadable(t *testing.T) {
	t.Parallel()
	root := tree(t, "a.md", "sub/b.md")
	if err := os.Symlink(".chunkstreamignore", filepath.Join(root, "sub", ".chunkstreamignore")); err != nil {
		t.Fatal(err)
	}
	found, skipped, err := files.Find([]string{root}, files.Options{})
	if err != nil || len(found) != 1 || len(skipped) != 1 || !strings.HasPrefix(skipped[0].Why, "unreadable: ") ||
		!strings.Contains(skipped[0].Why, filepath.Join("sub", ".chunkstreamignore")) {
		t.Errorf("with: os.ReadFile: found %v, left out %v, %v", found, skipped, err)
	}
	if _, _, err := files.Find([]string{filepath.Join(root, "sub")}, files.Options{}); err == nil || !strings.Contains(err.Error(), ".chunkstreamignore") {
		t.Errorf("with: os.ReadFile, of the argument: %v", err)
	}
	if _, _, err := files.Find([]string{filepath.Join(root, "sub")}, files.Options{NoIgnore: true}); err != nil {
		t.Errorf("without ignore files: %v", err)
	}
}

// TestNotThere: what is named and cannot be looked at ends the search, and the error names it.
func TestNotThere(t *testing.T) {
	for site, name := range map[string]string{
		"argument: os.Stat":               filepath.Join(t.TempDir(), "none"),
		"argument: os.Stat, below a file": filepath.Join("files.go", "none"),
	} {
		if _, _, err := files.Find([]string{name}, files.Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", site, err)
		}
	}
}
