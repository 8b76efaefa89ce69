//go:build !crashpoints

package crashpoint_test

import (
	"testing"

	"chunkstream/crashpoint"
)

func TestOrdinaryBuildSurvivesEveryPoint(t *testing.T) {
	for _, p := range crashpoint.Points() {
		t.Setenv("CHUNKSTREAM_CRASH_AT", string(p))
		crashpoint.Hit(p)
	}
	if crashpoint.Enabled {
		t.Error("Enabled: got true in a build without the tag")
	}
}
