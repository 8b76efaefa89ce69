package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Documents lists the owner's documents, newest first, at most limit of those before the document with the id before, if
// that is not "". A before that is not the owner's gives ErrNotFound.
func (s *Store) Documents(ctx context.Context, owner, before string, limit int) ([]Document, error) {
	num := int64(0)
	if before != "" {
		if err := s.read(ctx, `SELECT num FROM documents WHERE id = $1 AND owner = $2`, before, owner).one(&num); err != nil {
			return nil, found("read cursor", err)
		}
	}
	var docs []Document
	err := s.read(ctx, selectDocument+` WHERE owner = $1 AND state = 'ready' AND ($2 = 0 OR num < $2) ORDER BY num DESC LIMIT $3`,
		owner, num, limit).each(func(scan scan) error {
		row := documentRow{}
		err := scan(row.dest()...)
		docs = append(docs, row.document())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: list documents: %w", err)
	}
	return docs, nil
}

// rangePiece is how much of a text is in memory at once, in bytes.
const rangePiece = 4 * PartBytes

// DocumentRange writes the bytes [from, to) of the document's text to w, piece by piece; they must lie in it. It says what
// DocumentText says.
func (s *Store) DocumentRange(ctx context.Context, owner, id string, from, to int64, w io.Writer) error {
	row := documentRow{}
	err := s.read(ctx, selectDocument+` WHERE owner = $1 AND id = $2 AND state = 'ready'`, owner, id).one(row.dest()...)
	if err != nil {
		return found("read document", err)
	}
	if from < 0 || to > row.bytes || from > to {
		return fmt.Errorf("store: read text: bytes %d to %d of %d", from, to, row.bytes)
	}
	for from < to {
		upTo := min(to, from+rangePiece)
		piece, err := s.text(ctx, row.num, from, upTo)
		if err != nil {
			return fmt.Errorf("store: read text: %w", s.damage(ctx, row.num, id, err))
		}
		if _, err := io.WriteString(w, piece); err != nil {
			return fmt.Errorf("store: write text: %w", err)
		}
		from = upTo
	}
	return nil
}

// StrategyStats is what an owner's operations with one strategy came to.
type StrategyStats struct {
	Strategy                     string
	Operations                   int64 // all, whatever became of them
	Completed, Failed, Cancelled int64
	Bytes, Chunks                int64         // of the completed ones
	P50, P95                     time.Duration // from the first claim to the end, of the completed ones
}

// Statistics counts the owner's operations of the last since by strategy, in the order of their names.
func (s *Store) Statistics(ctx context.Context, owner string, since time.Duration) ([]StrategyStats, error) {
	var all []StrategyStats
	err := s.read(ctx, `
SELECT strategy, count(*), sum(CASE WHEN status = 'completed' THEN 1 ELSE 0 END), sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END),
       sum(CASE WHEN status = 'cancelled' THEN 1 ELSE 0 END), CAST(sum(CASE WHEN status = 'completed' THEN bytes_total ELSE 0 END) AS BIGINT),
       CAST(sum(CASE WHEN status = 'completed' THEN next_index ELSE 0 END) AS BIGINT),
       COALESCE(max(CASE WHEN r = (n + 1) / 2 THEN ms END), 0), COALESCE(max(CASE WHEN r = (n * 95 + 99) / 100 THEN ms END), 0)
  FROM (SELECT o.strategy, o.status, o.bytes_total, o.next_index,
               CASE WHEN o.status = 'completed' THEN o.finished_at - o.started_at END AS ms,
               CASE WHEN o.status = 'completed' THEN row_number() OVER (PARTITION BY o.strategy, o.status ORDER BY o.finished_at - o.started_at) END AS r,
               count(*) OVER (PARTITION BY o.strategy, o.status) AS n
          FROM operations o JOIN documents d ON d.num = o.document
         WHERE o.owner = $1 AND d.state = 'ready' AND o.created_at >= `+nowMs+` - $2) AS each_one
 GROUP BY strategy ORDER BY strategy`, owner, since.Milliseconds()).each(func(scan scan) error {
		var st StrategyStats
		var p50, p95 int64
		err := scan(&st.Strategy, &st.Operations, &st.Completed, &st.Failed, &st.Cancelled, &st.Bytes, &st.Chunks, &p50, &p95)
		st.P50, st.P95 = time.Duration(p50)*time.Millisecond, time.Duration(p95)*time.Millisecond
		all = append(all, st)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: statistics: %w", err)
	}
	return all, nil
}

// Usage is what an owner has at the moment.
type Usage struct {
	Documents, Bytes int64 // of texts
	Unfinished       int64 // operations
}

// Usage counts what the owner has.
func (s *Store) Usage(ctx context.Context, owner string) (Usage, error) {
	var u Usage
	err := s.read(ctx, `SELECT (SELECT count(*) FROM documents WHERE owner = $1 AND state = 'ready'),
 (SELECT CAST(COALESCE(sum(bytes), 0) AS BIGINT) FROM documents WHERE owner = $1 AND state = 'ready'),
 (SELECT count(*) FROM operations WHERE owner = $1 AND finished_at = 0)`, owner).one(&u.Documents, &u.Bytes, &u.Unfinished)
	if err != nil {
		return Usage{}, fmt.Errorf("store: usage: %w", err)
	}
	return u, nil
}

// Configuration is settings of a strategy that an owner has saved.
type Configuration struct {
	ID, Owner            string
	Name                 string
	Strategy             string
	Settings             []byte
	Default              bool  // at most one of an owner's
	Version              int64 // from 1, one more with each change
	CreatedAt, UpdatedAt time.Time
}

// ErrExists: the owner has another one with that name.
var ErrExists = errors.New("there is one with that name")

// ErrChanged: it has another version than the caller has seen.
var ErrChanged = errors.New("it was changed meanwhile")

// ErrTooMany: the owner has as many as there may be.
var ErrTooMany = errors.New("too many")

// MaxConfigurations is how many configurations an owner may have.
const MaxConfigurations = 1000

const selectConfiguration = `SELECT id, owner, name, strategy, settings, standard, version, created_at, updated_at FROM configurations`

func scanConfiguration(scan scan) (c Configuration, err error) {
	var settings string
	var standard, created, updated int64
	err = scan(&c.ID, &c.Owner, &c.Name, &c.Strategy, &settings, &standard, &c.Version, &created, &updated)
	c.Settings, c.Default, c.CreatedAt, c.UpdatedAt = []byte(settings), standard == 1, instant(created), instant(updated)
	return c, err
}

// Configurations gives all of the owner's configurations, by name.
func (s *Store) Configurations(ctx context.Context, owner string) ([]Configuration, error) {
	var all []Configuration
	err := s.read(ctx, selectConfiguration+` WHERE owner = $1 ORDER BY name`, owner).each(func(scan scan) error {
		c, err := scanConfiguration(scan)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: list configurations: %w", err)
	}
	return all, nil
}

// Configuration gives one of the owner's, or ErrNotFound.
func (s *Store) Configuration(ctx context.Context, owner, id string) (c Configuration, err error) {
	missing := true
	err = s.read(ctx, selectConfiguration+` WHERE owner = $1 AND id = $2`, owner, id).each(func(scan scan) (err error) {
		missing = false
		c, err = scanConfiguration(scan)
		return err
	})
	if err == nil && missing {
		err = ErrNotFound
	}
	if err != nil {
		return Configuration{}, fmt.Errorf("store: read configuration: %w", err)
	}
	return c, nil
}

// ConfigurationNamed gives the one of the owner's that has the id, or else the name, or ErrNotFound.
func (s *Store) ConfigurationNamed(ctx context.Context, owner, idOrName string) (c Configuration, err error) {
	missing := true
	err = s.read(ctx, selectConfiguration+` WHERE owner = $1 AND (id = $2 OR name = $2) ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1`,
		owner, idOrName).each(func(scan scan) (err error) {
		missing = false
		c, err = scanConfiguration(scan)
		return err
	})
	if err == nil && missing || errors.Is(err, ErrInvalidText) {
		err = ErrNotFound
	}
	if err != nil {
		return Configuration{}, fmt.Errorf("store: read configuration: %w", err)
	}
	return c, nil
}

// SaveConfiguration makes a configuration when its ID is "", and changes it otherwise: then its Version must be the one in
// the store, else the error is ErrChanged, or ErrNotFound when it is not the owner's. Making one the default takes that from
// the others. ErrExists: another one has the name.
func (s *Store) SaveConfiguration(ctx context.Context, c Configuration) (saved Configuration, err error) {
	id := c.ID
	if id == "" {
		id = newID("cfg_")
	}
	err = s.db.do(ctx, func(t *tx) error {
		var same, all int64
		if err := t.one(`SELECT COALESCE(sum(CASE WHEN name = $2 AND id <> $3 THEN 1 ELSE 0 END), 0), count(*) FROM configurations WHERE owner = $1`,
			[]any{c.Owner, c.Name, id}, &same, &all); err != nil {
			return err
		}
		if same > 0 {
			return ErrExists
		}
		standard := 0
		if c.Default {
			standard = 1
			if _, err := t.exec(`UPDATE configurations SET standard = 0 WHERE owner = $1 AND standard = 1 AND id <> $2`, c.Owner, id); err != nil {
				return err
			}
		}
		if c.ID == "" {
			if all >= MaxConfigurations {
				return ErrTooMany
			}
			_, err := t.exec(`INSERT INTO configurations (id, owner, name, strategy, settings, standard, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, `+nowMs+`, `+nowMs+`)`, id, c.Owner, c.Name, c.Strategy, string(c.Settings), standard)
			if err != nil {
				return err
			}
		} else {
			n, err := t.exec(`UPDATE configurations SET name = $1, strategy = $2, settings = $3, standard = $4, version = version + 1,
 updated_at = `+nowMs+` WHERE id = $5 AND owner = $6 AND version = $7`, c.Name, c.Strategy, string(c.Settings), standard, id, c.Owner, c.Version)
			if err != nil {
				return err
			}
			if n == 0 {
				var there int64
				if err := t.one(`SELECT count(*) FROM configurations WHERE id = $1 AND owner = $2`, []any{id, c.Owner}, &there); err != nil {
					return err
				}
				if there > 0 {
					return ErrChanged
				}
				return ErrNotFound
			}
		}
		return t.each(selectConfiguration+` WHERE id = $1`, []any{id}, func(scan scan) (err error) {
			saved, err = scanConfiguration(scan)
			return err
		})
	})
	if err != nil {
		return Configuration{}, fmt.Errorf("store: save configuration: %w", err)
	}
	return saved, nil
}

// DeleteConfiguration removes one of the owner's, or gives ErrNotFound.
func (s *Store) DeleteConfiguration(ctx context.Context, owner, id string) error {
	err := s.db.do(ctx, func(t *tx) error {
		n, err := t.exec(`DELETE FROM configurations WHERE id = $1 AND owner = $2`, id, owner)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("store: delete configuration: %w", err)
	}
	return nil
}

// SubmittedBatch is operations that were submitted together.
type SubmittedBatch struct {
	ID, Owner, Name string
	CreatedAt       time.Time
	Operations      []Operation // in the order submitted, without those whose document was deleted
}

// CreateBatch keeps the owner's operations, by their ids, together under an id that the caller chose. Where there is one already its
// places stay as they are, and those are filled whose operation was deleted.
func (s *Store) CreateBatch(ctx context.Context, owner, id, name string, operationIDs []string) error {
	err := s.db.do(ctx, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO batches (id, owner, name, created_at) VALUES ($1, $2, $3, `+nowMs+`) ON CONFLICT (id) DO NOTHING`, id, owner, name); err != nil {
			return err
		}
		for i, op := range operationIDs {
			err := t.later(`INSERT INTO batch_operations (batch, idx, operation)
SELECT b.num, $1, o.num FROM batches b, operations o WHERE b.id = $2 AND b.owner = $4 AND o.id = $3 AND o.owner = $4
ON CONFLICT (batch, idx) DO NOTHING`, i, id, op, owner)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: create batch: %w", err)
	}
	return nil
}

// ReplaceInBatch lets an operation of the owner's stand in a batch where another one stood, which then is in none. Nothing
// changes when that one is not there (any more).
func (s *Store) ReplaceInBatch(ctx context.Context, owner, batch, former, operation string) error {
	err := s.db.do(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE batch_operations SET operation = (SELECT num FROM operations WHERE id = $1 AND owner = $2)
 WHERE batch = (SELECT num FROM batches WHERE id = $3 AND owner = $2)
   AND operation = (SELECT num FROM operations WHERE id = $4 AND owner = $2)
   AND EXISTS (SELECT 1 FROM operations WHERE id = $1 AND owner = $2)`, operation, owner, batch, former)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: replace in batch: %w", err)
	}
	return nil
}

// NewBatchID gives an id for CreateBatch.
func NewBatchID() string { return newID("bat_") }

// Batch gives one of the owner's with its operations, or ErrNotFound.
func (s *Store) Batch(ctx context.Context, owner, id string) (SubmittedBatch, error) {
	b := SubmittedBatch{ID: id, Owner: owner}
	var num, at int64
	err := s.read(ctx, `SELECT num, name, created_at FROM batches WHERE id = $1 AND owner = $2`, id, owner).one(&num, &b.Name, &at)
	if err != nil {
		return SubmittedBatch{}, found("read batch", err)
	}
	b.CreatedAt = instant(at)
	b.Operations, err = s.operations(ctx, selectOperation+` JOIN batch_operations bo ON bo.operation = o.num
 WHERE bo.batch = $1 AND o.owner = $2`+visible+` ORDER BY bo.idx`, num, owner)
	if err != nil {
		return SubmittedBatch{}, fmt.Errorf("store: read batch: %w", err)
	}
	return b, nil
}
