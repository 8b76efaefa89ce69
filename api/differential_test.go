//go:build long

package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/limit"
	"chunkstream/live"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
	"chunkstream/store"
)

// recorded is one request and what became of it while everything was there.
type recorded struct {
	route, path, header string
	status              int
}

// denies reports whether a status lets nobody see or do anything.
func denies(status int) bool {
	switch status {
	case 401, 403, 404, 429, 503:
		return true
	}
	return false
}

// TestNothingOpensWhenSomethingFails records what every route answers to many keys, and replays all of it while Redis is
// gone, while Redis is frozen, while Postgres hangs and while it is gone: a no never becomes a yes, and what cannot be
// decided is 503.
func TestNothingOpensWhenSomethingFails(t *testing.T) {
	r, pg := servertest.StartRedis(t), servertest.StartPostgres(t)
	u, err := url.Parse(pg.Database())
	if err != nil {
		t.Fatal(err)
	}
	proxy := servertest.StartProxy(t, u.Host)
	u.Host = proxy.Address
	st, err := store.Open(t.Context(), store.Config{DatabaseURL: secret.New(u.String())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New(r.URL())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conns.Close() })
	limiter, err := limit.New(limit.Config{PerSecond: 1e6, Burst: 1e6, Redis: conns.Commands})
	if err != nil {
		t.Fatal(err)
	}
	gate, err := auth.New(auth.Config{Store: st, StaticKey: secret.New(key), MaxFailures: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{
		Store: st, Hub: live.NewHub(api.LiveSource(st), live.Config{}), Publish: func(event.Owned) {}, Wake: func(store.Lane, string) {}, Gate: gate,
		Version: "test", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Limit: limiter,
		Ready: func(context.Context) api.Readiness { return api.Readiness{OK: true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, store: st, base: t.Context()}
	ask := func(q recorded) int {
		method, _, _ := strings.Cut(q.route, " ")
		req := httptest.NewRequestWithContext(t.Context(), method, q.path, strings.NewReader(routeBodies[q.route]))
		if q.header != "" {
			name, value, _ := strings.Cut(q.header, ": ")
			req.Header.Set(name, value)
		}
		if routeBodies[q.route] != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		return w.Code
	}

	// Alice's objects, and keys of hers and of others, with scopes by chance, some expired, revoked or blocked.
	staged, err := st.Stage(t.Context(), "alice", strings.NewReader("text"), 100)
	if err != nil {
		t.Fatal(err)
	}
	made, err := st.Create(t.Context(), store.NewOperation{Owner: "alice", Staged: staged, Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	saved, err := st.SaveConfiguration(t.Context(), store.Configuration{Owner: "alice", Name: "n", Strategy: "recursive", Settings: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatchID()
	if err := st.CreateBatch(t.Context(), "alice", batch, "", []string{made.Operation.ID}); err != nil {
		t.Fatal(err)
	}
	hook, err := st.CreateWebhook(t.Context(), store.NewWebhook{Owner: "alice", URL: "https://hooks.example.com", Secret: secret.New("whsec_"), Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	_, target := s.key("somebody", 0, 0)
	o := objects{operation: made.Operation.ID, document: made.Document.ID, key: target, batch: batch, configuration: saved.ID, webhook: hook.ID, script: "/ui/none.js"}
	if _, err := st.Block(t.Context(), "owner", "mallory", "", store.Act{}); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Log("seed ", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	headers := []string{"", bearer("x"), bearer(key), bearer(auth.NewKey()), "Authorization: Basic " + key}
	for len(headers) < 80 {
		owner := []string{"alice", "alice", "bob", "mallory"}[chance.IntN(4)]
		k, id := s.key(owner, auth.Scopes(chance.Uint32())&allScopes, []time.Duration{0, 0, time.Millisecond}[chance.IntN(3)])
		if chance.IntN(4) == 0 {
			if _, err := st.RevokeKey(t.Context(), id, store.Act{}); err != nil {
				t.Fatal(err)
			}
		}
		headers = append(headers, bearer(k))
	}
	var all []recorded
	for _, route := range handler.Routes() {
		if handler.Access()[route] == "public" || strings.HasSuffix(route, "/events") || strings.HasSuffix(route, "/ws") {
			continue
		}
		for _, h := range headers {
			all = append(all, recorded{route: route, path: o.path(t, route), header: h})
		}
	}
	chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	no := 0
	for i := range all {
		if all[i].status = ask(all[i]); denies(all[i].status) {
			no++
		}
		if all[i].status >= 500 {
			t.Errorf("%s without a fault: got %d", all[i].route, all[i].status)
		}
	}
	t.Logf("%d requests recorded, %d of them refused", len(all), no)
	if len(all) < 2000 || no < len(all)/4 || no > len(all)*9/10 {
		t.Errorf("%d requests, %d refused: too few of either kind", len(all), no)
	}

	for _, fault := range []struct {
		name  string
		begin func()
		end   func()
		most  int // requests, where each takes long
		sql   bool
	}{
		{"Redis frozen", r.Freeze, r.Thaw, len(all), false},
		{"Redis killed", r.Kill, func() {}, len(all), false},
		{"Postgres hangs", proxy.Deafen, func() { proxy.Hear(); proxy.Cut() }, 200, true},
		{"Postgres killed", pg.Kill, func() {}, len(all), true},
	} {
		fault.begin()
		gate.Forget()
		var mu sync.Mutex
		counts, worse, unknown := map[int]int{}, 0, 0
		var replay sync.WaitGroup
		slots := make(chan struct{}, 64)
		for _, q := range all[:fault.most] {
			slots <- struct{}{}
			replay.Go(func() {
				defer func() { <-slots }()
				status := ask(q)
				mu.Lock()
				defer mu.Unlock()
				counts[status]++
				switch {
				case denies(q.status) && !denies(status):
					worse++
					t.Errorf("%s: %s %s: %d became %d", fault.name, q.route, q.header, q.status, status)
				case status == 500:
					unknown++
				}
			})
		}
		replay.Wait()
		t.Logf("%s: %d replayed, %d a no that became a yes; %s", fault.name, fault.most, worse, fmt.Sprint(counts))
		if unknown > 0 || fault.sql && counts[503] == 0 || !fault.sql && counts[503] > 0 {
			t.Errorf("%s: %v", fault.name, counts)
		}
		fault.end()
	}
}
