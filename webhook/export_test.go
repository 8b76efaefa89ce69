package webhook

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"chunkstream/store"
)

// Client is what deliveries are sent with, where names lead to the addresses and dial connects.
func Client(p Policy, addresses []string, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	d := &dialer{policy: p, dial: dial, lookup: func(context.Context, string) ([]netip.Addr, error) {
		var all []netip.Addr
		for _, one := range addresses {
			all = append(all, netip.MustParseAddr(one))
		}
		return all, nil
	}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}}
}

// At is a time in Unix seconds.
func At(seconds int64) time.Time { return time.Unix(seconds, 0) }

// CheckBackoff looks at every pause there is.
func CheckBackoff(t *testing.T) {
	t.Helper()
	var least time.Duration
	for n := int64(1); n <= 20; n++ {
		step := steps[min(n, int64(len(steps)))-1]
		if n > 1 && n <= int64(len(steps)) && step <= steps[n-2] {
			t.Errorf("pause %d is no longer than the one before", n)
		}
		for range 100 {
			if got := backoff(n); got < step*4/5 || got > step*6/5 {
				t.Fatalf("attempt %d: pause %v, want %v and a fifth more or less", n, got, step)
			}
		}
		least += step * 4 / 5
	}
	if least < store.DeliverFor {
		t.Errorf("20 attempts take %v", least)
	}
	for _, n := range []int64{0, -1, 1 << 40} {
		_ = backoff(n)
	}
}
