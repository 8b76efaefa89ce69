package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// bareFor is how long bare measures at most.
const bareFor = 10 * time.Second

// bare measures what a durable submission at a rate cannot be faster than, on this machine and now: net/http takes the
// same texts at the same pace, appends 64 KiB to a file in folder, syncs it, and answers half a KiB. What the machine does to
// a process that is idle in between, it does to this one too.
func (b *BenchServiceCmd) bare(ctx context.Context, folder string, text []byte) (_ *Spread, err error) {
	f, err := os.Create(filepath.Join(folder, "bare"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block, answer := make([]byte, 64<<10), strings.Repeat("0123456789abcdef", 32)
	var writing sync.Mutex
	commit := func() error {
		writing.Lock()
		defer writing.Unlock()
		if _, err := f.Write(block); err != nil {
			return err
		}
		return f.Sync()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err = errors.Join(err, commit()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, answer) // who asked notices
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until it is closed
	defer func() {
		err = errors.Join(err, server.Close())
		serving.Wait()
	}()
	now := time.Now()
	l := &load{BenchServiceCmd: b, begin: now, from: now, until: now.Add(min(b.Duration, bareFor))}
	var mu sync.Mutex
	var took []time.Duration
	g, ctx := errgroup.WithContext(ctx)
	for range b.Clients {
		g.Go(func() error {
			wire := &wire{}
			defer wire.close()
			c := &http.Client{Transport: wire}
			for {
				due, ok, err := l.turn(ctx)
				if !ok {
					return err
				}
				if err := post(ctx, c, "http://"+listener.Addr().String(), text); err != nil {
					return err
				}
				mu.Lock()
				took = append(took, time.Since(due))
				mu.Unlock()
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	s := spread(took)
	return &s, nil
}

func post(ctx context.Context, c *http.Client, address string, text []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, said)
	}
	return err
}
