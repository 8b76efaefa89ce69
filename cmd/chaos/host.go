package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// host lets package servertest start its servers for a program: what it wants of a test is to hear of failures, to have
// folders and to clean up. A fatal failure is a panic with a fatal.
type host struct {
	testing.TB // nil: servertest uses the methods below and no others

	folder string
	fail   func(format string, args ...any)

	mu       sync.Mutex
	cleanups []func()
}

// fatal is what a server could not be started for.
type fatal string

func (h *host) Helper() {}

func (h *host) Error(args ...any) { h.fail("%s", fmt.Sprint(args...)) }

func (h *host) Errorf(format string, args ...any) { h.fail(format, args...) }

func (h *host) Fatal(args ...any) { panic(fatal(fmt.Sprint(args...))) }

func (h *host) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }

func (h *host) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp(h.folder, "server-")
	if err != nil {
		h.Fatal(err)
	}
	return dir
}

// end cleans up, the newest first.
func (h *host) end() {
	h.mu.Lock()
	all := slices.Clone(h.cleanups)
	h.cleanups = nil
	h.mu.Unlock()
	for _, f := range slices.Backward(all) {
		f()
	}
}
