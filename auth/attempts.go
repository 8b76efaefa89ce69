package auth

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// How many failed sign-ins of one address are taken: 20 at once, and 10 a minute in the long run.
const (
	DefaultMaxFailures  = 20
	DefaultFailureEvery = 6 * time.Second
)

const (
	// maxAddresses bounds the addresses in memory. When there are more, the one that will be free again first is forgotten.
	maxAddresses = 10_000
	// trustedFor is how long what has opened once is let through from an address that has failed too often, so that those
	// who share an address with whoever guesses are not locked out. It is no guess any more.
	trustedFor = 24 * time.Hour
	maxTrusted = 10_000
)

// TooManyError: the address has failed too often, and what it shows now was not looked at.
type TooManyError struct {
	RetryAfter time.Duration // until it will be looked at
}

// Error says how long to wait.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("too many failed sign-ins from this address: wait %v", e.RetryAfter.Round(time.Millisecond))
}

// attempts counts failed sign-ins by address, each in a bucket that empties by one every interval (the generic cell rate
// algorithm, ITU-T I.371). Nothing of it leaves the process or is kept.
type attempts struct {
	most  int
	every time.Duration

	mu      sync.Mutex
	failing map[netip.Prefix]time.Time      // when the bucket will be empty again
	trusted map[[sha256.Size]byte]time.Time // when it last opened
}

func newAttempts(most int, every time.Duration) *attempts {
	return &attempts{most: most, every: every, failing: map[netip.Prefix]time.Time{}, trusted: map[[sha256.Size]byte]time.Time{}}
}

// source is what counts as one address: of IPv6 the /64, which one customer has altogether.
func source(from netip.Addr) netip.Prefix {
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, err := from.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all of these are one
	}
	return p
}

// wait says how long an address has to wait before what it shows is looked at; 0 is not at all.
func (a *attempts) wait(from netip.Addr, sum [sha256.Size]byte, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	empty, known := a.failing[source(from)]
	over := empty.Sub(now) - time.Duration(a.most-1)*a.every
	if !known || over <= 0 {
		return 0
	}
	if at, ok := a.trusted[sum]; ok && now.Sub(at) < trustedFor {
		return 0
	}
	return over
}

// failed counts a failure.
func (a *attempts) failed(from netip.Addr, sum [sha256.Size]byte, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.trusted, sum)
	key := source(from)
	empty, known := a.failing[key]
	if !known && len(a.failing) >= maxAddresses {
		a.makeRoom(now)
	}
	if empty.Before(now) {
		empty = now
	}
	// What was under way together when the limit was reached does not make the wait longer.
	a.failing[key] = earlier(empty.Add(a.every), now.Add(time.Duration(a.most)*a.every))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// makeRoom forgets whoever is free again, or else the one that will be first.
func (a *attempts) makeRoom(now time.Time) {
	var first netip.Prefix
	var soonest time.Time
	for key, empty := range a.failing {
		if !empty.After(now) {
			delete(a.failing, key)
		} else if soonest.IsZero() || empty.Before(soonest) {
			first, soonest = key, empty
		}
	}
	if len(a.failing) >= maxAddresses {
		delete(a.failing, first)
	}
}

// passed remembers what has opened, and reports whether it had not within trustedFor.
func (a *attempts) passed(sum [sha256.Size]byte, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, known := a.trusted[sum]
	if !known && len(a.trusted) >= maxTrusted {
		for old := range a.trusted { // any of them
			delete(a.trusted, old)
			break
		}
	}
	a.trusted[sum] = now
	return !known || now.Sub(before) >= trustedFor
}
