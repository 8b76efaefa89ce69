package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

// giveBack returns the memory that starting took: an idle process would hold it for minutes. It collects twice, for a pool
// keeps what it has through one collection.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// garbage is how much may come before the collector runs, where that is more than Go allows, which is as much as is in
// use. With 5 MiB in use it would run for every thirtieth small document, and on two cores that document waits for
// it: the slowest hundredth took 10 ms instead of 7.
const garbage = 24 << 20

// collectSeldom lets at least that much garbage come between collections until ctx ends. What GOGC says goes before;
// GOMEMLIMIT holds all the same.
func collectSeldom(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	collected := make(chan struct{}, 1)
	for {
		debug.SetGCPercent(percent(inUse()))
		// The collector finds this one unused each time that it runs.
		runtime.AddCleanup(&struct{ self [16]byte }{}, func(collected chan<- struct{}) {
			select {
			case collected <- struct{}{}:
			default:
			}
		}, collected)
		select {
		case <-ctx.Done():
			return nil
		case <-collected:
		}
	}
}

// inUse is what the collector's pace goes by (A Guide to the Go Garbage Collector): bytes of the heap that the last
// collection found in use, stacks and globals.
func inUse() (sum uint64) {
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	runtimemetrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() == runtimemetrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	return sum
}

// percent is what to give debug.SetGCPercent.
func percent(inUse uint64) int {
	return int(min(max(garbage*100/max(inUse, 1), 100), 1000))
}
