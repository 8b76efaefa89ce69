//go:build long

package store_test

const (
	tailDamages   = 2000
	migratorKills = 1 << 20 // everywhere
)
