package chunk_test

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"
)

// slow cuts by the words of the documentation, one boundary after the other, with no thought of speed. The strategies
// must give exactly its spans.
type slow struct {
	text          string
	recursive     bool
	bytes         bool
	words         bool
	size, overlap int
	choose        func(s slow, start, limit int, candidates []int) int // for a strategy of its own; may be nil
	runes         []int                                                // every rune boundary, in order
}

func (s slow) spans() (spans []chunk.Span) {
	for i := range s.text {
		s.runes = append(s.runes, i)
	}
	s.runes = append(s.runes, len(s.text))

	start, end := 0, 0
	for start < len(s.text) {
		limit := start
		for _, i := range s.runes {
			if i > start && !s.fits(start, i) {
				break // nor does what is longer
			}
			limit = max(limit, i)
		}
		fresh := strings.TrimSpace(s.text[end:limit]) != ""
		if limit == len(s.text) {
			if fresh {
				spans = append(spans, chunk.Span{Start: start, End: limit})
			}
			return spans
		}
		if strings.TrimSpace(s.text[start:limit]) == "" {
			start = len(s.text) - len(strings.TrimLeftFunc(s.text[limit:], unicode.IsSpace))
			end = start
			continue
		}
		at := s.cut(start, end, limit, fresh)
		spans = append(spans, chunk.Span{Start: start, End: at})
		start, end = s.next(start, at), at
	}
	return spans
}

func (s slow) measure(from, to int) int {
	if s.bytes {
		return to - from
	}
	n := 0
	if s.words {
		inside := false
		for _, r := range s.text[from:to] {
			switch {
			case unicode.IsSpace(r):
				inside = false
			case slowWide(r):
				n++
				inside = false
			case !inside:
				n++
				inside = true
			}
		}
		return n
	}
	for i := from; i < to; i++ {
		if utf8.RuneStart(s.text[i]) {
			n++
		}
	}
	return n
}

func (s slow) fits(from, to int) bool {
	return s.measure(from, to) <= s.size && (s.words || to-from <= 4*s.size)
}

func (s slow) startsWord(i int) bool {
	before, _ := utf8.DecodeLastRuneInString(s.text[:i])
	r, _ := utf8.DecodeRuneInString(s.text[i:])
	return slowWide(r) || i == 0 || unicode.IsSpace(before) || slowWide(before)
}

// wideBlocks are the first and last characters of the blocks whose characters are words by themselves.
var wideBlocks = [][2]rune{
	{0x2E80, 0x2FDF}, {0x3001, 0x312F}, {0x3190, 0x31FF}, {0x3220, 0x3247}, {0x3280, 0x4DBF}, {0x4E00, 0x9FFF},
	{0xF900, 0xFAFF}, {0xFE30, 0xFE4F}, {0xFF01, 0xFF9F}, {0x1B000, 0x1B16F}, {0x20000, 0x3FFFF},
}

// slowWide reports whether r is in one of them.
func slowWide(r rune) bool {
	for _, block := range wideBlocks {
		if block[0] <= r && r <= block[1] {
			return true
		}
	}
	return false
}

func (s slow) cut(start, end, limit int, fresh bool) int {
	var candidates []int
	for _, i := range s.runes {
		switch {
		case i <= end || i > limit:
		case fresh && strings.TrimSpace(s.text[end:i]) == "":
		case s.overlap > 0 && s.measure(start, i) <= s.overlap && i != limit:
		default:
			candidates = append(candidates, i)
		}
	}
	if s.choose != nil && fresh {
		if at := s.choose(s, start, limit, candidates); at > 0 {
			return at
		}
	}
	if s.recursive && fresh {
		best, at := 0, 0
		for _, i := range candidates {
			if l := s.level(i); l > 0 && l >= best && s.measure(start, i) > s.size/2 {
				best, at = l, i
			}
		}
		if best > 0 {
			return at
		}
		for _, i := range candidates {
			if s.level(i) > 0 && s.measure(start, i) <= s.size/2 {
				at = i
			}
		}
		if at > 0 {
			return at
		}
	}
	for back := range min(32, len(candidates)) {
		if i := candidates[len(candidates)-1-back]; s.apart(i) {
			return i
		}
	}
	return limit
}

func (s slow) next(start, at int) int {
	if s.overlap == 0 {
		return at
	}
	from := at
	_, w := utf8.DecodeRuneInString(s.text[at:])
	for _, i := range slices.Backward(s.runes) {
		if i >= at {
			continue
		}
		if i <= start || s.bytes && (at-i > s.overlap || at+w-i > s.size) || !s.bytes && !s.words && at-i > 4*s.overlap {
			break
		}
		from = i
		if s.measure(i, at) == s.overlap && (!s.words || s.startsWord(i)) {
			break
		}
	}
	steps := 0
	for _, i := range s.runes {
		if i < from {
			continue
		}
		if i == at || s.apart(i) {
			return i
		}
		if steps++; steps == 32 {
			break
		}
	}
	return from
}

const (
	slowClosers   = "\"')]}’”»」』）】》〉〕］｝｣"
	slowStops     = ".!?…؟۔।॥"
	slowCommas    = ",;:،؛"
	slowWideStops = "。！？．｡"
	slowWideComma = "，、；：､"
)

// level is 5 for a blank line, 4 for a line end, 3 for a sentence, 2 for a clause, 1 for white space, 0 for no boundary.
func (s slow) level(i int) int {
	head := s.text[:i]
	if strings.HasSuffix(head, "\n") {
		if strings.HasSuffix(strings.TrimRight(head[:i-1], " \t\r"), "\n") {
			return 5
		}
		return 4
	}
	if !s.apart(i) {
		return 0
	}
	body := strings.TrimRightFunc(head, unicode.IsSpace)
	space := head[len(body):]
	if strings.Contains(space, "\n") || strings.HasSuffix(space, "\u00a0") || strings.HasSuffix(space, "\u2007") ||
		strings.HasSuffix(space, "\u202f") {
		return 0
	}
	next, _ := utf8.DecodeRuneInString(s.text[i:])
	if space == "" && strings.ContainsRune(slowClosers+slowWideStops+slowWideComma, next) {
		return 0
	}
	stops, commas := slowWideStops, slowWideComma
	if space != "" {
		stops, commas = stops+slowStops, commas+slowCommas
	}
	for range 5 {
		r, w := utf8.DecodeLastRuneInString(body)
		if body != "" && strings.ContainsRune(stops, r) {
			return 3
		}
		if body != "" && strings.ContainsRune(commas, r) {
			return 2
		}
		if body == "" || !strings.ContainsRune(slowClosers, r) {
			break
		}
		body = body[:len(body)-w]
	}
	if space != "" {
		return 1
	}
	return 0
}

// The rules GB3 to GB13 of UAX #29 on the classes before and behind a place, as letters: o Other, c Control, p Prepend,
// L V T H K the jamo and the syllables LV and LVT, i Regional_Indicator, x Extended_Pictographic, n Consonant,
// s SpacingMark, j U+200C, e Extend, k Linker, z U+200D. Those that look back do so over 32 runes. after is any class if
// it is empty.
var clusterRules = []struct {
	before *regexp.Regexp
	after  string
	breaks bool
}{
	{regexp.MustCompile(`c$`), ``, true},
	{regexp.MustCompile(``), `c`, true},
	{regexp.MustCompile(`L$`), `LVHK`, false},
	{regexp.MustCompile(`[HV]$`), `VT`, false},
	{regexp.MustCompile(`[KT]$`), `T`, false},
	{regexp.MustCompile(``), `sjekz`, false},
	{regexp.MustCompile(`p$`), ``, false},
	{regexp.MustCompile(`n[ekz]{0,30}k[ekz]{0,30}$`), `n`, false},
	{regexp.MustCompile(`x[ekj]{0,31}z$`), `x`, false},
	{regexp.MustCompile(`(?:^|[^i])(?:ii){0,15}i$`), `i`, false},
	{regexp.MustCompile(``), ``, true},
}

// apart reports whether the runes around i are in different grapheme clusters.
func (s slow) apart(i int) bool {
	if strings.HasSuffix(s.text[:i], "\r") && strings.HasPrefix(s.text[i:], "\n") {
		return false
	}
	var before []byte
	for _, r := range reversed(s.text[:i]) {
		before = append(before, chunk.ClusterClass(r))
	}
	slices.Reverse(before)
	r, _ := utf8.DecodeRuneInString(s.text[i:])
	after := chunk.ClusterClass(r)
	for n, rule := range clusterRules {
		if rule.after != "" && strings.IndexByte(rule.after, after) < 0 {
			continue
		}
		b := before
		if n != 8 && len(b) > 32 {
			b = b[1:]
		}
		if rule.before.Match(b) {
			return rule.breaks
		}
	}
	return true
}

// reversed returns the last 33 runes of s, the last first.
func reversed(s string) (runes []rune) {
	for len(runes) < 33 && s != "" {
		r, w := utf8.DecodeLastRuneInString(s)
		runes = append(runes, r)
		s = s[:len(s)-w]
	}
	return runes
}
