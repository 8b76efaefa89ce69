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

// Guard yields the spans of s with a nil error for as long as they keep the contract: inside the text, not empty, both
// ends further than those of the span before, on rune boundaries, and nothing but white space left out between two
// spans or after the last. At the first breach it yields a zero Span with a *SplitError and stops, so a strategy that
// stalls cannot hold its caller. strategy only names the culprit. It costs a few nanoseconds a span.
func Guard(strategy string, s Splitter, text string) iter.Seq2[Span, error] {
	return func(yield func(Span, error) bool) {
		fail := func(offset int, format string, args ...any) {
			yield(Span{}, &SplitError{strategy, offset, fmt.Sprintf(format, args...)})
		}
		last := Span{-1, 0}
		for sp := range s.Split(text) {
			switch {
			case sp.Start < 0 || sp.End > len(text):
				fail(last.End, "span [%d, %d) is outside the text of %d bytes", sp.Start, sp.End, len(text))
				return
			case sp.Start >= sp.End:
				fail(last.End, "span [%d, %d) is empty", sp.Start, sp.End)
				return
			case sp.Start <= last.Start || sp.End <= last.End:
				fail(sp.Start, "span [%d, %d) does not advance from [%d, %d)", sp.Start, sp.End, last.Start, last.End)
				return
			case !onRune(text, sp.Start) || !onRune(text, sp.End):
				fail(sp.Start, "span [%d, %d) cuts a character", sp.Start, sp.End)
				return
			case skipSpace(text, last.End, sp.Start) < sp.Start:
				fail(last.End, "bytes %d to %d are left out and are not white space", last.End, sp.Start)
				return
			}
			last = sp
			if !yield(sp, nil) {
				return
			}
		}
		if ink := skipSpace(text, last.End, len(text)); ink < len(text) {
			fail(ink, "stopped before the end of the text, at byte %d of %d", last.End, len(text))
		}
	}
}
