package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// encryption is TLS at the listener; without it a proxy in front is the place.
type encryption struct {
	TLSCert     string `name:"tls-cert" group:"TLS" type:"path" placeholder:"FILE" help:"Certificate chain, PEM: the listener then speaks TLS 1.2 or newer."`
	TLSKey      string `name:"tls-key" group:"TLS" type:"path" placeholder:"FILE" help:"Its private key, PEM."`
	TLSClientCA string `name:"tls-client-ca" group:"TLS" type:"path" placeholder:"FILE" help:"Only clients with a certificate of these authorities (PEM) get as far as showing a key."`
}

// config gives nil when TLS was not asked for.
func (e *encryption) config() (*tls.Config, error) {
	const hint = "--tls-cert cert.pem --tls-key key.pem"
	if e.TLSCert == "" && e.TLSKey == "" && e.TLSClientCA == "" {
		return nil, nil
	}
	if e.TLSCert == "" || e.TLSKey == "" {
		return nil, &exitError{exitUsage, errors.New("TLS needs a certificate and its key"), hint}
	}
	pair, err := tls.LoadX509KeyPair(e.TLSCert, e.TLSKey)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--tls-cert, --tls-key: %w", err), hint}
	}
	// A WebSocket takes a connection over, which HTTP/2 does not let it.
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if e.TLSClientCA != "" {
		text, err := os.ReadFile(e.TLSClientCA)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--tls-client-ca: %w", err), ""}
		}
		cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !cfg.ClientCAs.AppendCertsFromPEM(text) {
			return nil, &exitError{exitUsage, fmt.Errorf("--tls-client-ca: %s has no certificate in PEM", e.TLSClientCA), ""}
		}
	}
	return cfg, nil
}

// encrypt makes a listener speak TLS, if cfg is not nil.
func encrypt(l net.Listener, cfg *tls.Config) net.Listener {
	if cfg == nil {
		return l
	}
	return tls.NewListener(l, cfg)
}
