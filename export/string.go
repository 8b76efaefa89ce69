package export

import "encoding/binary"

// AppendString adds s as a JSON string (RFC 8259, section 7). s is valid UTF-8, and is written as it is but for quotes,
// backslashes and control characters.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		if len(s)-i >= 8 {
			// A byte below 0x20, a quote or a backslash sets the high bit of its place; a byte above one that does may set it too,
			// which costs a look and nothing else.
			w := binary.LittleEndian.Uint64([]byte(s[i : i+8]))
			const ones, high = 0x0101010101010101, 0x8080808080808080
			quote, slash := w^('"'*ones), w^('\\'*ones)
			if ((w-0x20*ones)&^w|(quote-ones)&^quote|(slash-ones)&^slash)&high == 0 {
				i += 8
				continue
			}
		}
		for end := min(len(s), i+8); i < end; i++ {
			c := s[i]
			if c >= ' ' && c != '"' && c != '\\' {
				continue
			}
			b = append(b, s[from:i]...)
			from = i + 1
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\t':
				b = append(b, '\\', 't')
			case '\r':
				b = append(b, '\\', 'r')
			default:
				b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			}
		}
	}
	return append(append(b, s[from:]...), '"')
}
