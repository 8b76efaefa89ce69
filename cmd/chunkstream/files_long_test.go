//go:build long && linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDisk needs root: on a file system without room, what is written fails, and what was there before stays. A run that
// may be resumed leaves what is whole, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount: %v (root is needed)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	in := t.TempDir()
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		if err := os.WriteFile(filepath.Join(in, name), []byte(strings.Repeat("One more line of "+name+".\n", 4000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	if err := os.WriteFile(out, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, site := range []string{"Write: File.Write", "keep: File.Sync"} {
		said, code := program(t, "chunk", in, "-o", out)
		if code == 0 || !strings.Contains(said, out+" cannot be written: no space left on device") {
			t.Errorf("%s: ended with %d: %s", site, code, said)
		}
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "before" {
		t.Errorf("what was there is %.20q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files are in the folder, %v", len(entries), err)
	}
	for _, site := range []string{"Write: File.Write, of a part", "end: File.Write", "commit: File.Truncate"} {
		said, code := program(t, "chunk", in, "-o", out, "--resume")
		if code == 0 || !strings.Contains(said, "no space left on device") || !strings.Contains(said, out) {
			t.Errorf("%s: ended with %d: %s", site, code, said)
		}
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "before" {
		t.Errorf("what was there is %.20q, %v", got, err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if said, code := program(t, "chunk", in, "-o", out, "--resume"); code != 0 {
		t.Errorf("with room: ended with %d: %s", code, said)
	}
	straight := filepath.Join(dir, "straight")
	if said, code := program(t, "chunk", in, "-o", straight); code != 0 {
		t.Errorf("with room: ended with %d: %s", code, said)
	}
	one, err := os.ReadFile(out)
	other, oerr := os.ReadFile(straight)
	if err != nil || oerr != nil || string(one) != string(other) || len(one) < 100_000 {
		t.Errorf("resumed: %d bytes, straight: %d, %v %v", len(one), len(other), err, oerr)
	}
	if parts, err := filepath.Glob(out + ".partial*"); err != nil || len(parts) > 0 {
		t.Errorf("%q are left, %v", parts, err)
	}
}
