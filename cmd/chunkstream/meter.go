package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/check"
	"chunkstream/files"
)

// meter counts what a command has done with its files, and tells of it: on a terminal in one line that is drawn again, else
// in a line every ten seconds.
type meter struct {
	out      io.Writer
	terminal bool
	quiet    bool
	begin    time.Time
	files    int

	bytes, chunks, total atomic.Int64

	mu     sync.Mutex // of what is written to out
	drawn  bool
	errors int
	flaws  int // that --lint has found

	quit chan struct{}
	done sync.WaitGroup
}

func newMeter(out io.Writer, found []files.File, quiet bool) *meter {
	m := &meter{out: out, terminal: isTerminal(out), quiet: quiet, begin: time.Now(), files: len(found), quit: make(chan struct{})}
	for _, f := range found {
		m.total.Add(f.Bytes)
	}
	if quiet {
		return m
	}
	every := 10 * time.Second
	if m.terminal {
		every = 100 * time.Millisecond
	}
	m.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.draw()
			case <-m.quit:
				return
			}
		}
	})
	return m
}

// stop ends the drawing, and takes the line away.
func (m *meter) stop() {
	close(m.quit)
	m.done.Wait()
	m.clear()
}

// size corrects the total once a text is there.
func (m *meter) size(f files.File, text int) { m.total.Add(int64(text) - f.Bytes) }

func (m *meter) failed(path string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	m.errors++
	fmt.Fprintf(m.out, "! %s: %v\n", path, err)
}

// problems tells of what --lint has found in a file.
func (m *meter) problems(path string, all []check.Problem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	m.flaws += len(all)
	for _, p := range all {
		fmt.Fprintf(m.out, "%s:%v\n", path, p)
	}
}

// wrong is the error of having found problems.
func (m *meter) wrong() error { return foundWrong(m.flaws) }

func (m *meter) draw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	done, total, chunks := m.bytes.Load(), m.total.Load(), m.chunks.Load()
	rate := float64(done) / time.Since(m.begin).Seconds()
	line := fmt.Sprintf("%s of %s · %s/s · %d chunks", bytesText(done), bytesText(total), bytesText(int64(rate)), chunks)
	if left := total - done; rate > 0 && left > 0 {
		line += " · " + (time.Duration(float64(left)/rate) * time.Second).String() + " left"
	}
	if !m.terminal {
		fmt.Fprintln(m.out, line)
		return
	}
	const width = 20
	filled := 0
	if total > 0 {
		filled = int(done * width / total)
	}
	fmt.Fprintf(m.out, "\r\x1b[K%s%s  %s", strings.Repeat("█", filled), strings.Repeat("░", max(0, width-filled)), line)
	m.drawn = true
}

func (m *meter) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
}

// erase is clear for a caller that holds mu.
func (m *meter) erase() {
	if m.drawn {
		fmt.Fprint(m.out, "\r\x1b[K")
		m.drawn = false
	}
}

// summary is the last line.
func (m *meter) summary(output string) {
	took := time.Since(m.begin)
	fmt.Fprintf(m.out, "%d files", m.files)
	if m.errors > 0 {
		fmt.Fprintf(m.out, ", %d failed", m.errors)
	}
	fmt.Fprintf(m.out, " · %s → %d chunks · %s", bytesText(m.bytes.Load()), m.chunks.Load(), took.Round(time.Millisecond))
	if output != "" {
		fmt.Fprintf(m.out, " → %s", output)
	}
	fmt.Fprintln(m.out)
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
