//go:build long

package store_test

const tailDamages = 5000
