//go:build !race && long

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/servertest"
	"chunkstream/store"
)

// TestMemoryLimitHolds: a service under GOMEMLIMIT, with slots for many more large texts than that has room for and as many of
// them arriving at once, stays within it and a half: what is beyond Go's heap is the program itself, stacks, and SQLite's pages. Each text is
// accepted, or refused in a way that says when to come again; in the end all are complete.
func TestMemoryLimitHolds(t *testing.T) {
	t.Parallel()
	const (
		limit = 128 << 20
		most  = limit + limit/2
	)
	data := t.TempDir()
	s := startServer(t, servertest.FreeAddress(t), data, []string{fmt.Sprint("GOMEMLIMIT=", limit)},
		"--workers", "32", "--max-queued-mib", "200", "--isolate", "none").ready()
	c := s.client()
	var mu sync.Mutex
	accepted := map[string]string{}
	var refused, cut atomic.Int64
	var senders sync.WaitGroup
	for i := range memoryTexts {
		senders.Go(func() {
			text := strings.Repeat(fmt.Sprintf("Text %d is long. It has a sentence, and another one, 日本語.\n\n", i), memoryTextBytes/64)
			for {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.address+"/v1/operations", strings.NewReader(text))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "text/plain")
				req.Header.Set("Expect", "100-continue") // or the answer may be lost with the connection, which ends with the text half sent
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					if s.hasExited() || t.Context().Err() != nil {
						t.Errorf("text %d: %v", i, err)
						return
					}
					cut.Add(1)
					continue
				}
				var op client.Operation
				err = json.NewDecoder(resp.Body).Decode(&op)
				if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode == http.StatusAccepted {
					mu.Lock()
					accepted[op.ID] = text
					mu.Unlock()
					return
				}
				after, bad := strconv.Atoi(resp.Header.Get("Retry-After"))
				if !slices.Contains([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}, resp.StatusCode) || bad != nil || after < 1 {
					t.Errorf("text %d: %s, Retry-After %q, %v", i, resp.Status, resp.Header.Get("Retry-After"), err)
					return
				}
				refused.Add(1)
				time.Sleep(100 * time.Millisecond) // sooner than was asked for: that is more of them
			}
		})
	}
	senders.Wait()
	for id, text := range accepted {
		op, err := c.Operation(t.Context(), id, time.Minute)
		for err == nil && op.Status == string(store.Processing) || op.Status == string(store.Queued) {
			op, err = c.Operation(t.Context(), id, time.Minute)
		}
		if err != nil || op.Status != string(store.Completed) || op.BytesTotal != int64(len(text)) {
			t.Errorf("%s: %+v, %v", id, op, err)
		}
	}
	if len(accepted) != memoryTexts {
		t.Errorf("%d of %d texts are accepted", len(accepted), memoryTexts)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	peak, _, _ = strings.Cut(strings.TrimSpace(peak), " ")
	kib, err := strconv.ParseInt(peak, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d texts of %d MiB under a limit of %d MiB: refused %d times, and cut off %d times: at most %d MiB resident", memoryTexts, memoryTextBytes>>20, limit>>20, refused.Load(), cut.Load(), kib>>10)
	if kib<<10 > most {
		t.Errorf("the process had %d MiB, want at most %d", kib>>10, most>>20)
	}
	s.stop()
	checkDatabase(t, sqliteIn(data))
}

const (
	memoryTexts     = 16
	memoryTextBytes = 24 << 20
)
