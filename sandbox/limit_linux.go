package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program's own file, also when another has taken its place on the disk.
func self() string { return "/proc/self/exe" }

// place is a child's working directory. To the child that goes there it is its own entry in proc(5), which goes with it, and in
// which nobody can make a file, root included. A folder made for the child would be left by a parent that is killed.
func place() string { return "/proc/self" }

// nobody is the user that owns nothing, by Linux's custom (overflowuid in proc(5)).
const nobody = 65534

// level is what a child can be kept from by the way it is started, beyond what it gives up itself.
type level struct {
	words string
	apply func(cmd *exec.Cmd) error
}

// levels has the best one first. A namespace needs the right to make it: root's, or that of an unprivileged user
// namespace, which many systems forbid.
var levels = []level{
	{"a user, a network namespace and limits of its own", func(cmd *exec.Cmd) error {
		if os.Geteuid() != 0 {
			return os.ErrPermission
		}
		attr(cmd).Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWIPC
		attr(cmd).Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		return nil
	}},
	{"a user and limits of its own", func(cmd *exec.Cmd) error {
		if os.Geteuid() != 0 {
			return os.ErrPermission
		}
		attr(cmd).Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		return nil
	}},
	{"a network namespace and limits of its own", func(cmd *exec.Cmd) error {
		a := attr(cmd)
		a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		return nil
	}},
	{"limits of its own", func(cmd *exec.Cmd) error {
		attr(cmd)
		return nil
	}},
}

// attr is what all children have: they die with their parent, and a Ctrl-C is for the parent alone.
func attr(cmd *exec.Cmd) *syscall.SysProcAttr {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	}
	return cmd.SysProcAttr
}

// confine gives up for good what a child will not need: any further file or socket, a file's growth, core dumps, all
// address space beyond memory bytes more than it has, and what it could gain by running another program.
func confine(memory int64) error {
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) // without files there is no program to run
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[0], 10, 64)
	if err != nil {
		return fmt.Errorf("read statm: %w", err)
	}
	for _, l := range []struct {
		resource int
		most     int64
	}{
		{unix.RLIMIT_AS, pages*int64(os.Getpagesize()) + memory},
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_NOFILE, 0},
	} {
		if err := unix.Prlimit(0, l.resource, &unix.Rlimit{Cur: uint64(l.most), Max: uint64(l.most)}, nil); err != nil {
			return fmt.Errorf("limit resource %d: %w", l.resource, err)
		}
	}
	return nil
}

// limited looks whether a child has done that, by what the system says of it (proc(5)).
func limited(pid int) error {
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(limits)) {
		soft := strings.Fields(line[min(len(line), 26):])
		name := strings.TrimSpace(line[:min(len(line), 26)])
		if name == "Max open files" && soft[0] != "0" || name == "Max address space" && soft[0] == "unlimited" {
			return fmt.Errorf("it has not limited itself: %s is %s", name, soft[0])
		}
	}
	return nil
}
