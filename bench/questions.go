package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
)

// question asks for one excerpt, text[start:end] of a document.
type question struct {
	query           string
	doc, start, end int
}

// planted writes manuals and asks for facts in them. A manual has a section for each device, named in the heading and
// in every fifth sentence or so below it: prose, a list, a table, code. All devices have the same attributes, so a chunk
// that has lost its device answers for any of them.
func planted(seed uint64, manuals int) (docs []document, asked []question) {
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range manuals {
		w := writer{random: random, doc: n}
		w.linef("# Manual of the %s works\n\n%s\n", w.name(), w.filler(4))
		for range 6 {
			w.device()
		}
		docs = append(docs, document{fmt.Sprintf("planted/%02d.md", n), w.text.String()})
		asked = append(asked, w.asked...)
	}
	return docs, asked
}

type writer struct {
	random *rand.Rand
	text   strings.Builder
	doc    int
	about  string // the device, where there is one
	asked  []question
}

var (
	syllables  = strings.Fields("vel mor tin dra kes lun bra qui son fer gal hol nor pel ros tav ul wex yar zin")
	devices    = strings.Fields("pump turbine valve compressor furnace conveyor boiler mixer press lathe crane dryer")
	quantities = []string{
		"rated power", "service interval", "inlet pressure", "outlet temperature", "noise level", "dry weight", "oil volume",
		"start current", "cooling flow", "vibration limit", "shaft speed", "seal clearance",
	}
	measures = strings.Fields("kW hours bar degrees decibel kilograms litres amperes litres millimetres revolutions microns")
	pieces   = strings.Fields("gasket bearing filter belt coupling nozzle spring sensor fuse hose")
	deeds    = strings.Fields("replace inspect clean grease tighten calibrate flush measure")
	fillers  = strings.Fields(`the operator should always read this part before work begins and note what was seen in a log that
		stays beside machine because small changes often tell more than large ones when several people share one duty over
		many shifts while normal use causes wear which can be felt heard or smelled long before it shows on any gauge`)
)

func (w *writer) pick(from []string) string { return from[w.random.IntN(len(from))] }

func (w *writer) name() string {
	s := w.pick(syllables) + w.pick(syllables) + w.pick(syllables)
	return strings.ToUpper(s[:1]) + s[1:]
}

func (w *writer) linef(format string, values ...any) { fmt.Fprintf(&w.text, format+"\n", values...) }

// filler is n sentences that say nothing.
func (w *writer) filler(n int) string {
	var all []string
	for range n {
		var words []string
		for range 6 + w.random.IntN(14) {
			words = append(words, w.pick(fillers))
		}
		if w.random.IntN(6) == 0 {
			words = append(words, "as the", w.pick(quantities), "of the", w.pick(devices))
		}
		if w.about != "" && w.random.IntN(5) == 0 {
			words = append([]string{"with the", w.about}, words...)
		}
		s := strings.Join(words, " ")
		all = append(all, strings.ToUpper(s[:1])+s[1:]+".")
	}
	return strings.Join(all, " ")
}

// plant writes a fact and asks for it.
func (w *writer) plant(fact, query string) {
	start := w.text.Len()
	w.text.WriteString(fact)
	w.asked = append(w.asked, question{query, w.doc, start, w.text.Len()})
}

func (w *writer) device() {
	name, kind := w.name(), w.pick(devices)
	whole := name + " " + kind
	w.about = whole
	w.linef("\n## The %s\n\n%s", whole, w.filler(3))

	order := w.random.Perm(len(quantities))
	value := func() int { return 2 + w.random.IntN(900) }
	w.linef("\n### Operation\n")
	for _, q := range order[:3] {
		w.text.WriteString(w.filler(1+w.random.IntN(4)) + " ")
		fact := fmt.Sprintf("Its %s is %d %s.", quantities[q], value(), measures[q])
		if w.random.IntN(2) == 0 {
			fact += fmt.Sprintf(" Above %d %s it must be stopped at once. Wait %d minutes before it is started again.",
				value(), measures[q], value())
		}
		w.plant(fact, fmt.Sprintf("What is the %s of the %s?", quantities[q], whole))
		w.linef(" %s\n", w.filler(1+w.random.IntN(3)))
	}

	w.linef("### Maintenance\n\n%s\n", w.filler(2))
	for _, p := range w.random.Perm(len(pieces))[:6] {
		deed, piece := w.pick(deeds), pieces[p]
		w.text.WriteString("- ")
		w.plant(fmt.Sprintf("%s%s the %s every %d days, and after every fault; %s", strings.ToUpper(deed[:1]), deed[1:], piece,
			value(), w.filler(1)), fmt.Sprintf("How often must one %s the %s of the %s?", deed, piece, whole))
		w.linef("")
	}

	w.linef("\n### Limits\n\n| quantity | usual | most | unit | remark |\n|---|---|---|---|---|")
	for _, q := range order {
		w.plant(fmt.Sprintf("| %s | %d | %d | %s | %s |", quantities[q], value(), value(), measures[q], w.filler(1)),
			fmt.Sprintf("What is the most %s in %s that the %s may have?", quantities[q], measures[q], whole))
		w.linef("")
	}

	w.linef("\n### Control\n\n%s\n\n```go", w.filler(1))
	for _, q := range order[3:6] {
		id := strings.ReplaceAll(quantities[q], " ", "_")
		w.plant(fmt.Sprintf("// check_%s stops it.\nfunc check_%s(now int) bool {\n\tconst limit = %d\n\tif now > limit {\n"+
			"\t\tstop(%d)\n\t\treturn false\n\t}\n\treturn true\n}", id, id, value(), value()),
			fmt.Sprintf("At which limit does the code check the %s of the %s?", quantities[q], whole))
		w.linef("\n")
	}
	w.linef("```")
}

// known asks for excerpts of real texts: one to three sentences of a paragraph, by two of their words and one of the
// heading above, or of the paragraph where there is none; no word of them is in fewer than three documents. Such
// known-item queries are those of Azzopardi and de Rijke, "Automatic Construction of Known-Item Finding Test Beds", 2006.
func known(seed uint64, docs []document, n int) (asked []question) {
	random := rand.New(rand.NewPCG(seed, 1))
	spread := map[string]int{} // in how many documents a term is
	total := 0
	for _, d := range docs {
		seen := map[string]bool{}
		for _, term := range terms(d.text) {
			if !seen[term] {
				seen[term] = true
				spread[term]++
			}
		}
		total += len(d.text)
	}
	for tries := 0; len(asked) < n && tries < 100*n; tries++ {
		at := random.IntN(total)
		doc := 0
		for at >= len(docs[doc].text) {
			at -= len(docs[doc].text)
			doc++
		}
		text := docs[doc].text
		from, to := paragraph(text, at)
		starts := sentenceStarts(text, from, to)
		if to-from < 120 || strings.ContainsAny(text[from:from+1], "#|`<") || len(starts) < 2 {
			continue
		}
		first := random.IntN(len(starts) - 1)
		last := min(first+1+random.IntN(3), len(starts)-1)
		q := question{doc: doc, start: starts[first], end: starts[last]}
		q.end = q.start + len(strings.TrimRightFunc(text[q.start:q.end], unicode.IsSpace))
		if q.end-q.start < 60 || q.end-q.start > 500 {
			continue
		}
		about := strings.Join(headings(text).path(q.start), " ")
		if about == "" {
			about = text[from:to]
		}
		words := append(draw(random, text[q.start:q.end], spread, len(docs), 2), draw(random, about, spread, len(docs), 1)...)
		if len(words) < 3 {
			continue
		}
		q.query = strings.Join(words, " ")
		asked = append(asked, q)
	}
	return asked
}

// draw draws n different terms of text, neither names, which are in one or two documents, nor words that say nothing,
// which are in more than half of them.
func draw(random *rand.Rand, text string, spread map[string]int, most, n int) (drawn []string) {
	all := slices.DeleteFunc(terms(text), func(term string) bool { return spread[term] < 3 || spread[term] > most/2 })
	for _, at := range random.Perm(len(all)) {
		if len(drawn) < n && !slices.Contains(drawn, all[at]) {
			drawn = append(drawn, all[at])
		}
	}
	return drawn
}

// paragraph is the lines around at without a blank one.
func paragraph(text string, at int) (from, to int) {
	from = strings.LastIndex(text[:at], "\n\n") + 2
	if from == 1 {
		from = 0
	}
	if to = strings.Index(text[from:], "\n\n"); to < 0 {
		return from, len(text)
	}
	return from, from + to
}

// sentenceStarts finds where sentences of a paragraph start, and its end: rules of its own, so that no strategy's are the
// measure of the others.
func sentenceStarts(text string, from, to int) []int {
	starts := []int{from}
	for i := from; i+2 < to; i++ {
		if strings.IndexByte(".!?", text[i]) >= 0 && (text[i+1] == ' ' || text[i+1] == '\n') &&
			text[i+2] >= 'A' && text[i+2] <= 'Z' {
			starts = append(starts, i+2)
		}
	}
	return append(starts, to)
}

// outline is the headings of a Markdown text, in order.
type outline []heading

type heading struct {
	at, level int
	title     string
}

// headings finds the lines that begin with one to six # and a space, outside fences.
func headings(text string) (all outline) {
	fenced := false
	at := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") || strings.HasPrefix(line, "~~~") {
			fenced = !fenced
		}
		level := len(line) - len(strings.TrimLeft(line, "#"))
		if !fenced && level >= 1 && level <= 6 && strings.HasPrefix(line[level:], " ") {
			all = append(all, heading{at, level, strings.TrimSpace(line[level:])})
		}
		at += len(line)
	}
	return all
}

// path is the headings that stand above a byte, the topmost first.
func (o outline) path(at int) (titles []string) {
	var open []heading
	for _, h := range o {
		if h.at > at {
			break
		}
		for len(open) > 0 && open[len(open)-1].level >= h.level {
			open = open[:len(open)-1]
		}
		open = append(open, h)
	}
	for _, h := range open {
		titles = append(titles, h.title)
	}
	return titles
}
