package api_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/secret"
)

// TestClientAddress: only our proxies are believed, and of what they say only what they wrote themselves.
func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.1/32")}
	const xff, forwarded = "X-Forwarded-For", "Forwarded"
	for i, tt := range []struct {
		peer    string
		headers []string // name: value
		want    string
	}{
		{"192.0.2.9:1", nil, "192.0.2.9"},
		{"192.0.2.9:1", []string{xff + ": 1.1.1.1"}, "192.0.2.9"},
		{"192.0.2.9:1", []string{forwarded + ": for=1.1.1.1"}, "192.0.2.9"},
		{"192.0.2.9:1", []string{xff + ": 10.0.0.1", forwarded + ": for=10.0.0.1"}, "192.0.2.9"},
		{"192.0.2.9:1", []string{"X-Real-Ip: 1.1.1.1", "True-Client-Ip: 1.1.1.1", "Cf-Connecting-Ip: 1.1.1.1"}, "192.0.2.9"},
		{"[2001:db8::1]:1", []string{xff + ": 1.1.1.1"}, "2001:db8::1"},
		{"[::ffff:192.0.2.9]:1", nil, "192.0.2.9"},
		{"[fe80::1%eth0]:1", nil, "fe80::1"},
		{"@", []string{xff + ": 1.1.1.1"}, "invalid IP"},
		{"", nil, "invalid IP"},

		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9"}, "192.0.2.9"},
		{"[::ffff:10.0.0.1]:1", []string{xff + ": 192.0.2.9"}, "192.0.2.9"},
		{"[fd00::1]:1", []string{xff + ": 2001:db8::9"}, "2001:db8::9"},
		{"10.0.0.1:1", []string{"X-Real-Ip: 1.1.1.1"}, "10.0.0.1"},
		// The leftmost is the client's to invent.
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1, 192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1", xff + ": 192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 127.0.0.1, 192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1, 192.0.2.9, 10.0.0.7"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1, 192.0.2.9, 10.0.0.7, 127.0.0.1"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1, 192.0.2.9,10.0.0.7"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9:4711"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": [2001:db8::9]:4711"}, "2001:db8::9"},
		{"10.0.0.1:1", []string{xff + ": [2001:db8::9]"}, "2001:db8::9"},
		{"10.0.0.1:1", []string{xff + ": ::ffff:192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": \t192.0.2.9\t"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 2001:db8::9%eth0"}, "2001:db8::9"},
		// What is no address ends the way.
		{"10.0.0.1:1", []string{xff + ": "}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1,"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": unknown"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1, unknown"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1, unknown, 10.0.0.7"}, "10.0.0.7"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.999"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 0300.0.2.9"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 3221225993"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": [192.0.2.9]"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9; 1.1.1.1"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9\x00"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": " + strings.Repeat("1", 5000)}, "10.0.0.1"},

		{"10.0.0.1:1", []string{forwarded + ": for=192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{forwarded + ": For=192.0.2.9;proto=https;by=10.0.0.1"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{forwarded + ": proto=https; for=\"192.0.2.9:4711\""}, "192.0.2.9"},
		{"10.0.0.1:1", []string{forwarded + ": for=\"[2001:db8::9]:4711\""}, "2001:db8::9"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1, for=192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1", forwarded + ": for=192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1, for=192.0.2.9, for=10.0.0.7;by=\"a,b;for=3.3.3.3\""}, "192.0.2.9"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1, for=_hidden"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1, for=unknown"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1, proto=https"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{forwarded + ": for=1.1.1.1;for=2.2.2.2"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{forwarded + ": host=\"x, for=1.1.1.1"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{forwarded + ": for=\"1.1.1.1"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{forwarded + ": for=\"192.0.2.9\\\""}, "10.0.0.1"},
		// Two that do not agree: one of them is the client's.
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9", forwarded + ": for=192.0.2.9"}, "192.0.2.9"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9", forwarded + ": for=1.1.1.1"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 1.1.1.1", forwarded + ": for=192.0.2.9"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{xff + ": 192.0.2.9", forwarded + ": nonsense"}, "10.0.0.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.peer
		for _, h := range tt.headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header[name] = append(r.Header[name], value)
		}
		if got := api.ClientAddress(r, proxies).String(); got != tt.want {
			t.Errorf("%d: %s %.100q: got %s, want %s", i, tt.peer, tt.headers, got, tt.want)
		}
		if got := api.ClientAddress(r, nil); got.IsValid() && !strings.Contains(tt.peer, got.String()) {
			t.Errorf("%d: without proxies: got %s of %s", i, got, tt.peer)
		}
	}
}

// TestSpoofedAddresses: 10,000 requests that claim to come from elsewhere do not get one guess more.
func TestSpoofedAddresses(t *testing.T) {
	limited := func(c *api.Config) {
		gate, err := auth.New(auth.Config{Store: c.Store, StaticKey: secret.New(key)})
		if err != nil {
			t.Fatal(err)
		}
		c.Gate, c.Proxies = gate, nil
	}
	for name, tt := range map[string]struct {
		proxies []netip.Prefix
		peer    string
		header  string // of what is claimed
	}{
		"straight":                     {nil, "192.0.2.1:5", "%s"},
		"through a proxy, on the left": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "10.0.0.1:5", "%s, 192.0.2.1"},
	} {
		s := gated(t, limited, func(c *api.Config) { c.Proxies = tt.proxies })
		statuses := map[int]int{}
		for i := range 10_000 {
			r := httptest.NewRequest("GET", "/v1/me", nil)
			r.RemoteAddr = tt.peer
			r.Header.Set("Authorization", fmt.Sprint("Bearer guess-", i))
			r.Header.Set("X-Forwarded-For", fmt.Sprintf(tt.header, netip.AddrFrom4([4]byte{1, 2, byte(i >> 8), byte(i)})))
			w := httptest.NewRecorder()
			s.api.ServeHTTP(w, r)
			if statuses[w.Code]++; w.Code == 429 && (w.Header().Get("Retry-After") == "" || w.Header().Get("Retry-After") == "0") {
				t.Fatalf("no Retry-After: %v", w.Header())
			}
		}
		// One more is looked at every 6 s, and this does not take minutes.
		if statuses[401] < 20 || statuses[401] > 50 || statuses[401]+statuses[429] != 10_000 {
			t.Errorf("%s: got %v", name, statuses)
		}
	}
}

// TestFailedSignInsAreLimited: everywhere a key is shown, in the first message of a socket too; the right key of somebody
// elsewhere opens, and the address is in the audit log.
func TestFailedSignInsAreLimited(t *testing.T) {
	s := gated(t, func(c *api.Config) {
		gate, err := auth.New(auth.Config{Store: c.Store, StaticKey: secret.New(key)})
		if err != nil {
			t.Fatal(err)
		}
		c.Gate, c.Proxies = gate, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	const bad, good = "X-Forwarded-For: 192.0.2.66", "X-Forwarded-For: 192.0.2.7"
	for range 20 {
		wantProblem(t, "a guess", s.get("/v1/me", bearer("no-such-key-at-all"), bad), 401, "unauthenticated")
	}
	for _, path := range []string{"/v1/me", "/v1/operations", "/v1/events", "/v1/nowhere"} {
		a := s.get(path, bearer("no-such-key-at-all"), bad)
		if wantProblem(t, path, a, 429, "rate_limited"); a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	wantProblem(t, "a socket", s.get("/v1/ws", append(wsHeaders, bad, "Sec-WebSocket-Protocol: chunkstream, access_token.x")...), 429, "rate_limited")
	socket := s.openSocket("/v1/ws", "Sec-WebSocket-Protocol: chunkstream", bad)
	socket.say(`{"type":"auth","token":"` + key + `"}`)
	if _, code, reason := socket.next(); code != 1013 || !strings.Contains(reason, "too many") {
		t.Errorf("first message: got %d %q, want 1013", code, reason)
	}
	wantProblem(t, "nothing shown is no guess", s.get("/v1/me", bad), 401, "unauthenticated")
	if a := s.get("/v1/me", bearer(key), good); a.status != 200 {
		t.Errorf("the right key elsewhere: got %d", a.status)
	}
	if a := s.post("/v1/keys", `{"owner":"alice"}`, asJSON, bearer(key), good); a.status != 201 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	entry := s.get("/v1/audit", bearer(key), good).json(t)["data"].([]any)[0].(map[string]any)
	if entry["address"] != "192.0.2.7" {
		t.Errorf("audit: got %v", entry)
	}
	if a := s.get("/v1/me", bearer(key), bad); a.status != 200 {
		t.Errorf("a key that has opened before, from the bad address: got %d", a.status)
	}
	if log := s.log.String(); !strings.Contains(log, "192.0.2.66") || strings.Contains(log, "no-such-key") {
		t.Errorf("the log: %s", log)
	}
}
