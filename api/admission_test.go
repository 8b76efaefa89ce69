package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/store"
)

// queue puts operations of an owner into the store, as another process would.
func (s *server) queue(owner, text string, n int) {
	s.t.Helper()
	for i := range n {
		staged, err := s.store.Stage(s.t.Context(), owner, strings.NewReader(fmt.Sprint(text, i)), 1<<20)
		if err == nil {
			_, err = s.store.Create(s.t.Context(), store.NewOperation{Owner: owner, Staged: staged, Strategy: "recursive", Settings: []byte("{}")})
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestAdmission: each limit refuses, with its own status, a time to come back and before the body has come; what is below
// it is taken.
func TestAdmission(t *testing.T) {
	long := strings.Repeat("a", 1000)
	for name, c := range map[string]struct {
		limits api.Limits
		fill   func(*server)
		status int
		code   string
	}{
		"none":          {api.Limits{}, func(s *server) { s.queue(auth.Local.Owner, "a", 5) }, 202, ""},
		"below":         {api.Limits{Total: api.Limit{Queued: 6}}, func(s *server) { s.queue("other", "a", 5) }, 202, ""},
		"queued":        {api.Limits{Total: api.Limit{Queued: 5}}, func(s *server) { s.queue("other", "a", 5) }, 503, "overloaded"},
		"owner's":       {api.Limits{Owner: api.Limit{Queued: 5}}, func(s *server) { s.queue(auth.Local.Owner, "a", 5) }, 429, "owner_limit"},
		"another's":     {api.Limits{Owner: api.Limit{Queued: 5}}, func(s *server) { s.queue("other", "a", 9) }, 202, ""},
		"bytes":         {api.Limits{Total: api.Limit{Bytes: 1500}}, func(s *server) { s.queue("other", long, 1) }, 503, "overloaded"},
		"owner's bytes": {api.Limits{Owner: api.Limit{Bytes: 1500}}, func(s *server) { s.queue(auth.Local.Owner, long, 1) }, 429, "owner_limit"},
		"one too large": {api.Limits{Owner: api.Limit{Bytes: 10}}, func(s *server) {}, 202, ""},
		"oldest": {api.Limits{Total: api.Limit{Oldest: time.Millisecond}}, func(s *server) {
			s.queue("other", "a", 1)
			for { // the database's clock is the one that counts
				load, err := s.store.Load(s.t.Context())
				if err != nil {
					s.t.Fatal(err)
				}
				if load.Oldest > 10*time.Millisecond {
					return
				}
			}
		}, 503, "overloaded"},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t, func(c2 *api.Config) { c2.Limits = c.limits })
			api.SetBodyGrace(s.api, time.Second) // net/http waits for a body that nobody reads, before it sends the answer
			c.fill(s)
			if c.status == http.StatusAccepted {
				if a := s.post("/v1/operations", long); a.status != c.status {
					t.Errorf("got %d %s", a.status, a.body)
				}
				return
			}
			// Of the body nothing is sent: the answer comes all the same.
			a := s.exchange("POST /v1/operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
			wantProblem(t, name, a, c.status, c.code)
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

// TestReceiving: bodies that are arriving count as well, until they have come or their client has gone.
func TestReceiving(t *testing.T) {
	s := idle(t, func(c *api.Config) { c.Limits.Total.Receiving = 1500 })
	c := s.dial()
	fmt.Fprint(c, "POST /v1/operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nthe beginning")
	deadline := time.Now().Add(30 * time.Second)
	for { // until the first one has been let in
		a := s.exchange("POST /v1/operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
		if a.status == http.StatusServiceUnavailable {
			wantProblem(t, "beside one that is arriving", a, 503, "overloaded")
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d %s, want 503", a.status, a.body)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for s.post("/v1/operations", strings.Repeat("a", 1000)).status != http.StatusAccepted {
		if time.Now().After(deadline) {
			t.Fatal("the bytes of a client that has gone still count")
		}
	}
}

var failure = event.Failure{Code: "parser_memory", Detail: "too much"}

// TestQuarantined: a text that ended as poison is refused, and says how to run it once more; that is not refused.
func TestQuarantined(t *testing.T) {
	s := idle(t)
	op := s.submit("", "a text that kills")
	path := "/v1/operations/" + op["id"].(string)
	for range 2 {
		runs, _, err := s.store.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 1, Bytes: 1 << 30,
			SplitterVersion: op["splitter_version"].(string), Lease: time.Minute})
		if err != nil || len(runs) != 1 {
			t.Fatalf("%d runs, %v", len(runs), err)
		}
		if _, err := runs[0].Crash(t.Context(), failure, 0); err != nil {
			t.Fatal(err)
		}
	}
	got := s.get(path).json(t)
	if got["dead_letter"] != true || got["status"] != "failed" {
		t.Errorf("after two deaths: %v", got)
	}
	list := s.get("/v1/operations?dead_letter=true").json(t)["data"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["id"] != op["id"] {
		t.Errorf("the dead letters are %v", list)
	}
	a := s.post("/v1/operations", "a text that kills")
	wantProblem(t, "the text again", a, 422, "quarantined")
	if !strings.Contains(a.json(t)["suggestion"].(string), path+"/retry") {
		t.Errorf("the suggestion does not say how: %s", a.body)
	}
	again := s.post(path+"/retry", "")
	if again.status != http.StatusAccepted || again.json(t)["retry_of"] != op["id"] || again.json(t)["dead_letter"] != false {
		t.Errorf("retry: got %d %s", again.status, again.body)
	}
}
