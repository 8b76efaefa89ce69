//go:build long

package export_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chunkstream/export"
)

// Every format is read by a program that it is for: DuckDB, LangChain.js, and Postgres with pgvector (PGlite). It needs
// node, and npm's registry the first time.
func TestReaders(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "chunkstream-readers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		return out
	}
	same := true
	for _, name := range []string{"package.json", "package-lock.json", "read.mjs"} {
		want, err := os.ReadFile(filepath.Join("testdata/readers", name))
		if err != nil {
			t.Fatal(err)
		}
		have, _ := os.ReadFile(filepath.Join(dir, name)) // none: not the same
		same = same && (name == "read.mjs" || string(have) == string(want))
		if err := os.WriteFile(filepath.Join(dir, name), want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil || !same {
		run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	}
	all, files := hostile(), t.TempDir()
	formats := append(export.Formats(), "parquet")
	for _, format := range formats {
		if err := os.WriteFile(filepath.Join(files, "chunks."+format), written(t, format, all), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string][]struct {
		ID, Text, Strategy string
		Index, Start       json.Number
		Last               json.Number `json:"end_line"`
	}{}
	if err := json.Unmarshal(run("node", "read.mjs", files), &found); err != nil {
		t.Fatal(err)
	}
	for _, format := range formats {
		if format == "text" {
			continue // for people
		}
		if len(found[format]) != len(all) {
			t.Errorf("%s: got %d chunks, want %d", format, len(found[format]), len(all))
			continue
		}
		for i, got := range found[format] {
			text := got.Text
			if bare := strings.TrimLeft(text, "'"); format == "csv" && bare != text && strings.ContainsAny(bare[:min(1, len(bare))], "=+-@\t\r") {
				text = text[1:]
			}
			r := all[i]
			if got.ID != r.ID || text != r.Text || got.Strategy != r.Strategy || got.Index.String() != json.Number(itoa(i)).String() ||
				got.Start.String() != itoa(r.Start) {
				t.Errorf("%s: chunk %d: got %+v, want %q from %d", format, i, got, r.Text, r.Start)
			}
		}
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }
