//go:build long

package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// previous builds the program as it was before the newest migration came, out of the repository's history: the oldest
// that a rollback by one step can mean. A clone without history cannot run this test.
func previous(t *testing.T) string {
	t.Helper()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v (the whole history is needed: git fetch --unshallow)", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	const migrations = "store/migrations/sqlite"
	all, err := filepath.Glob(filepath.Join("..", "..", migrations, "*.sql"))
	if err != nil || len(all) < 2 {
		t.Fatalf("%d migrations, %v", len(all), err)
	}
	came := git("log", "--diff-filter=A", "--format=%H", "-1", "--", migrations+"/"+filepath.Base(slices.Max(all)))
	if came == "" {
		t.Fatal("the newest migration is not committed")
	}
	source := t.TempDir()
	git("archive", "--output", filepath.Join(source, "source.tar"), came+"^")
	program := filepath.Join(source, "chunkstream-before")
	for _, step := range [][]string{{"tar", "-xf", "source.tar"}, {"go", "build", "-o", program, "./cmd/chunkstream"}} {
		cmd := exec.CommandContext(t.Context(), step[0], step[1:]...)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	return program
}

// TestRollback goes back to the program before the newest migration, on the data and in the middle of the work of the
// newer one, and forward again: every operation completes, and every chunk is as in a run without faults, whichever
// of the two cut it and whichever reads it. What the older one may not take, as its splitters are of another version,
// waits for the newer one.
func TestRollback(t *testing.T) {
	before := previous(t)
	for name, database := range map[string]func(t *testing.T) (store.Config, []string){
		"sqlite": func(t *testing.T) (store.Config, []string) {
			data := t.TempDir()
			return sqliteIn(data), []string{"--data", data}
		},
		"postgres": func(t *testing.T) (store.Config, []string) {
			url := servertest.StartPostgres(t).Database()
			return store.Config{DatabaseURL: secret.New(url)}, []string{"--database", url}
		},
	} {
		t.Run(name, func(t *testing.T) {
			config, flags := database(t)
			flags = append(flags, "--lease", "2s")
			address := servertest.FreeAddress(t)
			newer := startProcess(t, "serve", address, nil, flags...).ready()
			l := newFlight(t, rand.New(rand.NewPCG(5, 5)), config, address)
			l.start()
			landed(l, 10)
			l.stop()     // those in flight go on
			newer.kill() // a rollback is not always orderly
			byNewer := landed(l, 0)
			older := startProgram(t, before, "serve", address, nil, flags...).ready()
			other := newFlight(t, rand.New(rand.NewPCG(6, 6)), config, address)
			other.name = "older-"
			other.start()
			landed(other, inFlight)
			other.finish()
			for _, f := range byNewer {
				op, err := older.client().Operation(t.Context(), f.op.ID, 0)
				if err != nil {
					t.Fatal(err)
				}
				checkChunks(t, older.client(), op, f.text)
			}
			t.Logf("%d operations completed before going back; after it %d of its own, and %d that the newer one had taken in",
				len(byNewer), len(other.done), len(landed(l, 0))-len(byNewer))
			older.stop()
			again := startProcess(t, "serve", address, nil, flags...).ready()
			l.finish()
			l.done = append(l.done, other.done...)
			l.check(again)
		})
	}
}

// landed waits until so many documents have come to their end, and gives them.
func landed(l *flight, n int) []flown {
	for {
		l.mu.Lock()
		all := slices.Clone(l.done)
		l.mu.Unlock()
		if len(all) >= n || l.t.Failed() {
			return all
		}
		time.Sleep(10 * time.Millisecond)
	}
}
