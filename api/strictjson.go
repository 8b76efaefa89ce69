package api

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of the JSON that a client sends: its nesting, and the names in one object.
const (
	maxDepth = 32
	maxNames = 1000
)

// member is one name and value of a JSON object, in the order sent. The value is the raw JSON.
type member struct {
	name  string
	value []byte
}

// parseObject reads one JSON object (RFC 8259) and refuses everything that two readers could understand in two ways:
// duplicate names at any depth, invalid UTF-8, lone surrogates, anything after the object, nesting beyond maxDepth and
// more than maxNames in one object.
// encoding/json lets all of these pass, and matches names without regard to case besides. Values point into b.
func parseObject(b []byte) ([]member, error) {
	s := scanner{b: b}
	if !utf8.Valid(b) {
		return nil, problem("invalid_utf8", "body", "the JSON body is not valid UTF-8")
	}
	s.space()
	if s.i == len(b) {
		return nil, s.problem("there is no JSON here").suggest("send a JSON object")
	}
	if b[s.i] != '{' {
		return nil, s.problem("the body must be a JSON object").suggest("send an object, as docs/api.md shows for the route")
	}
	members, err := s.object(1, true)
	if err != nil {
		return nil, err
	}
	s.space()
	if s.i != len(b) {
		return nil, s.problem("something follows the JSON object").suggest("send one object, and nothing behind it")
	}
	return members, nil
}

type scanner struct {
	b []byte
	i int
}

func (s *scanner) errorf(format string, args ...any) error {
	return s.problem(format, args...)
}

func (s *scanner) problem(format string, args ...any) *Problem {
	return problem("invalid_json", "body", "%s (at byte %d)", fmt.Sprintf(format, args...), s.i)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) next() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) value(depth int) error {
	switch c := s.next(); c {
	case '{':
		_, err := s.object(depth+1, false)
		return err
	case '[':
		return s.array(depth + 1)
	case '"':
		_, err := s.str()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.errorf("a value is expected")
	}
	s.i += len(word)
	return nil
}

func (s *scanner) number() error {
	digits := func() bool {
		start := s.i
		for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
			s.i++
		}
		return s.i > start
	}
	if s.next() == '-' {
		s.i++
	}
	if s.next() == '0' {
		s.i++
	} else if !digits() {
		return s.errorf("a value is expected")
	}
	if s.next() == '.' {
		s.i++
		if !digits() {
			return s.errorf("a number needs digits after its point")
		}
	}
	if c := s.next(); c == 'e' || c == 'E' {
		s.i++
		if c := s.next(); c == '+' || c == '-' {
			s.i++
		}
		if !digits() {
			return s.errorf("a number needs digits in its exponent")
		}
	}
	return nil
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return s.errorf("the JSON is nested more than %d deep", maxDepth)
	}
	s.i++
	s.space()
	if s.next() == ']' {
		s.i++
		return nil
	}
	for {
		s.space()
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		switch s.next() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.errorf("a comma or ] is expected")
		}
	}
}

func (s *scanner) object(depth int, keep bool) ([]member, error) {
	if depth > maxDepth {
		return nil, s.errorf("the JSON is nested more than %d deep", maxDepth)
	}
	s.i++
	s.space()
	if s.next() == '}' {
		s.i++
		return nil, nil
	}
	var members []member
	seen := map[string]bool{}
	for {
		s.space()
		if s.next() != '"' {
			return nil, s.errorf("a name in double quotes is expected")
		}
		raw, err := s.str()
		if err != nil {
			return nil, err
		}
		name := unquote(raw)
		if seen[name] {
			p := s.problem("the name %.64q appears twice in an object", name).suggest("give it once")
			p.Param = clip(name)
			return nil, p
		}
		if seen[name] = true; len(seen) > maxNames {
			return nil, s.errorf("an object has more than %d names", maxNames)
		}
		s.space()
		if s.next() != ':' {
			return nil, s.errorf("a colon is expected")
		}
		s.i++
		s.space()
		start := s.i
		if err := s.value(depth); err != nil {
			return nil, err
		}
		if keep {
			members = append(members, member{name, s.b[start:s.i]})
		}
		s.space()
		switch s.next() {
		case ',':
			s.i++
		case '}':
			s.i++
			return members, nil
		default:
			return nil, s.errorf("a comma or } is expected")
		}
	}
}

// str scans a string and gives it with its quotes.
func (s *scanner) str() ([]byte, error) {
	start := s.i
	s.i++
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			s.i++
			return s.b[start:s.i], nil
		case c < ' ':
			return nil, s.errorf("a control character stands unescaped in a string")
		case c != '\\':
			s.i++
		default:
			if err := s.escape(); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.errorf("a string has no end")
}

func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return s.errorf("a string has no end")
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
		r, ok := hex4(s.b[s.i+2:])
		if !ok {
			return s.errorf(`\u needs four hexadecimal digits`)
		}
		if !utf16.IsSurrogate(r) {
			s.i += 6
			return nil
		}
		if rest := s.b[s.i+6:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
			if low, ok := hex4(rest[2:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
				s.i += 12
				return nil
			}
		}
		return s.errorf("a surrogate without its other half is no character")
	}
	return s.errorf("a string has an escape that JSON does not know")
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquote gives the text of a string that str has scanned.
func unquote(raw []byte) string {
	raw = raw[1 : len(raw)-1]
	at := 0
	for at < len(raw) && raw[at] != '\\' {
		at++
	}
	if at == len(raw) {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for {
		out = append(out, raw[:at]...)
		raw = raw[at:]
		if len(raw) == 0 {
			return string(out)
		}
		n := 2
		switch raw[1] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(raw[2:])
			n = 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw[8:])
				r, n = utf16.DecodeRune(r, low), 12
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, raw[1])
		}
		raw = raw[n:]
		for at = 0; at < len(raw) && raw[at] != '\\'; at++ {
		}
	}
}

// stringValue gives the text of a member that must be a string.
func (m member) stringValue() (string, error) {
	if m.value[0] != '"' {
		return "", problem("invalid_value", m.name, "%s must be a string", m.name).suggest("write it in double quotes")
	}
	return unquote(m.value), nil
}

// elementsOf gives the elements of an array that parseObject has checked, each as it is.
func elementsOf(array []byte) (all [][]byte) {
	s := scanner{b: array, i: 1}
	for {
		s.space()
		if s.next() == ']' {
			return all
		}
		if s.next() == ',' {
			s.i++
			s.space()
		}
		start := s.i
		if s.value(1) != nil || s.i == start {
			return all // it was not checked
		}
		all = append(all, array[start:s.i])
	}
}
