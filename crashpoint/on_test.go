//go:build crashpoints

package crashpoint_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"chunkstream/crashpoint"
)

// TestMain lets the test binary be the program that is killed: it passes every point three times and says so.
func TestMain(m *testing.M) {
	if os.Getenv("CRASHPOINT_CHILD") == "" {
		os.Exit(m.Run())
	}
	for range 3 {
		for _, p := range crashpoint.Points() {
			crashpoint.Hit(p)
			fmt.Println(p)
		}
	}
}

func child(t *testing.T, at string) (passed []string, state *os.ProcessState) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "CRASHPOINT_CHILD=1", "CHUNKSTREAM_CRASH_AT="+at)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.Fields(string(out)), cmd.ProcessState
}

func TestKilledAtTheNthHit(t *testing.T) {
	all := crashpoint.Points()
	for i, p := range all {
		for n := 1; n <= 3; n++ {
			passed, state := child(t, fmt.Sprintf("%s:%d", p, n))
			if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Errorf("%s:%d: got %v, want killed by SIGKILL", p, n, state)
			}
			if got, want := len(passed), (n-1)*len(all)+i; got != want {
				t.Errorf("%s:%d: passed %d points before it died, want %d", p, n, got, want)
			}
		}
	}
}

func TestNotArmed(t *testing.T) {
	if passed, state := child(t, ""); !state.Success() || len(passed) != 3*len(crashpoint.Points()) {
		t.Errorf("without the variable: got %v after %d points, want success after all", state, len(passed))
	}
	for _, at := range []string{"after-lunch", "after-stage:0", "after-stage:x", ":1"} {
		if _, state := child(t, at); state.ExitCode() != 2 {
			t.Errorf("CHUNKSTREAM_CRASH_AT=%s: got %v, want exit status 2", at, state)
		}
	}
}
