package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"chunkstream/chunk"
	"chunkstream/token"
)

func runSpeed(args []string) error {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	folder := flags.String("corpus", defaultCorpus(), "folder with the texts")
	only := flags.String("case", "", "measure only what this regular expression matches")
	where := flags.String("parts", strings.Join(parts, ","), "parts of the corpus")
	peers := flags.Bool("peers", true, "measure the peers too")
	straight := flags.Bool("linear", true, "measure hostile texts too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-case: %w", err)
	}
	rows, err := cases()
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return !match.MatchString(r.name) })

	// One core for everything, the garbage collector too; what it costs counts.
	runtime.GOMAXPROCS(1)
	names := strings.Split(*where, ",")
	texts := map[string]string{}
	for _, part := range names {
		docs, err := load(*folder, part)
		if err != nil {
			return err
		}
		texts[part] = whole(docs)
	}
	fmt.Printf("%d cores of which one is used, %s; MB/s of CPU time, best of %d (ratio to the peer)\n\n",
		runtime.NumCPU(), runtime.Version(), runs)
	t := table{header: append([]string{"what"}, names...)}
	t.header = append(t.header, "peer", "allocations per chunk", "time(8n)/time(n) at most")
	known := map[string]float64{} // of the peers
	var verdicts []string
	for _, r := range rows {
		cells := []string{r.name}
		for _, part := range names {
			ours, ratio := rate(texts[part], r.run), 0.0
			cell := figure(ours)
			if *peers {
				key := r.peer.name + " " + part
				if _, ok := known[key]; !ok {
					var failed error
					known[key] = rate(texts[part], func(text string) { failed = r.peer.run(text) })
					if failed != nil {
						return fmt.Errorf("%s: %w", key, failed)
					}
				}
				ratio = ours / known[key]
				cell += fmt.Sprintf(" (%s×)", figure(ratio))
			}
			cells = append(cells, cell)
			name := r.name + ", " + part
			if goal, ok := goals[name]; ok {
				verdicts = append(verdicts, goal.verdict(name, ours, ratio))
			}
		}
		if *peers {
			cells = append(cells, r.peer.name)
		} else {
			cells = append(cells, "")
		}
		cells = append(cells, r.allocations(texts[names[0]]))
		if *straight {
			ratio, pattern := worst(r.run)
			cells = append(cells, fmt.Sprintf("%.1f (%s)", ratio, pattern))
		} else {
			cells = append(cells, "")
		}
		t.add(cells...)
		fmt.Fprintln(os.Stderr, strings.Join(cells, " · ")) // it takes minutes: show that it goes on
	}
	t.print(os.Stdout)
	fmt.Println()
	fmt.Println(strings.Join(verdicts, "\n"))
	return nil
}

// goal is the least MB/s of one core, and the least ratio to the peer, of a machine of 2026.
type goal struct{ rate, ratio float64 }

var goals = map[string]goal{
	"fixed_size 4096 bytes, prose":            {20000, 0},
	"fixed_size 1000 chars, prose":            {3000, 0},
	"recursive 1000 chars, prose":             {1200, 7},
	"recursive 1000 chars overlap 200, prose": {1200, 7},
	"recursive 512 tokens cl100k_base, prose": {60, 100},
	"recursive 512 tokens cl100k_base, cjk":   {30, 0},
	"count cl100k_base, prose":                {60, 0},
	"count cl100k_base, cjk":                  {30, 0},
	"count o200k_base, prose":                 {60, 0},
	"count o200k_base, cjk":                   {30, 0},
	"sentence 1000 chars, prose":              {600, 0},
	"sentence 1000 chars, cjk":                {300, 0},
	"markdown 1000 chars, markdown":           {800, 0},
	"html 1000 chars, html":                   {200, 0},
	"code 1000 chars, code":                   {300, 0},
	"optimal 1000 chars, prose":               {150, 0},
	"optimal 512 tokens cl100k_base, prose":   {50, 0},
	"semantic 1000 chars, prose":              {60, 0},
}

// verdict says whether a goal is met. ratio is 0 when the peer was not measured.
func (g goal) verdict(name string, rate, ratio float64) string {
	word := "met"
	if rate < g.rate || ratio > 0 && ratio < g.ratio {
		word = "MISSED"
	}
	said := fmt.Sprintf("%-7s%s: %s MB/s, goal %s", word, name, figure(rate), figure(g.rate))
	if g.ratio > 0 && ratio > 0 {
		said += fmt.Sprintf("; %s× the peer, goal %s×", figure(ratio), figure(g.ratio))
	}
	return said
}

// row is one line of the table.
type row struct {
	name     string
	run      func(text string)
	splitter chunk.Splitter // nil for what makes no chunks
	peer     peer
}

// cases are all settings of all strategies, and counting.
func cases() (rows []row, err error) {
	all, err := settings()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		p, err := peerOf(s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{s.String(), func(text string) {
			for range s.splitter.Split(text) {
			}
		}, s.splitter, p})
	}
	for _, name := range []string{"cl100k_base", "o200k_base"} {
		encoding, err := token.Get(name)
		if err != nil {
			return nil, err
		}
		p, err := counter(name)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{"count " + name, func(text string) { encoding.Count(text) }, nil, p})
	}
	return rows, nil
}

const (
	runs  = 3
	least = 60 * time.Millisecond // of CPU time, a run
)

// rate is how many MB of text a second of CPU time does. A run is as many walks as take the least time there is; a text
// that takes much longer is replaced by a sample from all over it.
func rate(text string, run func(text string)) float64 {
	text = sample(text, func(text string) bool { return cpu(func() { run(text) }) > 3*least })
	best := 0.0
	for range runs {
		walks := 0
		took := cpu(func() {
			for begin := now(); now()-begin < least; walks++ {
				run(text)
			}
		})
		best = max(best, float64(walks)*float64(len(text))/1e6/took.Seconds())
	}
	return best
}

// sample takes as much of text as is not too much, in pieces from all over it: a beginning is seldom like the rest.
func sample(text string, tooMuch func(text string) bool) string {
	const piece = 8 << 10
	size := min(2*piece, len(text))
	part := pick(text, size, piece)
	for size < len(text) && !tooMuch(part) {
		size = min(size*2, len(text))
		part = pick(text, size, piece)
	}
	return part
}

// pick gives about size bytes of text in pieces that begin and end at line ends, where there are any near.
func pick(text string, size, piece int) string {
	if size >= len(text) {
		return text
	}
	var b strings.Builder
	step := len(text) / (size / piece)
	for at := 0; at+piece < len(text); at += step {
		from, to := lineEnd(text, at), lineEnd(text, at+piece)
		b.WriteString(text[from:to])
	}
	return b.String()
}

func lineEnd(text string, at int) int {
	const near = 4 << 10
	if n := strings.IndexByte(text[at:min(at+near, len(text))], '\n'); n >= 0 {
		return at + n + 1
	}
	for at < len(text) && text[at]&0xC0 == 0x80 {
		at++
	}
	return at
}

// now is the CPU time this process has used.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has it
	}
	return time.Duration(t.Nano())
}

func cpu(f func()) time.Duration {
	begin := now()
	f()
	return max(now()-begin, 1)
}

// allocations is how many each further chunk costs: what a walk costs at its start does not count.
func (r row) allocations(text string) string {
	if r.splitter == nil {
		return ""
	}
	text = sample(text, func(text string) bool { return cpu(func() { r.run(text) }) > least })
	count := func(text string) (chunks, mallocs int) {
		mallocs = 1 << 62
		for range 4 { // the first may fill caches
			var before, after runtime.MemStats
			chunks = 0
			runtime.ReadMemStats(&before)
			for range r.splitter.Split(text) {
				chunks++
			}
			runtime.ReadMemStats(&after)
			mallocs = min(mallocs, int(after.Mallocs-before.Mallocs))
		}
		return chunks, mallocs
	}
	few, some := count(text[:lineEnd(text, len(text)/2)])
	many, more := count(text)
	if many <= few {
		return "?"
	}
	return fmt.Sprintf("%.2g", max(float64(more-some)/float64(many-few), 0))
}

// hostile are units that, repeated, have made splitters quadratic, endless or lossy.
var hostile = []struct{ name, unit string }{
	{"one letter", "a"},
	{"no spaces", "ab1c2def3"},
	{"line ends", "\n"},
	{"spaces", " "},
	{"brackets", "["},
	{"full stops", ". "},
	{"short paragraphs", "Hi.\n\n"},
	{"headings", "# h\n"},
	{"table cells", "|"},
	{"open tags", "<a>"},
	{"blanks with letters", "x" + strings.Repeat(" ", 97)},
	{"closers", "」"},
	{"han without stops", "漢字"},
}

// worst is the largest ratio of the times for 1 MiB and for 128 KiB of any hostile text. What is linear stays near 8.
func worst(run func(text string)) (ratio float64, pattern string) {
	const small = 128 << 10
	for _, h := range hostile {
		one := strings.Repeat(h.unit, small/len(h.unit))
		eight := strings.Repeat(one, 8)
		a, b := time.Hour, time.Hour
		r := 0.0
		// In turns, so that a busy moment of the machine meets both; what looks bad gets more of them, for a while.
		begin := now()
		for turn := 0; turn < 3 || r > 9 && turn < 20 && now()-begin < time.Second; turn++ {
			a, b = min(a, walk(run, one)), min(b, walk(run, eight))
			r = float64(b) / float64(a)
		}
		if r > ratio {
			ratio, pattern = r, h.name
		}
	}
	return ratio, pattern
}

// walk is the CPU time of one walk, the mean of enough of them that the clock's grain does not matter.
func walk(run func(text string), text string) time.Duration {
	const enough = 2 * time.Millisecond
	walks := 0
	took := cpu(func() {
		for begin := now(); now()-begin < enough; walks++ {
			run(text)
		}
	})
	return took / time.Duration(walks)
}

// figure writes a number with three digits that count.
func figure(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
