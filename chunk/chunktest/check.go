// Package chunktest is the contract of chunk.Splitter as tests: Check for what a splitter cuts, Linear for how long it
// takes, and Texts that have broken splitters before. A new strategy is done when it passes both on all of them.
package chunktest

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chunkstream/chunk"
)

// Slack is how many bytes beyond the limit of a chunk the pull that yields it may examine: one rune, rounded up.
const Slack = 8

// clusterRunes is the most runes a splitter may move the start of an overlap, or skip, to keep a grapheme cluster whole.
const clusterRunes = 32

// Limits is what a splitter was asked for, as in its settings. A Size of 0 checks neither size, overlap nor look-ahead.
type Limits struct {
	Unit    string      // "bytes", "chars", "words" or "tokens"
	Size    int         // the most a chunk may hold
	Overlap int         // how far a chunk reaches back into the one before it
	Sizer   chunk.Sizer // counts tokens; for that unit only

	Soft int // where a chunk should end; 0 is Size
	// Min is what a chunk holds at least, but where the text, left out white space or, in bytes, a character that does not fit
	// ends it; in tokens, about.
	Min     int
	AtMost  bool // the overlap may be less: it starts at a boundary
	Context bool // Size is for a chunk and its context together
	// Window is how many bytes beyond the limit of a chunk its pull may examine, besides Slack; below 0 any number, for a
	// strategy whose documentation says so.
	Window int
	// Levels are the sizes of the levels below the first, for a hierarchical splitter.
	Levels []int
}

// size is how much s holds, in the unit.
func (l Limits) size(s string) int {
	switch l.Unit {
	case "bytes":
		return len(s)
	case "words":
		return len(words(s))
	case "tokens":
		return l.Sizer.Count(s)
	}
	return utf8.RuneCountInString(s)
}

// tokenBytes is how long a token can be: the pull for a chunk in tokens may examine that much for each.
const tokenBytes = 128

// end is the furthest a chunk of text that starts at start may reach, or what it may examine if that is more.
func (l Limits) end(text string, start int) int {
	switch l.Unit {
	case "bytes":
		return min(len(text), start+l.Size)
	case "tokens":
		return min(len(text), start+l.Size*tokenBytes)
	case "words":
		if starts := words(text[start:]); len(starts) > l.Size {
			return start + starts[l.Size]
		}
		return len(text)
	}
	n := 0
	for i := range text[start:] {
		if n == l.Size {
			return start + i
		}
		n++
	}
	return len(text)
}

// words returns where the words of s start: at each Chinese or Japanese character, and at each other one that is not
// white space and follows none of its kind.
func words(s string) (starts []int) {
	const (
		space = iota
		wide
		other
	)
	kind := func(r rune) int {
		in := func(lo, hi rune) bool { return lo <= r && r <= hi }
		switch {
		case unicode.IsSpace(r):
			return space
		case in(0x2E80, 0x2FDF), in(0x3001, 0x312F), in(0x3190, 0x31FF), in(0x3220, 0x3247), in(0x3280, 0x4DBF),
			in(0x4E00, 0x9FFF), in(0xF900, 0xFAFF), in(0xFE30, 0xFE4F), in(0xFF01, 0xFF9F), in(0x1B000, 0x1B16F),
			in(0x20000, 0x3FFFF):
			return wide
		}
		return other
	}
	last := space
	for i, r := range s {
		k := kind(r)
		if k == wide || k == other && last != other {
			starts = append(starts, i)
		}
		last = k
	}
	return starts
}

// Check reports every way in which s breaks the contract on text. Whatever the text, valid UTF-8 or not:
//
//   - chunks lie in the text, are not empty, and on each level both their starts and their ends strictly advance;
//   - nothing but white space is left out, of the text or, on a lower level, of the parent, and no chunk is white space
//     only;
//   - a chunk below level 0 lies in its parent, which is the last one before it on the level above;
//   - context is text that ends before the chunk starts;
//   - a second walk yields the same, and a walk that stops early a prefix of it.
//
// For valid UTF-8 also:
//
//   - chunks lie on rune boundaries and are within the limit, in the unit;
//   - with overlap 0 chunks never overlap, so what they hold is the text less the white space left out. With overlap o
//     a chunk starts o units before the end of the one before it, never earlier; later only where white space was left
//     out between them, where o units reach back to the start of the chunk before it, or by the few runes it takes to
//     reach a character, to stay out of a grapheme cluster, or (in bytes and tokens) to have room for the next
//     character; in words also by white space; in tokens also by as many as a character has;
//   - a pull looks no further than Slack and Limits.Window bytes beyond the limit of the chunk it yields: the chunks so
//     far stay the same when the text beyond is replaced. In tokens, 128 bytes for each token of the limit take its
//     place.
//
// text should be short: Check walks it some tens of times. It only calls tb.Helper and tb.Errorf, from the caller's
// goroutine.
func Check(tb testing.TB, s chunk.Splitter, text string, limits Limits) {
	tb.Helper()
	all, err := collect(s, text)
	if err != nil {
		tb.Errorf("%v\ntext: %s", err, show(text))
		return
	}
	levels := make([][]chunk.Span, len(limits.Levels)+1)
	var problems []string
	for _, c := range all {
		if int(c.Level) >= len(levels) {
			tb.Errorf("chunk %v is of level %d, which nobody asked for", c.Span, c.Level)
			return
		}
		levels[c.Level] = append(levels[c.Level], c.Span)
	}
	valid := utf8.ValidString(text)
	for level, spans := range levels {
		within := []chunk.Span{{Start: 0, End: len(text)}}
		l := limits
		if level > 0 {
			within, l.Size = levels[level-1], limits.Levels[level-1]
		}
		found := checkCover(text, within, spans)
		if valid {
			found = append(found, checkRunes(text, spans)...)
			if len(found) == 0 && limits.Size > 0 {
				found = append(found, checkLimits(text, within, spans, l)...)
			}
		}
		problems = append(problems, found...)
	}
	problems = append(problems, checkContext(text, all, limits)...)
	if valid && len(problems) == 0 && limits.Size > 0 && limits.Window >= 0 {
		problems = append(problems, checkLookAhead(s, text, all, limits)...)
	}
	problems = append(problems, checkRepeat(s, text, all)...)
	for _, p := range problems {
		tb.Errorf("%s\nlimits: %+v\ntext: %s", p, limits, show(text))
	}
}

// collect walks the whole text, but stops a splitter that does not advance: it might never stop by itself.
func collect(s chunk.Splitter, text string) (all []chunk.Chunk, err error) {
	last := map[uint8]chunk.Span{}
	order := map[uint8]int{}
	for c := range s.Split(text) {
		sp := c.Span
		before, some := last[c.Level]
		if !some {
			before = chunk.Span{Start: -1, End: 0}
		}
		switch {
		case sp.Start < 0 || sp.End > len(text) || sp.Start > sp.End:
			err = fmt.Errorf("span %d is %v, outside the text of %d bytes", len(all), sp, len(text))
		case sp.Start == sp.End:
			err = fmt.Errorf("span %d is %v, which is empty", len(all), sp)
		case sp.Start <= before.Start:
			err = fmt.Errorf("span %d is %v, whose start does not advance from %v", len(all), sp, before)
		case sp.End <= before.End:
			err = fmt.Errorf("span %d is %v, whose end does not advance from %v", len(all), sp, before)
		case c.Level == 0 && c.Up != 0:
			err = fmt.Errorf("span %d is %v, of level 0 with a parent", len(all), sp)
		}
		if c.Level > 0 && err == nil {
			up, some := last[c.Level-1]
			if !some || order[c.Level-1] != len(all)-c.Up || sp.Start < up.Start || sp.End > up.End {
				err = fmt.Errorf("span %d is %v of level %d, not inside its parent", len(all), sp, c.Level)
			}
		}
		if err != nil {
			return nil, err
		}
		last[c.Level], order[c.Level] = sp, len(all)
		all = append(all, c)
	}
	return all, nil
}

// Same reports whether two chunks are equal, their context by what it says.
func Same(a, b chunk.Chunk) bool {
	for x, y := a.Context, b.Context; x != nil || y != nil; x, y = x.Up, y.Up {
		if x == nil || y == nil || x.Span != y.Span || x.Text != y.Text || x.Kind != y.Kind || x.Level != y.Level {
			return false
		}
	}
	a.Context, b.Context = nil, nil
	return a == b
}

func checkContext(text string, all []chunk.Chunk, limits Limits) (problems []string) {
	for i, c := range all {
		size := 0
		for x := c.Context; x != nil; x = x.Up {
			if x.Start < 0 || x.Start >= x.End || x.End > c.Start || text[x.Start:x.End] != x.Text {
				return append(problems, fmt.Sprintf("span %d %v has context %v %q, which is not text before it", i, c.Span, x.Span, x.Text))
			}
			if x.Up != nil && x.Up.Start >= x.Start {
				return append(problems, fmt.Sprintf("span %d %v has context %v inside of %v", i, c.Span, x.Span, x.Up.Span))
			}
			size += limits.size(x.Text)
		}
		if limits.Context && size > 0 && utf8.ValidString(text) && size+limits.size(text[c.Start:c.End]) > limits.Size {
			problems = append(problems, fmt.Sprintf("span %d %v holds, with %d %s of context, more than %d",
				i, c.Span, size, limits.Unit, limits.Size))
		}
	}
	return problems
}

// checkCover checks that spans cover the ink of each of within, in order.
func checkCover(text string, within, spans []chunk.Span) (problems []string) {
	for _, w := range within {
		covered := w.Start
		for len(spans) > 0 && spans[0].Start < w.End && spans[0].End <= w.End {
			sp := spans[0]
			spans = spans[1:]
			if sp.Start > covered && !isBlank(text[covered:sp.Start]) {
				problems = append(problems, fmt.Sprintf("before %v, bytes %d to %d are left out: %s",
					sp, covered, sp.Start, show(text[covered:sp.Start])))
			}
			if isBlank(text[sp.Start:sp.End]) {
				problems = append(problems, fmt.Sprintf("span %v is white space only", sp))
			}
			covered = sp.End
		}
		if !isBlank(text[covered:w.End]) {
			problems = append(problems, fmt.Sprintf("after the last span, bytes %d to %d are left out: %s",
				covered, w.End, show(text[covered:w.End])))
		}
	}
	return problems
}

func checkRunes(text string, spans []chunk.Span) (problems []string) {
	for i, sp := range spans {
		if !utf8.ValidString(text[sp.Start:sp.End]) {
			problems = append(problems, fmt.Sprintf("span %d %v cuts a character", i, sp))
		}
	}
	return problems
}

func checkLimits(text string, within, spans []chunk.Span, limits Limits) (problems []string) {
	for i, sp := range spans {
		for len(within) > 1 && within[0].End <= sp.Start || within[0].End < sp.End {
			within = within[1:]
		}
		if got := limits.size(text[sp.Start:sp.End]); got > limits.Size {
			problems = append(problems, fmt.Sprintf("span %d %v holds %d %s, above the limit of %d",
				i, sp, got, limits.Unit, limits.Size))
		}
		if got := limits.size(text[sp.Start:sp.End]); got < limits.Min && limits.Unit != "tokens" {
			next := within[0].End
			if i+1 < len(spans) {
				next = min(next, spans[i+1].Start)
			}
			_, width := utf8.DecodeRuneInString(text[sp.End:])
			fits := limits.Unit != "bytes" || got+width <= limits.Size
			if next <= sp.End && next < within[0].End && fits {
				problems = append(problems, fmt.Sprintf("span %d %v holds %d %s, below the least size of %d",
					i, sp, got, limits.Unit, limits.Min))
			}
		}
		if i == 0 {
			continue
		}
		prev := spans[i-1]
		if prev.Start < within[0].Start { // of another parent
			continue
		}
		if limits.Overlap == 0 {
			if sp.Start < prev.End {
				problems = append(problems, fmt.Sprintf("span %d %v overlaps %v, with overlap 0", i, sp, prev))
			}
			continue
		}
		if sp.Start > prev.End { // checkCover has seen that only white space is left out
			continue
		}
		if got := limits.size(text[sp.Start:prev.End]); got > limits.Overlap {
			problems = append(problems, fmt.Sprintf("span %d %v overlaps %v by %d %s, above %d",
				i, sp, prev, got, limits.Unit, limits.Overlap))
			continue
		}
		if limits.AtMost {
			continue
		}
		if missed := lateStart(text, prev, sp, limits); missed != "" {
			problems = append(problems, fmt.Sprintf("span %d %v overlaps %v by less than %d %s: it also should have %s",
				i, sp, prev, limits.Overlap, limits.Unit, show(missed)))
		}
	}
	return problems
}

// prepended are the characters with the property Prepend of Grapheme_Cluster_Break.
const prepended = "\u0600\u0601\u0602\u0603\u0604\u0605\u06DD\u070F\u0890\u0891\u08E2\u0D4E\U000110BD\U000110CD" +
	"\U000111C2\U000111C3\U000113D1\U0001193F\U00011941\U00011A84\U00011A85\U00011A86\U00011A87\U00011A88\U00011A89" +
	"\U00011D46\U00011F02"

// lateStart returns the text between where next should start and where it does, if nothing excuses that.
func lateStart(text string, prev, next chunk.Span, limits Limits) string {
	from := prev.Start // the first start that is allowed
	for from < prev.End && (from == prev.Start || limits.size(text[from:prev.End]) > limits.Overlap) {
		_, w := utf8.DecodeRuneInString(text[from:])
		from += w
		if limits.Unit == "bytes" || limits.Unit == "tokens" { // room for the next character
			_, w := utf8.DecodeRuneInString(text[prev.End:])
			for from < prev.End && limits.size(text[from:prev.End+w]) > limits.Size {
				_, skip := utf8.DecodeRuneInString(text[from:])
				from += skip
			}
		}
	}
	if next.Start <= from {
		return ""
	}
	missed := text[from:next.Start]
	switch limits.Unit {
	case "words":
		if missed = strings.TrimLeftFunc(missed, unicode.IsSpace); missed == "" {
			return ""
		}
	case "tokens": // the tokens of a character, not all of which may be its own
		if limits.size(text[from:prev.End])-limits.size(text[next.Start:prev.End]) <= utf8.UTFMax {
			return ""
		}
	}
	// A cluster that began before from excuses its rest, which starts with a rune that is not ASCII, or is CR LF, or
	// follows a mark that stands before its base.
	if missed == "\n" && text[from-1] == '\r' {
		return ""
	}
	before, _ := utf8.DecodeLastRuneInString(text[:next.Start-len(missed)])
	for _, r := range missed {
		if r < utf8.RuneSelf && !strings.ContainsRune(prepended, before) {
			return missed
		}
		before = r
	}
	if utf8.RuneCountInString(missed) > clusterRunes {
		return missed
	}
	return ""
}

// checkLookAhead replaces the text beyond what the pull for a span may examine; that span and those before must stay.
func checkLookAhead(s chunk.Splitter, text string, spans []chunk.Chunk, limits Limits) (problems []string) {
	step := 1 + len(spans)/8
	for i := 0; i < len(spans); i += step {
		seen := limits.end(text, spans[i].Start) + Slack + limits.Window
		for seen < len(text) && !utf8.RuneStart(text[seen]) {
			seen++
		}
		if seen >= len(text) {
			break
		}
		for _, other := range []string{"\n\n\n", "x", " . ", "。\u0301", strings.Repeat("\n\nOther text. ", 9)} {
			changed := text[:seen] + other
			n := 0
			for sp := range s.Split(changed) {
				if n > i {
					break
				}
				if !Same(sp, spans[n]) {
					problems = append(problems, fmt.Sprintf("chunk %d is %+v, but %+v when the text from byte %d is %s",
						n, spans[n], sp, seen, show(other)))
					return problems
				}
				n++
			}
			if n <= i {
				problems = append(problems, fmt.Sprintf("span %d is %v, but there are only %d when the text from byte %d is %s",
					i, spans[i], n, seen, show(other)))
				return problems
			}
		}
	}
	return problems
}

func checkRepeat(s chunk.Splitter, text string, spans []chunk.Chunk) (problems []string) {
	for _, stop := range []int{len(spans) + 1, len(spans) / 2, 1} {
		n := 0
		for sp := range s.Split(text) {
			if n >= len(spans) || !Same(sp, spans[n]) {
				return append(problems, fmt.Sprintf("span %d is %v in another walk, not as in the first", n, sp))
			}
			if n++; n >= stop {
				break
			}
		}
		if want := min(stop, len(spans)); n < want {
			return append(problems, fmt.Sprintf("another walk yields %d spans, not %d", n, want))
		}
	}
	return problems
}

// isBlank reports whether s is white space only.
func isBlank(s string) bool {
	for _, r := range s {
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// show quotes s for a message, shortened in the middle.
func show(s string) string {
	const most = 400
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q … %q (%d bytes)", s[:most/2], s[len(s)-most/2:], len(s))
}
