package api_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/chunk"
)

func openAPI(t *testing.T, s *server) map[string]any {
	t.Helper()
	a := s.get("/openapi.json")
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %s", a.status, a.header.Get("Content-Type"))
	}
	return a.json(t)
}

// dig walks through objects by their keys.
func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// TestOpenAPI: the document is sound in itself and says exactly what is served.
func TestOpenAPI(t *testing.T) {
	s := idle(t)
	doc := openAPI(t, s)
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("got version %v, want 3.1", doc["openapi"])
	}
	var refs func(v any)
	refs = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if dig(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, one := range v {
				refs(one)
			}
		case []any:
			for _, one := range v {
				refs(one)
			}
		}
	}
	refs(doc)

	var described []string
	ids := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			route := strings.ToUpper(method) + " " + path
			described = append(described, route)
			id, _ := dig(op, "operationId").(string)
			if id == "" || ids[id] {
				t.Errorf("%s: operationId %q is missing or used twice", route, id)
			}
			ids[id] = true
			if s, _ := dig(op, "summary").(string); s == "" {
				t.Errorf("%s: no summary", route)
			}
			if dig(op, "responses", "default", "content", "application/problem+json", "schema", "$ref") !=
				"#/components/schemas/Problem" {
				t.Errorf("%s: the errors are not described as Problem", route)
			}
			fails := 0
			for status, answer := range dig(op, "responses").(map[string]any) {
				if ref, _ := dig(answer, "$ref").(string); ref == "#/components/responses/Problem"+status && status >= "400" {
					fails++
				}
			}
			if fails < 2 {
				t.Errorf("%s: names %d errors", route, fails)
			}
			var inPath []string
			params, _ := dig(op, "parameters").([]any)
			for _, p := range params {
				if dig(p, "in") == "path" {
					inPath = append(inPath, dig(p, "name").(string))
				}
				if d, _ := dig(p, "description").(string); d == "" || dig(p, "schema") == nil {
					t.Errorf("%s: parameter %v has no description or no schema", route, dig(p, "name"))
				}
			}
			var want []string
			for _, m := range parameter.FindAllStringSubmatch(path, -1) {
				want = append(want, m[1])
			}
			if !slices.Equal(inPath, want) {
				t.Errorf("%s: got path parameters %v, want %v", route, inPath, want)
			}
		}
	}
	var served []string
	for _, pattern := range s.api.Routes() {
		served = append(served, strings.TrimSuffix(pattern, "{$}"))
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described:\n%s\nserved:\n%s", strings.Join(described, "\n"), strings.Join(served, "\n"))
	}
	for name, fields := range map[string][]string{
		"Operation": operationFields, "Chunk": slices.Sorted(slices.Values(slices.Concat(chunkFields, rareChunkFields))), "OperationPage": pageFields, "Document": documentFields,
		"ChunkPage": {"at", "data", "has_more", "next_cursor", "operation_id", "operation_status"}, "Links": linkFields,
		"Problem":    {"code", "detail", "param", "request_id", "status", "suggestion", "title", "type"},
		"SubmitBody": {"config", "configuration", "document_id", "name", "strategy", "text", "webhook"},
		"Event":      {"data", "operation_id", "seq", "time", "type"},
	} {
		wantFields(t, "schema "+name, dig(doc, "components", "schemas", name, "properties"), fields)
	}
	if got := dig(doc, "components", "schemas", "Operation", "properties", "created_at", "type"); got != "string" {
		t.Errorf("created_at is described as %v", got)
	}
}

// TestExamplesWork sends the examples of the request bodies.
func TestExamplesWork(t *testing.T) {
	s := idle(t)
	doc := openAPI(t, s)
	for path, status := range map[string]int{"/v1/operations": 202, "/v1/preview": 200, "/v1/compare": 200, "/v1/recommend": 200,
		"/v1/batches": 202, "/v1/configurations": 201, "/v1/webhooks": 201, "/v1/blocks": 200, "/v1/keys": 201} {
		content := dig(doc, "paths", path, "post", "requestBody", "content")
		for kind, media := range content.(map[string]any) {
			example := dig(media, "example")
			if example == nil {
				continue
			}
			body, ok := example.(string)
			if !ok {
				b, err := json.Marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				body = string(b)
			}
			if a := s.post(path, body, "Content-Type: "+kind); a.status != status {
				t.Errorf("%s as %s: got %d %s", path, kind, a.status, a.body)
			}
		}
	}
}

// TestDescribedFieldsAreTaken: what the document says a JSON body may have is what is taken, and the query parameters
// of a submission are the settings that exist.
func TestDescribedFieldsAreTaken(t *testing.T) {
	s := idle(t)
	doc := openAPI(t, s)
	for _, tt := range []struct{ path, schema string }{{"/v1/operations", "SubmitBody"}, {"/v1/preview", "PreviewBody"}} {
		for field := range dig(doc, "components", "schemas", tt.schema, "properties").(map[string]any) {
			a := s.post(tt.path, `{"`+field+`":[]}`, asJSON)
			if p := wantProblem(t, tt.path+" "+field, a, 422, "invalid_value"); p != nil && p["param"] != field {
				t.Errorf("%s: %s: got param %v", tt.path, field, p["param"])
			}
		}
		for _, p := range dig(doc, "paths", tt.path, "post", "parameters").([]any) {
			if name := dig(p, "name").(string); dig(p, "in") == "query" {
				query := "?" + name + "=%00"
				if strategy := strategyWith(name); strategy != "" && name != "strategy" {
					query += "&strategy=" + strategy
				}
				a := s.post(tt.path+query, "x")
				status, code := 422, "invalid_value"
				switch name {
				case "strategy":
					code = "unknown_strategy"
				case "configuration", "webhook":
					status, code = 404, "not_found"
				}
				if p := wantProblem(t, tt.path+" "+name, a, status, code); p != nil && p["param"] != name {
					t.Errorf("%s: %s: got param %v", tt.path, name, p["param"])
				}
			}
		}
	}
}

// strategyWith is the first strategy that has a setting, or "" if none does.
func strategyWith(setting string) string {
	for _, info := range chunk.Strategies() {
		if strings.Contains(string(info.Schema), `"`+setting+`":{`) {
			return info.Name
		}
	}
	return ""
}

func TestStrategies(t *testing.T) {
	s := idle(t)
	data := s.get("/v1/strategies").json(t)["data"].([]any)
	if want := len(chunk.Strategies()); len(data) != want {
		t.Fatalf("got %d strategies, want %d", len(data), want)
	}
	for _, one := range data {
		wantFields(t, "strategy", one, []string{"aliases", "defaults", "name", "schema", "summary"})
		properties := dig(one, "schema", "properties").(map[string]any)
		var defaults []string // not of a setting that there is only with some value of another
		for name := range properties {
			if dig(properties, name, "default") != nil {
				defaults = append(defaults, name)
			}
		}
		slices.Sort(defaults)
		wantFields(t, "defaults", dig(one, "defaults"), defaults)
		for name, p := range properties {
			if fmt.Sprint(dig(p, "default")) != fmt.Sprint(dig(one, "defaults", name)) {
				t.Errorf("%v: %s: schema says %v, the defaults %v", dig(one, "name"), name, dig(p, "default"), dig(one,
					"defaults", name))
			}
		}
	}
	if dig(data[0], "name") != "recursive" {
		t.Errorf("the first is %v, want the default", dig(data[0], "name"))
	}
}

// TestTokens: tokens are counted where the program hands over a tokenizer, and refused with a reason where not.
func TestTokens(t *testing.T) {
	const query = "/v1/preview?unit=tokens&chunk_size=8"
	if p := wantProblem(t, query, idle(t).post(query, "x"), 422, "invalid_value"); p != nil && p["param"] != "unit" {
		t.Errorf("got param %v, want unit", p["param"])
	}
	s := idle(t, counting)
	if a := s.post(query+"&tokenizer=o200k_base", "One two. Three."); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

var loads = regexp.MustCompile(`(?:src|href|apiDescriptionUrl)="([^"]*)"`)

// TestDocsAreOffline: what the documentation page loads comes from this server, is what it is taken for, and reaches
// clients with and without gzip.
func TestDocsAreOffline(t *testing.T) {
	s := idle(t)
	for file, want := range map[string]string{ // of the unpacked files, as in @stoplight/elements 9.0.25
		"elements-9.0.25.js":  "2cb7bb60bbf2846e077e2bd8357a61785120a1ab657885d482a6bd37b034c709",
		"elements-9.0.25.css": "062127db60930e408a1598797004dfcd14742b83a059ed6b381f08d42c4b4d3c",
	} {
		packed := s.get("/docs/"+file, "Accept-Encoding: br, gzip;q=0.8")
		if got := packed.header.Get("Content-Encoding"); got != "gzip" {
			t.Errorf("%s: got Content-Encoding %q", file, got)
		}
		r, err := gzip.NewReader(strings.NewReader(string(packed.body)))
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		plain := s.get("/docs/"+file, "Accept-Encoding: identity, gzip;q=0")
		for what, b := range map[string][]byte{"packed": unpacked, "plain": plain.body} {
			sum := sha256.Sum256(b)
			if got := hex.EncodeToString(sum[:]); got != want {
				t.Errorf("%s, %s: got SHA-256 %s, want %s", file, what, got, want)
			}
		}
		if !strings.Contains(packed.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: got Cache-Control %q", file, packed.header.Get("Cache-Control"))
		}
		if a := s.get("/docs/"+file, "If-None-Match: "+packed.header.Get("Etag")); a.status != http.StatusNotModified {
			t.Errorf("%s: got %d for its own ETag, want 304", file, a.status)
		}
	}
	wantProblem(t, "no such file", s.get("/docs/elements.LICENSE"), 404, "not_found")
	page := s.get("/docs")
	wantOffline(t, s, "docs", page)
	for _, directive := range []string{"connect-src 'self'", "script-src 'self';"} {
		if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, directive) {
			t.Errorf("docs: got %q, want %q in it", csp, directive)
		}
	}
}

// wantOffline checks that everything a page loads or links comes from this server and is there.
func wantOffline(t *testing.T, s *server, what string, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("%s: got Content-Type %q", what, got)
	}
	for _, m := range loads.FindAllStringSubmatch(string(a.body), -1) {
		if strings.HasPrefix(m[1], "data:") {
			continue
		}
		if !strings.HasPrefix(m[1], "/") || strings.HasPrefix(m[1], "//") {
			t.Errorf("%s: loads or links %q from elsewhere", what, m[1])
		} else if got := s.get(m[1], "Authorization: Bearer "+key); got.status != 200 {
			t.Errorf("%s: %s: got %d", what, m[1], got.status)
		}
	}
}

// TestPages: every page is the same document, needs no key, loads its own script and style alone, and forbids everything
// else to both.
func TestPages(t *testing.T) {
	s := idle(t, keyed(t))
	for _, path := range []string{"/", "/operations?status=failed", "/operations/op_x", "/configurations", "/webhooks", "/keys"} {
		page := s.get(path)
		wantOffline(t, s, path, page)
		body := string(page.body)
		if strings.Contains(body, "<style") || strings.Contains(body, " style=") || strings.Contains(body, "<script>") ||
			strings.Count(body, "<script") != 1 {
			t.Errorf("%s: has a style or a script of its own: %s", path, body)
		}
		csp := page.header.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;",
			"require-trusted-types-for 'script'; trusted-types 'none'"} {
			if !strings.Contains(csp, directive) || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: got Content-Security-Policy %q, want %q in it", path, csp, directive)
			}
		}
		if got := page.header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: got Cache-Control %q", path, got)
		}
	}
	index := s.get("/")
	if again := s.get("/", "If-None-Match: "+index.header.Get("Etag")); again.status != http.StatusNotModified {
		t.Errorf("index with its own ETag: got %d, want 304", again.status)
	}
	linked := loads.FindAllStringSubmatch(string(index.body), -1)
	for _, m := range linked {
		if !strings.HasPrefix(m[1], "/ui/") {
			continue
		}
		plain, packed := s.get(m[1]), s.get(m[1], "Accept-Encoding: gzip")
		if got := plain.header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: got Cache-Control %q", m[1], got)
		}
		r, err := gzip.NewReader(bytes.NewReader(packed.body))
		if err != nil {
			t.Fatal(err)
		}
		if unpacked, err := io.ReadAll(r); err != nil || !bytes.Equal(unpacked, plain.body) || len(plain.body) < 1000 {
			t.Errorf("%s: packed and plain differ, or are nothing: %v", m[1], err)
		}
	}
	wantProblem(t, "no such file", s.get("/ui/app.js"), 404, "not_found")
}

// TestDocumentation: docs/api.md has a curl line for every route and the table of all codes with their status, and nothing else.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	s := idle(t)
	var served []string
	for _, pattern := range s.api.Routes() {
		served = append(served, strings.TrimSuffix(pattern, "{$}"))
	}
	var documented []string
	sections := strings.Split(text, "\n### `")[1:]
	for _, section := range sections {
		route, rest, _ := strings.Cut(section, "`")
		documented = append(documented, route)
		_, path, _ := strings.Cut(route, " ")
		path, _, _ = strings.Cut(path, "{")
		if !strings.Contains(rest, "curl ") || !strings.Contains(rest, "localhost:8484"+path) {
			t.Errorf("docs/api.md: %s has no curl line", route)
		}
	}
	slices.Sort(served)
	slices.Sort(documented)
	if !slices.Equal(served, documented) {
		t.Errorf("served:\n%s\ndocumented:\n%s", strings.Join(served, "\n"), strings.Join(documented, "\n"))
	}
	var codes []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([45][0-9]{2}) \\|").FindAllStringSubmatch(text, -1) {
		codes = append(codes, m[1])
		if kind, _ := api.Kind(m[1]); !strings.HasPrefix(kind, m[2]+" ") {
			t.Errorf("docs/api.md has %s for %s, which is %q", m[2], m[1], kind)
		}
	}
	slices.Sort(codes)
	if want := api.Codes(); !slices.Equal(codes, want) {
		t.Errorf("docs/api.md has the codes\n%v\nwant\n%v", codes, want)
	}
}

// TestProblemPages: docs/errors.md has a section for every code there is, with its status and its title, whole; and the type
// of every problem leads to it, without a key.
func TestProblemPages(t *testing.T) {
	b, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	s := idle(t, keyed(t))
	wantOffline(t, s, "errors", s.get("/errors"))
	var codes []string
	for _, section := range strings.Split(string(b), "\n## `")[1:] {
		code, rest, _ := strings.Cut(section, "`\n")
		codes = append(codes, code)
		if _, known := api.Kind(code); !known {
			t.Errorf("docs/errors.md explains %s, which is no code", code)
			continue
		}
		if want, _ := api.Kind(code); !strings.HasPrefix(strings.TrimSpace(rest), want+"\n") {
			t.Errorf("%s: docs/errors.md does not begin with %q", code, want)
		}
		for _, point := range []string{"Meaning", "Likely cause", "Fix", "Repeat"} {
			if !regexp.MustCompile(`(?m)^- \*\*` + point + `\*\*: \S.{15,}\.$`).MatchString(rest) {
				t.Errorf("%s: docs/errors.md says nothing of %q", code, point)
			}
		}
		if strings.Count(rest, "`")%2 != 0 || strings.Count(rest, "\n- **") != 4 {
			t.Errorf("%s: docs/errors.md: unpaired backticks or other points", code)
		}
		page := s.get("/errors/" + code)
		wantOffline(t, s, code, page)
		if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", code, csp)
		}
		if body := string(page.body); !strings.Contains(body, "<dt>Repeat</dt>") || strings.Contains(body, "`") {
			t.Errorf("%s: got %s", code, body)
		}
	}
	slices.Sort(codes)
	if want := api.Codes(); !slices.Equal(codes, want) {
		t.Errorf("docs/errors.md explains\n%v\nwant\n%v", codes, want)
	}
	p := wantProblem(t, "type", s.get("/v1/operations"), 401, "unauthenticated")
	if a := s.get(p["type"].(string)); a.status != 200 || !strings.Contains(string(a.body), "unauthenticated") {
		t.Errorf("the type %v leads to %d", p["type"], a.status)
	}
	wantProblem(t, "no such code", s.get("/errors/nothing"), 404, "not_found")
}
