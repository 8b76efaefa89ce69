package token_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chunkstream/chunk/chunktest"
	"chunkstream/token"
)

// samples are texts to measure on: ours, and every .txt file in the folder that CHUNKSTREAM_CORPUS names.
func samples(tb testing.TB) (texts []chunktest.Text) {
	tb.Helper()
	read := func(globs ...string) string {
		var b strings.Builder
		for _, glob := range globs {
			files, err := filepath.Glob(glob)
			if err != nil || len(files) == 0 {
				tb.Fatal(glob, err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					tb.Fatal(err)
				}
				b.Write(text)
			}
		}
		return b.String()
	}
	texts = []chunktest.Text{
		{Name: "docs", Text: read("../*.md", "../docs/*.md", "../docs/decisions/*.md")},
		{Name: "code", Text: read("../*/*.go")},
		{Name: "han", Text: chunktest.Han(1 << 20)},
	}
	if folder := os.Getenv("CHUNKSTREAM_CORPUS"); folder != "" {
		files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
		if err != nil {
			tb.Fatal(err)
		}
		for _, file := range files {
			texts = append(texts, chunktest.Text{Name: filepath.Base(file), Text: read(file)})
		}
	}
	return texts
}

func BenchmarkCount(b *testing.B) {
	for _, name := range names {
		e := get(b, name)
		for _, text := range samples(b) {
			b.Run(name+"/"+text.Name, func(b *testing.B) {
				b.SetBytes(int64(len(text.Text)))
				b.ReportAllocs()
				for b.Loop() {
					e.Count(text.Text)
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := get(b, "cl100k_base")
	for _, text := range samples(b) {
		b.Run(text.Name, func(b *testing.B) {
			tokens := e.Encode(text.Text)
			b.SetBytes(int64(len(text.Text)))
			for b.Loop() {
				e.Append(tokens[:0], text.Text)
			}
		})
	}
}

func BenchmarkFurthest(b *testing.B) {
	e := get(b, "cl100k_base")
	for _, text := range samples(b) {
		b.Run(text.Name, func(b *testing.B) {
			var marks []token.Mark
			b.SetBytes(int64(len(text.Text)))
			b.ReportAllocs()
			for b.Loop() {
				for at := 0; at < len(text.Text); {
					at, _, marks = e.Furthest(text.Text, at, 512, marks[:0])
				}
			}
		})
	}
}
