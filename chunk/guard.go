package chunk

import (
	"fmt"
	"iter"
)

// SplitError says that a strategy broke the contract of Splitter: a fault of the program, never of the text. Offset is
// the byte of the text where it was seen.
type SplitError struct {
	Strategy string
	Offset   int
	Problem  string
}

func (e *SplitError) Error() string {
	return fmt.Sprintf("strategy %s at byte %d: %s", e.Strategy, e.Offset, e.Problem)
}

// maxLevels is how many levels of chunks there may be.
const maxLevels = 8

// Guard yields the chunks of s with a nil error for as long as they keep the contract: inside the text, not empty, on
// rune boundaries, both ends further than those of the chunk before on the same level, inside their parent, and on level
// 0 nothing but white space left out between two chunks or after the last. At the first breach it yields a zero Chunk
// with a *SplitError and stops, so a strategy that stalls cannot hold its caller. strategy only names the culprit. It
// costs a few nanoseconds a chunk.
func Guard(strategy string, s Splitter, text string) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		fail := func(offset int, format string, args ...any) {
			yield(Chunk{}, &SplitError{strategy, offset, fmt.Sprintf(format, args...)})
		}
		var (
			last  [maxLevels]Span // the last chunk of each level, and where in the order it was
			order [maxLevels]int
			n     int
		)
		for i := range last {
			last[i] = Span{-1, 0}
		}
		for c := range s.Split(text) {
			n++
			if int(c.Level) >= maxLevels {
				fail(c.Start, "level %d is above %d", c.Level, maxLevels-1)
				return
			}
			before := last[c.Level]
			switch {
			case c.Start < 0 || c.End > len(text):
				fail(before.End, "span [%d, %d) is outside the text of %d bytes", c.Start, c.End, len(text))
				return
			case c.Start >= c.End:
				fail(before.End, "span [%d, %d) is empty", c.Start, c.End)
				return
			case c.Start <= before.Start || c.End <= before.End:
				fail(c.Start, "span [%d, %d) does not advance from [%d, %d)", c.Start, c.End, before.Start, before.End)
				return
			case !onRune(text, c.Start) || !onRune(text, c.End):
				fail(c.Start, "span [%d, %d) cuts a character", c.Start, c.End)
				return
			case c.Level == 0 && skipSpace(text, before.End, c.Start) < c.Start:
				fail(before.End, "bytes %d to %d are left out and are not white space", before.End, c.Start)
				return
			case c.Level == 0 && c.Up != 0:
				fail(c.Start, "a chunk of level 0 has a parent")
				return
			}
			if c.Level > 0 {
				up := last[c.Level-1]
				if c.Up <= 0 || n-c.Up != order[c.Level-1] || c.Start < up.Start || c.End > up.End {
					fail(c.Start, "span [%d, %d) of level %d is not inside its parent", c.Start, c.End, c.Level)
					return
				}
			}
			last[c.Level], order[c.Level] = c.Span, n
			if !yield(c, nil) {
				return
			}
		}
		if ink := skipSpace(text, last[0].End, len(text)); ink < len(text) {
			fail(ink, "stopped before the end of the text, at byte %d of %d", last[0].End, len(text))
		}
	}
}
