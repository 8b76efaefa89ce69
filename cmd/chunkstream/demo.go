package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/redisconn"
	"chunkstream/secret"
)

type demoCmd struct {
	// Bytes is less than the default where everything takes many times as long, as under the race detector.
	Bytes int `hidden:"" default:"8388608"`

	out io.Writer
}

// demoLimit is what the demo may take in all.
const demoLimit = time.Minute

// Run shows what the product promises, on this machine, with real processes: a redis-server, a web process and two
// workers. A worker and Redis are killed in the middle.
func (d *demoCmd) Run(ctx context.Context) error {
	if d.out == nil {
		d.out = os.Stdout
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return &exitError{exitUsage, fmt.Errorf("the demo kills a Redis of its own: %w", err), "apt-get install redis-server (or brew install redis)"}
	}
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	folder, err := os.MkdirTemp("", "chunkstream-demo-")
	if err != nil {
		return err
	}
	s := &stage{out: d.out, began: time.Now(), folder: folder, children: map[string]*exec.Cmd{}}
	err = s.play(ctx, d.Bytes)
	s.endAll()
	return errors.Join(err, os.RemoveAll(folder))
}

// stage is the processes of the demo.
type stage struct {
	out    io.Writer
	began  time.Time
	folder string

	mu       sync.Mutex
	children map[string]*exec.Cmd
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%5.1f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// run starts a child under a name. It is ended with the demo, or before.
func (s *stage) run(ctx context.Context, name, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { // what a user has set is for a service of his own
		return strings.HasPrefix(e, "CHUNKSTREAM_") || strings.HasPrefix(e, "DATABASE_URL=") || strings.HasPrefix(e, "REDIS_URL=")
	})
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.mu.Lock()
	s.children[name] = cmd
	s.mu.Unlock()
	return nil
}

// kill ends a child with SIGKILL and waits until it is gone.
func (s *stage) kill(name string) {
	s.mu.Lock()
	cmd := s.children[name]
	delete(s.children, name)
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	}
}

func (s *stage) endAll() {
	for _, name := range []string{"web", "worker 1", "worker 2", "redis"} {
		s.kill(name)
	}
}

// holder gives the name of the child whose process id ends a worker's name.
func (s *stage) holder(worker string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, cmd := range s.children {
		if strings.HasSuffix(worker, "-"+strconv.Itoa(cmd.Process.Pid)) {
			return name
		}
	}
	return ""
}

// play shows all of it; the document that is worked on when a worker is killed has this many bytes.
func (s *stage) play(ctx context.Context, size int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	web, redis, err := twoAddresses()
	if err != nil {
		return err
	}
	redisURL := "redis://" + redis
	startRedis := func() error {
		host, port, _ := strings.Cut(redis, ":")
		return s.run(ctx, "redis", "redis-server", "--bind", host, "--port", port, "--save", "", "--dir", s.folder)
	}
	shared := []string{"--data", filepath.Join(s.folder, "data"), "--redis", redisURL, "--lease", "2s"}
	if err := startRedis(); err != nil {
		return err
	}
	if err := s.run(ctx, "web", self, append([]string{"serve", "--listen", web, "--workers", "0"}, shared...)...); err != nil {
		return err
	}
	address := "http://" + web
	if err := awaitReady(ctx, address, "ready"); err != nil {
		return err
	}
	for _, name := range []string{"worker 1", "worker 2"} {
		if err := s.run(ctx, name, self, append([]string{"worker", "--workers", "1"}, shared...)...); err != nil {
			return err
		}
	}
	s.say("a redis-server on %s, a web process on %s, two workers", redis, address)

	if err := s.refuseWrongRole(ctx, redisURL); err != nil {
		return err
	}

	c, err := client.New(address, client.Options{})
	if err != nil {
		return err
	}
	texts := make([]string, 3)
	ops := make([]client.Operation, 3)
	for i := range texts {
		texts[i] = demoText(i, []int{size / 16, size / 16, size}[i]) // the last one takes long enough to be caught at it
		if ops[i], err = c.Submit(ctx, client.Submission{Text: strings.NewReader(texts[i]), Name: fmt.Sprint("document ", i+1),
			Settings: url.Values{"chunk_size": {"60"}}}); err != nil {
			return fmt.Errorf("submit: %w", err)
		}
		s.say("submitted document %d, %d bytes: %s", i+1, len(texts[i]), ops[i].ID)
	}
	if err := s.watch(ctx, c, address, ops[2], startRedis); err != nil {
		return err
	}
	for i, op := range ops {
		if err := s.compare(ctx, c, op, texts[i], i+1); err != nil {
			return err
		}
	}
	s.say("nothing was lost, and nobody was restarted by hand but Redis")
	return nil
}

// refuseWrongRole hands a client of one role to a place that wants another.
func (s *stage) refuseWrongRole(ctx context.Context, redisURL string) error {
	conns, err := redisconn.Open(ctx, redisconn.Config{URL: secret.New(redisURL)})
	if err != nil {
		return err
	}
	var plugIn any = conns.Commands // what a configuration or a plug-in might hand over
	_, refusal := redisconn.RequireBlocking(plugIn)
	if refusal == nil {
		return errors.Join(errors.New("a client of the wrong role was accepted"), conns.Close())
	}
	s.say("a worker's queue was handed the request path's client; refused:\n         %v", refusal)
	return conns.Close()
}

// watch follows the last document over a WebSocket, and in the middle kills the worker that has it, and Redis.
func (s *stage) watch(ctx context.Context, c *client.Client, address string, op client.Operation, startRedis func() error) error {
	s.say("watching document 3 over a WebSocket; every number must come once, in order")
	killed, batches := false, 0
	for e, err := range c.Watch(ctx, op.ID, 0) {
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		switch {
		case e.Type == event.Batch:
			batches++
			if killed || batches < 3 {
				continue
			}
			killed = true
			s.say("  … event %d: %d chunks so far", e.Seq, e.Data.Chunks)
			name := s.holder(e.Data.Worker)
			if name == "" {
				return fmt.Errorf("no process is called %q", e.Data.Worker)
			}
			s.kill("redis")
			s.kill(name)
			s.say("KILLED redis and %s, which was working on it", name)
			if err := awaitReady(ctx, address, "degraded"); err != nil {
				return err
			}
			s.say("/readyz says degraded; events now come by polling SQL")
			if err := startRedis(); err != nil {
				return err
			}
			if err := awaitReady(ctx, address, "ready"); err != nil {
				return err
			}
			s.say("redis is back, empty; /readyz says ready")
		default:
			s.say("  event %d %s, attempt %d, %d chunks", e.Seq, e.Type, e.Data.Attempt, e.Data.Chunks)
			if e.Type.Terminal() && e.Type != event.Completed {
				return fmt.Errorf("document 3 ended as %s", e.Type)
			}
		}
	}
	s.say("%d batch events and all others came without a gap", batches)
	return nil
}

// compare checks every chunk of an operation against the text that was sent.
func (s *stage) compare(ctx context.Context, c *client.Client, op client.Operation, text string, n int) error {
	var err error
	for op, err = c.Operation(ctx, op.ID, 30*time.Second); err == nil && !op.Final(); {
		op, err = c.Operation(ctx, op.ID, 30*time.Second)
	}
	if err != nil {
		return err
	}
	if op.Status != "completed" {
		return fmt.Errorf("document %d ended as %s", n, op.Status)
	}
	chunks, end := 0, int64(0)
	for chunk, err := range c.Chunks(ctx, op.ID) {
		if err != nil {
			return err
		}
		if chunk.StartByte != end || chunk.Text != text[chunk.StartByte:chunk.EndByte] {
			return fmt.Errorf("document %d: chunk %d is not its text", n, chunk.Index)
		}
		end = chunk.EndByte
		chunks++
	}
	if end != int64(len(text)) {
		return fmt.Errorf("document %d: the chunks end at byte %d of %d", n, end, len(text))
	}
	s.say("document %d: %d chunks in %d attempt(s), together the document byte for byte", n, chunks, op.Attempt)
	return nil
}

// demoText is prose without white space that a strategy might leave out.
func demoText(n, size int) string {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "Sentence %d of document %d says little, at some length. ", i, n+1)
	}
	return strings.TrimSpace(b.String())
}

func awaitReady(ctx context.Context, address, status string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if body, err := fetch(ctx, address+"/readyz"); err == nil && strings.Contains(body, `"`+status+`"`) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s never said %s: %w", address, status, ctx.Err())
		case <-tick.C:
		}
	}
}

func fetch(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body), errors.Join(err, resp.Body.Close())
}

// twoAddresses gives two loopback addresses that nobody listens on.
func twoAddresses() (a, b string, err error) {
	one, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	two, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", errors.Join(err, one.Close())
	}
	return one.Addr().String(), two.Addr().String(), errors.Join(one.Close(), two.Close())
}
