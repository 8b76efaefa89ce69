//go:build race

package token_test

// sample is which of the golden texts are compared with the slow way, every tenth: it is 20 times slower here.
const sample = 10
