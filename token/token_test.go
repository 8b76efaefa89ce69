package token_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"chunkstream/token"
)

var names = []string{"cl100k_base", "o200k_base", "p50k_base", "r50k_base"}

func get(tb testing.TB, name string) *token.Encoding {
	tb.Helper()
	e, err := token.Get(name)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// The sums of OpenAI's own .tiktoken files: written out again as such, ours are the same.
var sums = map[string]string{
	"cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
	"o200k_base":  "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
	"p50k_base":   "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
	"r50k_base":   "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
}

func TestVocabularies(t *testing.T) {
	t.Parallel()
	for name, want := range sums {
		e := get(t, name)
		var file bytes.Buffer
		for rank := range uint32(1 << 18) {
			if s, err := e.Decode([]uint32{rank}); err == nil {
				fmt.Fprintf(&file, "%s %d\n", base64.StdEncoding.EncodeToString([]byte(s)), rank)
			}
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(file.Bytes())); got != want {
			t.Errorf("%s: got the SHA-256 sum %s, want %s", name, got, want)
		}
	}
}

type golden struct {
	text   string
	tokens [4]int // by names
	sums   [4]string
}

// theGolden is what the file holds, read once: nobody may change it.
var theGolden = sync.OnceValues(func() ([]golden, error) {
	b, err := os.ReadFile("testdata/peers/golden.json")
	if err != nil {
		return nil, err
	}
	return parseGolden(b)
})

func readGolden(tb testing.TB) []golden {
	tb.Helper()
	all, err := theGolden()
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

func parseGolden(b []byte) (all []golden, err error) {
	var rows [][]json.RawMessage
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, err
	}
	for _, row := range rows {
		var g golden
		to := []any{&g.text}
		for i := range names {
			to = append(to, &g.tokens[i], &g.sums[i])
		}
		for i, v := range to {
			if err := json.Unmarshal(row[i], v); err != nil {
				return nil, err
			}
		}
		all = append(all, g)
	}
	return all, nil
}

// What OpenAI's tiktoken, js-tiktoken and gpt-tokenizer make of 2,900 texts; testdata/peers has the script that asks them.
func TestGolden(t *testing.T) {
	t.Parallel()
	compareGolden(t, readGolden(t))
}

func compareGolden(t *testing.T, all []golden) {
	t.Helper()
	for i, name := range names {
		e := get(t, name)
		for _, g := range all {
			got := e.Encode(g.text)
			sum := sha256.Sum256([]byte(strings.Trim(fmt.Sprint(got), "[]")))
			at := 0
			for j, end := range e.Ends(g.text) {
				if piece, err := e.Decode(got[j : j+1]); err != nil || g.text[at:end] != piece {
					t.Errorf("%s: %q: token %d is said to be %q, and is %q (%v)", name, g.text, j, g.text[at:end], piece, err)
				}
				at = end
			}
			if at != len(g.text) {
				t.Errorf("%s: %q: the last token ends at %d of %d", name, g.text, at, len(g.text))
			}
			if len(got) != g.tokens[i] || hex.EncodeToString(sum[:8]) != g.sums[i] {
				t.Errorf("%s: %q: got %d tokens %v, want %d others", name, g.text, len(got), got, g.tokens[i])
			}
		}
	}
}

// These are written in tokens, so that a reader sees what is meant.
func TestEncode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []uint32
	}{
		{"cl100k_base", "", nil},
		{"cl100k_base", "a\n \n y", []uint32{64, 27907, 379}},
		{"cl100k_base", "hello world don't", []uint32{15339, 1917, 1541, 956}},
		{"o200k_base", "hello world don't", []uint32{24912, 2375, 4128}},
		{"r50k_base", "hello world don't", []uint32{31373, 995, 836, 470}},
		{"cl100k_base", "<|endoftext|>", []uint32{27, 91, 8862, 728, 428, 91, 29}},
		{"cl100k_base", "\xff", []uint32{187}},
	} {
		e := get(t, test.name)
		if got := e.Encode(test.text); !slices.Equal(got, test.want) {
			t.Errorf("%s %q: got %v, want %v", test.name, test.text, got, test.want)
		}
		if got := e.Append([]uint32{7}, test.text); !slices.Equal(got, append([]uint32{7}, test.want...)) {
			t.Errorf("%s %q: got %v appended to 7", test.name, test.text, got)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	var unknown *token.UnknownError
	if _, err := token.Get("gpt-9"); !errors.As(err, &unknown) || unknown.Name != "gpt-9" ||
		err.Error() != `token: "gpt-9" is not an encoding: they are cl100k_base, o200k_base, p50k_base, r50k_base` {
		t.Errorf("got %v", err)
	}
	if got := token.Names(); !slices.Equal(got, names) {
		t.Errorf("got %v, want %v", got, names)
	}
	for name, last := range map[string]uint32{
		"cl100k_base": 100255, "o200k_base": 199997, "p50k_base": 50280, "r50k_base": 50255,
	} {
		e := get(t, name)
		if e.Name() != name {
			t.Errorf("got the name %s, want %s", e.Name(), name)
		}
		if s, err := e.Decode([]uint32{0, last}); err != nil || len(s) < 2 {
			t.Errorf("%s: got %q, %v for the first and the last token", name, s, err)
		}
		for _, bad := range []uint32{last + 1, 1 << 18, 1<<32 - 1} {
			if s, err := e.Decode([]uint32{0, bad}); !errors.Is(err, token.ErrNoToken) || s != "" {
				t.Errorf("%s: got %q, %v for %d", name, s, err, bad)
			}
		}
	}
	if _, err := get(t, "p50k_base").Decode([]uint32{50256}); !errors.Is(err, token.ErrNoToken) {
		t.Errorf("got %v for <|endoftext|> of p50k_base", err)
	}
}

// Many goroutines ask for the same one at once.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i, name := range names {
				e, err := token.Get(name)
				if err != nil {
					t.Error(err)
					return
				}
				for _, g := range readGolden(t)[:80] {
					if got := e.Count(g.text); got != g.tokens[i] {
						t.Errorf("%s: %q: got %d, want %d", name, g.text, got, g.tokens[i])
					}
				}
			}
		})
	}
	wg.Wait()
}

// check compares everything an encoding says of text with the slow way.
func check(tb testing.TB, e *token.Encoding, text string, from, budget int) {
	tb.Helper()
	got, want := e.Encode(text), slowEncode(e, text)
	if !slices.Equal(got, want) {
		tb.Fatalf("%s: Encode(%q): got %v, want %v", e.Name(), text, got, want)
	}
	for range 2 { // the second time out of the cache
		if n := e.Count(text); n != len(want) {
			tb.Fatalf("%s: Count(%q): got %d, want %d", e.Name(), text, n, len(want))
		}
	}
	if s, err := e.Decode(got); err != nil || s != text {
		tb.Fatalf("%s: Decode(Encode(%q)): got %q, %v", e.Name(), text, s, err)
	}
	if len(text) > 0 {
		checkFurthest(tb, e, text, from%len(text), budget)
	}
}

func checkFurthest(tb testing.TB, e *token.Encoding, text string, from, budget int) {
	tb.Helper()
	first := token.Mark{End: -1, Tokens: -1}
	end, tokens, marks := e.Furthest(text, from, budget, []token.Mark{first})
	fail := func(format string, args ...any) {
		tb.Helper()
		tb.Fatalf("%s: Furthest(%q, %d, %d) = %d, %d, %v: %s", e.Name(), text, from, budget, end, tokens, marks,
			fmt.Sprintf(format, args...))
	}
	if end < from || end > len(text) || tokens > budget || tokens != len(slowEncode(e, text[from:end])) {
		fail("want %d tokens", len(slowEncode(e, text[from:max(from, min(end, len(text)))])))
	}
	if end == from && budget >= 4 {
		fail("nothing fits")
	}
	if marks[0] != first {
		fail("the marks before are gone")
	}
	bounds := map[int]bool{len(text): true}
	for i := range text[from:] {
		bounds[from+i] = true
	}
	if !bounds[end] {
		fail("it cuts a character")
	}
	last := token.Mark{End: from}
	for _, m := range marks[1:] {
		if m.End <= last.End || m.Tokens <= last.Tokens || m.End > end {
			fail("the mark %v is not after %v, or too far", m, last)
		}
		last = m
		for _, to := range []int{m.End, m.End + 1, m.End + 2, (m.End + end) / 2, end} {
			if to < m.End || to > end || !bounds[to] {
				continue
			}
			got := m.Tokens + len(slowEncode(e, text[m.End:to]))
			if want := len(slowEncode(e, text[from:to])); got != want {
				fail("by the mark %v, %d tokens up to %d, want %d", m, got, to, want)
			}
		}
	}
	// All pieces that fit are in.
	if end < len(text) && budget > 0 {
		pieces := slowPieces(e.Name(), text[from:])
		at, sum := from, 0
		for _, p := range pieces {
			n := len(slowEncode(e, p))
			if sum+n > budget {
				break
			}
			at, sum = at+len(p), sum+n
		}
		if end < at {
			fail("the pieces up to %d have %d tokens", at, sum)
		}
	}
}

var odd = []string{
	"", "\xff", "\x80\x80a", "a\xc3", "\xc3(", "\xe2\x80", " \xe2\x80", "\xed\xa0\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80",
	"\xf0\x9f\x98", "'\xc5\xbfa", "'\xc5",
	"  \xe3\x80", "\n\xe3\x80\x80\xe3", "\ufffda\ufffd", strings.Repeat("\xf0\x9f", 99),
}

func TestAgainstSlow(t *testing.T) {
	t.Parallel()
	for _, name := range names {
		e := get(t, name)
		for i, text := range odd {
			check(t, e, text, i, i%9)
		}
		for i, g := range readGolden(t) {
			if i%sample != 0 || len(g.text) > 400 { // the slow way is cubic
				continue
			}
			check(t, e, g.text, i*7, i%23)
			if len(g.text) > 3 {
				check(t, e, g.text[1:len(g.text)-1], i*3, i%5+4)
			}
		}
	}
}

func FuzzAgainstSlow(f *testing.F) {
	for i, g := range readGolden(f)[:120] {
		f.Add(g.text, uint8(i), uint8(i*5), uint8(i))
	}
	for i, text := range odd {
		f.Add(text, uint8(i), uint8(i*5), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, from, budget, which uint8) {
		if len(text) > 400 {
			return // the slow way is cubic
		}
		check(t, get(t, names[int(which)%len(names)]), text, int(from), int(budget))
	})
}
