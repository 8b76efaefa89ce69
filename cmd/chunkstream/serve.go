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
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/extract"
	"chunkstream/redisconn"
	"chunkstream/store"
)

//go:embed sample.md
var sampleText string

type serveCmd struct {
	backing
	access
	limitFlags
	ownerLimits
	encryption
	proxyFlags
	adminFlags
	Listen string `default:"127.0.0.1:8484" help:"Address to listen on. Anything but loopback needs access control: see --access."`
	Open   bool   `help:"Open the browser."`

	proxies []netip.Prefix // of proxyFlags

	out io.Writer // where the addresses are printed; nil means standard output
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context) (err error) {
	began := time.Now()
	if c.out == nil {
		c.out = os.Stdout
	}
	if err := c.backing.check(); err != nil {
		return err
	}
	local, err := loopback(c.Listen)
	if err != nil {
		return err
	}
	jwt, err := c.access.check()
	if err != nil {
		return err
	}
	if err := c.ownerLimits.check(); err != nil {
		return err
	}
	c.streams = c.MaxStreams
	encryption, err := c.encryption.config()
	if err != nil {
		return err
	}
	if c.proxies, err = c.prefixes(); err != nil {
		return err
	}
	s, err := c.backing.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	gate, firstKey, err := c.gate(ctx, s.db, c.Listen, local, jwt, s.log)
	if err != nil {
		return err
	}
	profiler, err := c.adminFlags.open(s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profiler.stop()) }()
	listener, err := listen(c.Listen, s.registry)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("listen on %s: %w", c.Listen, err),
			"another address, such as --listen 127.0.0.1:0 for a free port"}
	}
	return c.serve(ctx, s, encrypt(listener, encryption), gate, local, firstKey, profiler, began)
}

// serve is the one place where everything is started and stopped.
//
// Start: database and Redis were opened by Run, which also closes them; then hub, worker, listener. Stop, senders before receivers: readiness says no and the
// worker stops claiming and gives back what it holds; then the streams are told (1001), so that clients reconnect
// elsewhere having seen the hand-over; then requests in flight end; then the hub's own loops; last Redis and the
// database, which everything stood on.
func (c *serveCmd) serve(ctx context.Context, s *service, listener net.Listener, gate *auth.Gate, loopback bool, firstKey string, profiler *admin, began time.Time) error {
	var sample atomic.Value
	var commands *redisconn.Commands
	if s.conns != nil {
		commands = s.conns.Commands
	}
	limiter, err := c.limiter(commands)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	policy, err := c.webhookFlags.policy()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	handler, err := api.New(api.Config{
		Store: s.db, Hub: s.hub, Wake: s.wakeLane, Reserve: s.work.Reserve, Publish: s.publish, Webhooks: policy, Limits: c.limits(), Limit: limiter, MaxStored: c.MaxStored, Gate: gate, Loopback: loopback, Proxies: c.proxies,
		Version: version(), Metrics: s.registry, Parse: parser.Parse, Tokens: tokenEnds, Log: s.log, Ready: s.ready,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if c.Database.Empty() { // nobody wants a sample in a database that they look after
		// Before the first request can be answered, so that nobody ever sees an empty list.
		if id, err := addSample(ctx, s.db, s.wakeLane, s.publish); err != nil {
			s.log.Warn("the sample document could not be added", "error", err)
		} else {
			sample.Store(id)
		}
	}
	s.start(ctx)
	server := api.Server(handler, s.log)
	var serving errgroup.Group
	failed := make(chan struct{})
	fail := sync.OnceFunc(func() { close(failed) })
	serving.Go(func() error { return serveHTTP(server, listener, fail) })
	profiler.serve(fail)
	c.announce(listener.Addr(), loopback && !gate.Keyed(), firstKey, began, sample.Load())
	giveBack()

	select {
	case <-ctx.Done():
	case <-failed:
	}
	s.log.Info("stopping: handing over, then closing streams and requests")
	err = s.stopWork()
	err = errors.Join(err, s.stopStreams(ctx))
	handler.Drain()
	err = errors.Join(err, shutDown(ctx, server, s.log), serving.Wait())
	return errors.Join(err, s.stopHub())
}

// serveHTTP serves until the server is shut down; failed is called when it ends otherwise.
func serveHTTP(server *http.Server, listener net.Listener, failed func()) error {
	err := server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	failed()
	return fmt.Errorf("serve http: %w", err)
}

// shutDown gives requests in flight drainRequests to end and then cuts them off.
func shutDown(ctx context.Context, server *http.Server, log *slog.Logger) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainRequests)
	defer cancel()
	err := server.Shutdown(limit)
	if err == nil {
		return nil
	}
	log.Warn("requests were still running and have been cut off", "error", err)
	return server.Close()
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
func (c *serveCmd) announce(addr net.Addr, open bool, firstKey string, began time.Time, sample any) {
	at := reachable(addr)
	mode := "embedded mode (no Redis, no Postgres needed)"
	if !c.Database.Empty() || !c.Redis.Empty() {
		mode = c.standsOn()
	}
	s := ""
	if c.TLSCert != "" {
		s = "s"
	}
	type branch struct{ name, what string }
	branches := []branch{
		{"open", "http" + s + "://" + at},
		{"API", fmt.Sprintf("http%s://%s/v1      docs http%s://%s/docs", s, at, s, at)},
		{"live", fmt.Sprintf("ws%s://%s/v1/ws     SSE  http%s://%s/v1/events", s, at, s, at)},
		{"metrics", fmt.Sprintf("http%s://%s/metrics", s, at)},
	}
	if id, ok := sample.(string); ok && id != "" {
		branches = append(branches, branch{"sample", fmt.Sprintf("http%s://%s/operations/%s", s, at, id)})
	}
	work := fmt.Sprintf("%d large and %d small operations at once", c.Workers, smallSlots*c.Workers)
	if c.Database.Empty() {
		work = fmt.Sprintf("%s  (%s)", c.Data, work)
		branches = append(branches, branch{"data", work})
	} else {
		branches = append(branches, branch{"work", work})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  chunkstream %s · %s\n\n", version(), mode)
	for i, one := range branches {
		twig := "├─"
		if i == len(branches)-1 {
			twig = "└─"
		}
		fmt.Fprintf(&b, "  %s %-10s %s\n", twig, one.name, one.what)
	}
	b.WriteString("\n")
	if open {
		b.WriteString("  Loopback only, so no key is asked. To serve a network:\n    chunkstream serve --access keys --listen :8484\n")
	}
	if firstKey != "" {
		fmt.Fprintf(&b, "  admin     %s\n            This administrator's key is shown this once. Make others with it, or with: chunkstream keys create\n\n", firstKey)
	}
	fmt.Fprintf(&b, "  Ready in %d ms. Press Ctrl-C to stop.\n", time.Since(began).Milliseconds())
	fmt.Fprint(c.out, b.String())
	if c.Open {
		openBrowser("http" + s + "://" + at)
	}
}

// reachable is an address that can be clicked: where every interface is listened on, this machine's name for itself.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}

// openBrowser starts the desktop's browser and does not wait for it; without a desktop nothing happens.
func openBrowser(url string) {
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	cmd := exec.Command(name, url)
	if cmd.Start() == nil {
		_ = cmd.Process.Release() // it is the desktop's from here on
	}
}
