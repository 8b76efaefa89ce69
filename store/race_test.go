//go:build race

package store_test

// sparse makes the tests of many cases run some of them: the race detector makes each many times as long.
const sparse = true
