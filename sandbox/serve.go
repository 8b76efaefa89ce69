package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"chunkstream/chunk"
)

// What a child does of its own accord, apart from what it cannot undo.
const (
	maxStack   = 64 << 20              // bytes; Go's own limit of 1 GB is above that of the memory
	flushAfter = 20 * time.Millisecond // chunks do not wait longer than this for others, so that progress is seen
)

// Serve is a child's whole life: it gives up what it will not need, then takes texts from in and gives their chunks to out
// until in ends. memory is the address space in bytes that it may still take. parse makes the splitters; it is to be the
// same as the parent's. The process can open no file or connection from then on.
func Serve(in io.Reader, out io.Writer, memory int64, parse func(strategy string, settings []byte) (chunk.Plan, error)) error {
	debug.SetMemoryLimit(memory * 3 / 4) // the collector keeps away from the limit
	debug.SetMaxStack(maxStack)
	runtime.GOMAXPROCS(1)
	// What timers need of the system they must have before all is given up.
	time.AfterFunc(time.Hour, func() {}).Stop()
	if err := confine(memory); err != nil {
		return fmt.Errorf("sandbox: confine: %w", err)
	}
	if err := writeFrame(out, frameReady, nil); err != nil {
		return fmt.Errorf("sandbox: say ready: %w", err)
	}
	from := bufio.NewReader(in)
	var buf []byte
	for {
		kind, body, err := readFrame(from, buf)
		if err == io.EOF {
			return nil
		}
		var j job
		if err == nil && kind != frameJob {
			err = errProtocol
		}
		if err == nil {
			err = json.Unmarshal(body, &j)
		}
		if err != nil {
			return fmt.Errorf("sandbox: read job: %w", err)
		}
		buf = body
		if err := serve(from, out, j, parse); err != nil {
			return fmt.Errorf("sandbox: serve: %w", err)
		}
	}
}

func serve(in io.Reader, out io.Writer, j job, parse func(string, []byte) (chunk.Plan, error)) error {
	var text strings.Builder
	text.Grow(j.Bytes)
	if _, err := io.CopyN(&text, in, int64(j.Bytes)); err != nil {
		return err
	}
	if err := writeFrame(out, frameBegun, nil); err != nil {
		return err
	}
	fault, err := split(out, j, text.String(), parse)
	switch {
	case err != nil:
		return err
	case fault != "":
		return writeFrame(out, frameFault, []byte(fault))
	}
	return writeFrame(out, frameEnd, nil)
}

// split sends the chunks. fault says that there are no more because the strategy failed.
func split(out io.Writer, j job, text string, parse func(string, []byte) (chunk.Plan, error)) (fault string, err error) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", p, debug.Stack())
			fault = "it panicked"
		}
	}()
	plan, err := parse(j.Strategy, j.Settings)
	if err != nil {
		return "the parsing process does not take it: " + err.Error(), nil
	}
	var e encoder
	var b bytes.Buffer
	sent, n := time.Now(), 0
	for c := range plan.Splitter.Split(text) {
		b.Write(e.append(b.AvailableBuffer(), c))
		if n++; n == j.Most {
			break
		}
		if b.Len() >= flushBytes || time.Since(sent) >= flushAfter {
			if err := writeFrame(out, frameChunks, b.Bytes()); err != nil {
				return "", err
			}
			b.Reset()
			sent = time.Now()
		}
	}
	if b.Len() == 0 {
		return "", nil
	}
	return "", writeFrame(out, frameChunks, b.Bytes())
}
