package check

import (
	"fmt"
	"math/bits"
	"slices"
	"unicode"

	"chunkstream/chunk"
)

// What counts as a near copy: chunks of at least fewest words, whose sets of three words in a row have at least alike of
// their union in common (Broder, "On the resemblance and containment of documents", 1997).
const (
	fewest = 8
	alike  = 0.9
	bins   = 32 // of a sketch: the least hash of each 32nd of the hashes (Li, Owen and Zhang, "One permutation hashing", 2012)
	rows   = 4  // bins that must agree for a chunk to be compared: at 0.9 alike one in 5000 copies has no such four
)

// copies finds near copies. Each chunk is compared with the first that has four bins in common, so the time stays linear.
func (r *Report) copies(text string, all []chunk.Detail) {
	type key struct {
		level, band uint8
		hash        uint64
	}
	first := map[key]int{}
	var set, other []uint64
	for i := range all {
		d := &all[i]
		if set = shingles(set[:0], d.Text); len(set) < fewest-2 {
			continue
		}
		sketch := sketchOf(set)
		found := -1
		for band := 0; band < bins/rows; band++ {
			k := key{d.Level, uint8(band), 0}
			for _, v := range sketch[band*rows : (band+1)*rows] {
				k.hash = mix(k.hash ^ v)
			}
			j, ok := first[k]
			if !ok {
				first[k] = i
				continue
			}
			if found < 0 && all[j].End <= d.Start {
				if other = shingles(other[:0], all[j].Text); resemblance(set, other) >= alike {
					found = j
				}
			}
		}
		if found >= 0 {
			r.add(NearDuplicate, d, d.From.Line, "nearly the words of chunk %d, at line %d", all[found].Index, all[found].From.Line+1)
			r.Problems[len(r.Problems)-1].Other = new(all[found].Index)
		}
	}
}

// shingles adds the hashes of every three words in a row, sorted, each once. Case and punctuation do not count.
func shingles(set []uint64, text string) []uint64 {
	var last, before uint64
	var hash uint64
	n := 0
	word := func() {
		if hash == 0 {
			return
		}
		if n++; n > 2 {
			set = append(set, mix(before^bits.RotateLeft64(last, 21)^bits.RotateLeft64(hash, 42)))
		}
		before, last, hash = last, hash, 0
	}
	for _, r := range text {
		switch {
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
			if !solid(r) && !unicode.IsMark(r) {
				word() // each is a word
			}
			hash = mix(hash ^ uint64(unicode.ToLower(r)) + 1)
			if !solid(r) && !unicode.IsMark(r) {
				word()
			}
		default:
			word()
		}
	}
	word()
	slices.Sort(set)
	return slices.Compact(set)
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sketchOf takes the least hash of each bin; an empty bin takes that of the next that is not.
func sketchOf(set []uint64) (sketch [bins]uint64) {
	var full [bins]bool
	for _, h := range set {
		if b := h >> 59; !full[b] || h < sketch[b] {
			sketch[b], full[b] = h, true
		}
	}
	for b := range bins {
		for step := 1; !full[b] && step < bins; step++ {
			if from := (b + step) % bins; full[from] {
				sketch[b] = mix(sketch[from] + uint64(step))
				break
			}
		}
	}
	return sketch
}

// resemblance is the size of the intersection of two sorted sets over that of their union.
func resemblance(a, b []uint64) float64 {
	both, i, j := 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			both, i, j = both+1, i+1, j+1
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	return float64(both) / float64(len(a)+len(b)-both)
}

// String is the problem on one line, without its file.
func (p Problem) String() string { return fmt.Sprintf("%d: %s: %s", p.Line, p.Kind, p.Detail) }
