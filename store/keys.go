package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Key is an API key as it is kept: everything but the key itself.
type Key struct {
	ID         string
	Owner      string   // whose documents it opens
	Name       string   // for people
	Hint       string   // how the key begins, to tell it from others
	Scopes     []string // what it may do
	CreatedBy  string   // who made it
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to the minute; zero: never
	RevokedAt  time.Time // zero: it holds
}

// NewKey is what CreateKey needs. Digest is the SHA-256 of the key in lower-case hex; Expires is from now on, 0 for never.
type NewKey struct {
	Owner, Name, Digest, Hint string
	Scopes                    []string
	Expires                   time.Duration
}

// Act says who does something that is written into the audit log, from which address and in which request; each may be
// empty.
type Act struct {
	Actor   string
	Address string
	Request string
}

// AuditEntry is one act of an administrator.
type AuditEntry struct {
	Num     int64 // from 1, in order
	At      time.Time
	Actor   string
	Action  string // such as "key.create"
	Target  string // what it was done to: an id, an owner
	Detail  string // what else is to be known, never a secret
	Address string // where it came from, if by HTTP
	Request string // the request id, if it came by HTTP
}

// audit writes down an act in its own transaction.
func (t *tx) audit(a Act, action, target, detail string) error {
	_, err := t.exec(`INSERT INTO audit (at, actor, action, target, detail, address, request) VALUES (`+nowMs+`, $1, $2, $3, $4, $5, $6)`,
		storable(a.Actor), action, storable(target), storable(detail), storable(a.Address), storable(a.Request))
	if err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	return nil
}

// Audit gives at most limit entries with a number below before (0: the newest), newest first.
func (s *Store) Audit(ctx context.Context, before int64, limit int) ([]AuditEntry, error) {
	var all []AuditEntry
	err := s.read(ctx, `SELECT num, at, actor, action, target, detail, address, request FROM audit
 WHERE $1 = 0 OR num < $1 ORDER BY num DESC LIMIT $2`, before, limit).each(func(scan scan) error {
		var e AuditEntry
		var at int64
		err := scan(&e.Num, &at, &e.Actor, &e.Action, &e.Target, &e.Detail, &e.Address, &e.Request)
		e.At = instant(at)
		all = append(all, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: read audit log: %w", err)
	}
	return all, nil
}

const selectKey = `SELECT id, owner, name, hint, scopes, created_by, created_at, expires_at, last_used_at, revoked_at FROM api_keys`

type keyRow struct {
	k                                   Key
	scopes                              string
	created, expires, lastUsed, revoked int64
}

func (r *keyRow) dest() []any {
	return []any{&r.k.ID, &r.k.Owner, &r.k.Name, &r.k.Hint, &r.scopes, &r.k.CreatedBy, &r.created, &r.expires, &r.lastUsed, &r.revoked}
}

func (r *keyRow) key() Key {
	k := r.k
	k.Scopes = strings.Fields(r.scopes)
	k.CreatedAt, k.ExpiresAt, k.LastUsedAt, k.RevokedAt = instant(r.created), instant(r.expires), instant(r.lastUsed), instant(r.revoked)
	return k
}

// CreateKey keeps a new key.
func (s *Store) CreateKey(ctx context.Context, n NewKey, by Act) (Key, error) {
	row := keyRow{}
	err := s.db.do(ctx, func(t *tx) error {
		row = keyRow{}
		err := t.one(`
INSERT INTO api_keys (id, digest, hint, owner, name, scopes, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, `+nowMs+`, CASE WHEN $8 = 0 THEN 0 ELSE `+nowMs+` + $8 END)
RETURNING id, owner, name, hint, scopes, created_by, created_at, expires_at, last_used_at, revoked_at`,
			[]any{newID("key_"), n.Digest, n.Hint, n.Owner, n.Name, strings.Join(n.Scopes, " "), storable(by.Actor),
				n.Expires.Milliseconds()}, row.dest()...)
		if err != nil {
			return fmt.Errorf("insert key: %w", err)
		}
		return t.audit(by, "key.create", row.k.ID, "owner "+n.Owner+", scopes "+row.scopes)
	})
	if err != nil {
		return Key{}, fmt.Errorf("store: create key: %w", err)
	}
	return row.key(), nil
}

// Keys gives at most limit keys, revoked and expired ones too, newest first, of one owner or, with "", of all; those made
// before the key with the id before, if it is not "". An unknown before gives ErrNotFound.
func (s *Store) Keys(ctx context.Context, owner, before string, limit int) ([]Key, error) {
	num := int64(0)
	if before != "" {
		if err := s.read(ctx, `SELECT num FROM api_keys WHERE id = $1`, before).one(&num); err != nil {
			return nil, found("read cursor", err)
		}
	}
	var all []Key
	err := s.read(ctx, selectKey+` WHERE ($1 = '' OR owner = $1) AND ($2 = 0 OR num < $2) ORDER BY num DESC LIMIT $3`, owner, num, limit).
		each(func(scan scan) error {
			row := keyRow{}
			err := scan(row.dest()...)
			all = append(all, row.key())
			return err
		})
	if err != nil && !errors.Is(err, ErrInvalidText) {
		return nil, fmt.Errorf("store: list keys: %w", err)
	}
	return all, nil
}

// RevokeKey ends a key for good, or gives ErrNotFound. One that is revoked already stays as it is.
func (s *Store) RevokeKey(ctx context.Context, id string, by Act) (Key, error) {
	row := keyRow{}
	err := s.db.do(ctx, func(t *tx) error {
		row = keyRow{}
		n, err := t.exec(`UPDATE api_keys SET revoked_at = `+nowMs+` WHERE id = $1 AND revoked_at = 0`, id)
		if err == nil && n > 0 {
			err = t.audit(by, "key.revoke", id, "")
		}
		if err != nil {
			return err
		}
		return t.one(selectKey+` WHERE id = $1`, []any{id}, row.dest()...)
	})
	if err != nil {
		return Key{}, found("revoke key", err)
	}
	return row.key(), nil
}

// holds is the condition under which a row k of api_keys opens anything now.
const holds = `k.revoked_at = 0 AND (k.expires_at = 0 OR k.expires_at > ` + nowMs + `)
   AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.kind = 'owner' AND b.value = k.owner)`

// KeyByDigest gives the key with that digest if it holds by the database's clock: it is not revoked, not expired, and its
// owner is not blocked. Otherwise the error is ErrNotFound.
func (s *Store) KeyByDigest(ctx context.Context, digest string) (Key, error) {
	row := keyRow{}
	err := s.read(ctx, `SELECT id, owner, name, hint, scopes, created_by, created_at, expires_at, last_used_at, revoked_at
  FROM api_keys k WHERE k.digest = $1 AND `+holds, digest).one(row.dest()...)
	if err != nil {
		return Key{}, found("read key", err)
	}
	return row.key(), nil
}

// AnyKey reports whether there is a key that holds and has the scope.
func (s *Store) AnyKey(ctx context.Context, scope string) (bool, error) {
	any := false
	err := s.read(ctx, `SELECT k.scopes FROM api_keys k WHERE `+holds).each(func(scan scan) error {
		var scopes string
		err := scan(&scopes)
		for _, one := range strings.Fields(scopes) {
			any = any || one == scope
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("store: look for keys: %w", err)
	}
	return any, nil
}

// lastUseEvery is how often the use of a key is written down at most.
const lastUseEvery = time.Minute

// UsedKey notes that a key is in use, at most once a minute.
func (s *Store) UsedKey(ctx context.Context, id string) error {
	var due int64
	err := s.read(ctx, `SELECT count(*) FROM api_keys WHERE id = $1 AND last_used_at <= `+nowMs+` - $2`, id, lastUseEvery.Milliseconds()).
		one(&due)
	if err == nil && due > 0 {
		err = s.db.doLease(ctx, func(t *tx) error {
			_, err := t.exec(`UPDATE api_keys SET last_used_at = `+nowMs+` WHERE id = $1 AND last_used_at <= `+nowMs+` - $2`, id,
				lastUseEvery.Milliseconds())
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("store: note the use of a key: %w", err)
	}
	return nil
}

// Standing is what a session stands on: a key by its id, or an owner, and perhaps a token, of an identity provider.
type Standing struct{ Key, Owner, Token string }

// Blocked says of each whether it is refused by now: a key that does not hold any more (or never was), an owner or a token
// that is blocked.
func (s *Store) Blocked(ctx context.Context, all []Standing) ([]bool, error) {
	var keys, owners, tokens []string
	for _, one := range all {
		if one.Key != "" {
			keys = append(keys, one.Key)
		}
		owners = append(owners, one.Owner)
		if one.Token != "" {
			tokens = append(tokens, one.Token)
		}
	}
	k, errK := json.Marshal(keys)
	o, errO := json.Marshal(owners)
	n, errN := json.Marshal(tokens)
	if err := errors.Join(errK, errO, errN); err != nil {
		return nil, fmt.Errorf("store: read standings: %w", err)
	}
	if keys == nil {
		k = []byte("[]")
	}
	if tokens == nil {
		n = []byte("[]")
	}
	holding, owner, token := map[string]bool{}, map[string]bool{}, map[string]bool{}
	err := s.read(ctx, `
SELECT 'key', k.id FROM api_keys k WHERE k.id IN (SELECT value FROM `+jsonEach+`($1)) AND `+holds+`
UNION ALL
SELECT kind, value FROM blocks WHERE kind = 'owner' AND value IN (SELECT value FROM `+jsonEach+`($2))
UNION ALL
SELECT kind, value FROM blocks WHERE kind = 'token' AND value IN (SELECT value FROM `+jsonEach+`($3))`,
		string(k), string(o), string(n)).each(func(scan scan) error {
		var kind, value string
		err := scan(&kind, &value)
		map[string]map[string]bool{"key": holding, "owner": owner, "token": token}[kind][value] = true
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: read standings: %w", err)
	}
	blocked := make([]bool, len(all))
	for i, one := range all {
		blocked[i] = owner[one.Owner] || one.Token != "" && token[one.Token] || one.Key != "" && !holding[one.Key]
	}
	return blocked, nil
}

// Block is who is refused whatever they show.
type Block struct {
	Kind      string // "owner" or "token"
	Value     string // the owner, or the token's jti
	Reason    string
	CreatedBy string
	CreatedAt time.Time
}

// Block refuses an owner or a token from now on. Blocking again changes nothing.
func (s *Store) Block(ctx context.Context, kind, value, reason string, by Act) (Block, error) {
	b := Block{Kind: kind, Value: value}
	err := s.db.do(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO blocks (kind, value, reason, created_by, created_at) VALUES ($1, $2, $3, $4, `+nowMs+`)
ON CONFLICT (kind, value) DO NOTHING`, kind, value, reason, storable(by.Actor))
		if err == nil && n > 0 {
			err = t.audit(by, "block.create", kind+" "+value, reason)
		}
		if err != nil {
			return err
		}
		var at int64
		err = t.one(`SELECT reason, created_by, created_at FROM blocks WHERE kind = $1 AND value = $2`, []any{kind, value},
			&b.Reason, &b.CreatedBy, &at)
		b.CreatedAt = instant(at)
		return err
	})
	if err != nil {
		return Block{}, fmt.Errorf("store: block: %w", err)
	}
	return b, nil
}

// Unblock takes a block back, or gives ErrNotFound.
func (s *Store) Unblock(ctx context.Context, kind, value string, by Act) error {
	err := s.db.do(ctx, func(t *tx) error {
		n, err := t.exec(`DELETE FROM blocks WHERE kind = $1 AND value = $2`, kind, value)
		if err == nil && n == 0 {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return t.audit(by, "block.delete", kind+" "+value, "")
	})
	if missing(err) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("store: unblock: %w", err)
	}
	return nil
}

// Blocks gives at most 1000 blocks, newest first.
func (s *Store) Blocks(ctx context.Context) ([]Block, error) {
	var all []Block
	err := s.read(ctx, `SELECT kind, value, reason, created_by, created_at FROM blocks ORDER BY created_at DESC, value LIMIT 1000`).
		each(func(scan scan) error {
			var b Block
			var at int64
			err := scan(&b.Kind, &b.Value, &b.Reason, &b.CreatedBy, &at)
			b.CreatedAt = instant(at)
			all = append(all, b)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("store: list blocks: %w", err)
	}
	return all, nil
}

// Ticket is what its maker may do, for whoever shows it first.
type Ticket struct {
	Owner     string
	Scopes    []string
	Operation string    // the only operation it is for; "" for any
	Session   Standing  // what it was made with: it ends with that
	Until     time.Time // when that ends by itself; zero: never
}

// CreateTicket keeps a ticket under the SHA-256 of it for as long as life says, and gives when it ends.
func (s *Store) CreateTicket(ctx context.Context, digest string, t Ticket, life time.Duration) (time.Time, error) {
	session, err := json.Marshal(t.Session)
	if err != nil {
		return time.Time{}, fmt.Errorf("store: create ticket: %w", err)
	}
	until := int64(0)
	if !t.Until.IsZero() {
		until = t.Until.UnixMilli()
	}
	var expires int64
	err = s.db.do(ctx, func(x *tx) error {
		if _, err := x.exec(`DELETE FROM tickets WHERE expires_at <= ` + nowMs); err != nil {
			return err
		}
		return x.one(`INSERT INTO tickets (digest, owner, scopes, operation, session, until, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, `+nowMs+` + $7) RETURNING expires_at`,
			[]any{digest, t.Owner, strings.Join(t.Scopes, " "), t.Operation, string(session), until, life.Milliseconds()}, &expires)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("store: create ticket: %w", err)
	}
	return instant(expires), nil
}

// TakeTicket gives a ticket that has not ended to the first who asks; to everybody else ErrNotFound.
func (s *Store) TakeTicket(ctx context.Context, digest string) (Ticket, error) {
	var t Ticket
	err := s.db.do(ctx, func(x *tx) error {
		var scopes, session string
		var until, live int64
		err := x.one(`DELETE FROM tickets WHERE digest = $1 RETURNING owner, scopes, operation, session, until,
 CASE WHEN expires_at > `+nowMs+` THEN 1 ELSE 0 END`, []any{digest}, &t.Owner, &scopes, &t.Operation, &session, &until, &live)
		if err != nil {
			return err
		}
		if live == 0 {
			return ErrNotFound
		}
		t.Scopes, t.Until = strings.Fields(scopes), instant(until)
		return json.Unmarshal([]byte(session), &t.Session)
	})
	if err != nil {
		if missing(err) || errors.Is(err, ErrNotFound) {
			err = ErrNotFound
		}
		return Ticket{}, fmt.Errorf("store: take ticket: %w", err)
	}
	return t, nil
}
