package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fileCase is a place in the source that asks something of the file system, and how to make it fail for any user.
type fileCase struct {
	site string // function: what it calls
	// prepare makes what is in the way in the folder dir and gives the arguments; D in them stands for dir.
	prepare func(t *testing.T, dir string)
	args    string
	says    string   // what the error names
	stays   []string // what is in dir afterwards, besides in.txt
}

func put(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func folder(names ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		for _, name := range names {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func both(one, other func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) { one(t, dir); other(t, dir) }
}

func loop(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Symlink(name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

var fileCases = []fileCase{
	{"newWholeFile: os.CreateTemp", nil, "chunk D/in.txt -o D/none/out", "none/out cannot be made: no such file", nil},
	{"newWholeFile: os.CreateTemp, below a file", nil, "chunk D/in.txt -o D/in.txt/out", "in.txt/out cannot be made: not a directory", nil},
	{"keep: os.Rename", folder("out/x"), "chunk D/in.txt -o D/out", "out cannot be written: file exists", []string{"out"}},
	{"openResume: os.ReadDir", nil, "chunk D/in.txt -o D/none/out --resume", "none: no such file", nil},
	{"openResume: os.OpenFile #2", folder("out.partial.1.manifest"), "chunk D/in.txt -o D/out --resume", "out.partial.1.manifest: is a directory",
		[]string{"out.partial.1.manifest"}},
	{"openResume: os.Remove", folder("out.partial.1.manifest"), "chunk D/in.txt -o D/out --resume", "out.partial.1.manifest: is a directory",
		[]string{"out.partial.1.manifest"}},
	{"load: os.ReadFile", folder("out.manifest"), "chunk D/in.txt -o D/out --resume", "out.manifest: is a directory", []string{"out.manifest"}},
	{"load: os.Open", both(put("out.manifest", "{}\n"), loop("out")), "chunk D/in.txt -o D/out --resume", "out: too many levels",
		[]string{"out", "out.manifest"}},
	{"commit: os.Rename", folder("out/x"), "chunk D/in.txt -o D/out --resume", "out: file exists", []string{"out", "out.manifest", "out.partial.1"}},
	{"commit: os.Remove", folder("out.partial.1/x"), "chunk D/in.txt -o D/out --resume", "out.partial.1: directory not empty",
		[]string{"out", "out.manifest", "out.partial.1"}},
	{"source: os.ReadFile", nil, "chunk /proc/self/mem -o D/out", "/proc/self/mem: input/output error", []string{"out"}},
	{"readConfigs: os.ReadFile", nil, "--config D/none.yaml config check", "none.yaml: no such file", nil},
	{"Run: os.MkdirAll", put("blocked", ""), "config init --user", "blocked: not a directory", []string{"blocked"}},
	{"tokens: os.ReadFile", nil, "serve --data D/data --jwt-issuer i --jwt-audience a --jwt-public-key D/none.pem", "none.pem: no such file", nil},
	{"tokens: os.Stat", nil, "serve --data D/data --jwt-issuer i --jwt-audience a --jwt-key-set D/none.json", "none.json: no such file", nil},
	{"client: os.ReadFile", nil, "chunk D/in.txt --server http://127.0.0.1:1 --api-key-file D/none.key", "none.key: no such file", nil},
	{"config: crypto/tls.LoadX509KeyPair", nil, "serve --data D/data --tls-cert D/none.pem --tls-key D/none.key", "none.pem: no such file", nil},
	{"texts: path/filepath.WalkDir", nil, "bench chunk D/none", "none: no such file", nil},
	{"texts: os.ReadFile", nil, "bench chunk /proc/self/mem", "/proc/self/mem: input/output error", nil},
	{"Run: os.MkdirTemp", nil, "demo", "blocked: no such file", nil}, // TMPDIR
	{"makeFolder: os.MkdirAll", nil, "serve --listen 127.0.0.1:0 --data D/in.txt/data", "in.txt: not a directory", nil},
	{"makeFolder: os.MkdirAll, of doctor", nil, "doctor --data D/in.txt/data", "in.txt: not a directory", nil},
}

// TestFilesFail: each place that asks something of the file system fails: the error names the file, nothing stands half-written
// under its name, what was there before stays as it was, and nothing else is left.
func TestFilesFail(t *testing.T) {
	t.Parallel()
	for _, c := range fileCases {
		t.Run(c.site, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put("in.txt", strings.Repeat("One more line here.\n", 100))(t, dir)
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			args := strings.Fields(strings.ReplaceAll(c.args, "D/", dir+"/"))
			out, code := programWith(t, []string{"XDG_CONFIG_HOME=" + filepath.Join(dir, "blocked"), "TMPDIR=" + filepath.Join(dir, "blocked")}, args...)
			if code == 0 || !strings.Contains(out, c.says) {
				t.Errorf("it ended with %d and did not say %q: %s", code, c.says, out)
			}
			if strings.Contains(out, ".chunkstream-") {
				t.Errorf("it names a file that nobody asked for: %s", out)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, e := range entries {
				if e.Name() != "in.txt" {
					left = append(left, e.Name())
				}
			}
			if !slices.Equal(left, c.stays) {
				t.Errorf("the folder has %q, want %q", left, c.stays)
			}
		})
	}
}

// TestKeptCutShort: what an earlier run has of a file, and cannot be read to its end, is an error and not an end.
func TestKeptCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put("part", "twelve bytes")(t, dir)
	in, err := os.Open(filepath.Join(dir, "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for bytes, want := range map[int64]string{0: "", 5: "", 12: "", 13: "unexpected EOF", 100: "unexpected EOF"} {
		var got []byte
		err := copyKept(kept{done{Bytes: bytes}, in}, func(b block) error { got = append(got, b.bytes...); return nil })
		if want == "" && (err != nil || string(got) != "twelve bytes"[:bytes]) {
			t.Errorf("%d bytes: %q, %v", bytes, got, err)
		} else if want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "part")) {
			t.Errorf("%d bytes of twelve: %v", bytes, err)
		}
	}
}
