package extract

import (
	"os"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

func allSigns() (all []sign) {
	all = slices.Clone(markdownSigns())
	for _, c := range codeSigns() {
		all = append(all, c.signs...)
	}
	return all
}

func TestWords(t *testing.T) {
	for pattern, want := range map[string]string{
		`^func (\(x\) )?`:      "func (x) |func ",
		`(a|bc)d`:              "ad|bcd",
		`\b(private|public) x`: "private x|public x",
		`#{2,5} \S`:            "# ",
		`x+y`:                  "xy",
		`(?i)SELECT\s`:         "select\t|select\n|select\f|select\r|select ",
		`a*`:                   "",
		`(a*|bc)`:              "",
		`\w+`:                  "",
	} {
		re, err := syntax.Parse("(?m)"+pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(words(re), "|"); got != want {
			t.Errorf("%s: %q, not %q", pattern, got, want)
		}
	}
	for _, s := range allSigns() {
		if len(s.words) == 0 {
			t.Errorf("%s is tried on every text", s.pattern)
		}
	}
}

// What a text without a name costs is what the patterns that are tried on it cost.
func TestFewSignsAreLikely(t *testing.T) {
	prose, err := os.ReadFile("../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	var text searched
	text.of(string(prose[:headBytes]))
	n := 0
	for _, s := range allSigns() {
		if s.mayBeIn(&text) {
			n++
		}
	}
	if n > 12 {
		t.Errorf("%d patterns of %d are tried on the head of the licence", n, len(allSigns()))
	}
}

// A pattern is left out only where it does not match.
func FuzzSigns(f *testing.F) {
	for _, s := range allSigns() {
		f.Add(strings.Join(s.words, "\n"))
	}
	for _, text := range []string{"ſelect x from y", "if a:\n", "\u212aey", "  END\n", "func f(", "a\xffb\n---\n", "# x\n\n- a\n- b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s searched
		s.of(text)
		for _, sign := range allSigns() {
			for _, word := range sign.words {
				if has := strings.Contains(s.folded, word); s.contains(word) != has {
					t.Errorf("%q in %q: not %t", word, s.folded, has)
				}
			}
			if !sign.mayBeIn(&s) && sign.pattern.MatchString(text) {
				t.Errorf("%s matches %q, which has none of %q", sign.pattern, text, sign.words)
			}
		}
		for _, c := range codeSigns() {
			n := 0
			for _, sign := range c.signs {
				if sign.pattern.MatchString(text) {
					n++
				}
			}
			if got := s.count(c.signs); got != n && (got > 1 || n > 1) {
				t.Errorf("%d signs of %s in %q, not %d", n, c.language, text, got)
			}
		}
	})
}

func BenchmarkRecognise(b *testing.B) {
	prose, err := os.ReadFile("../LICENSE")
	if err != nil {
		b.Fatal(err)
	}
	prose = prose[:headBytes]
	b.Run("prose", func(b *testing.B) {
		for b.Loop() {
			Recognise("", prose)
		}
	})
	b.Run("prose, every pattern", func(b *testing.B) {
		for b.Loop() {
			for _, s := range allSigns() {
				s.pattern.Match(prose)
			}
		}
	})
}
