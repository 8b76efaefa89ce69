//go:build !long

package store_test

const (
	tailDamages   = 16 // damaged logs that a test of a second opens
	migratorKills = 4  // places where a migrator is killed on each store
)
