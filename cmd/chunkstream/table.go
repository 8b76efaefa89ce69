package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"chunkstream/check"
	"chunkstream/chunk"
	"chunkstream/extract"
	"chunkstream/files"
	"chunkstream/token"
)

// mostRows is how many chunks of a file the table shows, mostTables of how many files, mostWrong how many problems.
const (
	mostRows   = 40
	mostTables = 3
	mostWrong  = 5
)

// looked is a file with its chunks, and what is wrong with them.
type looked struct {
	name    string
	text    string
	format  extract.Format
	plan    chunk.Plan
	all     []chunk.Detail
	counted string // the tokenizer
	took    time.Duration
	report  check.Report
}

// look cuts a file. Tokens are counted by what the flags name, else by what the sizes are in, else by what is the default for
// looking; an empty one counts none.
func (c *cutting) look(ctx context.Context, f files.File, tokenizer string) (*looked, error) {
	doc, plan, err := c.read(f)
	if err != nil {
		return nil, err
	}
	var s struct{ Tokenizer string }
	_ = json.Unmarshal(plan.Settings, &s) // they are canonical
	l := &looked{name: f.Path, text: doc.Text, format: doc.Format, plan: plan, counted: cmp.Or(c.count, s.Tokenizer, tokenizer)}
	describer := c.describer
	if l.counted != "" {
		if describer.Tokens, err = token.Get(l.counted); err != nil {
			return nil, err
		}
	}
	begin, splitter := time.Now(), plan.Splitter
	if c.server != nil {
		if splitter, err = remote(ctx, c.server, f.Path, doc.Text, plan, func(int64) {}); err != nil {
			return nil, err
		}
	}
	for d, err := range describer.DescribeFrom(plan, splitter, doc.Text) {
		if err != nil {
			return nil, err
		}
		l.all = append(l.all, d)
	}
	l.took = time.Since(begin)
	l.report = check.Chunks(plan, doc.Format.Kind, doc.Text, l.all)
	return l, nil
}

func (l *looked) tokens() (n int) {
	for _, d := range l.all {
		n += d.Tokens
	}
	return n
}

// foundWrong is the error of a check that found problems, nil for none.
func foundWrong(n int) error {
	if n == 0 {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("%d %w", n, errWrong), ""}
}

var errWrong = errors.New("problems with the chunks")

// show tells people of each file's chunks: in a table, in the text itself, or in a line for each file.
func (c *chunkCmd) show(ctx context.Context, job *cutting, screen *screen, found []files.File) error {
	job.count = c.Count
	colors := screen.colored(c.stdout)
	lines := c.Stats || !c.View && len(found) > mostTables
	var sum totals
	var rows *tabwriter.Writer
	if lines && !c.JSON {
		rows = tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		sum.head(rows)
	}
	tokenizer := chunk.DefaultTokenizer
	if c.View {
		tokenizer = "" // a vocabulary takes longer to load than the rest takes
	}
	failed, wrong := 0, 0
	for _, f := range found {
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted"), ""}
		}
		l, err := job.look(ctx, f, tokenizer)
		if hopeless(err) {
			return err
		}
		if err != nil {
			failed++
			fmt.Fprintf(c.stderr, "! %s: %v\n", f.Path, err)
			continue
		}
		switch {
		case lines:
			err = sum.add(l, rows, c.stdout)
		case c.View:
			err = l.view(c.stdout, colors)
		default:
			err = l.table(c.stdout, colors)
		}
		if err != nil {
			return written(err)
		}
		if c.Lint {
			wrong += len(l.report.Problems)
			for _, p := range l.report.Problems {
				fmt.Fprintf(c.stderr, "%s:%v\n", f.Path, p)
			}
		}
	}
	if rows != nil {
		if err := sum.end(rows); err != nil {
			return written(err)
		}
	}
	if !lines && !c.View && !c.Quiet && failed == 0 && isTerminal(c.stdout) {
		fmt.Fprint(c.stdout, paint(colors, dim, next(found[0].Path)))
	}
	if err := c.failed(failed, len(found)); err != nil {
		return err
	}
	return foundWrong(wrong)
}

// next says what one may do after a first look.
func next(path string) string {
	name := path
	if strings.ContainsAny(path, " '\"$`\\!*?[]{}()<>|&;#~\t\n") {
		name = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	first := fmt.Sprintf("chunkstream chunk %s --json | head -1", name)
	width := max(len(first), 42)
	row := func(label, command, words string) string {
		return fmt.Sprintf(" %-5s %-*s   %s\n", label, width, command, words)
	}
	return row("next", first, "for programs") + row("", fmt.Sprintf("chunkstream chunk %s --view", name), "see it in colour") +
		row("", "chunkstream chunk docs/ -o chunks.jsonl", "a whole folder") + row("", "chunkstream serve", "the service, with an API")
}

// table shows a file's chunks, a line for each.
func (l *looked) table(out io.Writer, colors bool) error {
	unit := unitOf(l.plan)
	if _, err := fmt.Fprintf(out, "%s · %s · %s B → %s chunks · %s tokens (%s) · %s\n", paint(colors, bold, oneLine(l.name, 200)), l.format.Kind,
		grouped(len(l.text)), grouped(len(l.all)), grouped(l.tokens()), l.counted, took(l.took)); err != nil || len(l.all) == 0 {
		return err
	}
	var rows strings.Builder
	t := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', 0)
	row := func(format string, values ...any) { _, _ = fmt.Fprintf(t, format+"\n", values...) } // to memory
	size := func(d chunk.Detail) string { return fmt.Sprintf("%d\t%d", d.Size, d.Tokens) }
	head := unit + "\ttokens"
	if unit == "tokens" {
		head, size = unit, func(d chunk.Detail) string { return fmt.Sprint(d.Size) }
	}
	row("  #\t%s\tlines\tcut after\theading › preview", head)
	for _, d := range l.all[:min(len(l.all), mostRows)] {
		last := d.To.Line + 1
		if strings.HasSuffix(d.Text, "\n") {
			last--
		}
		row("%3d\t%s\t%d–%d\t%s\t%s%s", d.Index, size(d), d.From.Line+1, last, d.Boundary, strings.Repeat("  ", int(d.Level)), preview(d))
	}
	_ = t.Flush()
	head, body, _ := strings.Cut(rows.String(), "\n")
	if len(l.all) > mostRows {
		body += fmt.Sprintf("  …  %s more: --json has all\n", grouped(len(l.all)-mostRows))
	}
	_, err := fmt.Fprintf(out, "\n%s\n%s\n%s\n", paint(colors, dim, head), body, l.figures(colors))
	return err
}

// figures are the sizes, what the cuts are, and the checks.
func (l *looked) figures(colors bool) string {
	var b strings.Builder
	s, r := sizesOf(l.all), &l.report
	limit := ""
	if r.Limit > 0 {
		limit = " of " + grouped(r.Limit)
	}
	fmt.Fprintf(&b, " size    %s  min %s · median %s · p95 %s · max %s%s %s\n", s.bars(), grouped(s.least), grouped(s.median), grouped(s.p95), grouped(s.most),
		limit, r.Unit)
	fmt.Fprintf(&b, " cuts    %s\n", cutsOf(l.all))
	b.WriteString(" checks  " + checks(r, colors) + "\n")
	for i, p := range r.Problems {
		if i == mostWrong {
			fmt.Fprintf(&b, "   … %d more: chunkstream lint lists them\n", len(r.Problems)-mostWrong)
			break
		}
		fmt.Fprintf(&b, "   line %s\n", oneLine(p.String(), 100))
	}
	return b.String()
}

// checks says what was checked, and how much is wrong.
func checks(r *check.Report, colors bool) string {
	within := r.Chunks - r.Count(check.OverLimit)
	parts := []string{paint(colors, mark(within == r.Chunks), fmt.Sprintf("%s/%s within limit", grouped(within), grouped(r.Chunks)))}
	for _, k := range []struct {
		kind  check.Kind
		words string
	}{
		{check.OpenFence, "open code fences"}, {check.TornTable, "torn tables"}, {check.TornWord, "mid-word cuts"},
		{check.OrphanHeading, "orphan headings"}, {check.NearDuplicate, "near duplicates"},
	} {
		n := r.Count(k.kind)
		parts = append(parts, paint(colors, mark(n == 0), fmt.Sprintf("%d %s", n, k.words)))
	}
	covered := fmt.Sprintf("coverage %.4g %%", 100*r.Covered)
	if r.Covered < 1 && covered == "coverage 100 %" {
		covered = "coverage below 100 %"
	}
	return strings.Join(append(parts, paint(colors, mark(r.Covered == 1), covered)), " · ")
}

func mark(fine bool) style {
	if fine {
		return good
	}
	return bad
}

// took is a duration for people.
func took(d time.Duration) string {
	if d < time.Millisecond {
		return d.Round(time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// preview is the beginning of a chunk behind the headings above it, on one line and harmless to a terminal.
func preview(d chunk.Detail) string {
	const most = 60
	var above []string
	for x := d.Context; x != nil; x = x.Up {
		if x.Kind == chunk.Heading {
			above = append(above, oneLine(x.Text, 30))
		}
	}
	slices.Reverse(above)
	return strings.Join(append(above, oneLine(d.Text, most)), " › ")
}

// oneLine is the first characters of s with white space folded and control characters left out.
func oneLine(s string, most int) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		if n == most {
			b.WriteString("…")
			break
		}
		switch {
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			space = n > 0
			continue
		case moves(r):
			r = '·' // would move the cursor, or turn the line around
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// sizes are what can be said of the sizes of chunks.
type sizes struct {
	least, median, p95, most int
	sum                      int
	sorted                   []int
}

func sizesOf(all []chunk.Detail) (s sizes) {
	for _, d := range all {
		s.sorted = append(s.sorted, d.Size)
		s.sum += d.Size
	}
	slices.Sort(s.sorted)
	at := func(share float64) int { return s.sorted[min(len(s.sorted)-1, int(share*float64(len(s.sorted))))] }
	s.least, s.median, s.p95, s.most = s.sorted[0], at(0.5), at(0.95), s.sorted[len(s.sorted)-1]
	return s
}

// bars is a small histogram of the sizes, from 0 to the largest.
func (s sizes) bars() string {
	var counts [10]int
	top := 0
	for _, n := range s.sorted {
		i := min(len(counts)-1, n*len(counts)/(s.most+1))
		counts[i]++
		top = max(top, counts[i])
	}
	var b strings.Builder
	for _, n := range counts {
		switch {
		case n == 0:
			b.WriteRune(' ')
		default:
			b.WriteRune([]rune("▁▂▃▄▅▆▇█")[n*7/top])
		}
	}
	return b.String()
}

// cutsOf says how many chunks end at which kind of place, the best first.
func cutsOf(all []chunk.Detail) string {
	counts := map[chunk.Boundary]int{}
	for _, d := range all {
		counts[d.Boundary]++
	}
	var parts []string
	for b := int(chunk.End); b >= 0; b-- {
		if n := counts[chunk.Boundary(b)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, chunk.Boundary(b)))
		}
	}
	return strings.Join(parts, " · ")
}
