//go:build long

package worker_test

import (
	"testing"

	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// TestThousandRunsOnPostgres is TestThousandRuns on the other store.
func TestThousandRunsOnPostgres(t *testing.T) {
	thousandRuns(newBenchOn(t, store.Config{DatabaseURL: secret.New(servertest.StartPostgres(t).Database())}))
}
