// Package auth answers who is asking. It never uses Redis, and an error in a check means that the answer is no.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// MinKeyChars is how many characters a static key has at least.
const MinKeyChars = 16

// Subprotocol is the WebSocket subprotocol that the service speaks, and the only one it ever names in an answer.
const Subprotocol = "chunkstream"

// tokenPrefix marks the entry of Sec-WebSocket-Protocol that carries a key. A browser cannot set headers on a
// WebSocket, and a key in the URL would end up in logs.
const tokenPrefix = "access_token."

// ErrUnauthenticated: the request carries no key, or a wrong one; which of the two is not said.
var ErrUnauthenticated = errors.New("missing or wrong API key")

// Principal is who a request speaks for.
type Principal struct {
	// Owner is the value of the owner column of everything this principal makes and may see.
	Owner string
}

// Local is the only principal there is so far: whoever may reach the service at all.
var Local = Principal{Owner: "local"}

// Gate decides who may pass. It is immutable and may be used by any number of goroutines at once.
type Gate struct {
	keyed  bool
	digest [sha256.Size]byte
}

// Open is the gate without a key, for a listener that only this machine can reach.
func Open() *Gate { return &Gate{} }

// StaticKey is the gate that lets one key pass. The key has at least MinKeyChars characters, all of them printable
// ASCII without blanks and commas, so that it survives in every header; otherwise the error says what is wrong with it,
// without repeating it.
func StaticKey(key string) (*Gate, error) {
	if len(key) < MinKeyChars {
		return nil, fmt.Errorf("auth: the API key has %d characters, it needs at least %d", len(key), MinKeyChars)
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c > '~' || c == ',' {
			return nil, fmt.Errorf("auth: character %d of the API key is not printable ASCII, or is a blank or a comma", i+1)
		}
	}
	return &Gate{keyed: true, digest: sha256.Sum256([]byte(key))}, nil
}

// Keyed reports whether a key is needed.
func (g *Gate) Keyed() bool { return g.keyed }

// Authenticate says who r speaks for, or ErrUnauthenticated. The key stands in "Authorization: Bearer <key>"
// (RFC 6750, section 2.1) or, on a WebSocket handshake alone, in "Sec-WebSocket-Protocol: chunkstream,
// access_token.<key>". It is never taken from the URL. Two different places, or the same place twice, are refused:
// what a proxy checked must be what is checked here.
func (g *Gate) Authenticate(r *http.Request) (Principal, error) {
	if !g.keyed {
		return Local, nil
	}
	key, ok := credential(r)
	// Digests have one length, so the comparison takes the same time whatever was sent.
	digest := sha256.Sum256([]byte(key))
	if subtle.ConstantTimeCompare(digest[:], g.digest[:]) != 1 || !ok {
		return Principal{}, ErrUnauthenticated
	}
	return Local, nil
}

func credential(r *http.Request) (key string, ok bool) {
	found := 0
	for _, v := range r.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(v, " ")
		found++
		if strings.EqualFold(scheme, "Bearer") {
			key = strings.TrimLeft(rest, " ")
		}
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		speaks := false
		for _, v := range r.Header["Sec-Websocket-Protocol"] {
			for entry := range strings.SplitSeq(v, ",") {
				entry = strings.TrimSpace(entry)
				if token, is := strings.CutPrefix(entry, tokenPrefix); is {
					key = token
					found++
				}
				speaks = speaks || entry == Subprotocol
			}
		}
		// Without the name there is nothing the answer could echo, and a browser would drop the connection.
		if !speaks && found > 0 && len(r.Header["Authorization"]) == 0 {
			return "", false
		}
	}
	return key, found == 1 && key != ""
}
