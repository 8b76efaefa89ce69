package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"chunkstream/api"
)

var update = flag.Bool("update", false, "write api/examples.json anew")

// What differs from one run to the next. The figures are those that depend on how soon a worker is there.
var (
	anID      = regexp.MustCompile(`\b(op|doc|bat|cfg|whk|key|req)_[0-9A-Za-z]{16,}`)
	aTime     = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
	aSecret   = regexp.MustCompile(`\b(cs|ct|whsec)_[0-9A-Za-z+/=]{4,}`)
	measured  = regexp.MustCompile(`"(time_ms|p50_ms|p95_ms)": ?[0-9.]+`)
	aDelivery = regexp.MustCompile(`\b(msg)_[0-9A-Za-z]{16,}_[0-9A-Za-z]{16,}`)
	aCursor   = regexp.MustCompile(`"(next_cursor)":"[^"]+"`)
	versioned = regexp.MustCompile(`"(version)": ?"test"`)
)

// TestAnswerExamples: the example of every answer in JSON is what a service answers, and its schema allows it.
func TestAnswerExamples(t *testing.T) {
	got := answers(t)
	var want map[string]map[string]json.RawMessage
	b, err := os.ReadFile("examples.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		b, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("examples.json", append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		want = got
	}
	s := idle(t)
	doc := openAPI(t, s)
	used := 0
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			route, id := strings.ToUpper(method)+" "+path, dig(op, "operationId").(string)
			for status, answer := range dig(op, "responses").(map[string]any) {
				content, _ := dig(answer, "content").(map[string]any)
				for media := range content {
					if !strings.HasPrefix(status, "2") && status != "101" {
						continue
					}
					asked, kept := got[id][media], want[id][media]
					if asked != nil || kept != nil {
						used++
					}
					if json := strings.Contains(media, "json") || media == "text/event-stream"; kept == nil && json {
						t.Errorf("%s: its answer in %s has no example", route, media)
					}
					if compact(t, asked) != compact(t, kept) {
						t.Errorf("%s, %s: the example is\n%s\nbut the answer\n%s\n(go test -run TestAnswerExamples ./api -update)", route, media, kept, asked)
					}
					var v any
					if kept != nil && json.Unmarshal(kept, &v) == nil {
						for _, err := range api.Validate(s.api, route, status, media, v) {
							t.Errorf("%s, %s: the example is not what its schema says: %v", route, media, err)
						}
					}
				}
			}
		}
	}
	for id, all := range want {
		used -= len(all)
		if got[id] == nil {
			t.Errorf("there is an example of %s, which is not asked for", id)
		}
	}
	if used != 0 {
		t.Errorf("%d examples are of no answer that there is", -used)
	}
}

func compact(t *testing.T, b json.RawMessage) string {
	t.Helper()
	var to bytes.Buffer
	if len(b) > 0 {
		if err := json.Compact(&to, b); err != nil {
			t.Fatal(err)
		}
	}
	return to.String()
}

// answers asks two services for everything that they answer in JSON: one that works, and one in which nothing is ever processed.
func answers(t *testing.T) map[string]map[string]json.RawMessage {
	t.Helper()
	s, waiting := start(t, counting), idle(t)
	all := map[string]map[string]json.RawMessage{}
	ids := map[string]string{}
	media := "application/json"
	keep := func(id string, a answer) answer {
		t.Helper()
		if a.status >= 300 {
			t.Fatalf("%s: %d %s", id, a.status, a.body)
		}
		body := a.body
		switch media {
		case "application/x-ndjson":
			body, _, _ = bytes.Cut(body, []byte("\n"))
		case "text/event-stream": // the last one
			_, last, _ := bytes.Cut(body[bytes.LastIndex(body, []byte("\ndata:")):], []byte(":"))
			body, _, _ = bytes.Cut(last, []byte("\n"))
		}
		if strings.HasPrefix(id, "download") || !strings.Contains(media, "json") && media != "text/event-stream" {
			body, _ = json.Marshal(string(a.body)) // of a string it cannot fail
		}
		if all[id] == nil {
			all[id] = map[string]json.RawMessage{}
		}
		all[id][media] = steady(t, body, ids)
		return a
	}
	text := "# Chunks\n\nA chunk is a piece of a text. Its offsets are exact.\n\n## Sizes\n\nThey count characters or tokens. Grün is four, and six bytes.\n"
	document, _ := json.Marshal(text)
	op := keep("submitOperation", s.post("/v1/operations?wait=30", `{"text":`+string(document)+`,"name":"chunks.md","config":{"chunk_size":60}}`, asJSON))
	path := "/v1/operations/" + op.str(t, "id")
	documentPath := "/v1/documents/" + op.str(t, "document_id")
	keep("getOperation", s.get(path))
	keep("listOperations", s.get("/v1/operations"))
	keep("listChunks", s.get(path+"/chunks?limit=2"))
	keep("listDocumentChunks", s.get(documentPath+"/chunks?at_byte=70&around=0"))
	keep("getChunk", s.get(path+"/chunks/0?utf16=true"))
	keep("downloadChunks", s.get(path+"/download?format=json"))
	keep("listDocuments", s.get("/v1/documents"))
	keep("getDocument", s.get(documentPath))
	media = "text/plain"
	keep("getDocumentText", s.get(documentPath+"/text"))
	media = "application/x-ndjson"
	keep("listChunks", s.get(path+"/chunks", "Accept: application/x-ndjson"))
	keep("listDocumentChunks", s.get(documentPath+"/chunks", "Accept: application/x-ndjson"))
	keep("downloadChunks", s.get(path+"/download"))
	for kind, format := range map[string]string{"text/csv": "csv", "application/sql": "pgvector"} {
		media = kind
		keep("downloadChunks", s.get(path+"/download?format="+format))
	}
	media = "text/event-stream"
	events := s.get(path + "/events?since=0")
	for _, id := range []string{"streamOperationEvents", "streamEvents"} {
		keep(id, events)
	}
	media = "application/json"
	for _, id := range []string{"streamOperationSocket", "streamSocket"} {
		all[id] = map[string]json.RawMessage{media: all["streamEvents"]["text/event-stream"]}
	}
	keep("preview", s.post("/v1/preview?chunk_size=60&limit=2", text))
	keep("compare", s.post("/v1/compare", `{"text":`+string(document)+`,"strategies":[{"config":{"chunk_size":60}},{"strategy":"sentence","config":{"chunk_size":60}}]}`, asJSON))
	keep("recommend", s.post("/v1/recommend", `{"text":`+string(document)+`,"config":{"chunk_size":60}}`, asJSON))
	keep("listTokens", s.post("/v1/tokens", `{"text":"One two."}`, asJSON))
	keep("listStrategies", s.get("/v1/strategies"))
	keep("statistics", s.get("/v1/statistics"))
	keep("health", s.get("/healthz"))
	keep("ready", s.get("/readyz"))
	keep("me", s.get("/v1/me"))
	keep("retryOperation", s.post(path+"/retry?wait=30", ""))

	queued := waiting.submit("", text)["id"].(string)
	keep("cancelOperation", waiting.post("/v1/operations/"+queued+"/cancel", ""))
	made := keep("submitBatch", waiting.post("/v1/batches", `{"name":"manual","config":{"chunk_size":60},"documents":[{"text":`+string(document)+`,"name":"chunks.md"}]}`, asJSON))
	batch := made.header.Get("Location")
	keep("getBatch", waiting.get(batch))
	keep("retryBatch", waiting.post(batch+"/retry", ""))
	made = keep("createWebhook", waiting.post("/v1/webhooks", `{"url":"https://hooks.example.com/chunkstream"}`, asJSON))
	hook := "/v1/webhooks/" + made.str(t, "id")
	keep("cancelBatch", waiting.post(batch+"/cancel", ""))
	keep("listDeliveries", waiting.get(hook+"/deliveries"))
	keep("redeliver", waiting.post(hook+"/redeliver", ""))
	keep("rotateWebhook", waiting.post(hook+"/rotate", ""))
	keep("getWebhook", waiting.get(hook))
	keep("listWebhooks", waiting.get("/v1/webhooks"))
	made = keep("createConfiguration", waiting.post("/v1/configurations", `{"name":"search","config":{"chunk_size":500},"default":true}`, asJSON))
	saved := made.header.Get("Location")
	keep("replaceConfiguration", waiting.do("PUT", saved, strings.NewReader(`{"name":"search","strategy":"sentence"}`), asJSON, `If-Match: "1"`))
	keep("getConfiguration", waiting.get(saved))
	keep("listConfigurations", waiting.get("/v1/configurations"))
	made = keep("createKey", waiting.post("/v1/keys", `{"owner":"search-team","name":"indexer","expires_in":7776000}`, asJSON))
	keep("listKeys", waiting.get("/v1/keys"))
	keep("revokeKey", waiting.do("DELETE", "/v1/keys/"+made.str(t, "id"), nil))
	keep("createBlock", waiting.post("/v1/blocks", `{"kind":"owner","value":"old-team","reason":"left"}`, asJSON))
	keep("listBlocks", waiting.get("/v1/blocks"))
	keep("listAudit", waiting.get("/v1/audit"))
	keep("createTicket", gated(t).post("/v1/tickets", `{}`, asJSON, bearer(key)))
	openapi := openAPI(t, waiting)
	b, err := json.Marshal(map[string]any{"openapi": openapi["openapi"], "info": openapi["info"]})
	if err != nil {
		t.Fatal(err)
	}
	keep("openapi", answer{200, nil, b})
	return all
}

// steady makes the same of an answer in JSON at every run: ids are numbered, times and what is measured are always the same.
// Of a list of objects the first two are kept.
func steady(t *testing.T, body []byte, ids map[string]string) json.RawMessage {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var to bytes.Buffer
	short(t, d, &to)
	b := aDelivery.ReplaceAll(to.Bytes(), []byte("${1}_0199c2f1a4c77d0e9f6b3a01_0199c2f1a4c77d0e9f6b3a02"))
	b = aCursor.ReplaceAll(b, []byte(`"$1":"Y2h1bmtzIDI"`))
	b = anID.ReplaceAllFunc(b, func(id []byte) []byte {
		prefix, _, _ := strings.Cut(string(id), "_")
		if ids[string(id)] == "" {
			ids[string(id)] = fmt.Sprintf("%s_0199c2f1a4c77d0e9f6b3a%02x", prefix, len(ids)+1)
		}
		return []byte(ids[string(id)])
	})
	b = aTime.ReplaceAll(b, []byte("2026-01-31T12:00:00.000Z"))
	b = aSecret.ReplaceAll(b, []byte("${1}_…"))
	b = measured.ReplaceAll(b, []byte(`"$1":1`))
	return versioned.ReplaceAll(b, []byte(`"$1":"1.0.0"`))
}

// short copies one value in JSON, its members in their order, and of each list of objects the first two.
func short(t *testing.T, d *json.Decoder, to *bytes.Buffer) {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		b, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		to.Write(b)
		return
	}
	fmt.Fprint(to, delim)
	for i := 0; d.More(); i++ {
		var member bytes.Buffer
		if i > 0 {
			member.WriteByte(',')
		}
		if delim == '{' {
			short(t, d, &member)
			member.WriteByte(':')
		}
		at := member.Len()
		short(t, d, &member)
		if delim == '{' || i < 2 || member.Bytes()[at] != '{' {
			to.Write(member.Bytes())
		}
	}
	closing, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(to, closing)
}
