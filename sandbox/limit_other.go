//go:build !linux

package sandbox

import (
	"os"
	"os/exec"
)

func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// level is how a child is started. Only on Linux are its limits known to hold; elsewhere time and output are bounded,
// and the memory only as far as the child's own collector keeps to it.
type level struct {
	words string
	apply func(cmd *exec.Cmd, dir string) error
}

var levels = []level{{"bounds of time and output alone", func(*exec.Cmd, string) error { return nil }}}

func confine(int64) error { return nil }

func limited(int) error { return nil }

// vanish does nothing here: the folder goes when the child has ended.
func vanish(*exec.Cmd, string) (started func(), err error) { return func() {}, nil }
