package extract_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"chunkstream/extract"
)

// want is the whole specification: the fault that comes first, by the standard library's own judgement.
func want(b []byte) *extract.Error {
	nul := bytes.IndexByte(b, 0)
	bad := -1
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			bad = i
			break
		}
		i += size
	}
	switch {
	case nul < 0 && bad < 0:
		return nil
	case bad >= 0 && (nul < 0 || bad < nul):
		return &extract.Error{Code: extract.InvalidUTF8, Offset: int64(bad)}
	default:
		return &extract.Error{Code: extract.NULByte, Offset: int64(nul)}
	}
}

func check(t *testing.T, name string, in []byte, r io.Reader) {
	t.Helper()
	got, err := io.ReadAll(extract.NewText(r))
	fault := want(in)
	if fault == nil {
		if err != nil || !bytes.Equal(got, in) {
			t.Errorf("%s: %.40q: got %.40q, %v; want it unchanged", name, in, got, err)
		}
		return
	}
	var e *extract.Error
	if !errors.As(err, &e) || *e != *fault {
		t.Errorf("%s: %.40q: got error %v, want %v", name, in, err, fault)
	}
	// A rune whose fault shows only in the next read has been delivered already, at most three bytes of it.
	if n := int64(len(got)); n < fault.Offset || n > fault.Offset+3 || !bytes.Equal(got, in[:n]) {
		t.Errorf("%s: %.40q: got %d bytes before the error, want %d", name, in, n, fault.Offset)
	}
}

func checkAll(t *testing.T, in []byte) {
	t.Helper()
	check(t, "whole", in, bytes.NewReader(in))
	check(t, "one byte a read", in, iotest.OneByteReader(bytes.NewReader(in)))
	check(t, "half reads", in, iotest.HalfReader(bytes.NewReader(in)))
	check(t, "error with the last data", in, iotest.DataErrReader(bytes.NewReader(in)))
	for cut := 1; cut < min(len(in), 12); cut++ {
		check(t, "cut", in, io.MultiReader(bytes.NewReader(in[:cut]), bytes.NewReader(in[cut:])))
	}
}

var cases = []string{
	"", "a", "plain ASCII", "ä", "€", "😀", "a€b😀c", "\ufeffBOM stays", "\uFFFD is a rune like any other",
	"\x00", "a\x00b", "€\x00", "\x80", "a\x80", "\xc3", "a\xe2\x82", "😀\xf0\x9f\x98", "\xf0\x9f\x98\x00",
	"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5", "\xffabc", "ok\xe2\x28\xa1", "\xe2\x82\xe2\x82\xac",
	"\x00\xff", "\xff\x00", strings.Repeat("x", 511) + "€" + strings.Repeat("y", 600),
	strings.Repeat("x", 511) + "\xe2\x82" + strings.Repeat("y", 600),
}

func TestTextAgreesWithTheStandardLibrary(t *testing.T) {
	for _, c := range cases {
		checkAll(t, []byte(c))
	}
}

func FuzzText(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if (want(in) == nil) != (utf8.Valid(in) && bytes.IndexByte(in, 0) < 0) {
			t.Fatalf("the test's own specification disagrees with utf8.Valid on %q", in)
		}
		checkAll(t, in)
	})
}

func TestTextReturnsTheReadersErrorAsItIs(t *testing.T) {
	broken := errors.New("connection lost")
	r := extract.NewText(io.MultiReader(strings.NewReader("a\xe2\x82"), iotest.ErrReader(broken)))
	got, err := io.ReadAll(r)
	if err != broken || string(got) != "a\xe2\x82" {
		t.Errorf("got %q, %v; want the bytes and %v", got, err, broken)
	}
	if _, again := r.Read(make([]byte, 8)); again != broken {
		t.Errorf("a later Read: got %v, want %v", again, broken)
	}
}

func TestTextTakesMegabytes(t *testing.T) {
	in := []byte(strings.Repeat("Grüße aus Köln, 你好 und 😀. ", 50_000))
	check(t, "1.9 MB", in, bytes.NewReader(in))
	in[len(in)-7] = 0xff
	check(t, "1.9 MB with a fault near its end", in, bytes.NewReader(in))
}

func BenchmarkText(b *testing.B) {
	for name, in := range map[string]string{
		"ascii": strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 200_000),
		"cjk":   strings.Repeat("敏捷的棕色狐狸跳过懒狗。", 200_000),
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard},
					struct{ io.Reader }{extract.NewText(strings.NewReader(in))}, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
