//go:build !race && long

package store_test

import (
	"fmt"
	"testing"
)

var postgresFailures = failures

// TestEveryCall lets the k-th call fail, for every third k of all that the package does, in each of the ways in turn.
func TestEveryCall(t *testing.T) {
	for name, on := range map[string]backend{"sqlite": onSQLite, "postgres": onPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := testCalls(t, on, failures[0], 1<<30).seen
			t.Logf("%d calls", all)
			for k := 1; k <= all; k += 3 {
				how := failures[k%len(failures)]
				t.Run(fmt.Sprint(k, " ", how), func(t *testing.T) { testCalls(t, on, how, k) })
			}
		})
	}
}
