package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBugsFit: each bug can still be planted in the code as it is. When it cannot, the code around it has changed: give
// the bug in bugs.go the shape that it would have now.
func TestBugsFit(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, b := range bugs {
		if names[b.name()] {
			t.Errorf("two bugs have the name %s", b.name())
		}
		names[b.name()] = true
		files, err := b.altered(root)
		if err != nil {
			t.Error(err)
		}
		for name, text := range files {
			was, err := os.ReadFile(filepath.Join(root, name))
			if err != nil || string(was) == text {
				t.Errorf("bug %s changes nothing in %s (%v)", b.name(), name, err)
			}
		}
		if (b.found.chaos == "") == (b.found.pkg == "") || b.what == "" {
			t.Errorf("bug %s: say what it is, and what finds it", b.name())
		}
	}
}
