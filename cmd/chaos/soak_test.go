package main

import (
	"math/rand/v2"
	"testing"
)

// TestSlope: what grows is found below whatever jumps around, and what does not is not.
func TestSlope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		perSecond float64
		leaks     bool
	}{{0, false}, {0.001, false}, {0.1, true}} {
		rng := rand.New(rand.NewPCG(1, 2))
		s := series{}
		for at := 0.0; at < 600; at += 5 {
			value := 100 + c.perSecond*at + rng.Float64()*4
			if rng.IntN(4) == 0 {
				value += 500 // a fault
			}
			s.at, s.value = append(s.at, at), append(s.value, value)
		}
		chaos := judged(t)
		chaos.judge("goroutines", "x", s)
		if leaks := len(chaos.violations) > 0; leaks != c.leaks {
			t.Errorf("%v a second: leaks %v: %v", c.perSecond, leaks, chaos.violations)
		}
	}
}
