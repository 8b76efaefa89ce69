package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/api"
)

// TestOriginCorpus: of the origins that a page may have, only the server's own opens a socket or changes anything.
func TestOriginCorpus(t *testing.T) {
	const host = "chunks.example:8484"
	good := []string{"http://chunks.example:8484", "https://chunks.example:8484", "http://CHUNKS.example:8484"}
	bad := [][]string{
		{"null"}, {""}, {" "}, {"chunks.example:8484"}, {"//chunks.example:8484"}, {"://chunks.example:8484"},
		{"http://chunks.example"}, {"http://chunks.example:80"}, {"http://chunks.example:84840"}, {"http://chunks.example:8484:8484"}, {"http://chunks.example:08484"},
		{"http://chunks.example:848"}, {"http://:8484"}, {"http://"}, {"http"},
		{"http://chunks.example.evil.example:8484"}, {"http://evil.example/chunks.example:8484"}, {"http://evil.example?chunks.example:8484"},
		{"http://evil.example#chunks.example:8484"}, {"http://evil-chunks.example:8484"}, {"http://evilchunks.example:8484"}, {"http://chunks.example:8484.evil.example"},
		{"http://sub.chunks.example:8484"}, {"http://chunks.examplE.:8484"}, {"http://chunks.example.:8484"}, {"http://chunks.example:8484."},
		{"http://chunks.example:8484@evil.example"}, {"http://chunks.example:8484%00.evil.example"}, {"http://chunks.example:8484%2eevil.example"},
		{"http://chunks%2eexample:8484"}, {"http://chunks.example\x00:8484"}, {"http://chunks.example:8484\x00"}, {"http://chunks.example:8484 "}, {" http://chunks.example:8484"},
		{"http://chunks.example:8484,http://evil.example"}, {"http://evil.example, http://chunks.example:8484"}, {"http://chunks.example:8484 http://evil.example"},
		{"http://chunks\u3002example:8484"}, {"http://chunks.ex\u0430mple:8484"}, {"http://xn--chunks-2of.example:8484"}, {"http://chunks.e\u017fample:8484"}, {"http://\u212ahunks.example:8484"},
		{"http://[::1]:8484"}, {"http://127.0.0.1:8484"}, {"http://localhost:8484"}, {"http://0:8484"},
		{"ws://chunks.example:8484"}, {"file://chunks.example:8484"}, {"ftp://chunks.example:8484"}, {"chrome-extension://chunks.example:8484"}, {"javascript://chunks.example:8484"},
		{"HTTPX://chunks.example:8484"}, {"http:/chunks.example:8484"}, {"http:\\\\chunks.example:8484"}, {"http://chunks.example\\@evil.example:8484"}, {"http://*:8484"}, {"*"},
		{"http://chunks.example:8484", "http://chunks.example:8484"}, {"http://chunks.example:8484", "http://evil.example"}, {"http://evil.example", "http://chunks.example:8484"},
		{"http://chunks.example:8484", "null"},
	}
	ask := func(method string, origins []string) (socket, post int) {
		s := corpusServer(t)
		r := httptest.NewRequest("GET", "http://"+host+"/v1/ws", nil)
		r.Header["Origin"] = origins
		if api.SameOrigin(r) == nil {
			socket = http.StatusSwitchingProtocols
		}
		r = httptest.NewRequest(method, "http://"+host+"/v1/preview", strings.NewReader("text"))
		r.Header["Origin"] = origins
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return socket, w.Code
	}
	for _, origin := range good {
		if socket, post := ask("POST", []string{origin}); socket != 101 || origin == strings.ToLower(origin) && post != 200 {
			t.Errorf("%q: got %d and %d", origin, socket, post)
		}
	}
	if socket, post := ask("POST", nil); socket != 101 || post != 200 {
		t.Errorf("no origin, as of programs: got %d and %d", socket, post)
	}
	sockets, posts := 0, 0
	for _, origins := range bad {
		socket, post := ask("POST", origins)
		if socket == 0 {
			sockets++
		} else {
			t.Errorf("%q opens a socket", origins)
		}
		if post == http.StatusForbidden {
			posts++
			continue
		}
		// What a browser can send differs from the server's own in its first value: nothing else is a page's.
		if u := strings.TrimSpace(origins[0]); post != 200 || u != "" && !strings.HasSuffix(u, "//"+host) {
			t.Errorf("%q posts: %d", origins, post)
		}
	}
	t.Logf("%d origins: %d may not open a socket, %d may not post", len(bad), sockets, posts)
	if len(bad) < 60 || sockets != len(bad) || posts < len(bad)-11 {
		t.Errorf("%d of %d and %d were refused", sockets, len(bad), posts)
	}
}

var corpusHandler struct {
	sync.Mutex
	of *testing.T
	s  *server
}

// corpusServer is one keyed server without keys to show for a whole test.
func corpusServer(t *testing.T) *api.API {
	corpusHandler.Lock()
	defer corpusHandler.Unlock()
	if corpusHandler.of != t {
		corpusHandler.of, corpusHandler.s = t, idle(t, func(c *api.Config) { c.Loopback = false })
	}
	return corpusHandler.s.api
}

// TestJSONCorpus: JSON that two readers could understand in two ways, or not at all, is refused, and leaves nothing behind.
func TestJSONCorpus(t *testing.T) {
	s := idle(t)
	var deep = func(open, in, end string, n int) string { return strings.Repeat(open, n) + in + strings.Repeat(end, n) }
	in := func(value string) string { return `{"text":"x","config":` + value + `}` }
	corpus := []string{
		// The same name twice, at every depth and in every spelling.
		`{"text":"x","text":"y"}`, `{"text":"x","te\u0078t":"y"}`, `{"\u0074ext":"x","\u0074\u0065xt":"y"}`, `{"text":"x","name":"a","strategy":"recursive","name":"b"}`,
		`{"text":"x","config":{},"config":{}}`, in(`{"unit":"chars","unit":"bytes"}`), in(`{"a":{"b":1,"b":2}}`), in(`{"a":[{"b":1,"b":2}]}`), in(`{"a":[[[{"b":1,"c":2,"b":3}]]]}`),
		in(`{"":1,"":2}`), in(`{"\ud83d\ude42":1,"🙂":2}`), in(`{"a\/b":1,"a/b":2}`), `{"text":"x","text":null}`, `{"text":null,"text":"x"}`,
		// Other names that some readers take for ours.
		`{"TEXT":"x"}`, `{"Text":"x"}`, `{"tex\u0074 ":"x"}`, `{" text":"x"}`, `{"text\u0000":"x"}`, `{"te\u017ft":"x","text":"x"}`, `{"text":"x","\u017ftrategy":"recursive"}`,
		`{"text":"x","\u212aonfig":{}}`, `{"text":"x","__proto__":{"admin":true}}`, `{"text":"x","constructor":{"prototype":{}}}`, `{"text":"x","owner":"root"}`,
		`{"text":"x","tenant_id":"root"}`, `{"text":"x","status":"completed"}`, `{"text":"x","lease_epoch":9}`, `{"text":"x","id":"op_1"}`, `{"text":"x","$ref":"#"}`,
		// Something behind or before.
		`{"text":"x"}{"text":"y"}`, `{"text":"x"} {}`, `{"text":"x"},`, `{"text":"x"}]`, `{"text":"x"}}`, `{"text":"x"}` + "\x00", `{"text":"x"}` + "\n\x1e", `{"text":"x"}null`, `[{"text":"x"}]`,
		`{"text":"x"}` + "\v", "\v" + `{"text":"x"}`, "\xef\xbb\xbf" + `{"text":"x"}`, "\xff\xfe{\x00}\x00", "\u00a0" + `{"text":"x"}`, `)]}',` + `{"text":"x"}`, `while(1);{"text":"x"}`,
		`"text"`, `null`, `1`, `[]`, ``, ` `, `{`, `}`, `{"text"`, `{"text":`, `{"text":"x"`, `{"text":"x",`,
		// What is no JSON but close.
		`{"text":"x",}`, `{,"text":"x"}`, `{"text":"x",,"name":"y"}`, `{"text" "x"}`, `{"text"="x"}`, `{text:"x"}`, `{'text':'x'}`, "{`text`:`x`}", `{"text":'x'}`,
		`{"text":"x"/**/}`, `{"text":"x"} // y`, `{/*"text":"y"*/"text":"x"}`, `{"text":"x" #y` + "\n}", `{"text":"x";"name":"y"}`, `{"text":undefined}`, `{"text":True}`, in(`{"a":nul}`), in(`{"a":truefalse}`),
		in(`{"a":[1,]}`), in(`{"a":[,1]}`), in(`{"a":[1 2]}`), in(`{"a":[1}`), in(`{"a":{1:2}}`), in(`{"a":{null:2}}`),
		// Numbers.
		in(`{"chunk_size":NaN}`), in(`{"chunk_size":Infinity}`), in(`{"chunk_size":-Infinity}`), in(`{"chunk_size":+5}`), in(`{"chunk_size":05}`), in(`{"chunk_size":-05}`), in(`{"chunk_size":.5}`), in(`{"chunk_size":5.}`),
		in(`{"chunk_size":0x10}`), in(`{"chunk_size":1e}`), in(`{"chunk_size":1e+}`), in(`{"chunk_size":1_000}`), in(`{"chunk_size":--1}`), in(`{"chunk_size":-}`), in(`{"chunk_size":1e400}`), in(`{"chunk_size":1` + strings.Repeat("0", 400) + `}`),
		in(`{"chunk_size":9007199254740993}`), in(`{"chunk_size":18446744073709551616}`), in(`{"chunk_size":9223372036854775808}`), in(`{"chunk_size":1.5}`), in(`{"chunk_size":1e2.5}`), in(`{"chunk_size":１０}`), in(`{"chunk_size":"10"}`), in(`{"chunk_size":-0}`),
		in(`{"chunk_size":true}`), in(`{"chunk_size":[10]}`), in(`{"chunk_size":{"$numberLong":"10"}}`), in(`{"chunk_size":null}`),
		// Characters.
		"{\"text\":\"\xff\"}", "{\"text\":\"\xc0\x80\"}", "{\"text\":\"\xed\xa0\x80\"}", "{\"text\":\"\xf4\x90\x80\x80\"}", "{\"te\xffxt\":\"x\"}", "{\"text\":\"\xe2\x82\"}",
		`{"text":"\ud800"}`, `{"text":"\udc00"}`, `{"text":"\ud800x"}`, `{"text":"\ud800\ud800"}`, `{"text":"\udc00\ud800"}`, `{"text":"\ud83d\u0041"}`, `{"text":"x","na\ud800me":"y"}`, in(`{"a":"\udfff"}`),
		`{"text":"a\u0000"}`, "{\"text\":\"a\x00b\"}", "{\"text\":\"a\nb\"}", "{\"text\":\"a\tb\"}", "{\"text\":\"a\x1fb\"}", `{"text":"\x41"}`, `{"text":"\u41"}`, `{"text":"\u00zz"}`, `{"text":"\U00000041"}`, `{"text":"\'"}`, `{"text":"\a"}`,
		`{"text":"\`, `{"text":"\u`, `{"text":"\ud800\u`, `{"text":"x","name":"a\u0000b"}`, `{"text":"x","name":"a\nb"}`, `{"text":"x","name":"a\u001bb"}`,
		// Depth and width.
		in(deep(`{"a":`, `1`, `}`, 40)), in(deep(`[`, ``, `]`, 100)), deep(`[`, ``, `]`, 100_000), deep(`{"a":`, `1`, `}`, 100_000), in(deep(`[{"a":`, `1`, `}]`, 20)), strings.Repeat(`[`, 100_000), strings.Repeat(`{"":`, 50_000),
		in("{" + manyNames(1001) + "}"),
		// Types.
		`{"text":5}`, `{"text":null}`, `{"text":true}`, `{"text":["x"]}`, `{"text":{"x":1}}`, `{"text":"x","config":"{}"}`, `{"text":"x","config":[]}`, `{"text":"x","strategy":null}`, `{"text":"x","name":5}`, `{"text":"x","document_id":"doc_1"}`,
	}
	lenient, statuses := 0, map[int]int{}
	for i, body := range corpus {
		var taken struct {
			Text   *string
			Config map[string]any
		}
		if json.NewDecoder(strings.NewReader(body)).Decode(&taken) == nil && taken.Text != nil && *taken.Text != "" {
			lenient++ // encoding/json as most programs use it
		}
		for _, path := range []string{"/v1/operations", "/v1/preview"} {
			a := s.post(path, body, asJSON)
			statuses[a.status]++
			if a.status != 400 && a.status != 422 || a.header.Get("Content-Type") != "application/problem+json" || len(a.body) > 1500 {
				t.Errorf("%d %s %.100q: got %d %.200s", i, path, body, a.status, a.body)
			}
		}
	}
	if got := s.get("/v1/operations").json(t)["data"].([]any); len(got) != 0 {
		t.Errorf("%d operations were left behind", len(got))
	}
	seen := slices.Compact(slices.Sorted(slices.Values(corpus)))
	t.Logf("%d bodies, all refused on two routes (%v); encoding/json's Decoder takes %d of them", len(seen), statuses, lenient)
	if len(seen) < 150 || lenient < 20 {
		t.Errorf("%d different bodies, %d taken by the lenient reader", len(seen), lenient)
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestSmuggling: whatever way a request may be hidden in another, none is taken out of what could have been the first one's
// body: there is one answer on the connection, and at most a 400 for what is left over, and then its end.
func TestSmuggling(t *testing.T) {
	const gone = 499 // for net/http a client that ends sending before its answer has left; whether it sees that in time is chance
	s := idle(t)
	host := strings.TrimPrefix(s.url, "http://")
	const hidden = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	post := func(headers, body string) string {
		return "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: text/plain\r\n" + headers + "\r\n" + body
	}
	sized := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(body)) }
	chunked := func(te string) string { return post(te, "1\r\nx\r\n0\r\n\r\n"+hidden) }
	get := func(headers string) string { return "GET /healthz HTTP/1.1\r\n" + headers + "\r\n" }
	h := "Host: " + host + "\r\n"
	type smuggled struct {
		raw  string
		want []int // any of these; 0 is none at all
	}
	no := []int{400, 501}
	cases := map[string]smuggled{
		// A length and chunks: the chunks count (RFC 9112, section 6.3), and the connection ends, so nothing follows.
		"CL and TE":                 {post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"+hidden), []int{200, 400}},
		"TE and CL":                 {post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "1\r\nx\r\n0\r\n\r\n"+hidden), []int{200, 400}},
		"TE and a long CL":          {post("Transfer-Encoding: chunked\r\nContent-Length: 4000\r\n", "0\r\n\r\n"+hidden), []int{200, 400, 422}},
		"TE alone, and a follower":  {chunked("Transfer-Encoding: chunked\r\n"), []int{200}},
		"TE in capitals":            {chunked("TRANSFER-ENCODING: CHUNKED\r\n"), []int{200}},
		"two CL that differ":        {post("Content-Length: 1\r\nContent-Length: 50\r\n", "x"+hidden), no},
		"two CL that differ, other": {post("Content-Length: 50\r\nContent-Length: 1\r\n", "x"+hidden), no},
		"CL as a list":              {post("Content-Length: 1, 50\r\n", "x"+hidden), no},
		"CL with a sign":            {post("Content-Length: +1\r\n", "x"+hidden), no},
		"CL negative":               {post("Content-Length: -1\r\n", "x"+hidden), no},
		"CL in hex":                 {post("Content-Length: 0x1\r\n", "x"+hidden), no},
		"CL with a blank":           {post("Content-Length: 1 0\r\n", "x"+hidden), no},
		"CL with a point":           {post("Content-Length: 1.0\r\n", "x"+hidden), no},
		"CL too large":              {post("Content-Length: 99999999999999999999\r\n", "x"+hidden), no},
		"CL empty":                  {post("Content-Length: \r\n", "x"+hidden), no},
		"CL with a letter":          {post("Content-Length: 1a\r\n", "x"+hidden), no},
		"CL, then a blank":          {post("Content-Length : 1\r\n", "x"+hidden), no},
		"CL with a NUL":             {post("Content-Length: 1\x00\r\n", "x"+hidden), no},
		"CL with digits of Unicode": {post("Content-Length: \xd9\xa1\r\n", "x"+hidden), no},
		"TE, then a blank":          {chunked("Transfer-Encoding : chunked\r\n"), no},
		"TE after a blank":          {chunked(" Transfer-Encoding: chunked\r\n"), []int{400, 415}},
		"TE after a tab":            {chunked("X: y\r\n\tTransfer-Encoding: chunked\r\n"), []int{400, 422, 501}},
		"TE twice":                  {chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), no},
		"TE twice, one identity":    {chunked("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), no},
		"TE identity":               {chunked("Transfer-Encoding: identity\r\n"), no},
		"TE gzip, chunked":          {chunked("Transfer-Encoding: gzip, chunked\r\n"), no},
		"TE chunked, identity":      {chunked("Transfer-Encoding: chunked, identity\r\n"), no},
		"TE xchunked":               {chunked("Transfer-Encoding: xchunked\r\n"), no},
		"TE in quotes":              {chunked("Transfer-Encoding: \"chunked\"\r\n"), no},
		"TE with a parameter":       {chunked("Transfer-Encoding: chunked;q=1\r\n"), no},
		"TE with a vertical tab":    {chunked("Transfer-Encoding: \vchunked\r\n"), no},
		"TE with a NUL":             {chunked("Transfer-Encoding: chunked\x00\r\n"), no},
		"TE with a bare CR":         {chunked("Transfer-Encoding: chunked\rX: y\r\n"), no},
		"TE empty":                  {chunked("Transfer-Encoding: \r\n"), no},
		"TE in HTTP/1.0":            {strings.Replace(post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"+hidden), "HTTP/1.1", "HTTP/1.0", 1), []int{400, 200, 422, 501}},
		"TE folded":                 {chunked("Transfer-Encoding:\r\n chunked\r\n"), []int{400, 501, 200}},
		"a folded header":           {post("X: a\r\n b\r\n"+sized("x"), "x"), []int{200, 400}},
		// Chunks.
		"chunk size with a sign":    {post("Transfer-Encoding: chunked\r\n", "+1\r\nx\r\n0\r\n\r\n"+hidden), no},
		"chunk size negative":       {post("Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"+hidden), no},
		"chunk size with 0x":        {post("Transfer-Encoding: chunked\r\n", "0x1\r\nx\r\n0\r\n\r\n"+hidden), no},
		"chunk size too large":      {post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\nx\r\n0\r\n\r\n"+hidden), no},
		"chunk size empty":          {post("Transfer-Encoding: chunked\r\n", "\r\nx\r\n0\r\n\r\n"+hidden), no},
		"chunk without its CRLF":    {post("Transfer-Encoding: chunked\r\n", "1\r\nx0\r\n\r\n"+hidden), no},
		"chunk longer than said":    {post("Transfer-Encoding: chunked\r\n", "1\r\nxyz\r\n0\r\n\r\n"+hidden), no},
		"chunk size ended by CR":    {post("Transfer-Encoding: chunked\r\n", "1\rx\r\n0\r\n\r\n"+hidden), no},
		"a NUL in the chunk size":   {post("Transfer-Encoding: chunked\r\n", "1\x00\r\nx\r\n0\r\n\r\n"+hidden), no},
		"a long chunk extension":    {post("Transfer-Encoding: chunked\r\n", "1;"+strings.Repeat("a", 20_000)+"\r\nx\r\n0\r\n\r\n"+hidden), no},
		"extensions without an end": {post("Transfer-Encoding: chunked\r\n", strings.Repeat("1;"+strings.Repeat("a", 3000)+"\r\nx\r\n", 30)+"0\r\n\r\n"+hidden), no},
		"a trailer with a length":   {post("Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n", "1\r\nx\r\n0\r\nContent-Length: 50\r\n\r\n"+hidden), []int{200, 400}},
		"chunks that end early":     {post("Transfer-Encoding: chunked\r\n", "5\r\nx"), []int{400, 0}},
		// Lines.
		"two Hosts":                 {get(h + h), no},
		"no Host":                   {get("X: y\r\n"), no},
		"Host with a path":          {get("Host: localhost/x\r\n"), []int{400, 421}},
		"Host with a login":         {get("Host: localhost@evil.example\r\n"), []int{400, 421}},
		"Host with blanks":          {get("Host: localhost evil.example\r\n"), no},
		"another absolute address":  {"GET http://evil.example/healthz HTTP/1.1\r\n" + h + "\r\n", []int{421}},
		"an absolute own address":   {"GET http://" + host + "/healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", []int{200}},
		"an authority alone":        {"CONNECT evil.example:443 HTTP/1.1\r\n" + h + "\r\n", []int{400, 404, 405, 421}},
		"an asterisk":               {"GET * HTTP/1.1\r\n" + h + "\r\n", []int{400, 404}},
		"a blank in the address":    {"GET /heal thz HTTP/1.1\r\n" + h + "\r\n", no},
		"a tab in the request line": {"GET\t/healthz\tHTTP/1.1\r\n" + h + "\r\n", no},
		"a NUL in the address":      {"GET /heal\x00thz HTTP/1.1\r\n" + h + "\r\n", no},
		"a CR in the address":       {"GET /heal\rthz HTTP/1.1\r\n" + h + "\r\n", no},
		"a request in the address":  {"GET /healthz%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0a" + " HTTP/1.1\r\n" + h + "Connection: close\r\n\r\n", []int{404}},
		"HTTP/0.9":                  {"GET /healthz\r\n\r\n", no},
		"HTTP/2 in words":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 404, 421, 505}},
		"HTTP/3.0":                  {"GET /healthz HTTP/3.0\r\n" + h + "\r\n", []int{400, 505}},
		"HTTP/1.10":                 {"GET /healthz HTTP/1.10\r\n" + h + "\r\n", []int{400, 505}},
		"a lower-case protocol":     {"GET /healthz http/1.1\r\n" + h + "\r\n", no},
		"a strange method":          {"GE\x00T /healthz HTTP/1.1\r\n" + h + "\r\n", no},
		"a header without a colon":  {get(h + "Nonsense\r\n"), no},
		"a header without a name":   {get(h + ": x\r\n"), no},
		"a name with a blank":       {get(h + "X Y: z\r\n"), no},
		"a name with a NUL":         {get(h + "X\x00Y: z\r\n"), no},
		"a name beyond ASCII":       {get(h + "X\xc3\xa4: z\r\n"), no},
		"a value with a NUL":        {get(h + "X: a\x00b\r\n"), no},
		"a value with a bare CR":    {get(h + "X: a\rY: b\r\n"), no},
		"a value with an escape":    {get(h + "X: a\x1bb\r\n"), no},
		"huge headers":              {get(h + "X: " + strings.Repeat("a", 64<<10) + "\r\n"), []int{431}},
		"many headers":              {get(h + strings.Repeat("X: a\r\n", 10_000)), []int{431}},
		"a huge address":            {"GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\n" + h + "\r\n", []int{431, 414}},
		"TLS to a plain listener":   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 64) + "\r\n\r\n", []int{400, 0}},
		"expect something else":     {post("Expect: 200-maybe\r\n"+sized("x"), "x"), []int{417}},
		"an upgrade to h2c":         {get(h + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), []int{200}},
		"Connection names the key":  {"GET /healthz HTTP/1.1\r\n" + h + "Connection: close, Authorization\r\n\r\n", []int{200}},
	}
	refused, harmless := 0, 0
	for name, tt := range cases {
		statuses := s.all(tt.raw)
		got := 0
		if len(statuses) > 0 {
			got = statuses[0]
		}
		switch {
		case len(statuses) > 2 || len(statuses) == 2 && statuses[1] != 400: // what is left over may be no request at all
			t.Errorf("%s: %d answers: %v", name, len(statuses), statuses)
		case got == gone && slices.Contains(tt.want, 200):
			harmless++
		case !slices.Contains(tt.want, got):
			t.Errorf("%s: got %d, want one of %v", name, got, tt.want)
		case got >= 400 || got == 0:
			refused++
		default:
			harmless++
		}
	}
	t.Logf("%d cases: %d refused, %d answered once and nothing after it", len(cases), refused, harmless)
	if len(cases) < 80 || refused < 60 {
		t.Errorf("%d cases, %d refused", len(cases), refused)
	}
	// A follower of a request with a length is another request, and gets an answer: the count of answers can be two.
	if got := s.all(post(sized("x"), "x"+hidden)); len(got) != 2 || got[0] != 200 || got[1] != 200 && got[1] != gone {
		t.Errorf("two requests: got %v", got)
	}
}

// all sends bytes as they are, ends sending, and gives the status of each answer until the connection ends.
func (s *server) all(raw string) (statuses []int) {
	s.t.Helper()
	c := s.dial().(*net.TCPConn)
	defer c.Close()
	_, _ = io.WriteString(c, raw) // the server may have had enough
	_ = c.CloseWrite()
	r := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			var late net.Error
			if ok := asNetError(err, &late); ok && late.Timeout() {
				s.t.Errorf("%.80q: the connection stays", raw)
			}
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		statuses = append(statuses, res.StatusCode)
	}
}

func asNetError(err error, to *net.Error) bool {
	e, ok := err.(net.Error)
	*to = e
	return ok
}

// TestPathCorpus: no way of writing a path leads to a file, or anywhere but to an answer that there is no such thing.
func TestPathCorpus(t *testing.T) {
	s := idle(t)
	up := []string{"..", "%2e%2e", "%2E%2e", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..%00", "%00..", "...", "....", "..;", "%2e%2e;x=y", "․․", "．．", "..\\", "%5c..", "..%5c", "..%255c", "%uff0e%uff0e"}
	slash := []string{"/", "%2f", "%5c", "\\", "%252f", "//", "%c0%af", "∕", "/./"}
	places := []string{"/v1/operations/", "/v1/documents/", "/v1/keys/", "/v1/batches/", "/v1/configurations/", "/ui/", "/docs/", "/operations/", "/errors/", "/"}
	var paths []string
	for i, u := range up {
		for j, sl := range slash {
			place := places[(i*len(slash)+j)%len(places)]
			paths = append(paths, place+u+sl+u+sl+u+sl+"etc"+sl+"passwd")
		}
	}
	for _, place := range places {
		for _, name := range []string{"..", ".", "%2e", "%2e%2e", "%00", "a%00b", "*", "%25", "~root", "C:%5cwindows", "%5c%5chost%5cshare", "file:%2f%2f%2fetc%2fpasswd", "con", "a%0d%0aX-Injected:1", "%e2%80%ae", "%ff", "a%20b", "'", "%22", "%3cscript%3e",
			strings.Repeat("a", 4000), "go.mod", "index.html", "elements-9.0.25.js.gz", "..%2findex.html", "api.go", ".git%2fconfig", ".env"} {
			if place == "/" && (name == "." || name == "%2e") {
				continue
			}
			paths = append(paths, place+name)
		}
	}
	for _, suffix := range []string{"/text/../../../etc/passwd", "/text%2f..", "/text/", "/text.json", "/text;x=y", "/chunks/../text", "/download/..", "/download%00.csv", "/events/../ws"} {
		paths = append(paths, "/v1/documents/doc_1"+suffix, "/v1/operations/op_1"+suffix)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[int]int{}
	for _, path := range paths {
		raw := "GET " + strings.ReplaceAll(path, " ", "%20") + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(s.url, "http://") + "\r\nConnection: close\r\n\r\n"
		a := s.exchange(raw)
		statuses[a.status]++
		// The page of an operation has no data and reads the id in the browser, whatever it is.
		page := a.status == 200 && (strings.HasPrefix(path, "/operations/") && bytes.Contains(a.body, []byte("<!doctype html>")))
		if a.status/100 != 4 && !page || a.header.Get("Location") != "" || a.header.Get("X-Injected") != "" {
			t.Errorf("%.100q: got %d %v %.100q", path, a.status, a.header, a.body)
		}
		for _, word := range []string{string(passwd[:8]), "package api", "module chunkstream"} {
			if bytes.Contains(a.body, []byte(word)) {
				t.Errorf("%.100q: shows a file: %.200q", path, a.body)
			}
		}
		if !page && a.status != 400 && len(a.body) > 600 {
			t.Errorf("%.100q: says %d bytes", path, len(a.body))
		}
	}
	// Names that clients give: text for people, never a path.
	names := []string{"../../etc/passwd", `..\..\windows`, "/etc/passwd", "C:\\x", "a/b", ".", "..", "~", "a;b", `a"b`, "a'b", "<script>", "$(id)", "`id`", "|id", "%00", "%2e%2e%2f", "CON", "nul.txt", ".htaccess", "-rf", "a\u202etxt", "📄", strings.Repeat("n", 255)}
	plain := regexp.MustCompile(`^attachment; filename="op_[0-9a-f]+[.a-z0-9]*"$`)
	for _, name := range names {
		b, err := json.Marshal(map[string]string{"text": "x", "name": name})
		if err != nil {
			t.Fatal(err)
		}
		a := s.post("/v1/operations", string(b), asJSON)
		if a.status == 422 {
			continue
		}
		if a.status != 202 || a.str(t, "name") != name {
			t.Errorf("name %q: got %d %.200s", name, a.status, a.body)
			continue
		}
		op := a.str(t, "id")
		s.post("/v1/operations/"+op+"/cancel", "")
		d := s.get("/v1/operations/" + op + "/download")
		if got := d.header.Get("Content-Disposition"); d.status != 200 || !plain.MatchString(got) {
			t.Errorf("name %q: the file is called %q (%d)", name, got, d.status)
		}
	}
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	t.Logf("%d paths (%v), %d names", len(paths), statuses, len(names))
	if len(paths) < 400 {
		t.Errorf("only %d paths", len(paths))
	}
}

// TestSlowClients: whoever begins a request and does not go on, or does not take an answer, is cut off; others are served
// meanwhile.
func TestSlowClients(t *testing.T) {
	s := idle(t)
	real := api.Server(s.api, slog.New(slog.DiscardHandler))
	if real.ReadHeaderTimeout != 5*time.Second || real.IdleTimeout != 60*time.Second || real.MaxHeaderBytes != 16<<10 {
		t.Errorf("limits: %v, %v, %d", real.ReadHeaderTimeout, real.IdleTimeout, real.MaxHeaderBytes)
	}
	const graceful = 300 * time.Millisecond
	api.SetBodyGrace(s.api, graceful)
	api.SetWriteGrace(s.api, graceful)
	slow := httptest.NewUnstartedServer(nil)
	slow.Config = api.Server(s.api, slog.New(slog.DiscardHandler))
	slow.Config.ReadHeaderTimeout, slow.Config.IdleTimeout = graceful, graceful
	slow.Start()
	defer slow.Close()
	host := strings.TrimPrefix(slow.URL, "http://")
	cases := map[string]string{
		"nothing at all":           "",
		"half a request line":      "GET /heal",
		"a line without its end":   "GET /healthz HTTP/1.1",
		"half the headers":         "GET /healthz HTTP/1.1\r\nHost: " + host + "\r\nX: ",
		"headers without an end":   "GET /healthz HTTP/1.1\r\nHost: " + host + "\r\n",
		"no body":                  "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 10\r\n\r\n",
		"half a body":              "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 10\r\n\r\nhalf",
		"half a JSON body":         "POST /v1/operations HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"text\":",
		"half a chunk":             "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
		"a chunk size":             "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\nf",
		"no trailer":               "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
		"half a form":              "POST /v1/operations HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 999\r\n\r\n--b\r\nContent-Disp",
		"a body nobody wants":      "POST /v1/nowhere HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 10\r\n\r\nhalf",
		"a body a GET should lack": "GET /healthz HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 10\r\n\r\nhalf",
		"a promise to go on":       "POST /v1/preview HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
		"idle after an answer":     "GET /healthz HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
	}
	var all sync.WaitGroup
	const each = 6
	for name, raw := range cases {
		for range each {
			all.Go(func() {
				c, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
					t.Error(err)
				}
				if _, err := io.WriteString(c, raw); err != nil {
					return // cut off already
				}
				_, err = io.Copy(io.Discard, c)
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Errorf("%s: the connection stays", name)
				}
			})
		}
	}
	for range 20 {
		res, err := http.Get(slow.URL + "/v1/strategies")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("another client meanwhile: got %d", res.StatusCode)
		}
	}
	all.Wait()
	t.Logf("%d cases, %d connections, each cut off", len(cases), each*len(cases))

	deadline := time.Now().Add(30 * time.Second)
	// An answer that nobody takes: more of it than the buffers of two sockets hold.
	const long = 24 << 20
	text := s.submit("", strings.Repeat("A long text. ", long/13))["document_id"].(string)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.(*net.TCPConn).SetReadBuffer(4096), c.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /v1/documents/"+text+"/text HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(string(s.get("/metrics").body), `route="GET /v1/documents/{id}/text"`) { // counted when it has ended
		if time.Now().After(deadline) {
			t.Fatal("an answer that nobody takes goes on for ever")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
