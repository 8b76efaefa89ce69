package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	logQueued = 256 << 10   // bytes of lines that may wait for a log's reader
	logFlush  = time.Second // how long the end of the process waits for one
)

// logQueue is between a log and what it is written to, so that nobody who logs waits: a pipe that nobody reads any more takes
// 64 KiB and then blocks whoever writes to it. Lines keep their order. Those that find the queue full, or that cannot be
// written, are lost and counted, and a line in their place says how many. What is queued when the process crashes is lost with it.
type logQueue struct {
	out  io.Writer
	note func(lost int64) []byte // the line that says how many were lost

	mu     sync.Mutex
	queued []byte // whole lines
	lost   int64  // after them
	closed bool

	more    chan struct{} // something is queued, or the queue is closed
	done    chan struct{} // everything has been written
	dropped atomic.Int64
}

// newLogQueue begins to write; Close ends it.
func newLogQueue(out io.Writer, json bool) *logQueue {
	q := &logQueue{out: out, more: make(chan struct{}, 1), done: make(chan struct{})}
	q.note = func(lost int64) []byte {
		var line bytes.Buffer
		newLogger(&line, json).Warn("the log was not read in time, or could not be written: lines are lost", "lines", lost)
		return line.Bytes()
	}
	go q.write()
	return q
}

// Write queues one line, or drops it. It never waits and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.lost > 0 || len(q.queued) > 0 && len(q.queued)+len(line) > logQueued {
		q.lost++
		q.dropped.Add(1)
		return len(line), nil
	}
	q.queued = append(q.queued, line...)
	q.wake()
	return len(line), nil
}

func (q *logQueue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// write is the one goroutine that writes, until the queue is closed and empty.
func (q *logQueue) write() {
	defer close(q.done)
	var lines []byte
	var owed int64 // lost, and not told of yet
	tell := func() {
		if owed > 0 {
			if _, err := q.out.Write(q.note(owed)); err == nil {
				owed = 0
			}
		}
	}
	for closed := false; !closed; {
		<-q.more
		q.mu.Lock()
		lines, q.queued = q.queued, lines[:0]
		lost := q.lost
		q.lost, closed = 0, q.closed
		q.mu.Unlock()
		tell()
		var n int
		var err error
		if len(lines) > 0 { // there are none when the queue is closed
			n, err = q.out.Write(lines)
		}
		failed := int64(bytes.Count(lines[n:], []byte("\n")))
		q.dropped.Add(failed)
		owed += failed + lost
		if err == nil {
			tell()
		}
	}
}

// Close waits until what is queued is written, for at most logFlush: the goroutine that writes is left behind when nobody reads,
// as nothing can be done about it. What is logged after it is lost.
func (q *logQueue) Close() {
	q.mu.Lock()
	q.closed = true
	q.wake()
	q.mu.Unlock()
	late := time.NewTimer(logFlush)
	defer late.Stop()
	select {
	case <-q.done:
	case <-late.C:
	}
}

// surviveReaders keeps the process from the end that a write to standard output or error means by default once nobody can
// read it any more (os/signal, "SIGPIPE"): the write then fails.
func surviveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// lastWords says on standard error why a service ends, if that is read within logFlush.
func lastWords(text string) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		fmt.Fprint(os.Stderr, text) // there is nobody else to tell
	}()
	select {
	case <-said:
	case <-time.After(logFlush):
	}
}

// queuedLogger is newLogger, of which no line ever waits for whoever reads out.
func queuedLogger(out io.Writer, json bool) (*slog.Logger, *logQueue) {
	q := newLogQueue(out, json)
	return newLogger(q, json), q
}
