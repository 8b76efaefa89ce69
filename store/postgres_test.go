package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chunkstream/secret"
	"chunkstream/store"
)

// server is a Postgres of the tests' own, reached by a socket in its folder alone.
type server struct {
	dir  string
	args []string
	cmd  *exec.Cmd
}

// servers are all that were started; stopServers ends them.
var servers struct {
	sync.Mutex
	all []*server
}

// shared is the server of the contract's tests. They stop it only in an orderly way, so it need not sync.
var shared = sync.OnceValues(func() (*server, error) { return newServer("fsync=off") })

// onPostgres gives a copy of a migrated database.
func onPostgres(t testing.TB) store.Config {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s.database(t)
}

var durable = sync.OnceValues(func() (*server, error) { return newServer("shared_buffers=256MB", "max_wal_size=4GB") })

func onDurablePostgres(t testing.TB) store.Config {
	t.Helper()
	s, err := durable()
	if err != nil {
		t.Fatal(err)
	}
	return s.database(t)
}

// newServer makes a cluster and starts it with the settings.
func newServer(settings ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	servers.Lock()
	servers.all = append(servers.all, s)
	servers.Unlock()
	if os.Getuid() == 0 { // Postgres refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	cmd, err := s.command("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C",
		"--pgdata="+filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	s.args = []string{"-D", filepath.Join(dir, "data"), "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=400"}
	for _, set := range settings {
		s.args = append(s.args, "-c", set)
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	if err := s.run(`CREATE DATABASE empty`); err != nil {
		return nil, err
	}
	empty, err := store.Open(context.Background(), store.Config{DatabaseURL: secret.New(s.url("empty"))})
	if err != nil {
		return nil, err
	}
	return s, empty.Close()
}

// command gives one of Postgres's programs, to run as the user postgres if this is root.
func (s *server) command(name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			return nil, fmt.Errorf("Postgres is not installed: no %s in PATH or /usr/lib/postgresql", name)
		}
		path = found[len(found)-1]
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	// Should this process be killed, an immediate shutdown of the server follows.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 {
		info, err := os.Stat(s.dir)
		if err != nil {
			return nil, err
		}
		st := info.Sys().(*syscall.Stat_t)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	}
	return cmd, nil
}

// start starts the server and waits until it answers. After a crash it may take a second try until the children of the
// one before are gone.
func (s *server) start() error {
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		cmd, err := s.command("postgres", s.args...)
		if err != nil {
			return errors.Join(err, log.Close())
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := errors.Join(cmd.Start(), log.Close()); err != nil {
			return err
		}
		s.cmd = cmd
		for cmd.Process.Signal(syscall.Signal(0)) == nil && time.Now().Before(end) {
			if last = s.run(`SELECT 1`); last == nil {
				return nil
			}
			time.Sleep(20 * time.Millisecond) // until a program outside this one is ready
			var status syscall.WaitStatus
			if pid, _ := syscall.Wait4(cmd.Process.Pid, &status, syscall.WNOHANG, nil); pid != 0 {
				break
			}
		}
	}
	out, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return fmt.Errorf("Postgres does not start: %w: %s", last, out)
}

// stop ends the server with a signal: SIGINT in order, SIGQUIT at once, SIGKILL without its knowing.
func (s *server) stop(signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Signal(signal)
	_, e := s.cmd.Process.Wait()
	s.cmd = nil
	return errors.Join(err, e)
}

func stopServers() error {
	servers.Lock()
	defer servers.Unlock()
	var errs []error
	for _, s := range servers.all {
		errs = append(errs, s.stop(syscall.SIGINT), os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func (s *server) url(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + s.dir
}

// run runs a statement on the database that every cluster has.
func (s *server) run(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, text)
	return errors.Join(err, conn.Close(ctx))
}

var databases atomic.Int64

func (s *server) database(t testing.TB) store.Config {
	t.Helper()
	name := fmt.Sprint("t", databases.Add(1))
	if err := s.run(`CREATE DATABASE ` + name + ` TEMPLATE empty`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.run(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return store.Config{DatabaseURL: secret.New(s.url(name))}
}

// TestPlans: with ten thousand operations that have ended, looking for work reads the partial indexes alone.
func TestPlans(t *testing.T) {
	t.Parallel()
	at := onPostgres(t)
	s := openAt(t, at)
	create(t, s, "text")
	direct(t, at, `
INSERT INTO operations (id, owner, document, name, status, lane, strategy, settings, splitter_version, retry_of, bytes_total,
                        seq, run_after, created_at, finished_at)
SELECT 'op_' || i, 'alice', (SELECT num FROM documents), '', 'completed', 'small', 'r', '{}', 'v1', '', 0, 1, 1, 1, 1
  FROM generate_series(1, 10000) AS i`, `ANALYZE`)
	want := map[string]string{"claim": "operations_due", "sweep": "operations_leased", "look, sweep": "operations_leased",
		"owner's live": "operations_live", "turns": "operations_turns", "load": "operations_", "over": "operations_kept",
		"dead letters": "operations_dead"}
	for name, plan := range s.Plans(t) {
		if !strings.Contains(plan, want[name]) || strings.Contains(plan, "Seq Scan on operations") {
			t.Errorf("%s does not use %s:\n%s", name, want[name], plan)
		}
	}
	// With ten thousand queued by one owner, the next owner's turn is found without looking at them.
	s.Copy(t, submit(t, s, "many", "text").ID, 10_000)
	direct(t, at, `ANALYZE`)
	for name, plan := range s.Plans(t) {
		if (name == "turns" || name == "claim") && (!strings.Contains(plan, want[name]) || strings.Contains(plan, "Seq Scan on operations") || strings.Contains(plan, "Sort Key: q.")) {
			t.Errorf("with many queued, %s does not use %s alone:\n%s", name, want[name], plan)
		}
	}
}

// direct runs statements on a connection of its own.
func direct(t testing.TB, at store.Config, texts ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at.DatabaseURL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTransactionsTogether lets creations and ends of runs, good and bad ones, come at the same time: they share
// transactions, and each has its own outcome.
func TestTransactionsTogether(t *testing.T) {
	t.Parallel()
	s := openAt(t, onPostgres(t))
	make := func(text, key, hash string) (store.Created, error) {
		st, err := s.Stage(t.Context(), owner, strings.NewReader(text), 1000)
		if err != nil {
			return store.Created{}, err
		}
		return s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r", Settings: []byte("{}"),
			SplitterVersion: version, IdempotencyKey: key, RequestHash: hash, Take: &store.Take{Worker: "w", Lease: lease}})
	}
	ended, err := make("ended", "key", "hash")
	if err != nil {
		t.Fatal(err)
	}
	complete(t, ended.Run, "ended")
	zombie := s.ForgedRun(t, ended.Operation.ID)
	together := func(n int, one func(i int)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { one(i) })
		}
		wg.Wait()
	}
	const good, bad = 200, 20
	runs := [good]*store.Run{}
	together(good, func(i int) {
		made, err := make(fmt.Sprint("text ", i), "", "")
		if err != nil {
			t.Error(err)
		}
		runs[i] = made.Run
	})
	if n := s.Transactions(t, "documents"); n >= good {
		t.Errorf("%d documents came in %d transactions", good, n)
	}
	together(good+bad, func(i int) {
		if i >= good {
			if _, err := zombie.Commit(t.Context(), store.Batch{Last: true}); !errors.Is(err, store.ErrFenced) {
				t.Errorf("a zombie's commit: %v", err)
			}
			if _, err := make("other", "key", "other hash"); !errors.Is(err, store.ErrKeyReused) {
				t.Errorf("a key used twice: %v", err)
			}
			return
		}
		text := fmt.Sprint("text ", i)
		if _, err := runs[i].Commit(t.Context(), store.Batch{Chunks: cut(0, text, 10), BytesDone: int64(len(text)), Last: true}); err != nil {
			t.Error(err)
		}
		if _, err := make("one text", fmt.Sprint(i%7), ""); err != nil {
			t.Error(err)
		}
	})
	if n := s.CountRows(t, "operations"); n != 1+good+7 {
		t.Errorf("%d operations, want %d", n, 1+good+7)
	}
	sound(t, s, false)
}

// TestManyProcessesMigrateAtOnce opens an empty database from several sides.
func TestManyProcessesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	at := onPostgres(t)
	direct(t, at, `DROP SCHEMA public CASCADE`, `CREATE SCHEMA public`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(context.Background(), at)
			if err != nil {
				t.Error(err)
				return
			}
			if info, err := s.Info(context.Background()); err != nil || info.Migration < 1 {
				t.Errorf("%+v, %v", info, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestNoFreeConnection: a call that finds all connections taken fails within about a second and changes nothing.
func TestNoFreeConnection(t *testing.T) {
	t.Parallel()
	at := onPostgres(t)
	at.Connections = 2
	s := openAt(t, at)
	st := stage(t, s, "text")
	release := s.HoldWriter(t)
	began := time.Now()
	_, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r", Settings: []byte("{}"),
		SplitterVersion: version})
	if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || took < time.Second/2 || took > 3*time.Second {
		t.Errorf("create: %v after %v, want ErrUnavailable after a second", err, took)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("ping: %v, want ErrUnavailable", err)
	}
	release()
	create(t, s, "text")
	if n := s.CountRows(t, "operations"); n != 1 {
		t.Errorf("%d operations, want 1", n)
	}
}

// TestLimits: every connection has the limits, unless the URL sets its own, and a lock that is not given in time is an
// error that says so.
func TestLimits(t *testing.T) {
	t.Parallel()
	at := onPostgres(t)
	at.DatabaseURL = secret.New(at.DatabaseURL.Reveal() + "&lock_timeout=100ms&application_name=mine")
	s := openAt(t, at)
	for name, want := range map[string]string{"statement_timeout": "5s", "lock_timeout": "100ms",
		"idle_in_transaction_session_timeout": "4s", "application_name": "mine",
		"default_transaction_isolation": "read committed"} {
		if got := s.Setting(t, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	op := create(t, s, "text")
	conn, err := pgx.Connect(t.Context(), at.DatabaseURL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `BEGIN; SELECT * FROM operations FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if r := claim(t, s, store.Small); r != nil {
		t.Errorf("claimed %s, which somebody else holds", r.Operation.ID)
	}
	if _, _, err := s.Cancel(t.Context(), owner, op.ID); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("cancel of what somebody else holds: %v, want ErrUnavailable", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	// The server lets go of the row when it has seen that the connection is closed.
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, _, err := s.Cancel(t.Context(), owner, op.ID)
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	sound(t, s, true)
}

// TestReapersPass: a document that another reaper holds is left to it; nobody waits for its lock, and what is over goes meanwhile.
func TestReapersPass(t *testing.T) {
	t.Parallel()
	at := onPostgres(t)
	at.Keep = store.Keep{Completed: time.Millisecond}
	s := openAt(t, at)
	for _, text := range []string{"older", "newer"} {
		op := create(t, s, text)
		if _, _, err := s.Cancel(t.Context(), owner, op.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteDocument(t.Context(), owner, op.DocumentID); err != nil {
			t.Fatal(err)
		}
	}
	create(t, s, "over")
	complete(t, claim(t, s, store.Small), "over")
	conn, err := pgx.Connect(t.Context(), at.DatabaseURL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `BEGIN; SELECT * FROM documents ORDER BY created_at LIMIT 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	reaped := func() (ids int) {
		t.Helper()
		for more := true; more; {
			r, err := s.Reap(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			more, ids = r.More, ids+len(r.Operations)
		}
		return ids
	}
	if n := reaped(); n != 2 || s.CountRows(t, "documents") != 1 {
		t.Errorf("%d operations went beside a document that somebody holds, want the two others", n)
	}
	if _, err := conn.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if n := reaped(); n != 1 || s.CountRows(t, "documents") != 0 {
		t.Errorf("%d operations went after that, want the other one", n)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	sound(t, s, true)
}

// TestServerDies kills the server again and again in the middle of everything. Calls may fail, and say how; what they
// said is done is done, nothing is done twice, and the same store goes on by itself.
func TestServerDies(t *testing.T) {
	t.Parallel()
	server, err := newServer("fsync=off") // the machine stays up: what was written is there
	if err != nil {
		t.Fatal(err)
	}
	at := server.database(t)
	s := openAt(t, at)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	made, finished := map[string]bool{}, map[string]bool{}
	var rounds atomic.Int64
	expected := func(call string, err error) {
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) && !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: %v", call, err)
		}
	}
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				text := fmt.Sprint(g, " ", i)
				if i%10 == 0 {
					text += strings.Repeat(" long", 20_000)
				}
				st, err := s.Stage(context.Background(), owner, strings.NewReader(text), 1<<20)
				if err != nil {
					expected("stage", err)
					continue
				}
				c, err := s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r",
					Settings: []byte("{}"), SplitterVersion: version})
				if err != nil {
					expected("create", err)
					continue
				}
				mu.Lock()
				made[c.Operation.ID] = true
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				runs, _, err := s.Claim(context.Background(), store.Claim{Worker: "w", Lane: store.Small, Slots: 2, Bytes: 1 << 40,
					SplitterVersion: version, Lease: lease})
				if err != nil {
					expected("claim", err)
				}
				for _, r := range runs {
					text, err := r.Text(context.Background())
					if err != nil {
						expected("text", err)
						continue
					}
					if _, err := r.Commit(context.Background(), store.Batch{Chunks: cut(0, text, 1000), BytesDone: int64(len(text)),
						Last: true}); err != nil {
						expected("commit", err)
						continue
					}
					mu.Lock()
					finished[r.Operation.ID] = true
					mu.Unlock()
					rounds.Add(1)
				}
			}
		})
	}
	for i := range 4 {
		await(t, &rounds, 30)
		signal := map[bool]syscall.Signal{true: syscall.SIGKILL, false: syscall.SIGQUIT}[i%2 == 0]
		if err := server.stop(signal); err != nil {
			t.Error(err)
		}
		if _, err := s.Stats(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("while the server is down: %v, want ErrUnavailable", err)
		}
		if err := server.start(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, &rounds, 30)
	stop()
	wg.Wait()
	s.LapseLeases(t)
	for {
		evs, err := s.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(evs) == 0 {
			break
		}
	}
	for r := claim(t, s, store.Small); r != nil; r = claim(t, s, store.Small) {
		text, err := r.Text(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		complete(t, r, text)
	}
	for id := range made {
		if _, err := s.Operation(t.Context(), owner, id); err != nil {
			t.Errorf("%s was made: %v", id, err)
		}
	}
	for id := range finished {
		if op, err := s.Operation(t.Context(), owner, id); err != nil || op.Status != store.Completed || op.Attempt != 1 {
			t.Errorf("%s was completed: %+v, %v", id, op, err)
		}
	}
	sound(t, s, true)
}

// await waits until n more have been counted.
func await(t *testing.T, count *atomic.Int64, n int64) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for want, end := count.Load()+n, time.Now().Add(20*time.Second); count.Load() < want; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("nothing goes on any more")
		}
	}
}

// BenchmarkBareParts compares the whole path of a 5 MB text with writing its parts and nothing else: the same rows, each
// in a synced transaction of its own. The two take turns, so that both see the same machine.
func BenchmarkBareParts(b *testing.B) {
	at := onDurablePostgres(b)
	s := openAt(b, at)
	conn, err := pgx.Connect(b.Context(), at.DatabaseURL.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("some words of a text. ", 5<<20/22)
	body := []byte(text)
	var bare, path time.Duration
	key := -1 // below the store's own
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		for start := 0; start < len(body); start += store.PartBytes {
			key--
			if _, err := conn.Exec(b.Context(), `INSERT INTO document_parts (key, start_byte, body) VALUES ($1, $2, $3)`,
				key, start, body[start:min(start+store.PartBytes, len(body))]); err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(began)
		began = time.Now()
		whole(b, s, fmt.Sprint(i, text))
		path += time.Since(began)
	}
	mb := float64(b.N) * float64(len(body)) / 1e6
	b.ReportMetric(mb/bare.Seconds(), "bare-MB/s")
	b.ReportMetric(mb/path.Seconds(), "path-MB/s")
	b.ReportMetric(100*bare.Seconds()/path.Seconds(), "%")
	if err := conn.Close(context.Background()); err != nil {
		b.Error(err)
	}
}

// TestOpenSilentServer: a server that takes connections and says nothing keeps nobody from ending, also where a migration, which may
// take as long as it likes, would be made.
func TestOpenSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		}
	})
	defer conns.Wait()
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, err := store.Open(ctx, store.Config{DatabaseURL: secret.New("postgres://nobody@" + l.Addr().String() + "/none?sslmode=disable")})
	if err == nil {
		_ = db.Close()
		t.Fatal("a database that says nothing was opened")
	}
	if ctx.Err() != nil {
		t.Fatalf("opening did not end by itself within a minute: %v", err)
	}
}
