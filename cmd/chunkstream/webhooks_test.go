package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// TestKilledDeliveries: a process is killed with deliveries under way and others not begun; its successor makes all of them,
// each signed and under the id that it had.
func TestKilledDeliveries(t *testing.T) {
	for name, at := range map[string]func(t *testing.T) (store.Config, []string){
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
			const n = 12
			var mu sync.Mutex
			signing, hang := "", true
			ids, ended := map[string]string{}, map[string]bool{} // operation by delivery; operations that were taken
			begun, gone := make(chan struct{}, 1000), make(chan struct{})
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return // its sender was killed
				}
				var m struct {
					Type string
					Data struct {
						OperationID string `json:"operation_id"`
					}
				}
				mu.Lock()
				key, errKey := base64.StdEncoding.DecodeString(strings.TrimPrefix(signing, "whsec_"))
				h := hmac.New(sha256.New, key)
				fmt.Fprintf(h, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
				if want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)); errKey != nil || r.Header.Get("webhook-signature") != want {
					t.Errorf("signature %q, want %q", r.Header.Get("webhook-signature"), want)
				}
				if err := json.Unmarshal(body, &m); err != nil || m.Type != "operation.completed" {
					t.Errorf("got %s, %v", body, err)
				}
				id := r.Header.Get("webhook-id")
				if op := ids[id]; op != "" && op != m.Data.OperationID {
					t.Errorf("%s is of %s and of %s", id, op, m.Data.OperationID)
				}
				ids[id] = m.Data.OperationID
				hangs := hang
				mu.Unlock()
				begun <- struct{}{}
				if hangs {
					<-gone // and the answer reaches nobody
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ended[m.Data.OperationID] = true
			}))
			t.Cleanup(receiver.Close)
			t.Cleanup(sync.OnceFunc(func() { close(gone) }))

			_, flags := at(t)
			flags = append(flags, "--webhook-http", "--webhook-network", "127.0.0.0/8", "--webhook-timeout", "1s")
			address := servertest.FreeAddress(t)
			s := startProcess(t, "serve", address, nil, flags...).ready()
			res, err := http.Post("http://"+address+"/v1/webhooks", "application/json", strings.NewReader(`{"url":"`+receiver.URL+`","all":false}`))
			if err != nil {
				t.Fatal(err)
			}
			var made struct{ ID, Secret string }
			err = json.NewDecoder(res.Body).Decode(&made)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != http.StatusCreated {
				t.Fatalf("%d, %v", res.StatusCode, err)
			}
			mu.Lock()
			signing = made.Secret
			mu.Unlock()
			want := map[string]bool{}
			for i := range n {
				op, err := s.client().Submit(t.Context(), client.Submission{Text: strings.NewReader(fmt.Sprint("text ", i)), Settings: url.Values{"webhook": {made.ID}}})
				if err != nil {
					t.Fatal(err)
				}
				want[op.ID] = true
			}
			select {
			case <-begun:
			case <-time.After(30 * time.Second):
				t.Fatal("nothing is delivered")
			}
			s.kill()
			mu.Lock()
			hang = false
			mu.Unlock()
			s = startProcess(t, "serve", address, nil, flags...).ready()
			for deadline := time.After(60 * time.Second); ; {
				mu.Lock()
				left := n - len(ended)
				for op := range ended {
					if !want[op] {
						t.Errorf("told of %s", op)
					}
				}
				mu.Unlock()
				if left == 0 {
					break
				}
				select {
				case <-begun:
				case <-time.After(20 * time.Millisecond):
				case <-deadline:
					t.Fatalf("%d of %d were not delivered", left, n)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(ids) != n {
				t.Errorf("%d ids for %d operations", len(ids), n)
			}
			s.stop()
		})
	}
}
