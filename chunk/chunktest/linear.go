package chunktest

import (
	"strings"
	"testing"
	"time"

	"chunkstream/chunk"
)

// maxRatio is the most that eight times the text may take, in times. A quadratic splitter takes 64.
const maxRatio = 13

// Linear fails unless s takes at most 13 times as long for eight times the text, on each hostile text: 64 KiB against
// 512 KiB. Only the ratio counts, so the speed of the machine does not; each side is the best of several runs and a bad
// ratio is measured anew, four times or until three seconds have passed, so other load does not either.
//
// It takes about a second for a splitter of 100 MB/s and is not for parallel tests.
func Linear(tb testing.TB, s chunk.Splitter) {
	tb.Helper()
	for _, h := range hostile {
		linear(tb, s, h.name, h.text)
	}
}

func linear(tb testing.TB, s chunk.Splitter, name, unit string) {
	tb.Helper()
	const n = 64 << 10
	small := strings.Repeat(unit, max(1, n/len(unit)))
	large := strings.Repeat(small, 8)
	var ratio float64
	begin := time.Now()
	for try := 0; try == 0 || try < 5 && time.Since(begin) < 3*time.Second; try++ {
		// In turns, so that a busy second on the machine meets both sides.
		a, b := time.Duration(1<<62), time.Duration(1<<62)
		for range 5 {
			a = min(a, clock(s, small))
			b = min(b, clock(s, large))
		}
		if ratio = float64(b) / float64(max(a, time.Microsecond)); ratio <= maxRatio {
			return
		}
	}
	tb.Errorf("%s: eight times the text takes %.1f times as long, above %d", name, ratio, maxRatio)
}

// clock is the time of one walk over text, the mean of enough of them that the clock's grain does not matter.
func clock(s chunk.Splitter, text string) time.Duration {
	const enough = 200 * time.Microsecond
	begin := time.Now()
	for n := 1; ; n++ {
		for range s.Split(text) {
		}
		if took := time.Since(begin); took >= enough {
			return took / time.Duration(n)
		}
	}
}
