//go:build !race && long

package store_test

const simSeeds = uint64(300)
