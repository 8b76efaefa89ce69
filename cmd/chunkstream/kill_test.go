//go:build long

package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/servertest"
)

// seed makes a run repeatable: CHUNKSTREAM_SEED replays one.
func seed(t *testing.T) *rand.Rand {
	n := rand.Uint64()
	if s := os.Getenv("CHUNKSTREAM_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CHUNKSTREAM_SEED=%d", n)
	return rand.New(rand.NewPCG(n, n))
}

func kills(t *testing.T, standard int) int {
	if s := os.Getenv("CHUNKSTREAM_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return standard
}

// TestKillAtTheDefaultLease: from the kill to the next attempt's start it takes at most 7 s, ten times.
func TestKillAtTheDefaultLease(t *testing.T) {
	rng := seed(t)
	text := realText(t, 4<<20)
	address, data := servertest.FreeAddress(t), t.TempDir()
	s := startServer(t, address, data, nil).ready()
	var worst time.Duration
	for i := range kills(t, 10) {
		op, err := s.client().Submit(t.Context(), client.Submission{Text: strings.NewReader(fmt.Sprint(i, text)),
			Settings: url.Values{"chunk_size": {"40"}}})
		if err != nil {
			t.Fatal(err)
		}
		skip := rng.IntN(5)
		for e, err := range s.client().Watch(t.Context(), op.ID, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == event.Batch {
				if skip--; skip < 0 {
					break
				}
			}
		}
		s.kill()
		killed := time.Now()
		s = startServer(t, address, data, nil).ready()
		for e, err := range s.client().Watch(t.Context(), op.ID, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == event.Started && e.Data.Attempt == 2 {
				took := e.Time.Sub(killed)
				worst = max(worst, took)
				if took > 7*time.Second {
					t.Errorf("run %d: resumed %v after the kill, want at most 7 s", i, took)
				}
			}
			if e.Type.Terminal() && (e.Type != event.Completed || e.Data.Attempt != 2) {
				t.Errorf("run %d: ended as %s in attempt %d", i, e.Type, e.Data.Attempt)
			}
		}
		op, err = s.client().Operation(t.Context(), op.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		checkChunks(t, s.client(), op, fmt.Sprint(i, text))
	}
	t.Logf("resumed at most %v after the kill", worst.Round(time.Millisecond))
	s.stop()
	checkDatabase(t, sqliteIn(data))
}
