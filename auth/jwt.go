package auth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chunkstream/secret"
	"chunkstream/store"
)

// The bounds of tokens and of what they are checked with.
const (
	MinSecretBytes = 32 // of an HS256 secret: RFC 7518, section 3.2
	maxTokenBytes  = 8 << 10
	minRSABits     = 2048 // RFC 7518, section 3.3
	leeway         = 30 * time.Second

	maxKeySet     = 1 << 20          // bytes
	keySetFresh   = 5 * time.Minute  // a key set is asked for again after this,
	keySetRetry   = 10 * time.Second // and for a key that it lacks, or after a failure, no sooner than this
	keySetStale   = time.Hour        // without a new one it lets nobody in after this
	keySetTimeout = 2 * time.Second
)

// JWTConfig says which tokens of an identity provider are taken: signed JWTs (RFC 7519) with iss, aud and exp, by HS256,
// RS256 or EdDSA. Issuer and Audience are needed, and at least one of Secret, PublicKeys and KeySet.
type JWTConfig struct {
	Issuer   string // iss must be exactly this
	Audience string // aud must have this
	// Secret checks HS256. It has at least MinSecretBytes bytes.
	Secret secret.Text
	// PublicKeys check RS256 (RSA of at least 2048 bits) or EdDSA (Ed25519): PEM, in PKIX form.
	PublicKeys [][]byte
	// KeySet gives a JWK Set (RFC 7517) whenever it is asked: from a file, or as KeySetURL does.
	KeySet func(context.Context) ([]byte, error)
	// OwnerClaim is the claim that names the owner, "sub" by default. ScopeClaim is the one with the scopes, as one string
	// or as an array, "scope" by default; names that are no scopes here are passed over.
	OwnerClaim, ScopeClaim string
}

// JWT checks tokens. Make one with NewJWT; any number of goroutines may use it at once.
type JWT struct {
	cfg    JWTConfig
	parser *jwt.Parser
	fixed  []verifyKey

	mu       sync.Mutex // of the key set and its age
	set      []verifyKey
	fetched  time.Time
	tried    time.Time
	fetching sync.Mutex
}

// verifyKey is a key with the one algorithm that it is for: what a token says about its algorithm chooses nothing
// (RFC 8725, section 3.1).
type verifyKey struct {
	id  string
	alg string
	key any // []byte, *rsa.PublicKey or ed25519.PublicKey
}

// NewJWT checks the configuration. It asks for no key set yet.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	if cfg.Issuer == "" || cfg.Audience == "" {
		return nil, errors.New("auth: tokens need an issuer and an audience to be checked against")
	}
	if cfg.OwnerClaim == "" {
		cfg.OwnerClaim = "sub"
	}
	if cfg.ScopeClaim == "" {
		cfg.ScopeClaim = "scope"
	}
	j := &JWT{cfg: cfg, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{"HS256", "RS256", "EdDSA"}), jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(), jwt.WithJSONNumber(),
	)}
	if !cfg.Secret.Empty() {
		text := []byte(cfg.Secret.Reveal())
		if len(text) < MinSecretBytes {
			return nil, fmt.Errorf("auth: the JWT secret has %d bytes, it needs at least %d", len(text), MinSecretBytes)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(text)))) < 8 {
			return nil, errors.New("auth: the JWT secret is no random one: it has fewer than 8 different bytes")
		}
		j.fixed = append(j.fixed, verifyKey{alg: "HS256", key: text})
	}
	for i, text := range cfg.PublicKeys {
		k, err := publicKey(text)
		if err != nil {
			return nil, fmt.Errorf("auth: JWT public key %d: %w", i+1, err)
		}
		j.fixed = append(j.fixed, k)
	}
	if len(j.fixed) == 0 && cfg.KeySet == nil {
		return nil, errors.New("auth: there is nothing to check tokens with: give a secret, a public key or a key set")
	}
	return j, nil
}

func publicKey(text []byte) (verifyKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return verifyKey{}, errors.New("it is not one PEM block")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return verifyKey{}, fmt.Errorf("it is not a public key in PKIX form: %w", err)
	}
	return pinned("", k)
}

// pinned says what a key may check.
func pinned(id string, k crypto.PublicKey) (verifyKey, error) {
	switch k := k.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits || k.E < 3 || k.E%2 == 0 {
			return verifyKey{}, fmt.Errorf("an RSA key needs at least %d bits and an odd exponent", minRSABits)
		}
		return verifyKey{id, "RS256", k}, nil
	case ed25519.PublicKey:
		return verifyKey{id, "EdDSA", k}, nil
	}
	return verifyKey{}, fmt.Errorf("a key of type %T is not taken: RSA and Ed25519 are", k)
}

// verify gives the principal of a token. Whatever is wrong with it is ErrUnauthenticated.
func (j *JWT) verify(ctx context.Context, token string) (Principal, error) {
	// base64 decoding passes over line ends, so that one token would have many spellings.
	if len(token) > maxTokenBytes || strings.ContainsAny(token, "\r\n") {
		return Principal{}, ErrUnauthenticated
	}
	claims := jwt.MapClaims{}
	var undecided error
	_, err := j.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		// A header that must be understood and is not makes the token invalid (RFC 7515, section 4.1.11); keys that a token
		// brings or points to (jwk, jku, x5c, x5u) are never looked at.
		if _, critical := t.Header["crit"]; critical {
			return nil, ErrUnauthenticated
		}
		if typ, given := t.Header["typ"]; given {
			if s, ok := typ.(string); !ok || !strings.EqualFold(s, "JWT") && !strings.EqualFold(s, "at+jwt") {
				return nil, ErrUnauthenticated // of another kind: RFC 8725, section 3.11
			}
		}
		id, given := t.Header["kid"]
		kid, text := id.(string)
		if given && !text {
			return nil, ErrUnauthenticated
		}
		var key any
		key, undecided = j.find(ctx, t.Method.Alg(), kid)
		return key, undecided
	})
	if undecided != nil {
		return Principal{}, undecided
	}
	if err != nil {
		return Principal{}, ErrUnauthenticated
	}
	return j.principal(claims)
}

func (j *JWT) principal(claims jwt.MapClaims) (Principal, error) {
	owner, _ := claims[j.cfg.OwnerClaim].(string)
	until, err := claims.GetExpirationTime()
	if err != nil || until == nil || CheckOwner(owner) != nil {
		return Principal{}, ErrUnauthenticated
	}
	var names []string
	switch v := claims[j.cfg.ScopeClaim].(type) {
	case string:
		names = strings.Fields(v)
	case []any:
		for _, one := range v {
			name, _ := one.(string)
			names = append(names, name)
		}
	}
	id := ""
	if v, given := claims["jti"]; given {
		if id, _ = v.(string); id == "" || len(id) > maxOwner {
			return Principal{}, ErrUnauthenticated // it could not be blocked
		}
	}
	return Principal{Owner: owner, Actor: "token of " + owner, Scopes: known(names), Session: store.Standing{Owner: owner, Token: id},
		Until: until.Add(leeway)}, nil
}

// find gives the key for a token. A token that names none is checked by the only key for its algorithm.
func (j *JWT) find(ctx context.Context, alg, kid string) (any, error) {
	choose := func(all []verifyKey) (any, bool) {
		var fit []verifyKey
		for _, k := range all {
			if k.alg == alg && (k.id == kid || k.id == "" || kid == "") {
				fit = append(fit, k)
			}
		}
		if len(fit) != 1 {
			return nil, false
		}
		return fit[0].key, true
	}
	if j.cfg.KeySet == nil {
		if k, ok := choose(j.fixed); ok {
			return k, nil
		}
		return nil, ErrUnauthenticated
	}
	set, err := j.keys(ctx, func(set []verifyKey) bool {
		_, ok := choose(slices.Concat(j.fixed, set))
		return ok
	})
	if k, ok := choose(slices.Concat(j.fixed, set)); ok {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, ErrUnauthenticated
}

// keys gives the key set: the one in memory while it is fresh and enough, a new one otherwise. While a new one cannot be
// had the old one serves for keySetStale, and then nothing does.
func (j *JWT) keys(ctx context.Context, enough func([]verifyKey) bool) ([]verifyKey, error) {
	current := func() (set []verifyKey, due, stale bool) {
		j.mu.Lock()
		defer j.mu.Unlock()
		now := time.Now()
		stale = now.Sub(j.fetched) > keySetStale
		due = (now.Sub(j.fetched) > keySetFresh || !enough(j.set)) && now.Sub(j.tried) > keySetRetry
		return j.set, due, stale
	}
	set, due, stale := current()
	if due {
		if stale {
			j.fetching.Lock() // there is nothing to go on with
		} else if !j.fetching.TryLock() {
			return set, nil // somebody is asking
		}
		if set, due, stale = current(); due {
			j.fetch(ctx)
			set, _, stale = current()
		}
		j.fetching.Unlock()
	}
	if stale {
		return nil, fmt.Errorf("%w: the key set of the identity provider cannot be had", ErrUndecided)
	}
	return set, nil
}

func (j *JWT) fetch(ctx context.Context) {
	// Whoever asked first may go away; the others want the answer.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), keySetTimeout)
	defer cancel()
	text, err := j.cfg.KeySet(within)
	var set []verifyKey
	if err == nil {
		set, err = readKeySet(text)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tried = time.Now()
	if err == nil {
		j.set, j.fetched = set, j.tried
	}
}

// readKeySet reads a JWK Set. Keys of kinds that are not taken here, and those that are for something else, are passed
// over; symmetric ones too, since a set that others can read must not hold any.
func readKeySet(text []byte) ([]verifyKey, error) {
	var doc struct {
		Keys []struct{ Kty, Kid, Use, Alg, Crv, N, E, X string }
	}
	if len(text) > maxKeySet {
		return nil, errors.New("auth: the key set is too large")
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("auth: the key set is not one: %w", err)
	}
	var set []verifyKey
	for _, one := range doc.Keys {
		if one.Use != "" && one.Use != "sig" {
			continue
		}
		var k crypto.PublicKey
		switch {
		case one.Kty == "RSA":
			n, err1 := base64.RawURLEncoding.DecodeString(one.N)
			e, err2 := base64.RawURLEncoding.DecodeString(one.E)
			if err1 != nil || err2 != nil || len(e) == 0 || len(e) > 4 {
				continue
			}
			k = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		case one.Kty == "OKP" && one.Crv == "Ed25519":
			x, err := base64.RawURLEncoding.DecodeString(one.X)
			if err != nil || len(x) != ed25519.PublicKeySize {
				continue
			}
			k = ed25519.PublicKey(x)
		default:
			continue
		}
		if v, err := pinned(one.Kid, k); err == nil && (one.Alg == "" || one.Alg == v.alg) {
			set = append(set, v)
		}
	}
	if len(set) == 0 {
		return nil, errors.New("auth: the key set has no key that can be used")
	}
	return set, nil
}

// KeySetURL asks an address for a key set: over https, or http on this machine, without following redirects.
func KeySetURL(address string) (func(context.Context) ([]byte, error), error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("auth: %q is no address of a key set", address)
	}
	ip := net.ParseIP(u.Hostname())
	here := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !here) {
		return nil, errors.New("auth: a key set comes over https: whoever can change it on its way can let anybody in")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context) (_ []byte, err error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		res, err := client.Do(r)
		if err != nil {
			return nil, fmt.Errorf("auth: get the key set: %w", err)
		}
		defer func() { err = errors.Join(err, res.Body.Close()) }()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("auth: get the key set: status %d", res.StatusCode)
		}
		return io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	}, nil
}
