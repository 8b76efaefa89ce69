// Package auth answers who is asking and what they may do. It never uses Redis, and an error in a check means that the
// answer is no: ErrUndecided, never a way in.
package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chunkstream/store"
)

var (
	// ErrUnauthenticated: the request carries nothing that lets it in. Whether that is missing, unknown, wrong, expired,
	// revoked or its owner blocked is not said.
	ErrUnauthenticated = errors.New("missing or wrong API key")
	// ErrUndecided: what decides cannot be reached now. The answer is no, and trying again may help.
	ErrUndecided = errors.New("access cannot be decided now")
)

// Scopes is a set of things that a principal may do.
type Scopes uint16

// The scopes. Admin includes all others.
const (
	DocumentsRead Scopes = 1 << iota
	DocumentsWrite
	OperationsRead
	OperationsWrite
	ConfigurationsRead
	ConfigurationsWrite
	ChunkingRun // cut a text now, without storing anything
	MetricsRead
	Admin
)

var scopeNames = []string{"documents:read", "documents:write", "operations:read", "operations:write", "configurations:read",
	"configurations:write", "chunking:run", "metrics:read", "admin"}

// ScopeNames gives all scopes there are, admin last.
func ScopeNames() []string { return slices.Clone(scopeNames) }

// EveryDay is what a key may do that was made without saying: all but admin and metrics:read.
const EveryDay = MetricsRead - 1

// ParseScopes reads names of scopes; the error names one that does not exist.
func ParseScopes(names []string) (Scopes, error) {
	var s Scopes
	for _, name := range names {
		i := slices.Index(scopeNames, name)
		if i < 0 {
			return 0, fmt.Errorf("auth: there is no scope %.40q: choose from %s", name, strings.Join(scopeNames, ", "))
		}
		s |= 1 << i
	}
	return s, nil
}

// Names gives the scopes by name.
func (s Scopes) Names() []string {
	names := []string{}
	for i, name := range scopeNames {
		if s>>i&1 == 1 {
			names = append(names, name)
		}
	}
	return names
}

// String gives the names with blanks between them, as in RFC 6749, section 3.3.
func (s Scopes) String() string { return strings.Join(s.Names(), " ") }

// Principal is who a request speaks for.
type Principal struct {
	// Owner is the value of the owner column of everything this principal makes and may see.
	Owner string
	// Actor says in words for the audit log what let it in.
	Actor  string
	Scopes Scopes
	// Session is what this stands on: it ends with that. Zero: it never ends.
	Session store.Standing
	Until   time.Time // when it ends by itself; zero: never
	// Operation is the only operation that a ticket is for; "" is any.
	Operation string
}

// May reports whether the principal may do all of what.
func (p Principal) May(what Scopes) bool { return p.Scopes&Admin != 0 || p.Scopes&what == what }

// Local is who speaks on a listener that only this machine can reach, and with CHUNKSTREAM_API_KEY.
var Local = Principal{Owner: "local", Actor: "local", Scopes: Admin}

// maxOwner is how long the name of an owner may be, in bytes.
const maxOwner = 255

// CheckOwner says what is wrong with the name of an owner: it is 1 to 255 bytes of printable ASCII.
func CheckOwner(owner string) error {
	if owner == "" || len(owner) > maxOwner {
		return fmt.Errorf("auth: an owner has 1 to %d characters, not %d", maxOwner, len(owner))
	}
	for i := range len(owner) {
		if owner[i] <= ' ' || owner[i] > '~' {
			return errors.New("auth: an owner is printable ASCII without blanks")
		}
	}
	return nil
}
