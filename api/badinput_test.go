package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"chunkstream/api"
)

const asJSON = "Content-Type: application/json"

// letters is a body without end that needs no memory.
type letters struct{}

var someLetters = strings.Repeat("x", 32<<10)

func (letters) Read(p []byte) (int, error) { return copy(p, someLetters), nil }

// unsized hides a body's length, so that it is sent in pieces without Content-Length.
type unsized struct{ io.Reader }

func many(n int64) io.Reader { return unsized{io.LimitReader(letters{}, n)} }

// TestBadInput is every way in which a submission can be wrong. None of them may leave anything behind.
func TestBadInput(t *testing.T) {
	s := idle(t)
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	kind, noFile := form(t, "f", "text", "chunk_size", "10")
	noFile = strings.Replace(noFile, `name="file"`, `name="fiel"`, 1)
	twice, twiceBody := form(t, "f", "text", "chunk_size", "10", "chunk_size", "20")
	late, lateBody := form(t, "f", "text", "unit", "chars", "chunk_size", "0")
	nulKind, nulBody := form(t, "f", "te\x00xt")
	tests := []struct {
		name, query, body string
		headers           []string
		status            int
		code, param       string
		suggestion        string // a part of it
	}{
		{name: "no body", status: 422, code: "empty_document", param: "text", suggestion: "send the text"},
		{name: "empty JSON body", headers: []string{asJSON}, status: 422, code: "empty_document", param: "text", suggestion: "{\"text\":"},
		{name: "empty text", body: `{"text":""}`, headers: []string{asJSON}, status: 422, code: "empty_document", param: "text", suggestion: "send the text"},
		{name: "invalid UTF-8", body: "ab\xffcd", headers: []string{"Content-Type: text/plain; charset=utf-8"}, status: 422, code: "invalid_utf8", param: "text"},
		{name: "cut-off character at the end", body: "ab\xe2\x82", headers: []string{"Content-Type: text/plain; charset=UTF-8"}, status: 422, code: "invalid_utf8", param: "text"},
		{name: "NUL", body: "ab\x00cd", status: 422, code: "nul_byte", param: "text"},
		{name: "NUL in a form", body: nulBody, headers: []string{nulKind}, status: 422, code: "nul_byte", param: "text"},
		{name: "NUL in JSON", body: `{"text":"a\u0000"}`, headers: []string{asJSON}, status: 422, code: "nul_byte", param: "text"},
		{name: "invalid UTF-8 in JSON", body: "{\"text\":\"\xff\"}", headers: []string{asJSON}, status: 422,
			code: "invalid_utf8", param: "body"},

		{name: "unknown query parameter", query: "?chunksize=5", body: "x", status: 422, code: "unknown_field",
			param: "chunksize", suggestion: "chunk_size"},
		{name: "misspelt wait", query: "?wiat=5", body: "x", status: 422, code: "unknown_field", param: "wiat",
			suggestion: "wait"},
		{name: "unlike anything", query: "?zzzzzzzz=5", body: "x", status: 422, code: "unknown_field", param: "zzzzzzzz"},
		{name: "unknown field in JSON", body: `{"txt":"x"}`, headers: []string{asJSON}, status: 422, code: "unknown_field",
			param: "txt", suggestion: "text"},
		{name: "other case in JSON", body: `{"Text":"x"}`, headers: []string{asJSON}, status: 422, code: "unknown_field",
			param: "Text", suggestion: "text"},
		{name: "long s in JSON", body: `{"text":"x","ſtrategy":"recursive"}`, headers: []string{asJSON}, status: 422,
			code: "unknown_field", param: "ſtrategy", suggestion: "strategy"},
		{name: "setting beside config", body: `{"text":"x","chunk_size":5}`, headers: []string{asJSON}, status: 422,
			code: "unknown_field", param: "chunk_size", suggestion: "config"},
		{name: "unknown setting in JSON", body: `{"text":"x","config":{"chunk_sise":5}}`, headers: []string{asJSON},
			status: 422,
			code:   "unknown_field", param: "chunk_sise", suggestion: "chunk_size"},
		{name: "unknown strategy", query: "?strategy=recursiv", body: "x", status: 422, code: "unknown_strategy",
			param: "strategy", suggestion: "recursive"},
		{name: "unknown field of a form", body: twiceBody + "", headers: []string{twice}, status: 422, code: "invalid_value",
			param: "chunk_size"},
		{name: "settings with JSON in the query", query: "?chunk_size=5", body: `{"text":"x"}`, headers: []string{asJSON},
			status: 422, code: "unknown_field", param: "chunk_size"},

		{name: "overlap as large as size", query: "?chunk_size=10&chunk_overlap=10", body: "x", status: 422,
			code: "invalid_value", param: "chunk_overlap"},
		{name: "overlap larger than size", query: "?chunk_size=10&chunk_overlap=11", body: "x", status: 422,
			code: "invalid_value", param: "chunk_overlap"},
		{name: "size 0", query: "?chunk_size=0", body: "x", status: 422, code: "invalid_value", param: "chunk_size"},
		{name: "size 0 after the file", body: lateBody, headers: []string{late}, status: 422, code: "invalid_value",
			param: "chunk_size"},
		{name: "negative size", query: "?chunk_size=-1", body: "x", status: 422, code: "invalid_value", param: "chunk_size"},
		{name: "negative overlap", query: "?chunk_overlap=-1", body: "x", status: 422, code: "invalid_value",
			param: "chunk_overlap"},
		{name: "10^12", query: "?chunk_size=1000000000000", body: "x", status: 422, code: "invalid_value",
			param: "chunk_size"},
		{name: "10^12 with an exponent", body: `{"text":"x","config":{"chunk_size":1e12}}`, headers: []string{asJSON}, status: 422,
			code: "invalid_value", param: "chunk_size", suggestion: "1073741824"},
		{name: "a thousand with an exponent", body: `{"text":"x","config":{"chunk_size":1e3}}`, headers: []string{asJSON}, status: 422,
			code: "invalid_value", param: "chunk_size", suggestion: "write 1000"},
		{name: "10^40", query: "?chunk_size=1" + strings.Repeat("0", 40), body: "x", status: 422, code: "invalid_value",
			param: "chunk_size", suggestion: "1073741824"},
		{name: "a fraction", query: "?chunk_size=1.5", body: "x", status: 422, code: "invalid_value", param: "chunk_size"},
		{name: "a word for a number", query: "?chunk_size=ten", body: "x", status: 422, code: "invalid_value",
			param: "chunk_size"},
		{name: "nothing for a number", query: "?chunk_size=", body: "x", status: 422, code: "invalid_value",
			param: "chunk_size"},
		{name: "a string for a number", body: `{"text":"x","config":{"chunk_size":"5"}}`, headers: []string{asJSON},
			status: 422,
			code:   "invalid_value", param: "chunk_size"},
		{name: "wrong unit", query: "?unit=char", body: "x", status: 422, code: "invalid_value", param: "unit",
			suggestion: "chars"},
		{name: "a parameter twice", query: "?chunk_size=5&chunk_size=6", body: "x", status: 422, code: "invalid_value",
			param: "chunk_size", suggestion: "once"},
		{name: "wait too long", query: "?wait=61", body: "x", status: 422, code: "invalid_value", param: "wait", suggestion: "0 to 60"},
		{name: "wait negative", query: "?wait=-1", body: "x", status: 422, code: "invalid_value", param: "wait"},
		{name: "wait twice", query: "?wait=1&wait=1", body: "x", status: 422, code: "invalid_value", param: "wait"},
		{name: "broken escape", query: "?name=%zz", body: "x", status: 400, code: "invalid_request"},
		{name: "invalid UTF-8 in the query", query: "?name=%ff", body: "x", status: 422, code: "invalid_utf8", param: "name"},
		{name: "line end in the name", query: "?name=a%0ab", body: "x", status: 422, code: "invalid_value", param: "name"},
		{name: "name too long", query: "?name=" + strings.Repeat("n", 256), body: "x", status: 422, code: "invalid_value",
			param: "name"},

		{name: "broken JSON", body: `{"text":"x"`, headers: []string{asJSON}, status: 400, code: "invalid_json", param: "body"},
		{name: "not JSON", body: `text`, headers: []string{asJSON}, status: 400, code: "invalid_json", param: "body"},
		{name: "an array", body: `["x"]`, headers: []string{asJSON}, status: 400, code: "invalid_json", param: "body"},
		{name: "duplicate keys", body: `{"text":"x","text":"y"}`, headers: []string{asJSON}, status: 400,
			code: "invalid_json", param: "text", suggestion: "give it once"},
		{name: "duplicate keys, one escaped", body: `{"text":"x","te\u0078t":"y"}`, headers: []string{asJSON}, status: 400,
			code: "invalid_json", param: "text"},
		{name: "duplicate keys within config", body: `{"text":"x","config":{"unit":"chars","unit":"bytes"}}`,
			headers: []string{asJSON}, status: 400, code: "invalid_json", param: "unit"},
		{name: "trailing data", body: `{"text":"x"}{"text":"y"}`, headers: []string{asJSON}, status: 400,
			code: "invalid_json", param: "body", suggestion: "nothing behind it"},
		{name: "trailing comma", body: `{"text":"x",}`, headers: []string{asJSON}, status: 400, code: "invalid_json", param: "body"},
		{name: "a comment", body: `{"text":"x"} // y`, headers: []string{asJSON}, status: 400, code: "invalid_json", param: "body"},
		{name: "a lone surrogate", body: `{"text":"\ud800"}`, headers: []string{asJSON}, status: 400, code: "invalid_json", param: "body"},
		{name: "a control character", body: "{\"text\":\"a\nb\"}", headers: []string{asJSON}, status: 400,
			code: "invalid_json", param: "body"},
		{name: "too deep", body: `{"text":"x","config":` + deep + `}`, headers: []string{asJSON}, status: 400,
			code: "invalid_json", param: "body"},
		{name: "text not a string", body: `{"text":5}`, headers: []string{asJSON}, status: 422, code: "invalid_value",
			param: "text"},
		{name: "text null", body: `{"text":null}`, headers: []string{asJSON}, status: 422, code: "invalid_value",
			param: "text"},
		{name: "config not an object", body: `{"text":"x","config":[]}`, headers: []string{asJSON}, status: 422,
			code: "invalid_value", param: "config"},
		{name: "both text and document_id", body: `{"text":"x","document_id":"doc_1"}`, headers: []string{asJSON},
			status: 422,
			code:   "invalid_value", param: "document_id", suggestion: "send one of the two"},
		{name: "neither text nor document_id", body: `{"strategy":"recursive"}`, headers: []string{asJSON}, status: 422,
			code: "missing_field", param: "text"},
		{name: "unknown document", body: `{"document_id":"doc_00000000000000000000000000000000"}`, headers: []string{asJSON},
			status: 404, code: "not_found", param: "document_id", suggestion: "GET /v1/documents"},
		{name: "a pattern as document", body: `{"document_id":"*"}`, headers: []string{asJSON}, status: 404,
			code:  "not_found",
			param: "document_id"},

		{name: "a form without a file", body: noFile, headers: []string{kind}, status: 422, code: "unknown_field", param: "fiel",
			suggestion: "file"},
		{name: "a form without a boundary", body: "x", headers: []string{"Content-Type: multipart/form-data"}, status: 415,
			code: "unsupported_media_type", param: "Content-Type"},
		{name: "a form that is none", body: "x", headers: []string{"Content-Type: multipart/form-data; boundary=b"},
			status: 400,
			code:   "invalid_request", param: "body"},
		{name: "a form that ends early", body: lateBody[:len(lateBody)-40], headers: []string{late}, status: 400,
			code: "invalid_request", param: "body"},
		{name: "a picture", body: "\x89PNG", headers: []string{"Content-Type: image/png"}, status: 415,
			code: "unsupported_media_type", param: "Content-Type", suggestion: "text/*"},
		{name: "unknown charset", body: "x", headers: []string{"Content-Type: text/plain; charset=latin-99"}, status: 415,
			code: "unsupported_media_type", param: "Content-Type"},
		{name: "unknown encoding", query: "?encoding=latin-99", body: "x", status: 422, code: "invalid_value", param: "encoding"},
		{name: "unknown policy", query: "?invalid=ignore", body: "x", status: 422, code: "invalid_value", param: "invalid"},
		{name: "an encoding in JSON", body: `{"text":"x","encoding":"utf-8"}`, headers: []string{asJSON}, status: 422,
			code: "unknown_field", param: "encoding"},
		{name: "not in its encoding", query: "?encoding=shift_jis", body: "ab\xff", status: 422, code: "undecodable", param: "text",
			suggestion: "invalid=replace"},
		{name: "broken UTF-8", body: strings.Repeat("é", 20) + "\xa9" + strings.Repeat("é", 20), status: 422,
			code: "invalid_utf8", param: "text", suggestion: "encoding="},
		{name: "binary", body: "%PDF-1.7\n", status: 422, code: "binary_document", param: "text"},
		{name: "gzip", body: "x", headers: []string{"Content-Encoding: gzip"}, status: 415, code: "unsupported_media_type", param: "Content-Encoding", suggestion: "unpacked"},
		{name: "two content types", body: "x", headers: []string{"Content-Type: text/plain", asJSON}, status: 415,
			code: "unsupported_media_type", param: "Content-Type"},
		{name: "no content type at all", body: "x", headers: []string{"Content-Type: ;"}, status: 415,
			code: "unsupported_media_type", param: "Content-Type"},
	}
	for _, tt := range tests {
		a := s.post("/v1/operations"+tt.query, tt.body, tt.headers...)
		p := wantProblem(t, tt.name, a, tt.status, tt.code)
		if p == nil {
			continue
		}
		wantHelp(t, tt.name, p, tt.param, tt.suggestion)
		if len(a.body) > 1500 {
			t.Errorf("%s: the problem has %d bytes", tt.name, len(a.body))
		}
	}
	if got := s.get("/v1/operations").json(t)["data"].([]any); len(got) != 0 {
		t.Errorf("refused requests left operations behind: %v", got)
	}
	if logged := s.log.String(); strings.Contains(logged, "level=ERROR") {
		t.Errorf("a bad request is no error of ours: %s", logged)
	}
}

// TestUndeclaredEncoding: bytes that are not UTF-8, in a text that says nothing of its encoding, are no bad input. What they
// are taken for, on what ground and how surely is in the answer's source: whoever knows better names the encoding.
func TestUndeclaredEncoding(t *testing.T) {
	s := idle(t)
	for _, tt := range []struct {
		name, body, encoding, text string
		least, most                float64 // of the confidence
	}{
		{"one byte to go by", "ab\xffcd", "iso-8859-13", "ab’cd", 0, 0.5},
		{"a character of UTF-8 cut off", "ab\xe2\x82", "windows-1257", "abā‚", 0, 0.5},
		{"French", "Le caf\xe9 \xe9tait d\xe9j\xe0 ferm\xe9 quand l'\xe9l\xe8ve arriva.", "windows-1252", "Le café était déjà fermé quand l'élève arriva.", 0.5, 1},
	} {
		a := s.post("/v1/operations", tt.body)
		if a.status != http.StatusAccepted {
			t.Errorf("%s: got %d %s, want 202", tt.name, a.status, a.body)
			continue
		}
		op := a.json(t)
		source := op["source"].(map[string]any)
		if source["encoding"] != tt.encoding || source["by"] != "guessed" {
			t.Errorf("%s: got source %v, want %s, guessed", tt.name, source, tt.encoding)
		}
		if sure := source["confidence"].(float64); sure <= tt.least || sure >= tt.most {
			t.Errorf("%s: got confidence %v, want it between %v and %v", tt.name, sure, tt.least, tt.most)
		}
		if got := s.get("/v1/documents/" + op["document_id"].(string) + "/text"); string(got.body) != tt.text {
			t.Errorf("%s: got text %q, want %q", tt.name, got.body, tt.text)
		}
	}
}

// wantHelp checks that a problem names the parameter at fault, "" where there is none, and what to do instead, with part in it.
func wantHelp(t *testing.T, what string, p map[string]any, param, part string) {
	t.Helper()
	if got, _ := p["param"].(string); got != param {
		t.Errorf("%s: got param %q, want %q", what, got, param)
	}
	if got, _ := p["suggestion"].(string); got == "" || !strings.Contains(got, part) {
		t.Errorf("%s: got suggestion %q, want one with %q in it", what, got, part)
	}
}

// TestTooLarge: 65 MiB in every form, announced and not.
func TestTooLarge(t *testing.T) {
	s := idle(t)
	const most = api.MaxText
	wantTooLarge := func(what string, a answer, limit, fix string) {
		t.Helper()
		p := wantProblem(t, what, a, 413, "too_large")
		if p == nil {
			return
		}
		wantHelp(t, what, p, "text", fix)
		if want := "the body or its text is longer than " + limit; p["detail"] != want {
			t.Errorf("%s: got detail %q, want %q", what, p["detail"], want)
		}
	}
	const split, submit = "split the document: at most 64 MiB", "submit an operation"
	announced := fmt.Sprintf("POST /v1/operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n", 65<<20)
	wantTooLarge("announced", s.exchange(announced+"\r\n"), "64 MiB", split)
	wantTooLarge("announced, JSON", s.exchange(announced+asJSON+"\r\n\r\n"), "64 MiB", split)
	wantTooLarge("announced, form", s.exchange(announced+"Content-Type: multipart/form-data; boundary=b\r\n\r\n"), "64 MiB", split)
	wantTooLarge("announced, preview", s.exchange(fmt.Sprintf(
		"POST /v1/preview HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", api.MaxPreview+1)), "1 MiB", submit)
	p := wantProblem(t, "announced, settings", s.exchange(fmt.Sprintf(
		"POST /v1/configurations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n\r\n", 1<<20, asJSON)), 413, "too_large")
	wantHelp(t, "announced, settings", p, "body", "at most 64 KiB")

	// Only the answer matters to a client that is still sending, so errors of its sending are none of the test's.
	for what, tt := range map[string]struct {
		path string
		body io.Reader
		kind string
	}{
		"streamed":      {"/v1/operations", many(most + 1), "text/plain"},
		"streamed form": {"/v1/operations", formOf(most + 1), "multipart/form-data; boundary=b"},
		"streamed JSON": {"/v1/operations", io.MultiReader(strings.NewReader(`{"text":"`), many(most)), "application/json"},
		"preview":       {"/v1/preview", many(api.MaxPreview + 1), "text/plain"},
		"preview as JSON": {"/v1/preview", io.MultiReader(strings.NewReader(`{"text":"`), many(api.MaxPreview+1),
			strings.NewReader(`"}`)), "application/json"},
		"preview as form": {"/v1/preview", formOf(api.MaxPreview + 1), "multipart/form-data; boundary=b"},
	} {
		limit, fix := "64 MiB", split
		if tt.path == "/v1/preview" {
			limit, fix = "1 MiB", submit
		}
		wantTooLarge(what, s.do("POST", tt.path, unsized{tt.body}, "Content-Type: "+tt.kind), limit, fix)
	}
	if a := s.do("POST", "/v1/preview?chunk_size=1000000", many(api.MaxPreview)); a.status != 200 {
		t.Errorf("a preview of exactly the limit: got %d %.200s", a.status, a.body)
	}
}

func formOf(n int64) io.Reader {
	const head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
	return io.MultiReader(strings.NewReader(head), many(n), strings.NewReader("\r\n--b--\r\n"))
}

// TestUnknownAndHostileIDs: an id that is a pattern, a path or anything else is just not found, like one that is not
// there, and the answers cannot be told apart.
func TestUnknownAndHostileIDs(t *testing.T) {
	s := idle(t)
	s.submit("", sample)
	bad := []string{
		"op_00000000000000000000000000000000", "doc_00000000000000000000000000000000", "*", "_", "op_*", "op_%25", "op__",
		"..%2F..%2Fetc", "%2e%2e", "%00", "op_%00", "op_" + strings.Repeat("a", 5000), "op_%27%20OR%201=1--", "%ff", "op_%ff",
		"operation:1", "null", "0", "-1", "OP_1", "{id}", "op_%0d%0aX: y",
	}
	for _, id := range bad {
		var first string
		for _, path := range []string{
			"GET /v1/operations/%s", "POST /v1/operations/%s/cancel", "POST /v1/operations/%s/retry",
			"GET /v1/operations/%s/chunks",
			"GET /v1/operations/%s/events", "GET /v1/documents/%s", "DELETE /v1/documents/%s", "GET /v1/documents/%s/text",
		} {
			method, path, _ := strings.Cut(fmt.Sprintf(path, strings.ReplaceAll(id, " ", "%20")), " ")
			p := wantProblem(t, method+" "+path, s.do(method, path, nil), 404, "not_found")
			if p == nil {
				continue
			}
			if strings.HasPrefix(id, ".") { // it is refused as a path, before there is an id
				wantHelp(t, method+" "+path, p, "", "/docs")
			} else {
				wantHelp(t, method+" "+path, p, "id", "look it up with GET /v1/")
			}
			if strings.Contains(path, "operations") {
				if first == "" {
					first = p["detail"].(string)
				} else if p["detail"] != first {
					t.Errorf("%s: got %v, others say %v", path, p["detail"], first)
				}
			}
		}
	}
	for _, path := range []string{"/v1/operations/../documents", "/v1//operations", "/v1/operations/./x", "/nothing",
		"/v1", "/v1/operations/"} {
		a := s.exchange("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		wantHelp(t, path, wantProblem(t, path, a, 404, "not_found"), "", "/docs")
	}
}

func TestBadQueries(t *testing.T) {
	s := idle(t)
	op := s.submit("", sample)["id"].(string)
	chunks := "/v1/operations/" + op + "/chunks"
	for i := range 3 {
		s.submit("", fmt.Sprint(i))
	}
	cursor := s.get("/v1/operations?limit=1").str(t, "next_cursor")
	for _, tt := range []struct{ path, code, param, suggestion string }{
		{"/v1/operations?cursor=garbage", "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{"/v1/operations?cursor=%21%21", "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{"/v1/operations?cursor=" + strings.Repeat("A", 9000), "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{"/v1/operations?cursor=" + cursor[:len(cursor)-2], "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{"/v1/operations?cursor=" + cursor + "A", "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{"/v1/operations?cursor=" + op, "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{chunks + "?cursor=" + cursor, "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{chunks + "?cursor=garbage", "invalid_cursor", "cursor", "leave cursor out to begin again"},
		{"/v1/operations?limit=0", "invalid_value", "limit", "whole number"},
		{"/v1/operations?limit=201", "invalid_value", "limit", "whole number"},
		{"/v1/operations?limit=ten", "invalid_value", "limit", "whole number"},
		{"/v1/operations?limit=1&limit=2", "invalid_value", "limit", "give it once"},
		{"/v1/operations?status=done", "invalid_value", "status", "queued, processing, completed, failed or cancelled"},
		{"/v1/operations?lmit=5", "unknown_field", "lmit", "use limit"},
		{"/v1/operations/" + op + "?wait=99", "invalid_value", "wait", "a whole number from 0 to 60, or leave it out"},
		{"/v1/operations/" + op + "?x=1", "unknown_field", "x", "leave it out"},
		{chunks + "?limit=1001", "invalid_value", "limit", "1 to 1000"},
		{chunks + "?limit=0", "invalid_value", "limit", "1 to 1000"},
		{chunks + "?text=maybe", "invalid_value", "text", "true or false"},
		{chunks + "?offset=1", "unknown_field", "offset", "leave it out"},
		{"/v1/operations/" + op + "/events?since=-1", "invalid_value", "since", "the id of the last event"},
		{"/v1/operations/" + op + "/events?since=x", "invalid_value", "since", "the id of the last event"},
		{"/v1/operations/" + op + "/events?sinse=1", "unknown_field", "sinse", "use since"},
		{"/v1/events?since=1", "unknown_field", "since", "leave it out"},
		{"/v1/operations?dead_letter=maybe", "invalid_value", "dead_letter", "true or false"},
		{"/v1/operations?status=complete", "invalid_value", "status", "use completed"},
		{"/v1/documents?limit=-1", "invalid_value", "limit", "1 to 200"},
		{"/v1/keys?owner=" + strings.Repeat("o", 256), "invalid_value", "owner", "at most 255 characters"},
		{"/v1/audit?limit=1.5", "invalid_value", "limit", "1 to 200"},
		{"/v1/statistics?days=0", "invalid_value", "days", "1 to 3650"},
		{"/v1/webhooks/whk_1/deliveries?state=lost", "invalid_value", "state", "pending, delivered or dead"},
		{"/v1/strategies?x=1", "unknown_field", "x", "leave it out"},
		{"/healthz?x=1", "unknown_field", "x", "leave it out"},
	} {
		p := wantProblem(t, tt.path, s.get(tt.path), 422, tt.code)
		if p == nil {
			continue
		}
		wantHelp(t, tt.path, p, tt.param, tt.suggestion)
		if detail := p["detail"].(string); strings.Contains(detail, "expected ") || strings.Contains(detail, ": ") {
			t.Errorf("%s: the detail is a library's: %s", tt.path, detail)
		}
	}
	for _, tt := range []struct{ path, code, param, suggestion string }{
		{"/v1/blocks", "missing_field", "kind", "give owner or token"},
		{"/v1/blocks?kind=owner", "missing_field", "value", "give"},
		{"/v1/blocks?kind=tokens&value=v", "invalid_value", "kind", "use token"},
		{"/v1/blocks?kind=owner&value=" + strings.Repeat("v", 256), "invalid_value", "value", "at most 255 characters"},
	} {
		wantHelp(t, "DELETE "+tt.path, wantProblem(t, "DELETE "+tt.path, s.do("DELETE", tt.path, nil), 422, tt.code), tt.param, tt.suggestion)
	}
	for path, param := range map[string]string{
		"/v1/operations/" + op + "/chunks/9": "chunk", "/v1/operations/" + op + "/chunks/*": "chunk", "/v1/batches/bat_1": "id",
		"/v1/configurations/*": "id", "/v1/webhooks/whk_1": "id", "/v1/webhooks/*/deliveries": "id", "/errors/no": "code", "/ui/no.js": "file", "/docs/no.js": "file",
	} {
		wantHelp(t, path, wantProblem(t, path, s.get(path), 404, "not_found"), param, "")
	}
	for _, tt := range []struct{ body, code, param string }{
		{"", "empty_document", "text"}, {`{"text":"x","limit":0}`, "invalid_value", "limit"}, {`{"text":"x","limit":1001}`, "invalid_value", "limit"},
		{`{"text":"x","limit":"5"}`, "invalid_value", "limit"}, {`{"text":"x","document_id":"doc_1"}`, "unknown_field", "document_id"},
		{`{"text":"x","name":"n"}`, "unknown_field", "name"},
	} {
		wantHelp(t, "preview "+tt.body, wantProblem(t, "preview "+tt.body, s.post("/v1/preview", tt.body, asJSON), 422, tt.code), tt.param, "")
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=20001&texts=false", "texts=1"} {
		param, _, _ := strings.Cut(query, "=")
		wantHelp(t, "preview "+query, wantProblem(t, "preview "+query, s.post("/v1/preview?"+query, "x"), 422, "invalid_value"), param, "")
	}
}

func TestPreviewStopsAtItsLimit(t *testing.T) {
	s := idle(t)
	p := s.post("/v1/preview?chunk_size=5&unit=bytes&limit=3", strings.Repeat("word ", 1000)).json(t)
	wantFields(t, "preview", p, []string{"bytes_total", "chars_total", "config", "configuration", "data", "has_more", "source", "strategy"})
	if len(p["data"].([]any)) != 3 || p["has_more"] != true || p["bytes_total"] != float64(5000) {
		t.Errorf("got %v", p)
	}
	// In the unit, which is not always what a chunk's own fields count.
	p = s.post("/v1/preview?chunk_size=3&unit=words&texts=false", "One two. Three four five six.").json(t)
	for i, size := range []float64{2, 3, 1} {
		if c := p["data"].([]any)[i].(map[string]any); c["size"] != size || c["text"] != nil {
			t.Errorf("chunk %d: got %v, want %v words and no text", i, c, size)
		}
	}
}

func TestRefusedRoutes(t *testing.T) {
	s := idle(t)
	a := s.do("PUT", "/v1/operations", nil)
	wantProblem(t, "PUT", a, 405, "method_not_allowed")
	if got := a.header.Get("Allow"); got != "GET, HEAD, POST" {
		t.Errorf("PUT: got Allow %q", got)
	}
	wantProblem(t, "OPTIONS", s.do("OPTIONS", "/v1/operations", nil), 405, "method_not_allowed")
	wantProblem(t, "nowhere", s.get("/v1/nowhere"), 404, "not_found")
	if a := s.do("HEAD", "/v1/nowhere", nil); a.status != 404 || len(a.body) > 0 {
		t.Errorf("HEAD: got %d %q", a.status, a.body)
	}
}

// TestSlowBody: a body that stops coming is given up, and the answer says so.
func TestSlowBody(t *testing.T) {
	s := idle(t)
	api.SetBodyGrace(s.api, 200*time.Millisecond)
	for _, head := range []string{"", asJSON + "\r\n", "Content-Type: multipart/form-data; boundary=b\r\n"} {
		began := time.Now()
		a := s.exchange("POST /v1/operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n" + head + "\r\n{\"tex")
		wantProblem(t, "slow body "+head, a, 408, "request_timeout")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	}
	for _, head := range []string{"POST /v1/operations?x=1", "POST /v1/operations/op_1/cancel", "GET /healthz",
		"PUT /nowhere"} {
		c := s.dial()
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", head)
		began := time.Now()
		if a := readAnswer(t, c); a.status == 0 || time.Since(began) > 5*time.Second {
			t.Errorf("%s with a body that never comes: answered %d after %s", head, a.status, time.Since(began))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	// The deadline of a body is gone when the answer takes longer.
	c := s.dial()
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/operations?wait=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\ntext")
	if a := readAnswer(t, c); a.status != http.StatusAccepted {
		t.Errorf("waiting beyond the body's deadline: got %d %s", a.status, a.body)
	}
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, c); a.status != 200 {
		t.Errorf("the next request on the connection: got %d %s", a.status, a.body)
	}
}

// TestDisconnect: a client that goes away in the middle of its body leaves nothing behind.
func TestDisconnect(t *testing.T) {
	s := idle(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/operations", r)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = w.Write([]byte(strings.Repeat("y", 300<<10)))
		cancel()
		_ = w.CloseWithError(context.Canceled)
	}()
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Fatalf("got %d, want an error", res.StatusCode)
	}
	if got := s.get("/v1/operations").json(t)["data"].([]any); len(got) != 0 {
		t.Errorf("got %v, want no operation", got)
	}
}

func FuzzSubmitJSON(f *testing.F) {
	f.Add(`{"text":"x","config":{"chunk_size":5}}`)
	f.Add(`{"text":"\ud83d\ude00","name":"n","strategy":"recursive"}`)
	f.Add(`{"a":[1,2.5e-3,{"b":null}],"c":true}`)
	f.Fuzz(func(t *testing.T, body string) { api.CheckStrictJSON(t, []byte(body)) })
}

func FuzzSettings(f *testing.F) {
	f.Add("chunk_size=5&unit=bytes")
	f.Add("strategy=%22&x=%00")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		api.CheckSettings(t, values)
	})
}
