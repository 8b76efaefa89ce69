package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/store"
)

const jwtSecret = "0123456789abcdefghijklmnopqrstuv"

// jwtFor is a token of the identity provider.
func jwtFor(t *testing.T, owner, id string) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": "https://id.example", "aud": "chunkstream", "sub": owner, "jti": id, "exp": time.Now().Add(time.Hour).Unix(),
		"scope": "operations:read operations:write documents:read"})
	mac := hmac.New(sha256.New, []byte(jwtSecret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestRevocation: what another process ends (a key, one token, an owner) opens nothing any more, and the streams that it
// opened end, on each way in. The log has how long each took.
func TestRevocation(t *testing.T) {
	s := gated(t, func(c *api.Config) {
		tokens, err := auth.NewJWT(auth.JWTConfig{Issuer: "https://id.example", Audience: "chunkstream", Secret: secret.New(jwtSecret)})
		if err != nil {
			t.Fatal(err)
		}
		gate, err := auth.New(auth.Config{Store: c.Store, JWT: tokens, MaxFailures: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		c.Gate = gate
	})
	ctx := t.Context()
	keyOf := func(owner string) (string, string) { return s.key(owner, auth.EveryDay, 0) }
	aliceKey, aliceID := keyOf("alice")
	bobKey, _ := keyOf("bob")
	for _, tt := range []struct {
		what, shown string
		end         func() error // not by this process's gate, which would know at once
	}{
		{"a key", aliceKey, func() error { _, err := s.store.RevokeKey(ctx, aliceID, store.Act{}); return err }},
		{"a token", jwtFor(t, "carol", "t-1"), func() error { _, err := s.store.Block(ctx, "token", "t-1", "", store.Act{}); return err }},
		{"an owner, by key", bobKey, func() error { _, err := s.store.Block(ctx, "owner", "bob", "", store.Act{}); return err }},
		{"an owner, by token", jwtFor(t, "dave", "t-2"), func() error { _, err := s.store.Block(ctx, "owner", "dave", "", store.Act{}); return err }},
	} {
		op := s.post("/v1/operations", "Text of "+tt.what, bearer(tt.shown)).str(t, "id")
		socket, all := s.openSocket("/v1/operations/"+op+"/ws", bearer(tt.shown)), s.openSocket("/v1/ws", bearer(tt.shown))
		_, next := s.stream("/v1/operations/"+op+"/events", bearer(tt.shown))
		res, err := http.DefaultClient.Do(mustRequest(t, s.url+"/v1/events", bearer(tt.shown)))
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range []*rawSocket{socket, all} {
			if text, code, _ := one.next(); code != 0 || !strings.Contains(text, op) {
				t.Errorf("%s: a socket began with %q, %d", tt.what, text, code)
			}
		}
		if e := next(); e.Type != event.Snapshot {
			t.Errorf("%s: SSE began with %v", tt.what, e.Type)
		}
		if err := tt.end(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for _, one := range []*rawSocket{socket, all} {
			if text, code, _ := one.next(); code != 4401 {
				t.Errorf("%s: a socket got %q, %d, want 4401", tt.what, text, code)
			}
		}
		sockets := time.Since(began)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("%s: SSE: %v, want its end", tt.what, err)
		}
		res.Body.Close()
		streams := time.Since(began)
		for s.get("/v1/me", bearer(tt.shown)).status != 401 {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s opens for ever", tt.what)
			}
			time.Sleep(10 * time.Millisecond)
		}
		rest := time.Since(began)
		for _, path := range []string{"/v1/operations/" + op, "/v1/operations/" + op + "/events?since=1", "/v1/events"} {
			wantProblem(t, tt.what+": "+path, s.get(path, bearer(tt.shown)), 401, "unauthenticated")
		}
		wantProblem(t, tt.what+": socket", s.get("/v1/ws", append(wsHeaders, bearer(tt.shown))...), 401, "unauthenticated")
		t.Logf("%s: sockets %v, SSE %v, REST %v", tt.what, sockets.Round(time.Millisecond), streams.Round(time.Millisecond), rest.Round(time.Millisecond))
	}
}

// TestRefusalsAreLogged: who was refused what, from where, and never what was shown.
func TestRefusalsAreLogged(t *testing.T) {
	s := gated(t)
	reader, id := s.key("alice", auth.DocumentsRead, 0)
	wrong := auth.NewKey()
	s.get("/v1/operations", bearer(wrong))
	s.get("/v1/operations", bearer(reader))
	s.get("/v1/operations")
	log := s.log.String()
	var refused []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "msg=refused") {
			refused = append(refused, line)
		}
	}
	if len(refused) != 2 {
		t.Fatalf("got %d lines, want 2: %s", len(refused), log)
	}
	for i, words := range [][]string{
		{"level=WARN", "code=unauthenticated", `route="GET /v1/operations"`, "request_id=req_", "address=127.0.0.1"},
		{"level=WARN", "code=forbidden", `route="GET /v1/operations"`, "request_id=req_", "address=127.0.0.1", "actor=" + id},
	} {
		for _, word := range words {
			if !strings.Contains(refused[i], word) {
				t.Errorf("line %d lacks %s: %s", i, word, refused[i])
			}
		}
	}
	if strings.Contains(log, wrong) || strings.Contains(log, reader) {
		t.Error("the log has a key")
	}
	if got := string(s.get("/metrics", bearer(key)).body); !strings.Contains(got, `chunkstream_refused_total{reason="forbidden"} 1`) || !strings.Contains(got, `chunkstream_refused_total{reason="unauthenticated"} 1`) {
		t.Errorf("metrics: %s", got)
	}
}
