package extract_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/text/transform"

	"chunkstream/extract"
)

// benchSources has a text in each family of encodings, of about a megabyte.
func benchSources(b *testing.B) map[string][]byte {
	texts := map[string]string{}
	for _, s := range samples(b) {
		for _, charset := range s.charsets {
			texts[charset] = s.text
		}
	}
	texts["utf-16le"] = texts["windows-1251"]
	sources := map[string][]byte{}
	for _, charset := range []string{"windows-1251", "utf-16le", "shift_jis", "gb18030", "euc-kr", "iso-2022-jp"} {
		src := encode(b, charset, texts[charset]+"\n")
		sources[charset] = bytes.Repeat(src, 1<<20/len(src))
	}
	sources["windows-1252"] = []byte(strings.Repeat("Mostly plain text, with a caf\xe9 in it now and then, as files in English have.\n", 13_000))
	return sources
}

// BenchmarkDecode compares Text (with offsets and recognition), NewReader, and golang.org/x/text's decoder, which gives no
// offsets, on the same sources.
func BenchmarkDecode(b *testing.B) {
	for charset, src := range benchSources(b) {
		b.Run(charset+"/text", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, err := extract.Text("x.txt", charset, src, extract.Reject); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(charset+"/reader", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				r, err := extract.NewReader(bytes.NewReader(src), charset, extract.Reject)
				if err != nil {
					b.Fatal(err)
				}
				drain(b, r)
			}
		})
		b.Run(charset+"/xtext", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				drain(b, transform.NewReader(bytes.NewReader(src), peer(b, charset).NewDecoder()))
			}
		})
	}
}

func drain(b *testing.B, r io.Reader) {
	if _, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDetect is a guess about a text longer than what a guess looks at, and one about a short text.
func BenchmarkDetect(b *testing.B) {
	for name, size := range map[string]int{"short": 100, "long": 1 << 20} {
		src := benchSources(b)["windows-1251"]
		src = src[:min(size, len(src))]
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if e, err := extract.Detect("", src); err != nil || e.Name != "windows-1251" {
					b.Fatal(e, err)
				}
			}
		})
	}
}

// BenchmarkOffsets looks up places all over a text whose characters have one and two bytes.
func BenchmarkOffsets(b *testing.B) {
	doc, err := extract.Text("x.txt", "shift_jis", benchSources(b)["shift_jis"], extract.Reject)
	if err != nil {
		b.Fatal(err)
	}
	at := 0
	for b.Loop() {
		at = (at + 104_729) % len(doc.Text)
		doc.Offsets.Text(doc.Offsets.Source(at))
	}
}
