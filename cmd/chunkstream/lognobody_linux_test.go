package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chunkstream/auth"
	"chunkstream/client"
	"chunkstream/servertest"
	"chunkstream/store"
)

// TestLogNobodyReads: whoever reads standard error stops, or goes away. The service answers, completes what it is given, counts
// the lines that are lost, and ends as asked.
func TestLogNobodyReads(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		t.Run(map[bool]string{false: "stops", true: "goes away"}[gone], func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			limited := keyIn(t, data, auth.DocumentsRead)
			r, w, err := os.Pipe()
			if err == nil {
				_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			const admin = "administrators-key-for-this-test-alone"
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			s := newProgram(t, self, "serve", servertest.FreeAddress(t), []string{"CHUNKSTREAM_API_KEY=" + admin}, "--data", data)
			s.cmd.Stderr = w
			s.begin().ready()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if gone {
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
			// Each refusal is a line, of some 300 bytes.
			ctx, enough := context.WithCancel(t.Context())
			defer enough()
			var asking sync.WaitGroup
			for range 4 {
				asking.Go(func() {
					for ctx.Err() == nil {
						if status, _ := s.get("/v1/operations", limited); status != http.StatusForbidden {
							t.Errorf("the key without that right gets %d", status)
							return
						}
					}
				})
			}
			lost := regexp.MustCompile(`(?m)^chunkstream_log_lines_dropped_total [1-9]`)
			deadline := time.Now().Add(2 * time.Minute)
			for {
				_, text := s.get("/metrics", admin)
				if lost.MatchString(text) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("no line is counted as lost")
				}
				time.Sleep(5 * time.Millisecond)
			}
			enough()
			asking.Wait()
			c, err := client.New("http://"+s.address, client.Options{APIKey: admin})
			if err != nil {
				t.Fatal(err)
			}
			for _, strategy := range []string{"recursive", "markdown"} {
				op, err := c.Submit(t.Context(), client.Submission{Text: strings.NewReader(markdown("Unheard", 5000)), Strategy: strategy})
				if err == nil {
					op, err = c.Operation(t.Context(), op.ID, 30*time.Second)
				}
				if err != nil || op.Status != string(store.Completed) {
					t.Errorf("%s: %+v, %v", strategy, op, err)
				}
			}
			s.stop()
			checkDatabase(t, sqliteIn(data))
		})
	}
}

// keyIn makes a key in a data folder that no process has open.
func keyIn(t *testing.T, data string, scopes auth.Scopes) string {
	t.Helper()
	db, err := store.Open(t.Context(), sqliteIn(data))
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := makeKey(t.Context(), db, store.NewKey{Owner: "o", Name: "limited", Scopes: scopes.Names()}, store.Act{Actor: "a test"})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return key
}

// get asks a server for a path with a key.
func (s *server) get(path, key string) (status int, text string) {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.address+path, http.NoBody)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	b, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		s.t.Error(err)
	}
	return resp.StatusCode, string(b)
}
