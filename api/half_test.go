package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"chunkstream/store"
)

func TestDocumentsList(t *testing.T) {
	s := idle(t)
	var want []string
	for i := range 5 {
		want = append(want, s.submit("", fmt.Sprint("text ", i))["document_id"].(string))
	}
	slices.Reverse(want)
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page := s.get("/v1/documents?limit=2&cursor=" + cursor).json(t)
		wantFields(t, "page", page, pageFields)
		for _, one := range page["data"].([]any) {
			wantFields(t, "document", one, documentFields)
			got = append(got, one.(map[string]any)["id"].(string))
		}
		cursor = page["next_cursor"].(string)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wantProblem(t, "cursor", s.get("/v1/documents?cursor=x"), 422, "invalid_cursor")
}

// TestTextRanges: every range of a text longer than a part gives exactly its bytes.
func TestTextRanges(t *testing.T) {
	s := idle(t)
	text := strings.Repeat("Grün und 日本. ", 2*store.PartBytes/16)
	op := s.submit("", text)
	path := "/v1/documents/" + op["document_id"].(string) + "/text"
	whole := s.get(path, "Accept-Encoding: identity")
	tag := whole.header.Get("Etag")
	n := len(text)
	for _, tt := range []struct {
		header   string
		from, to int // to < 0: all, 200
	}{
		{"bytes=0-0", 0, 1}, {"bytes=0-", 0, n}, {"bytes=5-9", 5, 10}, {fmt.Sprintf("bytes=%d-%d", store.PartBytes-2, store.PartBytes+2), store.PartBytes - 2, store.PartBytes + 3},
		{"bytes=-1", n - 1, n}, {"bytes=-99999999", 0, n}, {fmt.Sprintf("bytes=%d-", n-1), n - 1, n}, {"bytes=0-9223372036854775807", 0, n},
		{"bytes=0-1,5-6", 0, -1}, {"bytes=5-1", 0, -1}, {"bytes=a-b", 0, -1}, {"bytes=-", 0, -1}, {"lines=0-1", 0, -1}, {"bytes=--1", 0, -1}, {"bytes=+1-2", 0, -1},
	} {
		a := s.get(path, "Range: "+tt.header)
		if tt.to < 0 {
			if a.status != 200 || string(a.body) != text {
				t.Errorf("%s: got %d and %d bytes, want all", tt.header, a.status, len(a.body))
			}
			continue
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", tt.from, tt.to-1, n); a.status != 206 || string(a.body) != text[tt.from:tt.to] || a.header.Get("Content-Range") != want {
			t.Errorf("%s: got %d, %d bytes, %q; want %q", tt.header, a.status, len(a.body), a.header.Get("Content-Range"), want)
		}
	}
	for _, beyond := range []string{fmt.Sprintf("bytes=%d-", n), "bytes=-0", "bytes=9999999999-"} {
		a := s.get(path, "Range: "+beyond)
		wantProblem(t, beyond, a, 416, "invalid_range")
		if got := a.header.Get("Content-Range"); got != fmt.Sprintf("bytes */%d", n) {
			t.Errorf("%s: Content-Range %q", beyond, got)
		}
	}
	if a := s.get(path, "Range: bytes=0-3", "If-Range: "+tag); a.status != 206 {
		t.Errorf("If-Range with its ETag: got %d", a.status)
	}
	if a := s.get(path, "Range: bytes=0-3", `If-Range: "other"`); a.status != 200 {
		t.Errorf("If-Range with another ETag: got %d", a.status)
	}
	if a := s.do("HEAD", path, nil, "Range: bytes=0-3"); a.status != 200 || a.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD: got %d %v", a.status, a.header)
	}
}

func TestBatches(t *testing.T) {
	s := start(t)
	first := s.submit("?wait=20", "There already.")
	body := `{"name":"three","config":{"chunk_size":5},"documents":[{"text":"One two three.","name":"a"},{"text":"Four. Five.","strategy":"sentence"},` +
		`{"document_id":"` + first["document_id"].(string) + `","config":{"chunk_size":100}}]}`
	made := s.post("/v1/batches", body, asJSON, "Idempotency-Key: b1")
	if made.status != 202 {
		t.Fatalf("got %d %s", made.status, made.body)
	}
	b := made.json(t)
	wantFields(t, "batch", b, []string{"bytes_done", "bytes_total", "chunks", "created_at", "data", "done", "id", "name", "statuses", "total"})
	path := made.header.Get("Location")
	if path != "/v1/batches/"+b["id"].(string) || b["total"] != 3.0 || b["name"] != "three" {
		t.Errorf("got %s %v", path, b)
	}
	strategies := ""
	for _, op := range b["data"].([]any) {
		o := op.(map[string]any)
		strategies += fmt.Sprint(o["strategy"], " ", dig(o, "config", "chunk_size"), " ")
		s.get("/v1/operations/" + o["id"].(string) + "?wait=20")
	}
	if strategies != "recursive 5 sentence 1000 recursive 100 " {
		t.Errorf("got %s", strategies)
	}
	b = s.get(path).json(t)
	if b["done"] != 3.0 || dig(b, "statuses", "completed") != 3.0 || b["bytes_done"] != b["bytes_total"] || b["chunks"] == 0.0 {
		t.Errorf("afterwards: %v", b)
	}
	again := s.post("/v1/batches", body, asJSON, "Idempotency-Key: b1")
	if again.status != 202 || again.str(t, "id") != b["id"] || dig(again.json(t)["data"].([]any)[0], "id") != dig(b["data"].([]any)[0], "id") {
		t.Errorf("again: got %d %s", again.status, again.body)
	}
	more := strings.TrimSuffix(body, "]}") + `,{"text":"One more."}]}`
	fewer := body[:strings.LastIndex(body, ",{\"document_id")] + "]}"
	for what, other := range map[string]string{"one more": more, "one fewer": fewer} {
		wantProblem(t, "the key for "+what, s.post("/v1/batches", other, asJSON, "Idempotency-Key: b1"), 422, "idempotency_key_reused")
	}
	wantProblem(t, "the key for something else", s.post("/v1/batches", strings.Replace(body, "One two", "Two one", 1), asJSON, "Idempotency-Key: b1"), 422, "idempotency_key_reused")
	if a := s.post(path+"/cancel", ""); a.status != 200 || a.json(t)["done"] != 3.0 {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
	count := func() int { return len(s.get("/v1/operations?limit=200").json(t)["data"].([]any)) }
	before := count()
	for bad, code := range map[string]string{
		`{}`: "missing_field", `{"documents":[]}`: "invalid_value", `{"documents":[1]}`: "invalid_value", `{"documents":[{}]}`: "missing_field",
		`{"documents":[{"text":"a"},{"text":"a","document_id":"doc_1"}]}`: "missing_field", `{"documents":[{"text":"a"},{"text":""}]}`: "empty_document",
		`{"documents":[{"text":"a"},{"text":"a","strategy":"x"}]}`: "unknown_strategy", `{"documents":[{"text":"a"},{"text":"a","config":{"chunk_size":0}}]}`: "invalid_value",
		`{"documents":[{"text":"a","owner":"x"}]}`: "unknown_field", `{"documents":[{"text":"a","name":"\u0001"}]}`: "invalid_value",
		`{"documents":[` + strings.TrimSuffix(strings.Repeat(`{"text":"a"},`, 101), ",") + `]}`: "invalid_value",
	} {
		wantProblem(t, fmt.Sprintf("%.80s", bad), s.post("/v1/batches", bad, asJSON), 422, code)
	}
	if p := wantProblem(t, "param", s.post("/v1/batches", `{"documents":[{"text":"a"},{"text":"a","config":{"chunk_size":0}}]}`, asJSON), 422, "invalid_value"); p["param"] != "documents[1].chunk_size" {
		t.Errorf("param %v", p["param"])
	}
	if n := count(); n != before {
		t.Errorf("refused batches made %d operations", n-before)
	}
}

func TestConfigurations(t *testing.T) {
	s := idle(t)
	made := s.post("/v1/configurations", `{"name":"search","config":{"chunk_size":500},"default":true}`, asJSON)
	c := made.json(t)
	wantFields(t, "configuration", c, []string{"config", "created_at", "default", "id", "name", "strategy", "updated_at", "version"})
	path := made.header.Get("Location")
	if made.status != 201 || made.header.Get("Etag") != `"1"` || c["strategy"] != "recursive" || dig(c, "config", "unit") != "chars" || c["default"] != true {
		t.Fatalf("got %d %s", made.status, made.body)
	}
	wantProblem(t, "the name again", s.post("/v1/configurations", `{"name":"search"}`, asJSON), 409, "name_taken")
	put := func(tag, body string) answer {
		return s.do("PUT", path, strings.NewReader(body), asJSON, "If-Match: "+tag)
	}
	if a := put(`"1"`, `{"name":"search","strategy":"sentence","default":true}`); a.status != 200 || a.header.Get("Etag") != `"2"` || a.str(t, "strategy") != "sentence" {
		t.Errorf("change: %d %s", a.status, a.body)
	}
	wantProblem(t, "an old version", put(`"1"`, `{"name":"x"}`), 412, "changed_meanwhile")
	for _, tag := range []string{"", "2", `"x"`, "*", `W/"2"`} {
		wantProblem(t, "If-Match "+tag, put(tag, `{"name":"x"}`), 422, "missing_field")
	}
	other := s.post("/v1/configurations", `{"name":"other","default":true}`, asJSON).str(t, "id")
	wantProblem(t, "another's name", put(`"2"`, `{"name":"other"}`), 409, "name_taken")
	list := s.get("/v1/configurations").json(t)["data"].([]any)
	if len(list) != 2 || dig(list[0], "id") != other || dig(list[0], "default") != true || dig(list[1], "default") != false {
		t.Errorf("list: %v", list)
	}
	if a := s.get(path); a.header.Get("Etag") != `"2"` || a.json(t)["version"] != 2.0 {
		t.Errorf("get: %v %s", a.header, a.body)
	}
	if a := s.do("DELETE", path, nil); a.status != 204 {
		t.Errorf("delete: %d", a.status)
	}
	wantProblem(t, "deleted", s.get(path), 404, "not_found")
	wantProblem(t, "deleted", s.do("DELETE", path, nil), 404, "not_found")
	for body, code := range map[string]string{`{}`: "missing_field", `{"name":""}`: "invalid_value", `{"name":"x","config":{"chunk_size":-1}}`: "invalid_value",
		`{"name":"x","version":7}`: "unknown_field", `{"name":"x","strategy":"y"}`: "unknown_strategy", `{"name":"x","default":1}`: "invalid_value"} {
		wantProblem(t, body, s.post("/v1/configurations", body, asJSON), 422, code)
	}
}

// TestStatistics: the figures are what the lists say, counted by hand.
func TestStatistics(t *testing.T) {
	s := start(t)
	for i, strategy := range []string{"recursive", "recursive", "sentence"} {
		s.submit("?wait=20&chunk_size=20&strategy="+strategy, fmt.Sprint(i, sample))
	}
	st := s.get("/v1/statistics").json(t)
	wantFields(t, "statistics", st, []string{"data", "days", "document_bytes", "documents", "total", "unfinished_operations"})
	count := map[string][3]float64{}
	for _, one := range s.get("/v1/operations").json(t)["data"].([]any) {
		o := one.(map[string]any)
		for _, name := range []string{o["strategy"].(string), ""} {
			c := count[name]
			count[name] = [3]float64{c[0] + 1, c[1] + o["bytes_total"].(float64), c[2] + o["chunks"].(float64)}
		}
	}
	for _, one := range append(st["data"].([]any), st["total"]) {
		o := one.(map[string]any)
		name := o["strategy"].(string)
		if got := [3]float64{o["completed"].(float64), o["bytes"].(float64), o["chunks"].(float64)}; got != count[name] || o["operations"] != count[name][0] ||
			(o["p95_ms"] == nil) != (name == "") || o["bytes_per_chunk"] != count[name][1]/count[name][2] {
			t.Errorf("%s: got %v, want %v", name, o, count[name])
		}
	}
	if st["documents"] != 3.0 || st["unfinished_operations"] != 0.0 {
		t.Errorf("got %v", st)
	}
}

func TestRecommend(t *testing.T) {
	s := idle(t)
	for _, tt := range []struct{ text, want string }{
		{strings.Repeat("# Head\n\nSome text here. And more.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n", 20), "markdown"},
		{strings.Repeat("<p>Some <b>text</b>.</p>\n<div>\n", 20), "html"},
		{strings.Repeat("func f() {\n\treturn 1;\n}\n", 20), "code"},
		{strings.Repeat("It was the best of times. It was the worst of times.\n\n", 20), "recursive"},
		{"x", "recursive"}, {" \n", "recursive"},
	} {
		a := s.post("/v1/recommend", fmt.Sprintf(`{"text":%q,"config":{"chunk_size":80}}`, tt.text), asJSON)
		if a.status != 200 {
			t.Fatalf("%.30q: %d %s", tt.text, a.status, a.body)
		}
		r := a.json(t)
		wantFields(t, "recommendation", r, []string{"compared", "config", "properties", "reasons", "strategy"})
		if r["strategy"] != tt.want || dig(r["compared"].([]any)[0], "strategy") != tt.want || len(r["reasons"].([]any)) < 2 || dig(r, "config", "chunk_size") != 80.0 {
			t.Errorf("%.30q: got %s", tt.text, a.body)
		}
	}
	wantProblem(t, "config", s.post("/v1/recommend", `{"text":"x","config":{"chunk_size":0}}`, asJSON), 422, "invalid_value")
}
