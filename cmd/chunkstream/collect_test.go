package main

import "testing"

func TestPercent(t *testing.T) {
	for inUse, want := range map[uint64]int{
		0: 1000, 1 << 20: 1000, 6 << 20: 400, 24 << 20: 100, 25 << 20: 100, 10 << 30: 100,
	} {
		if got := percent(inUse); got != want {
			t.Errorf("%d bytes in use: %d %%, want %d", inUse, got, want)
		}
	}
	if n := inUse(); n < 100<<10 || n > 10<<30 {
		t.Errorf("%d bytes in use", n) // the names of the metrics are known
	}
}
