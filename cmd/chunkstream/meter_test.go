package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"chunkstream/files"
)

func TestBar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		done, total int64
		want        string
	}{
		{0, 0, "░░░░░░░░░░░░░░░░░░░░"}, {0, 100, "░░░░░░░░░░░░░░░░░░░░"}, {1, 100, "▏░░░░░░░░░░░░░░░░░░░"},
		{50, 100, "██████████░░░░░░░░░░"}, {99, 100, "███████████████████▊"}, {100, 100, "████████████████████"}, {120, 100, "████████████████████"},
	} {
		if got := bar(c.done, c.total); got != c.want {
			t.Errorf("%d of %d: got %s, want %s", c.done, c.total, got, c.want)
		}
	}
}

// What is told of the work: in one line that is drawn again on a terminal, in plain lines elsewhere.
func TestMeterDraws(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m := newMeter(&out, []files.File{{Path: "a", Bytes: 3e6}, {Path: "b", Bytes: 1e6}}, false)
	m.bytes.Store(1e6)
	m.chunks.Store(12345)
	m.files.Store(1)
	m.draw()
	m.terminal = true
	m.draw()
	if m.problems("a", nil); strings.HasSuffix(out.String(), "\x1b[K") {
		t.Error("a file without problems takes the line away")
	}
	m.failed("b", errSomeFailed)
	m.stop()
	want := regexp.MustCompile("^chunking   1.0 MB of 4.0 MB · 1/2 files · [^·]+/s · 12,345 chunks · ETA [^·]+\n" +
		"\r\x1b\\[K chunking   █████░+  1/2 files · [^·]+/s · 12,345 chunks · ETA [^·]+\r\x1b\\[K! b: some files failed\n$")
	if !want.MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}
