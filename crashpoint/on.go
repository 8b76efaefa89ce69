//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Enabled says whether this build can be killed at a point.
const Enabled = true

type target struct {
	point Point
	n     int64
}

// armed reads the variable once. A name that does not exist ends the process with status 2: a kill loop that was
// mistyped must not pass because nothing was ever killed.
var armed = sync.OnceValue(func() target {
	value := os.Getenv("CHUNKSTREAM_CRASH_AT")
	if value == "" {
		return target{}
	}
	name, count, counted := strings.Cut(value, ":")
	n := int64(1)
	if counted {
		var err error
		if n, err = strconv.ParseInt(count, 10, 64); err != nil || n < 1 {
			die("CHUNKSTREAM_CRASH_AT=%s: want NAME or NAME:N with N from 1", value)
		}
	}
	if !slices.Contains(Points(), Point(name)) {
		die("CHUNKSTREAM_CRASH_AT=%s: no such point; the points are %v", value, Points())
	}
	return target{Point(name), n}
})

var hits atomic.Int64

// Hit kills the process with SIGKILL when p is the point of CHUNKSTREAM_CRASH_AT and this is its n-th hit. It may be
// called by any number of goroutines at once.
func Hit(p Point) {
	at := armed()
	if at.point != p || hits.Add(1) != at.n {
		return
	}
	fmt.Fprintf(os.Stderr, "crashpoint: killed at %s:%d\n", at.point, at.n)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal may take a moment: nothing after the point runs in this goroutine
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "crashpoint: "+format+"\n", args...)
	os.Exit(2)
}
