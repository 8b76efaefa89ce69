package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
)

// gate is a reader of a log who lets one write pass for every value of open, with its error.
type gate struct {
	open    chan error
	entered chan struct{}
	got     bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- struct{}{}
	if err := <-g.open; err != nil {
		return 0, err
	}
	return g.got.Write(p)
}

// TestLogQueue: nobody who logs waits for the log's reader; what is read has every line in its order, or in its place how many are
// missing, and the count of those is the metric's.
func TestLogQueue(t *testing.T) {
	t.Parallel()
	g := &gate{open: make(chan error), entered: make(chan struct{}, 1)}
	log, q := queuedLogger(g, true)
	n := 0
	burst := func(lines int) {
		for range lines {
			log.Info("line", "n", n, "pad", strings.Repeat("x", 1000))
			n++
		}
	}
	burst(1)
	<-g.entered // the first is being written, and nobody reads
	burst(2 * logQueued / 1000)
	full := q.dropped.Load()
	if full == 0 {
		t.Fatal("twice as much as the queue holds was queued")
	}
	g.open <- nil // the first
	<-g.entered
	burst(3)
	g.open <- nil // what was queued
	<-g.entered
	g.open <- nil // that some were lost
	<-g.entered
	g.open <- errors.New("gone") // the three
	for q.dropped.Load() != full+3 {
		select {
		case <-g.entered:
			t.Fatal("there was nothing more to write")
		default:
			runtime.Gosched()
		}
	}
	burst(1)
	<-g.entered
	burst(1)
	g.open <- nil // that three were lost
	for range 2 {
		<-g.entered
		g.open <- nil
	}
	q.Close()

	next, lost := 0, int64(0)
	for line := range strings.Lines(g.got.String()) {
		var l struct {
			Msg   string
			N     int
			Lines int64
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if l.Msg != "line" {
			next += int(l.Lines)
			lost += l.Lines
			continue
		}
		if l.N != next {
			t.Fatalf("line %d comes where %d is due", l.N, next)
		}
		next++
	}
	if next != n || lost != q.dropped.Load() || lost != full+3 {
		t.Errorf("%d of %d lines are accounted for; %d are told as lost, %d are counted", next, n, lost, q.dropped.Load())
	}
	log.Info("after the end")
	if q.dropped.Load() != lost+1 {
		t.Error("a line after the end is not counted as lost")
	}
}
