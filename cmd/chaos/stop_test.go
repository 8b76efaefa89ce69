//go:build linux

package main

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A process counts as stopped once it is, and not before.
func TestStop(t *testing.T) {
	t.Parallel()
	p := &process{name: "sleeper", cmd: exec.CommandContext(t.Context(), "sleep", "60")}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait() // it was killed
		}
	}
	defer end()
	moving := func() bool {
		t.Helper()
		is, err := threadsMoving(p.pid())
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if !moving() {
		t.Error("a process that nobody has stopped is told as stopped")
	}
	if err := p.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if moving() {
		t.Error("it moves after it has been stopped")
	}
	if err := p.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(30 * time.Second); !moving(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("it does not move 30 s after SIGCONT")
		}
	}
	end()
	if err := p.stop(t.Context()); err == nil {
		t.Error("a process that has ended was stopped")
	}
}
