package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chunkstream/auth"
	secrets "chunkstream/secret"
)

const key = "correct-horse-battery"

func TestAuthenticate(t *testing.T) {
	gate, err := auth.New(auth.Config{StaticKey: secrets.New(key), MaxFailures: 1000})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		target string
		header http.Header
		pass   bool
	}{
		{"no key", "/", nil, false},
		{"bearer", "/", http.Header{"Authorization": {"Bearer " + key}}, true},
		{"the scheme's case does not matter", "/", http.Header{"Authorization": {"bearer " + key}}, true},
		{"wrong key", "/", http.Header{"Authorization": {"Bearer wrong-horse-battery"}}, false},
		{"a prefix of the key", "/", http.Header{"Authorization": {"Bearer " + key[:len(key)-1]}}, false},
		{"more than the key", "/", http.Header{"Authorization": {"Bearer " + key + "x"}}, false},
		{"empty bearer", "/", http.Header{"Authorization": {"Bearer "}}, false},
		{"other scheme", "/", http.Header{"Authorization": {"Basic " + key}}, false},
		{"no scheme", "/", http.Header{"Authorization": {key}}, false},
		{"two headers, the second right", "/", http.Header{"Authorization": {"Bearer no", "Bearer " + key}}, false},
		{"two headers, both right", "/", http.Header{"Authorization": {"Bearer " + key, "Bearer " + key}}, false},
		{"in the URL", "/?access_token=" + key + "&api_key=" + key, nil, false},
		{"subprotocol", "/", ws("chunkstream, access_token." + key), true},
		{"subprotocol, other order", "/", ws("access_token." + key + ",chunkstream"), true},
		{"subprotocol in two headers", "/", ws("chunkstream", "access_token."+key), true},
		{"subprotocol without the name", "/", ws("access_token." + key), false},
		{"subprotocol, wrong key", "/", ws("chunkstream, access_token.wrong"), false},
		{"subprotocol, two keys", "/", ws("chunkstream, access_token." + key + ", access_token." + key), false},
		{"subprotocol, no key", "/", ws("chunkstream"), false},
		{"bearer on a WebSocket", "/", with(ws(), "Authorization", "Bearer "+key), true},
		{"both places", "/", with(ws("chunkstream, access_token."+key), "Authorization", "Bearer "+key), false},
		{"subprotocol without a WebSocket", "/",
			http.Header{"Sec-Websocket-Protocol": {"chunkstream, access_token." + key}}, false},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", tt.target, nil)
		r.Header = tt.header
		got, err := gate.Authenticate(r, nowhere, false)
		if tt.pass && (err != nil || got != auth.Local) {
			t.Errorf("%s: got %v, %v; want %v", tt.name, got, err, auth.Local)
		}
		if !tt.pass && (!errors.Is(err, auth.ErrUnauthenticated) || got != (auth.Principal{})) {
			t.Errorf("%s: got %v, %v; want ErrUnauthenticated", tt.name, got, err)
		}
	}
}

func ws(protocols ...string) http.Header {
	return http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Protocol": protocols}
}

func with(h http.Header, name, value string) http.Header {
	h.Set(name, value)
	return h
}

// TestNothingIsNoKey: where nobody has a key, showing none in any way lets nobody in.
func TestNothingIsNoKey(t *testing.T) {
	for name, cfg := range map[string]auth.Config{"nothing": {}, "a store": {Store: openStore(t)}} {
		gate := newGate(t, cfg)
		if !gate.Keyed() {
			t.Errorf("%s: everybody passes", name)
		}
		for _, h := range []http.Header{
			nil, {"Authorization": {"Bearer "}}, {"Authorization": {"Bearer"}}, {"Authorization": {"bearer  "}}, {"Authorization": {""}},
			ws("chunkstream, access_token."), ws("chunkstream"), {"Authorization": {"Bearer ***"}},
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header = h
			if got, err := gate.Authenticate(r, nowhere, true); !errors.Is(err, auth.ErrUnauthenticated) || got != (auth.Principal{}) {
				t.Errorf("%s: %v: got %v, %v; want ErrUnauthenticated", name, h, got, err)
			}
		}
		if got, err := gate.Identify(t.Context(), nowhere, "", true); !errors.Is(err, auth.ErrUnauthenticated) || got != (auth.Principal{}) {
			t.Errorf("%s: got %v, %v; want ErrUnauthenticated", name, got, err)
		}
	}
}

func TestOpenGateNeedsNoKey(t *testing.T) {
	gate := auth.Open()
	if gate.Keyed() {
		t.Error("Keyed: got true, want false")
	}
	for _, h := range []http.Header{nil, {"Authorization": {"Bearer whatever"}}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = h
		if got, err := gate.Authenticate(r, nowhere, false); err != nil || got.Owner != "local" {
			t.Errorf("%v: got %v, %v; want owner local", h, got, err)
		}
	}
}

func TestStaticKeyRefusesWeakKeys(t *testing.T) {
	for _, bad := range []string{
		"short", strings.Repeat("k", auth.MinKeyChars-1), strings.Repeat("k", 20) + " x",
		strings.Repeat("k", 20) + ",", strings.Repeat("k", 20) + "\n", "schlüssel-schlüssel",
	} {
		gate, err := auth.New(auth.Config{StaticKey: secrets.New(bad)})
		if err == nil || gate != nil {
			t.Errorf("%q: got a gate, want an error", bad)
			continue
		}
		if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error repeats the key: %v", bad, err)
		}
	}
	if gate, err := auth.New(auth.Config{StaticKey: secrets.New(strings.Repeat("k", auth.MinKeyChars))}); err != nil || !gate.Keyed() {
		t.Errorf("%d characters: got %v, %v; want a keyed gate", auth.MinKeyChars, gate, err)
	}
}
