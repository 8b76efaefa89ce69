package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chunkstream/client"
)

// benchChild is a server that a benchmark started: the same binary, in a process of its own, so that its memory and
// its start can be measured.
type benchChild struct {
	cmd     *exec.Cmd
	address string
	data    string
	own     bool // the folder is ours to remove
	output  bytes.Buffer
	started time.Time
	ended   chan struct{}
	err     error // how the process ended, once ended is closed
}

func startChild(ctx context.Context, data, database, redis string, more ...string) (*benchChild, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	listen := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	c := &benchChild{address: "http://" + listen, data: data, ended: make(chan struct{})}
	if data == "" {
		if c.data, err = os.MkdirTemp("", "chunkstream-bench-"); err != nil {
			return nil, err
		}
		c.own = true
	}
	args := []string{"serve", "--listen", listen, "--data", filepath.Join(c.data, "data")}
	if database != "" {
		args = append(args, "--database", database)
	}
	if redis != "" {
		args = append(args, "--redis", redis)
	}
	c.cmd = exec.CommandContext(ctx, self, append(args, more...)...)
	c.cmd.Env = append(os.Environ(), "CHUNKSTREAM_API_KEY=", "CHUNKSTREAM_DATABASE=", "DATABASE_URL=", "CHUNKSTREAM_REDIS=", "REDIS_URL=")
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	c.cmd.WaitDelay = time.Second
	c.started = time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// begin waits until the server is ready and has completed a first operation, and gives the times of both since the
// process was started, and its memory a second later.
func (c *benchChild) begin(ctx context.Context, api *client.Client) (*ColdStart, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.await(ctx); err != nil {
		return nil, 0, err
	}
	ready := time.Since(c.started)
	op, err := api.Submit(ctx, client.Submission{Text: strings.NewReader("A first document."), Wait: 20 * time.Second})
	if err != nil {
		return nil, 0, err
	}
	if op.FinishedAt == nil {
		return nil, 0, fmt.Errorf("its first operation is %s after 20 s", op.Status)
	}
	first := op.FinishedAt.Sub(c.started.Truncate(time.Millisecond))
	idle := time.NewTimer(time.Second)
	defer idle.Stop()
	select {
	case <-idle.C:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	return &ColdStart{ms(ready), ms(first)}, c.status("VmRSS"), nil
}

// redisCommands reads from the server's metrics how many short Redis commands took at most so many seconds. There are
// none without Redis or without a server of our own.
func (c *benchChild) redisCommands(ctx context.Context) (map[float64]int64, error) {
	if c == nil {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("bench: read metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return commandBuckets(resp.Body)
}

// commandBuckets finds the buckets of the role commands in Prometheus's text format.
func commandBuckets(r io.Reader) (map[float64]int64, error) {
	buckets := map[float64]int64{}
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return buckets, lines.Err()
		}
		rest, ok := strings.CutPrefix(lines.Text(), `chunkstream_redis_command_seconds_bucket{role="commands",le="`)
		if !ok {
			continue
		}
		bound, count, _ := strings.Cut(rest, `"} `)
		le, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			return nil, fmt.Errorf("bench: metrics: %w", err)
		}
		n, err := strconv.ParseFloat(count, 64)
		if err != nil {
			return nil, fmt.Errorf("bench: metrics: %w", err)
		}
		buckets[le] = int64(n)
	}
}

// await waits until the process is ready.
func (c *benchChild) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !c.ready(ctx) {
		select {
		case <-tick.C:
		case <-c.ended:
			return fmt.Errorf("it ended: %w", c.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *benchChild) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// status reads one size of the process from the kernel, in bytes; 0 where there is no /proc.
func (c *benchChild) status(field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == field+":" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// stop ends the server as an operator would, and removes its data.
func (c *benchChild) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(20 * time.Second)
	defer patience.Stop()
	select {
	case <-c.ended:
	case <-patience.C:
		return fmt.Errorf("bench: the server did not stop within 20 s of SIGTERM\n%s", c.log())
	}
	if c.err != nil {
		return fmt.Errorf("bench: the server stopped badly: %w\n%s", c.err, c.log())
	}
	return nil
}

// kill ends what stop did not, and removes the data.
func (c *benchChild) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
	if c.own {
		_ = os.RemoveAll(c.data) // a temporary folder
	}
}

// log gives the end of what the server printed, after it has ended.
func (c *benchChild) log() string {
	c.kill()
	const most = 4096
	b := c.output.Bytes()
	return string(b[max(0, len(b)-most):])
}
