package chunk_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// sentenceClass is the property Sentence_Break of r as a letter: C CR, F LF, S Sep, E Extend, f Format, p Sp, l Lower,
// u Upper, o OLetter, n Numeric, a ATerm, c SContinue, t STerm, e Close, x Other.
func sentenceClass(r rune) byte {
	switch {
	case r == '\r':
		return 'C'
	case r == '\n':
		return 'F'
	case r == 0x85 || r == 0x2028 || r == 0x2029:
		return 'S'
	case strings.ContainsRune(".\u2024\uFE52\uFF0E", r):
		return 'a'
	case unicode.In(r, unicode.M, unicode.Other_Grapheme_Extend) || r == 0x200D:
		return 'E'
	case unicode.Is(unicode.Cf, r):
		return 'f'
	case unicode.IsSpace(r):
		return 'p'
	case r == 0x5F3, r >= 0x10D0 && r <= 0x10FF && unicode.IsLetter(r), r >= 0x1C90 && r <= 0x1CBF && unicode.IsLetter(r):
		return 'o'
	case unicode.In(r, unicode.Ll, unicode.Other_Lowercase):
		return 'l'
	case unicode.In(r, unicode.Lu, unicode.Lt, unicode.Other_Uppercase):
		return 'u'
	case unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic):
		return 'o'
	case unicode.Is(unicode.Nd, r), r == 0x66B, r == 0x66C:
		return 'n'
	case unicode.Is(unicode.STerm, r):
		return 't'
	case strings.ContainsRune(",-:\u055D\u060C\u060D\u07F8\u1802\u1808\u2013\u2014\u3001\uFE10\uFE11\uFE13\uFE31\uFE32"+
		"\uFE50\uFE51\uFE55\uFE58\uFE63\uFF0C\uFF0D\uFF1A\uFF64", r):
		return 'c'
	case unicode.In(r, unicode.Ps, unicode.Pe, unicode.Pi, unicode.Pf), r == '"', r == '\'', r >= 0x275B && r <= 0x2760,
		strings.ContainsRune("\u2E00\u2E01\u2E06\u2E07\u2E08\u2E0B", r):
		return 'e'
	}
	return 'x'
}

// The rules of UAX #29, section 5.1, on the classes before and behind a place, after SB5.
var sentenceRules = []struct {
	name          string
	before, after *regexp.Regexp
	breaks        bool
}{
	{"SB3", regexp.MustCompile(`C$`), regexp.MustCompile(`^F`), false},
	{"SB4", regexp.MustCompile(`[SCF]$`), regexp.MustCompile(``), true},
	{"SB6", regexp.MustCompile(`a$`), regexp.MustCompile(`^n`), false},
	{"SB7", regexp.MustCompile(`[ul]a$`), regexp.MustCompile(`^u`), false},
	{"SB8", regexp.MustCompile(`ae*p*$`), regexp.MustCompile(`^[^oulSCFat]*l`), false},
	{"SB8a", regexp.MustCompile(`[at]e*p*$`), regexp.MustCompile(`^[cat]`), false},
	{"SB9", regexp.MustCompile(`[at]e*$`), regexp.MustCompile(`^[epSCF]`), false},
	{"SB10", regexp.MustCompile(`[at]e*p*$`), regexp.MustCompile(`^[pSCF]`), false},
	{"SB11", regexp.MustCompile(`[at]e*p*[SCF]?$`), regexp.MustCompile(``), true},
	{"SB998", regexp.MustCompile(``), regexp.MustCompile(``), false},
}

// uaxEnds is where the rules break text, as the standard has them.
func uaxEnds(text string) (ends []int) {
	var classes []byte
	var at []int
	for i, r := range text {
		c := sentenceClass(r)
		if (c == 'E' || c == 'f') && len(classes) > 0 && !strings.ContainsRune("SCF", rune(classes[len(classes)-1])) {
			continue // SB5
		}
		if c == 'E' || c == 'f' {
			c = 'x'
		}
		classes, at = append(classes, c), append(at, i)
	}
	for k := 1; k < len(classes); k++ {
		for _, rule := range sentenceRules {
			if rule.before.Match(classes[:k]) && rule.after.Match(classes[k:]) {
				if rule.breaks {
					ends = append(ends, at[k])
				}
				break
			}
		}
	}
	return ends
}

// The rules that are tailored are those of the standard: its own test.
func TestSentenceBreakTest(t *testing.T) {
	t.Parallel()
	n := breakTest(t, "testdata/SentenceBreakTest.txt", func(text string, want []int) {
		if got := append(uaxEnds(text), len(text)); !slices.Equal(got, want) {
			t.Errorf("%+q: got %v, want %v", text, got, want)
		}
	})
	if n != 502 {
		t.Errorf("there are %d lines, want 502", n)
	}
}

// sentenceEnd is where a sentence ends: the ink of it, and the place.
type sentenceEnd struct {
	ink, at int
	line    bool
}

var (
	lineEndRE = regexp.MustCompile(`^(?:\r\n|[\n\r\x{85}\x{2028}\x{2029}])`)
	blankRE   = regexp.MustCompile(`(?:^|[\n\r\x{85}\x{2028}\x{2029}])[ \t]*$`)
	standsRE  = regexp.MustCompile("^[ \t]{0,16}(?:[-*+•–] |[-*+]\t|#{1,6} |\\||```|~~~|[0-9]{1,4}[.)][ \t]|[A-Za-z]\\)[ \t])")
	headingRE = regexp.MustCompile(`^#{1,6} `)
	closedRE  = regexp.MustCompile(`^(?:["')\]}*_]|\[[0-9]{1,3}\]|[\p{Pe}\p{Pf}\x{275B}-\x{2760}\p{M}\p{Cf}\x{FF9E}\x{FF9F}\x{200C}])*`)
	spacedRE  = regexp.MustCompile(`^(?:["')\]}*_]|\[[0-9]{1,3}\]|[\p{Pe}\p{Pf}\p{Pi}\x{275B}-\x{2760}\p{M}\p{Cf}\x{FF9E}\x{FF9F}\x{200C}])*`)
	gapRE     = regexp.MustCompile(`^[\t-\r \x{85}\p{Z}]*`)
	wordRE    = regexp.MustCompile(`[-.º\p{L}\p{M}\p{Nd}]*$`)
	itemRE    = regexp.MustCompile(`(?:^|[\n\r])[ \t]{0,15}$`)
	monthRE   = regexp.MustCompile(`^(?:Januar|Jänner|Februar|Feber|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)`)
)

// slowEnds finds where sentences end by the tailored rules, going forward, mark by mark, with no bound but what the
// documentation says.
func slowEnds(text string, known func(string) (always, number bool)) (ends []sentenceEnd) {
	for i, r := range text {
		w := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, w = utf8.DecodeRuneInString(text[i:])
		}
		if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
			at := i + len(lineEndRE.FindString(text[i:]))
			begin := i
			if r == '\n' && i > 0 && text[i-1] == '\r' {
				begin--
			}
			before := text[:begin]
			blank := before[max(0, begin-128):]
			line := before[strings.LastIndexAny(before, "\n\r")+1:]
			if r != '\r' || at == i+1 {
				if r == '\u2029' || blankRE.MatchString(blank) && (begin > len(blank) || strings.Trim(blank, " \t") != "") &&
					(len(blank) < 128 || strings.Trim(blank, " \t") != "") ||
					standsRE.MatchString(text[at:]) || headingRE.MatchString(line) && len(line) < 128 {
					ends = append(ends, sentenceEnd{at, at, true})
				}
			}
			continue
		}
		c := sentenceClass(r)
		c = tailored(r, c)
		if c != 'a' && c != 't' {
			continue
		}
		spaced := strings.ContainsRune(".!?…", r)
		re := closedRE
		if spaced {
			re = spacedRE
		}
		closers := re.FindString(text[i+w:])
		ink := i + w + len(closers)
		closed := strings.TrimFunc(closers, func(r rune) bool { return strings.IndexByte("Ef", sentenceClass(r)) >= 0 }) != ""
		if utf8.RuneCountInString(closers) > 16 {
			continue
		}
		gap := gapRE.FindString(text[ink:])
		next := ink + len(gap)
		ahead := []rune(text[ink:])
		ahead = ahead[:min(len(ahead), 64)]
		at := next
		behind := text[next:]
		skipped := behind[:len(behind)-len(strings.TrimLeftFunc(behind, func(r rune) bool { return strings.IndexByte("Ef", sentenceClass(r)) >= 0 }))]
		lines, sure := 0, false
		for j := 0; j < len(gap); {
			_, step := utf8.DecodeRuneInString(gap[j:])
			if m := lineEndRE.FindString(gap[j:]); m != "" {
				if lines++; lines == 1 {
					at = ink + j + len(m)
				}
				if (lines == 2 || m == "\u2029") && utf8.RuneCountInString(gap[:j]) < 64 {
					sure = true
					break
				}
				step = len(m)
			}
			j += step
		}
		if sure {
			ends = append(ends, sentenceEnd{ink, at, false})
			continue
		}
		before := utf8.RuneCountInString(gap + skipped)
		if next += len(skipped); next < len(text) && before < 64 {
			n, _ := utf8.DecodeRuneInString(text[next:])
			nc := sentenceClass(n)
			nc = tailored(n, nc)
			direct := gap == ""
			if direct && spaced || strings.IndexByte("cat", nc) >= 0 {
				continue
			}
			if closed && (c == 't' && nc == 'l' || strings.HasPrefix(text[next:], "と") || strings.HasPrefix(text[next:], "って")) {
				continue
			}
			if c == 'a' {
				b, _ := utf8.DecodeLastRuneInString(text[:i])
				bc := sentenceClass(b)
				if direct && !closed && (nc == 'n' || nc == 'u' && (bc == 'u' || bc == 'l')) {
					continue
				}
				if lowerFollows(ahead[before:]) {
					continue
				}
				if r == '.' && !closed {
					word := wordRE.FindString(text[max(0, i-80):i])
					if n := utf8.RuneCountInString(word); n > 0 && n <= 16 {
						always, number := known(word)
						digit := text[next] >= '0' && text[next] <= '9'
						last := []rune(word[strings.LastIndex(word, ".")+1:])
						digits := len(word) <= 3 && strings.Trim(word, "0123456789") == ""
						single := len(last) == 1 && unicode.IsLetter(last[0])
						if always || digit && number || single && sentenceClass(last[0]) == 'u' && word != "I" ||
							digits && len(word) < 3 && monthRE.MatchString(text[next:]) ||
							(digits || single && n == 1) && itemRE.MatchString(text[max(0, i-len(word)-20):i-len(word)]) {
							continue
						}
					}
				}
			}
		}
		ends = append(ends, sentenceEnd{ink, at, false})
	}
	return ends
}

// tailored is the class c of r with the marks that the standard does not know.
func tailored(r rune, c byte) byte {
	switch r {
	case '…':
		return 'a'
	case '།', '༎', '។', '៕':
		return 't'
	}
	return c
}

func lowerFollows(ahead []rune) bool {
	line := false
	for i, r := range ahead {
		c := tailored(r, sentenceClass(r))
		switch {
		case c == 'l':
			return true
		case strings.IndexByte("uoat", c) >= 0, r == '\u2029':
			return false
		case c == 'C' || c == 'F' || c == 'S':
			if r == '\n' && i > 0 && ahead[i-1] == '\r' {
				continue
			}
			if line {
				return false
			}
			line = true
		case c != 'p':
			line = false
		}
	}
	return false
}

// slowSentences cuts by slowEnds.
func slowSentences(limits chunktest.Limits, text string) []chunk.Span {
	ends := slowEnds(text, chunk.Abbreviated)
	return slow{
		text: text, bytes: limits.Unit == "bytes", words: limits.Unit == "words", size: limits.Size, overlap: limits.Overlap,
		choose: func(s slow, start, limit int, candidates []int) int {
			best := 0
			for _, e := range ends {
				at := e.at
				if !e.line && e.ink <= limit && at > limit {
					for at = limit; at > e.ink && (!utf8.RuneStart(text[at]) && utf8.ValidString(text) || !s.apart(at)); at-- {
					}
				}
				if at > best && slices.Contains(candidates, at) && s.apart(at) {
					best = at
				}
			}
			if best > 0 {
				return best
			}
			clause, word, early := 0, 0, 0
			for _, i := range candidates {
				switch l := s.pause(i, candidates, limit); {
				case l == 0:
				case s.measure(start, i) <= s.size/2:
					early = i
				case l == 2:
					clause = i
				default:
					word = i
				}
			}
			switch {
			case clause > 0:
				return clause
			case word > 0:
				return word
			}
			return early
		},
	}.spans()
}

// pause is 2 behind a comma or its like, 1 behind white space, else 0.
func (s slow) pause(i int, candidates []int, limit int) int {
	if !s.apart(i) {
		return 0
	}
	head := s.text[:i]
	body := strings.TrimRightFunc(head, unicode.IsSpace)
	next, _ := utf8.DecodeRuneInString(s.text[i:])
	if body == head {
		if strings.ContainsRune(slowClosers+slowWideStops+slowWideComma, next) {
			return 0
		}
	} else if r, _ := utf8.DecodeLastRuneInString(head); strings.ContainsRune("\u00a0\u2007\u202f", r) {
		return 0
	} else if unicode.IsSpace(next) && i < limit {
		// Only the end of white space counts, or its last place that may be cut at.
		for _, j := range candidates {
			if j > i && strings.TrimSpace(s.text[i:j]) == "" && s.pauseHere(j) {
				return 0
			}
		}
	}
	commas, stops, spaced := slowWideComma, slowWideStops, body != head
	if spaced {
		commas += slowCommas
		stops += slowStops
	}
	for range 5 {
		r, w := utf8.DecodeLastRuneInString(body)
		switch {
		case body == "":
		case strings.ContainsRune(commas, r):
			return 2
		case !spaced && strings.ContainsRune(stops, r): // 「行く。」と: it ends no sentence, and may be a pause
			return 2
		case strings.ContainsRune(stops, r):
			return 1
		}
		if body == "" || !strings.ContainsRune(slowClosers, r) {
			break
		}
		body = body[:len(body)-w]
	}
	if spaced {
		return 1
	}
	return 0
}

func (s slow) pauseHere(i int) bool {
	r, _ := utf8.DecodeLastRuneInString(s.text[:i])
	return s.apart(i) && !strings.ContainsRune("\u00a0\u2007\u202f", r)
}

var sentenceLimits = []chunktest.Limits{
	{Unit: "chars", Size: 3, Overlap: 1, Window: 272},
	{Unit: "chars", Size: 40, Window: 272},
	{Unit: "chars", Size: 150, Overlap: 40, Window: 272},
	{Unit: "bytes", Size: 90, Overlap: 30, Window: 272},
	{Unit: "words", Size: 9, Window: 272},
	{Unit: "words", Size: 25, Overlap: 5, Window: 272},
}

// sentenceTexts are texts in which sentences are hard to find.
var sentenceTexts = []chunktest.Text{
	{Name: "abbreviations", Text: strings.Repeat("Dr. J. R. R. Smith (e.g. of the U.S. Navy) met Mr. B. He paid $3.50. See No. 5 and Fig. 3. No. Go! ", 9)},
	{Name: "wrapped", Text: strings.Repeat("A line that is\nwrapped. And one\r\n more? “Yes.”\n\nA new one\n  \t\n- an item\n- another. 2. Two\n# Head\nText.\n", 9)},
	{Name: "scripts", Text: strings.Repeat("他来了。「好！」他说。本当？「行く。」と言った。नमस्ते। यह है॥ كيف؟ نعم۔ Ինչ։ ሰላም። ខ្មែរ។ မြန်မာ။ བོད། ", 9)},
	{Name: "urls", Text: strings.Repeat("See https://a.example/x?y=1.2&z!w, Node.js 3.14... No?! Yes!!! Wait… what… No. [12] Done.[3] Then **so.** Next ", 9)},
	{Name: "marks", Text: strings.Repeat(".\u0301 \u0301X. \u200fY.\u200d Z.’ \u2029A.\u2028b. \u0085C.　D．Ｅ．3 ", 20)},
	{Name: "far", Text: strings.Repeat("One. "+strings.Repeat("1 ", 30)+"a. Two. "+strings.Repeat("1 ", 33)+"a. X."+strings.Repeat(" ", 70)+"y.", 5)},
	{Name: "closers", Text: strings.Repeat("One.)))))))))))))))) Two.))))))))))))))))) Three.[1][2][3][4]) Four.[1] Five", 9)},
}

func TestSentence(t *testing.T) {
	t.Parallel()
	for _, limits := range append([]chunktest.Limits{
		{Unit: "tokens", Size: 30, Overlap: 10, Sizer: sizer(t, "cl100k_base"), Window: 272},
	}, sentenceLimits...) {
		t.Run(fmt.Sprintf("%d %d %s", limits.Size, limits.Overlap, limits.Unit), func(t *testing.T) {
			t.Parallel()
			s := parse(t, "sentence", limits)
			most := parseMore(t, "sentence", limits, `,"max_sentences":2`)
			whole := limits
			whole.AtMost = true
			aligned := parse(t, "sentence", whole)
			for _, text := range append(texts(), sentenceTexts...) {
				if limits.Unit == "tokens" {
					text.Text = strings.ToValidUTF8(text.Text[:min(len(text.Text), 500)], "")
				}
				chunktest.Check(t, s, text.Text, limits)
				checkWindows(t, s, text.Text)
				most1 := limits
				most1.Window = -1 // it looks for its sentences in windows of its own
				chunktest.Check(t, most, text.Text, most1)
				checkWindows(t, most, text.Text)
				chunktest.Check(t, aligned, text.Text, whole)
				if t.Failed() {
					t.Fatalf("text: %s", text.Name)
				}
			}
		})
	}
}

func TestSentenceIsSlow(t *testing.T) {
	t.Parallel()
	for _, limits := range sentenceLimits {
		s := parse(t, "sentence", limits)
		for _, text := range append(texts(), sentenceTexts...) {
			short := text.Text[:min(len(text.Text), slowText)]
			got, want := chunktest.Collect(s, short), slowSentences(limits, short)
			if !slices.Equal(got, want) {
				t.Errorf("%s %+v:\n got %s\nwant %s", text.Name, limits, cuts(short, got), cuts(short, want))
			}
		}
	}
}

func cuts(text string, spans []chunk.Span) string {
	var parts []string
	for _, sp := range spans {
		parts = append(parts, text[sp.Start:sp.End])
	}
	return fmt.Sprintf("%q", parts)
}

func FuzzSentence(f *testing.F) {
	addTexts(f)
	for i, text := range sentenceTexts {
		f.Add(text.Text[:min(len(text.Text), 300)], uint8(20*i), uint8(i), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, inBytes bool) {
		limits := fuzzLimits(size, overlap, inBytes)
		limits.Window = 272
		s := parse(t, "sentence", limits)
		chunktest.Check(t, s, text, limits)
		checkWindows(t, s, text)
		if len(text) <= 1000 {
			if got, want := chunktest.Collect(s, text), slowSentences(limits, text); !slices.Equal(got, want) {
				t.Errorf("%+v on %+q:\n got %s\nwant %s", limits, text, cuts(text, got), cuts(text, want))
			}
		}
		most := limits
		most.Window = -1
		m := parseMore(t, "sentence", most, fmt.Sprintf(`,"max_sentences":%d`, 1+overlap%3))
		chunktest.Check(t, m, text, most)
		checkWindows(t, m, text)
		most.AtMost, most.Window = true, 272
		chunktest.Check(t, parse(t, "sentence", most), text, most)
	})
}

// What a sentence is, by chunks of one.
func TestSentenceCuts(t *testing.T) {
	t.Parallel()
	for _, want := range [][]string{
		{"Dr. J. R. R. Smith (e.g. of the U.S. Navy) met Mr. B. He paid $3.50. ", "See No. 5 and Fig. 3. ", "No. ", "Go!"},
		{"A line that is\nwrapped. ", "And one\r\nmore? ", "“Yes.”\n\n", "A new one\n", "- an item\n", "- another. ", "Two\n",
			"# Head\n", "Text.\n"},
		{"1. First item. ", "More.\n", "2. Second\n", "| a | b |\n", "```go\nx. Y\n", "```\n"},
		{"他来了。", "「好！」", "他说。", "本当？", "「行く。」と言った。", "次の日、雨。"},
		{"नमस्ते। ", "यह है॥ ", "كيف حالك؟ ", "نعم۔ ", "بخير. ", "Ինչպե՞ս ես։ ", "ሰላም። ", "ខ្ញុំ។ ", "မင်္ဂလာပါ။ ", "བོད། ", "ཡིན།"},
		{"See https://a.example/x?y=1.2&z!w, Node.js 3.14... ", "No?! ", "Yes!!! ", "Wait… what… ", "[12] Done.[3] ", "Then **so.** ", "Next"},
		{"“Why?” she asked. ", "“Go!” ", "He went. ", "(It was so.) ", "„Geh.“ ", "Dann kam er. ", "»Nein!« ", "Ja."},
		{"Am 3. Oktober ist z.B. Feiertag. ", "M. Dupont et Mme. Curie. ", "El Sr. López. ", "Approx. 5 p.m. ", "Then etc. ",
			"Inc. said so. ", "So do I. ", "Yes."},
		{"no end. in lower case, but here! ", "is it? ", "ok"},
		{"One.  \n  ", "\n\n  Two.\u2029", "Three\r\n\r\n", "Four.\u2028Five. ", "Six"},
	} {
		if want[0] == "One.  \n  " { // white space is divided at lines
			want = []string{"One.  \n  \n\n", "  Two.\u2029", "Three\r\n\r\n", "Four.\u2028", "Five. ", "Six"}
		}
		text := strings.Join(want, "")
		var got []string
		for c := range parseMore(t, "sentence", chunktest.Limits{Unit: "chars", Size: 1000}, `,"max_sentences":1`).Split(text) {
			got = append(got, text[c.Start:c.End])
			if wantWhy := chunk.AtStructure; c.End == len(text) {
				if c.Reason != chunk.AtEnd || c.Boundary != chunk.End {
					t.Errorf("%q ends at %s for %s", text[c.Start:c.End], c.Boundary, c.Reason)
				}
			} else if c.Reason != wantWhy {
				t.Errorf("%q ends for %s", text[c.Start:c.End], c.Reason)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
	}
}

func TestSentenceSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits     chunktest.Limits
		more, text string
		want       []string
	}{
		{chunktest.Limits{Unit: "chars", Size: 20}, "", "One two. Three four. Five six.", []string{"One two. Three four.", " Five six."}},
		{chunktest.Limits{Unit: "chars", Size: 19}, "", "One two. Three four. Five six.", []string{"One two. ", "Three four. ", "Five six."}},
		{chunktest.Limits{Unit: "chars", Size: 17}, "", "One two. Three 4. Five six.", []string{"One two. Three 4.", " Five six."}},
		{chunktest.Limits{Unit: "chars", Size: 20}, "", "A long sentence, that is, must be cut. Short.",
			[]string{"A long sentence, ", "that is, must be ", "cut. Short."}},
		{chunktest.Limits{Unit: "chars", Size: 20}, "", "A very long sentence\nwithout pauses.",
			[]string{"A very long ", "sentence\nwithout ", "pauses."}},
		{chunktest.Limits{Unit: "chars", Size: 8}, "", "Abcdefghijkl mn.", []string{"Abcdefgh", "ijkl mn."}},
		{chunktest.Limits{Unit: "chars", Size: 30, Overlap: 12, AtMost: true}, "", "One two three. Four. Five. Six seven eight.",
			[]string{"One two three. Four. Five. ", "Four. Five. Six seven eight."}},
		{chunktest.Limits{Unit: "chars", Size: 20, Overlap: 5, AtMost: true}, "", "One two three. Four five six.",
			[]string{"One two three. ", "Four five six."}},
		{chunktest.Limits{Unit: "chars", Size: 100}, `,"max_sentences":2`, "One. Two? Three! Four.", []string{"One. Two? ", "Three! Four."}},
		{chunktest.Limits{Unit: "chars", Size: 100, Min: 12}, `,"max_sentences":1`, "One. Two? Three! Four.",
			[]string{"One. Two? Three! ", "Four."}},
		{chunktest.Limits{Unit: "chars", Size: 40, Soft: 15}, "", "A long one without a place. Two. Three. Four.",
			[]string{"A long one without a place. Two. Three. ", "Four."}},
		{chunktest.Limits{Unit: "chars", Size: 14}, `,"max_sentences":1,"abbreviations":["Abk."]`, "So Abk. Then. So abk. Then.", []string{"So Abk. Then. ", "So abk. ", "Then."}},
		{chunktest.Limits{Unit: "chars", Size: 14}, `,"max_sentences":1,"abbreviations":["abk"]`, "So Abk. Then. So abk. Then.", []string{"So Abk. Then. ", "So abk. Then."}},
	} {
		var got []string
		for c := range parseMore(t, "sentence", test.limits, test.more).Split(test.text) {
			got = append(got, test.text[c.Start:c.End])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v %s: got %q, want %q", test.limits, test.more, got, test.want)
		}
	}
	for settings, want := range map[string]string{
		`{"max_sentences":-1}`:          `max_sentences: -1 is out of range, which is 0 to 1073741824 (use 1 for a chunk a sentence, or leave it out)`,
		`{"abbreviations":["et al."]}`:  `abbreviations: "et al." holds more than letters, digits, full stops and hyphens (give words such as "approx"; of "et al." only the last, "al")`,
		`{"abbreviations":["a","."]}`:   `abbreviations: "." is empty (give words such as "approx"; of "et al." only the last, "al")`,
		`{"abbreviations":"approx"}`:    `abbreviations must be an array of strings, not the string "approx" (give an array of strings)`,
		`{"min_sentences_per_chunk":2}`: `min_sentences_per_chunk is not a setting of sentence (leave it out, or use "min_chunk_size"; "max_sentences" is the most a chunk holds)`,
	} {
		if _, err := chunk.Parse("sentence", []byte(settings)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", settings, err, want)
		}
	}
	plan, err := chunk.Parse("sentence", []byte(`{"abbreviations":["b.","a","b"]}`))
	if want := `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars","abbreviations":["a","b"]}`; err != nil || string(plan.Settings) != want {
		t.Errorf("got %s and %v, want %s", plan.Settings, err, want)
	}
}

func ExampleParse_sentence() {
	text := "Dr. Smith came, e.g. by train.\nHe paid $3.50. “Why?” she asked. 他走了。「好！」"
	plan, err := chunk.Parse("sentence", []byte(`{"max_sentences":1}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		fmt.Printf("%q\n", text[c.Start:c.End])
	}
	// Output:
	// "Dr. Smith came, e.g. by train.\n"
	// "He paid $3.50. "
	// "“Why?” she asked. "
	// "他走了。"
	// "「好！」"
}

func BenchmarkSentence(b *testing.B) {
	const size = 4 << 20
	for _, text := range []chunktest.Text{
		{Name: "prose", Text: chunktest.Prose(size)},
		{Name: "wrapped", Text: strings.ReplaceAll(chunktest.Prose(size), ", ", ",\n")},
		{Name: "cjk", Text: chunktest.Han(size)},
		{Name: "devanagari", Text: strings.Repeat("नमस्ते दुनिया। यह एक परीक्षण है॥ ", size/80)},
		{Name: "no end", Text: strings.Repeat("words without an end ", size/21)},
	} {
		for _, more := range []string{"", `,"max_sentences":1`} {
			b.Run(text.Name+more, func(b *testing.B) {
				s := parseMore(b, "sentence", chunktest.Limits{Unit: "chars", Size: 1000}, more)
				benchmarkSplit(b, s, text.Text)
			})
		}
	}
}
