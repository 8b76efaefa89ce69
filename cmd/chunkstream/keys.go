package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"text/tabwriter"
	"time"

	"chunkstream/auth"
	"chunkstream/secret"
	"chunkstream/store"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key and print it, once."`
	List   keysListCmd   `cmd:"" help:"List keys, newest first."`
	Revoke keysRevokeCmd `cmd:"" help:"Revoke a key for good."`
}

// keysStore is where the keys are; the service may be running meanwhile.
type keysStore struct {
	Data     string      `default:"chunkstream-data" type:"path" help:"Folder of the SQLite database; made when missing."`
	Database secret.Text `env:"CHUNKSTREAM_DATABASE,DATABASE_URL" placeholder:"URL" help:"Postgres instead of SQLite: postgres://user@host/name."`

	stdout io.Writer // nil means standard output
}

func (k *keysStore) with(ctx context.Context, do func(*store.Store) error) (err error) {
	if k.stdout == nil {
		k.stdout = os.Stdout
	}
	b := backing{Data: k.Data, Database: k.Database}
	cfg, err := b.storeConfig()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, cfg)
	if err != nil {
		return &exitError{exitNoReach, err, "--data or --database as the service has it"}
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

// operator says for the audit log who sits at the terminal.
func operator() store.Act {
	name := "the command line"
	if u, err := user.Current(); err == nil {
		name += " of " + u.Username
	}
	return store.Act{Actor: name}
}

type keysCreateCmd struct {
	keysStore
	Owner   string        `default:"local" help:"Whose documents and operations the key opens."`
	Name    string        `help:"What it is for, for people."`
	Scope   []string      `sep:"," help:"What it may do; default: everything but metrics:read and admin. See docs/security.md."`
	Admin   bool          `help:"Everything, keys too."`
	Expires time.Duration `help:"When it ends, from now, such as 2160h; default: never."`
}

// Help is what --help shows below the flags.
func (keysCreateCmd) Help() string {
	return `Examples:
  chunkstream keys create --owner search-team --expires 2160h
  chunkstream keys create --owner dashboard --scope operations:read,metrics:read
  chunkstream keys create --admin --name operator`
}

// Run makes a key. Standard output has the key alone, so that it can be piped to where it is kept.
func (c *keysCreateCmd) Run(ctx context.Context) error {
	scopes, err := auth.ParseScopes(c.Scope)
	switch {
	case err != nil:
		return &exitError{exitUsage, err, "--scope documents:read,operations:read"}
	case c.Admin && len(c.Scope) > 0:
		return &exitError{exitUsage, errors.New("--admin is all scopes: leave --scope out"), ""}
	case c.Expires < 0:
		return &exitError{exitUsage, fmt.Errorf("--expires %v lies in the past", c.Expires), "--expires 2160h"}
	case c.Admin:
		scopes = auth.Admin
	case len(c.Scope) == 0:
		scopes = auth.EveryDay
	}
	if err := auth.CheckOwner(c.Owner); err != nil {
		return &exitError{exitUsage, err, "--owner search-team"}
	}
	return c.with(ctx, func(db *store.Store) error {
		secret, k, err := makeKey(ctx, db, store.NewKey{Owner: c.Owner, Name: c.Name, Scopes: scopes.Names(), Expires: c.Expires}, operator())
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s for %s: %s. Keep the key now, it is not shown again.\n", k.ID, k.Owner, scopes)
		_, err = fmt.Fprintln(c.stdout, secret)
		return err
	})
}

// makeKey makes a key out of nothing but chance and keeps what may be kept of it.
func makeKey(ctx context.Context, db *store.Store, n store.NewKey, by store.Act) (string, store.Key, error) {
	secret := auth.NewKey()
	n.Digest, n.Hint = auth.Digest(secret), auth.Hint(secret)
	k, err := db.CreateKey(ctx, n, by)
	return secret, k, err
}

type keysListCmd struct {
	keysStore
	Owner string `help:"Only this owner's."`
	JSON  bool   `name:"json" help:"Print one JSON object a key."`
}

// keyLine is one line of what --json prints. Times are absent where there are none.
type keyLine struct {
	ID         string    `json:"id"`
	Owner      string    `json:"owner"`
	Name       string    `json:"name"`
	Hint       string    `json:"hint"`
	Scopes     []string  `json:"scopes"`
	CreatedBy  string    `json:"created_by"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}

// Run lists keys.
func (c *keysListCmd) Run(ctx context.Context) error {
	return c.with(ctx, func(db *store.Store) error {
		const page = 200
		t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		encoder := json.NewEncoder(c.stdout)
		if !c.JSON {
			_, _ = fmt.Fprintln(t, "id\towner\tbegins\tstate\tlast used\tscopes\tname") // Flush reports what went wrong
		}
		for before := ""; ; {
			keys, err := db.Keys(ctx, c.Owner, before, page)
			if err != nil {
				return err
			}
			for _, k := range keys {
				before = k.ID
				if c.JSON {
					if err := encoder.Encode(keyLine(k)); err != nil {
						return err
					}
					continue
				}
				used := "never"
				if !k.LastUsedAt.IsZero() {
					used = k.LastUsedAt.Format(time.DateTime)
				}
				_, _ = fmt.Fprintf(t, "%s\t%s\t%s…\t%s\t%s\t%v\t%s\n", k.ID, k.Owner, k.Hint, stateOf(k), used, k.Scopes, oneLine(k.Name, 60))
			}
			if len(keys) < page {
				return t.Flush()
			}
		}
	})
}

func stateOf(k store.Key) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case k.ExpiresAt.IsZero():
		return "holds"
	case k.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "until " + k.ExpiresAt.Format(time.DateOnly)
}

type keysRevokeCmd struct {
	keysStore
	ID string `arg:"" help:"The key's id, as keys list shows it."`
}

// Run revokes a key.
func (c *keysRevokeCmd) Run(ctx context.Context) error {
	return c.with(ctx, func(db *store.Store) error {
		k, err := db.RevokeKey(ctx, c.ID, operator())
		if errors.Is(err, store.ErrNotFound) {
			return &exitError{exitFailed, fmt.Errorf("there is no key %s", c.ID), "chunkstream keys list"}
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s of %s is revoked. Running processes refuse it within 5 s.\n", k.ID, k.Owner)
		return nil
	})
}
