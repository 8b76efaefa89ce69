package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"chunkstream/client"
	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// BenchmarkWorkers has a backlog worked off by one and by two worker processes on Postgres and Redis, in turn, and
// prints both rates and their ratio. Each worker process has one core at most (GOMAXPROCS=1), so that two can have more
// than one; Postgres and Redis share the machine's cores with them. Where the ratio is near 1 those were the bound.
func BenchmarkWorkers(b *testing.B) {
	for _, c := range []struct {
		size     int
		settings url.Values
	}{{4 << 10, nil}, {1 << 20, url.Values{"unit": {"tokens"}, "chunk_size": {"256"}}}} {
		size := c.size
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			backlog := min(1500, 60<<20/size)
			database, redis := servertest.StartPostgres(b).Database(), servertest.StartRedis(b)
			flags := []string{"--database", database, "--redis", redis.URL(), "--workers", "1"}
			web := startProcess(b, "serve", servertest.FreeAddress(b), nil, append(flags, "--workers", "0")...).ready()
			db, err := store.Open(b.Context(), store.Config{DatabaseURL: secret.New(database)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := db.Close(); err != nil {
					b.Error(err)
				}
			})
			text := strings.ToValidUTF8(realText(b, size), "?")
			round := 0
			// drain gives how many operations a second so many worker processes complete.
			drain := func(processes int) float64 {
				round++
				g, ctx := errgroup.WithContext(b.Context())
				g.SetLimit(16)
				for i := range backlog {
					g.Go(func() error {
						_, err := web.client().Submit(ctx, client.Submission{Settings: c.settings,
							Text: strings.NewReader(fmt.Sprintf("%d of %d\n", i, round) + text)})
						return err
					})
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
				var workers []*server
				began := time.Now()
				for range processes {
					workers = append(workers, startProcess(b, "worker", servertest.FreeAddress(b), []string{"GOMAXPROCS=1"}, flags...))
				}
				worked(b.Context(), b, db)
				took := time.Since(began)
				for _, w := range workers {
					w.ready().stop()
				}
				return float64(backlog) / took.Seconds()
			}
			drain(1) // the first round warms the database
			var one, two float64
			for b.Loop() {
				one, two = one+drain(1), two+drain(2)
			}
			b.ReportMetric(one/float64(b.N), "one-ops/s")
			b.ReportMetric(two/float64(b.N), "two-ops/s")
			b.ReportMetric(two/one, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// worked waits until nothing is queued or processing.
func worked(ctx context.Context, b *testing.B, db *store.Store) {
	b.Helper()
	for {
		st, err := db.Stats(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if st.Queued+st.Processing == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
