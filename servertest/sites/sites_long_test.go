//go:build long

package sites

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBuild: the program that makes notes does so, and is else the program.
func TestBuild(t *testing.T) {
	packages, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, notes := filepath.Join(dir, "program"), filepath.Join(dir, "notes")
	unnoted, err := Build(t.Context(), packages, program)
	if err != nil || len(unnoted) > 0 {
		t.Fatalf("%v, nothing could be put around %q", err, unnoted)
	}
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "chunk", "--json", "/proc/self/mem") // reading it is EIO
	cmd.Env = append(os.Environ(), Notes+"="+notes)
	if said, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("it has read what cannot be read: %s", said)
	}
	if got, err := os.ReadFile(notes); err != nil || string(got) != "chunkstream/cmd/chunkstream source: os.ReadFile\n" {
		t.Errorf("it has noted %q, %v", got, err)
	}
}
