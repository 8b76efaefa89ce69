package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// chaos is one run: servers, processes, load, faults, and what was found wrong.
type chaos struct {
	cfg      config
	host     *host
	temp     string // where processes put temporary files
	began    time.Time
	database store.Config
	db       *sql.DB // past the proxy

	pg        *servertest.Postgres
	pgData    string // its folder
	sqlProxy  *servertest.Proxy
	redis     *servertest.Redis
	redisData string
	redProxy  *servertest.Proxy
	sentinels *sentinels // in place of the Redis and its proxy
	disk      *disk      // nil: the files of the run are with all others
	machines  *machines  // nil: everything is on one
	processes []*process
	owners    []string          // whose documents there are
	keys      map[string]string // by owner; empty where nobody needs one
	load      *load
	receiver  *receiver

	broken context.CancelFunc // a violation was found: no more faults

	mu         sync.Mutex
	log        *os.File
	violations []string
	hidden     int // violations beyond those kept
	tally      map[string]*count
	deaths     []death
	took       map[string][]time.Duration
	times      timeline
	done       atomic.Int64 // faults of processes
	holders    struct {     // who held anything at the last glance
		mu  sync.Mutex
		at  time.Time
		all map[string]bool
	}
	skew      time.Duration // of the database's clock, against this machine's
	slopes    []string      // of a soak
	told      int           // events given to watchers of everything
	anew      int           // of which operations had to be told anew, by a snapshot in the middle of a connection
	unsettled int           // database faults that are under way: a process may then fail to start
}

// count is how often a kind of fault was tried, and had an effect.
type count struct{ tried, bitten, redrawn int }

// death is a process that was killed, or asked to end and has, while it may have held operations.
type death struct {
	worker string
	at     time.Time
	asked  bool
}

// maxViolations is how many are kept: after the first hundred nobody reads on.
const maxViolations = 100

func newChaos(cfg config) (*chaos, error) {
	c := &chaos{cfg: cfg, began: time.Now(), tally: map[string]*count{}, took: map[string][]time.Duration{}, keys: map[string]string{}}
	c.host = &host{folder: cfg.folder, fail: c.violate}
	c.temp = filepath.Join(cfg.folder, "tmp")
	if err := os.MkdirAll(c.temp, 0o777); err != nil {
		return nil, err
	}
	var err error
	c.log, err = os.Create(filepath.Join(cfg.folder, "faults.jsonl"))
	return c, err
}

// violate notes a broken promise.
func (c *chaos) violate(format string, args ...any) {
	c.mu.Lock()
	if len(c.violations) < maxViolations {
		c.violations = append(c.violations, fmt.Sprintf(format, args...))
	} else {
		c.hidden++
	}
	broken := c.broken
	c.mu.Unlock()
	c.note(map[string]any{"violation": fmt.Sprintf(format, args...)})
	if broken != nil {
		broken()
	}
}

// note writes a line to the log of the run.
func (c *chaos) note(line map[string]any) {
	line["ms"] = time.Since(c.began).Milliseconds()
	b, err := json.Marshal(line)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		_, err = c.log.Write(append(b, '\n'))
	}
	if err != nil && len(c.violations) < maxViolations {
		c.violations = append(c.violations, "the log of faults cannot be written: "+err.Error())
	}
}

// disturbed follows the name of what was measured while something else was broken that may have held it up.
const disturbed = ", beside another fault"

// timed measures how long something took that began then and has ended now. The others are what may have held it up besides
// what may hold up everything.
func (c *chaos) timed(what string, began time.Time, others ...string) {
	now := time.Now()
	if !c.alone(began, now) || slices.ContainsFunc(others, func(o string) bool { return c.times.broken(o, began, now) }) {
		what += disturbed
	}
	c.measured(what, now.Sub(began))
}

func (c *chaos) measured(what string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took[what] = append(c.took[what], d)
}

// among has something done once all processes are ready, and ends everything afterwards. What is found is in violations.
func (c *chaos) among(ctx context.Context, do func(context.Context)) {
	defer func() {
		if f, ok := recover().(fatal); ok {
			c.violate("%s", string(f))
		}
		for _, p := range c.processes {
			p.kill()
		}
		if len(c.violations) > 0 {
			c.dump()
		}
		if c.db != nil {
			_ = c.db.Close()
		}
		c.host.end()
		_ = c.log.Close()
	}()
	looking, enough := context.WithCancel(ctx)
	var looks sync.WaitGroup
	looks.Go(func() { c.cores(looking) })
	defer looks.Wait()
	defer enough()
	if err := c.open(ctx); err != nil {
		c.violate("start: %v", err)
		return
	}
	for _, p := range c.processes {
		if err := c.up(ctx, p); err != nil {
			c.violate("start: %v", err)
			return
		}
	}
	do(ctx)
}

// play is a run with faults.
func (c *chaos) play(ctx context.Context) {
	c.load = newLoad(c)
	c.load.run(ctx, 2*c.cfg.flows) // warm-up: what pools and caches keep is no leak
	baseline := c.rest(ctx)
	c.clockBites(ctx)
	if c.cfg.outage > 0 {
		c.withoutRedis(ctx)
	}

	faulty, broken := context.WithCancel(ctx)
	defer broken()
	if c.cfg.duration > 0 {
		faulty, broken = context.WithTimeout(faulty, c.cfg.duration)
		defer broken()
	}
	c.mu.Lock()
	c.broken = broken
	failed := len(c.violations) > 0
	c.mu.Unlock()
	if failed {
		return
	}
	if c.cfg.soak > 0 {
		rate := c.load.peak(ctx) * soakShare
		c.load.pace(rate)
		c.note(map[string]any{"documents a second": rate})
	}
	c.load.start(ctx)
	if c.cfg.soak > 0 {
		during, end := context.WithTimeout(faulty, c.cfg.soak)
		c.soak(during)
		end()
	} else {
		c.inflict(faulty)
	}
	c.insist(ctx, c.doer)
	for _, p := range c.processes { // all that was killed is there again, all that was broken is whole
		if err := c.up(ctx, p); err != nil {
			c.violate("after the faults: %v", err)
			return
		}
	}
	c.load.finish(ctx)
	if ctx.Err() != nil {
		c.violate("interrupted")
		return
	}
	c.receiver.drain(ctx)
	c.empty(ctx)
	c.leftovers(ctx, baseline)
	c.stop(ctx)
	c.check(ctx)
}

// open starts the servers and describes the processes.
func (c *chaos) open(ctx context.Context) error {
	flags := []string{"--lease", c.cfg.lease.String(), "--poison-after", "1000000"} // an operation that is hit often is no poison
	if c.cfg.measure == "" {
		flags = append(flags, "--max-chunks", fmt.Sprint(maxChunks), "--max-output-mib", fmt.Sprint(maxOutputMiB))
	}
	driver, source := "pgx", ""
	here := "127.0.0.1" // where the database is found
	if c.cfg.machines {
		var err error
		if c.machines, err = newMachines(c); err != nil {
			return err
		}
		here = c.machines.database()
	}
	var err error
	if c.receiver, err = newReceiver(c); err != nil {
		return err
	}
	flags = append(flags, "--webhook-http", "--webhook-network", c.receiver.network, "--webhook-timeout", hookTimeout.String())
	folder := c.cfg.folder
	if c.cfg.disk {
		if c.disk, err = newDisk(c); err != nil {
			return err
		}
		folder = c.disk.path
		c.temp = filepath.Join(folder, "tmp")
		if err := os.MkdirAll(c.temp, 0o777); err != nil {
			return err
		}
	}
	switch c.cfg.store {
	case "postgres":
		c.pg = servertest.StartPostgres(c.host)
		source = c.pg.Database()
		c.database = store.Config{DatabaseURL: secret.New(source)}
		u, err := url.Parse(source)
		if err != nil {
			return err
		}
		c.sqlProxy = servertest.StartProxyAt(c.host, here, u.Host)
		u.Host = c.sqlProxy.Address
		if more := c.cfg.webs + c.cfg.workers; more > 8 { // what a start costs most is that Postgres forks a backend for each connection
			query := u.Query()
			query.Set("pool_max_conns", "4")
			u.RawQuery = query.Encode()
		}
		flags = append(flags, "--database", u.String())
		if err := c.setClock(ctx, source); err != nil {
			return err
		}
	default:
		data := filepath.Join(folder, "data")
		if err := os.MkdirAll(data, 0o700); err != nil {
			return err
		}
		c.database = store.Config{Path: filepath.Join(data, "chunkstream.db")}
		driver, source = "sqlite", "file:"+c.database.Path+"?_pragma=busy_timeout(5000)"
		flags = append(flags, "--data", data)
	}
	switch {
	case c.cfg.sentinel:
		var err error
		if c.sentinels, err = startSentinels(ctx, c); err != nil {
			return err
		}
		c.redis = &servertest.Redis{Address: c.sentinels.nodes[0].address}
		flags = append(flags, "--redis", c.sentinels.url())
	case c.cfg.redis:
		c.redisData = filepath.Join(c.cfg.folder, "redis")
		if err := os.MkdirAll(c.redisData, 0o755); err != nil {
			return err
		}
		c.redis = servertest.StartRedis(c.host, "--dir", c.redisData, "--appendonly", "yes", "--appendfsync", "everysec",
			"--logfile", filepath.Join(c.cfg.folder, "redis.log"))
		c.redProxy = servertest.StartProxy(c.host, c.redis.Address)
		flags = append(flags, "--redis", "redis://"+c.redProxy.Address)
	}
	web := []string{"--workers", "0"}
	if c.cfg.keyed() {
		web = append(web, "--access", "keys")
	}
	if c.cfg.limited() {
		web = append(web, "--rate-limit", "5000", "--rate-burst", "10000", "--replicas", fmt.Sprint(c.cfg.webs))
	}
	add := func(spared bool, name, command string, more ...string) error {
		p, err := newProcess(c, name, command, slices.Concat(more, flags)...)
		p.spared, p.works = spared, command == "worker"
		c.processes = append(c.processes, p)
		return err
	}
	switch {
	case c.cfg.store == "sqlite" && !c.cfg.redis: // one process is all there is
		if err = add(false, "serve", "serve", "--workers", "2"); err == nil {
			c.processes[0].works = true
		}
	default:
		for i := range c.cfg.webs {
			if err == nil {
				err = add(i == 0, fmt.Sprint("web", i+1), "serve", web...)
			}
		}
		for i := range c.cfg.workers {
			if err == nil {
				err = add(i == 0, fmt.Sprint("worker", i+1), "worker", "--workers", "1")
			}
		}
	}
	if err != nil {
		return err
	}
	// Migrations first, by one process alone: faults during them are another test's.
	if err := c.up(ctx, c.processes[0]); err != nil {
		return err
	}
	if c.db, err = sql.Open(driver, source); err != nil {
		return err
	}
	c.db.SetMaxOpenConns(8)
	if err := errors.Join(c.db.PingContext(ctx), c.invite(ctx)); err != nil || c.cfg.measure != "" {
		return err // what is measured is not to have deliveries beside it
	}
	return c.receiver.subscribe(ctx)
}

// up has a process run and be ready, however often it must be started again while the database is away.
func (c *chaos) up(ctx context.Context, p *process, env ...string) error {
	began := time.Now()
	for ctx.Err() == nil {
		if !p.running() {
			if err := p.start(env...); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		_, exited := p.state()
		for {
			if s, _, err := p.readiness(ctx); err == nil && (s == "ready" || s == "degraded") {
				c.times.end(p.name)
				return nil
			}
			select {
			case <-exited:
			default:
				if time.Since(began) > c.cfg.patience {
					return fmt.Errorf("%s was not ready within %v%s", p.name, c.cfg.patience, c.network(p))
				}
				if !pause(ctx, 3*time.Millisecond) {
					return ctx.Err()
				}
				continue
			}
			break
		}
		how, _ := p.end(0)
		if len(env) > 0 && how.Signaled() {
			return nil // killed by the crash point before it was ready
		}
		if how.ExitStatus() != exitUnreachable && !(c.databaseAway() && how.Exited()) {
			return fmt.Errorf("%s ended with %v while it started: see %s", p.name, describe(how), p.log)
		}
		if time.Since(began) > c.cfg.patience {
			return fmt.Errorf("%s could not be started within %v", p.name, c.cfg.patience)
		}
		if !pause(ctx, 50*time.Millisecond) {
			break
		}
	}
	return ctx.Err()
}

func (c *chaos) databaseAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unsettled > 0
}

// stop asks every process to end, and all must do so in order.
func (c *chaos) stop(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range c.processes {
		all.Go(func() {
			p.expect()
			began := time.Now()
			if err := p.signal(15); err != nil {
				c.violate("%s was not there to be stopped at the end: %v", p.name, err)
				return
			}
			how, ok := p.end(30 * time.Second)
			switch {
			case !ok:
				c.violate("%s had not ended 30 s after SIGTERM", p.name)
			case how.ExitStatus() != 0:
				c.violate("%s ended with %s after SIGTERM, want 0", p.name, describe(how))
			}
			c.timed(termEnded, began)
		})
	}
	all.Wait()
}

// dump keeps what is needed to look into a failure.
func (c *chaos) dump() {
	if c.pg == nil {
		return // the file is in the folder
	}
	if err := c.pg.Dump(c.database.DatabaseURL.Reveal(), filepath.Join(c.cfg.folder, "database.sql")); err != nil {
		c.note(map[string]any{"dump": err.Error()})
	}
}

// seemsToHold reports whether a worker held anything a moment ago. However many ask, the database is asked once a glance.
func (c *chaos) seemsToHold(ctx context.Context, worker string) bool {
	c.holders.mu.Lock()
	defer c.holders.mu.Unlock()
	if time.Since(c.holders.at) < glance {
		return c.holders.all[worker]
	}
	c.holders.at, c.holders.all = time.Now(), map[string]bool{}
	rows, err := c.db.QueryContext(ctx, `SELECT DISTINCT worker FROM operations WHERE status = 'processing'`)
	if err != nil {
		return false // the database is away
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return false
		}
		c.holders.all[name] = true
	}
	return rows.Err() == nil && c.holders.all[worker]
}

// holds are the operations that a worker holds now, and their epochs.
func (c *chaos) holds(ctx context.Context, worker string) (map[string]int64, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT id, epoch FROM operations WHERE status = 'processing' AND worker = $1`, worker)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	held := map[string]int64{}
	for rows.Next() {
		var id string
		var epoch int64
		if err := rows.Scan(&id, &epoch); err != nil {
			return nil, err
		}
		held[id] = epoch
	}
	return held, rows.Err()
}

// moved is one of held that somebody else has claimed since, or "".
func (c *chaos) moved(ctx context.Context, held map[string]int64) string {
	var is []string
	var args []any
	for id, epoch := range held {
		args = append(args, id, epoch)
		is = append(is, fmt.Sprintf("id = $%d AND epoch > $%d", len(args)-1, len(args)))
	}
	var id string
	err := c.db.QueryRowContext(ctx, `SELECT id FROM operations WHERE `+strings.Join(is, " OR ")+` LIMIT 1`, args...).Scan(&id)
	if err != nil {
		return "" // none, or the database is away
	}
	return id
}

func describe(how syscall.WaitStatus) string {
	if how.Signaled() {
		return "signal " + how.Signal().String()
	}
	return fmt.Sprintf("exit code %d", how.ExitStatus())
}
