package token_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestNoAllocations(t *testing.T) {
	for _, name := range names {
		e := get(t, name)
		text := strings.Repeat(chunktest.Prose(4000)+chunktest.Han(4000)+chunktest.Code(4000), 4)
		marks := make([]token.Mark, 0, 1000)
		e.Count(text)
		got := testing.AllocsPerRun(5, func() {
			e.Count(text)
			_, _, marks = e.Furthest(text, 7, 512, marks[:0])
		})
		if got > 0 {
			t.Errorf("%s: got %v allocations for a count and a search, want none", name, got)
		}
	}
}

// Counting takes time in proportion to the text, whatever it is. Not parallel: it measures time.
func TestLinear(t *testing.T) {
	for _, name := range names[:3] { // the fourth has the rules of the third
		e := get(t, name)
		for unit := range strings.FieldsSeq("a ab1c2def3 # ( . ' A Aa 的 漢字 \u0301 👍 é 0 aaaaaaaab /") {
			linear(t, e, unit)
		}
		for _, unit := range []string{" ", "\n", " \n", "\u3000", "\t ", "a ", "\xff", "\xf0\x9f", "\x00"} {
			linear(t, e, unit)
		}
	}
}

func linear(t *testing.T, e *token.Encoding, unit string) {
	t.Helper()
	small := strings.Repeat(unit, (16<<10)/len(unit))
	large := strings.Repeat(small, 8)
	clock := func(f func()) time.Duration {
		begin := time.Now()
		f()
		return time.Since(begin)
	}
	for what, f := range map[string]func(text string){
		"count": func(text string) { e.Count(text) },
		"search": func(text string) {
			for at := 0; at < len(text); {
				at, _, _ = e.Furthest(text, at, 16, nil)
			}
		},
	} {
		a, b := time.Hour, time.Hour
		ratio := 0.0
		for begin := time.Now(); ratio == 0 || ratio > 13 && time.Since(begin) < 3*time.Second; {
			a = min(a, clock(func() { f(small) }))
			b = min(b, clock(func() { f(large) }))
			ratio = float64(b) / float64(max(a, time.Microsecond))
		}
		if ratio > 13 {
			t.Errorf("%s of %q: eight times the text takes %.1f times as long, above 13", what, unit, ratio)
		}
	}
}
