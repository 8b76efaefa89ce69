package api

import (
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

// SetBodyGrace makes slow bodies be given up sooner. Call it before the first request.
func SetBodyGrace(a *API, d time.Duration) { a.bodyGrace = d }

// Codes gives every problem code there is, sorted.
func Codes() []string { return slices.Sorted(maps.Keys(kinds)) }

// Nearest and LoopbackHost are tested by tables.
var (
	Nearest      = nearest
	LoopbackHost = loopbackHost
	SameOrigin   = sameOrigin
)

// CheckStrictJSON: what parseObject takes, encoding/json takes too and understands in the same way.
func CheckStrictJSON(t *testing.T, body []byte) {
	t.Helper()
	members, err := parseObject(body)
	if err != nil {
		return
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatalf("took %q, which is not JSON: %v", body, err)
	}
	if len(members) != len(want) {
		t.Fatalf("%q: got %d members, want %d", body, len(members), len(want))
	}
	for _, m := range members {
		var got, value any
		if err := json.Unmarshal(m.value, &got); err != nil {
			t.Fatalf("%q: member %q is %q: %v", body, m.name, m.value, err)
		}
		if err := json.Unmarshal(want[m.name], &value); err != nil || !reflect.DeepEqual(got, value) {
			t.Fatalf("%q: member %q: got %v, want %v (%v)", body, m.name, got, value, err)
		}
		if s, is := value.(string); is {
			if got := unquote(m.value); got != s {
				t.Fatalf("%q: member %q: got %q, want %q", body, m.name, got, s)
			}
		}
	}
}

// CheckSettings: what is written as JSON for chunk.Parse is always one strict JSON object with the same names.
func CheckSettings(t *testing.T, values url.Values) {
	t.Helper()
	types, err := newSettingTypes()
	if err != nil {
		t.Fatal(err)
	}
	types["list"], types["flag"], types["thing"] = []string{"array"}, []string{"boolean"}, []string{"object", "string"}
	for name, texts := range values {
		for _, s := range append(texts, name) {
			if !utf8.ValidString(s) {
				return // parseQuery refuses it
			}
		}
	}
	b := types.object(values)
	if len(values) == 0 {
		if b != nil {
			t.Fatalf("no settings: got %q", b)
		}
		return
	}
	members, err := parseObject(b)
	if err != nil || len(members) != min(len(values), len(members)) || len(members) != len(values) {
		t.Fatalf("%v: wrote %q: %d members, %v", values, b, len(members), err)
	}
}
