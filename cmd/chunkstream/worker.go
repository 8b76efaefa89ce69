package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"chunkstream/api"
)

type workerCmd struct {
	backing
	celeryFlags
	adminFlags
	Listen string `placeholder:"ADDRESS" help:"Also answer /healthz, /readyz and /metrics here, such as 127.0.0.1:9484. Nothing else is served, and no key is asked."`

	out io.Writer
}

// Run works until ctx ends. It serves no documents and no events: those are serve's.
func (c *workerCmd) Run(ctx context.Context) (err error) {
	if c.out == nil {
		c.out = os.Stdout
	}
	if err := c.backing.check(); err != nil {
		return err
	}
	if c.Workers == 0 {
		return &exitError{exitUsage, errors.New("--workers 0 leaves a worker nothing to do"), "--workers 2, or leave it out"}
	}
	s, err := c.backing.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	door, err := c.celeryFlags.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, door.close()) }()
	profiler, err := c.adminFlags.open(s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profiler.stop()) }()
	var serving errgroup.Group
	var server *http.Server
	failed := make(chan struct{})
	fail := sync.OnceFunc(func() { close(failed) })
	if c.Listen != "" {
		listener, err := listen(c.Listen, s.registry)
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("listen on %s: %w", c.Listen, err), "another address, or no --listen"}
		}
		server = api.Server(health(s), s.log)
		serving.Go(func() error { return serveHTTP(server, listener, fail) })
	}
	profiler.serve(fail)
	s.start(ctx)
	door.start(ctx)
	fmt.Fprintf(c.out, "chunkstream %s · worker %s · %d large and %d small at once · %s\n", version(), workerName(), c.Workers,
		smallSlots*c.Workers, c.standsOn())
	select {
	case <-ctx.Done():
	case <-failed:
	}
	s.log.Info("stopping: handing over")
	err = errors.Join(door.stop(), s.stopWork(), s.stopStreams(ctx))
	if server != nil {
		err = errors.Join(err, shutDown(ctx, server, s.log), serving.Wait())
	}
	return errors.Join(err, s.stopHub())
}

// health is what a worker says of itself. It names no document and no owner.
func health(s *service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, api.Health{Status: "ok", Reasons: []string{}})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		now := s.ready(r.Context())
		h := api.Health{Status: "ready", Reasons: append([]string{}, now.Reasons...)}
		switch {
		case !now.OK:
			h.Status = "unavailable"
			answer(w, http.StatusServiceUnavailable, h)
			return
		case now.Degraded:
			h.Status = "degraded"
		}
		answer(w, http.StatusOK, h)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.SecureHeaders(w.Header())
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}
