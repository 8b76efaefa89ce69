package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/store"
)

func TestKeys(t *testing.T) { onEach(t, testKeys) }

func testKeys(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	ctx := t.Context()
	by := store.Act{Actor: "boss", Request: "req_1"}
	made := map[string]store.Key{}
	for _, n := range []store.NewKey{
		{Owner: "alice", Name: "laptop", Digest: "d1", Hint: "cs_ab", Scopes: []string{"documents:read", "documents:write"}},
		{Owner: "alice", Digest: "d2", Scopes: []string{"admin"}, Expires: time.Hour},
		{Owner: "bob", Digest: "d3", Scopes: []string{"documents:read"}, Expires: time.Millisecond},
		{Owner: "bob", Digest: "d4"},
	} {
		k, err := s.CreateKey(ctx, n, by)
		if err != nil {
			t.Fatal(err)
		}
		if k.Owner != n.Owner || k.Name != n.Name || k.Hint != n.Hint || !reflect.DeepEqual(append([]string{}, k.Scopes...), append([]string{}, n.Scopes...)) ||
			k.CreatedBy != "boss" || k.ExpiresAt.IsZero() != (n.Expires == 0) || !k.RevokedAt.IsZero() || !k.LastUsedAt.IsZero() {
			t.Errorf("made %+v of %+v", k, n)
		}
		made[n.Digest] = k
	}
	if _, err := s.CreateKey(ctx, store.NewKey{Owner: "eve", Digest: "d1"}, by); err == nil {
		t.Error("the same digest twice was taken")
	}
	holds := func(what, digest string, want bool) {
		t.Helper()
		k, err := s.KeyByDigest(ctx, digest)
		if want && (err != nil || k.ID != made[digest].ID) || !want && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: got %+v, %v; want it to hold: %v", what, k, err, want)
		}
		var blocked []bool
		if digest != "none" {
			blocked, err = s.Blocked(ctx, []store.Standing{{Key: made[digest].ID, Owner: made[digest].Owner}})
			if err != nil || blocked[0] == want {
				t.Errorf("%s: blocked %v, %v", what, blocked, err)
			}
		}
	}
	waitFor(t, func() bool { _, err := s.KeyByDigest(ctx, "d3"); return errors.Is(err, store.ErrNotFound) })
	holds("fresh", "d1", true)
	holds("not yet expired", "d2", true)
	holds("expired", "d3", false)
	holds("unknown", "none", false)
	if any, err := s.AnyKey(ctx, "admin"); err != nil || !any {
		t.Errorf("an admin's key: %v, %v", any, err)
	}

	if k, err := s.RevokeKey(ctx, made["d2"].ID, by); err != nil || k.RevokedAt.IsZero() {
		t.Errorf("revoke: %+v, %v", k, err)
	}
	first, err := s.RevokeKey(ctx, made["d2"].ID, by)
	if again, err2 := s.RevokeKey(ctx, made["d2"].ID, by); err != nil || err2 != nil || !again.RevokedAt.Equal(first.RevokedAt) {
		t.Errorf("revoke again: %v, %v, %v", again.RevokedAt, err, err2)
	}
	if _, err := s.RevokeKey(ctx, "key_none", by); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revoke an unknown key: %v", err)
	}
	holds("revoked", "d2", false)
	if any, err := s.AnyKey(ctx, "admin"); err != nil || any {
		t.Errorf("an admin's key after its end: %v, %v", any, err)
	}

	if err := s.UsedKey(ctx, made["d1"].ID); err != nil {
		t.Fatal(err)
	}
	used, err := s.KeyByDigest(ctx, "d1")
	if err != nil || used.LastUsedAt.IsZero() {
		t.Fatalf("used: %+v, %v", used, err)
	}
	if err := s.UsedKey(ctx, made["d1"].ID); err != nil {
		t.Fatal(err)
	}
	if again, err := s.KeyByDigest(ctx, "d1"); err != nil || !again.LastUsedAt.Equal(used.LastUsedAt) {
		t.Errorf("used twice in a minute: %v and %v, %v", used.LastUsedAt, again.LastUsedAt, err)
	}

	for range 2 { // again changes nothing
		if b, err := s.Block(ctx, "owner", "alice", "left", by); err != nil || b.Reason != "left" || b.CreatedBy != "boss" {
			t.Errorf("block: %+v, %v", b, err)
		}
	}
	if _, err := s.Block(ctx, "token", "jti-1", "stolen", by); err != nil {
		t.Fatal(err)
	}
	holds("of a blocked owner", "d1", false)
	holds("of another owner", "d4", true)
	blocked, err := s.Blocked(ctx, []store.Standing{{Owner: "alice"}, {Owner: "bob"}, {Owner: "bob", Token: "jti-1"}, {Owner: "bob", Token: "jti-2"},
		{Owner: "bob", Key: "key_none"}, {Owner: "jti-1", Token: "alice"}})
	if want := []bool{true, false, true, false, true, false}; err != nil || !reflect.DeepEqual(blocked, want) {
		t.Errorf("blocked %v, %v; want %v", blocked, err, want)
	}
	if all, err := s.Blocks(ctx); err != nil || len(all) != 2 {
		t.Errorf("blocks %v, %v", all, err)
	}
	if err := s.Unblock(ctx, "owner", "alice", by); err != nil {
		t.Error(err)
	}
	if err := s.Unblock(ctx, "owner", "alice", by); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unblock again: %v", err)
	}
	holds("unblocked", "d1", true)

	all, err := s.Keys(ctx, "", "", 10)
	if err != nil || len(all) != 4 || all[0].ID != made["d4"].ID {
		t.Errorf("all keys: %v, %v", all, err)
	}
	page, err := s.Keys(ctx, "alice", made["d2"].ID, 10)
	if err != nil || len(page) != 1 || page[0].ID != made["d1"].ID {
		t.Errorf("alice's before the second: %v, %v", page, err)
	}
	if _, err := s.Keys(ctx, "", "key_none", 10); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown cursor: %v", err)
	}

	entries, err := s.Audit(ctx, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var acts []string
	for _, e := range entries {
		if e.Actor != "boss" || e.Request != "req_1" || e.At.IsZero() {
			t.Errorf("entry %+v", e)
		}
		acts = append(acts, e.Action)
	}
	const want = "block.delete block.create block.create key.revoke key.create key.create key.create key.create"
	if got := strings.Join(acts, " "); got != want {
		t.Errorf("audit log: got %s, want %s", got, want)
	}
	if older, err := s.Audit(ctx, entries[1].Num, 2); err != nil || len(older) != 2 || older[0].Num != entries[2].Num {
		t.Errorf("older entries: %v, %v", older, err)
	}
}

func TestTickets(t *testing.T) { onEach(t, testTickets) }

// testTickets: of many who show a ticket at once, one gets in.
func testTickets(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	ctx := t.Context()
	want := store.Ticket{Owner: "alice", Scopes: []string{"operations:read"}, Operation: "op_1",
		Session: store.Standing{Key: "key_1", Owner: "alice"}, Until: time.UnixMilli(1_900_000_000_000).UTC()}
	const rounds, takers = 5, 8
	for i := range rounds {
		digest := fmt.Sprint("t", i)
		if ends, err := s.CreateTicket(ctx, digest, want, time.Minute); err != nil || ends.IsZero() {
			t.Fatal(ends, err)
		}
		var taken atomic.Int32
		var all sync.WaitGroup
		for range takers {
			all.Go(func() {
				got, err := s.TakeTicket(ctx, digest)
				switch {
				case err == nil && reflect.DeepEqual(got, want):
					taken.Add(1)
				case !errors.Is(err, store.ErrNotFound):
					t.Errorf("got %+v, %v", got, err)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 {
			t.Errorf("ticket %d was taken %d times", i, taken.Load())
		}
	}
	if _, err := s.CreateTicket(ctx, "late", want, time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if got, err := s.TakeTicket(ctx, "late"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an expired ticket: %+v, %v", got, err)
	}
	if _, err := s.TakeTicket(ctx, "never"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown ticket: %v", err)
	}
}

// waitFor waits until ok.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not come in 30 s")
		}
		time.Sleep(time.Millisecond)
	}
}
