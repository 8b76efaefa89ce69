package api_test

import (
	"fmt"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/store"
)

// TestCompare: the figures are those of the chunks that a preview gives, and the differences are where the chunks end
// differently.
func TestCompare(t *testing.T) {
	s := idle(t, counting)
	text := strings.Repeat("# Head ä\n\nOne sentence. Another one, longer.\n\n- item\n- item\n\n", 10)
	ways := []string{`{"strategy":"recursive","config":{"chunk_size":60}}`, `{"strategy":"markdown","config":{"chunk_size":60}}`,
		`{"strategy":"fixed_size","config":{"chunk_size":50,"chunk_overlap":10}}`, `{"strategy":"hierarchical","config":{"chunk_size":200,"child_sizes":[50]}}`}
	body := fmt.Sprintf(`{"text":%q,"strategies":[%s]}`, text, strings.Join(ways, ","))
	page := s.post("/v1/compare", body, asJSON).json(t)
	wantFields(t, "comparison", page, []string{"bytes_total", "chars_total", "cuts", "cuts_shared", "cuts_total", "data"})
	data := page["data"].([]any)
	if len(data) != len(ways) || page["bytes_total"] != float64(len(text)) || page["chars_total"] != float64(len([]rune(text))) {
		t.Fatalf("got %.300v", page)
	}
	by := map[float64][]any{} // what cuts at a byte
	for i, way := range ways {
		p := s.post("/v1/preview", fmt.Sprintf(`{"text":%q,"limit":1000,%s`, text, way[1:]), asJSON).json(t)
		c := data[i].(map[string]any)
		wantFields(t, way, c, []string{"boundaries", "chunks", "config", "cuts", "good_cuts", "only_cuts", "overlap_bytes", "reasons",
			"shared_cuts", "sizes", "strategy", "time_ms", "torn_words", "unit"})
		chunks := p["data"].([]any)
		if c["chunks"] != float64(len(chunks)) || c["unit"] != "chars" {
			t.Errorf("%s: got %v chunks in %v, want %d in chars", way, c["chunks"], c["unit"], len(chunks))
		}
		least, most, sum, ends := 1e9, 0.0, 0.0, map[string]float64{}
		for _, one := range chunks {
			k := one.(map[string]any)
			n := k["char_count"].(float64)
			least, most, sum = min(least, n), max(most, n), sum+n
			ends[k["boundary"].(string)]++
			at := k["end_byte"].(float64)
			if l := len(by[at]); k["boundary"] != "end" && (l == 0 || by[at][l-1] != float64(i)) {
				by[at] = append(by[at], float64(i))
			}
		}
		if dig(c, "sizes", "least") != least || dig(c, "sizes", "most") != most || dig(c, "sizes", "mean") != sum/float64(len(chunks)) {
			t.Errorf("%s: got sizes %v, want %v to %v", way, c["sizes"], least, most)
		}
		total := 0.0
		for _, n := range dig(c, "sizes", "histogram").([]any) {
			total += n.(float64)
		}
		if total != float64(len(chunks)) || fmt.Sprint(ends) != fmt.Sprint(c["boundaries"]) {
			t.Errorf("%s: got a histogram of %v and boundaries %v, want %d and %v", way, total, c["boundaries"], len(chunks), ends)
		}
	}
	if i, ok := data[2].(map[string]any); !ok || i["overlap_bytes"] == 0.0 || i["torn_words"] == 0.0 {
		t.Errorf("fixed_size: got %v, want overlaps and torn words", i)
	}
	cuts := page["cuts"].([]any)
	if page["cuts_total"] != float64(len(by)) || len(cuts) != len(by) {
		t.Errorf("got %d cuts of %v, want %d", len(cuts), page["cuts_total"], len(by))
	}
	shared, only := 0, map[int]float64{}
	for _, one := range cuts {
		cut := one.(map[string]any)
		at := cut["byte"].(float64)
		if fmt.Sprint(cut["by"]) != fmt.Sprint(by[at]) || cut["char"] != float64(len([]rune(text[:int(at)]))) {
			t.Errorf("cut %v: want it by %v", cut, by[at])
		}
		if len(by[at]) == len(ways) {
			shared++
		}
		if len(by[at]) == 1 {
			only[int(by[at][0].(float64))]++
		}
	}
	if page["cuts_shared"] != float64(shared) {
		t.Errorf("got %v shared cuts, want %d", page["cuts_shared"], shared)
	}
	for i := range ways {
		if got := dig(data[i], "only_cuts"); got != only[i] {
			t.Errorf("%s: got %v cuts of its own, want %v", ways[i], got, only[i])
		}
	}
	if got := dig(data[0], "shared_cuts"); got != dig(data[0], "cuts") {
		t.Errorf("the first shares %v of its %v cuts with itself", got, dig(data[0], "cuts"))
	}

	// Tokens are those of all chunks, as a preview in tokens counts them.
	counted := s.post("/v1/compare", fmt.Sprintf(`{"text":%q,"cuts":false,"count":"o200k_base","strategies":[%s]}`, text, strings.Join(ways, ",")), asJSON).json(t)
	for i, way := range ways {
		want := 0.0
		for _, one := range s.post("/v1/preview", fmt.Sprintf(`{"text":%q,"limit":1000,%s`, text, way[1:]), asJSON).json(t)["data"].([]any) {
			want += s.post("/v1/tokens", fmt.Sprintf(`{"text":%q,"tokenizer":"o200k_base"}`, one.(map[string]any)["text"]), asJSON).json(t)["count"].(float64)
		}
		if got := dig(counted["data"].([]any)[i], "tokens"); got != want || want == 0 {
			t.Errorf("%s: got %v tokens, want %v", way, got, want)
		}
	}

	document := s.submit("", text)["document_id"].(string)
	again := s.post("/v1/compare", fmt.Sprintf(`{"document_id":%q,"cuts":false,"strategies":[%s,%s]}`, document, ways[0], ways[1]), asJSON).json(t)
	if got := dig(again["data"].([]any)[1], "chunks"); got != dig(data[1], "chunks") || len(again["cuts"].([]any)) != 0 {
		t.Errorf("by document_id: got %v chunks and %v", got, again["cuts"])
	}
}

func TestCompareRefuses(t *testing.T) {
	s := idle(t)
	two := `"strategies":[{},{"strategy":"sentence"}]`
	for _, tt := range []struct{ body, code, param string }{
		{``, "invalid_json", "body"}, {`[]`, "invalid_json", "body"}, {`{}`, "missing_field", "strategies"},
		{`{` + two + `}`, "missing_field", "text"}, {`{"text":"",` + two + `}`, "empty_document", "text"},
		{`{"text":1,` + two + `}`, "invalid_value", "text"}, {`{"text":"x","strategies":{}}`, "invalid_value", "strategies"},
		{`{"text":"x","strategies":[{}]}`, "invalid_value", "strategies"},
		{`{"text":"x","strategies":[{},{},{},{},{},{},{}]}`, "invalid_value", "strategies"},
		{`{"text":"x","strategies":[{},1]}`, "invalid_value", "strategies"},
		{`{"text":"x","strategies":[{},{"strategi":"x"}]}`, "unknown_field", "strategies[1].strategi"},
		{`{"text":"x","strategies":[{},{"Strategy":"recursive"}]}`, "unknown_field", "strategies[1].Strategy"},
		{`{"text":"x","strategies":[{},{"strategy":"x"}]}`, "unknown_strategy", "strategies[1].strategy"},
		{`{"text":"x","strategies":[{},{"config":{"chunk_size":0}}]}`, "invalid_value", "strategies[1].chunk_size"},
		{`{"text":"x","strategies":[{},{"config":{"chunk_size":1,"chunk_size":2}}]}`, "invalid_json", "chunk_size"},
		{`{"text":"x","count":"x",` + two + `}`, "invalid_value", "count"}, {`{"text":"x","count":1,` + two + `}`, "invalid_value", "count"},
		{`{"text":"x","cuts":"no",` + two + `}`, "invalid_value", "cuts"}, {`{"text":"x","cut":true,` + two + `}`, "unknown_field", "cut"},
		{`{"text":"x","document_id":"doc_1",` + two + `}`, "invalid_value", "document_id"},
		{`{"document_id":"doc_1",` + two + `}`, "not_found", "document_id"}, {`{"document_id":"../x",` + two + `}`, "not_found", "document_id"},
		{`{"text":"a\u0000b",` + two + `}`, "nul_byte", "text"},
		{`{"text":"` + strings.Repeat("x", api.MaxPreview+1) + `",` + two + `}`, "too_large", "text"},
	} {
		status := map[string]int{"invalid_json": 400, "not_found": 404, "too_large": 413}[tt.code]
		if status == 0 {
			status = 422
		}
		p := wantProblem(t, fmt.Sprintf("%.200s", tt.body), s.post("/v1/compare", tt.body, asJSON), status, tt.code)
		wantHelp(t, fmt.Sprintf("%.200s", tt.body), p, tt.param, "")
	}
	wantProblem(t, "raw", s.post("/v1/compare", "x"), 415, "unsupported_media_type")
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
	wantProblem(t, "foreign", s.post("/v1/compare", `{"document_id":"`+made.Document.ID+`",`+two+`}`, asJSON), 404, "not_found")
}
