package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/secret"
	"chunkstream/store"
)

// gated runs a service in which everybody has to show something.
func gated(t *testing.T, change ...func(*api.Config)) *server {
	t.Helper()
	return idle(t, append([]func(*api.Config){func(c *api.Config) {
		gate, err := auth.New(auth.Config{Store: c.Store, StaticKey: secret.New(key), MaxFailures: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		c.Gate, c.Loopback = gate, false
		counting(c)
	}}, change...)...)
}

func (s *server) key(owner string, scopes auth.Scopes, life time.Duration) (key, id string) {
	s.t.Helper()
	key = auth.NewKey()
	k, err := s.store.CreateKey(s.t.Context(), store.NewKey{Owner: owner, Digest: auth.Digest(key), Hint: auth.Hint(key),
		Scopes: scopes.Names(), Expires: life}, store.Act{})
	if err != nil {
		s.t.Fatal(err)
	}
	return key, k.ID
}

func bearer(key string) string { return "Authorization: Bearer " + key }

const allScopes = auth.EveryDay | auth.MetricsRead | auth.Admin

// routeBodies is what each route that needs a body is sent; requests with it are fine in every other way.
var routeBodies = map[string]string{
	"POST /v1/operations":             `{"text":"One. Two."}`,
	"POST /v1/operations/{id}/cancel": "", "POST /v1/operations/{id}/retry": "",
	"POST /v1/preview": `{"text":"One. Two."}`, "POST /v1/compare": `{"text":"One. Two.","strategies":[{},{"strategy":"sentence"}]}`,
	"POST /v1/recommend": `{"text":"One. Two."}`, "POST /v1/tokens": `{"text":"One. Two."}`,
	"POST /v1/batches": `{"documents":[{"text":"One."}]}`, "POST /v1/batches/{id}/cancel": "", "POST /v1/batches/{id}/retry": "", "POST /v1/configurations": `{"name":"one"}`,
	"PUT /v1/configurations/{id}": `{"name":"one"}`,
	"POST /v1/webhooks":           `{"url":"https://hooks.example.com"}`, "POST /v1/webhooks/{id}/rotate": "", "POST /v1/webhooks/{id}/redeliver": "",
	"POST /v1/keys": `{"owner":"somebody"}`, "POST /v1/blocks": `{"kind":"token","value":"t-1"}`, "POST /v1/tickets": `{}`,
}

// objects are somebody's: what the {id} of a path is.
type objects struct{ operation, document, key, batch, configuration, webhook, script string }

func (o objects) path(t *testing.T, route string) string {
	t.Helper()
	_, path, _ := strings.Cut(route, " ")
	path = strings.TrimSuffix(path, "{$}")
	id := ""
	switch {
	case strings.HasPrefix(path, "/v1/operations/"):
		id = o.operation
	case strings.HasPrefix(path, "/v1/documents/"):
		id = o.document
	case strings.HasPrefix(path, "/v1/keys/"):
		id = o.key
	case strings.HasPrefix(path, "/v1/batches/"):
		id = o.batch
	case strings.HasPrefix(path, "/v1/configurations/"):
		id = o.configuration
	case strings.HasPrefix(path, "/docs/"):
		path = "/docs/elements-9.0.25.css"
	case strings.HasPrefix(path, "/v1/webhooks/"):
		id = o.webhook
	case path == "/errors/{code}":
		path = "/errors/not_found"
	case path == "/ui/{file}":
		path = o.script
	case path == "/operations/{id}":
		id = o.operation
	}
	path = strings.Replace(path, "{id}", id, 1)
	path = strings.Replace(path, "{chunk}", "0", 1)
	if strings.Contains(path, "{") {
		t.Fatalf("%s: say here what to put into the path", route)
	}
	if route == "DELETE /v1/blocks" {
		path += "?kind=token&value=t-0"
	}
	return path
}

// ask sends a request that may begin a stream, and gives the answer to where it begins.
func (s *server) ask(route, path string, headers ...string) answer {
	s.t.Helper()
	method, _, _ := strings.Cut(route, " ")
	body, needs := routeBodies[route]
	if (method == "POST" || method == "PUT") != needs {
		s.t.Fatalf("%s: say in routeBodies what to send", route)
	}
	if strings.HasSuffix(path, "/ws") {
		headers = append(slices.Clone(wsHeaders), headers...)
	}
	var r bytes.Buffer
	fmt.Fprintf(&r, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, strings.TrimPrefix(s.url, "http://"))
	if body != "" {
		headers = append(headers, asJSON, fmt.Sprint("Content-Length: ", len(body)))
	}
	for _, h := range headers {
		fmt.Fprintf(&r, "%s\r\n", h)
	}
	fmt.Fprintf(&r, "\r\n%s", body)
	c := s.dial()
	defer c.Close()
	if _, err := c.Write(r.Bytes()); err != nil {
		s.t.Fatal(err)
	}
	head := make([]byte, 0, 4096)
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one[0]) {
		if _, err := io.ReadFull(c, one); err != nil {
			s.t.Fatalf("%s: %v after %q", route, err, head)
		}
	}
	if bytes.HasPrefix(head, []byte("HTTP/1.1 101")) || bytes.Contains(head, []byte("text/event-stream")) {
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
		if err != nil {
			s.t.Fatal(err)
		}
		return answer{status: res.StatusCode, header: res.Header}
	}
	return readAnswer(s.t, io.MultiReader(bytes.NewReader(head), c))
}

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

// faceless is an answer without what is of this one request alone.
func faceless(a answer) string {
	return fmt.Sprint(a.status, " ", a.header.Get("Content-Type"), " ", a.header.Get("Www-Authenticate"), " ",
		requestIDs.ReplaceAllString(string(a.body), ""))
}

// TestMatrix asks every route there is, sockets and streams too, as everybody who should not get in, and as those who
// should.
func TestMatrix(t *testing.T) {
	s := gated(t)
	ctx := t.Context()
	mine := func(owner string) (o objects) {
		k, _ := s.key(owner, allScopes, 0)
		op := s.post("/v1/operations", "Text of "+owner, bearer(k)).json(t)
		o.operation, o.document = op["id"].(string), op["document_id"].(string)
		for _, run := range s.claim() { // so that it has a chunk
			n := run.Operation.BytesTotal
			batch := store.Batch{Chunks: []store.Chunk{{EndByte: n, EndChar: n}}, BytesDone: n, Last: true}
			if _, err := run.Commit(ctx, batch); err != nil {
				t.Fatal(err)
			}
		}
		_, o.key = s.key(owner, 0, 0)
		o.batch = s.post("/v1/batches", `{"documents":[{"text":"`+owner+`"}]}`, asJSON, bearer(k)).str(t, "id")
		o.configuration = s.post("/v1/configurations", `{"name":"of `+owner+`"}`, asJSON, bearer(k)).str(t, "id")
		o.webhook = s.post("/v1/webhooks", `{"url":"https://hooks.example.com"}`, asJSON, bearer(k)).str(t, "id")
		return o
	}
	alice := mine("alice")
	missing := objects{"op_0", "doc_0", "key_0", "bat_0", "cfg_0", "whk_0", ""}
	if alice.script = regexp.MustCompile(`/ui/[^"]+\.js`).FindString(string(s.get("/").body)); alice.script == "" {
		t.Fatal("the page loads no script")
	}
	wantProblem(t, "nowhere", s.get("/v1/nowhere"), 401, "unauthenticated")
	whole, _ := s.key("alice", allScopes, 0)
	other, _ := s.key("bob", allScopes, 0)
	expired, _ := s.key("alice", allScopes, time.Millisecond)
	revoked, revokedID := s.key("alice", allScopes, 0)
	if _, err := s.store.RevokeKey(ctx, revokedID, store.Act{}); err != nil {
		t.Fatal(err)
	}
	blocked, _ := s.key("mallory", allScopes, 0)
	if _, err := s.store.Block(ctx, "owner", "mallory", "", store.Act{}); err != nil {
		t.Fatal(err)
	}
	lacking := map[string]string{} // by what is needed
	for _, needs := range s.api.Access() {
		if needs == "public" || needs == "any" || lacking[needs] != "" {
			continue
		}
		scopes, err := auth.ParseScopes(strings.Fields(needs))
		if err != nil {
			t.Fatal(err)
		}
		// All but what is needed, and not admin either, which has everything.
		lacking[needs], _ = s.key("alice", allScopes&^scopes&^auth.Admin, 0)
	}
	admin, _ := s.key("root", auth.Admin, 0)

	outside := map[string][]string{
		"anonymous": nil, "a wrong key": {bearer(auth.NewKey())}, "no key at all": {bearer("x")}, "another scheme": {"Authorization: Basic " + whole},
		"two keys": {bearer(whole), bearer(whole)}, "expired": {bearer(expired)}, "revoked": {bearer(revoked)}, "blocked": {bearer(blocked)},
		"a wrong ticket": {bearer(auth.NewTicket())},
	}
	tried := 0
	rules := s.api.Access()
	if len(rules) != len(s.api.Routes()) {
		t.Fatalf("%d of %d routes say who may use them", len(rules), len(s.api.Routes()))
	}
	for _, route := range s.api.Routes() {
		path, needs := alice.path(t, route), rules[route]
		try := func(who, path string, headers ...string) answer {
			tried++
			return s.ask(route, path, headers...)
		}
		if needs == "public" {
			if a := try("anonymous", path); a.status != 200 {
				t.Errorf("%s: got %d, and it is open to everybody", route, a.status)
			}
			continue
		}
		// Whoever is nobody, and in the URL a right key is nothing either.
		want := ""
		for who, headers := range outside {
			a := try(who, path, headers...)
			wantProblem(t, route+" as "+who, a, 401, "unauthenticated")
			if got := faceless(a); want != "" && got != want {
				t.Errorf("%s as %s: got %s, others get %s", route, who, got, want)
			} else {
				want = got
			}
		}
		in := "?"
		if strings.Contains(path, "?") {
			in = "&"
		}
		wantProblem(t, route+" with the key in the URL", try("", path+in+"access_token="+whole+"&token="+whole), 401, "unauthenticated")
		if strings.HasSuffix(path, "/ws") {
			protocol := func(key string) string { return "Sec-WebSocket-Protocol: chunkstream, access_token." + key }
			for _, secret := range []string{expired, revoked, blocked, auth.NewKey()} {
				wantProblem(t, route+" by subprotocol", try("", path, protocol(secret)), 401, "unauthenticated")
			}
			if a := try("", path, protocol(whole)); a.status != 101 {
				t.Errorf("%s by subprotocol: got %d %s", route, a.status, a.body)
			}
			wantProblem(t, route+" from elsewhere", try("", path, bearer(whole), "Origin: https://evil.example"), 403, "cross_origin")
		}
		if needs != "any" {
			a := try("wrong scope", path, bearer(lacking[needs]))
			p := wantProblem(t, route+" without the scope", a, 403, "forbidden")
			if p != nil && (!strings.Contains(p["detail"].(string), strings.ReplaceAll(needs, " ", " and ")) || !strings.Contains(a.header.Get("Www-Authenticate"), needs)) {
				t.Errorf("%s: the answer does not name %s: %s", route, needs, a.body)
			}
		}
		if strings.Contains(route, "{id}") {
			for who, k := range map[string]string{"another owner": other, "admin": admin} {
				if strings.HasPrefix(path, "/v1/keys/") {
					continue // every administrator's
				}
				foreign, none := try(who, path, bearer(k)), try(who, missing.path(t, route), bearer(k))
				if foreign.status != 404 || faceless(foreign) != faceless(none) {
					t.Errorf("%s as %s: got %s, want what a missing one gets: %s", route, who, faceless(foreign), faceless(none))
				}
			}
		} else if a := try("another owner", path, bearer(other)); a.status >= 400 {
			if route != "DELETE /v1/blocks" { // there is nothing yet to let in again
				t.Errorf("%s as another owner: got %d %s", route, a.status, a.body)
			}
		} else if !strings.HasPrefix(path, "/v1/keys") && !strings.HasPrefix(path, "/v1/audit") &&
			(bytes.Contains(a.body, []byte(alice.operation)) || bytes.Contains(a.body, []byte(alice.document))) {
			t.Errorf("%s as another owner: shows what is not theirs: %s", route, a.body)
		}
		for who, k := range map[string]string{"owner": whole, "operator's key": key, "admin": admin} {
			if who != "owner" && strings.Contains(route, "{id}") {
				continue
			}
			if a := try(who, path, bearer(k)); a.status == 401 || a.status == 403 || a.status == 404 && route != "DELETE /v1/blocks" || a.status >= 500 {
				t.Errorf("%s as %s: got %d %s", route, who, a.status, a.body)
			}
		}
	}
	t.Logf("%d routes, %d requests", len(rules), tried)
	for _, secret := range []string{whole, other, expired, revoked, blocked, admin, key} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has the key %s", secret)
		}
	}
}

// TestKeysOverHTTP makes, uses, lists and revokes keys, and finds it all in the audit log.
func TestKeysOverHTTP(t *testing.T) {
	s := gated(t)
	made := s.post("/v1/keys", `{"owner":"alice","name":"laptop","scopes":["documents:read","operations:write","operations:read"],"expires_in":3600}`, asJSON, bearer(key))
	if made.status != 201 || made.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %s", made.status, made.body)
	}
	k := made.json(t)
	wantFields(t, "key", k, []string{"created_at", "created_by", "expires_at", "hint", "id", "key", "last_used_at", "name", "owner", "revoked_at", "scopes"})
	secret, id := k["key"].(string), k["id"].(string)
	if me := s.get("/v1/me", bearer(secret)).json(t); me["owner"] != "alice" || me["expires_at"] == nil || len(me["scopes"].([]any)) != 3 {
		t.Errorf("me: %v", me)
	}
	if a := s.post("/v1/operations", "Text", bearer(secret)); a.status != 202 {
		t.Errorf("submit: %d %s", a.status, a.body)
	}
	wantProblem(t, "keys", s.get("/v1/keys", bearer(secret)), 403, "forbidden")
	list := s.get("/v1/keys?owner=alice", bearer(key))
	if one := list.json(t)["data"].([]any)[0].(map[string]any); one["id"] != id || one["last_used_at"] == nil || one["key"] != nil || strings.Contains(string(list.body), secret) {
		t.Errorf("list: %s", list.body)
	}
	for range 3 {
		s.post("/v1/keys", `{"owner":"bob"}`, asJSON, bearer(key))
	}
	seen := map[string]bool{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page := s.get("/v1/keys?limit=2&cursor="+cursor, bearer(key)).json(t)
		for _, one := range page["data"].([]any) {
			seen[one.(map[string]any)["id"].(string)] = true
		}
		cursor = page["next_cursor"].(string)
	}
	if len(seen) != 4 {
		t.Errorf("pages have %d keys, want 4", len(seen))
	}
	if a := s.do("DELETE", "/v1/keys/"+id, nil, bearer(key)); a.status != 200 || a.json(t)["revoked_at"] == nil {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	wantProblem(t, "revoked", s.get("/v1/me", bearer(secret)), 401, "unauthenticated")
	wantProblem(t, "no such key", s.do("DELETE", "/v1/keys/key_1", nil, bearer(key)), 404, "not_found")

	bob := s.post("/v1/keys", `{"owner":"bob"}`, asJSON, bearer(key)).str(t, "key")
	if a := s.get("/v1/me", bearer(bob)); a.status != 200 {
		t.Errorf("bob: %d", a.status)
	}
	if a := s.post("/v1/blocks", `{"kind":"owner","value":"bob","reason":"left"}`, asJSON, bearer(key)); a.status != 200 {
		t.Errorf("block: %d %s", a.status, a.body)
	}
	wantProblem(t, "blocked", s.get("/v1/me", bearer(bob)), 401, "unauthenticated")
	if got := s.get("/v1/blocks", bearer(key)).json(t)["data"].([]any); len(got) != 1 {
		t.Errorf("blocks: %v", got)
	}
	if a := s.do("DELETE", "/v1/blocks?kind=owner&value=bob", nil, bearer(key)); a.status != 204 {
		t.Errorf("unblock: %d %s", a.status, a.body)
	}
	wantProblem(t, "unblock again", s.do("DELETE", "/v1/blocks?kind=owner&value=bob", nil, bearer(key)), 404, "not_found")
	if a := s.get("/v1/me", bearer(bob)); a.status != 200 {
		t.Errorf("unblocked: %d", a.status)
	}

	var acts []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page := s.get("/v1/audit?limit=3&cursor="+cursor, bearer(key)).json(t)
		for _, one := range page["data"].([]any) {
			e := one.(map[string]any)
			if e["actor"] != "local" || !strings.HasPrefix(e["request_id"].(string), "req_") {
				t.Errorf("entry %v", e)
			}
			acts = append(acts, e["action"].(string))
		}
		cursor = page["next_cursor"].(string)
	}
	want := "block.delete block.create key.create key.revoke key.create key.create key.create key.create"
	if got := strings.Join(acts, " "); got != want {
		t.Errorf("audit: got %s, want %s", got, want)
	}
}

func TestKeysOverHTTPRefuses(t *testing.T) {
	s := gated(t)
	for path, bodies := range map[string]map[string]string{
		"/v1/keys": {`{}`: "missing_field", `{"owner":""}`: "invalid_value", `{"owner":"a b"}`: "invalid_value", `{"owner":5}`: "invalid_value",
			`{"owner":"a","scopes":["all"]}`: "invalid_value", `{"owner":"a","scopes":[]}`: "invalid_value", `{"owner":"a","scopes":"admin"}`: "invalid_value",
			`{"owner":"a","scopes":[1]}`: "invalid_value", `{"owner":"a","expires_in":0}`: "invalid_value", `{"owner":"a","expires_in":1e3}`: "invalid_value",
			`{"owner":"a","name":"a\u0000"}`: "invalid_value", `{"owner":"a","id":"key_1"}`: "unknown_field", `{"owner":"a","created_by":"x"}`: "unknown_field",
			`{"Owner":"a"}`: "unknown_field"},
		"/v1/blocks": {`{}`: "missing_field", `{"kind":"owner"}`: "missing_field", `{"kind":"key","value":"a"}`: "invalid_value",
			`{"kind":"owner","value":""}`: "invalid_value", `{"kind":"owner","value":"\u0007"}`: "invalid_value"},
		"/v1/tickets": {`{"operation_id":1}`: "invalid_value", `{"op":"x"}`: "unknown_field"},
	} {
		for body, code := range bodies {
			wantProblem(t, path+" "+body, s.post(path, body, asJSON, bearer(key)), 422, code)
		}
		wantProblem(t, path, s.post(path, "x", bearer(key)), 415, "unsupported_media_type")
	}
	wantProblem(t, "ticket for another's", s.post("/v1/tickets", `{"operation_id":"op_1"}`, asJSON, bearer(key)), 404, "not_found")
	for _, path := range []string{"/v1/keys?cursor=x", "/v1/audit?cursor=x"} {
		wantProblem(t, path, s.get(path, bearer(key)), 422, "invalid_cursor")
	}
	var doc map[string]any
	if err := json.Unmarshal(s.get("/openapi.json").body, &doc); err != nil {
		t.Fatal(err)
	}
	for route, needs := range s.api.Access() {
		method, path, _ := strings.Cut(strings.TrimSuffix(route, "{$}"), " ")
		security := dig(doc, "paths", path, strings.ToLower(method), "security").([]any)[0].(map[string]any)
		if scopes, keyed := security["key"].([]any); keyed != (needs != "public") || keyed && len(scopes) == 0 != (needs == "any") {
			t.Errorf("%s: described as %v, needs %s", route, security, needs)
		}
	}
}
