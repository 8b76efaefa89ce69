//go:build crashpoints

package main

import (
	"bytes"
	"path/filepath"
	"testing"
)

// TestChaos is what every change must survive: 100 faults of processes and 30 of Redis in all, most of them on Postgres, some on
// SQLite in one process. Beside them a small crowd of watchers loses a web process, and all of its connections.
func TestChaos(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "chunkstream")
	if err := build(t.Context(), config{program: program}); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"Postgres and Redis": {"--store", "postgres", "--redis", "yes", "--faults", "76", "--redis-faults", "30"},
		"one process":        {"--store", "sqlite", "--redis", "no", "--faults", "24"},
		"a small crowd":      {"--measure", "crowd", "--small"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			code := run(t.Context(), append(args, "--program", program), &out, &errs)
			t.Logf("%s%s", out.String(), errs.String())
			if code != 0 {
				t.Errorf("ended with %d", code)
			}
		})
	}
}
