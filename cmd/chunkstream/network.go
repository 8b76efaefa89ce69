package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"golang.org/x/sync/errgroup"

	"chunkstream/api"
)

// proxyFlags say who in front is believed.
type proxyFlags struct {
	TrustedProxies []string `placeholder:"CIDR,…" help:"Proxies in front, such as 10.0.0.0/8: what they say in X-Forwarded-For or Forwarded is who asks. Nobody else is believed."`
}

func (p proxyFlags) prefixes() (all []netip.Prefix, err error) {
	for _, text := range p.TrustedProxies {
		text = strings.TrimSpace(text)
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			var one netip.Addr
			if one, err = netip.ParseAddr(text); err == nil && one.Zone() == "" {
				prefix, err = one.Unmap().Prefix(one.Unmap().BitLen())
			}
		}
		switch {
		case err != nil || !prefix.IsValid():
			return nil, &exitError{exitUsage, fmt.Errorf("--trusted-proxies: %q is no address and no range of them", text), "--trusted-proxies 10.0.0.0/8,127.0.0.1"}
		case prefix.Bits() == 0:
			return nil, &exitError{exitUsage, fmt.Errorf("--trusted-proxies: %s is everybody, and anybody could then write any address into the log", text),
				"--trusted-proxies 10.0.0.0/8,127.0.0.1"}
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

// adminFlags are for whoever looks into the process itself.
type adminFlags struct {
	AdminListen  string `placeholder:"ADDRESS" help:"Serve the Go profiler (/debug/pprof/) here, such as 127.0.0.1:6060, and nowhere else. No key is asked, so it must be loopback."`
	AdminNetwork bool   `help:"Let --admin-listen be an address that others reach: who reaches it sees into the process."`
}

// admin is a listener beside the public one; nil when there is none.
type admin struct {
	server   *http.Server
	listener net.Listener
	serving  errgroup.Group
}

func (f adminFlags) open(log *slog.Logger) (*admin, error) {
	if f.AdminListen == "" {
		return nil, nil
	}
	local, err := loopback(f.AdminListen)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--admin-listen %q: it has no port", f.AdminListen), "--admin-listen 127.0.0.1:6060"}
	}
	if !local && !f.AdminNetwork {
		return nil, &exitError{exitUsage, errors.New("refusing to show the inside of the process on " + f.AdminListen + ": no key is asked there"),
			"--admin-listen 127.0.0.1:6060, or --admin-network where only operators reach it"}
	}
	listener, err := net.Listen("tcp", f.AdminListen)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--admin-listen: %w", err), "another address"}
	}
	return &admin{server: api.Server(profiler(local), log), listener: listener}, nil
}

// serve begins; failed is closed when it ends by itself. A nil admin has nothing to do.
func (a *admin) serve(failed func()) {
	if a != nil {
		a.serving.Go(func() error {
			err := a.server.Serve(a.listener)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			failed()
			return fmt.Errorf("serve the profiler: %w", err)
		})
	}
}

// stop ends it at once: a profile that is being taken is of no use to a process that ends.
func (a *admin) stop() error {
	if a == nil {
		return nil
	}
	return errors.Join(a.server.Close(), a.serving.Wait())
}

// profiler is net/http/pprof without the command line, which may have secrets, and not by the mux that the package
// registers itself with.
func profiler(local bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.SecureHeaders(w.Header())
		if local && !api.LoopbackHost(r.Host) {
			http.Error(w, "this listener answers to localhost, 127.0.0.0/8 and [::1] alone", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
