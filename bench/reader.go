package main

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// entry is one chunk as the reader knows it: found by what is indexed, which may be more than what is shown.
type entry struct {
	doc, start, end int    // the chunk, text[start:end] of a document
	indexed         string // what it is found by
}

// reader finds entries by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009)
// with k1 = 1.2 and b = 0.75.
type reader struct {
	entries  []entry
	lengths  []float64
	mean     float64
	postings map[string][]posting
}

type posting struct {
	entry int
	count float64
}

func newReader(entries []entry) *reader {
	r := &reader{entries: entries, lengths: make([]float64, len(entries)), postings: map[string][]posting{}}
	for i, e := range entries {
		for _, term := range terms(e.indexed) {
			r.lengths[i]++
			list := r.postings[term]
			if n := len(list) - 1; n >= 0 && list[n].entry == i {
				list[n].count++
				continue
			}
			r.postings[term] = append(list, posting{i, 1})
		}
		r.mean += r.lengths[i]
	}
	r.mean /= max(float64(len(entries)), 1)
	return r
}

// find gives the entries that share a term with the query, the best first; equals in the order of the texts.
func (r *reader) find(query string) []entry {
	const k1, b = 1.2, 0.75
	scores := map[int]float64{}
	for _, term := range terms(query) {
		list := r.postings[term]
		n := float64(len(list))
		idf := math.Log(1 + (float64(len(r.entries))-n+0.5)/(n+0.5))
		for _, p := range list {
			scores[p.entry] += idf * p.count * (k1 + 1) / (p.count + k1*(1-b+b*r.lengths[p.entry]/r.mean))
		}
	}
	order := make([]int, 0, len(scores))
	for i := range scores {
		order = append(order, i)
	}
	slices.SortFunc(order, func(x, y int) int {
		switch {
		case scores[x] > scores[y]:
			return -1
		case scores[x] < scores[y]:
			return 1
		}
		return x - y
	})
	found := make([]entry, len(order))
	for i, at := range order {
		found[i] = r.entries[at]
	}
	return found
}

// terms are the words of a text, without case and plural.
func terms(text string) []string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
	for i, w := range words {
		words[i] = stem(w)
	}
	return words
}

// stem is the S stemmer of Harman, "How Effective Is Suffixing?", 1991.
func stem(word string) string {
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(word, s) })
	}
	switch {
	case len(word) < 4:
		return word
	case ends("ies") && !ends("eies", "aies"):
		return word[:len(word)-3] + "y"
	case ends("s") && !ends("us", "ss"):
		return word[:len(word)-1]
	}
	return word
}
