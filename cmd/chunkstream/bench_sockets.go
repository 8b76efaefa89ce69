package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"chunkstream/client"
	"chunkstream/event"
)

// BenchSocketsCmd opens many WebSockets on one server process, says what each costs it, and how long one event takes to
// reach all of them. The sockets' other ends are in this process, which shares the machine's cores with the server.
type BenchSocketsCmd struct {
	Count      int    `default:"10000" help:"How many WebSockets; at most 20000, which is how many streams a server takes."`
	Broadcasts int    `default:"20" help:"How many events are sent to all of them, one after the other."`
	Watch      string `default:"all" enum:"all,one" help:"All operations, or one (then there is one broadcast: its end)."`
	Data       string `env:"-" placeholder:"FOLDER" help:"For the started server's data; default: a temporary one."`
	JSON       bool   `name:"json" help:"Print one JSON object instead of a table."`
}

// BenchSockets is what --json prints. Times are milliseconds, sizes bytes.
type BenchSockets struct {
	Version    int     `json:"version"` // of this format
	Sockets    int     `json:"sockets"`
	Watch      string  `json:"watch"`
	Cores      int     `json:"cores"`
	Go         string  `json:"go"`
	Opened     float64 `json:"opened_per_second"`
	RSS        float64 `json:"rss_bytes_per_socket"`    // resident memory of the process that sockets added
	InUse      float64 `json:"in_use_bytes_per_socket"` // of that, heap and stacks in use, garbage included
	Goroutines float64 `json:"goroutines_per_socket"`
	Broadcasts int     `json:"broadcasts"`
	// Heard is from the event's time, recorded in whole milliseconds before its commit, until a socket's client has
	// read it: all sockets of all broadcasts together.
	Heard Spread `json:"recorded_to_heard_ms"`
	// FanOut is the same from when the first client has read it: without the commit.
	FanOut Spread `json:"first_to_heard_ms"`
	// Missed is how many sockets did not get an event, which is an error.
	Missed int `json:"missed"`
}

// Run measures and prints. The error says what did not hold: a socket that could not be opened, or missed an event.
func (b *BenchSocketsCmd) Run(ctx context.Context) error {
	if b.Count < 1 || b.Count > 20000 || b.Broadcasts < 1 || b.Broadcasts > 1000 {
		return &exitError{exitUsage, errors.New("bench: want 1 to 20000 sockets and 1 to 1000 broadcasts"),
			"chunkstream bench sockets --count 10000"}
	}
	if n, err := openFiles(); err == nil && n < uint64(b.Count)+200 {
		return &exitError{exitUsage, fmt.Errorf("bench: %d files may be open, and each of %d sockets is one", n, b.Count),
			"ulimit -n 65536"}
	}
	if b.Watch == "one" {
		b.Broadcasts = 1 // an operation ends once
	}
	// Without workers nothing happens but what is asked for.
	child, err := startChild(ctx, b.Data, "", "", "--workers", "0")
	if err != nil {
		return err
	}
	defer child.kill()
	if err := child.await(ctx); err != nil {
		return fmt.Errorf("bench: start a server: %w\n%s", err, child.log())
	}
	result, err := b.measure(ctx, child)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, child.log())
	}
	if err := child.stop(); err != nil {
		return err
	}
	if err := result.print(os.Stdout, b.JSON); err != nil {
		return err
	}
	if result.Missed > 0 {
		return fmt.Errorf("bench: %d events were not heard within %v", result.Missed, hearing)
	}
	return nil
}

// hearing is how long clients have to read what was sent.
const hearing = 30 * time.Second

func (b *BenchSocketsCmd) measure(ctx context.Context, child *benchChild) (*BenchSockets, error) {
	c, err := client.New(child.address, client.Options{})
	if err != nil {
		return nil, err
	}
	watched, err := c.Submit(ctx, client.Submission{Text: strings.NewReader("It waits, and is watched.")})
	if err != nil {
		return nil, err
	}
	path, first := "/v1/ws", 0
	for _, err := range c.Operations(ctx, "queued") { // each socket begins with a snapshot of each
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		first++
	}
	if b.Watch == "one" {
		path, first = "/v1/operations/"+watched.ID+"/ws", 1
	}
	r := &BenchSockets{Version: 1, Sockets: b.Count, Watch: b.Watch, Cores: runtime.NumCPU(), Go: runtime.Version(),
		Broadcasts: b.Broadcasts}
	crowd := &crowd{address: child.address + path, listeners: make([]listener, b.Count), began: time.Now()}
	defer crowd.close()
	before, err := child.weigh(ctx)
	if err != nil {
		return nil, err
	}
	if err := crowd.open(ctx, first+b.Broadcasts); err != nil {
		return nil, fmt.Errorf("bench: open a WebSocket: %w", err)
	}
	r.Opened = float64(b.Count) / time.Since(crowd.began).Seconds()
	if n := crowd.wait(ctx, first*b.Count); n > 0 {
		return nil, fmt.Errorf("bench: %d of %d snapshots were not heard within %v", n, first*b.Count, hearing)
	}
	select { // what opening left behind settles
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := child.weigh(ctx)
	if err != nil {
		return nil, err
	}
	n := float64(b.Count)
	r.RSS, r.InUse = (after.rss-before.rss)/n, (after.inUse-before.inUse)/n
	r.Goroutines = (after.goroutines - before.goroutines) / n

	var heard, spreadOut []time.Duration
	for i := range b.Broadcasts {
		if b.Watch == "one" {
			_, err = c.Cancel(ctx, watched.ID)
		} else {
			_, err = c.Submit(ctx, client.Submission{Text: strings.NewReader(fmt.Sprint("Broadcast ", i))})
		}
		if err != nil {
			return nil, fmt.Errorf("bench: broadcast: %w", err)
		}
		if r.Missed += crowd.wait(ctx, (first+i+1)*b.Count); r.Missed > 0 {
			break
		}
		var e event.Event
		if err := json.Unmarshal(*crowd.listeners[0].latest.Load(), &e); err != nil {
			return nil, fmt.Errorf("bench: an event: %w", err)
		}
		soonest := crowd.listeners[0].at[first+i]
		for j := range crowd.listeners {
			soonest = min(soonest, crowd.listeners[j].at[first+i])
		}
		for j := range crowd.listeners {
			at := crowd.listeners[j].at[first+i]
			heard = append(heard, max(crowd.began.Add(at).Sub(e.Time.Time), 0))
			spreadOut = append(spreadOut, at-soonest)
		}
	}
	r.Heard, r.FanOut = spread(heard), spread(spreadOut)
	return r, nil
}

// weight is what a process holds.
type weight struct{ rss, inUse, goroutines float64 }

// weigh reads it from the kernel and from the process's own metrics.
func (c *benchChild) weigh(ctx context.Context) (weight, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/metrics", nil)
	if err != nil {
		return weight{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return weight{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	w := weight{rss: float64(c.status("VmRSS"))}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "go_memstats_heap_alloc_bytes", "go_memstats_stack_inuse_bytes":
			w.inUse += n
		case "go_goroutines":
			w.goroutines = n
		}
	}
	return w, lines.Err()
}

func (r BenchSockets) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) { _, _ = fmt.Fprintf(t, name+"\t"+format+"\n", values...) }
	row("sockets", "%d on %s · %.0f opened a second · %d cores", r.Sockets,
		map[string]string{"all": "all operations", "one": "one operation"}[r.Watch], r.Opened, r.Cores)
	row("memory a socket", "%.1f KiB resident (goal: at most 12) · %.1f KiB heap and stacks · %.2f goroutines", r.RSS/1024,
		r.InUse/1024, r.Goroutines)
	row("broadcasts", "%d · %d events missed", r.Broadcasts, r.Missed)
	row("event recorded → heard", "p50 %.2f ms · p99 %.2f ms (goal: at most 120) · max %.2f ms", r.Heard.P50, r.Heard.P99, r.Heard.Max)
	row("first heard → heard", "p50 %.2f ms · p99 %.2f ms · max %.2f ms", r.FanOut.P50, r.FanOut.P99, r.FanOut.Max)
	return t.Flush() // reports what the rows ran into
}
