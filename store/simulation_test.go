//go:build !race

package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modernc.org/sqlite"

	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/store"
	"chunkstream/worker"
)

// The simulation has workers, hubs and watchers live through an hour of a clock of their own, with parses that take longer
// than a lease, workers that hear nothing of the database for longer than that and then go on, and events that are lost,
// repeated and late. What it draws comes from a seed. The database is SQLite, whose clock is the simulation's.

const (
	simLease      = 5 * time.Second
	simOperations = 12
)

// simulatedSQLite is the driver that knows the simulation's clock.
var simulatedSQLite = sync.OnceValues(func() (driver.Driver, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	err = sqlite.RegisterScalarFunction("simulated_now", 0, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		return time.Now().UnixMilli(), nil
	})
	return db.Driver(), errors.Join(err, db.Close())
})

// gate lets calls to the database through, or has them wait.
type gate struct{ until atomic.Int64 }

func (g *gate) close(d time.Duration) { g.until.Store(time.Now().Add(d).UnixNano()) }

func (g *gate) pass() {
	for d := g.until.Load() - time.Now().UnixNano(); d > 0; d = g.until.Load() - time.Now().UnixNano() {
		time.Sleep(time.Duration(d))
	}
}

// simDriver is SQLite's driver with the simulation's clock, and a gate that is passed outside transactions: one who waits
// holds no lock.
type simDriver struct {
	driver.Driver
	gate *gate
}

func (d simDriver) Open(name string) (driver.Conn, error) {
	conn, err := d.Driver.Open(name)
	if err != nil {
		return nil, err
	}
	return &simConn{simmedConn: conn.(simmedConn), gate: d.gate}, nil
}

type simmedConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
}

type simConn struct {
	simmedConn
	gate *gate
	in   bool // a transaction
}

func simulated(q string) string {
	return strings.ReplaceAll(q, `CAST(unixepoch('subsec') * 1000 AS INTEGER)`, `simulated_now()`)
}

func (c *simConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	st, err := c.simmedConn.PrepareContext(ctx, simulated(q))
	if err != nil {
		return nil, err
	}
	return simStmt{st, c, q}, nil
}

func (c *simConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return c.simmedConn.ExecContext(ctx, simulated(q), args)
}

func (c *simConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	return c.simmedConn.QueryContext(ctx, simulated(q), args)
}

type simStmt struct {
	driver.Stmt
	conn *simConn
	text string
}

func (s simStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if !s.conn.in {
		s.conn.gate.pass()
	}
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	switch {
	case err == nil && strings.HasPrefix(s.text, "BEGIN"):
		s.conn.in = true
	case s.text == "COMMIT" || s.text == "ROLLBACK":
		s.conn.in = false
		s.conn.gate.pass() // it is done, and the one who asked hears of it late
	}
	return r, err
}

func (s simStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if !s.conn.in {
		s.conn.gate.pass()
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// page is where a stream of Server-Sent Events is written to.
type page struct {
	http.ResponseWriter
	mu   sync.Mutex
	text bytes.Buffer
	code int
}

func (p *page) Header() http.Header { return http.Header{} }

func (p *page) WriteHeader(code int) { p.code = code }

func (p *page) Flush() {}

func (p *page) SetWriteDeadline(time.Time) error { return nil }

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

// simulation is one run.
type simulation struct {
	t     *testing.T
	path  string
	whole *store.Store
	hubs  []*live.Hub
	calm  bool         // nothing goes wrong
	taken atomic.Int64 // operations that changed hands
	mu    sync.Mutex
	rng   *rand.Rand
}

func (s *simulation) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *simulation) time(most time.Duration) time.Duration { return time.Duration(s.n(int(most))) }

// open opens the database behind a gate.
func (s *simulation) open(g *gate) *store.Store {
	name := fmt.Sprint("sqlite-simulated-", drivers.Add(1))
	base, err := simulatedSQLite()
	if err != nil {
		s.t.Fatal(err)
	}
	sql.Register(name, simDriver{base, g})
	db, err := store.OpenThrough(s.t.Context(), store.Config{Path: s.path, PoisonAfter: 1000}, name, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return db
}

// publish has each hub hear of an event, or not, or twice, or late.
func (s *simulation) publish(e event.Owned) {
	for _, h := range s.hubs {
		times := 1
		if !s.calm {
			times = []int{0, 1, 1, 1, 1, 2}[s.n(6)]
		}
		for range times {
			if !s.calm && s.n(5) == 0 {
				time.AfterFunc(s.time(3*time.Second), func() { h.Publish(e) })
				continue
			}
			h.Publish(e)
		}
	}
}

// split cuts as ever, and takes its time.
func (s *simulation) split(ctx context.Context, plan chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
	return func(yield func(chunk.Chunk, error) bool) {
		for c, err := range chunk.Guard(plan.Strategy, plan.Splitter, text) {
			timer := time.NewTimer(s.time(3 * simLease))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				yield(chunk.Chunk{}, ctx.Err())
				return
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// watch follows an operation to its end, from one hub and then another, and gives the numbers and the last type it saw.
func (s *simulation) watch(ctx context.Context, id string) (seen []int64, last event.Type) {
	for since := int64(0); ctx.Err() == nil && !last.Terminal(); {
		p := &page{}
		once, cancel := context.WithTimeout(ctx, time.Second+s.time(time.Minute))
		r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(once)
		err := s.hubs[s.n(len(s.hubs))].ServeOperationSSE(p, r, live.Viewer{Owner: owner}, id, since, true)
		cancel()
		if err != nil && once.Err() == nil {
			s.t.Errorf("watch: %v", err)
			return seen, last
		}
		for block := range strings.SplitSeq(p.text.String(), "\n\n") {
			var typ event.Type
			number := int64(0)
			for line := range strings.SplitSeq(block, "\n") {
				if v, ok := strings.CutPrefix(line, "id:"); ok {
					number, _ = strconv.ParseInt(strings.TrimSpace(v), 10, 64)
				}
				if v, ok := strings.CutPrefix(line, "event:"); ok {
					typ = event.Type(strings.TrimSpace(v))
				}
			}
			if typ == event.Resync {
				s.t.Errorf("%s: a watcher was told to start anew after %d", id, since)
			}
			if number > 0 {
				seen, since, last = append(seen, number), number, typ
			}
		}
	}
	return seen, last
}

func (s *simulation) run() {
	gates := []*gate{{}, {}, {}}
	quiet := &gate{}
	s.whole = s.open(quiet)
	var stores []*store.Store
	ctx, stop := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	for range 2 {
		h := live.NewHub(live.Source{
			Events: s.whole.Events,
			Snapshot: func(ctx context.Context, owner, id string) (event.Event, error) {
				op, err := s.whole.Operation(ctx, owner, id)
				return op.Snapshot(event.Snapshot, time.Now()), err
			},
			Active: func(context.Context, string) ([]event.Event, error) { return nil, nil },
			Heads: func(ctx context.Context, ids []string) (map[string]int64, error) {
				all, err := s.whole.Heads(ctx, ids)
				heads := map[string]int64{}
				for _, h := range all {
					heads[h.OperationID] = h.Seq
				}
				return heads, err
			},
			OwnerHeads: func(context.Context, string, time.Time) (map[string]int64, time.Time, error) {
				return nil, time.Now(), nil
			},
		}, live.Config{})
		s.hubs = append(s.hubs, h)
		running.Go(func() {
			if err := h.Run(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	never := make(chan struct{})
	for i, g := range gates {
		db := s.open(g)
		stores = append(stores, db)
		w, err := worker.New(worker.Config{Store: db, Publish: s.publish, Woken: func(store.Lane) <-chan struct{} { return never },
			Split: s.split, Name: fmt.Sprint("worker", i), SmallSlots: 2, Lease: simLease})
		if err != nil {
			s.t.Fatal(err)
		}
		running.Go(func() {
			if err := w.Run(ctx); err != nil {
				s.t.Error(err)
			}
		})
		if s.calm {
			continue
		}
		running.Go(func() {
			for ctx.Err() == nil {
				timer := time.NewTimer(s.time(2 * time.Minute))
				select {
				case <-timer.C:
					g.close(s.time(4 * simLease))
				case <-ctx.Done():
					timer.Stop()
				}
			}
			g.close(0)
		})
	}

	var clients sync.WaitGroup
	for i := range simOperations {
		clients.Go(func() {
			time.Sleep(s.time(30 * time.Minute))
			text := strings.Repeat(fmt.Sprintf("word%d ", i), 5+s.n(60))
			staged, err := s.whole.Stage(ctx, owner, strings.NewReader(text), 1<<20)
			if err != nil {
				s.t.Error(err)
				return
			}
			n := store.NewOperation{Owner: owner, Staged: staged, Strategy: "recursive", Settings: []byte(`{"chunk_size":40}`), SplitterVersion: chunk.Version}
			made, err := s.whole.Create(ctx, n)
			if err != nil {
				s.t.Error(err)
				return
			}
			s.publish(made.Event)
			id := made.Operation.ID
			var watching sync.WaitGroup
			for range 2 {
				watching.Go(func() {
					seen, last := s.watch(ctx, id)
					if !last.Terminal() {
						s.t.Errorf("%s: a watcher never saw its end: %v", id, seen)
					}
					for i, n := range seen {
						if n != int64(i)+1 {
							s.t.Errorf("%s: a watcher saw %v", id, seen)
							break
						}
					}
				})
			}
			cancelled := s.n(5) == 0
			if cancelled {
				time.Sleep(s.time(time.Minute))
				_, ev, err := s.whole.Cancel(ctx, owner, id)
				if err != nil {
					s.t.Error(err)
				}
				if ev != nil {
					s.publish(*ev)
				}
			}
			watching.Wait()
			op, err := s.whole.Operation(ctx, owner, id)
			if err != nil || !op.Status.Final() || !cancelled && op.Status != store.Completed {
				s.t.Errorf("%s: %+v, %v", id, op, err)
			}
			s.taken.Add(max(op.Attempt-1, 0))
			if s.calm && op.Attempt > 1 {
				s.t.Errorf("%s was claimed %d times although nobody was cut off: its lease did not hold through a long parse", id, op.Attempt)
			}
			if op.Status == store.Completed {
				s.chunks(op, text)
			}
		})
	}
	clients.Wait()
	stop()
	running.Wait()
	lines, err := s.whole.CheckInvariants(s.t.Context())
	if err != nil || len(lines) > 0 {
		s.t.Errorf("%v, %v", lines, err)
	}
	for _, db := range append(stores, s.whole) {
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// chunks compares what is stored with a run in which nothing goes wrong.
func (s *simulation) chunks(op store.Operation, text string) {
	plan, err := chunk.Parse(op.Strategy, op.Settings)
	if err != nil {
		s.t.Error(err)
		return
	}
	got, err := s.whole.Chunks(s.t.Context(), owner, op.ID, 0, 1000, 0)
	if err != nil {
		s.t.Error(err)
	}
	i := 0
	for c := range plan.Splitter.Split(text) {
		if i >= len(got) || got[i].StartByte != int64(c.Start) || got[i].EndByte != int64(c.End) {
			s.t.Errorf("%s: chunk %d is not [%d, %d)", op.ID, i, c.Start, c.End)
			return
		}
		i++
	}
	if i != len(got) {
		s.t.Errorf("%s: %d chunks, want %d", op.ID, len(got), i)
	}
}

// simulate reports whether something was to go wrong, and whether any operation was taken over.
func simulate(t *testing.T, seed uint64) (stormy, taken bool) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{t: t, path: filepath.Join(t.TempDir(), "a.db"), calm: seed%3 == 0, rng: rand.New(rand.NewPCG(seed, seed))}
		began := time.Now()
		s.run()
		t.Logf("seed %d: %v of the simulation's time, %d take-overs", seed, time.Since(began).Round(time.Second), s.taken.Load())
		stormy, taken = !s.calm, s.taken.Load() > 0
	})
	return stormy, taken
}

// TestSimulation: through hours in which workers are cut off for longer than their leases, every operation ends as it
// should, once, with the chunks of a run in which nothing goes wrong, and every watcher sees each of its events in order. In a
// third of them nobody is cut off, and no lease lapses however long a parse takes.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if _, err := simulatedSQLite(); err != nil { // outside of any simulation: it starts what stays
		t.Fatal(err)
	}
	storms, biting := 0, 0
	for seed := range simSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			stormy, taken := simulate(t, seed)
			if stormy {
				storms++
			}
			if stormy && taken {
				biting++
			}
		})
	}
	// A run in which each lapse is seen by the worker that had the lease before anybody else is rare, not wrong.
	if biting < storms-storms/20 {
		t.Errorf("in %d of %d runs in which workers were cut off nobody took over anything: what was to go wrong did not", storms-biting, storms)
	}
}
