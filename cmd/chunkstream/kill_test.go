//go:build long && crashpoints

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/crashpoint"
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

// TestKillLoop kills the server with SIGKILL 200 times, in turn at a random moment and at a named crash point, while 20
// documents are in flight.
func TestKillLoop(t *testing.T) {
	rng := seed(t)
	address, data := servertest.FreeAddress(t), t.TempDir()
	// Whoever kills a server 200 times will hit the same operation twice in a row: that does not make it poison.
	flags := []string{"--lease", "500ms", "--poison-after", "1000000"}
	l := newFlight(t, rng, sqliteIn(data), address)
	l.start()
	points := crashpoint.Points()
	byPoint := map[crashpoint.Point]int{}
	n := kills(t, 200)
	for i := range n {
		if i%2 == 0 {
			s := startServer(t, address, data, nil, flags...).ready()
			time.Sleep(time.Duration(rng.IntN(800)) * time.Millisecond)
			s.kill()
			continue
		}
		p := points[i/2%len(points)]
		s := startServer(t, address, data, []string{fmt.Sprintf("CHUNKSTREAM_CRASH_AT=%s:%d", p, 1+rng.IntN(8))}, flags...)
		if p == crashpoint.MidHandover {
			s.ready()
			time.Sleep(time.Duration(200+rng.IntN(600)) * time.Millisecond)
			s.signal(syscall.SIGTERM)
		}
		select {
		case <-s.exited:
			if st, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
				byPoint[p]++
			}
		case <-time.After(8 * time.Second):
			s.kill() // it did not come by there often enough
		}
	}
	s := startServer(t, address, data, nil, flags...).ready()
	l.finish()
	t.Logf("killed %d times; at crash points: %v", n, byPoint)
	for _, p := range points {
		if n >= 100 && byPoint[p] == 0 {
			t.Errorf("no kill at %s ever bit", p)
		}
	}
	l.check(s)
}

// TestFreezeLoop freezes a server past its lease 20 times while a second one on the same database goes on, and thaws
// it: a zombie that believes it still holds its operations.
func TestFreezeLoop(t *testing.T) {
	rng := seed(t)
	data := t.TempDir()
	addresses := []string{servertest.FreeAddress(t), servertest.FreeAddress(t)}
	flags := []string{"--lease", "500ms", "--poison-after", "1000000"}
	servers := []*server{
		startServer(t, addresses[0], data, nil, flags...).ready(),
		startServer(t, addresses[1], data, nil, flags...).ready(),
	}
	l := newFlight(t, rng, sqliteIn(data), addresses...)
	l.start()
	n := kills(t, 20)
	for i := range n {
		time.Sleep(time.Duration(100+rng.IntN(500)) * time.Millisecond)
		s := servers[i%2]
		s.signal(syscall.SIGSTOP)
		time.Sleep(time.Duration(1000+rng.IntN(1500)) * time.Millisecond)
		s.signal(syscall.SIGCONT)
	}
	l.finish()
	fenced := counterOf(t, addresses[0], "chunkstream_operations_fenced_total") +
		counterOf(t, addresses[1], "chunkstream_operations_fenced_total")
	t.Logf("frozen %d times; %v runs found themselves fenced", n, fenced)
	if n >= 20 && fenced == 0 {
		t.Error("no freeze ever bit")
	}
	servers[1].stop()
	l.check(servers[0])
}

func counterOf(t *testing.T, address, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
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
			Settings: url.Values{"chunk_size": {"25"}}})
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
