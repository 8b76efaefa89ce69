//go:build long

package sandbox_test

import (
	"testing"
	"time"
)

// TestPoisonThousand is TestPoisonAmongGood with a thousand bad texts among ten thousand good ones.
func TestPoisonThousand(t *testing.T) { poisonAmongGood(t, 1000, 10000, time.Second) }
