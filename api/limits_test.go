package api_test

import (
	"fmt"
	"strconv"
	"testing"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/limit"
)

// TestRateLimit: each owner has a bucket of their own, every answer says what is left of it, and an empty one says when to
// come back.
func TestRateLimit(t *testing.T) {
	l, err := limit.New(limit.Config{PerSecond: 1.0 / 100, Burst: 3})
	if err != nil {
		t.Fatal(err)
	}
	s := gated(t, func(c *api.Config) { c.Limit = l })
	alice, _ := s.key("alice", auth.EveryDay, 0)
	again, _ := s.key("alice", auth.EveryDay, 0)
	bob, _ := s.key("bob", auth.EveryDay, 0)
	for i, k := range []string{alice, again, alice} {
		a := s.get("/v1/me", bearer(k))
		var left, full int
		_, err := fmt.Sscanf(a.header.Get("Ratelimit"), `"owner";r=%d;t=%d`, &left, &full)
		if a.status != 200 || err != nil || left != 2-i || full > 100*(i+1) || full <= 100*i || a.header.Get("Ratelimit-Policy") != `"owner";q=3` {
			t.Errorf("request %d: got %d, %v, %v", i+1, a.status, err, a.header)
		}
	}
	a := s.get("/v1/me", bearer(alice))
	wantProblem(t, "the fourth", a, 429, "rate_limited")
	if got, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || got > 100 || got < 60 {
		t.Errorf("Retry-After %d, %v, want about 100", got, err)
	}
	for _, route := range []string{"/v1/operations", "/v1/events", "/v1/nowhere"} {
		wantProblem(t, route, s.get(route, bearer(again)), 429, "rate_limited")
	}
	// Nothing that a client says of itself makes it another one.
	for _, header := range []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 203.0.113.10, 127.0.0.1", "Forwarded: for=203.0.113.9",
		"X-Real-Ip: 203.0.113.9", "True-Client-Ip: 203.0.113.9", "X-Owner: bob"} {
		wantProblem(t, header, s.get("/v1/me", bearer(alice), header), 429, "rate_limited")
	}
	if a := s.get("/v1/me", bearer(bob)); a.status != 200 {
		t.Errorf("another owner: got %d", a.status)
	}
	if a := s.get("/healthz"); a.status != 200 || a.header.Get("Ratelimit") != "" {
		t.Errorf("what is public: got %d, %q", a.status, a.header.Get("Ratelimit"))
	}
}

// TestQuotas: an owner with as much as there may be can make no more until there is room; others can.
func TestQuotas(t *testing.T) {
	s := gated(t, func(c *api.Config) { c.MaxStored = 5 })
	bob, _ := s.key("bob", auth.EveryDay, 0)
	alice, _ := s.key("alice", auth.EveryDay, 0)
	op := s.post("/v1/operations", "12345", bearer(alice)).json(t)
	wantProblem(t, "more text", s.post("/v1/operations", "6", bearer(alice)), 429, "quota_exceeded")
	wantProblem(t, "a batch", s.post("/v1/batches", `{"documents":[{"text":"x"}]}`, asJSON, bearer(alice)), 429, "quota_exceeded")
	if a := s.post("/v1/operations", "6", bearer(bob)); a.status != 202 {
		t.Errorf("another owner: got %d", a.status)
	}
	s.post("/v1/operations/"+op["id"].(string)+"/cancel", "", bearer(alice))
	if a := s.do("DELETE", "/v1/documents/"+op["document_id"].(string), nil, bearer(alice)); a.status != 204 {
		t.Fatalf("delete: %d", a.status)
	}
	if a := s.post("/v1/operations", "6", bearer(alice)); a.status != 202 {
		t.Errorf("with room: got %d", a.status)
	}
}
