//go:build long

package sandbox_test

import (
	"testing"
	"time"
)

// TestPoisonThousand is TestPoisonAmongGood with a thousand bad texts among ten thousand good ones.
// This process may be 16 MiB larger after it.
func TestPoisonThousand(t *testing.T) {
	if grown := poisonAmongGood(t, 1000, 10000, time.Second); grown > 16<<20 {
		t.Errorf("this process grew by %d MiB, want at most 16", grown>>20)
	}
}
