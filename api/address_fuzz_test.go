package api_test

import (
	"net/http"
	"net/netip"
	"testing"

	"chunkstream/api"
)

// FuzzClientAddress: who is no proxy of ours is believed nothing; behind one, nothing that a client puts before what the
// proxies add changes who it is taken for.
func FuzzClientAddress(f *testing.F) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f.Add("10.0.0.1:80", "198.51.100.7", "", "203.0.113.9")
	f.Add("[fd00::1]:80", "", `for="[2001:db8::1]:8080";proto=https, for=10.2.3.4`, `for="x\", for=1.1.1.1`)
	f.Add("192.0.2.1:80", "1.1.1.1", "for=1.1.1.1", "")
	f.Add("10.0.0.1:80", "::ffff:10.0.0.2, 10.0.0.3", "for=_hidden;for=2.2.2.2", "10.0.0.9")
	f.Fuzz(func(t *testing.T, peer, forwardedFor, forwarded, invented string) {
		ask := func(forwardedFor, forwarded []string) netip.Addr {
			return api.ClientAddress(&http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": forwardedFor, "Forwarded": forwarded}}, proxies)
		}
		ours := func(a netip.Addr) bool { return proxies[0].Contains(a) || proxies[1].Contains(a) }
		none := func(values ...string) (all []string) {
			for _, v := range values {
				if v != "" {
					all = append(all, v)
				}
			}
			return all
		}
		at, err := netip.ParseAddrPort(peer)
		got := ask(none(forwardedFor), none(forwarded))
		switch {
		case err != nil && got.IsValid():
			t.Fatalf("the peer %q is no address, and %v is", peer, got)
		case err != nil:
			return
		case !got.IsValid() || got.Zone() != "" || got.Is4In6():
			t.Fatalf("%q behind %q, %q is %v", peer, forwardedFor, forwarded, got)
		}
		if direct := at.Addr().Unmap().WithZone(""); !ours(direct) && got != direct {
			t.Fatalf("%q is no proxy, and %q, %q make it %v", peer, forwardedFor, forwarded, got)
		}
		if !ours(got) && forwarded == "" {
			if other := ask(none(invented, forwardedFor), nil); other != got {
				t.Fatalf("%q before %q makes %v of %v", invented, forwardedFor, other, got)
			}
		}
		if !ours(got) && forwardedFor == "" {
			if other := ask(nil, none(invented, forwarded)); other != got {
				t.Fatalf("%q before %q makes %v of %v", invented, forwarded, other, got)
			}
		}
	})
}
