package api

import (
	"fmt"
	"strings"
	"testing"

	"chunkstream/chunk"
)

// TestPlansAreRemembered: right settings are read once, wrong ones and long ones each time, and what is remembered is bounded.
func TestPlansAreRemembered(t *testing.T) {
	read := 0
	p := &plans{parse: func(strategy string, settings []byte) (chunk.Plan, error) {
		read++
		return chunk.Parse(strategy, settings)
	}}
	ask := func(strategy, settings string) (chunk.Plan, error) { return p.get(strategy, []byte(settings)) }
	for range 2 {
		for _, size := range []string{"100", "200"} {
			for _, strategy := range []string{"recursive", "fixed_size"} {
				settings := `{"chunk_size":` + size + `}`
				plan, err := ask(strategy, settings)
				want, _ := chunk.Parse(strategy, []byte(settings))
				if err != nil || plan.Strategy != strategy || string(plan.Settings) != string(want.Settings) {
					t.Fatalf("%s %s: got %s %s, %v", strategy, settings, plan.Strategy, plan.Settings, err)
				}
			}
		}
	}
	if read != 4 {
		t.Errorf("4 plans were read %d times", read)
	}
	for range 2 {
		if _, err := ask("recursive", `{"chunk_size":0}`); err == nil {
			t.Error("a chunk_size of 0 was taken")
		}
		if _, err := ask("recursive", `{"chunk_size":100`+strings.Repeat(" ", plannedBytes)+`}`); err != nil {
			t.Error(err)
		}
	}
	if read != 8 {
		t.Errorf("what is not remembered was read %d times instead of 4", read-4)
	}
	for i := range 2 * plansKept {
		if _, err := ask("recursive", fmt.Sprintf(`{"chunk_size":%d}`, 1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.made) > plansKept {
		t.Errorf("%d plans are remembered, at most %d should be", len(p.made), plansKept)
	}
}
