//go:build race

package chunk_test

// tokenText is how much of each text is checked in tokens, in bytes: the race detector makes counting 20 times slower.
const tokenText = 1500
