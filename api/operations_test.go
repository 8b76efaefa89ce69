package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/store"
)

const sample = "Grüße aus Köln. 你好, world! 😀 One sentence. Another one.\n\n" +
	"A second paragraph, a bit longer.\n"

var (
	operationFields = []string{
		"attempt", "bytes_done", "bytes_total", "cancel_requested", "chunks", "config", "configuration", "created_at", "dead_letter", "document_id", "error",
		"finished_at", "id", "links", "name", "retry_of", "seq", "source", "splitter_version", "started_at", "status", "strategy",
		"webhook", "worker",
	}
	linkFields  = []string{"cancel", "chunks", "document", "events", "self", "text", "ws"}
	chunkFields = []string{
		"boundary", "char_count", "end_byte", "end_char", "end_line", "id", "index", "overlap_bytes", "reason", "start_byte", "start_char", "start_line", "strategy",
		"text",
	}
	rareChunkFields = []string{"context", "end_utf16", "kind", "level", "parent_index", "source_end_byte", "source_start_byte", "start_utf16"} // of some strategies only
	pageFields      = []string{"data", "has_more", "next_cursor"}
	documentFields  = []string{"bytes", "chars", "created_at", "id", "links", "name", "sha256", "source"}
)

func wantFields(t *testing.T, what string, got any, want []string) {
	t.Helper()
	m, _ := got.(map[string]any)
	if keys := slices.Sorted(maps.Keys(m)); !slices.Equal(keys, want) {
		t.Errorf("%s: got fields %v, want %v", what, keys, want)
	}
}

func TestSubmitAndReadBack(t *testing.T) {
	s := start(t)
	a := s.post("/v1/operations?chunk_size=20&chunk_overlap=5&name=greeting&wait=20", sample)
	if a.status != http.StatusAccepted {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	op := a.json(t)
	id, doc := op["id"].(string), op["document_id"].(string)
	wantFields(t, "operation", op, operationFields)
	wantFields(t, "links", op["links"], linkFields)
	if op["status"] != "completed" || op["name"] != "greeting" || op["strategy"] != "recursive" {
		t.Errorf("got %s, want a completed recursive operation called greeting", a.body)
	}
	if got, want := fmt.Sprint(op["config"]), "map[chunk_overlap:5 chunk_size:20 unit:chars]"; got != want {
		t.Errorf("config: got %s, want %s", got, want)
	}
	if got, want := a.header.Get("Location"), "/v1/operations/"+id; got != want {
		t.Errorf("Location: got %q, want %q", got, want)
	}
	if got := s.get("/v1/operations/" + id); !bytes.Equal(got.body, a.body) {
		t.Errorf("get: got %s, want what submit answered, %s", got.body, a.body)
	}

	text := s.get("/v1/documents/" + doc + "/text")
	if string(text.body) != sample {
		t.Errorf("text: got %q", text.body)
	}
	for header, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "Content-Length": fmt.Sprint(len(sample)),
		"X-Content-Type-Options": "nosniff",
	} {
		if got := text.header.Get(header); got != want {
			t.Errorf("text: %s: got %q, want %q", header, got, want)
		}
	}
	if got := s.get("/v1/documents/"+doc+"/text", "If-None-Match: "+text.header.Get("Etag")); got.status != 304 {
		t.Errorf("text with its own ETag: got %d, want 304", got.status)
	}
	about := s.get("/v1/documents/" + doc).json(t)
	wantFields(t, "document", about, documentFields)
	if about["bytes"] != float64(len(sample)) || about["chars"] != float64(utf8.RuneCountInString(sample)) {
		t.Errorf("document: got %v bytes, %v chars", about["bytes"], about["chars"])
	}

	// The chunks: page by page, as lines, without texts and as a preview are the same.
	var paged []map[string]any
	for path := "/v1/operations/" + id + "/chunks?limit=2"; ; {
		page := s.get(path).json(t)
		wantFields(t, "page", page, append(slices.Clone(pageFields), "operation_id", "operation_status"))
		for _, c := range page["data"].([]any) {
			paged = append(paged, c.(map[string]any))
		}
		if page["has_more"] != true {
			break
		}
		path = "/v1/operations/" + id + "/chunks?limit=2&cursor=" + page["next_cursor"].(string)
	}
	if len(paged) < 5 || float64(len(paged)) != op["chunks"] {
		t.Errorf("got %d chunks, the operation says %v", len(paged), op["chunks"])
	}
	runes := []rune(sample)
	for i, c := range paged {
		wantFields(t, "chunk", c, chunkFields)
		at := func(f string) int { return int(c[f].(float64)) }
		if c["text"] != sample[at("start_byte"):at("end_byte")] ||
			c["text"] != string(runes[at("start_char"):at("end_char")]) {
			t.Errorf("chunk %d: %v is not what its offsets say", i, c)
		}
		if at("index") != i || at("char_count") != at("end_char")-at("start_char") || at("char_count") > 20 {
			t.Errorf("chunk %d: got %v", i, c)
		}
		want := chunk.ID(about["sha256"].(string), "recursive", []byte(`{"chunk_size":20,"chunk_overlap":5,"unit":"chars"}`),
			chunk.Chunk{Span: chunk.Span{Start: at("start_byte"), End: at("end_byte")}})
		if c["id"] != want {
			t.Errorf("chunk %d: got id %v, want %s", i, c["id"], want)
		}
	}
	lines := s.get("/v1/operations/"+id+"/chunks", "Accept: application/x-ndjson")
	if got := lines.header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("lines: got Content-Type %q", got)
	}
	if got := lines.header.Get("Chunkstream-Operation-Status"); got != "completed" {
		t.Errorf("lines: got status %q, want completed", got)
	}
	wantSame(t, "lines", parseLines(t, lines.body), paged)
	preview := s.post("/v1/preview?chunk_size=20&chunk_overlap=5&limit=1000", sample).json(t)
	var previewed []map[string]any
	for _, c := range preview["data"].([]any) {
		previewed = append(previewed, c.(map[string]any))
	}
	spans := s.post("/v1/preview?chunk_size=20&chunk_overlap=5&limit=1001&texts=false", sample).json(t)["data"].([]any)
	for i, c := range previewed {
		if c["size"] != c["char_count"] {
			t.Errorf("preview: chunk %d has size %v of %v characters", i, c["size"], c["char_count"])
		}
		without := maps.Clone(c)
		delete(without, "text")
		if !reflect.DeepEqual(without, spans[i]) {
			t.Errorf("preview without texts: got %v, want %v", spans[i], without)
		}
		delete(c, "size")
	}
	wantSame(t, "preview", previewed, paged)
	for _, c := range paged {
		delete(c, "text")
	}
	wantSame(t, "text=false", parseLines(t, s.get("/v1/operations/"+id+"/chunks?text=false",
		"Accept: application/x-ndjson").body), paged)
}

// TestOverlapIsReported: a chunk says how many bytes it shares with the one before it of the same level, wherever a page
// begins, as lines, about a place, alone and in a preview, as the describer of package chunk says it.
func TestOverlapIsReported(t *testing.T) {
	s := start(t)
	text := strings.Repeat("Eins, zwei – drei. Vier und fünf? ", 30)
	for strategy, config := range map[string]string{
		"recursive":      `{"chunk_size":40,"chunk_overlap":15}`,
		"sliding_window": `{"window":30,"stride":10}`,
		"hierarchical":   `{"chunk_size":200,"child_sizes":[100,30],"chunk_overlap":12}`,
		"sentence":       `{"chunk_size":40}`,
	} {
		plan, err := chunk.Parse(strategy, []byte(config))
		if err != nil {
			t.Fatal(err)
		}
		var want []float64
		shared := 0
		for d, err := range (chunk.Describer{}).Describe(plan, text) {
			if err != nil {
				t.Fatal(err)
			}
			if want = append(want, float64(d.Overlap)); d.Overlap > 0 {
				shared++
			}
		}
		if len(want) < 20 || (shared > 5) != (strategy != "sentence") || strategy == "hierarchical" && shared > len(want)-10 {
			t.Fatalf("%s: %d of %d chunks overlap", strategy, shared, len(want))
		}
		body := `{"text":"` + text + `","strategy":"` + strategy + `","config":` + config + `}`
		op := s.post("/v1/operations?wait=30", body, asJSON).json(t)
		path := "/v1/operations/" + op["id"].(string) + "/chunks"
		seen := 0
		check := func(what string, chunks ...any) {
			t.Helper()
			for _, c := range chunks {
				seen++
				if i := int(dig(c, "index").(float64)); dig(c, "overlap_bytes") != want[i] {
					t.Errorf("%s, %s, chunk %d: got overlap_bytes %v, want %v", strategy, what, i, dig(c, "overlap_bytes"), want[i])
				}
			}
		}
		whole := s.get(path + "?limit=1000").json(t)["data"].([]any)
		check("all", whole...)
		for query := "?limit=3&text=false"; ; {
			page := s.get(path + query).json(t)
			check("by page", page["data"].([]any)...)
			if page["has_more"] != true {
				break
			}
			query = "?limit=3&text=false&cursor=" + page["next_cursor"].(string)
			for _, line := range parseLines(t, s.get(path+query, "Accept: application/x-ndjson").body) {
				check("a line", line)
			}
		}
		for i, c := range whole {
			check("alone", s.get(fmt.Sprint(path, "/", i)).json(t), s.get(path+"/"+dig(c, "id").(string)+"?text=false").json(t))
		}
		check("about a place", s.get(path + "?around=0&at_byte=500").json(t)["data"].([]any)...)
		check("of the document", s.get("/v1/documents/" + op["document_id"].(string) + "/chunks?around=0&at_char=700").json(t)["data"].([]any)...)
		check("preview", s.post("/v1/preview", `{"limit":1000,`+body[1:], asJSON).json(t)["data"].([]any)...)
		if seen < 5*len(want) {
			t.Errorf("%s: only %d chunks were looked at", strategy, seen)
		}
	}
}

func parseLines(t *testing.T, b []byte) (all []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(b) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

func wantSame(t *testing.T, what string, got, want []map[string]any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(g, w) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, g, w)
	}
}

// TestManyChunksAsLines crosses the pages of the stream.
func TestManyChunksAsLines(t *testing.T) {
	s := start(t)
	text := strings.Repeat("word ", 4000)
	op := s.submit("?chunk_size=10&unit=bytes&strategy=fixed_size&wait=20", text)
	if op["status"] != "completed" {
		t.Fatalf("got %v", op)
	}
	path := "/v1/operations/" + op["id"].(string) + "/chunks"
	all := parseLines(t, s.get(path, "Accept: application/x-ndjson").body)
	if float64(len(all)) != op["chunks"] || len(all) != 2000 {
		t.Fatalf("got %d chunks, want %v and 2000", len(all), op["chunks"])
	}
	var joined strings.Builder
	for _, c := range all {
		joined.WriteString(c["text"].(string))
	}
	if joined.String() != text {
		t.Error("the chunks put together are not the text")
	}
	if got := parseLines(t, s.get(path+"?limit=300", "Accept: application/x-ndjson").body); len(got) != 300 {
		t.Errorf("limit=300: got %d lines", len(got))
	}
	for accept, want := range map[string]string{
		"":                              "application/json",
		"*/*":                           "application/json",
		"text/html, */*;q=0.8":          "application/json",
		"application/x-ndjson":          "application/x-ndjson",
		"application/jsonl, */*;q=0.1":  "application/x-ndjson",
		"application/x-ndjson;q=0, */*": "application/json",
		"application/json;q=0.5, application/x-ndjson": "application/x-ndjson",
	} {
		if got := s.get(path+"?limit=1", "Accept: "+accept).header.Get("Content-Type"); got != want {
			t.Errorf("Accept %q: got %q, want %q", accept, got, want)
		}
	}
}

func form(t *testing.T, fileName, text string, fields ...string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	half := len(fields) / 4 * 2 // some fields stand before the file, some after it
	write := func(fields []string) {
		for i := 0; i < len(fields); i += 2 {
			if err := w.WriteField(fields[i], fields[i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(fields[:half])
	part, err := w.CreateFormFile("file", fileName)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(part, text)
	write(fields[half:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return "Content-Type: " + w.FormDataContentType(), b.String()
}

// TestThreeForms: the same document and settings in all forms give the same document and the same config.
func TestThreeForms(t *testing.T) {
	s := idle(t)
	raw := s.submit("?strategy=character&chunk_size=30&unit=bytes&name=a.md", sample)
	kind, body := form(t, `C:\docs\a.md`, sample, "strategy", "character", "chunk_size", "30", "unit", "bytes")
	text, _ := json.Marshal(sample)
	for what, a := range map[string]answer{
		"form": s.post("/v1/operations", body, kind),
		"json": s.post("/v1/operations", `{"text":`+string(text)+`,"strategy":"character","name":"a.md",`+
			`"config":{"unit":"bytes","chunk_size":30}}`, "Content-Type: application/json"),
		"json, escaped": s.post("/v1/operations", `{"text":"`+escaped(sample)+`","strategy":"fixed_size","name":"a.md",`+
			`"config":{"unit":"bytes","chunk_size":30,"chunk_overlap":0}}`, "Content-Type: application/json; charset=utf-8"),
		"json, document": s.post("/v1/operations",
			`{"document_id":"`+raw["document_id"].(string)+`","strategy":"fixed_size",`+
				`"name":"a.md","config":{"unit":"bytes","chunk_size":30}}`, "Content-Type: application/json"),
		"octets": s.post("/v1/operations?strategy=fixed_size&chunk_size=30&unit=bytes&name=a.md", sample,
			"Content-Type: application/octet-stream"),
		"curl": s.post("/v1/operations?strategy=fixed_size&chunk_size=30&unit=bytes&name=a.md", sample,
			"Content-Type: application/x-www-form-urlencoded"),
		"markdown": s.post("/v1/operations?strategy=fixed_size&chunk_size=30&unit=bytes&name=a.md", sample,
			"Content-Type: text/markdown; charset=UTF-8"),
	} {
		if a.status != http.StatusAccepted {
			t.Errorf("%s: got %d %s", what, a.status, a.body)
			continue
		}
		op := a.json(t)
		for _, field := range []string{"document_id", "strategy", "name", "bytes_total"} {
			if op[field] != raw[field] {
				t.Errorf("%s: %s: got %v, want %v", what, field, op[field], raw[field])
			}
		}
		if fmt.Sprint(op["config"]) != fmt.Sprint(raw["config"]) {
			t.Errorf("%s: config: got %v, want %v", what, op["config"], raw["config"])
		}
		if op["status"] != "queued" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: got status %v, Retry-After %q; want queued and a time", what, op["status"],
				a.header.Get("Retry-After"))
		}
	}
}

func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

func TestWhiteSpaceAloneCompletesWithNoChunk(t *testing.T) {
	s := start(t)
	op := s.submit("?wait=20", " \n\t \n")
	if op["status"] != "completed" || op["chunks"] != float64(0) {
		t.Errorf("got %v with %v chunks, want completed with 0", op["status"], op["chunks"])
	}
	page := s.get(op["links"].(map[string]any)["chunks"].(string)).json(t)
	if data, ok := page["data"].([]any); !ok || len(data) != 0 || page["has_more"] != false {
		t.Errorf("chunks: got %v, want an empty list", page)
	}
	if p := s.post("/v1/preview", " \n").json(t); len(p["data"].([]any)) != 0 {
		t.Errorf("preview: got %v, want no chunk", p)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := idle(t)
	const key = "Idempotency-Key: order-66"
	first := s.post("/v1/operations?chunk_size=50", sample, key)
	if got := first.header.Get("Idempotent-Replayed"); got != "" {
		t.Errorf("first: got Idempotent-Replayed %q, want none", got)
	}
	again := s.post("/v1/operations?chunk_size=50", sample, key)
	if again.status != http.StatusAccepted || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: got %d, Idempotent-Replayed %q", again.status, again.header.Get("Idempotent-Replayed"))
	}
	if again.str(t, "id") != first.str(t, "id") {
		t.Errorf("again: got %s, want %s", again.str(t, "id"), first.str(t, "id"))
	}
	// Defaults written out are the same request, and so is another form.
	same := s.post("/v1/operations", `{"text":"`+escaped(sample)+`","config":{"unit":"chars","chunk_size":50}}`, key,
		"Content-Type: application/json")
	if same.str(t, "id") != first.str(t, "id") {
		t.Errorf("same request as JSON: got %d %s", same.status, same.body)
	}
	for what, a := range map[string]answer{
		"other text":   s.post("/v1/operations?chunk_size=50", sample+"x", key),
		"other config": s.post("/v1/operations?chunk_size=51", sample, key),
		"other name":   s.post("/v1/operations?chunk_size=50&name=n", sample, key),
	} {
		wantProblem(t, what, a, 422, "idempotency_key_reused")
	}
	for _, bad := range []string{"", "a b", "ä", strings.Repeat("k", 256)} {
		wantProblem(t, "key "+bad, s.post("/v1/operations", sample, "Idempotency-Key: "+bad), 422, "invalid_value")
	}
	wantProblem(t, "two keys", s.post("/v1/operations", sample, "Idempotency-Key: a", "Idempotency-Key: b"), 422,
		"invalid_value")

	// Many at once make one.
	var all sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		all.Go(func() { ids[i] = s.post("/v1/operations", "race", "Idempotency-Key: race").str(t, "id") })
	}
	all.Wait()
	if slices.Sort(ids); ids[0] == "" || ids[0] != ids[len(ids)-1] {
		t.Errorf("concurrent requests with one key made several operations: %v", ids)
	}
}

func TestListPagesNewestFirst(t *testing.T) {
	s := idle(t)
	var want []string
	for i := range 5 {
		want = append([]string{s.submit("", fmt.Sprint("text ", i))["id"].(string)}, want...)
	}
	var got []string
	for path := "/v1/operations?limit=2"; ; {
		page := s.get(path).json(t)
		wantFields(t, "page", page, pageFields)
		for _, op := range page["data"].([]any) {
			wantFields(t, "operation", op, operationFields)
			got = append(got, op.(map[string]any)["id"].(string))
		}
		if page["has_more"] != true {
			if page["next_cursor"] != "" {
				t.Errorf("last page: got next_cursor %v, want none", page["next_cursor"])
			}
			break
		}
		path = "/v1/operations?limit=2&cursor=" + page["next_cursor"].(string)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	doc := s.submit("", "text 3")["document_id"].(string)
	for query, n := range map[string]int{
		"?status=queued": 6, "?status=completed": 0, "?document_id=" + doc: 2, "?document_id=*": 0,
		"?document_id=" + doc + "&limit=1": 1,
	} {
		if got := len(s.get("/v1/operations" + query).json(t)["data"].([]any)); got != n {
			t.Errorf("%s: got %d operations, want %d", query, got, n)
		}
	}
}

func TestCancelAndRetry(t *testing.T) {
	s := idle(t)
	op := s.submit("?chunk_size=33&name=n", sample)
	path := "/v1/operations/" + op["id"].(string)
	wantProblem(t, "retry before the end", s.post(path+"/retry", ""), 409, "operation_not_ended")
	wantProblem(t, "delete before the end", s.do("DELETE", "/v1/documents/"+op["document_id"].(string), nil), 409,
		"document_in_use")
	for range 2 { // cancelling again changes nothing
		a := s.post(path+"/cancel", "")
		if got := a.json(t); a.status != 200 || got["status"] != "cancelled" || got["finished_at"] == nil {
			t.Fatalf("cancel: got %d %s", a.status, a.body)
		}
	}
	a := s.post(path+"/retry", "", "Idempotency-Key: again")
	again := a.json(t)
	if a.status != http.StatusAccepted || again["retry_of"] != op["id"] || again["id"] == op["id"] {
		t.Fatalf("retry: got %d %s", a.status, a.body)
	}
	for _, field := range []string{"document_id", "name", "strategy"} {
		if again[field] != op[field] {
			t.Errorf("retry: %s: got %v, want %v", field, again[field], op[field])
		}
	}
	if fmt.Sprint(again["config"]) != fmt.Sprint(op["config"]) {
		t.Errorf("retry: config: got %v, want %v", again["config"], op["config"])
	}
	if b := s.post(path+"/retry", "", "Idempotency-Key: again"); b.str(t, "id") != again["id"] ||
		b.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("retry with the same key: got %d %s", b.status, b.body)
	}
	if b := s.post("/v1/operations/"+again["id"].(string)+"/cancel", ""); b.status != 200 {
		t.Fatalf("cancel: got %d %s", b.status, b.body)
	}
	if d := s.do("DELETE", "/v1/documents/"+op["document_id"].(string), nil); d.status != http.StatusNoContent ||
		len(d.body) > 0 {
		t.Errorf("delete: got %d %q, want 204", d.status, d.body)
	}
	for _, gone := range []string{path, path + "/chunks", "/v1/documents/" + op["document_id"].(string)} {
		wantProblem(t, "after delete: "+gone, s.get(gone), 404, "not_found")
	}
	wantProblem(t, "delete again", s.do("DELETE", "/v1/documents/"+op["document_id"].(string), nil), 404, "not_found")
	wantProblem(t, "retry after delete", s.post(path+"/retry", ""), 404, "not_found")
}

func TestWaitEndsWhenTheServerDrains(t *testing.T) {
	s := idle(t)
	op := s.submit("", sample)
	waiting := make(chan answer)
	go func() { waiting <- s.get("/v1/operations/" + op["id"].(string) + "?wait=60") }()
	s.api.Drain()
	if a := <-waiting; a.status != 200 || a.str(t, "status") != "queued" {
		t.Errorf("got %d %s, want the state as it is", a.status, a.body)
	}
	if a := s.get("/readyz"); a.status != 503 || a.str(t, "status") != "unavailable" {
		t.Errorf("readyz while draining: got %d %s, want 503", a.status, a.body)
	}
}

func TestWaitIsBounded(t *testing.T) {
	s := idle(t)
	if op := s.submit("?wait=1", sample); op["status"] != "queued" {
		t.Errorf("got %v, want queued after a second", op["status"])
	}
}

// TestToldAfterTheCommit: whoever is told of a new operation, a worker or a watcher, finds it in SQL.
func TestToldAfterTheCommit(t *testing.T) {
	t.Parallel()
	var db *store.Store
	woken, published := make(chan error, 1), make(chan error, 1)
	found := func(id string) error {
		_, err := db.Operation(context.WithoutCancel(t.Context()), auth.Local.Owner, id)
		return err
	}
	s := idle(t, func(c *api.Config) {
		db = c.Store
		c.Wake = func(_ store.Lane, id string) { woken <- found(id) }
		c.Publish = func(e event.Owned) { published <- found(e.Event.OperationID) }
	})
	resp, err := http.Post(s.url+"/v1/operations", "text/plain", strings.NewReader("a text"))
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-published; err != nil {
		t.Errorf("published: %v", err)
	}
	if err := <-woken; err != nil {
		t.Errorf("woken: %v", err)
	}
}
