package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"chunkstream/auth"
	secrets "chunkstream/secret"
)

// TestFailedSignIns: an address that has failed too often is not looked at, not even with a right key that was never
// shown before; other addresses, and keys that have opened before, are.
func TestFailedSignIns(t *testing.T) {
	const guesses = 10_000
	s := openStore(t)
	// Nothing is taken back within the test.
	gate, err := auth.New(auth.Config{Store: s, StaticKey: secrets.New(key), MaxFailures: 20, FailureEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	known, _ := makeKey(t, s, "alice", auth.EveryDay, 0)
	fresh, _ := makeKey(t, s, "alice", auth.EveryDay, 0)
	bad, good, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	try := func(from netip.Addr, shown string) error {
		_, err := gate.Identify(t.Context(), from, shown, false)
		return err
	}
	if err := try(good, known); err != nil {
		t.Fatal(err)
	}
	looked := map[string]int{}
	for i := range guesses {
		err := try(bad, fmt.Sprint("guess-number-", i))
		var tooMany *auth.TooManyError
		switch {
		case errors.Is(err, auth.ErrUnauthenticated):
			looked["looked at"]++
		case errors.As(err, &tooMany) && tooMany.RetryAfter > 0 && tooMany.RetryAfter <= time.Hour:
			looked["refused unseen"]++
		default:
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if looked["looked at"] != 20 || looked["refused unseen"] != guesses-20 {
		t.Errorf("got %v, want 20 looked at", looked)
	}
	var tooMany *auth.TooManyError
	for name, shown := range map[string]string{"the operator's key": key, "a key never shown before": fresh} {
		if err := try(bad, shown); !errors.As(err, &tooMany) {
			t.Errorf("%s from there: got %v, want to wait", name, err)
		}
		if err := try(good, shown); err != nil {
			t.Errorf("%s from elsewhere: %v", name, err)
		}
		if err := try(bad, shown); err != nil {
			t.Errorf("%s from there, after it opened: %v", name, err)
		}
	}
	gate.Forget()
	if err := try(bad, known); err != nil {
		t.Errorf("a key that opened before: %v", err)
	}
	// Of IPv6 a /64 is one address, and so are the two forms of an IPv4 address.
	for i := range 20 {
		if err := try(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x:%x", i, i)), "x"); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Fatal(err)
		}
	}
	if err := try(six, "x"); !errors.As(err, &tooMany) {
		t.Errorf("the same /64: got %v", err)
	}
	if err := try(netip.MustParseAddr("2001:db8:0:1::1"), "x"); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("another /64: got %v", err)
	}
	if err := try(netip.MustParseAddr("::ffff:192.0.2.1"), "x"); !errors.As(err, &tooMany) {
		t.Errorf("the same address as IPv6: got %v", err)
	}
}

// TestFailedSignInsEnd: the wait that is told is long enough.
func TestFailedSignInsEnd(t *testing.T) {
	gate, err := auth.New(auth.Config{StaticKey: secrets.New(key), MaxFailures: 2, FailureEvery: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var tooMany *auth.TooManyError
		for !errors.As(err, &tooMany) {
			_, err = gate.Identify(t.Context(), nowhere, "guess", false)
		}
		<-time.After(tooMany.RetryAfter)
		if _, err = gate.Identify(t.Context(), nowhere, "guess", false); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("after the wait: got %v", err)
		}
	}
}

// TestFailedSignInsAreBounded: however many addresses fail, and at once, memory does not grow with them, and the one that
// fails most stays refused.
func TestFailedSignInsAreBounded(t *testing.T) {
	gate, err := auth.New(auth.Config{StaticKey: secrets.New(key), FailureEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	worst := netip.MustParseAddr("192.0.2.1")
	for range 100 {
		_, _ = gate.Identify(t.Context(), worst, "guess", false)
	}
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for i := range 2600 {
				from := netip.AddrFrom4([4]byte{10, byte(part), byte(i >> 8), byte(i)})
				if _, err := gate.Identify(t.Context(), from, "guess", false); !errors.Is(err, auth.ErrUnauthenticated) {
					t.Errorf("%v: %v", from, err)
				}
			}
		})
	}
	all.Wait()
	failing, trusted := auth.Remembered(gate)
	if failing > 10_000 || failing < 10_000 || trusted != 0 {
		t.Errorf("%d addresses and %d keys are remembered", failing, trusted)
	}
	var tooMany *auth.TooManyError
	if _, err := gate.Identify(t.Context(), worst, "guess", false); !errors.As(err, &tooMany) {
		t.Errorf("the worst of them: got %v", err)
	}
}
