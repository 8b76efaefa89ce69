package queues

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"chunkstream/chunk"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/store"
	"chunkstream/worker"
)

// table is where the tasks of the others leave their rows: these queues have no place for the result of a half-done task.
const table = `CREATE TABLE IF NOT EXISTS %s_rows (task text, step int, pid int, at timestamptz DEFAULT clock_timestamp())`

// do is a task of the others: it goes on behind the last row, and heeds ctx before each step.
func do(ctx context.Context, db *sql.DB, name, task string) error {
	var done int
	if err := db.QueryRowContext(ctx, `SELECT coalesce(max(step) + 1, 0) FROM `+name+`_rows WHERE task = $1`, task).Scan(&done); err != nil {
		return err
	}
	for step := done; step < steps; step++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := db.ExecContext(ctx, `INSERT INTO `+name+`_rows (task, step, pid) VALUES ($1, $2, $3)`, task, step, os.Getpid()); err != nil {
			return err
		}
		time.Sleep(stepTime)
	}
	return nil
}

func makeTable(ctx context.Context, at place, name string) error {
	db, err := sql.Open("pgx", at.database)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, fmt.Sprintf(table, name))
	return err
}

func rowsOf(name string) string {
	return `SELECT task, step, pid, (extract(epoch FROM at) * 1000)::bigint FROM ` + name + `_rows`
}

// asynqSystem: a worker looks for tasks every 20 ms, and one that failed is tried again at once. Its leases (30 s, and 30 s
// more before they count as lapsed) and the minute between two looks for lapsed ones cannot be configured.
type asynqSystem struct{}

func redisOf(at place) asynq.RedisConnOpt {
	opt, err := asynq.ParseRedisURI(at.redis)
	if err != nil {
		panic(err)
	}
	return opt
}

func (asynqSystem) prepare(ctx context.Context, at place) error { return makeTable(ctx, at, "asynq") }

func (asynqSystem) submit(ctx context.Context, at place, task string) error {
	c := asynq.NewClient(redisOf(at))
	defer c.Close()
	_, err := c.EnqueueContext(ctx, asynq.NewTask("steps", []byte(task)), asynq.MaxRetry(100))
	return err
}

func (asynqSystem) work(_ context.Context, at place) error {
	db, err := sql.Open("pgx", at.database)
	if err != nil {
		return err
	}
	s := asynq.NewServer(redisOf(at), asynq.Config{Concurrency: slots, TaskCheckInterval: 20 * time.Millisecond,
		DelayedTaskCheckInterval: 100 * time.Millisecond, RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 }})
	return s.Run(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error { return do(ctx, db, "asynq", string(t.Payload())) }))
}

func (asynqSystem) written() string { return rowsOf("asynq") }

// riverSystem: a job that has run for longer than rescueAfter is taken to be lost, whether or not its worker lives; a longer
// job would be done twice. That is looked for every 30 s, which cannot be configured.
type riverSystem struct{}

const rescueAfter = (steps + 20) * stepTime

type stepsArgs struct {
	Task string `json:"task"`
}

func (stepsArgs) Kind() string { return "steps" }

type stepsWorker struct {
	river.WorkerDefaults[stepsArgs]
	db *sql.DB
}

func (w *stepsWorker) Work(ctx context.Context, job *river.Job[stepsArgs]) error {
	return do(ctx, w.db, "river", job.Args.Task)
}

type atOnce struct{}

func (riverSystem) prepare(ctx context.Context, at place) error {
	if err := makeTable(ctx, at, "river"); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, at.database)
	if err != nil {
		return err
	}
	defer pool.Close()
	m, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (riverSystem) submit(ctx context.Context, at place, task string) error {
	pool, err := pgxpool.New(ctx, at.database)
	if err != nil {
		return err
	}
	defer pool.Close()
	c, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return err
	}
	_, err = c.Insert(ctx, stepsArgs{task}, nil)
	return err
}

func (atOnce) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

func (riverSystem) work(ctx context.Context, at place) error {
	db, err := sql.Open("pgx", at.database)
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, at.database)
	if err != nil {
		return err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &stepsWorker{db: db})
	c, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}}, Workers: workers,
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		JobTimeout: rescueAfter, RescueStuckJobsAfter: rescueAfter, RetryPolicy: atOnce{},
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (riverSystem) written() string { return rowsOf("river") }

// ours: the worker of the product with a strategy that takes its time over each chunk; what it leaves behind are batches. All
// else is as it is delivered: a lease of 5 s.
type ours struct{}

func (ours) prepare(ctx context.Context, at place) error {
	s, err := store.Open(ctx, store.Config{DatabaseURL: secret.New(at.database)})
	if err != nil {
		return err
	}
	return s.Close()
}

func (ours) submit(ctx context.Context, at place, task string) error {
	s, err := store.Open(ctx, store.Config{DatabaseURL: secret.New(at.database)})
	if err != nil {
		return err
	}
	defer s.Close()
	staged, err := s.Stage(ctx, "o", strings.NewReader(strings.Repeat("x", steps)), 1<<20)
	if err != nil {
		return err
	}
	_, err = s.Create(ctx, store.NewOperation{Owner: "o", Name: task, Staged: staged, Strategy: "recursive", Settings: []byte("{}"),
		SplitterVersion: chunk.Version})
	return err
}

func (ours) work(ctx context.Context, at place) error {
	s, err := store.Open(ctx, store.Config{DatabaseURL: secret.New(at.database)})
	if err != nil {
		return err
	}
	bells := &dispatch.Memory{}
	w, err := worker.New(worker.Config{
		Store: s, Publish: func(event.Owned) {}, Woken: func(l store.Lane) <-chan struct{} { return bells.Woken(string(l)) },
		Name: fmt.Sprint(os.Getpid()), SmallSlots: slots,
		Split: func(_ context.Context, _ chunk.Plan, text string) iter.Seq2[chunk.Chunk, error] {
			return func(yield func(chunk.Chunk, error) bool) {
				for i := range text {
					time.Sleep(stepTime)
					if !yield(chunk.Chunk{Span: chunk.Span{Start: i, End: i + 1}}, nil) {
						return
					}
				}
			}
		},
		Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func (ours) written() string {
	return `SELECT o.name, CASE WHEN e.type = 'started' THEN -1 ELSE (e.data::jsonb ->> 'chunks')::int END, (e.data::jsonb ->> 'worker')::int, e.at
  FROM operation_events e JOIN operations o ON o.num = e.operation WHERE e.type IN ('started', 'batch')`
}
