package store

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// The widths of a part say how many bytes of the source each of its characters came from: pairs of unsigned varints, how
// many characters in a row and how many bytes each. Text in one script is one pair in most encodings.

// packWidths packs those of text, which starts at start of the whole; source gives the source offset of a text offset,
// and never goes back.
func packWidths(text []byte, start int64, source func(text int) int) []byte {
	var packed []byte
	run, width := uint64(0), uint64(0)
	flush := func() {
		if run > 0 {
			packed = binary.AppendUvarint(binary.AppendUvarint(packed, run), width)
		}
	}
	at := source(int(start))
	for i := 0; i < len(text); {
		_, w := utf8.DecodeRune(text[i:])
		i += w
		next := source(int(start) + i)
		if bytes := uint64(next - at); bytes != width || run == 0 {
			flush()
			run, width = 0, bytes
		}
		run++
		at = next
	}
	flush()
	return packed
}

// errWidths says that a part has no such character.
var errWidths = errors.New("the widths of a part end before the character")

// sourceAt gives the source offset of the character with number char of the part that starts at start in the source.
func sourceAt(packed []byte, start, char int64) (int64, error) {
	for char > 0 {
		run, n := binary.Uvarint(packed)
		if n <= 0 {
			return 0, errWidths
		}
		width, m := binary.Uvarint(packed[n:])
		if m <= 0 || run == 0 {
			return 0, errWidths
		}
		packed = packed[n+m:]
		some := min(char, int64(run))
		start += some * int64(width)
		char -= some
	}
	return start, nil
}
