//go:build !race

package token_test

import (
	"strings"
	"testing"
	"time"

	"chunkstream/chunk/chunktest"
	"chunkstream/token"
)

// sample is which of the golden texts are compared with the slow way: every one.
const sample = 1

func TestNoAllocations(t *testing.T) {
	for _, name := range names {
		e := get(t, name)
		text := strings.Repeat(chunktest.Prose(4000)+chunktest.Han(4000)+chunktest.Code(4000), 4)
		marks := make([]token.Mark, 0, 1000)
		e.Count(text)
		got := testing.AllocsPerRun(5, func() {
			e.Count(text)
			_, _, marks = e.Furthest(text, 7, 512, marks[:0])
		})
		if got > 0 {
			t.Errorf("%s: got %v allocations for a count and a search, want none", name, got)
		}
	}
}

// Counting takes time in proportion to the text, whatever it is. Not parallel: it measures time.
func TestLinear(t *testing.T) {
	units := append(strings.Fields("a Aa 漢字 \u0301 # ' é 0 . A ab1c2def3 👍 aaaaaaaab /"),
		" ", "\n", " \n", "\u3000", "\t ", "a ", "\xff", "\xf0\x9f", "\x00")
	for _, name := range names[:3] { // the fourth has the rules of the third
		for _, unit := range units {
			linear(t, get(t, name), unit)
		}
	}
}

// maxRatio is that of chunktest.Linear: a quadratic search takes 64 times as long.
const maxRatio = 32

func linear(t *testing.T, e *token.Encoding, unit string) {
	t.Helper()
	small := strings.Repeat(unit, (48<<10)/len(unit))
	large := strings.Repeat(small, 8)
	clock := func(f func()) time.Duration {
		begin := time.Now()
		f()
		return time.Since(begin)
	}
	for what, f := range map[string]func(text string){
		"count": func(text string) { e.Count(text) },
		"search": func(text string) {
			for at := 0; at < len(text); {
				at, _, _ = e.Furthest(text, at, 64, nil)
			}
		},
	} {
		a, b := time.Hour, time.Hour
		ratio := 0.0
		for begin := time.Now(); ratio == 0 || ratio > maxRatio && time.Since(begin) < 3*time.Second; {
			a = min(a, clock(func() { f(small) }))
			b = min(b, clock(func() { f(large) }))
			ratio = float64(b) / float64(max(a, time.Microsecond))
		}
		if ratio > maxRatio {
			t.Errorf("%s of %q: eight times the text takes %.1f times as long, above %d", what, unit, ratio, maxRatio)
		}
	}
}
