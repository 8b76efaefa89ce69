//go:build long

package chunk_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The golden files are what the script makes. It needs node and npm's registry.
func TestLangchainScript(t *testing.T) {
	const from = "testdata/langchain"
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "make-golden.mjs"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"}, {"node", "make-golden.mjs"}} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for _, name := range []string{"documents.json", "golden.json"} {
		want, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the script makes", name)
		}
	}
}
