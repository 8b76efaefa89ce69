package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"chunkstream/secret"
	"chunkstream/store"
)

// MinKeyChars is how many characters a static key has at least.
const MinKeyChars = 16

// Subprotocol is the WebSocket subprotocol that the service speaks, and the only one it ever names in an answer.
const Subprotocol = "chunkstream"

// tokenPrefix marks the entry of Sec-WebSocket-Protocol that carries a key. A browser cannot set headers on a
// WebSocket, and a key in the URL would end up in logs.
const tokenPrefix = "access_token."

const (
	// cacheFor is how long a decision is kept. Whoever is revoked or blocked by another process is out after that, and an
	// open stream a poll later: together less than 5 s.
	cacheFor = 2 * time.Second
	// maxCached bounds the decisions in memory.
	maxCached = 10_000
	// decideWithin bounds one decision: a database that hangs must not hang whoever asks.
	decideWithin = 2 * time.Second
)

// Config says who may pass. Without anything in it nobody may.
type Config struct {
	// Store has keys, blocks and tickets. nil: there are none.
	Store *store.Store
	// StaticKey lets in whoever knows it, as Local. It has at least MinKeyChars characters, all of them
	// printable ASCII without blanks and commas, so that it survives in every header.
	StaticKey secret.Text
	// JWT takes tokens of an identity provider. nil: none.
	JWT *JWT
	// MaxFailures is how many failed sign-ins of one address are taken at once; one more is every FailureEvery after that.
	// Zero means DefaultMaxFailures and DefaultFailureEvery.
	MaxFailures  int
	FailureEvery time.Duration
	// SignedIn is told of what opens and has not within the last day, as far as this process knows. nil: nobody is.
	SignedIn func(who Principal, from netip.Addr)
	// Trouble is told what went wrong beside a decision, which was made all the same. nil: nobody is.
	Trouble func(error)
}

// Gate decides who may pass. It may be used by any number of goroutines at once.
type Gate struct {
	cfg      Config
	open     bool
	static   [sha256.Size]byte
	attempts *attempts

	mu    sync.Mutex
	known map[[sha256.Size]byte]decision
	// forgotten counts the calls of Forget: what was read before one must not be kept after it.
	forgotten int
}

// decision is who stands behind a secret.
type decision struct {
	who     Principal
	decided time.Time
}

// Open is the gate that lets everybody pass as Local, for a listener that only this machine can reach.
func Open() *Gate { return &Gate{open: true} }

// New makes a gate. The error says what is wrong with the static key, without repeating it.
func New(cfg Config) (*Gate, error) {
	if cfg.Trouble == nil {
		cfg.Trouble = func(error) {}
	}
	if cfg.SignedIn == nil {
		cfg.SignedIn = func(Principal, netip.Addr) {}
	}
	if cfg.MaxFailures < 0 || cfg.FailureEvery < 0 {
		return nil, fmt.Errorf("auth: %d failures, one every %v: they are positive", cfg.MaxFailures, cfg.FailureEvery)
	}
	g := &Gate{cfg: cfg, known: map[[sha256.Size]byte]decision{}}
	g.attempts = newAttempts(cmp.Or(cfg.MaxFailures, DefaultMaxFailures), cmp.Or(cfg.FailureEvery, DefaultFailureEvery))
	if cfg.StaticKey.Empty() {
		return g, nil
	}
	key := cfg.StaticKey.Reveal()
	if len(key) < MinKeyChars {
		return nil, fmt.Errorf("auth: the API key has %d characters, it needs at least %d", len(key), MinKeyChars)
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c > '~' || c == ',' {
			return nil, fmt.Errorf("auth: character %d of the API key is not printable ASCII, or is a blank or a comma", i+1)
		}
	}
	g.static = sha256.Sum256([]byte(key))
	g.cfg.StaticKey = secret.New("kept as its digest alone")
	return g, nil
}

// Keyed reports whether something has to be shown to pass.
func (g *Gate) Keyed() bool { return !g.open }

// Authenticate says who r speaks for. The key, token or ticket stands in "Authorization: Bearer <key>" (RFC 6750, section
// 2.1) or, on a WebSocket handshake alone, in "Sec-WebSocket-Protocol: chunkstream, access_token.<key>". It is never
// taken from the URL. Two different places, or the same place twice, are refused: what a proxy checked must be what is
// checked here. from is the address that asks, tickets says whether the request is one that tickets are for. The error is
// or wraps ErrUnauthenticated, ErrUndecided or a *TooManyError, or is the context's.
func (g *Gate) Authenticate(r *http.Request, from netip.Addr, tickets bool) (Principal, error) {
	if g.open {
		return Local, nil
	}
	shown, ok := credential(r)
	if !ok {
		return Principal{}, ErrUnauthenticated
	}
	return g.Identify(r.Context(), from, shown, tickets)
}

// Shows reports whether r shows anything to get in by, right or wrong.
func Shows(r *http.Request) bool {
	if len(r.Header["Authorization"]) > 0 {
		return true
	}
	for _, v := range r.Header["Sec-Websocket-Protocol"] {
		if strings.Contains(v, tokenPrefix) {
			return true
		}
	}
	return false
}

// Identify says who stands behind a key, a token or, where tickets are taken, a ticket, as Authenticate does. A ticket
// is used up by it.
func (g *Gate) Identify(ctx context.Context, from netip.Addr, shown string, tickets bool) (Principal, error) {
	if g.open {
		return Local, nil
	}
	sum := sha256.Sum256([]byte(shown))
	now := time.Now()
	g.mu.Lock()
	d, known := g.known[sum]
	g.mu.Unlock()
	if known && now.Sub(d.decided) < cacheFor {
		if !d.who.Until.IsZero() && !now.Before(d.who.Until) {
			return Principal{}, ErrUnauthenticated
		}
		return d.who, nil
	}
	if wait := g.attempts.wait(from, sum, now); wait > 0 {
		return Principal{}, &TooManyError{wait}
	}
	who, err := g.decide(ctx, shown, sum, tickets)
	switch {
	case err == nil:
		if g.attempts.passed(sum, now) {
			g.cfg.SignedIn(who, from)
		}
	case errors.Is(err, ErrUnauthenticated):
		g.attempts.failed(from, sum, now)
	}
	return who, err
}

// decide asks whatever knows about what was shown.
func (g *Gate) decide(ctx context.Context, shown string, sum [sha256.Size]byte, tickets bool) (who Principal, err error) {
	// Digests have one length, so the comparison takes the same time whatever was sent.
	if !g.cfg.StaticKey.Empty() && subtle.ConstantTimeCompare(sum[:], g.static[:]) == 1 {
		return Local, nil
	}
	ticket := wellFormed(shown, ticketPrefix)
	jwt := g.cfg.JWT != nil && strings.Count(shown, ".") == 2
	if !ticket && !jwt && !wellFormed(shown, keyPrefix) || g.cfg.Store == nil && !jwt {
		return Principal{}, ErrUnauthenticated
	}
	g.mu.Lock()
	forgotten := g.forgotten
	g.mu.Unlock()
	now := time.Now()
	within, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	switch {
	case ticket && tickets:
		who, err = g.ticket(within, hex.EncodeToString(sum[:]))
	case ticket:
		err = ErrUnauthenticated
	case jwt:
		who, err = g.token(within, shown)
	default:
		who, err = g.key(within, hex.EncodeToString(sum[:]))
	}
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotFound), errors.Is(err, ErrUnauthenticated):
		return Principal{}, ErrUnauthenticated
	case ctx.Err() != nil:
		return Principal{}, ctx.Err()
	default:
		return Principal{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	if !ticket {
		g.keep(sum, decision{who, now}, forgotten)
	}
	return who, nil
}

// keep remembers a decision, unless something was revoked while it was made.
func (g *Gate) keep(sum [sha256.Size]byte, d decision, forgotten int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.forgotten != forgotten {
		return
	}
	if len(g.known) >= maxCached {
		for k, old := range g.known {
			if d.decided.Sub(old.decided) >= cacheFor {
				delete(g.known, k)
			}
		}
		if len(g.known) >= maxCached {
			clear(g.known)
		}
	}
	g.known[sum] = d
}

// Forget makes the next decisions anew. Call it after revoking or blocking, and it holds in this process at once.
func (g *Gate) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.known)
	g.forgotten++
}

func (g *Gate) key(ctx context.Context, digest string) (Principal, error) {
	k, err := g.cfg.Store.KeyByDigest(ctx, digest)
	if err != nil {
		return Principal{}, err
	}
	scopes := known(k.Scopes)
	if err := g.cfg.Store.UsedKey(ctx, k.ID); err != nil {
		g.cfg.Trouble(err)
	}
	return Principal{Owner: k.Owner, Actor: k.ID, Scopes: scopes, Session: store.Standing{Key: k.ID, Owner: k.Owner}, Until: k.ExpiresAt}, nil
}

// known gives the scopes among names; one that a newer program wrote means nothing here, so it allows nothing.
func known(names []string) (s Scopes) {
	for _, name := range names {
		one, _ := ParseScopes([]string{name})
		s |= one
	}
	return s
}

func (g *Gate) token(ctx context.Context, token string) (Principal, error) {
	who, err := g.cfg.JWT.verify(ctx, token)
	if err != nil || g.cfg.Store == nil {
		return who, err
	}
	blocked, err := g.cfg.Store.Blocked(ctx, []store.Standing{who.Session})
	if err == nil && blocked[0] {
		err = ErrUnauthenticated
	}
	return who, err
}

// TicketLife is how long a ticket may be used after it was made.
const TicketLife = 30 * time.Second

// Ticket makes a ticket for what who may do, for one operation or, with "", for all, and says when it ends. It is what a
// program hands to one that is to watch, without handing it the key.
func (g *Gate) Ticket(ctx context.Context, who Principal, operation string) (ticket string, ends time.Time, err error) {
	if g.cfg.Store == nil {
		return "", time.Time{}, fmt.Errorf("%w: there is no store for tickets", ErrUndecided)
	}
	ticket = NewTicket()
	scopes := who.Scopes & OperationsRead
	if who.May(OperationsRead) {
		scopes = OperationsRead
	}
	ends, err = g.cfg.Store.CreateTicket(ctx, Digest(ticket), store.Ticket{
		Owner: who.Owner, Scopes: scopes.Names(), Operation: operation, Session: who.Session, Until: who.Until,
	}, TicketLife)
	return ticket, ends, err
}

func (g *Gate) ticket(ctx context.Context, digest string) (Principal, error) {
	t, err := g.cfg.Store.TakeTicket(ctx, digest)
	if err != nil {
		return Principal{}, err
	}
	who := Principal{Owner: t.Owner, Actor: "a ticket", Scopes: known(t.Scopes), Session: t.Session, Until: t.Until, Operation: t.Operation}
	if !who.Until.IsZero() && !time.Now().Before(who.Until) {
		return Principal{}, ErrUnauthenticated
	}
	ended, err := g.Ended(ctx, []store.Standing{t.Session})
	if err == nil && ended[0] {
		err = ErrUnauthenticated
	}
	return who, err
}

// Ended says of each session whether it is over: its key revoked or expired, its owner or token blocked. It asks the
// database, and an error says nothing about any of them.
func (g *Gate) Ended(ctx context.Context, sessions []store.Standing) ([]bool, error) {
	ended := make([]bool, len(sessions))
	if g.cfg.Store == nil {
		return ended, nil
	}
	var ask []store.Standing
	var at []int
	for i, s := range sessions {
		if s != (store.Standing{}) {
			ask, at = append(ask, s), append(at, i)
		}
	}
	if len(ask) == 0 {
		return ended, nil
	}
	blocked, err := g.cfg.Store.Blocked(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	for i, b := range blocked {
		ended[at[i]] = b
	}
	return ended, nil
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
