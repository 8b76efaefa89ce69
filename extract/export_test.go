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

// Candidates gives the names of the encodings that a guess tries.
func Candidates() (names []string) {
	for _, c := range candidates {
		names = append(names, c.name)
	}
	return names
}
