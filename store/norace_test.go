//go:build !race

package store_test

// sparse makes the tests of many cases run some of them: nothing is too slow for them all.
const sparse = false
