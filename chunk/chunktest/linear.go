package chunktest

import (
	"strings"
	"testing"
	"time"

	"chunkstream/chunk"
)

// maxRatio is the most that eight times the text may take, in times. A quadratic splitter takes 64; a linear one took
// up to 25 on a machine with five times more to do than it could.
const maxRatio = 32

// patience is how long one text is measured before a bad ratio counts; one nearer to the most that is allowed than to a
// quadratic splitter's is given five times as long.
const patience = 3 * time.Second

// Linear fails unless s takes at most 32 times as long for eight times the text, on each hostile text: 32 KiB against
// 256 KiB. Only the ratio counts, so the speed of the machine does not; each side is the best of all its runs, and a
// bad ratio is measured for seconds more, so other load, which only ever adds time, does not either. It stops at the first
// text that fails.
//
// more are units of other hostile texts, which are repeated.
//
// It takes about a tenth of a second for a splitter of 1 GB/s and is not for parallel tests.
func Linear(tb testing.TB, s chunk.Splitter, more ...string) {
	tb.Helper()
	for _, unit := range more {
		if !linear(tb, s, unit, unit) {
			return
		}
	}
	for _, h := range hostile {
		if !linear(tb, s, h.name, h.text) {
			return // the others would take as long
		}
	}
}

func linear(tb testing.TB, s chunk.Splitter, name, unit string) bool {
	tb.Helper()
	const n = 32 << 10
	small := strings.Repeat(unit, max(1, n/len(unit)))
	large := strings.Repeat(small, 8)
	a, b := time.Hour, time.Hour
	ratio := 0.0
	for begin := time.Now(); ; {
		for range 3 { // in turns, so that a busy moment of the machine meets both sides
			a = min(a, clock(s, small))
			b = min(b, clock(s, large))
			if ratio = float64(b) / float64(max(a, time.Microsecond)); ratio <= maxRatio/2 {
				return true // a quadratic splitter's first side would have to be late by four times
			}
		}
		if ratio <= maxRatio {
			return true
		}
		if took := time.Since(begin); took > patience && (ratio > 1.5*maxRatio || took > 5*patience) {
			break
		}
	}
	tb.Errorf("%s: eight times the text takes %.1f times as long, above %d", name, ratio, maxRatio)
	return false
}

// clock is the time of one walk over text, the mean of enough of them that the clock's grain does not matter.
func clock(s chunk.Splitter, text string) time.Duration {
	const enough = 100 * time.Microsecond
	begin := time.Now()
	for n := 1; ; n++ {
		for range s.Split(text) {
		}
		if took := time.Since(begin); took >= enough {
			return took / time.Duration(n)
		}
	}
}
