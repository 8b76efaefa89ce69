package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"modernc.org/sqlite"

	"chunkstream/secret"
	"chunkstream/store"
)

// What makes the test binary a process that opens a store and dies at its n-th step on the way, or prints how many there are.
const (
	migrateSQLite   = "CHUNKSTREAM_TEST_MIGRATE_SQLITE"
	migratePostgres = "CHUNKSTREAM_TEST_MIGRATE_POSTGRES"
	dieAt           = "CHUNKSTREAM_TEST_DIE_AT"
)

// steps counts what a process says to its database, and kills the process at one.
type steps struct {
	mu    sync.Mutex
	n, at int
}

func (s *steps) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.n == s.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // which does not fail
		select {}
	}
}

// migrateAsChild is the whole of such a process.
func migrateAsChild() error {
	at, err := strconv.Atoi(os.Getenv(dieAt))
	if err != nil {
		return err
	}
	s := &steps{at: at}
	sql.Register("sqlite-counted", countedDriver{&sqlite.Driver{}, s})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return countedSocket{conn, s}, err
	}
	db, err := store.OpenThrough(context.Background(),
		store.Config{Path: os.Getenv(migrateSQLite), DatabaseURL: secret.New(os.Getenv(migratePostgres))}, "sqlite-counted", dial)
	if err != nil {
		return err
	}
	fmt.Print(s.n)
	return db.Close()
}

// countedSocket counts each message before and after it is written: Postgres may have done what a dead process asked for.
type countedSocket struct {
	net.Conn
	steps *steps
}

func (c countedSocket) Write(p []byte) (int, error) {
	c.steps.step()
	n, err := c.Conn.Write(p)
	c.steps.step()
	return n, err
}

type countedDriver struct {
	driver.Driver
	steps *steps
}

func (d countedDriver) Open(name string) (driver.Conn, error) {
	conn, err := d.Driver.Open(name)
	if err != nil {
		return nil, err
	}
	return countedConn{conn.(countable), d.steps}, nil
}

type countable interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
}

type countedConn struct {
	countable
	steps *steps
}

// ExecContext counts each statement of a text.
func (c countedConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (result driver.Result, err error) {
	for statement := range strings.SplitSeq(text, ";\n") {
		c.steps.step()
		if result, err = c.countable.ExecContext(ctx, statement, args); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func (c countedConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	c.steps.step()
	return c.countable.QueryContext(ctx, text, args)
}

func (c countedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.steps.step()
	tx, err := c.countable.BeginTx(ctx, o)
	return countedTx{tx, c.steps}, err
}

type countedTx struct {
	driver.Tx
	steps *steps
}

func (t countedTx) Commit() error {
	t.steps.step()
	err := t.Tx.Commit()
	t.steps.step()
	return err
}

// TestMigratorIsKilled: whatever a process that brings a new database's schema up to date has done of it when it is killed, the next
// ones to start, two at once, complete it, and it is the schema of one that was not disturbed.
func TestMigratorIsKilled(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]func(*testing.T) store.Config{
		"sqlite": func(t *testing.T) store.Config { return store.Config{Path: filepath.Join(t.TempDir(), "new.db")} },
		"postgres": func(t *testing.T) store.Config {
			at := onPostgres(t)
			direct(t, at, `DROP SCHEMA public CASCADE`, `CREATE SCHEMA public`)
			return at
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := empty(t)
			said, state := migrateInChild(t, whole, 0)
			all, err := strconv.Atoi(said)
			if err != nil || !state.Success() || all < 40 {
				t.Fatalf("undisturbed: %v, %q", state, said)
			}
			want := schema(t, whole)
			seed := rand.Uint64()
			kills := rand.New(rand.NewPCG(seed, 0)).Perm(all)[:min(migratorKills, all)]
			for _, k := range kills {
				at := empty(t)
				said, state := migrateInChild(t, at, k+1)
				if status, ok := state.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
					t.Fatalf("at step %d of %d: %v, %q", k+1, all, state, said)
				}
				starters := make([]*store.Store, 2)
				var both sync.WaitGroup
				for i := range starters {
					both.Go(func() {
						var err error
						if starters[i], err = store.Open(context.Background(), at); err != nil {
							t.Errorf("killed at step %d of %d: %v", k+1, all, err)
						}
					})
				}
				both.Wait()
				if t.Failed() {
					return
				}
				if got := schema(t, at); got != want {
					t.Errorf("killed at step %d of %d, the schema is\n%s\nwant\n%s", k+1, all, got, want)
				}
				op := create(t, starters[0], "A text.")
				complete(t, claim(t, starters[1], store.Small), "A text.")
				if got, err := starters[0].Operation(t.Context(), owner, op.ID); err != nil || got.Status != store.Completed {
					t.Errorf("killed at step %d of %d: %+v, %v", k+1, all, got, err)
				}
				sound(t, starters[0], true)
				if err := errors.Join(starters[0].Close(), starters[1].Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// migrateInChild opens a database in a process of its own, which dies at the given step if that is not 0.
func migrateInChild(t *testing.T, at store.Config, step int) (said string, state *os.ProcessState) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), migrateSQLite+"="+at.Path, migratePostgres+"="+at.DatabaseURL.Reveal(), dieAt+"="+fmt.Sprint(step), "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState
}

// schema is a database's schema in words, and which migrations it has.
func schema(t *testing.T, at store.Config) string {
	t.Helper()
	name, source := "sqlite", at.Path
	queries := []string{`SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema`}
	if !at.DatabaseURL.Empty() {
		name, source = "pgx", at.DatabaseURL.Reveal()
		queries = []string{
			`SELECT concat_ws(' ', table_name, column_name, ordinal_position, column_default, is_nullable, data_type, is_identity)
   FROM information_schema.columns WHERE table_schema = 'public'`,
			`SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'`,
			`SELECT pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace`,
			`SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace`,
		}
	}
	db, err := sql.Open(name, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all []string
	for _, query := range append(queries, `SELECT 'migration ' || version_id || ' ' || is_applied FROM goose_db_version`) {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			all = append(all, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
