//go:build long

package chunk_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// gigabytes are what is repeated to make one: text as it is, and one line without a place to cut.
var gigabytes = map[string]string{"prose": chunktest.Prose(1 << 20), "line": strings.Repeat("x", 1<<16)}

// endless repeats a text up to a number of bytes.
type endless struct {
	text string
	at   int
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), e.left, len(e.text)-e.at)
	if n == 0 {
		return 0, io.EOF
	}
	copy(p, e.text[e.at:e.at+n])
	e.left -= n
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// TestLongStreamMemory cuts 1 GB in a process of its own, whose memory never goes above 64 MiB. The limit that the process
// has is for the collector: on a busy machine it otherwise lets garbage gather beyond what the windows need.
func TestLongStreamMemory(t *testing.T) {
	const variable, gigabyte, most = "CHUNKSTREAM_TEST_STREAM", 1 << 30, 64 << 10
	if asked := os.Getenv(variable); asked != "" {
		strategy, what, _ := strings.Cut(asked, " ")
		plan, err := parser.Parse(strategy, nil)
		if err != nil {
			t.Fatal(err)
		}
		end := 0
		for piece, err := range chunk.Stream(plan.Splitter, &endless{text: gigabytes[what], left: gigabyte}) {
			if err != nil {
				t.Fatal(err)
			}
			end = piece.End
		}
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		var kib int
		if _, err := fmt.Sscan(rest, &kib); err != nil || end < gigabyte-1000 {
			t.Fatalf("got %d KiB, %v, and the end at byte %d", kib, err, end)
		}
		fmt.Printf("peak %d KiB\n", kib)
		return
	}
	for _, info := range chunk.Strategies() {
		plan, err := parser.Parse(info.Name, nil)
		if err != nil {
			t.Fatal(err)
		}
		refused := false
		for _, err := range chunk.Stream(plan.Splitter, bytes.NewReader(nil)) {
			refused = refused || err != nil
		}
		if refused {
			continue
		}
		for what := range gigabytes {
			t.Run(info.Name+" "+what, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestLongStreamMemory$")
				cmd.Env = append(os.Environ(), variable+"="+info.Name+" "+what, "GOMEMLIMIT=32MiB", "GOGC=50")
				out, err := cmd.CombinedOutput()
				_, rest, _ := strings.Cut(string(out), "peak ")
				var kib int
				if _, serr := fmt.Sscan(rest, &kib); err != nil || serr != nil {
					t.Fatalf("%v, %v: %s", err, serr, out)
				}
				if t.Logf("1 GiB in %d KiB", kib); kib > most {
					t.Errorf("peak %d KiB, above %d", kib, most)
				}
			})
		}
	}
}
