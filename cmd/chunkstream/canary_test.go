package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/servertest"
)

// canary is a secret that is put in somewhere and must come out nowhere.
type canary struct{ name, text string }

// forms are the ways in which a secret would still be one: as it is, in hex, in a URL, in a JSON string, and in base64 at
// each of the three places within its groups; whole, and the middle alone.
func (c canary) forms() map[string]string {
	forms := map[string]string{}
	middle := c.text[len(c.text)/4:]
	middle = middle[:min(len(middle), 16)]
	for part, text := range map[string]string{"whole": c.text, "middle": middle} {
		quoted, err := json.Marshal(text)
		if err != nil {
			panic(err) // a string
		}
		for name, form := range map[string]string{
			"raw": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
			"query": url.QueryEscape(text), "path": url.PathEscape(text), "json": strings.Trim(string(quoted), `"`), "go": strings.Trim(fmt.Sprintf("%q", text), `"`),
			"bytes": strings.Trim(fmt.Sprint([]byte(text)), "[]"), "reversed": reversed(text),
		} {
			forms[part+" "+name] = form
		}
		for shift := range 3 {
			whole := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), text...))
			inner := whole[(shift*8+5)/6 : len(whole)-2] // what neighbours do not change
			forms[fmt.Sprint(part, " base64 ", shift)] = inner
			forms[fmt.Sprint(part, " base64url ", shift)] = strings.NewReplacer("+", "-", "/", "_").Replace(inner)
		}
	}
	return forms
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// found says in which form a canary is in a text; "" is in none.
func (c canary) found(text string) string {
	for name, form := range c.forms() {
		if strings.Contains(text, form) {
			return name
		}
	}
	return ""
}

// TestCanaries puts secrets through processes that work and that fail, and looks for them in everything that comes out:
// logs, answers, headers, events of others, metrics, the audit log, doctor and config show.
func TestCanaries(t *testing.T) {
	t.Parallel()
	word := func(name string) canary {
		return canary{name, "Canary-" + name + "/" + rand.Text() + "+" + rand.Text()}
	}
	apiKey, jwtSecret, redisPassword, postgresPassword := word("key"), word("jwt-secret"), word("redis"), word("postgres")
	document, idempotency := word("document"), word("idempotency")
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	claims := part(map[string]any{"iss": "https://id.example", "aud": "chunkstream", "sub": "carol", "scope": "operations:read documents:read", "exp": time.Now().Add(time.Hour).Unix()})
	signed := part(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." + claims
	mac := hmac.New(sha256.New, []byte(jwtSecret.text))
	mac.Write([]byte(signed))
	token := canary{"JWT", signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}

	redis := servertest.StartRedis(t)
	if _, err := redis.Do("CONFIG", "SET", "requirepass", "another"); err != nil {
		t.Fatal(err)
	}
	nowhere := servertest.FreeAddress(t)
	login := func(scheme, host, path string, c canary) string {
		return (&url.URL{Scheme: scheme, User: url.UserPassword("user", c.text), Host: host, Path: path}).String()
	}
	env := []string{"CHUNKSTREAM_API_KEY=" + apiKey.text, "CHUNKSTREAM_JWT_SECRET=" + jwtSecret.text, "CHUNKSTREAM_JWT_ISSUER=https://id.example", "CHUNKSTREAM_JWT_AUDIENCE=chunkstream"}
	with := func(more ...string) []string { return append(append([]string{}, env...), more...) }

	var out output
	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), with("CHUNKSTREAM_REDIS="+login("redis", nowhere, "/0", redisPassword)), "--lease", "500ms", "--log-format", "json",
		"--admin-listen", "127.0.0.1:0", "--rate-limit", "1000", "--webhook-http", "--webhook-network", "127.0.0.0/8").ready()
	ask := func(method, path, body string, headers ...string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		head := new(bytes.Buffer)
		if err := res.Header.Write(head); err != nil {
			t.Fatal(err)
		}
		out.add(method+" "+path[:min(len(path), 20)]+" headers", head.String())
		if res.StatusCode >= 400 {
			out.add(method+" "+path[:min(len(path), 20)], string(b))
		}
		return res.StatusCode, string(b)
	}
	const auth, kind, asJSON = "Authorization", "Content-Type", "application/json"
	admin := "Bearer " + apiKey.text
	answer := func(what, body, field string) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatalf("%s: %v: %s", what, err, body)
		}
		text, _ := m[field].(string)
		if text == "" {
			t.Fatalf("%s: no %s in %s", what, field, body)
		}
		return text
	}
	// A webhook whose address does not answer.
	_, body := ask("POST", "/v1/webhooks", `{"url":"http://`+nowhere+`/told"}`, auth, admin, kind, asJSON)
	hook, hookSecret := answer("webhook", body, "id"), canary{"webhook", answer("webhook", body, "secret")}
	// What works: a document that is cut, a key, a ticket, a token.
	_, body = ask("POST", "/v1/operations?wait=20", document.text+" is all of it.", auth, admin, "Idempotency-Key", idempotency.text)
	op := answer("operation", body, "id")
	_, body = ask("POST", "/v1/keys", `{"owner":"bob","scopes":["operations:read","documents:read","metrics:read"]}`, auth, admin, kind, asJSON)
	madeKey := canary{"made key", answer("key", body, "key")}
	_, body = ask("POST", "/v1/tickets", `{}`, auth, admin, kind, asJSON)
	ticket := canary{"ticket", answer("ticket", body, "ticket")}
	if status, body := ask("GET", "/v1/me", "", auth, "Bearer "+token.text); status != 200 {
		t.Fatalf("token: %d %s", status, body)
	}
	canaries := []canary{apiKey, jwtSecret, token, madeKey, ticket, redisPassword, postgresPassword, document, idempotency, hookSecret}
	for deadline := time.Now().Add(30 * time.Second); ; { // until what it was to be told of has failed once
		_, body := ask("GET", "/v1/webhooks/"+hook+"/deliveries", "", auth, admin)
		if strings.Contains(body, `"attempts":`) && !strings.Contains(body, `"attempts":0`) && !strings.Contains(body, `"error":""`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody tried to tell the webhook: %s", body)
		}
	}

	// What fails, with each secret in each place where one may end up by mistake. A wrong value of a setting is left out: it is
	// quoted to whoever sent it, on purpose.
	for _, c := range canaries {
		escaped := url.QueryEscape(c.text)
		quoted := strings.ReplaceAll(c.text, `"`, `\"`)
		for _, try := range [][]string{
			{"GET", "/v1/me", "", auth, "Bearer " + c.text + "x"}, {"GET", "/v1/me", "", auth, "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+c.text))},
			{"GET", "/v1/me", "", auth, c.text}, {"GET", "/v1/operations?access_token=" + escaped, ""}, {"GET", "/v1/operations?token=" + escaped, "", auth, admin},
			{"GET", "/v1/operations?status=" + escaped, "", auth, admin}, {"GET", "/v1/operations?cursor=" + escaped, "", auth, admin},
			{"GET", "/v1/operations/" + url.PathEscape(c.text), "", auth, admin}, {"GET", "/nowhere/" + url.PathEscape(c.text), "", auth, admin},
			{"POST", "/v1/operations", `{"text":"` + quoted + `","text":"x"}`, auth, admin, kind, asJSON}, {"POST", "/v1/operations", `{"text":"` + quoted + `"`, auth, admin, kind, asJSON},
			{"POST", "/v1/operations", c.text + "\x00", auth, admin}, {"POST", "/v1/preview?chunk_size=0", c.text, auth, admin}, {"POST", "/v1/preview?encoding=utf-16", c.text + "\xd8", auth, admin},
			{"POST", "/v1/operations", "other", auth, admin, "Idempotency-Key", c.text}, {"POST", "/v1/operations", "another", auth, admin, "Idempotency-Key", c.text},
			{"GET", "/v1/me", "", auth, admin, "Cookie", "session=" + c.text}, {"GET", "/v1/nowhere", "", auth, admin, "Referer", "http://x/?k=" + escaped},
			{"GET", "/v1/ws", "", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol", "chunkstream, access_token." + strings.NewReplacer("/", "", "+", "").Replace(c.text)},
		} {
			if strings.Contains(try[len(try)-1], "access_token.") && c.name == "ticket" {
				continue // it would open the stream
			}
			if c.name == "JWT" || c.name == "made key" || c.name == "key" {
				if len(try) > 4 && strings.Contains(try[len(try)-1], "access_token.") {
					continue
				}
			}
			ask(try[0], try[1], try[2], try[3:]...)
		}
	}
	// What others see.
	bob := "Bearer " + madeKey.text
	for _, path := range []string{"/v1/operations", "/v1/documents", "/v1/operations/" + op, "/v1/operations/" + op + "/chunks", "/v1/statistics", "/metrics", "/v1/me", "/openapi.json", "/readyz", "/docs", "/"} {
		_, body := ask("GET", path, "", auth, bob)
		out.add("bob's "+path, body)
	}
	for _, path := range []string{"/v1/audit", "/v1/keys", "/v1/blocks", "/metrics", "/v1/operations/" + op, "/v1/operations", "/v1/webhooks", "/v1/webhooks/" + hook, "/v1/webhooks/" + hook + "/deliveries"} {
		_, body := ask("GET", path, "", auth, admin)
		out.add("admin's "+path, body)
	}
	s.stop()
	out.add("log of a server without Redis", s.output.String())
	if got := s.output.String(); !strings.Contains(got, `"msg":"refused"`) || !strings.Contains(got, "redis call failed") {
		t.Errorf("the log has no refusals or no failures of Redis: is it the right one?\n%.2000s", got)
	}

	// Processes that fail, or look at what they stand on.
	folder := t.TempDir()
	config := filepath.Join(folder, "chunkstream.yaml")
	postgres, withPassword := login("postgres", nowhere, "/db", postgresPassword), login("redis", redis.Address, "/0", redisPassword)
	if err := os.WriteFile(config, []byte("database: "+postgres+"\nredis: "+withPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runs := [][]string{
		{"serve", "--listen", "127.0.0.1:0", "--database", postgres}, {"worker", "--database", postgres, "--redis", withPassword}, {"keys", "list", "--database", postgres},
		{"serve", "--listen", "127.0.0.1:0", "--database", "postgres://user:" + postgresPassword.text + "@[bad/db"}, {"serve", "--listen", "127.0.0.1:0", "--database", "host=127.0.0.1 port=1 user=u password='" + postgresPassword.text + "'"},
		{"serve", "--listen", "127.0.0.1:0", "--database", "host=127.0.0.1 password=" + postgresPassword.text + " sslmode=nonsense"}, {"serve", "--listen", "127.0.0.1:0", "--data", folder, "--redis", "redis://" + redisPassword.text},
		{"serve", "--listen", "127.0.0.1:0", "--data", folder, "--redis", redisPassword.text}, {"doctor", "--data", folder, "--redis", withPassword}, {"doctor", "--database", postgres, "--redis", login("redis", nowhere, "/0", redisPassword)},
		{"--config", config, "config", "show", "--origin"}, {"--config", config, "config", "check"}, {"--config", config, "doctor"}, {"serve", "--listen", ":0", "--data", folder, "--redis", withPassword, "--workers", "none"},
		{"worker", "--data", folder, "--celery-broker", "redis://:" + redisPassword.text + "@host:port"},
	}
	var running sync.WaitGroup
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range runs {
		running.Go(func() {
			cmd := exec.CommandContext(t.Context(), self, args...)
			cmd.Env = append(append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0"), env...)
			said, _ := cmd.CombinedOutput() // nearly all of them fail, which is what they are for
			if len(said) == 0 {
				t.Errorf("%.40q said nothing", args)
			}
			out.add(fmt.Sprintf("%.60q", args[:2]), string(said))
		})
	}
	running.Wait()

	for _, c := range canaries {
		for _, one := range out.all {
			if form := c.found(one.text); form != "" {
				t.Errorf("%s: %s has it (%s): %.600s", c.name, one.what, form, one.text)
			}
		}
	}
	t.Logf("%d canaries in %d forms, %d texts with %d bytes searched", len(canaries), len(apiKey.forms()), len(out.all), out.size())
	if len(out.all) < 300 || out.size() < 200_000 {
		t.Errorf("only %d texts were searched", len(out.all))
	}
	// A search that finds nothing must be one that could.
	for _, form := range apiKey.forms() {
		if apiKey.found("before "+form+" behind") == "" {
			t.Errorf("the search does not see %q", form)
		}
	}
	for shift := range 3 {
		if apiKey.found(base64.StdEncoding.EncodeToString([]byte("abc"[:shift]+apiKey.text+" and more"))) == "" {
			t.Errorf("the search does not see base64 at place %d", shift)
		}
	}
}

// output is everything that processes said.
type output struct {
	mu  sync.Mutex
	all []struct{ what, text string }
}

func (o *output) add(what, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, struct{ what, text string }{what, text})
}

func (o *output) size() (n int) {
	for _, one := range o.all {
		n += len(one.text)
	}
	return n
}
