//go:build !long

package store_test

// tailDamages is how many damaged logs a test of a second opens.
const tailDamages = 16
