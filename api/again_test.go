package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/store"
)

// fail takes what is queued and fails the operations with the ids.
func (s *server) fail(ids ...string) {
	s.t.Helper()
	for _, run := range s.claim() {
		var err error
		if slices.Contains(ids, run.Operation.ID) {
			_, err = run.Fail(s.t.Context(), event.Failure{Code: "test", Detail: "on purpose"}, 0)
		} else {
			_, err = run.HandOver(s.t.Context())
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *server) claim() []*store.Run {
	s.t.Helper()
	runs, _, err := s.store.Claim(s.t.Context(), store.Claim{Worker: "test", Lane: store.Small, Slots: 100, Bytes: 1 << 20, SplitterVersion: chunk.Version, Lease: time.Minute})
	if err != nil {
		s.t.Fatal(err)
	}
	return runs
}

// TestRetryOfABatch: what failed is run again in its place, once, and nothing else is touched.
func TestRetryOfABatch(t *testing.T) {
	s := idle(t)
	made := s.post("/v1/batches", `{"documents":[{"text":"One."},{"text":"Two."},{"text":"Three."}]}`, asJSON)
	path := made.header.Get("Location")
	ids := func(a answer) (ids, of []string) {
		for _, one := range a.json(t)["data"].([]any) {
			ids, of = append(ids, dig(one, "id").(string)), append(of, dig(one, "retry_of").(string))
		}
		return ids, of
	}
	first, _ := ids(made)
	if a := s.post(path+"/retry", ""); a.status != 202 || !slices.Equal(first, func() []string { i, _ := ids(a); return i }()) {
		t.Fatalf("nothing has failed: got %d %s", a.status, a.body)
	}
	s.fail(first[0], first[2])
	if a := s.post("/v1/operations/"+first[1]+"/cancel", ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a := s.post(path+"/retry", "")
	second, of := ids(a)
	if a.status != 202 || a.header.Get("Location") != path || second[1] != first[1] || second[0] == first[0] || second[2] == first[2] ||
		!slices.Equal(of, []string{first[0], "", first[2]}) || dig(a.json(t), "statuses", "queued") != 2.0 {
		t.Fatalf("got %d %s, want the first and the third of %v again", a.status, a.body, first)
	}
	if again, _ := ids(s.post(path+"/retry", "")); !slices.Equal(again, second) {
		t.Errorf("repeated: got %v, want %v", again, second)
	}
	if got, _ := ids(s.get(path)); !slices.Equal(got, second) {
		t.Errorf("afterwards: got %v, want %v", got, second)
	}
	s.fail(second[0])
	third, of := ids(s.post(path+"/retry", ""))
	if third[0] == second[0] || of[0] != second[0] || third[2] != second[2] {
		t.Errorf("failed again: got %v of %v after %v", third, of, second)
	}
	wantProblem(t, "no batch", s.post("/v1/batches/bat_0/retry", ""), 404, "not_found")
}

// TestOneChunk: by id and by index, it is what the list has.
func TestOneChunk(t *testing.T) {
	s := start(t)
	for _, query := range []string{"?chunk_size=20&chunk_overlap=5&wait=20", "?strategy=hierarchical&chunk_size=60&child_sizes=%5B20%5D&wait=20"} {
		op := s.submit(query, sample+sample)
		path := "/v1/operations/" + op["id"].(string) + "/chunks"
		all := s.get(path).json(t)["data"].([]any)
		if len(all) < 3 {
			t.Fatalf("%s: only %d chunks", query, len(all))
		}
		for i, want := range all {
			for _, name := range []string{fmt.Sprint(i), dig(want, "id").(string)} {
				if a := s.get(path + "/" + name); a.status != 200 || !same(a.json(t), want) {
					t.Errorf("%s %s: got %d %s, want %v", query, name, a.status, a.body, want)
				}
			}
		}
		if got := s.get(path + "/1?text=false&utf16=true").json(t); got["text"] != nil || got["start_utf16"] == nil {
			t.Errorf("got %v", got)
		}
		for _, name := range []string{fmt.Sprint(len(all)), "-1", "01", "+1", "x", "chk_x", "9223372036854775808", "chk_" + strings.Repeat("a", 32)} {
			wantProblem(t, name, s.get(path+"/"+name), 404, "not_found")
		}
	}
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// TestChunksAroundAPlace: for every byte and every character of a text, the page is what the whole list says.
func TestChunksAroundAPlace(t *testing.T) {
	s := start(t)
	text := "Grün 日本. One two three. " + strings.Repeat("\n\nFour five. ", 3) + "   \n \n  The end."
	for _, query := range []string{"?chunk_size=12&chunk_overlap=6&wait=20", "?strategy=hierarchical&chunk_size=40&child_sizes=%5B12%5D&wait=20"} {
		op := s.submit(query, text)
		path := "/v1/operations/" + op["id"].(string) + "/chunks"
		all := s.get(path).json(t)["data"].([]any)
		field := func(i int, name string) int { return int(all[i].(map[string]any)[name].(float64)) }
		for _, unit := range []string{"byte", "char"} {
			size := map[string]int{"byte": len(text), "char": len([]rune(text))}[unit]
			for at := 0; at <= size; at++ {
				page := s.get(fmt.Sprintf("%s?at_%s=%d&around=1&text=false", path, unit, at)).json(t)
				var holding []any
				nearest := -1
				for i := range all {
					if field(i, "start_"+unit) <= at && at < field(i, "end_"+unit) {
						holding, nearest = append(holding, float64(i)), i
					}
				}
				for i := range all {
					if nearest < 0 && field(i, "start_"+unit) > at {
						nearest = i
					}
				}
				if nearest < 0 {
					nearest = len(all) - 1
				}
				first := nearest
				for len(holding) > 0 && slices.Contains(holding, any(float64(first-1))) {
					first--
				}
				var want, got []int
				for i := max(first-1, 0); i <= min(nearest+1, len(all)-1); i++ {
					want = append(want, i)
				}
				for _, c := range page["data"].([]any) {
					got = append(got, int(dig(c, "index").(float64)))
				}
				reported, _ := page["at"].([]any)
				if !slices.Equal(got, want) || !slices.Equal(reported, holding) {
					t.Errorf("%s at_%s=%d: got %v and %v, want %v and %v", query, unit, at, got, reported, want, holding)
				}
			}
		}
		lines := s.get(path+"?at_byte=0&around=0", "Accept: application/x-ndjson")
		if n := bytes.Count(lines.body, []byte("\n")); lines.status != 200 || n == 0 || n > 2 || lines.header.Get("Chunkstream-Operation-Id") != op["id"] {
			t.Errorf("%s as lines: got %d %v %s", query, lines.status, lines.header, lines.body)
		}
		page := s.get(path + "?at_byte=0&around=0").json(t)
		if next := s.get(path + "?cursor=" + page["next_cursor"].(string)).json(t)["data"].([]any); dig(next[0], "index") != float64(len(page["data"].([]any))) {
			t.Errorf("%s: the cursor goes on with %v", query, next[0])
		}
		for _, bad := range []string{"at_byte=-1", "at_byte=x", "at_char=99999999999999999999", "at_byte=1&at_char=1", "at_byte=1&limit=3", "at_byte=1&cursor=x", "at_byte=1&around=101"} {
			wantProblem(t, bad, s.get(path+"?"+bad), 422, "invalid_value")
		}
		wantProblem(t, "around alone", s.get(path+"?around=1"), 422, "missing_field")
	}
}

// TestChunksOfADocument: those of the newest completed operation, and a cursor stays with it.
func TestChunksOfADocument(t *testing.T) {
	s := start(t)
	first := s.submit("?chunk_size=20&wait=20", sample)
	path := "/v1/documents/" + first["document_id"].(string) + "/chunks"
	page := s.get(path + "?limit=2").json(t)
	if page["operation_id"] != first["id"] || len(page["data"].([]any)) != 2 {
		t.Fatalf("got %v, want those of %v", page, first["id"])
	}
	second := s.submit("?strategy=sentence&wait=20", sample)
	if got := s.get(path).json(t)["operation_id"]; got != second["id"] {
		t.Errorf("after another one: got %v, want %v", got, second["id"])
	}
	if got := s.get(path + "?strategy=recursive").json(t)["operation_id"]; got != first["id"] {
		t.Errorf("of one strategy: got %v, want %v", got, first["id"])
	}
	next := s.get(path + "?cursor=" + page["next_cursor"].(string)).json(t)
	if next["operation_id"] != first["id"] || dig(next["data"].([]any)[0], "index") != 2.0 {
		t.Errorf("cursor: got %v", next)
	}
	other := s.submit("?wait=20", "Another text.")
	elsewhere := "/v1/documents/" + other["document_id"].(string) + "/chunks"
	wantProblem(t, "a cursor of another document", s.get(elsewhere+"?cursor="+page["next_cursor"].(string)), 422, "invalid_cursor")
	for _, bad := range []string{"x", "b3A"} {
		wantProblem(t, "cursor "+bad, s.get(path+"?cursor="+bad), 422, "invalid_cursor")
	}
	wantProblem(t, "no such strategy on it", s.get(path+"?strategy=markdown"), 404, "not_found")
	wantProblem(t, "no document", s.get("/v1/documents/doc_0/chunks"), 404, "not_found")
}

// TestSettingsAreReadOnce: settings that came before are not read again, on whatever route they come.
func TestSettingsAreReadOnce(t *testing.T) {
	var read atomic.Int64
	s := idle(t, func(c *api.Config) {
		c.Parse = func(strategy string, settings []byte) (chunk.Plan, error) {
			read.Add(1)
			return chunk.Parse(strategy, settings)
		}
	})
	id := s.post("/v1/configurations", `{"name":"n","strategy":"sentence","config":{"chunk_size":40}}`, asJSON).str(t, "id")
	ended := s.submit("?configuration="+id, "One. Two.")["id"].(string)
	s.fail(ended)
	asked := map[string]func(text string) answer{
		"submit":  func(text string) answer { return s.post("/v1/operations?configuration="+id, text) },
		"preview": func(text string) answer { return s.post("/v1/preview?configuration="+id, text) },
		"recommend": func(text string) answer {
			return s.post("/v1/recommend", `{"text":"`+text+`","config":{"chunk_size":40}}`, asJSON)
		},
		"compare": func(text string) answer {
			return s.post("/v1/compare", `{"text":"`+text+`","strategies":[{"configuration":"n"},{"strategy":"fixed_size"}]}`, asJSON)
		},
		"download": func(string) answer { return s.get("/v1/operations/" + ended + "/download") },
		"save": func(text string) answer {
			return s.post("/v1/configurations", `{"name":"`+text+`","strategy":"sentence","config":{"chunk_size":41}}`, asJSON)
		},
	}
	for what, ask := range asked {
		var n [2]int64
		for i := range n {
			if a := ask(fmt.Sprintf("%s. Text %d.", what, i)); a.status >= 400 {
				t.Fatalf("%s: %d %s", what, a.status, a.body)
			}
			n[i] = read.Load()
		}
		if n[0] != n[1] {
			t.Errorf("%s: settings that came before were read again %d times", what, n[1]-n[0])
		}
	}
	if read.Load() == 0 {
		t.Error("no settings were read at all")
	}
}

// TestSavedConfigurationsAreUsed in every form of a submission, in previews, comparisons and batches, by id and by name.
func TestSavedConfigurationsAreUsed(t *testing.T) {
	s := idle(t)
	saved := s.post("/v1/configurations", `{"name":"for search","strategy":"sentence","config":{"chunk_size":40}}`, asJSON)
	id := saved.str(t, "id")
	want := func(what string, got any, version float64) {
		t.Helper()
		if dig(got, "configuration", "id") != id || dig(got, "configuration", "name") != "for search" || dig(got, "configuration", "version") != version ||
			dig(got, "strategy") != "sentence" || dig(got, "config", "chunk_size") != 40.0 {
			t.Errorf("%s: got %v", what, got)
		}
	}
	for _, name := range []string{id, "for search"} {
		query := "?configuration=" + strings.ReplaceAll(name, " ", "%20")
		op := s.submit(query, "One. Two.")
		want("raw", op, 1)
		want("read", s.get("/v1/operations/"+op["id"].(string)).json(t), 1)
		s.fail(op["id"].(string))
		want("retry", s.post("/v1/operations/"+op["id"].(string)+"/retry", "").json(t), 1)
		want("JSON", s.post("/v1/operations", `{"text":"One. Two.","configuration":"`+name+`"}`, asJSON).json(t), 1)
		form := "--x\r\nContent-Disposition: form-data; name=\"configuration\"\r\n\r\n" + name + "\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nOne. Two.\r\n--x--\r\n"
		want("form", s.post("/v1/operations", form, "Content-Type: multipart/form-data; boundary=x").json(t), 1)
		want("preview", s.post("/v1/preview"+query, "One. Two.").json(t), 1)
		want("preview as JSON", s.post("/v1/preview", `{"text":"One. Two.","configuration":"`+name+`"}`, asJSON).json(t), 1)
		page := s.post("/v1/compare", `{"text":"One. Two.","strategies":[{"configuration":"`+name+`"},{}]}`, asJSON).json(t)
		want("compare", page["data"].([]any)[0], 1)
		b := s.post("/v1/batches", `{"configuration":"`+name+`","documents":[{"text":"One."},{"text":"Two.","config":{}},{"text":"Three.","configuration":"`+name+`"}]}`, asJSON).json(t)
		want("batch", b["data"].([]any)[0], 1)
		want("batch", b["data"].([]any)[2], 1)
		if other := b["data"].([]any)[1]; dig(other, "configuration") != nil || dig(other, "strategy") != "recursive" {
			t.Errorf("batch: got %v", other)
		}
	}
	op := s.post("/v1/operations?configuration="+id, "One. Two.", "Idempotency-Key: k")
	if a := s.do("PUT", "/v1/configurations/"+id, strings.NewReader(`{"name":"for search","strategy":"sentence","config":{"chunk_size":40}}`), asJSON, `If-Match: "1"`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	want("the new version", s.submit("?configuration="+id, "One. Two."), 2)
	want("the new version of a preview", s.post("/v1/preview?configuration="+id, "One. Two.").json(t), 2)
	if a := s.post("/v1/operations?configuration="+id, "One. Two.", "Idempotency-Key: k"); a.str(t, "id") != op.str(t, "id") || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the same request after a change: got %d %s", a.status, a.body)
	}

	for _, bad := range []struct {
		path, body, code string
		status           int
	}{
		{"?configuration=none", "x", "not_found", 404}, {"?configuration=", "x", "not_found", 404}, {"?configuration=%00", "x", "not_found", 404},
		{"?strategy=sentence&configuration=" + id, "x", "invalid_value", 422}, {"?chunk_size=4&configuration=" + id, "x", "invalid_value", 422},
		{"?configuration=" + id + "&configuration=" + id, "x", "invalid_value", 422},
		{"", `{"text":"x","configuration":"` + id + `","config":{}}`, "invalid_value", 422}, {"", `{"text":"x","configuration":"` + id + `","strategy":"sentence"}`, "invalid_value", 422},
		{"", `{"text":"x","configuration":7}`, "invalid_value", 422}, {"", `{"text":"x","configuration":""}`, "not_found", 404},
	} {
		header := []string{}
		if bad.body != "x" {
			header = append(header, asJSON)
		}
		for _, route := range []string{"/v1/operations", "/v1/preview"} {
			if p := wantProblem(t, route+bad.path+bad.body, s.post(route+bad.path, bad.body, header...), bad.status, bad.code); p != nil && p["param"] != "configuration" {
				t.Errorf("%s%s: param %v", route, bad.path, p["param"])
			}
		}
	}
	p := wantProblem(t, "compare", s.post("/v1/compare", `{"text":"x","strategies":[{},{"configuration":"x"}]}`, asJSON), 404, "not_found")
	if p["param"] != "strategies[1].configuration" {
		t.Errorf("param %v", p["param"])
	}
}

// TestSavedConfigurationsNeedTheirScope, and nobody uses another owner's.
func TestSavedConfigurationsNeedTheirScope(t *testing.T) {
	s := gated(t)
	alice, _ := s.key("alice", allScopes, 0)
	bob, _ := s.key("bob", allScopes, 0)
	poor, _ := s.key("alice", 0, 0)
	id := s.post("/v1/configurations", `{"name":"n"}`, asJSON, bearer(alice)).str(t, "id")
	for _, name := range []string{id, "n"} {
		foreign, none := s.post("/v1/preview?configuration="+name, "x", bearer(bob)), s.post("/v1/preview?configuration=cfg_0", "x", bearer(bob))
		if foreign.status != 404 || faceless(foreign) != faceless(none) {
			t.Errorf("%s: got %s, want %s", name, faceless(foreign), faceless(none))
		}
	}
	scopes, _ := s.key("alice", mustScopes(t, "chunking:run"), 0)
	wantProblem(t, "no scope at all", s.post("/v1/preview?configuration=n", "x", bearer(poor)), 403, "forbidden")
	wantProblem(t, "without configurations:read", s.post("/v1/preview?configuration=n", "x", bearer(scopes)), 403, "forbidden")
}

// TestCache: the same request gets the same bytes, another owner's does not, and a change of anything is another request.
func TestCache(t *testing.T) {
	s := gated(t)
	alice, _ := s.key("alice", allScopes, 0)
	bob, _ := s.key("bob", allScopes, 0)
	ask := func(path, body, key string) (string, answer) {
		t.Helper()
		a := s.post(path, body, asJSON, bearer(key))
		if a.status != 200 {
			t.Fatalf("%s %s: got %d %s", path, body, a.status, a.body)
		}
		return a.header.Get("Cache-Status"), a
	}
	const hit, miss = "chunkstream; hit", "chunkstream; fwd=miss"
	for path, bodies := range map[string][]string{
		"/v1/compare": {`{"text":"One. Two.","strategies":[{},{"strategy":"sentence"}]}`, `{"text":"One. Two!","strategies":[{},{"strategy":"sentence"}]}`,
			`{"text":"One. Two.","strategies":[{"strategy":"sentence"},{}]}`, `{"text":"One. Two.","strategies":[{"config":{"chunk_size":9}},{"strategy":"sentence"}]}`,
			`{"text":"One. Two.","strategies":[{},{"strategy":"sentence"}],"cuts":false}`},
		"/v1/preview": {`{"text":"One. Two."}`, `{"text":"One. Two!"}`, `{"text":"One. Two.","config":{"chunk_size":9}}`, `{"text":"One. Two.","limit":1}`,
			`{"text":"One. Two.","texts":false}`, `{"text":"One. Two.","strategy":"sentence"}`},
	} {
		for _, body := range bodies {
			state, first := ask(path, body, alice)
			if state != miss {
				t.Errorf("%s %s: got %q the first time", path, body, state)
			}
			if state, again := ask(path, body, alice); state != hit || !bytes.Equal(first.body, again.body) || again.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: got %q and %s, want %s", path, body, state, again.body, first.body)
			}
			if state, _ := ask(path, body, bob); state != miss {
				t.Errorf("%s %s: got %q for another owner", path, body, state)
			}
		}
	}
	// How the defaults are written makes no difference.
	if state, _ := ask("/v1/preview", `{"config":{"unit":"chars"},"strategy":"recursive","text":"One. Two."}`, alice); state != hit {
		t.Errorf("with the defaults written out: got %q", state)
	}
	// A document's comparison is that of its text, as long as it is there.
	op := s.post("/v1/operations", "One. Two.", bearer(alice)).json(t)
	body := `{"document_id":"` + op["document_id"].(string) + `","strategies":[{},{"strategy":"sentence"}]}`
	if state, _ := ask("/v1/compare", body, alice); state != hit {
		t.Errorf("by document: got %q", state)
	}
	s.post("/v1/operations/"+op["id"].(string)+"/cancel", "", bearer(alice))
	if a := s.do("DELETE", "/v1/documents/"+op["document_id"].(string), nil, bearer(alice)); a.status != 204 {
		t.Fatalf("delete: %d %s", a.status, a.body)
	}
	wantProblem(t, "by a document that is gone", s.post("/v1/compare", body, asJSON, bearer(alice)), 404, "not_found")
}

func TestCacheIsBounded(t *testing.T) { api.CheckCache(t) }

func mustScopes(t *testing.T, names ...string) auth.Scopes {
	t.Helper()
	scopes, err := auth.ParseScopes(names)
	if err != nil {
		t.Fatal(err)
	}
	return scopes
}
