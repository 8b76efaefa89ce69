package chunk

import (
	"fmt"
	"iter"
	"math"
	"unicode"
	"unicode/utf8"
)

// Distance says how much two neighbouring stretches of text differ in what they are about: 0 not at all, 1 as much as can
// be. It is pure, and safe for concurrent use; equal texts give equal distances on every machine. One that asks a
// service makes a strategy that is only as deterministic and as fast as the service.
type Distance func(left, right string) float64

// semantic cuts where the text turns to something else. At each place where a line or a sentence ends it compares the
// sentence_window stretches before it with those behind it, by the setting distance, and prices the place by how its
// distance ranks between the least and the greatest of the stretch that is planned together; then it chooses as optimal
// does, with half the weight on even sizes. A cut is at a Topic where the distance is nearer to the greatest of the stretch than
// to its mean, else at what stands there.
//
// The distance built in, "lexical", is 1 less the cosine of the two stretches' counts of words (see Lexical): it knows words,
// not meanings. Others come from outside: see Parser.Distance.
//
// It looks ahead as far as optimal.
type semantic struct {
	sizing
	SentenceWindow int    `json:"sentence_window"`
	Distance       string `json:"distance"`

	distance Distance // nil for the one built in
}

const semanticSummary = "Cuts where the words change: like optimal, with boundaries ranked by how much the text before " +
	"and behind them differ."

const (
	lexicalName   = "lexical"
	defaultWindow = 3
	maxWindow     = 20
)

func (s *semantic) fields() []field {
	return append(s.sizing.fields(),
		field{
			"sentence_window", `{"type":"integer","minimum":1,"maximum":20,"default":3,` +
				`"description":"How many sentences before a place are compared with as many behind it."}`,
			func(v value) *ParamError { return v.integer(&s.SentenceWindow) },
		},
		field{
			"distance", `{"type":"string","default":"lexical",` +
				`"description":"What compares them: lexical compares the words they use."}`,
			func(v value) *ParamError { return v.text(&s.Distance) },
		})
}

func (s *semantic) check(p Parser) *ParamError {
	if perr := s.sizing.check(p); perr != nil {
		return perr
	}
	if perr := s.checkHalf(); perr != nil {
		return perr
	}
	if s.SentenceWindow < 1 || s.SentenceWindow > maxWindow {
		return &ParamError{
			Param: "sentence_window", Code: CodeInvalidValue,
			Problem:    fmt.Sprintf("%d is out of range, which is 1 to %d", s.SentenceWindow, maxWindow),
			Suggestion: fmt.Sprintf("use %d", defaultWindow),
		}
	}
	if s.Distance == lexicalName {
		return nil
	}
	if p.Distance == nil {
		return &ParamError{
			Param: "distance", Code: CodeInvalidValue, Problem: quote(s.Distance) + " is not a distance that is known here",
			Suggestion: `use "lexical", or give chunk.Parser a Distance`,
		}
	}
	d, err := p.Distance(s.Distance)
	if err != nil {
		return &ParamError{
			Param: "distance", Code: CodeInvalidValue, Problem: quote(s.Distance) + ": " + err.Error(),
			Suggestion: "leave the field out for " + lexicalName,
		}
	}
	s.distance = d
	return nil
}

// Split cuts text as the type says.
func (s *semantic) Split(text string) iter.Seq[Chunk] { return splitWalk(s, text) }

func (s *semantic) walk() walk {
	w := newOptimalWalk(s.sizing)
	w.even = 0.5
	j := &topics{window: s.SentenceWindow, distance: s.distance, walk: w}
	w.judge = j.judge
	return w
}

// topicPrice is what a place costs where the text changes least.
const topicPrice = 2

// topics prices the places of a stretch by how the text differs around them.
type topics struct {
	walk     *optimalWalk
	window   int
	distance Distance

	sums  []terms // of the text from the start of the stretch to each place
	found []float64
}

func (t *topics) judge(places []place) {
	t.found = t.found[:0]
	if t.distance == nil {
		t.count(places)
	}
	text, n := t.walk.text, len(places)-1
	low, high, sum := math.Inf(1), math.Inf(-1), 0.0
	for j := 1; j < n; j++ {
		left, right := max(0, j-t.window), min(n, j+t.window)
		d := 0.0
		if t.distance == nil {
			d = t.sums[j].apart(&t.sums[left], &t.sums[right])
		} else {
			d = t.distance(text[places[left].at:places[j].at], text[places[j].at:places[right].at])
		}
		if d = min(1, max(0, d)); d != d { // not a number: nothing is known
			d = 0
		}
		t.found = append(t.found, d)
		low, high, sum = min(low, d), max(high, d), sum+d
	}
	if high <= low {
		return
	}
	turn := (sum/float64(n-1) + high) / 2
	for j := 1; j < n; j++ {
		d := t.found[j-1]
		p := &places[j]
		p.price += topicPrice * (high - d) / (high - low)
		if d >= turn && p.kind >= Sentence {
			p.kind = Topic
		}
	}
}

// count makes sums.
func (t *topics) count(places []place) {
	for len(t.sums) < len(places) {
		t.sums = append(t.sums, terms{})
	}
	t.sums[0] = terms{}
	for j := 1; j < len(places); j++ {
		t.sums[j] = t.sums[j-1]
		t.sums[j].add(t.walk.text[places[j-1].at:places[j].at])
	}
}

// Lexical is the distance built in: 1 less the cosine of how often the words of left and right occur. A word is a run of
// letters and digits, its case folded if it is ASCII, of which the first eight bytes count, and at least four unless
// it is not ASCII; each Chinese or Japanese character is one. Words are counted in 256 classes by a hash. It is 0 where one
// of the two has no words.
func Lexical(left, right string) float64 {
	var none, l, both terms
	l.add(left)
	both = l
	both.add(right)
	return l.apart(&none, &both)
}

// terms counts words by a class of their hash.
type terms [256]int32

// apart is the distance between the text from left to t and from t to right; all three are counts from one start.
func (t *terms) apart(left, right *terms) float64 {
	var dot, ll, rr int64
	for i := range t {
		l, r := int64(t[i]-left[i]), int64(right[i]-t[i])
		dot += l * r
		ll += l * l
		rr += r * r
	}
	if ll == 0 || rr == 0 {
		return 0
	}
	return 1 - float64(dot)/math.Sqrt(float64(ll)*float64(rr))
}

// inWord has, for each byte that is a letter or a digit in ASCII, its lower case; 1 for bytes beyond ASCII; else 0.
var inWord = func() (t [256]uint8) {
	for c := range 256 {
		switch b := byte(c); {
		case b >= utf8.RuneSelf:
			t[c] = 1
		case '0' <= b && b <= '9', 'a' <= b && b <= 'z':
			t[c] = b
		case 'A' <= b && b <= 'Z':
			t[c] = b + 'a' - 'A'
		}
	}
	return t
}()

func (t *terms) add(s string) {
	for i := 0; i < len(s); {
		if inWord[s[i]] == 0 {
			i++
			continue
		}
		var word uint64
		n, plain := 0, true
		for i < len(s) {
			c := inWord[s[i]]
			if c == 0 {
				break
			}
			size := 1
			if c == 1 {
				r, w := utf8.DecodeRuneInString(s[i:])
				if wide(r) {
					t.put(uint64(r))
					i += w
					if n > 0 {
						break
					}
					continue
				}
				if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.M, r) {
					break
				}
				plain, size = false, w
				for k := range w {
					if n+k < 8 {
						word = word<<8 | uint64(s[i+k])
					}
				}
			} else if n < 8 {
				word = word<<8 | uint64(c)
			}
			n += size
			i += size
		}
		if n >= 4 || n > 0 && !plain {
			t.put(word)
		} else if n == 0 && i < len(s) && inWord[s[i]] == 1 { // a mark that is no letter
			_, w := utf8.DecodeRuneInString(s[i:])
			i += w
		}
	}
}

// put counts a word, by a multiplication whose highest bits depend on all of it (Knuth, TAOCP 6.4).
func (t *terms) put(word uint64) { t[word*0x9E3779B97F4A7C15>>56]++ }
