package chunk

import (
	"strings"
	"unicode/utf8"
)

// separated is the part of recursive that cuts at separators of the user's choice. They take the place of its levels, best
// first; behind them come white space, as in recursive, and any character. Which boundary is taken is recursive's rule:
// the last one of the best level in the second half of chunk_size, else the last of any level in the first half, else the
// cut of fixed_size.
//
// A separator stays at the end of the chunk it closes, or, with start, begins the next one. Every place where it is found
// counts, also where it overlaps itself, but for those that would divide a grapheme cluster or CR LF. With start, a pull
// examines as much beyond the limit as the longest separator takes.
type separated struct {
	levels []string
	start  bool
}

// walk walks by a sizing.
func (s separated) walk(z sizing) walk {
	w := &sizedWalk{measure: measure{sizing: z}, cut: s.cut}
	if s.start {
		for _, level := range s.levels {
			w.ahead = max(w.ahead, len(level))
		}
	}
	w.edge = func(from, at int) int {
		half := floorRune(w.text, from+(at-from)/2)
		if half > from {
			if i, b := s.cut(w.text, from, from, half); b != Character {
				return i
			}
		}
		if i, b := s.cut(w.text, half, half, floorRune(w.text, at-1)); half < at-1 && b != Character {
			return i
		}
		return from
	}
	return w
}

// cut is the cutter.
func (s separated) cut(text string, lo, mid, hi int) (int, Boundary) {
	from := max(lo, mid)
	for _, level := range s.levels {
		if at := s.last(text, level, from, hi); at > 0 {
			return at, Separator
		}
	}
	if at := lastSpace(text, from, hi); at > 0 {
		return at, lineAt(text, at, Word)
	}
	if lo < from {
		at, b := 0, Separator
		for _, level := range s.levels {
			at = max(at, s.last(text, level, max(lo, at), from))
		}
		if i := lastSpace(text, max(lo, at), from); i > 0 {
			at, b = i, lineAt(text, i, Word)
		}
		if at > 0 {
			return at, b
		}
	}
	return cutBack(text, lo, hi), Character
}

// last returns the last boundary of a level in (lo, hi], or 0.
func (s separated) last(text, level string, lo, hi int) int {
	behind := len(level) // from where the separator begins to the boundary
	if s.start {
		behind = 0
	}
	if lo >= hi {
		return 0
	}
	from := max(0, lo+1-behind)
	window := text[from:min(len(text), hi-behind+len(level))]
	k := strings.LastIndex(window, level)
	for ; k >= 0; k-- {
		if at := from + k + behind; window[k] == level[0] && strings.HasPrefix(window[k:], level) && isBreak(text, at) {
			return at
		}
	}
	return 0
}

// lastSpace returns the last place in (lo, hi] behind white space that may be cut at, or 0: where the white space holds a
// line end, behind that.
func lastSpace(text string, lo, hi int) int {
	for i := hi; i > lo; {
		r, w := rune(text[i-1]), 1
		if r >= utf8.RuneSelf {
			r, w = utf8.DecodeLastRuneInString(text[:i])
		} else if !asciiSpace[r] {
			i--
			continue
		}
		if r != '\n' && !breakingSpace(r) || !isBreak(text, i) {
			i -= w
			continue
		}
		if k := lastNewline(text, spaceStart(text, 0, i), i); k >= 0 {
			i = k + 1
		}
		if i <= lo {
			return 0
		}
		return i
	}
	return 0
}
