package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"chunkstream/chunk"
	"chunkstream/files"
)

// mostRows is how many chunks of a file the table shows.
const mostRows = 40

// table shows the chunks of each file to a person.
func (c *cutting) table(ctx context.Context, out io.Writer, found []files.File) error {
	failed := 0
	for _, f := range found {
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted"), ""}
		}
		doc, plan, err := c.read(f)
		if err == nil {
			err = c.show(out, f.Path, plan, doc.Text)
		}
		if err != nil {
			failed++
			fmt.Fprintf(out, "! %s: %v\n", f.Path, err)
		}
	}
	if failed > 0 {
		return &exitError{exitFailed, fmt.Errorf("%w: %d of %d", errSomeFailed, failed, len(found)), ""}
	}
	return nil
}

func (c *cutting) show(out io.Writer, name string, plan chunk.Plan, text string) error {
	begin := time.Now()
	var all []chunk.Detail
	for d, err := range c.describer.Describe(plan, text) {
		if err != nil {
			return err
		}
		all = append(all, d)
	}
	unit := unitOf(plan)
	fmt.Fprintf(out, "%s · %s · %s → %d chunks · %s\n\n", name, plan.Strategy, bytesText(int64(len(text))), len(all),
		time.Since(begin).Round(time.Microsecond))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(format string, values ...any) { _, _ = fmt.Fprintf(t, format+"\n", values...) } // Flush reports what went wrong
	row("  #\t%s\tlines\tends at\ttext", unit)
	for _, d := range all[:min(len(all), mostRows)] {
		last := d.To.Line + 1
		if strings.HasSuffix(d.Text, "\n") {
			last--
		}
		row("  %d\t%d\t%d–%d\t%s\t%s%s", d.Index, d.Size, d.From.Line+1, last, d.Boundary,
			strings.Repeat("  ", int(d.Level)), preview(d))
	}
	if len(all) > mostRows {
		row("  …\t\t\t\t%d more: --json has all", len(all)-mostRows)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(all) > 0 {
		s := sizesOf(all)
		fmt.Fprintf(out, "\nsizes  %s  least %d · median %d · p95 %d · most %d %s\ncuts   %s\n\n", s.bars(), s.least, s.median, s.p95, s.most,
			unit, cutsOf(all))
	}
	return nil
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
		case r < ' ' || r >= 0x7F && r < 0xA0 || r == '\u2028' || r == '\u2029' || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069:
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
