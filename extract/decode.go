package extract

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Policy says what becomes of bytes that the source's encoding does not allow. NUL (U+0000) is allowed by every
// encoding and by no text: under every policy it is refused with an *Error, as NewText does.
type Policy uint8

const (
	// Reject refuses the source, with an *Error that has the first fault's offset. It is the default.
	Reject Policy = iota
	// Replace writes U+FFFD for each faulty sequence. Its bytes are then lost to the text, but not to Offsets.
	Replace
	// Bytes keeps each byte of a faulty sequence as the character with its number, as ISO 8859-1 would (0xE9 is é), so
	// that nothing is lost; for a byte 0x00, as half a surrogate in UTF-16 may have it, it writes U+2400, its symbol.
	Bytes
)

// ParsePolicy reads the name of a policy: "reject", "replace" or "bytes".
func ParsePolicy(name string) (Policy, error) {
	for p, known := range policies {
		if name == known {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("no policy for undecodable bytes is called %q: use %s", name, strings.Join(policies[:], ", "))
}

// String gives the name that ParsePolicy reads.
func (p Policy) String() string {
	if int(p) < len(policies) {
		return policies[p]
	}
	return fmt.Sprintf("policy %d", p)
}

var policies = [...]string{Reject: "reject", Replace: "replace", Bytes: "bytes"}

// UnknownEncodingError says that no known encoding is called Label.
type UnknownEncodingError struct{ Label string }

func (e *UnknownEncodingError) Error() string {
	return fmt.Sprintf("no known encoding is called %q: use a name of the WHATWG Encoding Standard, "+
		"such as windows-1252, or leave it out to have it detected", e.Label)
}

// decoding is one source on its way to text, in pieces.
type decoding struct {
	charset *charset
	policy  Policy
	state   uint8
	quiet   int     // bytes since the last character that stand for no text
	read    int     // bytes of the source, decoded
	faulty  int     // of them, those that the encoding does not allow
	first   int     // offset of the first of these
	offsets *mapper // nil: nobody asks
}

// decode appends the text of src to dst and says how much of src that was: all of it when last, else all but a
// character's start. On an error, dst has the text before the fault.
func (d *decoding) decode(dst, src []byte, last bool) (text []byte, used int, err error) {
	at := 0
	for at < len(src) {
		if d.charset.ascii && d.state == 0 && d.quiet == 0 && src[at] < utf8.RuneSelf {
			if n := plain(src[at:]); n > 0 {
				dst = append(dst, src[at:at+n]...)
				if d.offsets != nil {
					d.offsets.add(n, 1, 1)
				}
				at += n
				d.read += n
				continue
			}
		}
		var r rune
		n := 1
		if d.charset.single != nil {
			r = d.charset.single[src[at]]
		} else {
			r, n = d.charset.next(&d.state, src[at:], last)
		}
		if n == 0 {
			break
		}
		if r > 0 {
			before := len(dst)
			dst = utf8.AppendRune(dst, r)
			d.mark(len(dst)-before, n)
			at += n
			d.read += n
			continue
		}
		switch {
		case r == bad:
			if d.faulty == 0 {
				d.first = d.read
			}
			d.faulty += n
			switch d.policy {
			case Replace:
				dst = utf8.AppendRune(dst, utf8.RuneError)
				d.mark(3, n)
			case Bytes:
				for _, b := range src[at : at+n] {
					before := len(dst)
					dst = utf8.AppendRune(dst, byteRune(b))
					d.mark(len(dst)-before, 1)
				}
			default:
				return dst, at, d.fault(Undecodable)
			}
		case r == 0:
			return dst, at, d.fault(NULByte)
		case r == quiet:
			d.quiet += n
		case r <= pairs:
			s := pairText[pairs-r]
			dst = append(dst, s...)
			_, half := utf8.DecodeRuneInString(s)
			d.mark(half, n)
			d.mark(len(s)-half, 0)
		}
		at += n
		d.read += n
	}
	if last && d.offsets != nil && d.quiet > 0 {
		d.offsets.skip(d.quiet)
	}
	return dst, at, nil
}

// plain gives the length of the ASCII at the start of b that needs no look: without NUL and ESC.
func plain(b []byte) int {
	n := 0
	for n < len(b) && b[n] < utf8.RuneSelf && b[n] != 0 && b[n] != 0x1b {
		n++
	}
	return n
}

func byteRune(b byte) rune {
	if b == 0 {
		return '\u2400'
	}
	return rune(b)
}

// mark tells the map of one character; the quiet bytes before it become part of it as far as a width goes.
func (d *decoding) mark(text, source int) {
	if d.offsets != nil {
		if d.quiet+source > 15 {
			d.offsets.skip(d.quiet)
			d.quiet = 0
		}
		d.offsets.add(1, text, d.quiet+source)
	}
	d.quiet = 0
}

func (d *decoding) fault(code string) *Error {
	e := &Error{Code: code, Offset: int64(d.read), Encoding: d.charset.name}
	if e.Encoding == "utf-8" {
		e.Encoding = ""
		if code == Undecodable {
			e.Code = InvalidUTF8
		}
	}
	return e
}

// window is how much of a source is decoded at a time.
const window = 32 << 10

// decodeAll decodes a source that lies in memory.
func decodeAll(d *decoding, data []byte) (string, error) {
	var text strings.Builder
	text.Grow(len(data))
	var buf []byte
	for at := 0; at < len(data); {
		end := min(at+window, len(data))
		out, used, err := d.decode(buf[:0], data[at:end], end == len(data))
		buf = out
		text.Write(out)
		if err != nil {
			return text.String(), err
		}
		at += used
	}
	return text.String(), nil
}

// Reader decodes a stream; see NewReader.
type Reader struct {
	r        io.Reader
	decoding decoding
	in       []byte // read, not decoded
	out      []byte // decoded; out[sent:] is not delivered
	sent     int
	ended    bool // in has the stream's end
	err      error
}

// NewReader gives the text of r, which is in the encoding that label names (see Charset), or an
// *UnknownEncodingError. The result is that of Text for the same bytes and encoding, however r delivers them. Text that
// comes before a fault is delivered; then Read returns *Error. An error of r other than io.EOF is returned as it is,
// after the whole characters before it. A Reader holds about 140 KiB and is for one goroutine.
func NewReader(r io.Reader, label string, policy Policy) (*Reader, error) {
	name, ok := Charset(label)
	if !ok {
		return nil, &UnknownEncodingError{label}
	}
	return &Reader{r: r, decoding: decoding{charset: findCharset(name), policy: policy}, in: make([]byte, 0, window)}, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.sent == len(r.out) {
		if r.err != nil {
			return 0, r.err
		}
		if !r.ended {
			n, err := r.r.Read(r.in[len(r.in):cap(r.in)])
			r.in = r.in[:len(r.in)+n]
			if err == io.EOF {
				r.ended = true
			} else if err != nil {
				r.err = err
			} else if n == 0 {
				return 0, nil
			}
		}
		out, used, err := r.decoding.decode(r.out[:0], r.in, r.ended)
		r.out, r.sent = out, 0
		r.in = r.in[:copy(r.in, r.in[used:])]
		if err != nil {
			r.err = err
		} else if r.ended {
			r.err = io.EOF
		}
	}
	n := copy(p, r.out[r.sent:])
	r.sent += n
	return n, nil
}

// Undecodable gives the number of bytes read so far that the encoding does not allow; under Reject it is at most the
// first faulty sequence.
func (r *Reader) Undecodable() int64 { return int64(r.decoding.faulty) }

// identity reports whether data is its own text, which is the case for nearly every source.
func identity(data []byte) bool { return utf8.Valid(data) && bytes.IndexByte(data, 0) < 0 }
