package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress says who asks: the peer of the connection or, when that is one of our proxies, what the proxies say: the
// rightmost address that is none of them, as every one to the left of it is the client's to invent. X-Forwarded-For and
// Forwarded (RFC 7239) are read; where both are there and do not agree neither is believed, as the one that the proxies
// do not write is the client's. What is no address ends the way: then it is the last proxy that said something.
func clientAddress(r *http.Request, proxies []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // no network
	}
	at := plainAddress(peer.Addr())
	if !within(proxies, at) {
		return at
	}
	var hops []string
	for _, line := range r.Header["X-Forwarded-For"] {
		hops = append(hops, strings.Split(line, ",")...)
	}
	said := r.Header["Forwarded"]
	by := rightmost(at, hops, proxies)
	switch {
	case len(said) == 0:
		return by
	case len(hops) == 0:
		return rightmost(at, forwardedFor(said), proxies)
	case rightmost(at, forwardedFor(said), proxies) == by:
		return by
	}
	return at
}

// rightmost walks from the peer at to the left.
func rightmost(at netip.Addr, hops []string, proxies []netip.Prefix) netip.Addr {
	for i := len(hops) - 1; i >= 0 && within(proxies, at); i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			return at
		}
		at = hop
	}
	return at
}

// parseHop reads an address with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if a, err := netip.ParseAddr(s); err == nil {
		return plainAddress(a), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		return plainAddress(a), err == nil && a.Is6()
	}
	a, err := netip.ParseAddrPort(s)
	return plainAddress(a.Addr()), err == nil
}

// forwardedFor gives the for parameters, one an element; an element that has none, two, or no end is "", which is no
// address.
func forwardedFor(lines []string) (hops []string) {
	for _, line := range lines {
		for line != "" {
			var element string
			element, line = cutQuoted(line, ',')
			hop, n := "", 0
			for element != "" {
				var pair string
				pair, element = cutQuoted(element, ';')
				name, value, _ := strings.Cut(pair, "=")
				if strings.EqualFold(strings.Trim(name, " \t"), "for") {
					hop, n = strings.Trim(value, " \t"), n+1
				}
			}
			if len(hop) >= 2 && hop[0] == '"' && hop[len(hop)-1] == '"' {
				hop = hop[1 : len(hop)-1] // a backslash in it is no part of an address
			}
			if n != 1 {
				hop = ""
			}
			hops = append(hops, hop)
		}
	}
	return hops
}

// cutQuoted cuts at the first sep outside of double quotes. What has no closing quote is one piece.
func cutQuoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func plainAddress(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func within(proxies []netip.Prefix, a netip.Addr) bool {
	for _, p := range proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
