package extract

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// A sign is a pattern that texts of some format have somewhere. A pattern takes some 40 µs to find nothing in 4 KiB, and
// there are eighty, so that each is only tried on a text that has one of the words which every match of it contains.
type sign struct {
	pattern *regexp.Regexp
	words   []string // none if there are none
}

// signs compiles patterns in which ^ and $ are the ends of lines.
func signs(patterns ...string) (all []sign) {
	for _, p := range patterns {
		p = "(?m)" + p
		parsed, err := syntax.Parse(p, syntax.Perl)
		if err != nil {
			panic(err) // as MustCompile
		}
		all = append(all, sign{regexp.MustCompile(p), words(parsed)})
	}
	return all
}

// words gives words, in small letters, one of which is in every text that matches, in small letters too; none if that
// cannot be said.
func words(re *syntax.Regexp) (best []string) {
	better := func(words []string) {
		if len(words) == 0 || shortest(words) == 0 {
			return
		}
		if best == nil || shortest(words) > shortest(best) || shortest(words) == shortest(best) && len(words) < len(best) {
			best = words // they are the least often there by chance
		}
	}
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return words(re.Sub[0])
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			some := words(sub)
			if some == nil {
				return nil
			}
			best = append(best, some...)
		}
		return best
	case syntax.OpConcat:
		run := []string{""}
		for _, sub := range re.Sub {
			if next := cross(run, matches(sub)); next != nil {
				run = next
				continue
			}
			if sub.Op == syntax.OpPlus || sub.Op == syntax.OpRepeat && sub.Min > 0 { // as once, anything, once
				once := matches(sub.Sub[0])
				better(cross(run, once))
				better(run)
				if run = once; run != nil {
					continue
				}
			}
			better(run)
			better(words(sub))
			if run = matches(sub); run == nil {
				run = []string{""}
			}
		}
		better(run)
		return best
	}
	better(matches(re))
	return best
}

// maxMatches bounds what is listed of a pattern.
const maxMatches = 32

// matches lists all that a pattern matches, in small letters; nil if that is much.
func matches(re *syntax.Regexp) (all []string) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary:
		return []string{""}
	case syntax.OpLiteral:
		return []string{folded(string(re.Rune))}
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if len(all) == maxMatches {
					return nil
				}
				all = append(all, folded(string(r)))
			}
		}
		return all
	case syntax.OpCapture:
		return matches(re.Sub[0])
	case syntax.OpQuest:
		if some := matches(re.Sub[0]); some != nil {
			return append(some, "")
		}
	case syntax.OpConcat:
		all = []string{""}
		for _, sub := range re.Sub {
			if all = cross(all, matches(sub)); all == nil {
				return nil
			}
		}
		return all
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			some := matches(sub)
			if some == nil || len(all)+len(some) > maxMatches {
				return nil
			}
			all = append(all, some...)
		}
		return all
	}
	return nil
}

// cross puts each of b behind each of a; nil where one is, or where that is much.
func cross(a, b []string) (all []string) {
	if len(a)*len(b) > maxMatches {
		return nil
	}
	for _, x := range a {
		for _, y := range b {
			all = append(all, x+y)
		}
	}
	return all
}

func shortest(words []string) int {
	n := len(words[0])
	for _, w := range words {
		n = min(n, len(w))
	}
	return n
}

// folded gives small letters, and an s for the long one, which patterns that take large and small letters as the same
// take for an s.
func folded(text string) string { return strings.ReplaceAll(strings.ToLower(text), "ſ", "s") }

// searched is a text that signs are looked for in.
type searched struct {
	text, folded string
	pairs        [1 << 16 / 64]uint64 // a bit for each two bytes in a row that are in folded
}

func (s *searched) of(text string) {
	s.text, s.folded = text, folded(text)
	for i := 1; i < len(s.folded); i++ {
		p := uint16(s.folded[i-1])<<8 | uint16(s.folded[i])
		s.pairs[p/64] |= 1 << (p % 64)
	}
}

// contains reports whether the folded text has the word. It looks for it only if each two bytes of it are there.
func (s *searched) contains(word string) bool {
	for i := 1; i < len(word); i++ {
		p := uint16(word[i-1])<<8 | uint16(word[i])
		if s.pairs[p/64]&(1<<(p%64)) == 0 {
			return false
		}
	}
	return strings.Contains(s.folded, word)
}

// count gives how many of the signs the text has, if they are two at least.
func (s *searched) count(signs []sign) int {
	var likely [8]sign
	left := likely[:0]
	for _, sign := range signs {
		if sign.mayBeIn(s) {
			left = append(left, sign)
		}
	}
	n := 0
	for i, sign := range left {
		if n+len(left)-i < 2 {
			return 0
		}
		if sign.pattern.MatchString(s.text) {
			n++
		}
	}
	return n
}

// mayBeIn is false only where the pattern does not match.
func (s sign) mayBeIn(text *searched) bool {
	for _, word := range s.words {
		if text.contains(word) {
			return true
		}
	}
	return len(s.words) == 0
}
