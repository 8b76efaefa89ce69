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
	numbers := map[int]bool{}
	for _, b := range bugs {
		if numbers[b.n] {
			t.Errorf("two bugs have the number %d", b.n)
		}
		numbers[b.n] = true
		files, err := b.altered(root)
		if err != nil {
			t.Error(err)
		}
		for name, text := range files {
			was, err := os.ReadFile(filepath.Join(root, name))
			if err != nil || string(was) == text {
				t.Errorf("bug %d changes nothing in %s (%v)", b.n, name, err)
			}
		}
		if (b.found.chaos == "") == (b.found.pkg == "") || b.what == "" {
			t.Errorf("bug %d: say what it is, and what finds it", b.n)
		}
	}
}
