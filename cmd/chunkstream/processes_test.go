package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// fleet is two web processes and three workers on one Postgres, and a Redis between them that a test may break.
type fleet struct {
	t        *testing.T
	database string
	redis    *servertest.Redis
	proxy    *servertest.Proxy
	webs     []*server
	workers  []*server
	flags    []string
	env      []string
}

// encrypted is where a Redis speaks TLS, and whom to trust for it.
type encrypted struct{ address, certificate string }

// startFleet starts the processes. Redis is reached through the proxy; whether it runs is the caller's.
func startFleet(t *testing.T, database string, redis *servertest.Redis, over ...encrypted) *fleet {
	t.Helper()
	f := &fleet{t: t, database: database, redis: redis, flags: []string{"--database", database, "--lease", "2s"}}
	if redis != nil {
		target, scheme := redis.Address, "redis://"
		for _, e := range over {
			target, scheme = e.address, "rediss://"
			f.env = append(f.env, "SSL_CERT_FILE="+e.certificate)
		}
		f.proxy = servertest.StartProxy(t, target)
		f.flags = append(f.flags, "--redis", scheme+f.proxy.Address)
	}
	for range 2 {
		f.webs = append(f.webs, f.web())
	}
	for range 3 {
		f.workers = append(f.workers, f.worker())
	}
	for _, s := range append(slices.Clone(f.webs), f.workers...) {
		s.ready()
	}
	return f
}

func (f *fleet) web() *server {
	return startProcess(f.t, "serve", servertest.FreeAddress(f.t), f.env, append(slices.Clone(f.flags), "--workers", "0")...)
}

func (f *fleet) worker() *server {
	return startProcess(f.t, "worker", servertest.FreeAddress(f.t), f.env, f.flags...)
}

func (f *fleet) addresses() []string {
	var all []string
	for _, w := range f.webs {
		all = append(all, w.address)
	}
	return all
}

// readiness reads a process's /readyz.
func readinessOf(t testing.TB, s *server) (status string, reasons string) {
	t.Helper()
	resp, err := http.Get("http://" + s.address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var h struct {
		Status  string
		Reasons []string
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		t.Fatal(err)
	}
	return h.Status, strings.Join(h.Reasons, "; ")
}

// becomes waits until every process says that it is in a state, for a reason that names what.
func (f *fleet) becomes(status, what string, within time.Duration) {
	f.t.Helper()
	began := time.Now()
	for _, s := range append(slices.Clone(f.webs), f.workers...) {
		for {
			got, why := readinessOf(f.t, s)
			if got == status && (what == "" || strings.Contains(why, what)) {
				break
			}
			if time.Since(began) > within {
				f.t.Errorf("%s says %s (%s) after %v, want %s because of %s", s.address, got, why, time.Since(began), status, what)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	f.t.Logf("%s everywhere after %v", status, time.Since(began).Round(10*time.Millisecond))
}

// TestRedisFaults is the design's promise row by row: whatever happens to Redis, every submission is accepted, every
// operation ends, every watcher sees all of it, and nobody is restarted.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	pg := servertest.StartPostgres(t)
	const settle = 8 * time.Second // what a busy machine may need; the figures are in the log
	for _, c := range []struct {
		name   string
		tls    bool
		before func(f *servertest.Redis)
		fault  func(f *fleet)
		heal   func(f *fleet) // nil: it stays as it is
	}{
		{name: "healthy"},
		{
			name:   "absent all the time",
			before: (*servertest.Redis).Kill,
			fault:  func(f *fleet) { f.becomes("degraded", "Redis", settle) },
		},
		{
			name:   "down at the start",
			before: (*servertest.Redis).Kill,
			fault:  func(f *fleet) { f.becomes("degraded", "Redis", settle) },
			heal:   func(f *fleet) { f.redis.Start(); f.becomes("ready", "", settle) },
		},
		{
			name:  "killed and restarted empty",
			fault: func(f *fleet) { f.redis.Kill(); f.becomes("degraded", "Redis", settle) },
			heal:  func(f *fleet) { f.redis.Start(); f.becomes("ready", "", settle) },
		},
		{
			name: "flushed again and again",
			fault: func(f *fleet) {
				for range 20 {
					if got, err := f.redis.Do("FLUSHALL"); err != nil {
						f.t.Errorf("flush: %s, %v", got, err)
					}
					time.Sleep(50 * time.Millisecond)
				}
			},
		},
		{
			name:  "slow",
			fault: func(f *fleet) { f.proxy.Delay(500 * time.Millisecond); time.Sleep(2 * time.Second) },
			heal:  func(f *fleet) { f.proxy.Delay(0); f.becomes("ready", "", settle) },
		},
		{
			name:  "a black hole",
			fault: func(f *fleet) { f.proxy.Deafen(); f.becomes("degraded", "Redis", settle) },
			heal:  func(f *fleet) { f.proxy.Hear(); f.becomes("ready", "", settle) },
		},
		{
			name:  "frozen",
			fault: func(f *fleet) { f.redis.Freeze(); f.becomes("degraded", "Redis", settle) },
			heal:  func(f *fleet) { f.redis.Thaw(); f.becomes("ready", "", settle) },
		},
		{
			name: "full",
			fault: func(f *fleet) {
				f.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
				f.do("CONFIG", "SET", "maxmemory", "1")
				time.Sleep(2 * time.Second)
			},
			heal: func(f *fleet) { f.do("CONFIG", "SET", "maxmemory", "0"); f.becomes("ready", "", settle) },
		},
		{
			name: "over TLS, killed, then a black hole", tls: true,
			fault: func(f *fleet) {
				f.redis.Kill()
				f.becomes("degraded", "Redis", settle)
				f.redis.Start()
				f.becomes("ready", "", settle)
				f.proxy.Deafen()
				f.becomes("degraded", "Redis", settle)
			},
			heal: func(f *fleet) { f.proxy.Hear(); f.becomes("ready", "", settle) },
		},
	} {
		if !allFaults && !slices.Contains(quickFaults, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			var redis *servertest.Redis
			var over []encrypted
			if c.tls {
				address := servertest.FreeAddress(t)
				_, port, _ := net.SplitHostPort(address)
				certificate, key := servertest.Certificate(t)
				redis = servertest.StartRedis(t, servertest.TLS(port, certificate, key)...)
				over = append(over, encrypted{address, certificate})
			} else {
				redis = servertest.StartRedis(t)
			}
			if c.before != nil {
				c.before(redis)
			}
			url := pg.Database()
			f := startFleet(t, url, redis, over...)
			l := newFlight(t, rand.New(rand.NewPCG(1, 1)), store.Config{DatabaseURL: secret.New(url)}, f.addresses()...)
			l.start()
			time.Sleep(500 * time.Millisecond)
			if c.fault != nil {
				c.fault(f)
			}
			if c.heal != nil {
				c.heal(f)
			}
			time.Sleep(500 * time.Millisecond)
			l.finish()
			f.stopWorkers()
			f.webs[1].stop()
			l.check(f.webs[0])
		})
	}
}

// quickFaults are those that ./test runs; ./test all runs every one.
var quickFaults = []string{"absent all the time", "killed and restarted empty"}

func (f *fleet) do(words ...string) {
	f.t.Helper()
	if got, err := f.redis.Do(words...); err != nil || got != "+OK" {
		f.t.Errorf("%v: %s, %v", words, got, err)
	}
}

func (f *fleet) stopWorkers() {
	for _, w := range f.workers {
		w.stop()
	}
}

// TestWithoutRedis: several processes need none; they meet in SQL.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	url := servertest.StartPostgres(t).Database()
	f := startFleet(t, url, nil)
	f.becomes("ready", "", time.Second)
	l := newFlight(t, rand.New(rand.NewPCG(3, 3)), store.Config{DatabaseURL: secret.New(url)}, f.addresses()...)
	l.start()
	time.Sleep(time.Second)
	l.finish()
	f.stopWorkers()
	f.webs[1].stop()
	l.check(f.webs[0])
}

// TestDatabaseIsSlowThenAway: a start waits for a first connection longer than a call may later, and the process's own
// numbers are there when the database is not, and say so.
func TestDatabaseIsSlowThenAway(t *testing.T) {
	t.Parallel()
	pg := servertest.StartPostgres(t)
	at, err := url.Parse(pg.Database())
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, servertest.FreeAddress(t), t.TempDir(), nil, "--database", at.String()).ready().stop() // the tables are there
	proxy := servertest.StartProxy(t, at.Host)
	proxy.Delay(520 * time.Millisecond) // over 1 s there and back, where a call waits 1 s for a connection
	at.Host = proxy.Address
	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil, "--database", at.String()).started()
	proxy.Delay(0)
	s.ready()
	shows := func(state string, there, gone []string) {
		t.Helper()
		resp, err := http.Get("http://" + s.address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: /metrics says %s, %v\n%s", state, resp.Status, err, text)
		}
		for _, want := range there {
			if !strings.Contains(string(text), "\n"+want) {
				t.Errorf("%s: no %s", state, want)
			}
		}
		for _, name := range gone {
			if strings.Contains(string(text), "\n"+name) {
				t.Errorf("%s: %s is there", state, name)
			}
		}
	}
	own := []string{"chunkstream_worker_running 0", "chunkstream_ws_connections 0", "chunkstream_http_requests_total{"}
	stored := []string{"chunkstream_queue_depth", "chunkstream_dead_letters_poison", "chunkstream_queue_oldest_age_seconds"}
	shows("with the database", slices.Concat(own, stored, []string{"chunkstream_database_up 1"}), nil)
	pg.Kill()
	shows("without it", append(own, "chunkstream_database_up 0"), stored)
	pg.Start()
	s.ready()
	shows("with it again", slices.Concat(own, stored, []string{"chunkstream_database_up 1"}), nil)
	s.stop()
}

// TestRollingRestart replaces every process, one after the other, under load: no submission is refused, nothing is
// lost.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	pg, redis := servertest.StartPostgres(t), servertest.StartRedis(t)
	url := pg.Database()
	f := startFleet(t, url, redis)
	l := newFlight(t, rand.New(rand.NewPCG(2, 2)), store.Config{DatabaseURL: secret.New(url)}, f.addresses()...)
	l.start()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range f.workers {
		f.workers[i].stop()
		f.workers[i] = f.worker().ready()
	}
	for i, w := range f.webs {
		w.signal(syscall.SIGTERM)
		select {
		case <-w.exited:
		case <-ctx.Done():
			t.Fatal("a web process did not end")
		}
		f.webs[i] = startProcess(t, "serve", w.address, nil, append(slices.Clone(f.flags), "--workers", "0")...).ready()
	}
	l.finish()
	f.stopWorkers()
	f.webs[1].stop()
	l.check(f.webs[0])
}
