package api_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/secret"
	"chunkstream/store"
)

const key = "correct-horse-battery"

func keyed(t *testing.T) func(*api.Config) {
	t.Helper()
	gate, err := auth.New(auth.Config{StaticKey: secret.New(key), MaxFailures: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *api.Config) { c.Gate = gate }
}

// TestHostNames: DNS rebinding brings a foreign name to a loopback listener.
func TestHostNames(t *testing.T) {
	s := idle(t)
	for _, host := range []string{"localhost", "LOCALHOST:8484", "127.0.0.1", "127.8.9.1:1", "[::1]", "[::1]:8484",
		"localhost:80"} {
		if !api.LoopbackHost(host) {
			t.Errorf("%s: refused", host)
		}
	}
	for _, host := range []string{
		"", "evil.example", "evil.example:8484", "localhost.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "0.0.0.0",
		"[::]", "[::2]:80", "localhost.", "[::1%25lo]", "10.0.0.1", "2130706433", "[::ffff:10.0.0.1]",
	} {
		if api.LoopbackHost(host) {
			t.Errorf("%s: accepted", host)
		}
		if host != "" && !strings.Contains(host, "%") {
			wantProblem(t, "Host "+host, s.get("/v1/operations", "Host: "+host), 421, "host_not_allowed")
			wantProblem(t, "Host "+host, s.get("/", "Host: "+host), 421, "host_not_allowed")
		}
	}
	// With a key the name does not matter: the key is what a page cannot have.
	k := idle(t, keyed(t))
	if a := k.get("/v1/operations", "Host: chunks.example", "Authorization: Bearer "+key); a.status != 200 {
		t.Errorf("with a key: got %d %s", a.status, a.body)
	}
}

// TestCrossOrigin: a page of another origin may change nothing (with fetch metadata or an Origin), a program may.
func TestCrossOrigin(t *testing.T) {
	s := idle(t)
	host := strings.TrimPrefix(s.url, "http://")
	for _, headers := range [][]string{
		{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Origin: https://evil.example"}, {"Origin: null"},
		{"Sec-Fetch-Site: cross-site", "Content-Type: text/plain"}, {"Origin: http://localhost:1"},
	} {
		wantProblem(t, strings.Join(headers, " "), s.post("/v1/operations", sample, headers...), 403, "cross_origin")
		wantProblem(t, strings.Join(headers, " "), s.do("DELETE", "/v1/documents/doc_1", nil, headers...), 403,
			"cross_origin")
		wantProblem(t, strings.Join(headers, " "), s.post("/v1/preview", sample, headers...), 403, "cross_origin")
	}
	for _, headers := range [][]string{nil, {"Sec-Fetch-Site: same-origin"}, {"Sec-Fetch-Site: none"},
		{"Origin: http://" + host}} {
		if a := s.post("/v1/preview", sample, headers...); a.status != 200 {
			t.Errorf("%v: got %d %s", headers, a.status, a.body)
		}
	}
	if a := s.get("/v1/operations", "Sec-Fetch-Site: cross-site"); a.status != 200 ||
		a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("reading across origins is the browser's to refuse: got %d, ACAO %q", a.status,
			a.header.Get("Access-Control-Allow-Origin"))
	}
}

func TestSameOrigin(t *testing.T) {
	for origin, want := range map[string]bool{
		"http://h:1": true, "https://h:1": true, "HTTP://h:1": false, "http://H:1": true, "http://h": false,
		"http://h:2":  false,
		"http://h:1/": false, "http://h:1.evil.example": false, "http://evil.example/h:1": false, "http://x@h:1": false,
		"null": false, "": false, "h:1": false, "ws://h:1": false, "http://": false, "file://h:1": false,
		"http://h:1 ": false,
	} {
		r := httptest.NewRequest("GET", "http://h:1/v1/ws", nil)
		r.Header["Origin"] = []string{origin}
		if got := api.SameOrigin(r) == nil; got != want {
			t.Errorf("Origin %q: got %v, want %v", origin, got, want)
		}
	}
	r := httptest.NewRequest("GET", "http://h:1/v1/ws", nil)
	if err := api.SameOrigin(r); err != nil {
		t.Errorf("no Origin: %v", err)
	}
	r.Header["Origin"] = []string{"http://h:1", "http://h:1"}
	if err := api.SameOrigin(r); err == nil {
		t.Error("two Origins: accepted")
	}
}

func TestRequestID(t *testing.T) {
	s := idle(t)
	long := strings.Repeat("i", 128)
	for _, id := range []string{"abc-123_.:Z", long} {
		if got := s.get("/healthz", "X-Request-Id: "+id).header.Get("X-Request-Id"); got != id {
			t.Errorf("%.20s: got %q, want it back", id, got)
		}
	}
	for _, id := range []string{"", "a b", "ä", long + "i", "a,b", `"x"`} {
		if got := s.get("/healthz", "X-Request-Id: "+id).header.Get("X-Request-Id"); got == id || !strings.HasPrefix(got,
			"req_") {
			t.Errorf("%.20q: got %q, want one of our own", id, got)
		}
	}
	if got := s.get("/healthz", "X-Request-Id: a", "X-Request-Id: b").header["X-Request-Id"]; len(got) != 1 ||
		len(got[0]) < 10 {
		t.Errorf("two ids: got %q, want one of our own", got)
	}
}

// policies are the answers that a browser shows as a page; everything else may do nothing at all.
var policies = map[string]string{
	"GET /{$}": api.PagesCSP, "GET /operations": api.PagesCSP, "GET /operations/{id}": api.PagesCSP,
	"GET /configurations": api.PagesCSP, "GET /webhooks": api.PagesCSP, "GET /keys": api.PagesCSP, "GET /docs": api.DocsCSP,
	"GET /errors": errorsCSP, "GET /errors/{code}": errorsCSP,
}

// errorsCSP is of pages that have one style, by its digest, and no script.
const errorsCSP = "default-src 'none'; style-src 'sha256-…'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var digests = regexp.MustCompile(`'sha256-[A-Za-z0-9+/]{43}='`)

// unsafeHeaders says what an answer lacks. policy is the Content-Security-Policy that it must have.
func unsafeHeaders(h http.Header, policy string, tls bool) (lacks []string) {
	want := map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Security-Policy": policy,
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Server": "", "X-Powered-By": "", "Set-Cookie": "",
		"Strict-Transport-Security": "",
	}
	if tls {
		want["Strict-Transport-Security"] = "max-age=31536000"
	}
	for name, value := range want {
		if got := digests.ReplaceAllString(strings.Join(h.Values(name), ", "), "'sha256-…'"); got != value {
			lacks = append(lacks, fmt.Sprintf("%s: got %q, want %q", name, got, value))
		}
	}
	if got := h.Get("X-Request-Id"); len(got) < 10 {
		lacks = append(lacks, fmt.Sprintf("X-Request-Id: got %q", got))
	}
	if got := h.Values("Cache-Control"); len(got) != 1 || got[0] == "" {
		lacks = append(lacks, fmt.Sprintf("Cache-Control: got %q, want one", got))
	}
	if kind := h.Get("Content-Type"); strings.HasPrefix(kind, "text/html") && (policy == api.NothingCSP || !strings.Contains(kind, "charset=utf-8")) {
		lacks = append(lacks, "Content-Type: got "+kind+", and it is none of the pages, or says no charset")
	}
	return lacks
}

// TestSecurityHeaders: every route there is, answering well and refusing, and what is no route; and what may be kept by
// caches is of nobody.
func TestSecurityHeaders(t *testing.T) {
	s := gated(t)
	k, _ := s.key("alice", allScopes, 0)
	op := s.post("/v1/operations", "Text", bearer(k)).json(t)
	o := objects{operation: op["id"].(string), document: op["document_id"].(string)}
	_, o.key = s.key("somebody", 0, 0)
	o.batch = s.post("/v1/batches", `{"documents":[{"text":"x"}]}`, asJSON, bearer(k)).str(t, "id")
	o.configuration = s.post("/v1/configurations", `{"name":"n"}`, asJSON, bearer(k)).str(t, "id")
	o.script = regexp.MustCompile(`/ui/[^"]+\.js`).FindString(string(s.get("/").body))
	seen := 0
	check := func(what, policy string, a answer) {
		t.Helper()
		seen++
		if a.status == http.StatusSwitchingProtocols {
			return // there is nothing to show, keep or run
		}
		for _, l := range unsafeHeaders(a.header, policy, false) {
			t.Errorf("%s (%d): %s", what, a.status, l)
		}
	}
	good := map[int]int{}
	access := s.api.Access()
	for _, route := range s.api.Routes() {
		policy := cmp.Or(policies[route], api.NothingCSP)
		a := s.ask(route, o.path(t, route), bearer(k))
		check(route, policy, a)
		good[a.status/100]++
		if got := a.header.Get("Cache-Control"); access[route] != "public" && a.status != 101 && !strings.HasPrefix(got, "no-store") && !strings.HasPrefix(got, "private") {
			t.Errorf("%s: somebody's data may be kept: Cache-Control: %s", route, got)
		}
		if access[route] != "public" {
			check(route+" without a key", api.NothingCSP, s.ask(route, o.path(t, route)))
		}
		method, path, _ := strings.Cut(strings.TrimSuffix(route, "{$}"), " ")
		check(route+" by another method", api.NothingCSP, s.do("PATCH", strings.Replace(strings.Replace(path, "{id}", "x", 1), "{file}", "x", 1), nil, bearer(k)))
		if access[route] != "public" {
			check(route+" with an unknown parameter", api.NothingCSP, s.do(method, o.path(t, route)+"?no_such=1", nil, bearer(k)))
		}
	}
	if good[1] != 2 || good[5] > 0 || good[2] < len(s.api.Routes())*4/5 {
		t.Errorf("of the routes %v answered by hundreds", good)
	}
	for _, path := range []string{"/nowhere", "/v1/nowhere", "/docs/none.js", "/ui/none.js", "/..%2f", "/v1//operations", "/.git/config"} {
		check(path, api.NothingCSP, s.get(path, bearer(k)))
	}
	t.Logf("%d answers of %d routes", seen, len(s.api.Routes()))
	for name, policy := range map[string]string{"pages": api.PagesCSP, "docs": api.DocsCSP, "all others": api.NothingCSP} {
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy lacks %s", name, part)
			}
		}
		for _, part := range []string{"unsafe-eval", "http:", "https:", "*", "script-src 'self' '"} {
			if strings.Contains(policy, part) {
				t.Errorf("%s: the policy has %s", name, part)
			}
		}
	}
}

// TestSecurityHeadersCanFail: an answer that lacks one of the headers, or has one it must not have, is seen.
func TestSecurityHeadersCanFail(t *testing.T) {
	s := idle(t)
	whole := s.get("/v1/operations").header
	if got := unsafeHeaders(whole, api.NothingCSP, false); len(got) != 0 {
		t.Fatalf("a good answer: %v", got)
	}
	for _, name := range []string{"X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy", "Cross-Origin-Opener-Policy",
		"Cross-Origin-Resource-Policy", "X-Request-Id", "Cache-Control"} {
		bare := whole.Clone()
		bare.Del(name)
		if got := unsafeHeaders(bare, api.NothingCSP, false); len(got) != 1 {
			t.Errorf("without %s: %v", name, got)
		}
	}
	for name, value := range map[string]string{"Access-Control-Allow-Origin": "*", "Server": "x", "Set-Cookie": "a=b", "Content-Type": "text/html; charset=utf-8",
		"Content-Security-Policy": "default-src 'self'"} {
		more := whole.Clone()
		more.Set(name, value)
		if got := unsafeHeaders(more, api.NothingCSP, false); len(got) != 1 {
			t.Errorf("with %s: %v", name, got)
		}
	}
	if got := unsafeHeaders(whole, api.NothingCSP, true); len(got) != 1 {
		t.Errorf("on TLS: %v", got)
	}
	bare := httptest.NewRecorder()
	http.NewServeMux().ServeHTTP(bare, httptest.NewRequest("GET", "/", nil)) // a route around all of ServeHTTP
	if got := unsafeHeaders(bare.Header(), api.NothingCSP, false); len(got) < 6 {
		t.Errorf("a route without headers: %v", got)
	}
}

// TestPanic: a handler that panics answers 500 without a word about why, the log has it all, and the server lives on.
func TestPanic(t *testing.T) {
	s := idle(t, func(c *api.Config) {
		c.Ready = func(context.Context) api.Readiness { panic("the password is swordfish") }
		c.Parse = func(string, []byte) (chunk.Plan, error) { panic("swordfish again") }
	})
	for path, method := range map[string]string{"/readyz": "GET", "/v1/preview": "POST"} { // one route is huma's, one is plain
		a := s.do(method, path, strings.NewReader("text"), "X-Request-Id: find-me")
		wantProblem(t, path, a, 500, "internal")
		if strings.Contains(string(a.body), "swordfish") {
			t.Errorf("%s: the answer tells: %s", path, a.body)
		}
	}
	if got := s.log.String(); !strings.Contains(got, "swordfish") || !strings.Contains(got, "find-me") ||
		!strings.Contains(got, "goroutine") {
		t.Errorf("the log lacks the cause, the request id or the stack: %s", got)
	}
	if a := s.get("/healthz"); a.status != 200 {
		t.Errorf("afterwards: got %d", a.status)
	}
}

// TestUnknownErrorsStayInside closes the store under the API and breaks it: no text of an error reaches a client.
func TestUnknownErrorsStayInside(t *testing.T) {
	s := idle(t)
	op := s.submit("", sample)
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/operations", "/v1/operations/" + op["id"].(string),
		"/v1/documents/" + op["document_id"].(string),
		"/v1/operations/" + op["id"].(string) + "/chunks", "/v1/operations/" + op["id"].(string) + "/events", "/v1/events"} {
		a := s.get(path)
		if a.status != 500 && a.status != 503 {
			t.Errorf("%s: got %d %s, want 500 or 503", path, a.status, a.body)
		}
		for _, word := range []string{"sql", "store:", "database", "SELECT"} {
			if strings.Contains(string(a.body), word) {
				t.Errorf("%s: the answer has %q: %s", path, word, a.body)
			}
		}
	}
	wantProblem(t, "submit", s.post("/v1/operations", "more"), 503, "unavailable")
	if got := s.log.String(); !strings.Contains(got, "request failed") || !strings.Contains(got, "request_id=req_") {
		t.Errorf("the log lacks the failures: %s", got)
	}
}

// TestNoEcho: what a client sent is not sent back at length.
func TestNoEcho(t *testing.T) {
	s := idle(t)
	long := strings.Repeat("Q", 100_000)
	for what, a := range map[string]answer{
		"json":     s.post("/v1/operations", `{"text":"x","`+long+`":1}`, asJSON),
		"setting":  s.post("/v1/operations", `{"text":"x","config":{"`+long+`":1}}`, asJSON),
		"value":    s.post("/v1/operations", `{"text":"x","config":{"unit":"`+long+`"}}`, asJSON),
		"strategy": s.post("/v1/operations", `{"text":"x","strategy":"`+long+`"}`, asJSON),
		"nesting":  s.post("/v1/operations", strings.Repeat(`{"a":`, 100_000), asJSON),
		"query":    s.get("/v1/operations?" + long[:4000] + "=1"),
		"status":   s.get("/v1/operations?status=" + long[:4000]),
		"number":   s.get("/v1/operations?limit=" + strings.Repeat("9", 4000)),
	} {
		if a.status < 400 || a.status >= 500 || len(a.body) > 1200 || strings.Contains(string(a.body), long[:300]) {
			t.Errorf("%s: got %d with %d bytes: %.300s", what, a.status, len(a.body), a.body)
		}
	}
}

func TestReadiness(t *testing.T) {
	now := api.Readiness{OK: true}
	s := idle(t, func(c *api.Config) { c.Ready = func(context.Context) api.Readiness { return now } })
	for _, tt := range []struct {
		now    api.Readiness
		status int
		word   string
	}{
		{api.Readiness{OK: true}, 200, "ready"},
		{api.Readiness{OK: true, Degraded: true, Reasons: []string{"live runs on the poll"}}, 200, "degraded"},
		{api.Readiness{Reasons: []string{"the database does not answer"}}, 503, "unavailable"},
	} {
		now = tt.now
		a := s.get("/readyz")
		m := a.json(t)
		if a.status != tt.status || m["status"] != tt.word || len(m["reasons"].([]any)) != len(tt.now.Reasons) {
			t.Errorf("%+v: got %d %s", tt.now, a.status, a.body)
		}
	}
	if a := s.get("/healthz"); a.status != 200 || a.str(t, "status") != "ok" {
		t.Errorf("healthz: got %d %s", a.status, a.body)
	}
}

func TestMetricsCountByPattern(t *testing.T) {
	s := idle(t)
	s.get("/v1/operations/op_secret1")
	s.get("/v1/operations/op_secret2")
	s.get("/nowhere/secret")
	got := string(s.get("/metrics").body)
	for _, want := range []string{
		`chunkstream_http_requests_total{code="404",route="GET /v1/operations/{id}"} 2`,
		`chunkstream_http_requests_total{code="404",route="none"} 1`,
		`chunkstream_http_request_duration_seconds_count{route="GET /v1/operations/{id}"} 2`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Error("a label has a path")
	}
}

// TestForeignObjects: another owner's operation is as unknown as one that does not exist.
func TestForeignObjects(t *testing.T) {
	s := idle(t)
	staged, err := s.store.Stage(t.Context(), "somebody", strings.NewReader("theirs"), 100)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.store.Create(t.Context(), store.NewOperation{
		Owner: "somebody", Staged: staged, Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: "1",
	})
	if err != nil {
		t.Fatal(err)
	}
	self, doc := "/v1/operations/"+made.Operation.ID, "/v1/documents/"+made.Document.ID
	for _, route := range []string{"GET " + self, "POST " + self + "/cancel", "POST " + self + "/retry",
		"GET " + self + "/chunks",
		"GET " + self + "/events", "GET " + doc, "DELETE " + doc, "GET " + doc + "/text"} {
		method, path, _ := strings.Cut(route, " ")
		wantProblem(t, route, s.do(method, path, nil), 404, "not_found")
	}
	wantProblem(t, "socket", s.get(self+"/ws", wsHeaders...), 404, "not_found")
	wantProblem(t, "their document", s.post("/v1/operations", `{"document_id":"`+made.Document.ID+`"}`, asJSON), 404,
		"not_found")
	if got := s.get("/v1/operations").json(t)["data"].([]any); len(got) != 0 {
		t.Errorf("list: got %v", got)
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if a, err := api.New(api.Config{}); err == nil || a != nil {
		t.Errorf("got %v, %v; want an error", a, err)
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"chunksize", "chunk_size"}, {"chunk_sise", "chunk_size"}, {"wiat", "wait"}, {"uni", "unit"}, {"x", ""}, {"", ""},
		{strings.Repeat("chunk_size", 10), ""}, {"overlap_chunk", ""}, {"strtegy", "strategy"},
	} {
		if got := api.Nearest(tt.name, []string{"wait", "unit", "chunk_size", "chunk_overlap", "strategy"}); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
