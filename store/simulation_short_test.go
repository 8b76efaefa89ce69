//go:build !race && !long

package store_test

// simSeeds is how many simulations a test of seconds runs.
const simSeeds = uint64(3)
