package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Policy says where deliveries may go. The zero value is for a service on a network: https alone, and no address that is
// not of the public Internet.
type Policy struct {
	HTTP     bool           // plain http too
	Networks []netip.Prefix // addresses in these too, though they are private or otherwise special
}

// RefusedError is what is returned for an address that no delivery may go to.
type RefusedError struct{ Problem string }

func (e *RefusedError) Error() string { return e.Problem }

func refuse(problem string, args ...any) error { return &RefusedError{fmt.Sprintf(problem, args...)} }

// maxURL is how long an address may be, in bytes.
const maxURL = 2048

// CheckURL refuses what no delivery may go to as far as the text of the address tells: another scheme, user names, a port
// below 1024 that is not the scheme's, a host that is a special address or is written in a way that some programs take for
// one. What a name leads to is looked at before each connection. The error is a *RefusedError.
func (p Policy) CheckURL(raw string) error {
	if len(raw) > maxURL {
		return refuse("the address is longer than %d bytes", maxURL)
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] > '~' || raw[i] == '\\' {
			return refuse("the address has a space, a control character, a backslash or a character beyond ASCII; write it encoded")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Host == "":
		return refuse("it is not an address of the form https://host/path")
	case u.Scheme != "https" && !(u.Scheme == "http" && p.HTTP):
		return refuse("the address must begin with https://")
	case u.User != nil:
		return refuse("the address may not have a user name or a password")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return refuse("the address may not have a fragment")
	}
	if port := u.Port(); port != "" {
		n, err := strconv.Atoi(port)
		standard := map[string]int{"https": 443, "http": 80}[u.Scheme]
		if err != nil || n > 65535 || n < 1024 && n != standard {
			return refuse("the port must be %d or 1024 to 65535", standard)
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return refuse("the port is missing behind the colon")
	}
	return p.checkHost(u.Hostname())
}

func (p Policy) checkHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return refuse("an address with a zone is one of this machine's own network")
		}
		return p.checkIP(ip)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || strings.HasPrefix(label, "-") {
			return refuse("%q is not a host name", host)
		}
	}
	// Resolvers read what ends in a number as IPv4 in all of its old spellings (WHATWG URL, section 3.5).
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return refuse("%q is neither a host name nor an IPv4 address of four decimal numbers", host)
	}
	if last == "localhost" && !p.permits(netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		return refuse("localhost is this machine")
	}
	return nil
}

// The special addresses beyond those that netip knows: the IANA special-purpose registries (RFC 6890) and the metadata
// service of a cloud that has a public address.
var special = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
	"192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "168.63.129.16/32",
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")

// public is what of IPv6 is given out for the Internet; all else, NAT64 and IPv4 in any wrapping among it, is special.
var public = netip.MustParsePrefix("2000::/3")

func prefixes(all ...string) (out []netip.Prefix) {
	for _, one := range all {
		out = append(out, netip.MustParsePrefix(one))
	}
	return out
}

func (p Policy) permits(ip netip.Addr) bool {
	for _, one := range p.Networks {
		if one.Contains(ip) {
			return true
		}
	}
	return false
}

// checkIP refuses an address that is not of the public Internet, unless Networks has it.
func (p Policy) checkIP(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if p.permits(ip) {
		return nil
	}
	ok := ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && (ip.Is4() || public.Contains(ip))
	for _, one := range special {
		ok = ok && !one.Contains(ip)
	}
	if !ok {
		return refuse("%s is not an address of the public Internet", ip)
	}
	return nil
}

// dialer connects to hosts by addresses that it has checked itself, so that a name cannot lead to another one between the
// check and the connection.
type dialer struct {
	policy Policy
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// maxTried is how many of a host's addresses are tried.
const maxTried = 3

func (d *dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if err := d.policy.checkHost(host); err != nil {
		return nil, err
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = d.lookup(ctx, host); err != nil {
		return nil, err
	}
	// One that is refused spoils all: the name is not under the control of somebody who means well.
	for _, ip := range ips {
		if err := d.policy.checkIP(ip); err != nil {
			return nil, err
		}
	}
	err = errors.New("the name has no address")
	for _, ip := range ips[:min(len(ips), maxTried)] {
		var conn net.Conn
		if conn, err = d.dial(ctx, "tcp", net.JoinHostPort(ip.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
