package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"chunkstream/auth"
	"chunkstream/secret"
	"chunkstream/store"
)

// access is who may come in.
type access struct {
	Access string      `enum:"auto,keys" default:"auto" help:"Who may come in. auto: on loopback everybody, elsewhere who has a key or a token, once there are some; keys: nobody without, on loopback either, and the first start makes an administrator's key and prints it."`
	APIKey secret.Text `name:"api-key" env:"CHUNKSTREAM_API_KEY" hidden:"" help:"Use the environment variable: a flag can be seen by every process on the machine."`

	JWTIssuer    string      `group:"Tokens of an identity provider" help:"Their iss."`
	JWTAudience  string      `group:"Tokens of an identity provider" help:"Their aud must have this."`
	JWTKeySet    string      `group:"Tokens of an identity provider" placeholder:"URL" help:"JWK Set that checks them: an https address or a file."`
	JWTPublicKey []string    `group:"Tokens of an identity provider" type:"path" help:"PEM file with a public key that checks them (RS256 or EdDSA)."`
	JWTSecret    secret.Text `group:"Tokens of an identity provider" hidden:"" help:"Use the environment variable: a flag can be seen by every process on the machine."`
	JWTOwner     string      `group:"Tokens of an identity provider" default:"sub" help:"The claim that names the owner."`
	JWTScope     string      `group:"Tokens of an identity provider" default:"scope" help:"The claim with the scopes."`
}

// loopback reports whether only this machine can reach the address.
func loopback(listen string) (bool, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false, &exitError{exitUsage, fmt.Errorf("--listen %q: %w", listen, err), "--listen 127.0.0.1:8484"}
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

// tokens gives what checks the tokens of an identity provider, nil when none are to be taken.
func (c *access) tokens() (*auth.JWT, error) {
	if c.JWTIssuer == "" && c.JWTAudience == "" && c.JWTKeySet == "" && len(c.JWTPublicKey) == 0 && c.JWTSecret.Empty() {
		return nil, nil
	}
	cfg := auth.JWTConfig{Issuer: c.JWTIssuer, Audience: c.JWTAudience, OwnerClaim: c.JWTOwner, ScopeClaim: c.JWTScope}
	hint := "--jwt-issuer https://id.example --jwt-audience chunkstream --jwt-key-set https://id.example/jwks.json"
	if !c.JWTSecret.Empty() {
		cfg.Secret = c.JWTSecret
		hint = `export CHUNKSTREAM_JWT_SECRET="$(openssl rand -base64 48)"`
	}
	for _, file := range c.JWTPublicKey {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--jwt-public-key: %w", err), ""}
		}
		cfg.PublicKeys = append(cfg.PublicKeys, text)
	}
	switch file := c.JWTKeySet; {
	case file == "":
	case strings.Contains(file, "://"):
		get, err := auth.KeySetURL(file)
		if err != nil {
			return nil, &exitError{exitUsage, err, "--jwt-key-set https://id.example/jwks.json"}
		}
		cfg.KeySet = get
	default:
		if _, err := os.Stat(file); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--jwt-key-set: %w", err), ""}
		}
		cfg.KeySet = func(context.Context) ([]byte, error) { return os.ReadFile(file) }
	}
	j, err := auth.NewJWT(cfg)
	if err != nil {
		return nil, &exitError{exitUsage, err, hint}
	}
	return j, nil
}

// check says what is wrong before anything is opened.
func (c *access) check() (*auth.JWT, error) {
	if !c.APIKey.Empty() {
		if _, err := auth.New(auth.Config{StaticKey: c.APIKey}); err != nil {
			return nil, &exitError{exitUsage, err, `export CHUNKSTREAM_API_KEY="$(openssl rand -hex 24)"`}
		}
	}
	return c.tokens()
}

// gate decides who may come in: everybody on loopback unless something else was asked for, nobody without a key or a token
// elsewhere. Where nobody could have one it refuses, or, when keys were asked for, makes the first one and gives it.
func (c *access) gate(ctx context.Context, db *store.Store, listen string, local bool, jwt *auth.JWT, log *slog.Logger) (
	gate *auth.Gate, first string, err error,
) {
	static := !c.APIKey.Empty() || jwt != nil
	if local && c.Access == "auto" && !static {
		return auth.Open(), "", nil
	}
	if !static {
		any, err := db.AnyKey(ctx, auth.Admin.String())
		if err != nil {
			return nil, "", &exitError{exitNoReach, err, ""}
		}
		switch {
		case any:
		case c.Access == "keys":
			first, _, err = makeKey(ctx, db, store.NewKey{Owner: auth.Local.Owner, Name: "made by the first start",
				Scopes: auth.Admin.Names()}, store.Act{Actor: "the first start"})
			if err != nil {
				return nil, "", &exitError{exitNoReach, err, ""}
			}
		default:
			return nil, "", &exitError{exitUsage,
				errors.New("refusing to listen on " + listen + " without access control: everybody who reaches it could read and delete everything"),
				`--access keys, which makes and prints an administrator's key, or export CHUNKSTREAM_API_KEY="$(openssl rand -hex 24)", or --listen 127.0.0.1:8484`}
		}
	}
	gate, err = auth.New(auth.Config{Store: db, StaticKey: c.APIKey, JWT: jwt, SignedIn: func(who auth.Principal, from netip.Addr) {
		log.Info("signed in", "actor", who.Actor, "owner", who.Owner, "address", from.String())
	}, Trouble: func(err error) {
		log.Warn("the use of a key could not be written down", "error", err)
	}})
	return gate, first, err
}
