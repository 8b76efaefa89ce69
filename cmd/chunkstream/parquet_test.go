package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// Files that are cut side by side come into one Parquet file in their order, with the chunks that JSON Lines has.
func TestChunkParquet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	texts := map[string]string{}
	for i := range 12 {
		texts[fmt.Sprintf("docs/%02d.txt", i)] = strings.Repeat(fmt.Sprintf("Sentence %d of a text. ", i), 40*(12-i))
	}
	write(t, dir, texts)
	lines, errs, code := cli(t, dir, "", "chunk", "docs", "--chunk-size", "50", "--json")
	if code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	if _, errs, code := cli(t, dir, "", "chunk", "docs", "--chunk-size", "50", "-o", "all.parquet", "-j", "8"); code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	type row struct {
		ID       string `parquet:"id"`
		Document string `parquet:"document,dict"`
		Index    int64  `parquet:"index"`
		Text     string `parquet:"text,optional"`
	}
	rows, err := parquet.ReadFile[row](filepath.Join(dir, "all.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	want := linesOf(t, lines)
	if len(rows) != len(want) {
		t.Fatalf("got %d rows, want %d", len(rows), len(want))
	}
	for i, r := range rows {
		if w := want[i]; r.ID != w.ID || r.Document != w.Document || r.Index != int64(w.Index) || r.Text != w.Text {
			t.Fatalf("row %d: got %+v, want %+v", i, r, w)
		}
	}
	piped, errs, code := cli(t, dir, "", "chunk", "docs", "--chunk-size", "50", "--to", "parquet")
	if whole, err := os.ReadFile(filepath.Join(dir, "all.parquet")); code != 0 || err != nil || piped != string(whole) {
		t.Errorf("%d: %s: standard output has %d other bytes than the file's %d: %v", code, errs, len(piped), len(whole), err)
	}
}
