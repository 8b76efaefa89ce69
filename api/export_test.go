package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// SetBodyGrace makes slow bodies be given up sooner. Call it before the first request.
func SetBodyGrace(a *API, d time.Duration) { a.bodyGrace = d }

// SetWriteGrace makes clients that read nothing be given up sooner. Call it before the first request.
func SetWriteGrace(a *API, d time.Duration) { a.writeGrace = d }

// Codes gives every problem code there is, sorted.
func Codes() []string { return slices.Sorted(maps.Keys(kinds)) }

// Nearest and the others are tested by tables.
var (
	Nearest       = nearest
	SameOrigin    = sameOrigin
	ClientAddress = clientAddress
)

// The policies of pages, and of all other answers.
const (
	PagesCSP   = pagesCSP
	DocsCSP    = docsCSP
	NothingCSP = nothingCSP
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

// Validate compares a value, as encoding/json gives it, with the schema of an operation's answer, and says what is wrong.
func Validate(a *API, route, status, media string, v any) []error {
	if _, err := a.openAPI.content(); err != nil { // what may be null is said there
		return []error{err}
	}
	doc := a.huma.OpenAPI()
	method, path, _ := strings.Cut(route, " ")
	item := doc.Paths[path]
	op := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete}[method]
	var said huma.ValidateResult
	huma.Validate(doc.Components.Schemas, op.Responses[status].Content[media].Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, &said)
	return said.Errors
}

// fuzzedTypes are the types of all settings, and of some that no strategy has.
var fuzzedTypes = sync.OnceValues(func() (settingTypes, error) {
	types, err := newSettingTypes()
	if err == nil {
		types["list"], types["flag"], types["thing"] = []string{"array"}, []string{"boolean"}, []string{"object", "string"}
	}
	return types, err
})

// CheckSettings: what is written as JSON for chunk.Parse is always one strict JSON object with the same names.
func CheckSettings(t *testing.T, values url.Values) {
	t.Helper()
	types, err := fuzzedTypes()
	if err != nil {
		t.Fatal(err)
	}
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

// CheckCache: what is kept never exceeds its bound, goes in the order of its last use, and ends with its time.
func CheckCache(t *testing.T) {
	t.Helper()
	c := newCache()
	now := time.Now()
	c.now = func() time.Time { return now }
	key := func(i int) cacheKey { return keyOf("alice", "test", string(rune('a'+i))) }
	const size = cacheEntry
	for i := range 2 * cacheBytes / size {
		c.put(key(i), make([]byte, size))
		if c.get(key(0)) == nil {
			t.Fatalf("after %d: what was used a moment ago is gone", i)
		}
		if c.bytes > cacheBytes || c.order.Len() != len(c.all) || c.bytes != c.order.Len()*size {
			t.Fatalf("after %d: %d entries in the order, %d in the map, %d bytes", i, c.order.Len(), len(c.all), c.bytes)
		}
	}
	if c.get(key(1)) != nil || c.get(key(2*cacheBytes/size-1)) == nil || len(c.all) != cacheBytes/size {
		t.Errorf("%d are kept, and not the newest", len(c.all))
	}
	c.put(key(0), []byte("x"))
	if string(c.get(key(0))) != "x" || c.bytes != (len(c.all)-1)*size+1 {
		t.Errorf("put again: %d bytes", c.bytes)
	}
	c.put(key(99), make([]byte, size+1))
	if c.get(key(99)) != nil {
		t.Error("what is too large was kept")
	}
	now = now.Add(cacheLife + time.Second)
	if c.get(key(0)) != nil {
		t.Error("it outlives its time")
	}
	c.put(key(50), []byte("y"))
	if len(c.all) != 1 || c.bytes != 1 {
		t.Errorf("%d are kept beyond their time", len(c.all)-1)
	}
	if keyOf("a", "b", "c") == keyOf("ab", "", "c") || keyOf("a", "b", "cd") == keyOf("a", "b", "c", "d") {
		t.Error("different parts make the same key")
	}
}

// Kind gives a code's status and title as docs/errors.md has them.
func Kind(code string) (string, bool) {
	k, ok := kinds[code]
	return fmt.Sprintf("%d · %s", k.status, k.title), ok
}

// Recorded answers with h as every route is answered, packed where the client likes it.
func Recorded(h http.HandlerFunc) http.Handler {
	p := newPackers()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, req: r, grace: writeGrace, packers: p}
		r.Pattern = "GET /"
		defer rec.drop()
		h(rec, r)
		rec.end()
	})
}

// CodingOf gives the coding of an answer of size bytes to a request with this Accept-Encoding.
func CodingOf(accept string, size int64) string {
	coding, _ := codingOf([]string{accept}, size, codings)
	return coding
}

// What bounds packing.
const (
	LeastPacked   = leastPacked
	PackersAtOnce = packersAtOnce
)
