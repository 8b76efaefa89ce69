package sandbox_test

import (
	"path/filepath"
	"strings"
	"testing"

	"chunkstream/sandbox"
)

// TestNoFolder ("start: os.MkdirTemp"): without a folder for temporary files the error names it, and once there is one the same
// pool cuts texts.
func TestNoFolder(t *testing.T) {
	const site = "start: os.MkdirTemp"
	there := t.TempDir()
	none := filepath.Join(there, "none")
	t.Setenv("TMPDIR", none)
	p := pool(t, sandbox.Config{Processes: 1, Log: logged(t)})
	plan := plan(t, "hostile", "")
	if _, err := all(p.Split(t.Context(), plan, "a good text", 0)); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("%s: %v does not name the folder", site, err)
	}
	t.Setenv("TMPDIR", there)
	if chunks, err := all(p.Split(t.Context(), plan, "a good text", 0)); err != nil || len(chunks) != 1 {
		t.Errorf("%s: %d chunks, %v, once there is a folder", site, len(chunks), err)
	}
}
