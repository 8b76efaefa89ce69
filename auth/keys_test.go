package auth_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"chunkstream/auth"
	secrets "chunkstream/secret"
	"chunkstream/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "test.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// nowhere is the address of those who have none. All tests of a gate share its failures, of which it takes many.
var nowhere netip.Addr

func newGate(t *testing.T, cfg auth.Config) *auth.Gate {
	t.Helper()
	cfg.MaxFailures = 1000
	g, err := auth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func makeKey(t *testing.T, s *store.Store, owner string, scopes auth.Scopes, life time.Duration) (key, id string) {
	t.Helper()
	key = auth.NewKey()
	k, err := s.CreateKey(t.Context(), store.NewKey{Owner: owner, Digest: auth.Digest(key), Hint: auth.Hint(key), Scopes: scopes.Names(),
		Expires: life}, store.Act{})
	if err != nil {
		t.Fatal(err)
	}
	return key, k.ID
}

func TestKeyFormat(t *testing.T) {
	pattern := regexp.MustCompile("^" + auth.KeyPattern + "$")
	seen := map[string]bool{}
	for range 100 {
		for _, key := range []string{auth.NewKey(), auth.NewTicket()} {
			if !pattern.MatchString(key) || seen[key] {
				t.Fatalf("%q does not match %s, or came twice", key, pattern)
			}
			seen[key] = true
		}
	}
	if key := auth.NewKey(); !strings.HasPrefix(key, auth.Hint(key)) || len(key)-len(auth.Hint(key)) < 40 {
		t.Errorf("hint %q of %d characters", auth.Hint(key), len(key))
	}
}

// TestTyposNeedNoDatabase: what is no key at all, one letter of a right one changed, is refused with the database closed;
// a key that could be one is then undecided, which is no way in either.
func TestTyposNeedNoDatabase(t *testing.T) {
	s := openStore(t)
	gate := newGate(t, auth.Config{Store: s})
	key, _ := makeKey(t, s, "alice", auth.EveryDay, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range key {
		for _, c := range "a7_Z" {
			typo := key[:i] + string(c) + key[i+1:]
			if typo == key {
				continue
			}
			if _, err := gate.Identify(t.Context(), nowhere, typo, true); !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("%s: %v", typo, err)
			}
		}
	}
	if who, err := gate.Identify(t.Context(), nowhere, key, false); !errors.Is(err, auth.ErrUndecided) || who != (auth.Principal{}) {
		t.Errorf("without a database: got %+v, %v; want ErrUndecided", who, err)
	}
}

func TestKeysOpen(t *testing.T) {
	s := openStore(t)
	gate := newGate(t, auth.Config{Store: s, StaticKey: secrets.New("an-operators-key")})
	ctx := t.Context()
	key, id := makeKey(t, s, "alice", auth.DocumentsRead|auth.OperationsRead, 0)
	who, err := gate.Identify(ctx, nowhere, key, false)
	want := auth.Principal{Owner: "alice", Actor: id, Scopes: auth.DocumentsRead | auth.OperationsRead,
		Session: store.Standing{Key: id, Owner: "alice"}}
	if err != nil || who != want {
		t.Errorf("got %+v, %v; want %+v", who, err, want)
	}
	if !who.May(auth.DocumentsRead) || who.May(auth.DocumentsWrite) || who.May(auth.DocumentsRead|auth.Admin) || !auth.Local.May(auth.MetricsRead) {
		t.Error("May: wrong")
	}
	if k, err := s.KeyByDigest(ctx, auth.Digest(key)); err != nil || k.LastUsedAt.IsZero() {
		t.Errorf("the use was not written down: %+v, %v", k, err)
	}

	// Revoked elsewhere: the decision is kept for a moment, here Forget ends that.
	if _, err := s.RevokeKey(ctx, id, store.Act{}); err != nil {
		t.Fatal(err)
	}
	gate.Forget()
	refused := func(what, secret string) {
		t.Helper()
		if who, err := gate.Identify(ctx, nowhere, secret, false); !errors.Is(err, auth.ErrUnauthenticated) || who != (auth.Principal{}) {
			t.Errorf("%s: got %+v, %v; want ErrUnauthenticated", what, who, err)
		}
	}
	refused("revoked", key)
	refused("unknown", auth.NewKey())
	soon, _ := makeKey(t, s, "alice", auth.EveryDay, 200*time.Millisecond)
	waitFor(t, func() bool {
		_, err := gate.Identify(ctx, nowhere, soon, false)
		return errors.Is(err, auth.ErrUnauthenticated)
	})
	other, _ := makeKey(t, s, "bob", auth.EveryDay, 0)
	if _, err := s.Block(ctx, "owner", "bob", "", store.Act{}); err != nil {
		t.Fatal(err)
	}
	refused("of a blocked owner", other)

	// A key that another process revokes ends here by itself.
	third, thirdID := makeKey(t, s, "carol", auth.EveryDay, 0)
	if _, err := gate.Identify(ctx, nowhere, third, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeKey(ctx, thirdID, store.Act{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		_, err := gate.Identify(ctx, nowhere, third, false)
		return errors.Is(err, auth.ErrUnauthenticated)
	})
}

func TestTickets(t *testing.T) {
	s := openStore(t)
	gate := newGate(t, auth.Config{Store: s})
	ctx := t.Context()
	key, id := makeKey(t, s, "alice", auth.EveryDay, time.Hour)
	who, err := gate.Identify(ctx, nowhere, key, false)
	if err != nil {
		t.Fatal(err)
	}
	ticket, ends, err := gate.Ticket(ctx, who, "op_1")
	if err != nil || time.Until(ends) > auth.TicketLife+time.Second || time.Until(ends) < auth.TicketLife/2 {
		t.Fatalf("ends %v, %v", ends, err)
	}
	if _, err := gate.Identify(ctx, nowhere, ticket, false); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("where tickets are not taken: %v", err)
	}
	got, err := gate.Identify(ctx, nowhere, ticket, true)
	if err != nil || got.Owner != "alice" || got.Operation != "op_1" || got.Scopes != auth.OperationsRead || got.Session != who.Session ||
		!got.Until.Equal(who.Until) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := gate.Identify(ctx, nowhere, ticket, true); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("the second time: %v", err)
	}
	if ticket, _, err = gate.Ticket(ctx, who, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeKey(ctx, id, store.Act{}); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.Identify(ctx, nowhere, ticket, true); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("of a key that was revoked since: %v", err)
	}
	ended, err := gate.Ended(ctx, []store.Standing{{}, who.Session, {Owner: "bob"}})
	if err != nil || !reflect.DeepEqual(ended, []bool{false, true, false}) {
		t.Errorf("ended %v, %v", ended, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.Ended(ctx, []store.Standing{who.Session}); !errors.Is(err, auth.ErrUndecided) {
		t.Errorf("without a database: %v", err)
	}
}

func TestScopes(t *testing.T) {
	all, err := auth.ParseScopes(auth.ScopeNames())
	if err != nil || !reflect.DeepEqual(all.Names(), auth.ScopeNames()) {
		t.Errorf("%v, %v", all, err)
	}
	if s, err := auth.ParseScopes([]string{"documents:read", "everything"}); err == nil || s != 0 {
		t.Errorf("got %v, %v; want an error", s, err)
	}
	if (auth.EveryDay&auth.Admin) != 0 || (auth.EveryDay&auth.MetricsRead) != 0 || (auth.EveryDay&auth.ChunkingRun) == 0 {
		t.Errorf("every day: %v", auth.EveryDay)
	}
}

func TestCheckOwner(t *testing.T) {
	for owner, want := range map[string]bool{"a": true, "search-team@example": true, strings.Repeat("x", 255): true, "": false, "a b": false,
		"ä": false, "a\n": false, strings.Repeat("x", 256): false, "\x7f": false} {
		if got := auth.CheckOwner(owner) == nil; got != want {
			t.Errorf("%q: %v, want %v", owner, got, want)
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not come in 30 s")
		case <-look.C:
		}
	}
}
