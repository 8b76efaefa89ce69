//go:build ignore

// Command train makes languages.txt from the translations that Debian's packages bring: go run train.go FOLDER…, each
// FOLDER like /usr/share/locale. The file in the repository comes from Debian 12's coreutils, bash, git, dpkg, apt, gcc-12,
// gnupg-l10n, libgtk-3-common, evince-common, nautilus-data, libglib2.0-data and gnome-control-center-data.
//
// It counts characters and pairs of characters; no text is kept. See ../guess.go for how the file is read.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// alphabetic languages, for pairs of letters; each is also the name of its folders.
var alphabetic = strings.Fields(`en_GB fr de es pt it nl sv da nb fi is ca eu ga sq pl cs sk hu ro hr sl ru uk bg sr mk be
	el tr he ar lt lv et vi th eo cy`)

// ideographic languages, for single characters.
var ideographic = strings.Fields(`ja ko zh_CN zh_TW`)

func main() {
	for _, l := range alphabetic {
		pairs(l, text(l))
	}
	for _, l := range ideographic {
		singles(l, text(l))
	}
}

func text(language string) []rune {
	var all strings.Builder
	for _, root := range os.Args[1:] {
		for _, l := range []string{language, language + "_BR"} {
			err := filepath.WalkDir(filepath.Join(root, l, "LC_MESSAGES"), func(path string, d fs.DirEntry, err error) error {
				if err != nil || filepath.Ext(path) != ".mo" || strings.HasPrefix(d.Name(), "iso_") {
					return nil
				}
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				messages(&all, b)
				return nil
			})
			if err != nil {
				log.Fatal(err)
			}
		}
	}
	s := all.String()
	if language == "vi" {
		s = decomposed(s)
	}
	out := []rune(s)
	for i, r := range out {
		out[i] = fold(r)
	}
	return out
}

// messages reads the translations of a .mo file (GNU gettext manual, section 10.3).
func messages(all *strings.Builder, b []byte) {
	if len(b) < 20 || binary.LittleEndian.Uint32(b) != 0x950412de {
		return
	}
	u := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	for i := range u(8) {
		id := b[u(u(12)+8*i+4):][:u(u(12)+8*i)]
		to := b[u(u(16)+8*i+4):][:u(u(16)+8*i)]
		if len(id) == 0 || bytes.Equal(id, to) {
			continue
		}
		for _, form := range bytes.Split(to, []byte{0}) {
			all.WriteString(strings.NewReplacer("_", "", "&", "").Replace(string(form)))
			all.WriteByte('\n')
		}
	}
}

// fold is guess.go's.
func fold(r rune) rune {
	switch r = unicode.ToLower(r); r {
	case 'ș':
		return 'ş'
	case 'ț':
		return 'ţ'
	}
	return r
}

// typographic is guess.go's.
func typographic(r rune) bool {
	return 0xa1 <= r && r <= 0xbf && r != 0xaa && r != 0xb5 && r != 0xba || 0x2010 <= r && r <= 0x203a ||
		r == '€' || r == '№' || r == '™'
}

// decomposed writes Vietnamese as windows-1258 does: the tone as a mark of its own.
func decomposed(s string) string {
	tones := []string{"\u0300", "\u0301", "\u0303", "\u0309", "\u0323"}
	var pairs []string
	for base, toned := range map[string]string{
		"a": "àáãảạ", "ă": "ằắẵẳặ", "â": "ầấẫẩậ", "e": "èéẽẻẹ", "ê": "ềếễểệ", "i": "ìíĩỉị",
		"o": "òóõỏọ", "ô": "ồốỗổộ", "ơ": "ờớỡởợ", "u": "ùúũủụ", "ư": "ừứữửự", "y": "ỳýỹỷỵ",
	} {
		for i, r := range []rune(toned) {
			pairs = append(pairs, string(r), base+tones[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(strings.ToLower(s))
}

const maxLetters = 60

func pairs(language string, s []rune) {
	count := map[rune]int{}
	total := 0
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsMark(r) {
			count[r]++
			total++
		}
	}
	var letters []rune
	for r, n := range count {
		if r >= 'a' && r <= 'z' || n*20000 > total {
			letters = append(letters, r)
		}
	}
	for r := 'a'; r <= 'z'; r++ {
		if count[r] == 0 {
			letters = append(letters, r)
		}
	}
	slices.SortFunc(letters, func(a, b rune) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return int(a - b)
	})
	if len(letters) > maxLetters+26 {
		letters = letters[:maxLetters+26]
	}
	class := map[rune]int{}
	for i, r := range letters {
		class[r] = i + 3
	}
	n := len(letters) + 3
	table := make([]float64, n*n)
	of := func(r rune) int {
		if c, ok := class[r]; ok {
			return c
		} else if r < 0x80 || unicode.IsSpace(r) {
			return 0
		} else if typographic(r) {
			return 1
		}
		return 2
	}
	before := 0
	for _, r := range s {
		c := of(r)
		table[before*n+c]++
		before = c
	}
	fmt.Printf("%s %s\n", strings.TrimSuffix(language, "_GB"), string(letters))
	for a := range n {
		sum := 0.0
		for b := range n {
			sum += table[a*n+b] + 0.2
		}
		line := make([]byte, n)
		for b := range n {
			line[b] = quarter(-math.Log2((table[a*n+b] + 0.2) / sum))
		}
		fmt.Printf("%s\n", line)
	}
	fmt.Println()
}

// quarter writes a cost in quarters of a bit as one printable character.
func quarter(bits float64) byte { return byte('!' + min(93, math.Round(4*bits))) }

func singles(language string, s []rune) {
	count := map[rune]int{}
	total := 0
	for _, r := range s {
		if r >= 0x80 && !unicode.IsSpace(r) {
			count[r]++
			total++
		}
	}
	var chars []rune
	for r, n := range count {
		if n > 1 {
			chars = append(chars, r)
		}
	}
	slices.SortFunc(chars, func(a, b rune) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return int(a - b)
	})
	fmt.Println(language)
	last := byte(0)
	for _, r := range chars {
		if q := '!' + 4*byte(math.Round(-math.Log2(float64(count[r])/float64(total)))); q != last {
			if last != 0 {
				fmt.Println()
			}
			fmt.Printf("%c", q)
			last = q
		}
		fmt.Printf("%c", r)
	}
	fmt.Print("\n\n")
}
