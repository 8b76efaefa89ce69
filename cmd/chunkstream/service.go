package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"chunkstream/api"
	"chunkstream/chunk"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/redisconn"
	"chunkstream/sandbox"
	"chunkstream/secret"
	"chunkstream/store"
	"chunkstream/token"
	"chunkstream/webhook"
	"chunkstream/worker"
)

// backing is what every process of the service stands on.
type backing struct {
	Data        string        `default:"chunkstream-data" type:"path" help:"Folder for the SQLite database; made when missing."`
	Database    secret.Text   `env:"CHUNKSTREAM_DATABASE,DATABASE_URL" placeholder:"URL" help:"Postgres instead of SQLite: postgres://user@host/name."`
	Redis       secret.Text   `env:"CHUNKSTREAM_REDIS,REDIS_URL" placeholder:"URL" help:"Redis for wake-ups and live events between processes; it may be away at any time."`
	Workers     int           `default:"-1" help:"Large documents worked on at once; small ones have 32 slots for each. 0 serves without working; default: one per core."`
	Lease       time.Duration `default:"5s" help:"How long a worker that has died keeps an operation from the others."`
	PoisonAfter int           `default:"2" help:"Crashes in a row without progress that end an operation as failed."`
	MaxChunks   int64         `default:"200000" help:"Chunks that one operation may make; with more it fails (too_many_chunks)."`
	MaxOutput   int64         `name:"max-output-mib" default:"512" help:"MiB of text that the chunks of one operation may have together; with more it fails (too_much_output)."`
	parseFlags
	keepFlags
	webhookFlags
	LogFormat string `enum:"auto,text,json" default:"auto" help:"Log as text or json; auto: text on a terminal, json otherwise."`

	streams int // open at once for each owner; 0: as many as the hub takes
}

func (b *backing) check() error {
	if b.Workers < 0 {
		b.Workers = runtime.GOMAXPROCS(0)
	}
	if b.Lease < 100*time.Millisecond || b.Lease > time.Hour {
		return &exitError{exitUsage, fmt.Errorf("--lease %v is outside 100ms to 1h", b.Lease), "--lease 5s"}
	}
	if b.ParseTime < time.Second || b.ParseMemory < 64 {
		return &exitError{exitUsage, fmt.Errorf("--parse-time %v is less than 1s, or --parse-memory %d less than 64", b.ParseTime, b.ParseMemory),
			"--parse-time 60s --parse-memory 512"}
	}
	if b.MaxChunks < 1 || b.MaxOutput < 1 || b.MaxOutput > 1<<20 {
		return &exitError{exitUsage, fmt.Errorf("--max-chunks %d is less than 1, or --max-output-mib %d outside 1 to 1048576", b.MaxChunks, b.MaxOutput),
			"--max-chunks 200000 --max-output-mib 512"}
	}
	if err := b.keepFlags.check(); err != nil {
		return err
	}
	if _, err := b.webhookFlags.policy(); err != nil {
		return err
	}
	if b.PoisonAfter < 1 {
		return &exitError{exitUsage, fmt.Errorf("--poison-after %d is less than 1", b.PoisonAfter), "--poison-after 2"}
	}
	return nil
}

// logger begins the service's log; the queue is to be closed.
func (b *backing) logger() (*slog.Logger, *logQueue) {
	terminal := false
	if st, err := os.Stderr.Stat(); err == nil {
		terminal = st.Mode()&os.ModeCharDevice != 0
	}
	surviveReaders()
	log, queue := queuedLogger(os.Stderr, b.LogFormat != "text" && (b.LogFormat != "auto" || !terminal))
	slog.SetDefault(log) // what other people's packages have to say
	return log, queue
}

// storeConfig says where the database is, making the data folder when it is SQLite's.
func (b *backing) storeConfig() (store.Config, error) {
	cfg := store.Config{PoisonAfter: b.PoisonAfter, Keep: b.keep()}
	if !b.Database.Empty() {
		cfg.DatabaseURL = b.Database
		return cfg, nil
	}
	if err := makeFolder(b.Data); err != nil {
		return cfg, &exitError{exitUsage, fmt.Errorf("data folder: %w", err), "--data with a folder you may write to"}
	}
	cfg.Path = filepath.Join(b.Data, "chunkstream.db")
	return cfg, nil
}

// standsOn says in words what the process stands on, without any password.
func (b *backing) standsOn() string {
	words := "SQLite in " + b.Data
	if !b.Database.Empty() {
		words = "Postgres"
		if u, err := url.Parse(b.Database.Reveal()); err == nil && u.Scheme != "" {
			words += " at " + u.Host + u.Path
		}
	}
	if b.Redis.Empty() {
		return words + ", no Redis"
	}
	if u, err := url.Parse(b.Redis.Reveal()); err == nil && u.Host != "" {
		return words + ", Redis at " + u.Host
	}
	return words + ", Redis"
}

// waker is how wake-ups travel: within the process, or over Redis.
type waker interface {
	Wake(lane, operationID string)
	Woken(lane string) <-chan struct{}
}

// service is a process without its HTTP side: store, Redis roles, wake-ups, hub and worker.
type service struct {
	log      *slog.Logger
	logs     *logQueue
	workers  int
	db       *store.Store
	conns    *redisconn.Conns // nil without Redis
	redis    *dispatch.Redis  // nil without Redis
	wake     waker
	bus      live.Bus
	hub      *live.Hub
	work     *worker.Worker
	webhooks *webhook.Deliverer
	cut      cutter
	forget   func(context.Context, []string) error // nil without Redis
	roles    rolesCollector                        // with Redis
	registry *prometheus.Registry
	stopping atomic.Bool

	endWork, endHub  context.CancelFunc
	working, hubbing errgroup.Group
}

// How long each step of the stop may take. Together they stay below the 10 s that supervisors give.
const (
	drainWork     = 5 * time.Second
	drainStreams  = 2 * time.Second
	drainRequests = 2 * time.Second
)

// smallSlots is how many small operations are in flight for each large one. They wait for commits nearly all their
// time, and the more of them wait together, the more share one.
const smallSlots = 32

// open makes everything and starts nothing but what connects to the database and to Redis.
func (b *backing) open(ctx context.Context) (_ *service, err error) {
	s := &service{workers: b.Workers}
	s.log, s.logs = b.logger()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.cut = cutter{b.parseFlags, sandbox.New(sandbox.Config{Time: b.ParseTime, Memory: b.ParseMemory << 20, Log: s.log})}
	cfg, err := b.storeConfig()
	if err != nil {
		return nil, err
	}
	if s.db, err = store.Open(ctx, cfg); err != nil {
		hint := "--data with a folder you may write to"
		if !b.Database.Empty() {
			hint = "check that Postgres is up and that the URL's user may log in and create tables"
		}
		return nil, &exitError{exitNoReach, err, hint}
	}
	memory := &dispatch.Memory{}
	s.wake, s.bus = memory, live.NewMemory(busDepth)
	source := api.LiveSource(s.db)
	if !b.Redis.Empty() {
		if s.conns, err = redisconn.Open(ctx, redisconn.Config{URL: b.Redis, Logger: s.log}); err != nil {
			return nil, &exitError{exitUsage, err, "--redis redis://127.0.0.1:6379/0"}
		}
		if err := s.overRedis(source); err != nil {
			return nil, err
		}
	}
	s.hub = live.NewHub(source, live.Config{
		Bus: s.bus, MaxPerOwner: b.streams, Ended: func(ctx context.Context, sessions []any) ([]bool, error) { return ended(ctx, s.db, sessions) },
		Missing: func(err error) bool { return errors.Is(err, store.ErrNotFound) },
	})
	s.work, err = worker.New(worker.Config{
		Store: s.db, Publish: s.publish, Parse: parser.Parse, Split: s.cut.split, Here: s.cut.here, Forget: s.forget,
		Woken: func(l store.Lane) <-chan struct{} { return s.wake.Woken(string(l)) },
		Name:  workerName(), MaxChunks: b.MaxChunks, MaxOutput: b.MaxOutput << 20, LargeSlots: b.Workers, SmallSlots: smallSlots * b.Workers, Lease: b.Lease,
		Poll: min(time.Second, b.Lease/2), Drain: drainWork, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	s.registry = metrics(s.db, s.hub, s.work, s.logs)
	policy, err := b.webhookFlags.policy()
	if err != nil {
		return nil, err
	}
	s.webhooks, err = webhook.New(webhook.Config{Store: s.db, Policy: policy, Version: version(), Metrics: s.registry, Log: s.log, Timeout: b.WebhookTimeout})
	if err != nil {
		return nil, err
	}
	if s.conns != nil {
		s.registry.MustRegister(s.roles)
	}
	return s, nil
}

// parser makes the splitters of every part of the program, so that all count the same tokens.
var parser = chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) {
	t, err := token.Get(name)
	if _, unknown := errors.AsType[*token.UnknownError](err); unknown { // the name stands before it
		return nil, fmt.Errorf("not an encoding: they are %s", strings.Join(token.Names(), ", "))
	}
	return t, err
}}

func tokenEnds(tokenizer, text string) ([]int, error) {
	t, err := token.Get(tokenizer)
	if err != nil {
		return nil, err
	}
	return t.Ends(text), nil
}

// busDepth is how many events may wait for delivery in the process.
const busDepth = 4096

func (s *service) wakeLane(l store.Lane, operationID string) { s.wake.Wake(string(l), operationID) }

// start runs hub, wake-ups and worker; ctx lends its values and not its end: stopWork, stopStreams and stopHub are
// their ends, in that order.
func (s *service) start(ctx context.Context) {
	base := context.WithoutCancel(ctx)
	var hubCtx, workCtx context.Context
	hubCtx, s.endHub = context.WithCancel(base)
	s.hubbing.Go(func() error { return s.hub.Run(hubCtx) })
	s.hubbing.Go(func() error { return s.webhooks.Run(hubCtx) })
	s.hubbing.Go(func() error { return collectSeldom(hubCtx) })
	workCtx, s.endWork = context.WithCancel(base)
	if s.workers > 0 {
		s.working.Go(func() error { return s.work.Run(workCtx) })
	}
	if s.redis != nil {
		// Its senders are the API as well, so it ends with the hub.
		s.hubbing.Go(func() error { return s.redis.Run(hubCtx) })
	}
}

// publish brings an event to those who watch, and has the webhooks told of an end soon.
func (s *service) publish(e event.Owned) {
	s.hub.Publish(e)
	if e.Event.Type.Terminal() {
		s.webhooks.Wake()
	}
}

func (s *service) stopWork() error {
	s.stopping.Store(true)
	s.endWork()
	return s.working.Wait()
}

func (s *service) stopStreams(ctx context.Context) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainStreams)
	defer cancel()
	return s.hub.Stop(limit)
}

func (s *service) stopHub() error {
	s.endHub()
	return s.hubbing.Wait()
}

// close ends the children, lets go of Redis and the database as far as they were opened, and ends the log.
func (s *service) close() error {
	defer s.logs.Close()
	s.cut.pool.Close()
	var err error
	if s.conns != nil {
		err = s.conns.Close()
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// ready is the answer of /readyz.
func (s *service) ready(ctx context.Context) api.Readiness {
	if s.stopping.Load() {
		return api.Readiness{Reasons: []string{"stopping: work is being handed over"}}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.db.Ping(ctx); err != nil {
		return api.Readiness{Reasons: []string{"the database does not answer"}}
	}
	r := api.Readiness{OK: true}
	if degraded, why := s.bus.Degraded(); degraded {
		r.Degraded, r.Reasons = true, []string{"Redis: " + why + "; events and wake-ups of other processes come by polling SQL"}
	}
	return r
}

func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// ended says for the hub which sessions are over.
func ended(ctx context.Context, db *store.Store, sessions []any) ([]bool, error) {
	all := make([]store.Standing, len(sessions))
	for i, one := range sessions {
		all[i] = one.(store.Standing) // as package api makes them
	}
	return db.Blocked(ctx, all)
}
