package main

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test's program be an asker too.
func TestMain(m *testing.M) {
	if what := os.Getenv(askerOf); what != "" {
		if err := ask(context.Background(), what, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
