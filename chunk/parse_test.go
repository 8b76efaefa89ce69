package chunk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

var goodSettings = []struct{ strategy, settings, wantStrategy, want string }{
	{"", "", "recursive", `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars"}`},
	{"recursive", " \n{ } ", "recursive", `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars"}`},
	{"fixed_size", `{"unit":"bytes","chunk_size":4}`, "fixed_size", `{"chunk_size":4,"chunk_overlap":0,"unit":"bytes"}`},
	{"character", `{"chunk_overlap":9,"chunk_size":10}`, "fixed_size", `{"chunk_size":10,"chunk_overlap":9,"unit":"chars"}`},
	{"", `{"chunk_size":1}`, "recursive", `{"chunk_size":1,"chunk_overlap":0,"unit":"chars"}`},
	{"", `{"chunk_size":1073741824}`, "recursive", `{"chunk_size":1073741824,"chunk_overlap":0,"unit":"chars"}`},
	{"", `{"chunk\u005fsize":7}`, "recursive", `{"chunk_size":7,"chunk_overlap":0,"unit":"chars"}`},
	{"", `{"unit":"words"}`, "recursive", `{"chunk_size":1000,"chunk_overlap":0,"unit":"words"}`},
	{
		"", `{"unit":"tokens","chunk_size":8}`, "recursive",
		`{"chunk_size":8,"chunk_overlap":0,"unit":"tokens","tokenizer":"cl100k_base"}`,
	},
	{
		"", `{"tokenizer":"o200k_base","unit":"tokens"}`, "recursive",
		`{"chunk_size":1000,"chunk_overlap":0,"unit":"tokens","tokenizer":"o200k_base"}`,
	},
	{"", `{"chunk_overlap":"15%","chunk_size":30}`, "recursive", `{"chunk_size":30,"chunk_overlap":4,"unit":"chars"}`},
	{"", `{"chunk_overlap":"0%","overlap_mode":"exact"}`, "recursive", `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars"}`},
	{
		"", `{"overlap_mode":"boundary","soft_chunk_size":800,"min_chunk_size":200}`, "recursive",
		`{"chunk_size":1000,"chunk_overlap":0,"unit":"chars","min_chunk_size":200,"soft_chunk_size":800,"overlap_mode":"boundary"}`,
	},
	{"", `{"soft_chunk_size":1000,"min_chunk_size":0}`, "recursive", `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars"}`},
	{
		"", `{"compat":"langchain","keep_separator":true}`, "recursive",
		`{"chunk_size":1000,"chunk_overlap":0,"unit":"chars","compat":"langchain","separators":["\n\n","\n"," ",""]}`,
	},
	{
		"", `{"separators":["<p>"],"compat":"langchain","chunk_overlap":"20%"}`, "recursive",
		`{"chunk_size":1000,"chunk_overlap":200,"unit":"chars","compat":"langchain","separators":["\u003cp\u003e"]}`,
	},
	{"", `{"chunk_overlap":-0}`, "recursive", `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars"}`},
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range goodSettings {
		plan, err := parser.Parse(test.strategy, []byte(test.settings))
		if err != nil {
			t.Errorf("%q %s: %v", test.strategy, test.settings, err)
			continue
		}
		if plan.Strategy != test.wantStrategy || string(plan.Settings) != test.want || plan.Splitter == nil {
			t.Errorf("%q %s: got %s %s, want %s %s", test.strategy, test.settings,
				plan.Strategy, plan.Settings, test.wantStrategy, test.want)
		}
	}
}

// names are the lists that grow with the strategies and their settings, in the texts of errors.
var names = func() *strings.Replacer {
	var strategies []string
	for _, s := range chunk.Strategies() {
		strategies = append(strategies, s.Name)
	}
	n := len(strategies) - 1
	return strings.NewReplacer(
		"STRATEGIES", strings.Join(strategies[:n], ", ")+" or "+strategies[n],
		"RECURSIVE", "chunk_size, chunk_overlap, unit, tokenizer, min_chunk_size, soft_chunk_size, overlap_mode, compat, "+
			"separators and keep_separator",
		"SIZING", "chunk_size, chunk_overlap, unit, tokenizer, min_chunk_size, soft_chunk_size and overlap_mode",
	)
}()

// In wantError, the text of the whole error; names fills in what grows.
var badSettings = []struct{ strategy, settings, wantCode, wantError string }{
	{"recursve", "", "unknown_strategy", `strategy: "recursve" is not a strategy (use recursive)`},
	{"Fixed-Size", "", "unknown_strategy", `strategy: "Fixed-Size" is not a strategy (use fixed_size)`},
	{"charcter", "", "unknown_strategy", `strategy: "charcter" is not a strategy (use character)`},
	{"x", "", "unknown_strategy", `strategy: "x" is not a strategy (use STRATEGIES)`},
	{
		"\xff\x00*../", "", "unknown_strategy",
		`strategy: "\xff\x00*../" is not a strategy (use STRATEGIES)`,
	},

	{"", `{"chunk_sice":5}`, "unknown_field", `chunk_sice is not a setting of recursive (use "chunk_size")`},
	{"", `{"chunkSize":5}`, "unknown_field", `chunkSize is not a setting of recursive (use "chunk_size")`},
	{"", `{"CHUNK_SIZE":5}`, "unknown_field", `CHUNK_SIZE is not a setting of recursive (use "chunk_size")`},
	{"character", `{"overlap":5}`, "unknown_field", `overlap is not a setting of fixed_size (use "chunk_overlap")`},
	{
		"", `{"max_tokens":5}`, "unknown_field",
		`max_tokens is not a setting of recursive (use "chunk_size" with "unit":"tokens")`,
	},
	{
		"", `{"maxCharacters":5}`, "unknown_field",
		`maxCharacters is not a setting of recursive (use "chunk_size" with "unit":"chars")`,
	},
	{
		"", `{"":5}`, "unknown_field",
		`config: "" is not a setting of recursive (the settings are RECURSIVE)`,
	},
	{
		"", `{"colour":[[[{}]]]}`, "unknown_field",
		`colour is not a setting of recursive (the settings are RECURSIVE)`,
	},

	{"", `{"compat":"chonkie"}`, "invalid_value", `compat: "chonkie" is not one of its values (use langchain)`},
	{
		"", `{"separators":["\n",""]}`, "invalid_value",
		`separators: "" is not a separator: any character is what comes last by itself (leave "" out)`,
	},
	{
		"", `{"separators":[]}`, "invalid_value",
		`separators has 0 values: it takes 1 to 100 (leave it out for the default)`,
	},
	{
		"", `{"separators":["` + strings.Repeat("a", 101) + `"]}`, "invalid_value",
		`separators: "` + strings.Repeat("a", 64) + `…" is 101 bytes long, above 100 (use a shorter one)`,
	},
	{
		"", `{"separators":["a\u0000"]}`, "invalid_value",
		`separators: "a\x00" holds a NUL, which no text does (leave it out)`,
	},
	{
		"", `{"separators":["a"],"keep_separator":true}`, "invalid_value",
		`keep_separator: true means nothing without compat (use "start", which it means elsewhere, or "end")`,
	},
	{
		"", `{"separators":["a"],"keep_separator":false}`, "invalid_value",
		`keep_separator: false would drop text, and chunks are slices of it with nothing lost ` +
			`(use "end" or "start", or leave it out)`,
	},
	{
		"", `{"separators":["a"],"keep_separator":1}`, "invalid_value",
		`keep_separator must be "end", "start" or true, not 1 (give "end", "start" or true)`,
	},
	{
		"", `{"keep_separator":"start"}`, "invalid_value",
		`keep_separator means nothing without separators: recursive's own stay at the end of a chunk ` +
			`(leave it out, or give "separators")`,
	},
	{
		"", `{"compat":"langchain","keep_separator":false}`, "invalid_value",
		`keep_separator: false joins pieces by one separator where the text may have several, ` +
			`so chunks would not be slices of the text (leave it out, or use true)`,
	},
	{
		"", `{"compat":"langchain","keep_separator":"end"}`, "invalid_value",
		`keep_separator: "end" is not supported with compat (use true)`,
	},
	{
		"", `{"compat":"langchain","keep_separator":"start"}`, "invalid_value",
		`keep_separator: "start" is not supported with compat (use true, which means the same)`,
	},
	{
		"", `{"compat":"langchain","min_chunk_size":5}`, "invalid_value",
		`min_chunk_size means nothing with compat (leave it out: LangChain has no such setting)`,
	},
	{
		"", `{"compat":"langchain","soft_chunk_size":5}`, "invalid_value",
		`soft_chunk_size means nothing with compat (leave it out: LangChain has no such setting)`,
	},
	{
		"", `{"compat":"langchain","overlap_mode":"boundary"}`, "invalid_value",
		`overlap_mode means nothing with compat (leave it out: LangChain has no such setting)`,
	},
	{
		"", `{"compat":"langchain","separators":[]}`, "invalid_value",
		`separators has 0 values: it takes 1 to 100 (leave it out for the default)`,
	},
	{
		"", `{"compat":"langchain","separators":["a","","b"]}`, "invalid_value",
		`separators: what follows "" is never used, as "" is found everywhere (move "" to the end)`,
	},
	{
		"", `{"compat":"langchain","separators":["` + strings.Repeat("a", 101) + `"]}`, "invalid_value",
		`separators: "` + strings.Repeat("a", 64) + `…" is 101 bytes long, above 100 (use a shorter one)`,
	},

	{
		"", `{"chunk_size":0}`, "invalid_value",
		`chunk_size: 0 is out of range, which is 1 to 1073741824 chars (use 1000, the default, or any size in the range)`,
	},
	{
		"", `{"chunk_size":-1}`, "invalid_value",
		`chunk_size: -1 is out of range, which is 1 to 1073741824 chars (use 1000, the default, or any size in the range)`,
	},
	{
		"", `{"chunk_size":3,"unit":"bytes"}`, "invalid_value",
		`chunk_size: 3 is out of range, which is 4 to 1073741824 bytes (use 1000, the default, or any size in the range)`,
	},
	{
		"", `{"chunk_size":1000000000000}`, "invalid_value",
		`chunk_size: 1000000000000 is out of range, which is 1 to 1073741824 chars ` +
			`(use 1000, the default, or any size in the range)`,
	},
	{
		"", `{"chunk_size":100000000000000000000}`, "invalid_value",
		`chunk_size: 100000000000000000000 is out of range: no setting is above 1073741824 (use 1073741824 at most)`,
	},
	{
		"", `{"chunk_size":10.0}`, "invalid_value",
		`chunk_size must be written in digits, without fraction or exponent, not as 10.0 (write 10)`,
	},
	{
		"", `{"chunk_size":1e3}`, "invalid_value",
		`chunk_size must be written in digits, without fraction or exponent, not as 1e3 (write 1000)`,
	},
	{
		"", `{"chunk_size":1.5}`, "invalid_value",
		`chunk_size must be a whole number, not 1.5 (write it in digits, without fraction or exponent)`,
	},
	{
		"", `{"chunk_size":1e12}`, "invalid_value",
		`chunk_size: 1e12 is out of range: no setting is above 1073741824 (use 1073741824 at most)`,
	},
	{
		"", `{"chunk_size":-1e999999999}`, "invalid_value",
		`chunk_size: -1e999999999 is out of range: no setting is above 1073741824 (use 1073741824 at most)`,
	},
	{
		"", `{"chunk_size":"100"}`, "invalid_value",
		`chunk_size must be a whole number, not the string "100" (write it without quotes)`,
	},
	{
		"", `{"chunk_size":null}`, "invalid_value",
		`chunk_size must be a whole number, not null (leave the field out for its default)`,
	},
	{"", `{"chunk_size":true}`, "invalid_value", `chunk_size must be a whole number, not true (give a whole number)`},
	{"", `{"chunk_size":{}}`, "invalid_value", `chunk_size must be a whole number, not an object (give a whole number)`},
	{"", `{"unit":["chars"]}`, "invalid_value", `unit must be a string, not an array (give a string)`},
	{"", `{"unit":1}`, "invalid_value", `unit must be a string, not 1 (give a string)`},
	{
		"", `{"chunk_size":100,"chunk_overlap":100}`, "invalid_value",
		`chunk_overlap: 100 is out of range, which is 0 to 99: it must stay below chunk_size, 100 chars (use 20)`,
	},
	{
		"", `{"chunk_overlap":-1}`, "invalid_value",
		`chunk_overlap: -1 is out of range, which is 0 to 999: it must stay below chunk_size, 1000 chars (use 200)`,
	},
	{
		"", `{"chunk_overlap":"150%"}`, "invalid_value",
		`chunk_overlap must be a whole number or a percentage, not the string "150%" ` +
			`(write 200, or "20%" for a share of chunk_size, "99%" at most)`,
	},
	{
		"", `{"chunk_overlap":"20"}`, "invalid_value",
		`chunk_overlap must be a whole number or a percentage, not the string "20" ` +
			`(write 200, or "20%" for a share of chunk_size, "99%" at most)`,
	},
	{
		"", `{"min_chunk_size":900,"soft_chunk_size":800}`, "invalid_value",
		`min_chunk_size: 900 is out of range, which is 0 to 800 chars (use 200, or leave it out)`,
	},
	{
		"", `{"soft_chunk_size":1001}`, "invalid_value",
		`soft_chunk_size: 1001 is out of range: it must be above chunk_overlap, 0, and at most chunk_size, 1000 chars ` +
			`(leave it out, or use a size between them)`,
	},
	{
		"", `{"overlap_mode":"boundry"}`, "invalid_value",
		`overlap_mode: "boundry" is not one of its values (use "boundary")`,
	},
	{"", `{"unit":"char"}`, "invalid_value", `unit: "char" is not a unit (use "chars")`},
	{"", `{"unit":"characters"}`, "invalid_value", `unit: "characters" is not a unit (use "chars")`},
	{"", `{"unit":""}`, "invalid_value", `unit: "" is not a unit (use bytes, chars, words or tokens)`},
	{"", `{"unit":"token"}`, "invalid_value", `unit: "token" is not a unit (use "tokens")`},
	{
		"", `{"unit":"tokens","chunk_size":7}`, "invalid_value",
		`chunk_size: 7 is out of range, which is 8 to 1073741824 tokens (use 1000, the default, or any size in the range)`,
	},
	{
		"", `{"unit":"tokens","tokenizer":"cl100k"}`, "invalid_value",
		`tokenizer: "cl100k": token: "cl100k" is not an encoding: they are cl100k_base, o200k_base, p50k_base, r50k_base (leave the field out for cl100k_base)`,
	},
	{
		"", `{"tokenizer":"cl100k_base"}`, "invalid_value",
		`tokenizer means nothing with the unit chars (leave it out, or use "unit":"tokens")`,
	},
	{"", `{"tokenizer":""}`, "invalid_value", `tokenizer may not be empty (leave the field out for cl100k_base)`},

	{"", `{"chunk_size":1,"chunk_size":2}`, "invalid_json", `chunk_size is given twice (give it once)`},
	{"", `{"chunk_size":1,"chunk\u005fsize":1}`, "invalid_json", `chunk_size is given twice (give it once)`},
	{
		"", `null`, "invalid_json",
		`config must be a JSON object (send an object such as {"chunk_size":1000})`,
	},
	{
		"", `[]`, "invalid_json",
		`config must be a JSON object (send an object such as {"chunk_size":1000})`,
	},
	{
		"", `{} {}`, "invalid_json",
		`config is not one JSON object: invalid character '{' after top-level value at byte 4 ` +
			`(send an object such as {"chunk_size":1000})`,
	},
	{
		"", `{"chunk_size":1,}`, "invalid_json",
		`config is not one JSON object: invalid character '}' looking for beginning of object key string at byte 17 ` +
			`(send an object such as {"chunk_size":1000})`,
	},
	{
		"", `{"chunk_size":1`, "invalid_json",
		`config is not one JSON object: unexpected end of JSON input at byte 15 ` +
			`(send an object such as {"chunk_size":1000})`,
	},
	{
		"", "{\"unit\":\"\xff\"}", "invalid_json",
		`config is not valid UTF-8 (send an object such as {"chunk_size":1000})`,
	},
	{
		"", "\x00", "invalid_json",
		`config is not one JSON object: invalid character '\x00' looking for beginning of value at byte 1 ` +
			`(send an object such as {"chunk_size":1000})`,
	},
	{
		"", strings.Repeat(" ", 70000), "invalid_json",
		`config must be at most 65536 bytes, not 70000 (send an object such as {"chunk_size":1000})`,
	},
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range badSettings {
		plan, err := parser.Parse(test.strategy, []byte(test.settings))
		var perr *chunk.ParamError
		if !errors.As(err, &perr) {
			t.Errorf("%q %.80q: got %v, want a *ParamError", test.strategy, test.settings, err)
			continue
		}
		want := names.Replace(test.wantError)
		if perr.Code != test.wantCode || perr.Error() != want {
			t.Errorf("%q %.80q:\n got %s %s\nwant %s %s", test.strategy, test.settings,
				perr.Code, perr, test.wantCode, want)
		}
		if plan.Splitter != nil {
			t.Errorf("%q %.80q: got a splitter with the error", test.strategy, test.settings)
		}
	}
}

// Deep nesting is refused, at no cost that grows with it.
func TestParseDepth(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{
		strings.Repeat("[", 60000), strings.Repeat(`{"a":`, 12000) + "1" + strings.Repeat("}", 5000),
		`{"chunk_size":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}",
	} {
		var perr *chunk.ParamError
		if _, err := chunk.Parse("", []byte(settings)); !errors.As(err, &perr) {
			t.Errorf("%.20s: got %v, want a *ParamError", settings, err)
		}
	}
}

// Without a tokenizer only the unit tokens is refused.
func TestParseWithoutTokenizer(t *testing.T) {
	t.Parallel()
	_, err := chunk.Parse("", []byte(`{"unit":"tokens"}`))
	want := "unit: tokens cannot be counted here: no tokenizer was handed over " +
		"(use bytes, chars or words, or give chunk.Parser a Tokenizer)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, unit := range []string{"bytes", "chars", "words"} {
		if _, err := chunk.Parse("", fmt.Appendf(nil, `{"unit":%q}`, unit)); err != nil {
			t.Errorf("%s: %v", unit, err)
		}
	}
}

// What the schemas say is what Parse takes.
func TestSchemas(t *testing.T) {
	t.Parallel()
	infos := chunk.Strategies()
	if infos[0].Name != chunk.DefaultStrategy {
		t.Errorf("got %s first, want %s", infos[0].Name, chunk.DefaultStrategy)
	}
	for _, info := range infos {
		var schema struct {
			AdditionalProperties *bool
			Properties           map[string]struct {
				Type             any
				Description      string
				Minimum, Maximum int
				Default          any
				Enum             []json.RawMessage
			}
		}
		if err := json.Unmarshal(info.Schema, &schema); err != nil {
			t.Fatalf("%s: %v", info.Name, err)
		}
		if schema.AdditionalProperties == nil || *schema.AdditionalProperties {
			t.Errorf("%s: unknown fields must be refused", info.Name)
		}
		plan, err := chunk.Parse(info.Name, nil)
		if err != nil || plan.Strategy != info.Name {
			t.Fatalf("%s: got %s, %v", info.Name, plan.Strategy, err)
		}
		for _, alias := range info.Aliases {
			if plan, err := chunk.Parse(alias, nil); err != nil || plan.Strategy != info.Name {
				t.Errorf("alias %s: got %s, %v, want %s", alias, plan.Strategy, err, info.Name)
			}
		}
		var defaults map[string]any
		if err := json.Unmarshal(plan.Settings, &defaults); err != nil {
			t.Fatal(err)
		}
		for name := range defaults {
			if _, ok := schema.Properties[name]; !ok {
				t.Errorf("%s: the setting %s is not in the schema", info.Name, name)
			}
		}
		for name, p := range schema.Properties {
			if p.Description == "" {
				t.Errorf("%s: %s is not described", info.Name, name)
			}
			if p.Default != nil { // giving it changes nothing
				settings, err := json.Marshal(map[string]any{name: p.Default})
				if err != nil {
					t.Fatal(err)
				}
				given, err := chunk.Parse(info.Name, settings)
				if err != nil || string(given.Settings) != string(plan.Settings) {
					t.Errorf("%s: with its default, %s, got %s, %v, want %s", info.Name, settings, given.Settings, err, plan.Settings)
				}
			}
			for _, v := range p.Enum {
				if _, err := parser.Parse(info.Name, fmt.Appendf(nil, "{%q:%s}", name, v)); err != nil {
					t.Errorf("%s: %v", info.Name, err)
				}
			}
			if p.Type != "integer" {
				continue
			}
			for value, ok := range map[int]bool{p.Minimum: true, p.Minimum - 1: false, p.Maximum: true, p.Maximum + 1: false} {
				settings := fmt.Appendf(nil, "{%q:%d}", name, value)
				size := "chunk_size"
				if _, ok := schema.Properties[size]; !ok {
					size = "window"
				}
				if name != size {
					settings = fmt.Appendf(nil, `{%q:%d,%q:%d}`, size, 1<<30, name, value)
				}
				if _, err := chunk.Parse(info.Name, settings); (err == nil) != ok {
					t.Errorf("%s %s: got %v, want it taken: %t", info.Name, settings, err, ok)
				}
			}
		}
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	const text = "one two €uro   "
	type span = chunk.Span
	for _, test := range []struct {
		name        string
		spans       chunktest.Spans
		wantSpans   int
		wantOffset  int
		wantProblem string // none wanted when empty
	}{
		{"whole", chunktest.Spans{{0, 4}, {4, 15}}, 2, 0, ""},
		{"overlap, white space left out", chunktest.Spans{{0, 3}, {2, 7}, {8, 14}}, 3, 0, ""},
		{"same again", chunktest.Spans{{0, 4}, {0, 4}}, 1, 0, "span [0, 4) does not advance from [0, 4)"},
		{"end stays", chunktest.Spans{{0, 4}, {1, 4}}, 1, 1, "span [1, 4) does not advance from [0, 4)"},
		{"start stays", chunktest.Spans{{0, 4}, {0, 5}}, 1, 0, "span [0, 5) does not advance from [0, 4)"},
		{"empty", chunktest.Spans{{0, 4}, {4, 4}}, 1, 4, "span [4, 4) is empty"},
		{"backward", chunktest.Spans{{4, 0}}, 0, 0, "span [4, 0) is empty"},
		{"before the text", chunktest.Spans{{-1, 4}}, 0, 0, "span [-1, 4) is outside the text of 17 bytes"},
		{"beyond the text", chunktest.Spans{{0, 99}}, 0, 0, "span [0, 99) is outside the text of 17 bytes"},
		{"cuts at its end", chunktest.Spans{{0, 9}}, 0, 0, "span [0, 9) cuts a character"},
		{"cuts at its start", chunktest.Spans{{0, 8}, {7, 12}, {9, 15}}, 2, 9, "span [9, 15) cuts a character"},
		{"leaves out", chunktest.Spans{{0, 3}, {5, 15}}, 1, 3, "bytes 3 to 5 are left out and are not white space"},
		{"stops early", chunktest.Spans{{0, 7}}, 1, 8, "stopped before the end of the text, at byte 7 of 17"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []span
			var err error
			for sp, e := range chunk.Guard("liar", test.spans, text) {
				if err != nil {
					t.Fatalf("got %v, %v after an error", sp, e)
				}
				if err = e; err == nil {
					got = append(got, sp.Span)
				}
			}
			if !slices.Equal(got, test.spans[:test.wantSpans]) {
				t.Errorf("got %v, want %v", got, test.spans[:test.wantSpans])
			}
			var want *chunk.SplitError
			if test.wantProblem != "" {
				want = &chunk.SplitError{Strategy: "liar", Offset: test.wantOffset, Problem: test.wantProblem}
			}
			var split *chunk.SplitError
			if errors.As(err, &split); (split == nil) != (want == nil) || split != nil && *split != *want {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// A splitter that stalls for ever is stopped at its second span; one whose spans are fine is left by the caller's break.
func TestGuardStops(t *testing.T) {
	t.Parallel()
	pulls := 0
	stall := chunktest.Func(func(string) iter.Seq[chunk.Span] {
		return func(yield func(chunk.Span) bool) {
			for yield(chunk.Span{Start: 0, End: 1}) {
				pulls++
			}
		}
	})
	for range chunk.Guard("stall", stall, "abc") {
	}
	if pulls != 1 {
		t.Errorf("got %d spans taken, want 1", pulls)
	}
	for sp, err := range chunk.Guard("", chunktest.Spans{{0, 1}, {1, 3}}, "abc") {
		if err != nil {
			t.Fatal(err)
		}
		if sp.End != 1 {
			t.Errorf("got %v after break", sp)
		}
		break
	}
}
