package auth_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/auth"
	secrets "chunkstream/secret"
	"chunkstream/store"
)

// The tokens here are made by hand, so that nothing is shared with what checks them.

const (
	issuer   = "https://id.example"
	audience = "chunkstream"
)

type object = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func asJSON(v any) []byte {
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func text(b []byte) secrets.Text { return secrets.New(string(b)) }

func hs(newHash func() hash.Hash, secret []byte) func([]byte) []byte {
	return func(signed []byte) []byte {
		m := hmac.New(newHash, secret)
		m.Write(signed)
		return m.Sum(nil)
	}
}

func rs256(k *rsa.PrivateKey) func([]byte) []byte {
	return func(signed []byte) []byte {
		sum := sha256.Sum256(signed)
		sig, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return sig
	}
}

func eddsa(k ed25519.PrivateKey) func([]byte) []byte {
	return func(signed []byte) []byte { return ed25519.Sign(k, signed) }
}

func none([]byte) []byte { return nil }

// token joins a header and claims, each an object or raw JSON, and signs them.
func token(header, claims any, sign func([]byte) []byte) string {
	signed := b64(asJSON(header)) + "." + b64(asJSON(claims))
	return signed + "." + b64(sign([]byte(signed)))
}

func claims(change ...any) object {
	now := time.Now().Unix()
	c := object{"iss": issuer, "aud": audience, "sub": "alice", "exp": now + 600, "iat": now, "jti": "token-1", "scope": "documents:read operations:read"}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == nil {
			delete(c, change[i].(string))
			continue
		}
		c[change[i].(string)] = change[i+1]
	}
	return c
}

func pemOf(t *testing.T, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

var rsaKey, otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) }), sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })

func TestTokensOpen(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuv")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	for name, tt := range map[string]struct {
		cfg   auth.JWTConfig
		token string
	}{
		"HS256":        {auth.JWTConfig{Secret: text(secret)}, token(object{"alg": "HS256", "typ": "JWT"}, claims(), hs(sha256.New, secret))},
		"RS256":        {auth.JWTConfig{PublicKeys: [][]byte{pemOf(t, &rsaKey().PublicKey)}}, token(object{"alg": "RS256"}, claims(), rs256(rsaKey()))},
		"EdDSA":        {auth.JWTConfig{PublicKeys: [][]byte{pemOf(t, ed.Public())}}, token(object{"alg": "EdDSA", "typ": "at+jwt"}, claims(), eddsa(ed))},
		"aud list":     {auth.JWTConfig{Secret: text(secret)}, token(object{"alg": "HS256"}, claims("aud", []string{"other", audience}), hs(sha256.New, secret))},
		"scopes list":  {auth.JWTConfig{Secret: text(secret), ScopeClaim: "scp"}, token(object{"alg": "HS256"}, claims("scp", []string{"documents:read", "operations:read", "mail"}), hs(sha256.New, secret))},
		"owner claim":  {auth.JWTConfig{Secret: text(secret), OwnerClaim: "tenant"}, token(object{"alg": "HS256"}, claims("tenant", "alice", "sub", "u1"), hs(sha256.New, secret))},
		"just expired": {auth.JWTConfig{Secret: text(secret)}, token(object{"alg": "HS256"}, claims("exp", time.Now().Unix()-10), hs(sha256.New, secret))},
		"among three": {auth.JWTConfig{Secret: text(secret), PublicKeys: [][]byte{pemOf(t, &rsaKey().PublicKey), pemOf(t, ed.Public())}},
			token(object{"alg": "RS256", "kid": "whatever"}, claims(), rs256(rsaKey()))},
	} {
		tt.cfg.Issuer, tt.cfg.Audience = issuer, audience
		j, err := auth.NewJWT(tt.cfg)
		if err != nil {
			t.Fatal(name, err)
		}
		gate := newGate(t, auth.Config{JWT: j, Store: s})
		for range 2 { // decided, and remembered
			who, err := gate.Identify(t.Context(), nowhere, tt.token, false)
			if err != nil || who.Owner != "alice" || who.Scopes != auth.DocumentsRead|auth.OperationsRead || who.Until.IsZero() ||
				who.Session != (store.Standing{Owner: "alice", Token: "token-1"}) {
				t.Errorf("%s: got %+v, %v", name, who, err)
			}
		}
		for _, b := range [][2]string{{"token", "token-1"}, {"owner", "alice"}} {
			if _, err := s.Block(t.Context(), b[0], b[1], "", store.Act{}); err != nil {
				t.Fatal(err)
			}
			gate.Forget()
			if _, err := gate.Identify(t.Context(), nowhere, tt.token, false); !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("%s: blocked by its %s: %v", name, b[0], err)
			}
			if err := s.Unblock(t.Context(), b[0], b[1], store.Act{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestUndecided: while the database cannot say what is blocked, neither a good token nor a ticket that is taken lets
// anybody in, and both do again when it can.
func TestUndecided(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	beside, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = beside.Close() })
	shared := "0123456789abcdefghijklmnopqrstuv"
	j, err := auth.NewJWT(auth.JWTConfig{Issuer: issuer, Audience: audience, Secret: secrets.New(shared)})
	if err != nil {
		t.Fatal(err)
	}
	gate := newGate(t, auth.Config{JWT: j, Store: s})
	good := token(object{"alg": "HS256"}, claims(), hs(sha256.New, []byte(shared)))
	try := func(want error, how string) {
		t.Helper()
		if _, err := beside.ExecContext(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		who := auth.Principal{Owner: "alice", Scopes: auth.EveryDay, Session: store.Standing{Owner: "alice", Token: "token-1"}}
		ticket, _, err := gate.Ticket(t.Context(), who, "")
		if err != nil {
			t.Fatal(err)
		}
		gate.Forget()
		for name, shown := range map[string]string{"token": good, "ticket": ticket} {
			if who, err := gate.Identify(t.Context(), nowhere, shown, true); !errors.Is(err, want) || (want == nil) != (who.Owner == "alice") {
				t.Errorf("%s after %q: got %+v, %v; want %v", name, how, who, err, want)
			}
		}
	}
	try(nil, "SELECT 1")
	try(auth.ErrUndecided, "ALTER TABLE blocks RENAME TO elsewhere")
	try(nil, "ALTER TABLE elsewhere RENAME TO blocks")
}

// TestKeySetURL: an address that was checked does not lead to another one, and what is no key set is an error.
func TestKeySetURL(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308, 404, 500} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
		}))
		get, err := auth.KeySetURL(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := get(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("%d: got %q, %v; want the status as an error", status, text, err)
		}
		s.Close()
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("somebody else was asked %d times", n)
	}
}

// TestForgeries: none of these is let in, by any of three keys.
func TestForgeries(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuv")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, otherEd, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM, edPEM := pemOf(t, &rsaKey().PublicKey), pemOf(t, ed.Public())
	j, err := auth.NewJWT(auth.JWTConfig{Issuer: issuer, Audience: audience, Secret: text(secret), PublicKeys: [][]byte{rsaPEM, edPEM}})
	if err != nil {
		t.Fatal(err)
	}
	gate := newGate(t, auth.Config{JWT: j})
	h := func(more ...any) object {
		o := object{"alg": "HS256", "typ": "JWT"}
		for i := 0; i < len(more); i += 2 {
			o[more[i].(string)] = more[i+1]
		}
		return o
	}
	sign := hs(sha256.New, secret)
	good := token(h(), claims(), sign)
	if _, err := gate.Identify(t.Context(), nowhere, good, false); err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(good, ".")
	body, sig, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] ^= 1
	now := time.Now().Unix()
	der, err := x509.MarshalPKIXPublicKey(&rsaKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	jwk := object{"kty": "RSA", "n": b64(otherRSA().N.Bytes()), "e": b64(big.NewInt(int64(otherRSA().E)).Bytes())}
	forgeries := map[string]string{
		// no signature, or none that means anything
		"alg none": token(h("alg", "none"), claims(), none), "alg None": token(h("alg", "None"), claims(), none), "alg NONE": token(h("alg", "NONE"), claims(), none),
		"alg nOnE": token(h("alg", "nOnE"), claims(), none), "alg none signed": token(h("alg", "none"), claims(), sign),
		"alg empty": token(h("alg", ""), claims(), none), "alg null": token(h("alg", nil), claims(), sign), "alg number": token(h("alg", 256), claims(), sign),
		"alg list": token(h("alg", []string{"HS256"}), claims(), sign), "alg missing": token(object{"typ": "JWT"}, claims(), sign),
		"HS256 without signature": head + "." + body + ".", "signature of another token": head + "." + b64(asJSON(claims("sub", "eve"))) + "." + sig,
		"signature changed": head + "." + body + "." + b64(raw), "signature cut": good[:len(good)-4], "signature longer": good + "AAAA",
		"signature of zeros": head + "." + body + "." + b64(make([]byte, 32)), "header changed": b64(asJSON(h("kid", "x"))) + "." + body + "." + sig,
		// the wrong algorithm or key
		"public RSA key as secret, PEM": token(h(), claims(), hs(sha256.New, rsaPEM)), "public RSA key as secret, DER": token(h(), claims(), hs(sha256.New, der)),
		"public RSA key as secret, trimmed": token(h(), claims(), hs(sha256.New, []byte(strings.TrimSpace(string(rsaPEM))))),
		"public RSA key as secret, modulus": token(h(), claims(), hs(sha256.New, rsaKey().N.Bytes())),
		"public Ed25519 key as secret":      token(h(), claims(), hs(sha256.New, ed.Public().(ed25519.PublicKey))),
		"public Ed25519 key as secret, PEM": token(h(), claims(), hs(sha256.New, edPEM)),
		"empty secret":                      token(h(), claims(), hs(sha256.New, nil)), "zero secret": token(h(), claims(), hs(sha256.New, make([]byte, 32))),
		"another secret": token(h(), claims(), hs(sha256.New, []byte("vutsrqponmlkjihgfedcba9876543210"))),
		"HS384":          token(h("alg", "HS384"), claims(), hs(sha512.New384, secret)), "HS512": token(h("alg", "HS512"), claims(), hs(sha512.New, secret)),
		"hs256": token(h("alg", "hs256"), claims(), sign), "HS256 with a blank": token(h("alg", "HS256 "), claims(), sign),
		"RS256 by another key": token(h("alg", "RS256"), claims(), rs256(otherRSA())), "RS256 signed as HS256": token(h("alg", "RS256"), claims(), sign),
		"HS256 signed as RS256": token(h(), claims(), rs256(rsaKey())), "EdDSA by another key": token(h("alg", "EdDSA"), claims(), eddsa(otherEd)),
		"EdDSA signed as RS256": token(h("alg", "EdDSA"), claims(), rs256(rsaKey())), "RS256 signed as EdDSA": token(h("alg", "RS256"), claims(), eddsa(ed)),
		"RS384": token(h("alg", "RS384"), claims(), rs256(rsaKey())), "PS256": token(h("alg", "PS256"), claims(), rs256(rsaKey())), "ES256": token(h("alg", "ES256"), claims(), eddsa(ed)),
		"Ed25519 by name": token(h("alg", "Ed25519"), claims(), eddsa(otherEd)),
		// keys that the token brings or points to
		"jwk": token(h("alg", "RS256", "jwk", jwk), claims(), rs256(otherRSA())), "jku": token(h("alg", "RS256", "jku", "https://evil.example/jwks"), claims(), rs256(otherRSA())),
		"x5u": token(h("alg", "RS256", "x5u", "https://evil.example/c"), claims(), rs256(otherRSA())), "x5c": token(h("alg", "RS256", "x5c", []string{"MII"}), claims(), rs256(otherRSA())),
		"kid is a path": token(h("kid", "../../dev/null"), claims(), hs(sha256.New, nil)), "kid is SQL": token(h("kid", "x' UNION SELECT ''--"), claims(), hs(sha256.New, nil)),
		"kid is a number": token(h("kid", 1), claims(), sign), "kid is null": token(h("kid", nil), claims(), sign), "kid is a list": token(h("kid", []string{"a"}), claims(), sign),
		// headers that change the meaning
		"crit": token(h("crit", []string{"exp"}), claims(), sign), "crit b64": token(h("crit", []string{"b64"}, "b64", false), claims(), sign),
		"crit empty": token(h("crit", []string{}), claims(), sign), "typ of another kind": token(h("typ", "dpop+jwt"), claims(), sign),
		"typ of an ID token": token(h("typ", "logout+jwt"), claims(), sign), "typ is a number": token(h("typ", 1), claims(), sign),
		// claims
		"expired": token(h(), claims("exp", now-31), sign), "expired long ago": token(h(), claims("exp", 1), sign), "no exp": token(h(), claims("exp", nil), sign),
		"exp is text": token(h(), claims("exp", "9999999999"), sign), "exp is negative": token(h(), claims("exp", -1), sign),
		"exp is a list": token(h(), claims("exp", []int64{now + 600}), sign),
		"not yet":       token(h(), claims("nbf", now+60), sign), "issued later": token(h(), claims("iat", now+60), sign),
		"no iss": token(h(), claims("iss", nil), sign), "another iss": token(h(), claims("iss", "https://evil.example"), sign), "iss with a slash": token(h(), claims("iss", issuer+"/"), sign),
		"iss in another case": token(h(), claims("iss", strings.ToUpper(issuer)), sign), "iss is a list": token(h(), claims("iss", []string{issuer}), sign),
		"no aud": token(h(), claims("aud", nil), sign), "another aud": token(h(), claims("aud", "other"), sign), "aud is empty": token(h(), claims("aud", ""), sign),
		"aud list without us": token(h(), claims("aud", []string{"a", "b"}), sign), "aud contains us": token(h(), claims("aud", audience+"-other"), sign),
		"aud is a number": token(h(), claims("aud", 5), sign), "no sub": token(h(), claims("sub", nil), sign), "sub is empty": token(h(), claims("sub", ""), sign),
		"sub is a number": token(h(), claims("sub", 5), sign), "sub with a line end": token(h(), claims("sub", "alice\n"), sign), "sub is long": token(h(), claims("sub", strings.Repeat("a", 256)), sign),
		"jti is a number": token(h(), claims("jti", 5), sign), "jti is empty": token(h(), claims("jti", ""), sign),
		"jti is null": token(h(), `{"iss":"`+issuer+`","aud":"chunkstream","sub":"a","exp":9999999999,"jti":null}`, sign),
		// forms
		"two parts": head + "." + body, "four parts": good + ".x", "dots": "..", "empty parts": head + "..", "blank inside": head + ". " + body + "." + sig,
		"padding": head + "=." + body + "." + sig, "standard base64": strings.ReplaceAll(token(h("kid", "???>>>"), claims(), sign), "_", "/"),
		"trailing bits": head + "." + body + "." + sig[:len(sig)-1] + string(sig[len(sig)-1]+1), "a line end": good + "\n", "JSON form": `{"payload":"` + body + `","signature":"` + sig + `"}`,
		"header is a list": token(`["HS256"]`, claims(), sign), "header is broken": token(`{"alg":"HS256"`, claims(), sign), "claims are a list": token(h(), `[1]`, sign),
		"claims are broken": token(h(), `{"sub":"alice"`, sign), "claims are null": token(h(), `null`, sign), "two headers": token(`{"alg":"HS256"}{"alg":"none"}`, claims(), sign),
		"alg twice": token(`{"alg":"HS256","alg":"none"}`, claims(), none), "too long": token(h("pad", strings.Repeat("x", 9000)), claims(), sign), "a megabyte of dots": strings.Repeat(".", 1<<20),
	}
	if len(forgeries) < 60 {
		t.Errorf("only %d forgeries", len(forgeries))
	}
	for name, forged := range forgeries {
		if who, err := gate.Identify(t.Context(), nowhere, forged, true); !errors.Is(err, auth.ErrUnauthenticated) || who != (auth.Principal{}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
	t.Logf("%d forgeries refused", len(forgeries))
}

func TestJWTConfigRefuses(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuv")
	small := newRSA(1024)
	for name, cfg := range map[string]auth.JWTConfig{
		"nothing": {}, "no issuer": {Audience: "a", Secret: text(secret)}, "no audience": {Issuer: "i", Secret: text(secret)}, "no key": {Issuer: "i", Audience: "a"},
		"short secret": {Issuer: "i", Audience: "a", Secret: text(secret[:31])}, "empty secret": {Issuer: "i", Audience: "a", Secret: secrets.New("")},
		"no random secret": {Issuer: "i", Audience: "a", Secret: secrets.New(strings.Repeat("secret", 10))},
		"small RSA key":    {Issuer: "i", Audience: "a", PublicKeys: [][]byte{pemOf(t, &small.PublicKey)}},
		"no PEM":           {Issuer: "i", Audience: "a", PublicKeys: [][]byte{[]byte("key")}},
		"two in one":       {Issuer: "i", Audience: "a", PublicKeys: [][]byte{append(pemOf(t, &rsaKey().PublicKey), pemOf(t, &rsaKey().PublicKey)...)}},
	} {
		if j, err := auth.NewJWT(cfg); err == nil || j != nil || strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for address, want := range map[string]bool{"https://id.example/jwks": true, "http://127.0.0.1:1/jwks": true, "http://localhost/jwks": true,
		"http://id.example/jwks": false, "file:///etc/passwd": false, "jwks.json": false, "https://user:secret@id.example/": false, "": false} {
		if _, err := auth.KeySetURL(address); (err == nil) != want {
			t.Errorf("%q: %v, want %v", address, err, want)
		}
	}
}

// TestKeySet: keys are found by their kid, a new one is fetched once, an outage is bridged, and a set never brings a
// symmetric key.
func TestKeySet(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	oct := []byte("0123456789abcdefghijklmnopqrstuv")
	keys := []object{
		{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(ed.Public().(ed25519.PublicKey)), "use": "sig"},
		{"kty": "RSA", "kid": "rsa", "alg": "RS256", "n": b64(rsaKey().N.Bytes()), "e": "AQAB"},
		{"kty": "RSA", "kid": "for-encryption", "use": "enc", "n": b64(otherRSA().N.Bytes()), "e": "AQAB"},
		{"kty": "RSA", "kid": "another-alg", "alg": "RS512", "n": b64(otherRSA().N.Bytes()), "e": "AQAB"},
		{"kty": "oct", "kid": "oct", "k": b64(oct)}, {"kty": "EC", "kid": "ec", "crv": "P-256", "x": "AA", "y": "AA"},
		{"kty": "RSA", "kid": "small", "n": b64([]byte{1, 2, 3}), "e": "AQAB"}, {"kty": "RSA", "kid": "even", "n": b64(otherRSA().N.Bytes()), "e": "Ag"},
	}
	var asked, down atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() > 0 {
			w.WriteHeader(500)
			return
		}
		_, _ = w.Write(asJSON(object{"keys": keys}))
	}))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	get, err := auth.KeySetURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	j, err := auth.NewJWT(auth.JWTConfig{Issuer: issuer, Audience: audience, KeySet: get})
	if err != nil {
		t.Fatal(err)
	}
	gate := newGate(t, auth.Config{JWT: j})
	n := 0
	try := func(kid, alg string, sign func([]byte) []byte) error {
		n++
		header := object{"alg": alg}
		if kid != "" {
			header["kid"] = kid
		}
		_, err := gate.Identify(t.Context(), nowhere, token(header, claims("jti", fmt.Sprint(n)), sign), false)
		return err
	}
	var all sync.WaitGroup
	for range 8 {
		who := token(object{"alg": "EdDSA", "kid": "ed"}, claims(), eddsa(ed))
		all.Go(func() {
			if _, err := gate.Identify(t.Context(), nowhere, who, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for name, err := range map[string]error{"ed": try("ed", "EdDSA", eddsa(ed)), "rsa": try("rsa", "RS256", rs256(rsaKey())), "no kid": try("", "RS256", rs256(rsaKey()))} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"oct": try("oct", "HS256", hs(sha256.New, oct)), "for encryption": try("for-encryption", "RS256", rs256(otherRSA())),
		"another alg": try("another-alg", "RS256", rs256(otherRSA())), "unknown kid": try("new", "EdDSA", eddsa(ed)),
		"kid of the other": try("rsa", "EdDSA", eddsa(ed)), "even": try("even", "RS256", rs256(otherRSA())),
	} {
		if !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	down.Store(1)
	if err := try("ed", "EdDSA", eddsa(ed)); err != nil {
		t.Errorf("during an outage: %v", err)
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("asked %d times, want once", got)
	}

	// A provider that was never there: undecided, which is no way in.
	broken, err := auth.NewJWT(auth.JWTConfig{Issuer: issuer, Audience: audience, KeySet: func(context.Context) ([]byte, error) {
		return []byte(`{"keys":[]}`), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	gate = newGate(t, auth.Config{JWT: broken})
	if err := try("ed", "EdDSA", eddsa(ed)); !errors.Is(err, auth.ErrUndecided) {
		t.Errorf("without keys: %v", err)
	}
}
