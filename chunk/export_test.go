package chunk

// Windows cuts text as Stream does, showing it in windows that grow by what sizes gives. ok is false for a splitter that
// cannot be streamed.
func Windows(s Splitter, text string, sizes func() int) (all []Chunk, ok bool) {
	st, ok := s.(streamer)
	if !ok {
		return nil, false
	}
	w := st.walk()
	base, end := 0, 0
	for {
		for {
			c, ok := w.next(text[base:end], end == len(text))
			if !ok {
				break
			}
			all = append(all, c)
		}
		if end == len(text) {
			return all, true
		}
		keep := w.kept()
		w.drop(keep)
		base += keep
		end = min(len(text), end+max(1, sizes()))
	}
}

// PlannedPlace is a place where optimal could cut, and what it costs: its size is in units from the start.
type PlannedPlace struct {
	At, Size int
	Price    float64
	Blank    bool // only white space since the place before
}

// Places are the places that optimal weighs in the first stretch of text, with the best and the greatest size of a chunk,
// and what the plan it chose for all of them costs.
func Places(s Splitter, text string) (places []PlannedPlace, best float64, most int, cost float64) {
	w := s.(*optimal).walk().(*optimalWalk)
	w.text = text
	w.gather(true)
	w.choose(true)
	for i, p := range w.places[1:] {
		places = append(places, PlannedPlace{p.at, p.size, p.price, p.ink == w.places[i].ink})
	}
	return places, w.best, w.most, w.places[len(w.places)-1].cost
}

// Apart is the distance of semantic between the places from, at and to of a stretch that is counted place by place.
func Apart(stretches []string, at, left, right int) float64 {
	sums := make([]terms, len(stretches)+1)
	for i, s := range stretches {
		sums[i+1] = sums[i]
		sums[i+1].add(s)
	}
	return sums[at].apart(&sums[left], &sums[right])
}

// Abbreviated reports whether word is an abbreviation always, and whether it is one before a digit.
func Abbreviated(word string) (always, number bool) { return abbreviations[word], beforeNumber[word] }

// ClusterClass is the class of r as a letter: see clusterRules.
func ClusterClass(r rune) byte { return "ocpLVTHKixnsjekz"[clusterOf(r)] }

// IsBreak is isBreak.
func IsBreak(text string, i int) bool { return isBreak(text, i) }

// Langchain is the chunks that LangChain makes of text, also those that the strategy leaves out, and the spans it yields.
func Langchain(p Plan, text string) (all, yielded []Span) {
	l := p.Splitter.(*langchain)
	for c := range langchainChunks(text, l.separators, l.ChunkSize, l.ChunkOverlap, l.size) {
		all = append(all, c.Span)
	}
	for c := range l.Split(text) {
		yielded = append(yielded, c.Span)
	}
	return all, yielded
}

// Language is the name of the language that the strategy code takes text for.
func Language(text string) string { return detectLanguage(text).name }

// DivideAt is Divide into parts that begin at froms, of which the first is 0.
func DivideAt(s Splitter, text string, froms []int) *Parts { return divide(s, text, froms) }
