// Package queues puts the work queue of the product beside asynq and River under one test: a worker is killed in the middle
// of its tasks, another one is frozen until somebody else has them and then goes on. It is a module of its own, so that
// neither becomes a dependency.
//
//	cd bench/queues && go test -count 1 -v -timeout 20m .
//
// It needs redis-server and Postgres's programs, and takes about six minutes, nearly all of them waiting.
package queues

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"chunkstream/servertest"
)

// What every task is: steps, each of which leaves one row behind. A task that begins again goes on behind the last of them.
const (
	steps    = 60
	stepTime = 50 * time.Millisecond
	slots    = 4 // tasks at a time in a worker
)

// systems are what is compared, by the name that makes this program a worker of it.
var systems = map[string]system{"ours": ours{}, "asynq": asynqSystem{}, "river": riverSystem{}}

// system is one queue, tuned for the quickest recovery that it can be configured for.
type system interface {
	// prepare makes what it needs in the database.
	prepare(ctx context.Context, at place) error
	// submit queues a task.
	submit(ctx context.Context, at place, task string) error
	// work is a worker, until ctx ends.
	work(ctx context.Context, at place) error
	// written is a query for every row that a task has left behind: task, step (-1 where a worker begins), process, milliseconds.
	written() string
}

// place is where the servers are.
type place struct{ database, redis string }

func TestMain(m *testing.M) {
	if name := os.Getenv("QUEUES_WORKER"); name != "" {
		if err := systems[name].work(context.Background(), place{os.Getenv("QUEUES_DATABASE"), os.Getenv("QUEUES_REDIS")}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// row is what one step has left behind.
type row struct {
	task      string
	step, pid int
	at        time.Time
}

type run struct {
	*testing.T
	name string
	system
	place
	db *sql.DB
}

func TestKillAndFreeze(t *testing.T) {
	pg := servertest.StartPostgres(t)
	redis := servertest.StartRedis(t)
	var lines []string
	for _, name := range []string{"ours", "river", "asynq"} {
		at := place{pg.Database(), redis.URL()}
		db, err := sql.Open("pgx", at.database)
		if err != nil {
			t.Fatal(err)
		}
		r := &run{t, name, systems[name], at, db}
		if err := r.prepare(t.Context(), at); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		killed := r.kill()
		frozen, zombie, again := r.freeze()
		lines = append(lines, fmt.Sprintf("%-6s %12v %12v %12v %12d %8d", name, killed[0], killed[len(killed)-1], frozen, zombie, again))
		if name == "ours" && (killed[len(killed)-1] > 7*time.Second || zombie > 0 || again > 0) {
			t.Errorf("ours: %s", lines[0])
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("\n%-6s %12s %12s %12s %12s %8s\n%s", "", "kill→first", "kill→last", "freeze→taken", "zombie's rows", "doubled", strings.Join(lines, "\n"))
}

// start runs a worker.
func (r *run) start() *exec.Cmd {
	r.Helper()
	self, err := os.Executable()
	if err != nil {
		r.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "QUEUES_WORKER="+r.name, "QUEUES_DATABASE="+r.database, "QUEUES_REDIS="+r.redis)
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for s := bufio.NewScanner(out); s.Scan(); {
			if testing.Verbose() && strings.Contains(s.Text(), "fenced") {
				r.Log(r.name, s.Text())
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	r.Cleanup(func() { end(cmd); <-heard })
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}

// rows are all rows of a task, the oldest first.
func (r *run) rows() (all []row) {
	r.Helper()
	rows, err := r.db.QueryContext(r.Context(), r.written())
	if err != nil {
		r.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var one row
		var ms int64
		if err := rows.Scan(&one.task, &one.step, &one.pid, &ms); err != nil {
			r.Fatal(err)
		}
		one.at = time.UnixMilli(ms)
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		r.Fatal(err)
	}
	slices.SortStableFunc(all, func(a, b row) int { return a.at.Compare(b.at) })
	return all
}

// until waits until what there is satisfies ok.
func (r *run) until(what string, ok func([]row) bool) []row {
	r.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for late := time.Now().Add(5 * time.Minute); ; <-look.C {
		all := r.rows()
		if ok(all) {
			return all
		}
		if time.Now().After(late) {
			r.Fatalf("%s: %s: not in five minutes: %d rows", r.name, what, len(all))
		}
	}
}

func (r *run) submitted(prefix string) map[string]bool {
	r.Helper()
	tasks := map[string]bool{}
	for i := range slots {
		task := fmt.Sprint(prefix, i)
		if err := r.submit(r.Context(), r.place, task); err != nil {
			r.Fatal(err)
		}
		tasks[task] = true
	}
	return tasks
}

// begun waits until a process has left three rows for each of the tasks.
func (r *run) begun(tasks map[string]bool, pid int) {
	r.until("the tasks begin", func(all []row) bool {
		n := map[string]int{}
		for _, w := range all {
			if tasks[w.task] && w.pid == pid && w.step >= 0 {
				n[w.task]++
			}
		}
		for task := range tasks {
			if n[task] < 3 {
				return false
			}
		}
		return true
	})
}

// kill kills a worker in the middle of its tasks and gives how long each was nobody's, ascending.
func (r *run) kill() (took []time.Duration) {
	one := r.start()
	tasks := r.submitted("kill-")
	r.begun(tasks, one.Process.Pid)
	other := r.start()
	defer end(other)
	time.Sleep(time.Second) // the other one is up and idle
	at := time.Now()
	end(one)
	resumed := map[string]time.Time{}
	r.until("the other one has all", func(all []row) bool {
		for _, w := range all {
			if tasks[w.task] && w.pid == other.Process.Pid && resumed[w.task].IsZero() {
				resumed[w.task] = w.at
			}
		}
		return len(resumed) == len(tasks)
	})
	for _, when := range resumed {
		took = append(took, when.Sub(at).Round(10*time.Millisecond))
	}
	slices.Sort(took)
	return took
}

// freeze freezes a worker until another one has one of its tasks and thaws it. It gives how long that took, how many rows
// the thawed one has left behind for tasks that the other one had by then, and how many tasks have done a step twice.
func (r *run) freeze() (taken time.Duration, zombie, doubled int) {
	one := r.start()
	defer end(one)
	tasks := r.submitted("freeze-")
	r.begun(tasks, one.Process.Pid)
	other := r.start()
	defer end(other)
	time.Sleep(time.Second)
	at := time.Now()
	if err := one.Process.Signal(syscall.SIGSTOP); err != nil {
		r.Fatal(err)
	}
	r.until("the other one has one", func(all []row) bool {
		return slices.ContainsFunc(all, func(w row) bool { return tasks[w.task] && w.pid == other.Process.Pid })
	})
	taken = time.Since(at).Round(10 * time.Millisecond)
	if err := one.Process.Signal(syscall.SIGCONT); err != nil {
		r.Fatal(err)
	}
	quiet := time.Now().Add(steps*stepTime + 5*time.Second) // whoever runs is through by then
	all := r.until("both have come to rest", func([]row) bool { return time.Now().After(quiet) })
	others, twice := map[string]time.Time{}, map[string]bool{}
	did := map[string]bool{}
	for _, w := range all {
		if !tasks[w.task] {
			continue
		}
		if step := fmt.Sprint(w.task, " ", w.step); w.step >= 0 {
			twice[w.task] = twice[w.task] || did[step]
			did[step] = true
		}
		since, has := others[w.task]
		switch {
		case w.pid == other.Process.Pid && !has:
			others[w.task] = w.at
		case w.pid == one.Process.Pid && has && w.at.After(since):
			zombie++
		}
	}
	for _, both := range twice {
		if both {
			doubled++
		}
	}
	return taken, zombie, doubled
}
