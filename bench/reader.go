package main

import (
	"cmp"
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

// reader finds entries by the terms they share with a query. There are two, because a ranking of strategies that holds
// for one way to read only says little.
type reader struct {
	entries  []entry
	terms    func(text string) []string
	weight   func(r *reader, idf float64, p posting) float64 // of a term of the query in an entry
	lengths  []float64                                       // in terms
	norms    []float64                                       // of the entries as vectors, where weight wants them
	mean     float64
	postings map[string][]posting
}

type posting struct {
	entry int
	count float64
}

// readers by their names: bm25 ranks words by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25
// and Beyond", 2009) with k1 = 1.2 and b = 0.75; grams ranks the four-letter parts of words by the cosine of their tf·idf
// weights, which forgives endings and compounds as a vector of meaning would.
var readers = map[string]func([]entry) *reader{
	"bm25": func(entries []entry) *reader {
		return newReader(entries, terms, func(r *reader, idf float64, p posting) float64 {
			const k1, b = 1.2, 0.75
			return idf * p.count * (k1 + 1) / (p.count + k1*(1-b+b*r.lengths[p.entry]/r.mean))
		})
	},
	"grams": func(entries []entry) *reader {
		r := newReader(entries, grams, func(r *reader, idf float64, p posting) float64 {
			return idf * (1 + math.Log(p.count)) * idf / r.norms[p.entry]
		})
		r.norms = make([]float64, len(entries))
		for _, list := range r.postings {
			idf := r.idf(list)
			for _, p := range list {
				r.norms[p.entry] += math.Pow((1+math.Log(p.count))*idf, 2)
			}
		}
		for i, n := range r.norms {
			r.norms[i] = math.Sqrt(n)
		}
		return r
	},
}

func newReader(entries []entry, terms func(string) []string, weight func(*reader, float64, posting) float64) *reader {
	r := &reader{
		entries: entries, terms: terms, weight: weight, lengths: make([]float64, len(entries)),
		postings: map[string][]posting{},
	}
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

// idf is the weight of a term by how few entries have it.
func (r *reader) idf(list []posting) float64 {
	n := float64(len(list))
	return math.Log(1 + (float64(len(r.entries))-n+0.5)/(n+0.5))
}

// find gives the entries that share a term with the query, the best first; equals in the order of the texts.
func (r *reader) find(query string) []entry {
	scores := make([]float64, len(r.entries))
	var order []int
	for _, term := range r.terms(query) {
		list := r.postings[term]
		idf := r.idf(list)
		for _, p := range list {
			if scores[p.entry] == 0 {
				order = append(order, p.entry)
			}
			scores[p.entry] += r.weight(r, idf, p)
		}
	}
	slices.SortFunc(order, func(x, y int) int {
		return cmp.Or(cmp.Compare(scores[y], scores[x]), x-y)
	})
	found := make([]entry, len(order))
	for i, at := range order {
		found[i] = r.entries[at]
	}
	return found
}

// grams are the parts of four letters of all words; shorter words are parts as they are.
func grams(text string) (all []string) {
	for _, word := range terms(text) {
		letters := []rune(word)
		if len(letters) <= 4 {
			all = append(all, word)
		}
		for i := 0; i+4 < len(letters)+1 && len(letters) > 4; i++ {
			all = append(all, string(letters[i:i+4]))
		}
	}
	return all
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
