package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/extract"
	"chunkstream/live"
	"chunkstream/store"
	"chunkstream/worker"
)

//go:embed sample.md
var sampleText string

type serveCmd struct {
	Listen      string        `default:"127.0.0.1:8484" help:"Address to listen on. Anything but loopback needs CHUNKSTREAM_API_KEY."`
	Data        string        `default:"chunkstream-data" type:"path" help:"Folder for the database; made when missing."`
	Workers     int           `default:"-1" help:"Large documents worked on at once; small ones have 32 slots for each. 0 serves without working; default: one per core."`
	Lease       time.Duration `default:"5s" help:"How long a worker that has died keeps an operation from the others."`
	PoisonAfter int           `default:"2" help:"Crashes in a row without progress that end an operation as failed."`
	Open        bool          `help:"Open the browser."`
	LogFormat   string        `enum:"auto,text,json" default:"auto" help:"Log as text or json; auto: text on a terminal, json otherwise."`
	APIKey      string        `name:"api-key" env:"CHUNKSTREAM_API_KEY" hidden:"" help:"Use the environment variable: a flag can be seen by every process on the machine."`

	out io.Writer // where the addresses are printed; nil means standard output
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context) error {
	began := time.Now()
	if c.out == nil {
		c.out = os.Stdout
	}
	if c.Workers < 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Lease < 100*time.Millisecond || c.Lease > time.Hour {
		return &exitError{exitUsage, fmt.Errorf("--lease %v is outside 100ms to 1h", c.Lease), "--lease 5s"}
	}
	if c.PoisonAfter < 1 {
		return &exitError{exitUsage, fmt.Errorf("--poison-after %d is less than 1", c.PoisonAfter), "--poison-after 2"}
	}
	gate, loopback, err := c.gate()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("listen on %s: %w", c.Listen, err),
			"another address, such as --listen 127.0.0.1:0 for a free port"}
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return errors.Join(&exitError{exitUsage, fmt.Errorf("data folder: %w", err), "--data with a folder you may write to"},
			listener.Close())
	}
	return c.serve(ctx, listener, gate, loopback, began)
}

// gate decides who may come in: everybody on loopback, holders of the key elsewhere, nobody without one.
func (c *serveCmd) gate() (gate *auth.Gate, loopback bool, err error) {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, false, &exitError{exitUsage, fmt.Errorf("--listen %q: %w", c.Listen, err), "--listen 127.0.0.1:8484"}
	}
	ip := net.ParseIP(host)
	loopback = host == "localhost" || ip != nil && ip.IsLoopback()
	if c.APIKey != "" {
		gate, err := auth.StaticKey(c.APIKey)
		if err != nil {
			return nil, false, &exitError{exitUsage, err, `export CHUNKSTREAM_API_KEY="$(openssl rand -hex 24)"`}
		}
		return gate, loopback, nil
	}
	if !loopback {
		return nil, false, &exitError{exitUsage,
			fmt.Errorf("refusing to listen on %s without access control: everybody who reaches it could read and delete everything", c.Listen),
			`export CHUNKSTREAM_API_KEY="$(openssl rand -hex 24)", or --listen 127.0.0.1:8484`}
	}
	return auth.Open(), true, nil
}

func (c *serveCmd) logger() *slog.Logger {
	terminal := false
	if st, err := os.Stderr.Stat(); err == nil {
		terminal = st.Mode()&os.ModeCharDevice != 0
	}
	if c.LogFormat == "text" || c.LogFormat == "auto" && terminal {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, nil))
}

// How long each step of the stop may take. Together they stay below the 10 s that supervisors give.
const (
	drainWork     = 5 * time.Second
	drainStreams  = 2 * time.Second
	drainRequests = 2 * time.Second
)

// serve is the one place where everything is started and stopped.
//
// Start: store, hub, worker, listener. Stop, senders before receivers: readiness says no and the worker stops claiming
// and gives back what it holds; then the streams are told (1001), so that clients reconnect elsewhere having seen the
// hand-over; then requests in flight end; then the hub's own loops; last the store, which everything stood on.
func (c *serveCmd) serve(ctx context.Context, listener net.Listener, gate *auth.Gate, loopback bool, began time.Time) (err error) {
	log := c.logger()
	// What runs must outlive ctx until its turn in the stop has come.
	base := context.WithoutCancel(ctx)
	db, err := store.Open(ctx, store.Config{Path: filepath.Join(c.Data, "chunkstream.db"), PoisonAfter: c.PoisonAfter})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	var stopping atomic.Bool
	var sample atomic.Value
	var wake dispatch.Memory
	wakeLane := func(l store.Lane, id string) { wake.Wake(string(l), id) }
	hub := live.NewHub(source(db), live.Config{})
	work, err := worker.New(worker.Config{
		Store: db, Publish: hub.Publish, Woken: func(l store.Lane) <-chan struct{} { return wake.Woken(string(l)) },
		Name: workerName(), LargeSlots: c.Workers, SmallSlots: smallSlots * c.Workers, Lease: c.Lease,
		Poll: min(time.Second, c.Lease/2), Drain: drainWork, Log: log,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	registry := metrics(db, hub, work)
	handler, err := api.New(api.Config{
		Store: db, Hub: hub, Wake: wakeLane, Publish: hub.Publish, Gate: gate, Loopback: loopback, Version: version(),
		Metrics: registry, Log: log, Ready: readiness(db, &stopping, c.Workers),
		Sample: func() string { id, _ := sample.Load().(string); return id },
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := api.Server(handler, log)

	// Before the first request can be answered, so that nobody ever sees an empty list.
	if id, err := addSample(ctx, db, wakeLane, hub.Publish); err != nil {
		log.Warn("the sample document could not be added", "error", err)
	} else {
		sample.Store(id)
	}

	hubCtx, endHub := context.WithCancel(base)
	var hubGroup, workGroup, httpGroup errgroup.Group
	hubGroup.Go(func() error { return hub.Run(hubCtx) })
	workCtx, endWork := context.WithCancel(base)
	if c.Workers > 0 {
		workGroup.Go(func() error { return work.Run(workCtx) })
	}
	failed := make(chan struct{})
	httpGroup.Go(func() error {
		err := server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		close(failed)
		return fmt.Errorf("serve http: %w", err)
	})
	c.announce(listener.Addr(), loopback && !gate.Keyed(), began, sample.Load())

	select {
	case <-ctx.Done():
	case <-failed:
	}
	stopping.Store(true)
	log.Info("stopping: handing over, then closing streams and requests")
	endWork()
	err = workGroup.Wait()
	streams, cancelStreams := context.WithTimeout(base, drainStreams)
	defer cancelStreams()
	err = errors.Join(err, hub.Stop(streams))
	handler.Drain()
	requests, cancelRequests := context.WithTimeout(base, drainRequests)
	defer cancelRequests()
	if shutErr := server.Shutdown(requests); shutErr != nil {
		err = errors.Join(err, server.Close())
		log.Warn("requests were still running and have been cut off", "error", shutErr)
	}
	endHub()
	return errors.Join(err, httpGroup.Wait(), hubGroup.Wait())
}

// smallSlots is how many small operations are in flight for each large one. They wait for commits nearly all their
// time, and the more of them wait together, the more share one.
const smallSlots = 32

func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// source lets the hub read the truth without seeing the store.
func source(db *store.Store) live.Source {
	heads := func(hs []store.Head) map[string]int64 {
		m := make(map[string]int64, len(hs))
		for _, h := range hs {
			m[h.OperationID] = h.Seq
		}
		return m
	}
	return live.Source{
		Events: db.Events,
		Snapshot: func(ctx context.Context, owner, id string) (event.Event, error) {
			op, err := db.Operation(ctx, owner, id)
			if err != nil {
				return event.Event{}, err
			}
			return op.Snapshot(event.Snapshot, time.Now()), nil
		},
		Active: func(ctx context.Context, owner string) ([]event.Event, error) {
			ops, err := db.Active(ctx, owner)
			evs := make([]event.Event, len(ops))
			for i, op := range ops {
				evs[i] = op.Snapshot(event.Snapshot, time.Now())
			}
			return evs, err
		},
		Heads: func(ctx context.Context, ids []string) (map[string]int64, error) {
			hs, err := db.Heads(ctx, ids)
			return heads(hs), err
		},
		OwnerHeads: func(ctx context.Context, owner string, since time.Time) (map[string]int64, time.Time, error) {
			hs, now, err := db.OwnerHeads(ctx, owner, since)
			return heads(hs), now, err
		},
	}
}

func readiness(db *store.Store, stopping *atomic.Bool, workers int) func(context.Context) api.Readiness {
	return func(ctx context.Context) api.Readiness {
		if stopping.Load() {
			return api.Readiness{Reasons: []string{"stopping: work is being handed over"}}
		}
		if err := db.Ping(ctx); err != nil {
			return api.Readiness{Reasons: []string{"the database does not answer"}}
		}
		r := api.Readiness{OK: true}
		if workers == 0 {
			r.Degraded, r.Reasons = true, []string{"no workers in this process (--workers 0): operations wait for another one"}
		}
		return r
	}
}

// addSample gives a new data folder a first operation, so that nothing is ever empty, and returns its id. Later starts
// find it by its key for as long as keys are kept; the page then simply has no link.
func addSample(ctx context.Context, db *store.Store, wake func(store.Lane, string), publish func(event.Owned)) (string, error) {
	ops, _, err := db.Operations(ctx, auth.Local.Owner, store.Filter{Limit: 1})
	if err != nil {
		return "", err
	}
	if len(ops) > 0 {
		for _, op := range ops {
			if op.Name == sampleName {
				return op.ID, nil
			}
		}
		return "", nil
	}
	plan, err := chunk.Parse("", nil)
	if err != nil {
		return "", err
	}
	staged, err := db.Stage(ctx, auth.Local.Owner, extract.NewText(strings.NewReader(sampleText)), api.MaxText)
	if err != nil {
		return "", err
	}
	made, err := db.Create(ctx, store.NewOperation{Owner: auth.Local.Owner, Name: sampleName, Staged: staged,
		Strategy: plan.Strategy, Settings: plan.Settings, SplitterVersion: chunk.Version})
	if err != nil {
		return "", err
	}
	publish(made.Event)
	wake(store.LaneOf(made.Document.Bytes), made.Operation.ID)
	return made.Operation.ID, nil
}

const sampleName = "sample.md"

// announce prints where everything is, once it is there.
func (c *serveCmd) announce(addr net.Addr, open bool, began time.Time, sample any) {
	at := addr.String()
	var b strings.Builder
	fmt.Fprintf(&b, "chunkstream %s · embedded (SQLite; no Redis, no Postgres needed)\n\n", version())
	fmt.Fprintf(&b, "  open      http://%s\n", at)
	fmt.Fprintf(&b, "  API       http://%s/v1   docs http://%s/docs\n", at, at)
	fmt.Fprintf(&b, "  live      ws://%s/v1/ws   SSE http://%s/v1/events\n", at, at)
	fmt.Fprintf(&b, "  metrics   http://%s/metrics\n", at)
	if id, ok := sample.(string); ok && id != "" {
		fmt.Fprintf(&b, "  sample    http://%s/v1/operations/%s/chunks\n", at, id)
	}
	fmt.Fprintf(&b, "  data      %s (%d workers in this process)\n\n", c.Data, c.Workers)
	if open {
		b.WriteString("  Loopback only, so no key is asked. To serve a network, set CHUNKSTREAM_API_KEY and --listen :8484.\n")
	}
	fmt.Fprintf(&b, "  Ready in %d ms. Ctrl-C stops.\n", time.Since(began).Milliseconds())
	fmt.Fprint(c.out, b.String())
	if c.Open {
		openBrowser("http://" + at)
	}
}

// openBrowser starts the desktop's browser and does not wait for it; without a desktop nothing happens.
func openBrowser(url string) {
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	cmd := exec.Command(name, url)
	if cmd.Start() == nil {
		var once sync.Once
		go once.Do(func() { _ = cmd.Wait() }) // reaps the child; ends with it
	}
}

func metrics(db *store.Store, hub *live.Hub, work *worker.Worker) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&statsCollector{db: db, hub: hub, work: work})
	return r
}
