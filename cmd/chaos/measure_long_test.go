//go:build crashpoints && long

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestMeasures: each figure can be taken, and what was accepted meanwhile is kept. Goals are nothing to ask for beside other tests.
func TestMeasures(t *testing.T) {
	program := filepath.Join(t.TempDir(), "chunkstream")
	if err := build(t.Context(), config{program: program}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--measure", "overload", "--store", "sqlite", "--redis", "no"},
		{"--measure", "overload", "--store", "postgres", "--webs", "1", "--workers", "2"},
		{"--measure", "slow-redis", "--store", "sqlite"},
		{"--measure", "slow-redis", "--store", "postgres"},
	} {
		t.Run(strings.Join(args[1:], " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			run(t.Context(), append(args, "--program", program, "--duration", "2s"), &out, &errs)
			t.Logf("%s%s", out.String(), errs.String())
			if !strings.Contains(out.String(), "met     what was accepted has ended") || errs.Len() > 0 {
				t.Error("it has not come to its end, or something was lost")
			}
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "VIOLATED") && !strings.HasPrefix(line, "VIOLATED missed: ") {
					t.Error(line)
				}
			}
		})
	}
}
