// Package token says how big a text is to a language model: it encodes text in the tokens of OpenAI's vocabularies, as
// their tiktoken does, and finds how far a number of tokens reaches.
//
// The vocabularies are inside the program; nothing is read or fetched when it runs. Text is any bytes: what is not
// valid UTF-8 is encoded byte by byte, and nothing is ever replaced. Special tokens such as <|endoftext|> are plain text.
// Letters, numbers and marks are those of Unicode 16, as in tiktoken.
package token

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

// Names gives the names Get knows, in alphabetical order. The caller owns the slice.
func Names() []string {
	names := make([]string, 0, len(loaded))
	for name := range loaded {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// UnknownError says that there is no encoding of this name.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("token: %.64q is not an encoding: they are %s", e.Name, strings.Join(Names(), ", "))
}

// Get returns the encoding of this name: cl100k_base (GPT-4, GPT-3.5, text-embedding-3), o200k_base (GPT-4o and later),
// p50k_base or r50k_base (GPT-3). The first call for a name unpacks the vocabulary, which takes up to some tenths of a
// second and some megabytes; others wait for it. Every error for a name that is not known is an *UnknownError. It is
// safe for concurrent use.
func Get(name string) (*Encoding, error) {
	load, ok := loaded[name]
	if !ok {
		return nil, &UnknownError{strings.Clone(name)}
	}
	return load()
}

// Encoding is a vocabulary with its rules. It is immutable to its users: any number of goroutines may use it at once.
type Encoding struct {
	name    string
	pattern pattern
	classes *classes
	*vocabulary
	widest int // the bytes of the longest token
	idle   chan *scratch
}

func newEncoding(name string, p pattern, parts ...string) (*Encoding, error) {
	v, err := loadVocabulary(parts...)
	if err != nil {
		return nil, err
	}
	e := &Encoding{name: name, pattern: p, classes: classTable(), vocabulary: v,
		idle: make(chan *scratch, runtime.GOMAXPROCS(0))}
	for t := range v.shorter {
		e.widest = max(e.widest, v.len(uint32(t)))
	}
	return e, nil
}

// Name is the name that Get knows the encoding by.
func (e *Encoding) Name() string { return e.name }

// Encode returns the tokens of text; nil for none.
func (e *Encoding) Encode(text string) []uint32 { return e.Append(nil, text) }

// Append appends the tokens of text to dst and returns it.
func (e *Encoding) Append(dst []uint32, text string) []uint32 {
	s := e.take()
	defer e.give(s)
	for i := 0; i < len(text); {
		end, _, _ := e.pattern.piece(e.classes, text, i)
		e.encode(&s.lay, text[i:end], end-i)
		dst = append(dst, s.lay.tokens...)
		i = end
	}
	return dst
}

// Ends returns where each token of text ends, in bytes; it may be inside of a character. The last is len(text); nil for none.
func (e *Encoding) Ends(text string) (ends []int) {
	at := 0
	for _, t := range e.Encode(text) {
		at += e.len(t)
		ends = append(ends, at)
	}
	return ends
}

// ErrNoToken is what Decode returns for a number that no token has.
var ErrNoToken = errors.New("token: no such token")

// Decode returns the bytes that the tokens stand for; Decode(Encode(text)) is text. A number that no token has, also
// that of a special token, gives an error that wraps ErrNoToken.
func (e *Encoding) Decode(tokens []uint32) (string, error) {
	var b strings.Builder
	for i, t := range tokens {
		if int64(t) >= int64(len(e.shorter)) || e.len(t) == 0 {
			return "", fmt.Errorf("%w: %d at %d", ErrNoToken, t, i)
		}
		b.WriteString(e.token(t))
	}
	return b.String(), nil
}

// Count returns how many tokens Encode gives. It allocates nothing when it has run before, except for pieces without a
// break of more than a hundred thousand bytes.
func (e *Encoding) Count(text string) int {
	s := e.take()
	defer e.give(s)
	return e.count(s, text)
}

func (e *Encoding) count(s *scratch, text string) (tokens int) {
	for i := 0; i < len(text); {
		end, _, _ := e.pattern.piece(e.classes, text, i)
		tokens += e.countPiece(s, text, i, end)
		i = end
	}
	return tokens
}

// A Mark is a place to which a text can be counted by itself: for every end from End on, text[from:end] has as many
// tokens as text[from:End], which are Tokens, and text[End:end] together.
type Mark = struct{ End, Tokens int }

// Furthest returns how far budget tokens of text reach from the byte from on, as far as that can be told piece by
// piece: all pieces that fit whole, then as much of the next as fits, token by token. tokens is the count of
// text[from:end] by itself, at most budget. end lies on the boundary of a character, where every byte that is not valid
// UTF-8 is one; it is from only if not even the first character fits, which needs a budget below 4.
//
// The marks on the way, in order, at most one for each token, are appended to marks, which may be nil.
//
// It looks at no more than budget times the bytes of the longest token, and one character. Between two pieces the
// result is exact in that nothing less of the text is counted; inside a piece a longer text can, rarely, have fewer
// tokens.
func (e *Encoding) Furthest(text string, from, budget int, marks []Mark) (end, tokens int, _ []Mark) {
	const slack = 16
	if reach := e.widest*budget + slack; budget < 1<<32 && reach < len(text)-from {
		text = text[:from+reach]
	}
	s := e.take()
	defer e.give(s)
	base := Mark{End: from}
	end = from
	for end < len(text) {
		next, unsure, n := e.bounded(s, text, end, budget-tokens)
		if tokens+n > budget {
			return e.inside(s, text, base, Mark{end, tokens}, next, budget, marks)
		}
		end, tokens = next, tokens+n
		if !unsure {
			base = Mark{end, tokens}
			marks = append(marks, base)
		}
	}
	return end, tokens, marks
}

// bounded finds and counts the piece at i, but goes on no further than it takes to see that it has more than most
// tokens: then next may be short of its end, and n is any number above most.
func (e *Encoding) bounded(s *scratch, text string, i, most int) (next int, unsure bool, n int) {
	const near, contracted = 256, 4
	for window := near; ; window *= 4 {
		part := text
		if window < len(text)-i {
			part = text[:i+window]
		}
		next, seen, unsure := e.pattern.piece(e.classes, part, i)
		whole := len(part) == len(text) || seen+contracted < len(part)
		if next-i <= mostKnown {
			if whole {
				return next, unsure, e.countPiece(s, text, i, next)
			}
			continue
		}
		// What is laid down is the encoding of the bytes it stands for. Of what follows it can lose tokens again only
		// within the reach of the longest one.
		if e.encode(&s.lay, text[i:next], most+e.widest+1) < next-i {
			return next, unsure, most + 1
		}
		if whole {
			return next, unsure, len(s.lay.tokens)
		}
	}
}

// inside is Furthest in the piece text[start.End:next], which does not fit whole. base is the last mark.
func (e *Encoding) inside(s *scratch, text string, base, start Mark, next, budget int, marks []Mark) (
	int, int, []Mark,
) {
	end := start.End
	if budget > start.Tokens {
		end += e.encode(&s.lay, text[end:next], budget-start.Tokens)
	}
	for end = floorRune(text, end); end > base.End; end = floorRune(text, end-1) {
		if tokens := base.Tokens + e.count(s, text[base.End:end]); tokens <= budget {
			return end, tokens, marks
		}
	}
	return base.End, base.Tokens, marks
}

// floorRune returns the last boundary of characters at or before i.
func floorRune(text string, i int) int {
	if i <= 0 || i >= len(text) || utf8.RuneStart(text[i]) {
		return i
	}
	for j := i - 1; j >= 0 && i-j < utf8.UTFMax; j-- {
		if utf8.RuneStart(text[j]) {
			if _, w := utf8.DecodeRuneInString(text[j:]); j+w > i {
				return j
			}
			break
		}
	}
	return i
}
