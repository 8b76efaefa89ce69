//go:build long && linux

package disk

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func mount(t *testing.T) *Disk {
	t.Helper()
	d, err := Mount(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// sh runs a line of the shell in a disk.
func sh(t *testing.T, d *Disk, line string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "D="+d.Root)
	out, err := cmd.CombinedOutput()
	return strings.ReplaceAll(strings.TrimSpace(string(out)), d.Root, "D"), err
}

// TestDisk needs root: each way to fail, and what is there afterwards.
func TestDisk(t *testing.T) {
	d := mount(t)
	for _, c := range []struct {
		fault             Fault
		line, says, stays string
	}{
		{Fault{}, "echo one >$D/a; mkdir $D/b; mv $D/a $D/b/c; cat $D/b/c; rm -r $D/b", "one", ""},
		{Fault{Kind: Rename, K: 1}, "echo one >$D/a; mv $D/a $D/b; mv $D/a $D/b", "mv: cannot move 'D/a' to 'D/b': Input/output error", "b"},
		{Fault{Kind: Rename, K: 1, After: true}, "mv $D/b $D/c", "mv: cannot stat 'D/b': No such file or directory", "c"},
		{Fault{Kind: Unlink, K: 1, Ever: true}, "rm $D/c; rm $D/c",
			"rm: cannot remove 'D/c': Input/output error\nrm: cannot remove 'D/c': Input/output error", "c"},
		{Fault{Kind: Unlink, K: 1, After: true}, "rm $D/c", "rm: cannot remove 'D/c': Input/output error", ""},
		{Fault{Kind: Create, K: 2, Path: "x*"}, "touch $D/x1 $D/y $D/z $D/x2", "touch: cannot touch 'D/x2': Input/output error", "x1 y z"},
		{Fault{Kind: Mkdir, K: 1, After: true, Path: "m"}, "mkdir $D/m", "mkdir: cannot create directory 'D/m': Input/output error", "m x1 y z"},
		{Fault{Kind: Write, K: 2}, "dd if=/dev/zero of=$D/x1 bs=512 count=3 2>&1 | head -n 1", "dd: error writing 'D/x1': Input/output error", "m x1 y z"},
		{Fault{Kind: Read, K: 1, Ever: true}, "cat $D/x1", "cat: D/x1: Input/output error", "m x1 y z"},
		{Fault{Kind: Opendir, K: 1}, "ls $D/m", "ls: cannot open directory 'D/m': Input/output error", "m x1 y z"},
		{Fault{Kind: Statfs, K: 1}, "stat -f $D", "stat: cannot read file system information for 'D': Input/output error", "m x1 y z"},
		{Fault{Kind: Truncate, K: 1, After: true}, "truncate -s 7 $D/y", "truncate: failed to truncate 'D/y' at 7 bytes: Input/output error", "m x1 y z"},
		{Fault{Kind: Fsync, K: 1}, "sync $D/y", "sync: error syncing 'D/y': Input/output error", "m x1 y z"},
	} {
		c.fault.Errno = syscall.EIO
		d.Fail(c.fault)
		out, _ := sh(t, d, c.line)
		if bitten, last := d.Heal(); (bitten == 0) != (c.fault.K == 0) {
			t.Errorf("%v: it has bitten %d times, %s", c.fault, bitten, last)
		}
		entries, err := os.ReadDir(d.Backing)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if out != c.says || strings.Join(names, " ") != c.stays {
			t.Errorf("%v: %q, %q; want %q, %q", c.fault, out, names, c.says, c.stays)
		}
	}
	if info, err := os.Stat(filepath.Join(d.Backing, "y")); err != nil || info.Size() != 7 {
		t.Errorf("what was cut all the same has %d bytes, %v", info.Size(), err)
	}
}

// TestCutPower needs root: what was not synced is gone, or there in part.
func TestCutPower(t *testing.T) {
	d := mount(t)
	after := func(chance *rand.Rand) string {
		to := t.TempDir()
		if err := d.CutPower(to, chance); err != nil {
			t.Fatal(err)
		}
		var all []string
		err := filepath.WalkDir(to, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			all = append(all, strings.TrimPrefix(path, to+"/")+" "+string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, ", ")
	}
	for _, c := range []struct{ line, left string }{
		{"printf one >$D/a; sync $D/a", ""}, // the name is not synced
		{"sync $D", "a one"},
		{"printf two >>$D/a", "a one"},
		{"sync -d $D/a", "a onetwo"},
		{"mkdir $D/b; mv $D/a $D/b/c", "a onetwo"},
		{"sync $D/b", "a onetwo"},
		{"sync $D", "b/c onetwo"},
		{"printf three >$D/d; sync $D; truncate -s 1 $D/d", "b/c onetwo, d "},
		{"sync $D/d; rm $D/d", "b/c onetwo, d t"},
	} {
		if out, err := sh(t, d, c.line); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := after(nil); got != c.left {
			t.Errorf("after %s: %q, want %q", c.line, got, c.left)
		}
	}
	if out, err := sh(t, d, "printf four >$D/b/e; sync $D/b; printf 56789 >>$D/b/e"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen := map[string]bool{}
	for seed := range uint64(100) {
		seen[after(rand.New(rand.NewPCG(seed, 1)))] = true
	}
	for _, want := range []string{"b/c onetwo, b/e , d t", "b/c onetwo, b/e four", "b/c onetwo, b/e four56789"} {
		if !seen[want] {
			t.Errorf("in 100 cuts %q was never left: %v", want, seen)
		}
	}
	d.Fail(Fault{Kind: Fsync, K: 1, Errno: syscall.EIO})
	if out, err := sh(t, d, "printf x >>$D/b/e; ! sync $D/b/e 2>/dev/null && printf y >>$D/b/e && sync $D/b/e && cat $D/b/e"); err != nil || out != "four56789xy" {
		t.Errorf("after a sync that failed: %q, %v", out, err)
	}
	if got := after(nil); got != "b/c onetwo, b/e \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00y, d t" {
		t.Errorf("after a sync that failed and another: %q", got)
	}
	if err := d.CutPower(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
