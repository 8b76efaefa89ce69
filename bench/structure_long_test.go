//go:build long

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The pages of the corpus: `go run . corpus` builds it.
func TestHTMLTagsOfCorpus(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := load(filepath.Join(cache, "chunkstream", "corpus"), "html")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, doc := range docs {
		for _, size := range []int{40, 200, 1000, 3000} {
			n += cutTags(t, doc.text, size)
		}
	}
	if n < 10000 {
		t.Errorf("only %d chunks", n)
	}
	t.Logf("%d chunks of %d pages", n, len(docs))
}
