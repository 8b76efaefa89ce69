//go:build !race && !long

package store_test

// postgresFailures are the ways in which calls to Postgres fail in a test of a few seconds.
var postgresFailures = failures[1:3]
