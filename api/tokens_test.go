package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/chunk"
	"chunkstream/token"
)

// counting has tokens counted as the program does.
func counting(c *api.Config) {
	parser := chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) { return token.Get(name) }}
	c.Parse = parser.Parse
	c.Tokens = func(tokenizer, text string) ([]int, error) {
		t, err := token.Get(tokenizer)
		if err != nil {
			return nil, err
		}
		return t.Ends(text), nil
	}
}

// TestTokenEnds: the ends are those of the vocabulary, also inside of characters, and there are as many as the size of a chunk
// of the same text.
func TestTokenEnds(t *testing.T) {
	s := idle(t, counting)
	for _, tt := range []struct {
		body, tokenizer string
		ends            []int
	}{
		{`{"text":"hello world"}`, "cl100k_base", []int{5, 11}}, // 15339 1917
		{`{"text":"hello world","tokenizer":"r50k_base"}`, "r50k_base", []int{5, 11}},
		{`{"text":"😀"}`, "cl100k_base", []int{3, 4}}, // 76460 222: three bytes and one
		{`{"text":""}`, "cl100k_base", []int{}},
	} {
		body := strings.ReplaceAll(tt.body, `\U0001F600`, "\U0001F600")
		got := s.post("/v1/tokens", body, asJSON).json(t)
		wantFields(t, body, got, []string{"count", "ends", "tokenizer"})
		want, _ := json.Marshal(tt.ends)
		if ends, _ := json.Marshal(got["ends"]); string(ends) != string(want) || got["count"] != float64(len(tt.ends)) || got["tokenizer"] != tt.tokenizer {
			t.Errorf("%s: got %v, want %s of %s", body, got, want, tt.tokenizer)
		}
	}
	text := strings.Repeat("Grüße, 世界! func f() {}\n", 30)
	quoted, _ := json.Marshal(text)
	chunks := s.post("/v1/preview?unit=tokens&chunk_size=5000&tokenizer=o200k_base", text).json(t)["data"].([]any)
	got := s.post("/v1/tokens", fmt.Sprintf(`{"text":%s,"tokenizer":"o200k_base"}`, quoted), asJSON).json(t)
	if len(chunks) != 1 || dig(chunks[0], "size") != got["count"] {
		t.Errorf("got %v tokens, the only chunk of %d has %v", got["count"], len(chunks), dig(chunks[0], "size"))
	}
}

func TestTokenEndsRefuses(t *testing.T) {
	s := idle(t, counting)
	for _, tt := range []struct{ body, code, param string }{
		{``, "invalid_json", ""}, {`{}`, "missing_field", "text"}, {`{"text":1}`, "invalid_value", "text"}, {`{"txt":"x"}`, "unknown_field", "txt"},
		{`{"text":"x","tokenizer":"gpt"}`, "invalid_value", "tokenizer"}, {`{"text":"x","tokenizer":""}`, "invalid_value", "tokenizer"},
		{`{"text":"x","tokenizer":null}`, "invalid_value", "tokenizer"},
		{`{"text":"` + strings.Repeat("x", 256<<10+1) + `"}`, "too_large", "text"},
	} {
		status := map[string]int{"invalid_json": 400, "too_large": 413}[tt.code]
		if status == 0 {
			status = 422
		}
		if p := wantProblem(t, fmt.Sprintf("%.80s", tt.body), s.post("/v1/tokens", tt.body, asJSON), status, tt.code); p != nil && tt.param != "" && p["param"] != tt.param {
			t.Errorf("%.80s: got param %v, want %s", tt.body, p["param"], tt.param)
		}
	}
	// Where nothing counts tokens, they are refused and not made up.
	wantProblem(t, "without tokenizers", idle(t).post("/v1/tokens", `{"text":"x"}`, asJSON), 422, "invalid_value")
}
