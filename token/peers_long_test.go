//go:build long

package token_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"chunkstream/token"
)

// peers runs the script of testdata/peers in a folder of its own, where it installs what package-lock.json says.
func peers(t *testing.T, input []byte, args ...string) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "token", "testdata", "peers") // the script reads ../../../extract/testdata
	if err := os.CopyFS(dir, os.DirFS("testdata/peers")); err != nil {
		t.Fatal(err)
	}
	sentences := filepath.Join(dir, "..", "..", "..", "extract", "testdata")
	if err := os.CopyFS(sentences, os.DirFS("../extract/testdata")); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, line := range [][]string{{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"}, append([]string{"node", "peers.mjs"}, args...)} {
		var said bytes.Buffer
		cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
		cmd.Dir, cmd.Stdin, cmd.Stderr = dir, bytes.NewReader(input), &said
		var err error
		if out, err = cmd.Output(); err != nil {
			t.Fatalf("%v: %v\n%s", line, err, said.String())
		}
		t.Log(said.String())
	}
	return out
}

// The golden file is what the script makes.
func TestPeersScript(t *testing.T) {
	want, err := os.ReadFile("testdata/peers/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := peers(t, nil); !bytes.Equal(got, want) {
		t.Errorf("golden.json is not what the script makes: %d bytes, want %d", len(want), len(got))
	}
}

// Texts that were never tried before, and every text file of this repository.
func TestPeersLive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	texts := freshTexts(rand.New(rand.NewPCG(seed, 0)), 4000)
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (entry.Name()[0] == '.' || entry.Name() == "node_modules"):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		text, err := os.ReadFile(filepath.Join("..", name))
		if err == nil && len(text) < 60_000 && utf8.Valid(text) {
			texts = append(texts, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseGolden(peers(t, input, "live"))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(texts) {
		t.Fatalf("got %d answers, want %d", len(all), len(texts))
	}
	for i, g := range all {
		if g.text != texts[i] {
			t.Fatalf("text %d came back as another: %q, was %q", i, g.text, texts[i])
		}
	}
	compareGolden(t, all)
}

// freshTexts are random texts: of characters that Unicode 16 has, of bytes made valid, of words, and of runs.
func freshTexts(random *rand.Rand, count int) (texts []string) {
	words := strings.Fields("the of and ing I'll DON'T 'ſ x's <|endoftext|> <|im_start|> 漢字 です。 한국어 देश สวัสดี Ж 👩‍👩‍👧‍👦 🇩🇪 1️⃣ 3.14 " +
		"0x7fff foo_bar() */ </p> ```go HTTPServer naïve é \u0301 \u0903 ٣٤٥ ǅ ½")
	words = append(words, " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u0085", "\ufeff")
	for range count {
		var b strings.Builder
		switch random.IntN(4) {
		case 0:
			for range 1 + random.IntN(40) {
				if random.IntN(3) == 0 {
					b.WriteString(words[random.IntN(len(words))])
				}
				if r := rune(random.IntN(1 << (7 + random.IntN(15)))); r <= utf8.MaxRune && utf8.ValidRune(r) && token.Known(r) {
					b.WriteRune(r)
				}
			}
		case 1:
			raw := make([]byte, 1+random.IntN(80))
			for i := range raw {
				raw[i] = byte(random.Uint32())
			}
			for _, r := range strings.ToValidUTF8(string(raw), "\ufffd") {
				if token.Known(r) {
					b.WriteRune(r)
				}
			}
		case 2:
			for range 1 + random.IntN(60) {
				b.WriteString(words[random.IntN(len(words))])
				b.WriteString([]string{" ", " ", " ", "", "\n"}[random.IntN(5)])
			}
		case 3:
			b.WriteString(strings.Repeat(words[random.IntN(len(words))], 1+random.IntN(60)))
			b.WriteString(words[random.IntN(len(words))])
		}
		texts = append(texts, b.String())
	}
	return texts
}
