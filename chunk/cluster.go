package chunk

import "unicode/utf8"

// clusterReach is how many runes a cut moves to stay out of a grapheme cluster, and how many a rule looks back. A longer
// cluster may be cut: no writing system needs one, and the bound keeps text made of combining marks linear.
const clusterReach = 32

// cluster is what a rune means for the ends of grapheme clusters: its property Grapheme_Cluster_Break (UAX #29), with
// Extended_Pictographic and Indic_Conjunct_Break where those decide. From clusterSpacing on, a rune belongs to the one
// before it.
type cluster uint8

const (
	clusterOther cluster = iota
	clusterControl
	clusterPrepend
	clusterLeading // Hangul: L, V, T, and the syllables LV and LVT
	clusterVowel
	clusterTrailing
	clusterLV
	clusterLVT
	clusterIndicator
	clusterPictographic
	clusterConsonant // InCB
	clusterSpacing
	clusterNonJoiner // Extend, but not in a conjunct: U+200C
	clusterExtend
	clusterLinker // Extend, and InCB
	clusterJoiner // U+200D
)

// clusterRange is a line of the table: the runes from first to last have a class.
type clusterRange struct {
	first, last rune
	class       cluster
}

// clusters has the class of every rune: clusterIndex says for 256 runes which of clusterBlocks is theirs.
var clusterIndex, clusterBlocks = clusterTable()

func clusterTable() (index [(utf8.MaxRune + 1) >> 8]uint8, blocks [][256]cluster) {
	blocks = append(blocks, [256]cluster{})
	for _, c := range clusterRanges {
		for r := c.first; r <= c.last; r++ {
			if index[r>>8] == 0 {
				index[r>>8] = uint8(len(blocks))
				blocks = append(blocks, [256]cluster{})
			}
			blocks[index[r>>8]][r&0xFF] = c.class
		}
	}
	return index, blocks
}

func clusterOf(r rune) cluster {
	if r >= 0xAC00 && r <= 0xD7A3 {
		if (r-0xAC00)%28 == 0 {
			return clusterLV
		}
		return clusterLVT
	}
	return clusterBlocks[clusterIndex[r>>8]][r&0xFF]
}

// isBreak reports whether a cut at i, 0 < i < len(text), separates two extended grapheme clusters. i lies on a rune
// boundary. It follows the rules GB3 to GB13 of UAX #29, section 3.1.1; those that look back do so over clusterReach
// runes.
func isBreak(text string, i int) bool {
	if text[i-1]|text[i] < utf8.RuneSelf {
		return text[i] != '\n' || text[i-1] != '\r' // GB3
	}
	return isWideBreak(text, i)
}

// isWideBreak is isBreak where one of the runes is beyond ASCII.
func isWideBreak(text string, i int) bool {
	a := text[i-1]
	r, _ := utf8.DecodeRuneInString(text[i:])
	next := clusterOf(r)
	if a < utf8.RuneSelf {
		return next < clusterSpacing || a < ' ' || a == 0x7F // GB9, GB9a, GB4
	}
	r, w := utf8.DecodeLastRuneInString(text[:i])
	prev := clusterOf(r)
	if prev == clusterOther && next == clusterOther {
		return true
	}
	switch {
	case prev == clusterControl || next == clusterControl: // GB4, GB5
		return true
	case next >= clusterSpacing, prev == clusterPrepend: // GB9, GB9a, GB9b
		return false
	}
	switch next {
	case clusterLeading, clusterLV, clusterLVT: // GB6
		return prev != clusterLeading
	case clusterVowel: // GB6, GB7
		return prev != clusterLeading && prev != clusterVowel && prev != clusterLV
	case clusterTrailing: // GB7, GB8
		return prev < clusterVowel || prev > clusterLVT
	case clusterIndicator: // GB12, GB13
		return indicators(text[:i])%2 == 0
	case clusterPictographic: // GB11
		return prev != clusterJoiner || !followsPictographic(text[:i-w])
	case clusterConsonant: // GB9c
		return prev < clusterExtend || !endsConjunct(text[:i])
	}
	return true
}

// indicators counts the regional indicators that text ends with, up to clusterReach of them.
func indicators(text string) int {
	n := 0
	for n < clusterReach {
		r, w := utf8.DecodeLastRuneInString(text)
		if clusterOf(r) != clusterIndicator {
			break
		}
		text = text[:len(text)-w]
		n++
	}
	return n
}

// followsPictographic reports whether text ends with an emoji or its like and marks that extend it.
func followsPictographic(text string) bool {
	for range clusterReach {
		r, w := utf8.DecodeLastRuneInString(text)
		switch clusterOf(r) {
		case clusterPictographic:
			return true
		case clusterExtend, clusterLinker, clusterNonJoiner:
			text = text[:len(text)-w]
		default:
			return false
		}
	}
	return false
}

// endsConjunct reports whether text ends with a consonant and marks, a linker among them.
func endsConjunct(text string) bool {
	linked := false
	for range clusterReach {
		r, w := utf8.DecodeLastRuneInString(text)
		switch clusterOf(r) {
		case clusterConsonant:
			return linked
		case clusterLinker:
			linked = true
		case clusterExtend, clusterJoiner:
		default:
			return false
		}
		text = text[:len(text)-w]
	}
	return false
}

// cutBack returns the last cluster boundary in (lo, hi], or hi when there is none within clusterReach runes.
// lo < hi < len(text), and hi lies on a rune boundary.
func cutBack(text string, lo, hi int) int {
	at := hi
	for range clusterReach {
		if isBreak(text, at) {
			return at
		}
		if at = floorRune(text, at-1); at <= lo {
			break
		}
	}
	return hi
}

// cutForward returns the first cluster boundary in [lo, hi], or lo when there is none within clusterReach runes.
// 0 < lo <= hi < len(text), both on rune boundaries.
func cutForward(text string, lo, hi int) int {
	at := lo
	for range clusterReach {
		if at == hi || isBreak(text, at) {
			return at
		}
		at += runeLen(text, at)
	}
	return lo
}
