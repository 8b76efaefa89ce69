package chunk

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sentence fills each chunk with whole sentences: it ends at the last end of a sentence that the limit allows. Only a
// sentence that is longer than the limit is cut inside: at the last comma or its like in the second half of chunk_size,
// else at white space there, else at the last of either in the first half, else as fixed_size does. White space behind a
// sentence belongs to it; where only that is beyond the limit, the chunk ends in it.
//
// Where sentences end is what UAX #29 says (section 5, rules SB1 to SB998), by its property Sentence_Break of the version
// of package unicode, but tailored as the standard asks for. The tailoring, T1 to T9, is described at isEnd and
// lineBoundary, which have it.
//
// The search goes back from the limit. Whether a sentence ends at a place is decided by at most 160 bytes before it, not
// counting white space, and sentenceAhead behind it, so a pull examines no more than that beyond the limit of the chunk
// it yields.
//
// With overlap_mode boundary, a chunk repeats the last whole sentences of the one before it that fit in chunk_overlap;
// none where the last one does not.
type sentence struct {
	sizing
	MaxSentences  int      `json:"max_sentences,omitempty"`
	Abbreviations []string `json:"abbreviations,omitempty"` // without their last full stop, in order

	more map[string]bool // Abbreviations
}

const sentenceSummary = "Fills chunks with whole sentences of any language; only a sentence longer than the limit is cut."

// sentenceAhead is how many bytes beyond a place, besides slack, decide whether a sentence ends there: aheadRunes, and
// most of a word.
const sentenceAhead = 272

// maxAbbreviation bounds one of the abbreviations, in bytes.
const maxAbbreviation = 32

func (s *sentence) fields() []field {
	return append(s.sizing.fields(), field{
		"max_sentences", `{"type":"integer","minimum":0,"maximum":1073741824,"default":0,` +
			`"description":"The most sentences a chunk may hold, besides the overlap; more only where min_chunk_size asks for ` +
			`them. 0 is any number."}`,
		func(v value) *ParamError { return v.integer(&s.MaxSentences) },
	}, field{
		"abbreviations", `{"type":"array","items":{"type":"string","minLength":1,"maxLength":32},"maxItems":100,` +
			`"description":"More abbreviations that end no sentence, such as \"approx\" or \"Abs.\"; one with a capital means only ` +
			`that spelling. Common ones of European languages are known."}`,
		func(v value) *ParamError { return v.texts(&s.Abbreviations) },
	})
}

func (s *sentence) check(p Parser) *ParamError {
	if perr := s.sizing.check(p); perr != nil {
		return perr
	}
	if s.MaxSentences < 0 || s.MaxSentences > maxSize {
		return &ParamError{
			Param: "max_sentences", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is 0 to %d", s.MaxSentences, maxSize),
			Suggestion: "use 1 for a chunk a sentence, or leave it out",
		}
	}
	for i, a := range s.Abbreviations {
		word := strings.TrimSuffix(a, ".")
		problem := ""
		switch {
		case word == "":
			problem = "is empty"
		case len(word) > maxAbbreviation:
			problem = fmt.Sprintf("is longer than %d bytes", maxAbbreviation)
		case strings.IndexFunc(word, func(r rune) bool { return !inAbbreviation(r) }) >= 0:
			problem = "holds more than letters, digits, full stops and hyphens"
		}
		if problem != "" {
			return &ParamError{
				Param: "abbreviations", Code: CodeInvalidValue, Problem: quote(a) + " " + problem,
				Suggestion: `give words such as "approx"; of "et al." only the last, "al"`,
			}
		}
		s.Abbreviations[i] = word
	}
	slices.Sort(s.Abbreviations)
	s.Abbreviations = slices.Compact(s.Abbreviations)
	s.more = map[string]bool{}
	for _, a := range s.Abbreviations {
		s.more[a], s.more[capital(a)] = true, true
	}
	return nil
}

// Split cuts text as the type says.
func (s *sentence) Split(text string) iter.Seq[Chunk] { return splitWalk(s, text) }

func (s *sentence) walk() walk {
	w := &sentenceWalk{sizedWalk: sizedWalk{measure: measure{sizing: s.sizing}, ahead: sentenceAhead}, s: s}
	w.ideal, w.cut = s.last, s.cut
	w.edge = func(from, at int) int {
		if i, b := s.first(w.shown, floorRune(w.shown, from-1), floorRune(w.shown, at-1)); b != Character {
			return i
		}
		return at
	}
	return w
}

// cut is the cutter.
func (s *sentence) cut(text string, lo, mid, hi int) (int, Boundary) {
	if at, b := s.last(text, lo, mid, hi); b != Character {
		return at, b
	}
	from := max(lo, mid)
	if at, b := lastPause(text, from, hi, false); at > 0 {
		return at, b
	}
	if lo < from {
		if at, b := lastPause(text, lo, from, true); at > 0 {
			return at, b
		}
	}
	return cutBack(text, lo, hi), Character
}

// sentenceWalk is sizedWalk with max_sentences.
type sentenceWalk struct {
	sizedWalk
	s     *sentence
	shown string // the window
}

func (w *sentenceWalk) next(text string, last bool) (Chunk, bool) {
	w.shown = text
	if w.s.MaxSentences > 0 {
		if w.skip {
			w.start = skipSpace(text, w.start, len(text))
			if !last && w.start > len(text)-slack {
				return Chunk{}, false
			}
			w.skip, w.end = false, w.start
		}
		at, b, known := w.most(text, last)
		switch {
		case !known:
			return Chunk{}, false
		case b != Character:
			c := Chunk{Span: Span{w.base + w.start, w.base + at}, Boundary: b, Reason: AtStructure}
			w.text = text[:at+runeLen(text, at)] // all that the next start depends on
			if w.Unit == unitTokens && w.ChunkOverlap > 0 {
				w.search(w.start)
			}
			w.start, w.end = w.measure.next(w.start, at), at
			w.measure.drop(0)
			return c, true
		}
	}
	return w.sizedWalk.next(text, last)
}

// most returns where the chunk has max_sentences, in offsets of the window. With the boundary Character, the limit comes
// first. It is not known while the window is too short. The text it searches grows with what it finds, so its time
// follows the chunk whatever the limit is.
func (w *sentenceWalk) most(text string, last bool) (at int, b Boundary, known bool) {
	const first = 1 << 12
	from := skipSpace(text, w.end, len(text))
	if from == len(text) {
		return 0, Character, last || from == w.end
	}
	at = from
	for n, reach := 0, first; ; reach *= 2 {
		hi := len(text)
		if reach < hi-w.start {
			hi = floorRune(text, w.start+reach)
		}
		if !last && hi > len(text)-slack-sentenceAhead {
			return 0, Character, false
		}
		for at < hi {
			var next int
			if next, b = w.s.first(text, at, hi); b == Character {
				break
			}
			for { // blank lines belong to the sentence before them
				more, found := w.s.first(text, next, skipSpace(text, next, hi))
				if found == Character {
					break
				}
				next, b = more, found
			}
			at = next
			n++
			size := w.sizing.size(text[w.start:at])
			if size > w.ChunkSize {
				return 0, Character, true
			}
			if n >= w.s.MaxSentences && size >= w.MinChunkSize {
				return at, b, true
			}
		}
		if hi == len(text) || w.sizing.size(text[w.start:hi]) > w.ChunkSize {
			return 0, Character, true
		}
	}
}

// The bounds of what decides whether a sentence ends at a place, in characters.
const (
	aheadRunes  = 64  // behind the mark and its closers
	closerRunes = 16  // the closers
	wordRunes   = 16  // an abbreviation
	blankBytes  = 128 // of spaces and tabs in a blank line, and of a heading
	indentRunes = 16  // before a list item
)

// sentenceStops are the bytes at which a sentence may end, for the searches: marks, line ends, and all beyond ASCII.
var sentenceStops = func() (stops [256]bool) {
	for _, b := range ".!?\n\r" {
		stops[b] = true
	}
	for b := utf8.RuneSelf; b < 256; b++ {
		stops[b] = true
	}
	return stops
}()

// last returns the last place in (lo, hi] where a sentence ends, or Character. Some rune between the start of the chunk
// and lo is not white space. hi < len(text).
func (s *sentence) last(text string, lo, _, hi int) (int, Boundary) {
	i := hi
	for i > lo {
		if !sentenceStops[text[i-1]] {
			i--
			continue
		}
		r, w := rune(text[i-1]), 1
		if r >= utf8.RuneSelf {
			r, w = utf8.DecodeLastRuneInString(text[:i])
		}
		switch {
		case isLineEnd(r):
			if b := lineBoundary(text, i); b != Character {
				return i, b
			}
		case isTerm(r):
			if at := s.clip(text, i-w, r, w, hi); at > lo {
				return at, Sentence
			}
		}
		i -= w
	}
	// The mark of a sentence that ends in white space behind lo, or behind closers.
	i = spaceStart(text, 0, ceilRune(text, lo))
	for range closerRunes + 1 {
		r, w := utf8.DecodeLastRuneInString(text[:i])
		if isTerm(r) {
			if at := s.clip(text, i-w, r, w, hi); at > lo {
				return at, Sentence
			}
			break
		}
		i -= w
	}
	return 0, Character
}

// clip is the end of the sentence whose mark is the rune r at p, or where hi cuts the white space before that, or 0.
func (s *sentence) clip(text string, p int, r rune, w, hi int) int {
	ink, at := s.isEnd(text, p, r, w, hi)
	if at == 0 || ink > hi {
		return 0
	}
	if at <= hi {
		if isBreak(text, at) {
			return at
		}
		return 0
	}
	for at = hi; at >= ink; at = floorRune(text, at-1) {
		if isBreak(text, at) {
			return at
		}
	}
	return 0
}

// first returns the first place in (lo, hi] where a sentence ends, or Character. What ends in white space or closers
// that begin more than closerRunes before lo is not found.
func (s *sentence) first(text string, lo, hi int) (int, Boundary) {
	i := lo
	for range closerRunes {
		r, w := utf8.DecodeLastRuneInString(text[:i])
		i -= w
		if isTerm(r) {
			break
		}
	}
	for hi = min(hi, len(text)-1); i < hi; {
		if !sentenceStops[text[i]] {
			i++
			continue
		}
		r, w := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, w = utf8.DecodeRuneInString(text[i:])
		}
		switch {
		case isLineEnd(r):
			if r == '\r' && text[i+1] == '\n' {
				break
			}
			if at := i + w; at > lo && at <= hi {
				if b := lineBoundary(text, at); b != Character {
					return at, b
				}
			}
		case isTerm(r):
			if ink, at := s.isEnd(text, i, r, w, hi); ink <= hi && at > lo && at <= hi && isBreak(text, at) {
				if b := lineBoundary(text, at); b != Character {
					return at, b
				}
				return at, Sentence
			}
		}
		i += w
	}
	return 0, Character
}

// isEnd reports where the sentence ends whose mark is the rune r at p, w bytes long: ink is the end of its closers, and at
// the end of the white space behind them, or of the line; white space is searched up to hi, or as far as decides it. at
// is 0 if no sentence ends there.
//
// The rules of UAX #29 are named where they are. Tailored are:
//
//	T1  SB4: a line end is white space, so that wrapped lines are joined. A blank line and U+2029 end a sentence;
//	    see lineBoundary for lines that do.
//	T2  SB11: behind . ! ? and … a sentence ends only where white space follows: a URL, a version or a name such as
//	    Node.js has no end in it. Behind the full stops of other scripts it ends at once.
//	T3  … is an ATerm also; the shad of Tibetan and the khan of Khmer are STerm. SB8: behind closers ! and ? too end
//	    nothing before a lower case letter (“Why?” she asked), and no mark does before と and って: 「行く。」と言った。
//	T4  A full stop behind an abbreviation or an initial ends nothing, but I. does. Some, like No. and Fig., are
//	    abbreviations only before a digit.
//	T5  Nor does one behind the number of a day before the name of a month in German: 3. Oktober.
//	T6  Nor does one behind the number or letter of a list item, at the start of a line.
//	T7  Close: only what closes, so that an opening bracket or quote begins the next sentence; but “ and « close
//	    behind . ! ? and …, as in German. References such as [12] close, and the * and _ of Markdown.
//	T8  SB8 looks no further than aheadRunes; at most closerRunes closers count.
//	T9  SB5: Extend and Format behind white space belong to the next sentence; but never inside a grapheme cluster.
func (s *sentence) isEnd(text string, p int, r rune, w, hi int) (ink, at int) {
	i, closers := p+w, 0
	spaced := r < utf8.RuneSelf || r == '…' // T2
	for n := 0; ; {
		k := closer(text, i, spaced)
		if k == 0 {
			break
		}
		if n += utf8.RuneCountInString(text[i : i+k]); n > closerRunes { // T8
			return i, 0
		}
		if c, _ := utf8.DecodeRuneInString(text[i:]); !ignored(c) {
			closers++
		}
		i += k
	}
	ink = i
	aterm := isATerm(r)
	lines, ahead := 0, 0
	for ; (ahead < aheadRunes || i < hi) && i < len(text); ahead++ {
		c, w := utf8.DecodeRuneInString(text[i:])
		if isLineEnd(c) {
			if c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
				w, ahead = 2, ahead+1
			}
			if lines++; lines == 1 {
				at = i + w
			}
			if lines == 2 || c == '\u2029' || ahead >= aheadRunes { // T1
				return ink, at
			}
		} else if !unicode.IsSpace(c) {
			break
		}
		i += w
	}
	if lines == 0 {
		at = i
	}
	direct := i == ink
	next, w := utf8.DecodeRuneInString(text[i:])
	for ; ignored(next) && ahead < aheadRunes; ahead++ { // T9
		i += w
		next, w = utf8.DecodeRuneInString(text[i:])
	}
	if ahead >= aheadRunes || i == len(text) {
		return ink, at
	}
	switch {
	case direct && spaced, isContinue(next), isTerm(next): // T2, SB8a
		return ink, 0
	case closers > 0 && !aterm && isLower(next), closers > 0 && strings.HasPrefix(text[i:], "と"),
		closers > 0 && strings.HasPrefix(text[i:], "って"): // T3
		return ink, 0
	}
	if !aterm {
		return ink, at
	}
	if direct && closers == 0 {
		before, _ := utf8.DecodeLastRuneInString(text[:p])
		if isNumeric(next) || isUpper(next) && (isUpper(before) || isLower(before)) { // SB6, SB7
			return ink, 0
		}
	}
	for j, line := i, false; ahead < aheadRunes && j < len(text); ahead++ { // SB8
		c, w := utf8.DecodeRuneInString(text[j:])
		if isLower(c) {
			return ink, 0
		}
		if isUpper(c) || isOther(c) || isTerm(c) {
			break
		}
		if c == '\u2029' {
			break
		}
		if isLineEnd(c) {
			if line { // T1
				break
			}
			if line = true; c == '\r' && j+1 < len(text) && text[j+1] == '\n' {
				w, ahead = 2, ahead+1
			}
		} else if !unicode.IsSpace(c) {
			line = false
		}
		j += w
	}
	if r == '.' && closers == 0 && s.abbreviated(text, p, i) {
		return ink, 0
	}
	return ink, at
}

// closer returns the length of what closes a sentence at i (T7), or belongs to the character before it (SB5), or 0. spaced
// is for the marks that are followed by white space.
func closer(text string, i int, spaced bool) int {
	if i == len(text) {
		return 0
	}
	switch text[i] {
	case '"', '\'', ')', ']', '}', '*', '_':
		return 1
	case '[':
		for j := i + 1; j < len(text) && j <= i+4; j++ {
			if b := text[j]; b == ']' && j > i+1 {
				return j + 1 - i
			} else if b < '0' || b > '9' {
				break
			}
		}
		return 0
	}
	if text[i] < utf8.RuneSelf {
		return 0
	}
	r, w := utf8.DecodeRuneInString(text[i:])
	switch {
	case r >= 0x3040 && r <= 0xD7A3: // most text in these scripts
		return 0
	case ignored(r), unicode.Is(unicode.Pe, r), unicode.Is(unicode.Pf, r), spaced && unicode.Is(unicode.Pi, r),
		r >= 0x275B && r <= 0x2760:
		return w
	}
	return 0
}

// lineBoundary is the kind of place that i is, which follows a line end: Paragraph behind a blank line (of less than
// blankBytes) and U+2029, Line behind a heading of Markdown and before a line that begins a heading, a list item, a row
// or a fence of it, else Character, which only joins lines (T1).
func lineBoundary(text string, i int) Boundary {
	r, w := utf8.DecodeLastRuneInString(text[:i])
	if !isLineEnd(r) || r == '\r' && i < len(text) && text[i] == '\n' {
		return Character
	}
	if r == '\u2029' {
		return Paragraph
	}
	k := i - w
	if r == '\n' && k > 0 && text[k-1] == '\r' {
		k--
	}
	lo := max(0, k-blankBytes)
	j := k
	for j > lo && (text[j-1] == ' ' || text[j-1] == '\t') {
		j--
	}
	if j > lo {
		if r, _ := utf8.DecodeLastRuneInString(text[:j]); isLineEnd(r) {
			return Paragraph
		}
	}
	if beginsLine(text, i) {
		return Line
	}
	for j > lo && text[j-1] != '\n' && text[j-1] != '\r' {
		j--
	}
	if (j == 0 || j > lo) && isHeading(text[j:k]) {
		return Line
	}
	return Character
}

// beginsLine reports whether the line at i is one that stands by itself.
func beginsLine(text string, i int) bool {
	for range indentRunes {
		if i == len(text) || text[i] != ' ' && text[i] != '\t' {
			break
		}
		i++
	}
	if i == len(text) {
		return false
	}
	rest := text[i:min(len(text), i+8)]
	spaceAt := func(j int) bool { return j < len(rest) && (rest[j] == ' ' || rest[j] == '\t') }
	switch b := rest[0]; {
	case b == '-' || b == '*' || b == '+':
		return spaceAt(1)
	case b == '#':
		return isHeading(rest)
	case b == '|':
		return true
	case b == '`' || b == '~':
		return strings.HasPrefix(rest, "```") || strings.HasPrefix(rest, "~~~")
	case b >= '0' && b <= '9':
		j := 1
		for j < 4 && j < len(rest) && rest[j] >= '0' && rest[j] <= '9' {
			j++
		}
		return j < len(rest) && (rest[j] == '.' || rest[j] == ')') && spaceAt(j+1)
	case b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z':
		return len(rest) > 1 && rest[1] == ')' && spaceAt(2)
	}
	return strings.HasPrefix(rest, "• ") || strings.HasPrefix(rest, "– ")
}

// isHeading reports whether a line is a heading of Markdown: one to six # and a space.
func isHeading(line string) bool {
	n := 0
	for n < len(line) && line[n] == '#' {
		n++
	}
	return n >= 1 && n <= 6 && n < len(line) && line[n] == ' '
}

// lastPause returns the last place in (lo, hi] of the best kind there is within a sentence: behind a comma or its like,
// else behind white space. With any, it is the last of either kind. It returns 0 when there is none.
func lastPause(text string, lo, hi int, any bool) (at int, best Boundary) {
	better := func(found Boundary, i int) bool {
		if found = min(found, Clause); found > best { // a mark that ends no sentence may still be a pause
			best, at = found, i
		}
		return best == Clause || any && best != Character
	}
	i := hi
	for i > lo {
		r, w := rune(text[i-1]), 1
		if r >= utf8.RuneSelf {
			r, w = utf8.DecodeLastRuneInString(text[:i])
		} else if !asciiSpace[r] {
			i--
			continue
		}
		switch {
		case r == '\n' || breakingSpace(r):
			if !isBreak(text, i) {
				break
			}
			k := spaceStart(text, 0, i)
			found := Word
			if markLevel(text, k) == Clause {
				found = Clause
			}
			if better(found, i) {
				return at, lineAt(text, at, best)
			}
			i = k
			continue
		case wideMark(r) != Character:
			if j := closeMark(text, i, hi); j > 0 && better(Clause, j) {
				return at, best
			}
		}
		i -= w
	}
	for range 5 { // a mark at or before lo may have closers that reach beyond it
		r, w := utf8.DecodeLastRuneInString(text[:i])
		if wideMark(r) != Character {
			if j := closeMark(text, i, hi); j > lo {
				better(Clause, j)
			}
			break
		}
		if !isCloser(r) {
			break
		}
		i -= w
	}
	return at, lineAt(text, at, best)
}

// lineAt is b, the kind of place that at is, or Line for white space that ends with a line.
func lineAt(text string, at int, b Boundary) Boundary {
	if b == Word && text[at-1] == '\n' {
		return Line
	}
	return b
}

// The classes of the property Sentence_Break. They are what SentenceBreakProperty.txt derives them from, but that Extend
// and Format come first (SB5).

// isLineEnd reports whether r is CR, LF or Sep.
func isLineEnd(r rune) bool {
	return r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029'
}

// isTerm reports whether r is ATerm or STerm, with those of T3.
func isTerm(r rune) bool {
	switch {
	case r < 0x589:
		return r == '.' || r == '!' || r == '?'
	case r == '。', r == '…':
		return true
	case r >= 0xF0D && r <= 0xF0E, r >= 0x17D4 && r <= 0x17D5: // shad, khan
		return true
	case r >= 0x3003 && r <= 0xA4FE, r >= 0xAC00 && r <= 0xD7A3: // most text in these scripts
		return false
	}
	return isATerm(r) || unicode.Is(unicode.STerm, r)
}

func isATerm(r rune) bool {
	return r == '.' || r == '…' || r == '\u2024' || r == '\uFE52' || r == '．'
}

// isContinue reports whether r is SContinue.
func isContinue(r rune) bool {
	switch r {
	case ',', '-', ':', '\u055D', '،', '\u060D', '\u07F8', '\u1802', '\u1808', '–', '—', '、', '\uFE10', '\uFE11', '\uFE13',
		'\uFE31', '\uFE32', '\uFE50', '\uFE51', '\uFE55', '\uFE58', '\uFE63', '，', '－', '：', '､':
		return true
	}
	return false
}

// ignored reports whether r is Extend or Format.
func ignored(r rune) bool {
	return r >= 0xAD && (unicode.In(r, unicode.M, unicode.Cf, unicode.Other_Grapheme_Extend))
}

func isLower(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z'
	}
	return unicode.In(r, unicode.Ll, unicode.Other_Lowercase) && !isGeorgian(r) && !ignored(r)
}

func isUpper(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'A' && r <= 'Z'
	}
	return unicode.In(r, unicode.Lu, unicode.Lt, unicode.Other_Uppercase) && !isGeorgian(r) && !ignored(r)
}

// isGeorgian reports whether r is a letter of Georgian whose case means nothing for sentences.
func isGeorgian(r rune) bool {
	return r >= 0x10D0 && r <= 0x10FA || r >= 0x10FD && r <= 0x10FF || r >= 0x1C90 && r <= 0x1CBF
}

// isOther reports whether r is OLetter; it may also be Lower or Upper.
func isOther(r rune) bool {
	return r >= utf8.RuneSelf && (r == 0x5F3 || unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic)) && !ignored(r)
}

func isNumeric(r rune) bool {
	return unicode.IsDigit(r) || r == 0x66B || r == 0x66C
}
