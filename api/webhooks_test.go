package api_test

import (
	"net/netip"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/webhook"
)

// TestWebhooks: made, shown once with its secret, listed, rotated and deleted.
func TestWebhooks(t *testing.T) {
	s := idle(t)
	made := s.post("/v1/webhooks", `{"url":"https://hooks.example.com/x","name":"n","events":["failed"],"all":false}`, asJSON)
	w := made.json(t)
	fields := []string{"all", "created_at", "events", "former_secret_until", "id", "name", "url"}
	wantFields(t, "webhook", w, append(fields[:6:6], "secret", "url"))
	path := made.header.Get("Location")
	secret, _ := w["secret"].(string)
	if made.status != 201 || path != "/v1/webhooks/"+w["id"].(string) || w["all"] != false || len(w["events"].([]any)) != 1 || !strings.HasPrefix(secret, "whsec_") ||
		made.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %v %s", made.status, made.header, made.body)
	}
	read := s.get(path)
	wantFields(t, "webhook", read.json(t), fields)
	list := s.get("/v1/webhooks")
	if len(list.json(t)["data"].([]any)) != 1 || strings.Contains(string(list.body)+string(read.body), secret[6:]) {
		t.Errorf("got %s and %s", list.body, read.body)
	}
	rotated := s.post(path+"/rotate", "")
	if next := rotated.str(t, "secret"); rotated.status != 200 || next == secret || !strings.HasPrefix(next, "whsec_") || rotated.json(t)["former_secret_until"] == nil {
		t.Errorf("rotate: got %d %s", rotated.status, rotated.body)
	}
	// The operations that name it are told of.
	id := w["id"].(string)
	for i, op := range []map[string]any{
		s.submit("?webhook="+id, "One."), s.post("/v1/operations", `{"text":"Two.","webhook":"`+id+`"}`, asJSON).json(t),
		s.post("/v1/batches", `{"webhook":"`+id+`","documents":[{"text":"Three."}]}`, asJSON).json(t)["data"].([]any)[0].(map[string]any),
	} {
		if op["webhook"] != id {
			t.Errorf("%d: got %v", i, op)
		}
		s.fail(op["id"].(string))
		if again := s.post("/v1/operations/"+op["id"].(string)+"/retry", "").json(t); again["webhook"] != id {
			t.Errorf("%d: the retry names %v", i, again["webhook"])
		}
	}
	other := s.submit("", "Four.")
	s.fail(other["id"].(string))
	page := s.get(path + "/deliveries?limit=2").json(t)
	wantFields(t, "deliveries", page, pageFields)
	rest := s.get(path + "/deliveries?limit=2&state=pending&cursor=" + page["next_cursor"].(string)).json(t)
	if len(page["data"].([]any)) != 2 || page["has_more"] != true || len(rest["data"].([]any)) != 1 || rest["has_more"] != false {
		t.Errorf("got %v and %v, want three deliveries", page, rest)
	}
	wantFields(t, "delivery", page["data"].([]any)[0], []string{"attempts", "created_at", "ended_at", "error", "id", "next_attempt_at", "operation_id", "state", "status"})
	if got := s.get(path + "/deliveries?state=dead").json(t)["data"].([]any); len(got) != 0 {
		t.Errorf("dead: %v", got)
	}
	if a := s.post(path+"/redeliver", ""); a.status != 200 || a.json(t)["redelivered"] != 0.0 {
		t.Errorf("redeliver: %d %s", a.status, a.body)
	}
	for _, bad := range []string{"?state=x", "?limit=0"} {
		wantProblem(t, bad, s.get(path+"/deliveries"+bad), 422, "invalid_value")
	}
	wantProblem(t, "cursor", s.get(path+"/deliveries?cursor=x"), 422, "invalid_cursor")
	if a := s.do("DELETE", path, nil); a.status != 204 {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
	wantProblem(t, "deleted", s.get(path), 404, "not_found")

	for body, code := range map[string]string{
		`{}`: "missing_field", `{"url":7}`: "invalid_value", `{"url":"http://hooks.example.com"}`: "invalid_value", `{"url":"https://127.0.0.1"}`: "invalid_value",
		`{"url":"https://[::ffff:10.0.0.1]/"}`: "invalid_value", `{"url":"https://user@hooks.example.com"}`: "invalid_value", `{"url":"https://a.example","events":[]}`: "invalid_value",
		`{"url":"https://a.example","events":["started"]}`: "invalid_value", `{"url":"https://a.example","events":["failed","failed"]}`: "invalid_value",
		`{"url":"https://a.example","secret":"x"}`: "unknown_field", `{"url":"https://a.example","all":1}`: "invalid_value", `{"url":"https://a.example","name":"\u0001"}`: "invalid_value",
	} {
		wantProblem(t, body, s.post("/v1/webhooks", body, asJSON), 422, code)
	}
	for _, name := range []string{id, "whk_0", "", "x"} {
		p := wantProblem(t, "webhook "+name, s.post("/v1/operations?webhook="+name, "x"), 404, "not_found")
		if p != nil && p["param"] != "webhook" {
			t.Errorf("%q: param %v", name, p["param"])
		}
		wantProblem(t, "webhook "+name, s.post("/v1/operations", `{"text":"x","webhook":"`+name+`"}`, asJSON), 404, "not_found")
		wantProblem(t, "webhook "+name, s.post("/v1/batches", `{"webhook":"`+name+`","documents":[{"text":"x"}]}`, asJSON), 404, "not_found")
	}
	for range 20 {
		if a := s.post("/v1/webhooks", `{"url":"https://a.example"}`, asJSON); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	wantProblem(t, "one more", s.post("/v1/webhooks", `{"url":"https://a.example"}`, asJSON), 429, "quota_exceeded")
}

// TestWebhooksInside: what the operator allows is taken.
func TestWebhooksInside(t *testing.T) {
	s := idle(t, func(c *api.Config) {
		c.Webhooks = webhook.Policy{HTTP: true, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	})
	if a := s.post("/v1/webhooks", `{"url":"http://10.1.2.3:8080/"}`, asJSON); a.status != 201 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	wantProblem(t, "another network", s.post("/v1/webhooks", `{"url":"http://10.2.2.3:8080/"}`, asJSON), 422, "invalid_value")
}
