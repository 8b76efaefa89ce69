package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

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
	all      int // files

	files, bytes, chunks, total, same atomic.Int64

	mu     sync.Mutex // of what is written to out
	drawn  bool
	errors int
	flaws  int // that --lint has found

	quit chan struct{}
	done sync.WaitGroup
}

func newMeter(out io.Writer, found []files.File, quiet bool) *meter {
	m := &meter{out: out, terminal: isTerminal(out), quiet: quiet, begin: time.Now(), all: len(found), quit: make(chan struct{})}
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
	if len(all) == 0 {
		return // and the bar stays to be seen
	}
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
	done, total := m.bytes.Load(), m.total.Load()
	rate := float64(done) / time.Since(m.begin).Seconds()
	line := fmt.Sprintf("%s/%s files · %s/s · %s chunks", grouped(int(m.files.Load())), grouped(m.all), bytesText(int64(rate)),
		grouped(int(m.chunks.Load())))
	if left := total - done; rate > 0 && left > 0 {
		line += " · ETA " + (time.Duration(float64(left)/rate+1) * time.Second).String()
	}
	if !m.terminal {
		fmt.Fprintf(m.out, "chunking   %s of %s · %s\n", bytesText(done), bytesText(total), line)
		return
	}
	fmt.Fprintf(m.out, "\r\x1b[K chunking   %s  %s", bar(done, total), line)
	m.drawn = true
}

// bar is how much of a total is done, in twenty characters of eight steps each.
func bar(done, total int64) string {
	const width = 20
	steps := int64(0)
	if total > 0 {
		steps = min(done, total) * width * 8 / total
	}
	b := strings.Repeat("█", int(steps/8))
	if steps%8 > 0 {
		b += string([]rune("▏▎▍▌▋▊▉")[steps%8-1])
	}
	return b + strings.Repeat("░", width-utf8.RuneCountInString(b))
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

// unchanged counts a file whose chunks were there already.
func (m *meter) unchanged(f files.File, text int, chunks int64) {
	m.size(f, text)
	m.same.Add(1)
	m.bytes.Add(int64(text))
	m.chunks.Add(chunks)
}

// summary is the last line.
func (m *meter) summary(output string) {
	fmt.Fprintf(m.out, " done       %s ok", grouped(int(m.files.Load())-m.errors))
	if m.errors > 0 {
		fmt.Fprintf(m.out, " · %s failed", grouped(m.errors))
	}
	if n := m.same.Load(); n > 0 {
		fmt.Fprintf(m.out, " · %s of them unchanged", grouped(int(n)))
	}
	fmt.Fprintf(m.out, " · %s → %s chunks · %s", bytesText(m.bytes.Load()), grouped(int(m.chunks.Load())), took(time.Since(m.begin)))
	if info, err := os.Stat(output); output != "" && err == nil {
		fmt.Fprintf(m.out, " → %s (%s)", output, bytesText(info.Size()))
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
