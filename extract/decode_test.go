package extract_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode/utf32"

	"chunkstream/extract"
)

// charsets is every encoding that text is decoded from.
var charsets = strings.Fields(`utf-8 utf-16le utf-16be utf-32le utf-32be
	windows-874 windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1255 windows-1256 windows-1257
	windows-1258 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-10 iso-8859-13
	iso-8859-14 iso-8859-15 iso-8859-16 koi8-r koi8-u ibm866 macintosh x-mac-cyrillic
	shift_jis euc-jp iso-2022-jp euc-kr gb18030 big5`)

// peer is golang.org/x/text's own codec.
func peer(t testing.TB, name string) encoding.Encoding {
	switch name {
	case "utf-32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)
	case "utf-32be":
		return utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)
	}
	e, err := htmlindex.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// checkOffsets holds the map against what it promises, at every byte of both sides.
func checkOffsets(t testing.TB, src []byte, doc *extract.Document) {
	t.Helper()
	text, o, name := doc.Text, doc.Offsets, doc.Encoding.Name
	if len(text) > 0 && o.Source(0) != 0 || o.Source(len(text)) != len(src) || o.Text(len(src)) != len(text) || o.Source(-1) != 0 ||
		o.Source(len(text)+1) != len(src) || o.Text(len(src)+1) != len(text) || len(text) > 0 && o.Text(-1) != 0 {
		t.Fatalf("%s: the ends of %.60q do not map to the ends of %.60q", name, text, src)
	}
	before, n := 0, 0
	for at, r := range text {
		// Of a long text, its start and a character here and there.
		if n++; n > 2000 && n%19 != 0 {
			continue
		}
		from, to := o.Source(at), o.Source(at+utf8.RuneLen(r))
		if from < before || to < from || to > len(src) {
			t.Fatalf("%s: %.60q: the source of the character at %d is %d–%d", name, src, at, from, to)
		}
		for inside := at; inside < at+utf8.RuneLen(r); inside++ {
			if got := o.Source(inside); got != from {
				t.Fatalf("%s: %.60q: Source(%d) = %d inside the character at %d, want %d", name, src, inside, got, at, from)
			}
		}
		for s := from; s < to && name != "iso-2022-jp"; s++ {
			if got := o.Text(s); got != at {
				t.Fatalf("%s: %.60q: Text(%d) = %d, want %d", name, src, s, got, at)
			}
		}
		before = from
	}
}

// checkSlices decodes the source of single characters and of random stretches again.
func checkSlices(t testing.TB, src []byte, doc *extract.Document) {
	t.Helper()
	var bounds []int
	for at := range doc.Text {
		bounds = append(bounds, at)
	}
	bounds = append(bounds, len(doc.Text))
	rng := rand.New(rand.NewPCG(1, uint64(len(src))))
	for i := range min(100, 2*len(bounds)) {
		a := rng.IntN(len(bounds))
		b := min(len(bounds)-1, a+1)
		if i%2 == 1 {
			b = a + rng.IntN(len(bounds)-a)
		}
		from, to := doc.Offsets.Source(bounds[a]), doc.Offsets.Source(bounds[b])
		r, err := extract.NewReader(bytes.NewReader(src[from:to]), doc.Encoding.Name, extract.Reject)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if want := doc.Text[bounds[a]:bounds[b]]; err != nil || string(got) != want {
			t.Fatalf("%s: source %d–%d is %q and decodes to %.60q, %v; the text there is %.60q",
				doc.Encoding.Name, from, to, src[from:min(to, from+60)], got, err, want)
		}
	}
}

// checkStream wants of every way to deliver src what Text made of it.
func checkStream(t testing.TB, charset string, src []byte, policy extract.Policy, text string, want error) {
	t.Helper()
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "one byte a read": iotest.OneByteReader,
		"half reads": iotest.HalfReader, "error with the last data": iotest.DataErrReader,
	} {
		r, err := extract.NewReader(wrap(bytes.NewReader(src)), charset, policy)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if fmt.Sprint(err) != fmt.Sprint(want) || want == nil && string(got) != text || !utf8.Valid(got) {
			t.Fatalf("%s, %s, %v: %.60q\n got %.60q, %v\nwant %.60q, %v", charset, name, policy, src, got, err, text, want)
		}
	}
}

// writable is text of every character that an encoding can write, with its source as x/text writes it: runs of ASCII
// between the characters, alternations and uniform stretches all occur. Every 53rd Han character stands for all;
// every sequence of a table is looked at by TestDecodesAsIconvDoes.
func writable(t testing.TB, name string) (text string, src []byte) {
	e := peer(t, name).NewEncoder()
	rng := rand.New(rand.NewPCG(7, 7))
	var b strings.Builder
	for r := rune(1); r < 0x20000; r++ {
		if r == 0x1b || r >= 0x3100 && r%53 != 0 || r >= 0x700 && r < 0xe00 || r >= 0xe80 && r < 0x2000 || r >= 0xd800 && r < 0xe000 || r >= 0xe000 && r < 0xf900 {
			continue
		}
		c := string(r)
		if _, err := e.String(c); err != nil {
			continue
		}
		b.WriteString(c)
		if rng.IntN(8) == 0 {
			b.WriteString(strings.Repeat("plain ", rng.IntN(20)))
		}
	}
	text = b.String()
	out, err := e.String(text)
	if err != nil {
		t.Fatal(err)
	}
	return text, []byte(out)
}

func TestEveryCharacterOfEveryEncoding(t *testing.T) {
	for _, name := range charsets {
		text, src := writable(t, name)
		if name == "gb18030" || name == "shift_jis" || name == "euc-jp" || name == "iso-2022-jp" || name == "big5" {
			// x/text writes some characters in a sequence that stands for another: two for one, in its own words.
			back, err := peer(t, name).NewDecoder().Bytes(src)
			if err != nil {
				t.Fatal(err)
			}
			text = string(back)
		}
		doc, err := extract.Text("x.txt", name, src, extract.Reject)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if doc.Text != text {
			t.Fatalf("%s: another text than x/text's", name)
		}
		if name != "utf-8" && (doc.Encoding != extract.Encoding{Name: name, By: extract.ByDeclared, Confidence: 1, FirstFault: -1}) {
			t.Errorf("%s: encoding is %+v", name, doc.Encoding)
		}
		checkOffsets(t, src, doc)
		if name != "iso-2022-jp" {
			checkSlices(t, src, doc)
		}
		checkStream(t, name, src[:min(len(src), 3000)], extract.Replace, ours(t, name, src[:min(len(src), 3000)]), nil)
		r, err := extract.NewReader(bytes.NewReader(src), name, extract.Reject)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("%s: the stream differs from the text in memory, or ends with %v", name, err)
		}
	}
}

// ours is Text's own result, for what only has to be the same everywhere.
func ours(t testing.TB, name string, src []byte) string {
	t.Helper()
	doc, err := extract.Text("x.txt", name, src, extract.Replace)
	if err != nil {
		t.Fatal(err)
	}
	return doc.Text
}

// iconvNames are glibc's names for what the WHATWG standard calls otherwise.
var iconvNames = map[string]string{
	"shift_jis": "CP932", "euc-jp": "EUC-JP-MS", "euc-kr": "UHC", "big5": "BIG5-HKSCS", "windows-874": "CP874",
	"ibm866": "IBM866", "x-mac-cyrillic": "MAC-CYRILLIC",
}

// iconvDiffers bounds the characters that glibc decodes otherwise than the WHATWG standard, which rules here: Belarusian Ў
// in KOI8-U, Apple's logo and ∆, the euro of Apple's Cyrillic, IBM's characters in rows 89 to 92 of EUC-JP, what the
// editions of GB 18030 moved, and the punctuation and 30 doubled characters of Big5.
var iconvDiffers = map[string]int{
	"koi8-u": 2, "macintosh": 2, "x-mac-cyrillic": 1, "euc-jp": 375, "gb18030": 30, "big5": 46,
}

// TestDecodesAsIconvDoes gives every sequence of one, two, three (EUC-JP) and a part of those of four bytes (GB18030)
// that is a character here to glibc's iconv, a line each.
func TestDecodesAsIconvDoes(t *testing.T) {
	for _, name := range charsets {
		if strings.HasPrefix(name, "utf-") || name == "iso-2022-jp" {
			continue
		}
		var lines [][]byte
		var want []string
		character := extract.Character(name)
		try := func(seq ...byte) {
			if text, ok := character(seq); ok && text != "\n" {
				lines, want = append(lines, append(seq, '\n')), append(want, text)
			}
		}
		for a := 1; a < 256; a++ {
			try(byte(a))
			for b := 1; b < 256 && a >= 0x80; b++ {
				try(byte(a), byte(b))
				if name == "euc-jp" && a == 0x8f && b >= 0xa0 {
					for c := 0xa0; c < 256; c++ {
						try(byte(a), byte(b), byte(c))
					}
				}
				if name == "gb18030" && b >= '0' && b <= '9' {
					try(byte(a), byte(b), byte(0x81+a%0x7e), byte('0'+a%10))
				}
			}
		}
		as := name
		if n, ok := iconvNames[name]; ok {
			as = n
		}
		iconv := exec.CommandContext(t.Context(), "iconv", "-c", "-f", as, "-t", "UTF-8")
		iconv.Stdin = bytes.NewReader(bytes.Join(lines, nil))
		out, err := iconv.Output() // -c leaves out what iconv cannot decode, and says so with status 1
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(got) != len(want) {
			t.Errorf("%s: iconv gave %d lines for %d", name, len(got), len(want))
			continue
		}
		differs, unknown := 0, 0
		var examples []string
		for i, w := range want {
			if got[i] == "" {
				unknown++
			} else if got[i] != w {
				differs++
				examples = append(examples, fmt.Sprintf("%x: %q, iconv %q", lines[i][:len(lines[i])-1], w, got[i]))
			}
		}
		if differs > iconvDiffers[name] || unknown*10 > len(want) {
			t.Errorf("%s: of %d sequences iconv does not know %d and decodes %d otherwise, want %d at most: %.600s",
				name, len(want), unknown, differs, iconvDiffers[name], strings.Join(examples, "; "))
		}
	}
}

// faulty sources, with what each policy makes of them.
var faults = []struct {
	charset, src     string
	offset           int64
	replaced, asByte string
	undecodable      int64
}{
	{"utf-8", "a\xe9b", 1, "a\ufffdb", "a\u00e9b", 1},
	{"utf-8", "€\xe2\x82", 3, "€\ufffd", "€\u00e2\u0082", 2},
	{"utf-8", "\xf0\x9f\x98\xc3", 0, "\ufffd\ufffd", "\u00f0\u009f\u0098\u00c3", 4},
	{"utf-16le", "a\x00\x3d\xd8b\x00", 2, "a\ufffdb", "a\u003d\u00d8b", 2},
	{"utf-16le", "a\x00\x00\xdc", 2, "a\ufffd", "a\u2400\u00dc", 2},
	{"utf-16be", "\x00a\x00b\x00", 4, "ab\ufffd", "ab\u2400", 1},
	{"utf-16be", "\xd8\x3d", 0, "\ufffd", "\u00d8=", 2},
	{"utf-32be", "\x00\x11\x00\x00\x00\x00\x00a\x01", 0, "\ufffda\ufffd", "\u2400\u0011\u2400\u2400a\u0001", 5},
	{"windows-1253", "\xe1\xd2\xe2", 1, "α\ufffdβ", "α\u00d2β", 1},
	{"shift_jis", "\x82\xa0\x82\"\xa0", 2, "あ\ufffd\"\ufffd", "あ\u0082\"\u00a0", 2},
	{"shift_jis", "\x82\xa0\x82", 2, "あ\ufffd", "あ\u0082", 1},
	{"euc-jp", "\xa4\xa2\x8f\xa1\n", 2, "あ\ufffd\n", "あ\u008f\u00a1\n", 2},
	{"iso-2022-jp", "\x1b$B$\"\xff\x1b(Bx\x1b", 5, "あ\ufffdx\ufffd", "あ\u00ffx\u001b", 2},
	{"euc-kr", "\xb0\xa1\xff", 2, "가\ufffd", "가\u00ff", 1},
	{"gb18030", "\xc4\xe3\x81\x30\x81\n", 2, "你\ufffd0\ufffd\n", "你\u00810\u0081\n", 2},
	{"gb18030", "\xc4\xe3\xff\xff", 2, "你\ufffd\ufffd", "你\u00ff\u00ff", 2},
	{"big5", "\xa7A\xa7\n\x80", 2, "你\ufffd\n\ufffd", "你\u00a7\n\u0080", 2},
}

func TestPolicies(t *testing.T) {
	for _, f := range faults {
		src := []byte(f.src)
		_, err := extract.Text("x.txt", f.charset, src, extract.Reject)
		var e *extract.Error
		if !errors.As(err, &e) || e.Offset != f.offset || (e.Code == extract.InvalidUTF8) != (f.charset == "utf-8") {
			t.Errorf("%s %q: reject says %v, want a fault at %d", f.charset, f.src, err, f.offset)
		}
		checkStream(t, f.charset, src, extract.Reject, "", err)
		for policy, want := range map[extract.Policy]string{extract.Replace: f.replaced, extract.Bytes: f.asByte} {
			doc, err := extract.Text("x.txt", f.charset, src, policy)
			if err != nil || doc.Text != want || doc.Encoding.Undecodable != f.undecodable || doc.Encoding.FirstFault != f.offset {
				t.Errorf("%s %q: %v gives %+v, %v; want %q, %d bytes from %d",
					f.charset, f.src, policy, doc, err, want, f.undecodable, f.offset)
				continue
			}
			checkOffsets(t, src, doc)
			checkStream(t, f.charset, src, policy, want, nil)
		}
	}
}

func TestNULIsRefusedUnderEveryPolicy(t *testing.T) {
	for charset, src := range map[string]string{
		"utf-8": "abc\x00", "windows-1252": "\xe9bc\x00", "utf-16le": "a\x00\x00\x00", "shift_jis": "\x82\xa0a\x00",
	} {
		for _, policy := range []extract.Policy{extract.Reject, extract.Replace, extract.Bytes} {
			_, err := extract.Text("x.txt", charset, []byte(src), policy)
			var e *extract.Error
			if !errors.As(err, &e) || e.Code != extract.NULByte || e.Offset != map[bool]int64{false: 3, true: 2}[charset == "utf-16le"] {
				t.Errorf("%s, %v: got %v, want the NUL's offset", charset, policy, err)
			}
			checkStream(t, charset, []byte(src), policy, "", err)
		}
	}
}

func TestPolicyNames(t *testing.T) {
	for _, p := range []extract.Policy{extract.Reject, extract.Replace, extract.Bytes} {
		if got, err := extract.ParsePolicy(p.String()); err != nil || got != p {
			t.Errorf("%v reads back as %v, %v", p, got, err)
		}
	}
	if _, err := extract.ParsePolicy("ignore"); err == nil || !strings.Contains(err.Error(), "replace") {
		t.Errorf("ignore: got %v, want an error that names the policies", err)
	}
}

func TestUnknownEncodings(t *testing.T) {
	for _, label := range []string{"utf-9", "replacement", "x-user-defined", "hz-gb-2312"} {
		var e *extract.UnknownEncodingError
		if _, err := extract.Text("", label, []byte("x"), extract.Reject); !errors.As(err, &e) || e.Label != label {
			t.Errorf("Text in %s: got %v", label, err)
		}
		if _, err := extract.NewReader(strings.NewReader("x"), label, extract.Reject); !errors.As(err, &e) {
			t.Errorf("NewReader in %s: got %v", label, err)
		}
	}
	for label, want := range map[string]string{
		"Latin1": "windows-1252", " UTF8 ": "utf-8", "cp1251": "windows-1251", "sjis": "shift_jis", "gb2312": "gb18030",
		"GBK": "gb18030", "utf-16": "utf-16le", "UTF-32": "utf-32le", "iso-8859-8-i": "iso-8859-8", "tis-620": "windows-874",
	} {
		if got, ok := extract.Charset(label); !ok || got != want {
			t.Errorf("Charset(%q) = %q, %v, want %q", label, got, ok, want)
		}
	}
}

func TestReaderReturnsTheSourcesErrorAsItIs(t *testing.T) {
	broken := errors.New("connection lost")
	r, err := extract.NewReader(io.MultiReader(strings.NewReader("\x82\xa0\x82"), iotest.ErrReader(broken)), "shift_jis", extract.Reject)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != broken || string(got) != "あ" {
		t.Errorf("got %q, %v; want the whole character and %v", got, err, broken)
	}
}

// TestOffsetsStaySmall: what the documentation states as the worst case, on sources made to reach it.
func TestOffsetsStaySmall(t *testing.T) {
	for name, c := range map[string]struct {
		charset, src string
		perSource    float64
	}{
		"ASCII":                  {"windows-1252", strings.Repeat("plain text\n", 20_000), 0.001},
		"valid UTF-8":            {"", strings.Repeat("größer ", 20_000), 0.001},
		"Russian":                {"windows-1251", strings.Repeat("\xcf\xf0\xe8\xe2\xe5\xf2 ", 20_000), 0.14},
		"alternating widths":     {"gb18030", strings.Repeat("a\xc4\xe3", 20_000), 0.63},
		"escapes before all":     {"iso-2022-jp", strings.Repeat("\x1b$B$\"\x1b(Bx", 20_000), 0.63},
		"five escapes, then one": {"iso-2022-jp", strings.Repeat(strings.Repeat("\x1b(B", 5)+"x", 20_000), 4.1},
	} {
		doc, err := extract.Text("x.txt", c.charset, []byte(c.src), extract.Reject)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := float64(doc.Offsets.Bytes()) / float64(len(c.src)); got > c.perSource {
			t.Errorf("%s: the map has %.3f bytes for each byte of the source, want %.3f at most", name, got, c.perSource)
		}
		checkOffsets(t, []byte(c.src)[:2000], must(extract.Text("x.txt", c.charset, []byte(c.src)[:2000], extract.Replace)))
	}
}

func must(doc *extract.Document, err error) *extract.Document {
	if err != nil {
		panic(err)
	}
	return doc
}

// FuzzDecode: any bytes as any encoding under any policy. Nothing panics, text is valid UTF-8 without NUL, streams
// agree, offsets tile the source, and a source without faults decodes again piece by piece.
func FuzzDecode(f *testing.F) {
	for _, c := range faults {
		for i, name := range charsets {
			if name == c.charset {
				f.Add([]byte(c.src), uint8(i), uint8(1))
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, which, how uint8) {
		name, policy := charsets[int(which)%len(charsets)], extract.Policy(how%3)
		r, err := extract.NewReader(bytes.NewReader(src), name, policy)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
			t.Fatalf("%s, %v: %q became %q", name, policy, src, text)
		}
		checkStream(t, name, src, policy, string(text), err)
		if code := new(extract.Error); errors.As(err, &code) && (policy != extract.Reject && code.Code != extract.NULByte) {
			t.Fatalf("%s, %v: %q is refused: %v", name, policy, src, err)
		}
		doc, textErr := extract.Text("x.txt", name, src, policy)
		if textErr != nil || doc.Encoding.Name != name {
			return // refused as the stream was, or a byte order mark or valid UTF-8 decides otherwise
		}
		if err != nil || doc.Text != string(text) {
			t.Fatalf("%s, %v: %q is %q in memory and %q, %v as a stream", name, policy, src, doc.Text, text, err)
		}
		checkOffsets(t, src, doc)
		if doc.Encoding.Undecodable == 0 && name != "iso-2022-jp" && name != "big5" {
			checkSlices(t, src, doc)
		}
		if policy == extract.Bytes && doc.Encoding.Undecodable == int64(len(src)) && name != "iso-2022-jp" {
			for i, c := range []rune(doc.Text) {
				if c != rune(src[i]) && (src[i] != 0 || c != '\u2400') {
					t.Fatalf("%s: %q lost a byte: %q", name, src, doc.Text)
				}
			}
		}
	})
}
