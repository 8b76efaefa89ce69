package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"

	"golang.org/x/sync/errgroup"

	"chunkstream/api"
	"chunkstream/servertest"
)

// TestTLS: with a certificate the listener speaks TLS 1.2 or newer and nothing else; with authorities for clients it hears
// only those who show a certificate of theirs.
func TestTLS(t *testing.T) {
	certificate, key := servertest.Certificate(t)
	other, _ := servertest.Certificate(t)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for _, tt := range []struct {
		name   string
		server encryption
		client *tls.Config
		want   bool
	}{
		{"TLS", encryption{TLSCert: certificate, TLSKey: key}, &tls.Config{RootCAs: roots}, true},
		{"an old version", encryption{TLSCert: certificate, TLSKey: key}, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}, false},
		{"a certificate of the client", encryption{certificate, key, certificate}, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, true},
		{"no certificate of the client", encryption{certificate, key, certificate}, &tls.Config{RootCAs: roots}, false},
		{"a certificate of others", encryption{certificate, key, other}, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, false},
	} {
		cfg, err := tt.server.config()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := api.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS == nil || r.ProtoMajor != 1 {
				w.WriteHeader(http.StatusTeapot)
			}
		}), slog.New(slog.DiscardHandler))
		var serving errgroup.Group
		serving.Go(func() error { return serveHTTP(server, encrypt(l, cfg), func() {}) })
		transport := &http.Transport{TLSClientConfig: tt.client, ForceAttemptHTTP2: true}
		client := http.Client{Transport: transport}
		get := func(url string) bool {
			r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(r)
			if err == nil {
				res.Body.Close()
			}
			return err == nil && res.StatusCode == http.StatusOK
		}
		if got := get("https://" + l.Addr().String() + "/"); got != tt.want {
			t.Errorf("%s: got an answer: %v, want %v", tt.name, got, tt.want)
		}
		if get("http://" + l.Addr().String() + "/") {
			t.Errorf("%s: an answer without TLS", tt.name)
		}
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := serving.Wait(); err != nil {
			t.Error(err)
		}
	}
	for _, e := range []encryption{{TLSCert: certificate}, {TLSKey: key}, {TLSClientCA: certificate}, {certificate, certificate, ""}, {certificate, key, key}, {certificate, key, "none"}} {
		if cfg, err := e.config(); err == nil || cfg != nil {
			t.Errorf("%+v: got %v", e, cfg)
		}
	}
}
