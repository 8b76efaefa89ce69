// Package extract turns what a client sent into the text that all offsets refer to: [Text] for a source in memory,
// [NewReader] for a stream in a known encoding, [NewText] for a stream that must be UTF-8 already, and [Recognise] for
// what the text is. A text is always valid UTF-8 without NUL. UTF-8 is taken as it is; other encodings are decoded, and
// [Offsets] says which bytes of the source each part of the text came from. Nothing is repaired unless a [Policy] asks
// for it. A byte order mark is a character of the text, U+FEFF, in every encoding: so the text of a UTF-8 source is the
// source, byte for byte, and every byte of any source is some part of the text.
package extract

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// The codes of Error.
const (
	InvalidUTF8 = "invalid_utf8" // a byte sequence that UTF-8 (RFC 3629) does not allow, or a rune cut off at the end
	NULByte     = "nul_byte"     // U+0000, which not every database can store in a text
	Undecodable = "undecodable"  // a byte sequence that the source's encoding, other than UTF-8, does not allow
)

// Error says why a text was refused and where.
type Error struct {
	Code     string // InvalidUTF8, NULByte or Undecodable
	Offset   int64  // of the first fault, in bytes from the start of the source; for a cut-off rune, where the rune starts
	Encoding string // of the source, as Charset names it; empty for UTF-8
}

func (e *Error) Error() string {
	switch e.Code {
	case Undecodable:
		return fmt.Sprintf("text is not valid %s at offset %d", e.Encoding, e.Offset)
	case NULByte:
		return fmt.Sprintf("text has a NUL byte at offset %d", e.Offset)
	}
	return fmt.Sprintf("text is not valid UTF-8 at offset %d", e.Offset)
}

// NewText gives a reader that passes r's bytes through unchanged as long as they are valid UTF-8 without NUL. The
// bytes before the first fault are delivered; then Read returns *Error. A rune that r delivers in pieces is fine. An
// error of r other than io.EOF is returned as it is, without judging a rune that it cut off. The reader holds no
// buffer of its own, and it is for one goroutine.
func NewText(r io.Reader) io.Reader { return &text{r: r} }

type text struct {
	r      io.Reader
	offset int64 // of the next byte to be read from r
	err    error // what every later Read returns
	// tail is the start of a rune whose end has not been read yet. Its bytes have been delivered already: they can
	// still turn out to be a fault, which is then reported at the place where the rune starts.
	tail [utf8.UTFMax]byte
	kept int
}

func (t *text) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.r.Read(p)
	if n == 0 && err == nil {
		return 0, nil
	}
	good, fault := t.check(p[:n])
	switch {
	case fault != nil:
		t.err = fault
	case err == io.EOF && t.kept > 0:
		t.err = &Error{Code: InvalidUTF8, Offset: t.offset + int64(n) - int64(t.kept)}
	default:
		t.err = err
	}
	t.offset += int64(n)
	return good, t.err
}

// check finds the first fault in b, the bytes at t.offset, and says how many bytes are before it. It keeps a rune that
// b's end cuts off.
func (t *text) check(b []byte) (good int, fault *Error) {
	start := 0
	if t.kept > 0 {
		// Complete the rune that the read before cut off.
		kept := t.kept
		rune4 := t.tail
		more := copy(rune4[kept:], b)
		seq := rune4[:kept+more]
		if !utf8.FullRune(seq) {
			t.tail, t.kept = rune4, kept+more
			return len(b), nil
		}
		t.kept = 0
		r, size := utf8.DecodeRune(seq)
		if r == utf8.RuneError && size == 1 {
			return 0, &Error{Code: InvalidUTF8, Offset: t.offset - int64(kept)}
		}
		start = size - kept
	}
	rest := b[start:]
	nul := bytes.IndexByte(rest, 0)
	if nul >= 0 {
		rest = rest[:nul]
	}
	cut := len(rest)
	if nul < 0 {
		cut = wholeRunes(rest)
	}
	if !utf8.Valid(rest[:cut]) {
		at := start + firstInvalid(rest[:cut])
		return at, &Error{Code: InvalidUTF8, Offset: t.offset + int64(at)}
	}
	if nul >= 0 {
		return start + nul, &Error{Code: NULByte, Offset: t.offset + int64(start+nul)}
	}
	t.kept = copy(t.tail[:], rest[cut:])
	return len(b), nil
}

// wholeRunes gives the length of b without the rune that its end may cut off. A fault is not a cut-off rune.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				return len(b)
			}
			return i
		}
	}
	return len(b)
}

// firstInvalid gives the offset of the first byte that starts no valid rune; b has one.
func firstInvalid(b []byte) int {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}
