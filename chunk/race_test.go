//go:build race

package chunk_test

// tokenText is how much of each text is checked in tokens, in bytes: the race detector makes counting 20 times slower.
const tokenText = 150

// slowText is how much of each text the slow splitters cut, in bytes; their time is quadratic.
const slowText = 80

// mostText is how much of each text the contract is checked on, in bytes; without the race detector it is all of it.
const mostText = 240

// sparse leaves out cases that differ little from others.
const sparse = true
