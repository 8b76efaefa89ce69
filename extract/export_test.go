package extract

// Character gives the text of seq when the encoding has it as one whole character.
func Character(charset string) func(seq []byte) (string, bool) {
	c := findCharset(charset)
	return func(seq []byte) (string, bool) {
		var state uint8
		r, n := c.next(&state, seq, true)
		return string(r), r >= 0 && n == len(seq)
	}
}
