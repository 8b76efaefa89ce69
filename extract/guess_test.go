package extract_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"chunkstream/extract"
)

// sample is a text in a language, and the encodings in which it is measured.
type sample struct {
	language string
	charsets []string
	text     string
}

func samples(t testing.TB) (all []sample) {
	t.Helper()
	b, err := os.ReadFile("testdata/sentences.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n\n")
	for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
		head, text, _ := strings.Cut(part, "\n")
		words := strings.Fields(head)
		all = append(all, sample{words[0], words[1:], text})
	}
	return all
}

// encode writes text in an encoding, character by character: what the encoding lacks is written in the nearest way that
// people used. The result is decoded again to what a reader has to find.
func encode(t testing.TB, charset, text string) (src []byte) {
	t.Helper()
	text = cedillas.Replace(text)
	switch charset {
	case "iso-8859-16":
		text = commas.Replace(text)
	case "windows-1258":
		var b strings.Builder
		for _, r := range text {
			b.WriteString(vietnamese(r))
		}
		text = b.String()
	}
	out, err := peer(t, charset).NewEncoder().String(text)
	if err != nil {
		t.Fatalf("%s: %.40q: %v", charset, text, err)
	}
	return []byte(out)
}

// Romanian's letters with a comma below, and the ones with a cedilla that older encodings have instead.
var (
	cedillas = strings.NewReplacer("ș", "ş", "ț", "ţ", "Ș", "Ş", "Ț", "Ţ")
	commas   = strings.NewReplacer("ş", "ș", "ţ", "ț", "Ş", "Ș", "Ţ", "Ț")
)

// vietnamese writes the tone of a letter as a mark, where windows-1258 has no letter with it.
func vietnamese(r rune) string {
	if _, ok := charmap.Windows1258.EncodeRune(r); ok {
		return string(r)
	}
	tones := []rune("\u0300\u0301\u0303\u0309\u0323")
	for base, toned := range map[string]string{
		"a": "àáãảạ", "ă": "ằắẵẳặ", "â": "ầấẫẩậ", "e": "èéẽẻẹ", "ê": "ềếễểệ", "i": "ìíĩỉị",
		"o": "òóõỏọ", "ô": "ồốỗổộ", "ơ": "ờớỡởợ", "u": "ùúũủụ", "ư": "ừứữửự", "y": "ỳýỹỷỵ",
	} {
		for i, t := range []rune(toned) {
			if t == r {
				return base + string(tones[i])
			}
		}
	}
	return string(r)
}

// windows cuts a source into pieces of about size bytes, at characters; a source shorter than size is one piece.
func windows(t testing.TB, charset, text string, size int) (all [][]byte) {
	var piece string
	length := 0
	for _, word := range strings.SplitAfter(text, " ") {
		for len(word) > 0 {
			r, n := utf8.DecodeRuneInString(word)
			if utf8.RuneLen(r) < 3 {
				n = len(word) // the scripts of three bytes have no spaces between words
			}
			src := encode(t, charset, word[:n])
			bytes := len(src)
			if charset == "iso-2022-jp" && src[0] == 0x1b {
				bytes -= 6 // the escapes around it, which only the ends of a piece have
			}
			if length+bytes > size && piece != "" {
				all = append(all, encode(t, charset, piece))
				piece, length = "", 0
			}
			piece += word[:n]
			length += bytes
			word = word[n:]
		}
	}
	if src := encode(t, charset, piece); len(src) > size*3/4 || len(all) == 0 {
		all = append(all, src)
	}
	return all
}

// guessSizes are the lengths, in bytes, that are measured, each with the share of right texts that docs/formats.md states.
var guessSizes = []struct {
	size  int
	floor float64
}{{100, 0.975}, {1000, 0.98}}

// TestGuessAccuracy counts the pieces of the sentences that become the right text without a declaration. With -v it prints
// the table of docs/formats.md.
func TestGuessAccuracy(t *testing.T) {
	type count struct{ right, all int }
	table := map[string]*[2]count{}
	var order []string
	var wrong []string
	var sure, unsure count // with a confidence of 0.5 and more, and with less
	for i, c := range guessSizes {
		var sum count
		for _, s := range samples(t) {
			for _, charset := range append(s.charsets, "utf-16le", "utf-16be", "utf-32le", "utf-32be") {
				row := table[charset]
				if row == nil {
					row = new([2]count)
					table[charset], order = row, append(order, charset)
				}
				for _, src := range windows(t, charset, s.text, c.size) {
					want, err := peer(t, charset).NewDecoder().Bytes(src)
					if err != nil {
						t.Fatal(err)
					}
					row[i].all++
					if !strings.HasPrefix(charset, "utf-") {
						sum.all++
					}
					doc, err := extract.Text("x.txt", "", src, extract.Replace)
					if err == nil && doc.Encoding.By == extract.ByGuess && !strings.HasPrefix(charset, "utf-") {
						of := &unsure
						if doc.Encoding.Confidence >= 0.5 {
							of = &sure
						}
						of.all++
						if doc.Text == string(want) {
							of.right++
						}
						if doc.Encoding.Confidence < 0 || doc.Encoding.Confidence > 1 {
							t.Fatalf("confidence %v", doc.Encoding.Confidence)
						}
					}
					if err == nil && doc.Text == string(want) {
						row[i].right++
						if !strings.HasPrefix(charset, "utf-") {
							sum.right++
						}
					} else if err == nil {
						wrong = append(wrong, fmt.Sprintf("%s in %s taken for %s (%.2f): %.60s", s.language, charset,
							doc.Encoding.Name, doc.Encoding.Confidence, want))
					} else {
						wrong = append(wrong, fmt.Sprintf("%s in %s: %v", s.language, charset, err))
					}
				}
			}
		}
		t.Logf("%d bytes, without UTF-16 and UTF-32: %d of %d right, %.1f %%", c.size, sum.right, sum.all, 100*float64(sum.right)/float64(sum.all))
		if float64(sum.right) < c.floor*float64(sum.all) {
			t.Errorf("%d bytes: want %.1f %%; wrong are:\n%s", c.size, 100*c.floor, strings.Join(wrong, "\n"))
		}
	}
	// What is said with a confidence of 0.5 and more is right in 99 of 100 cases; of the rest, less is.
	t.Logf("sure: %d of %d right; not so sure: %d of %d", sure.right, sure.all, unsure.right, unsure.all)
	if sure.right*100 < sure.all*99 || unsure.right*sure.all >= sure.right*unsure.all {
		t.Error("the confidence says nothing")
	}
	slices.Sort(order)
	for _, charset := range order {
		line := charset
		for _, c := range table[charset] {
			line += fmt.Sprintf(" | %d of %d", c.right, c.all)
		}
		t.Log(line)
	}
}

// TestCountOfEncodings: the pages that say how many encodings there are say the same, and what is true.
func TestCountOfEncodings(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"utf-8": true, "utf-32le": true, "utf-32be": true, "iso-2022-jp": true} // never guessed by their statistics
	for _, name := range extract.Candidates() {
		if canonical, ok := extract.Charset(name); !ok || canonical != name || known[name] {
			t.Errorf("%s: got %q, %v", name, canonical, ok)
		}
		known[name] = true
	}
	for _, page := range []string{"api.md", "design.md", "formats.md"} {
		text, err := os.ReadFile("../docs/" + page)
		if want := fmt.Sprintf(" %d encodings", len(known)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("docs/%s does not say %q (%v)", page, want, err)
		}
	}
	text, err := os.ReadFile("../docs/formats.md")
	if want := fmt.Sprintf("each of %d encodings is tried", len(extract.Candidates())); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("docs/formats.md does not say %q (%v)", want, err)
	}
}
