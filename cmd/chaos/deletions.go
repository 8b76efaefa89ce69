package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"time"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/live"
)

// again has an ended operation run again by hand, under a key, and watched to its end. It gives the ticket of the new one, nil when
// there is none because time is over.
func (l *load) again(ctx context.Context, rng *rand.Rand, t *ticket) *ticket {
	r := &ticket{owner: t.owner, key: "again-" + t.key, text: t.text, own: t.own, fails: t.fails, hook: t.hook, began: time.Now(), retryOf: t.op.ID}
	for range 1 + rng.IntN(2) { // the second time under the same key
		var op client.Operation
		refused, ok := l.demand(ctx, rng, func(ctx context.Context, p *process) (err error) {
			op, err = r.history.record(asked{"submit", "a retry of " + t.op.ID}, func() (op client.Operation, err error) {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+"/v1/operations/"+t.op.ID+"/retry", nil)
				if err != nil {
					return op, err
				}
				req.Header.Set("Idempotency-Key", r.key)
				err = p.ask(req, l.c.keys[t.owner], &op)
				return op, err
			})
			return err
		})
		switch {
		case refused != nil:
			l.c.violate("a retry of %s, which has ended, was refused: %v", t.op.ID, refused)
			return nil
		case !ok:
			return nil
		case op.RetryOf != t.op.ID || op.DocumentID != t.op.DocumentID:
			l.c.violate("a retry of %s on %s is one of %q on %s", t.op.ID, t.op.DocumentID, op.RetryOf, op.DocumentID)
		case r.op.ID != "" && r.op.ID != op.ID:
			l.c.violate("I10: key %s of %s gave %s and %s", r.key, r.owner, r.op.ID, op.ID)
		}
		r.op = op
	}
	l.mu.Lock()
	l.tickets = append(l.tickets, r)
	l.mu.Unlock()
	v := &watch{over: "ws"}
	r.watches = append(r.watches, v)
	l.watch(ctx, rng, r, v)
	l.retried.Add(1)
	return r
}

// answered reports whether every submission under the ticket's key has got an answer. One that has not may yet be carried out, by
// a process that is frozen with it, and make what was deleted anew.
func (t *ticket) answered() bool {
	t.history.mu.Lock()
	defer t.history.mu.Unlock()
	for _, call := range t.history.calls {
		if call.Input.(asked).what == "submit" && call.Return == unknown {
			return false
		}
	}
	return true
}

// remove deletes the document of tickets that have ended, all there are on it, and keeps what SQL has of their events. From then on
// it must be gone, whichever process is asked.
func (l *load) remove(ctx context.Context, rng *rand.Rand, all ...*ticket) {
	first := all[0]
	for _, t := range all {
		for t.kept == nil { // the database may be away
			events, err := l.c.eventsOf(ctx, t.op.ID)
			if err == nil {
				t.kept = events
			} else if !pause(ctx, 20*time.Millisecond) {
				return
			}
		}
	}
	unanswered := false
	refused, ok := l.request(ctx, rng, first.owner, func(ctx context.Context, c *client.Client) error {
		err := c.DeleteDocument(ctx, first.op.DocumentID)
		if unanswered && gone(err) {
			return nil // the one before was carried out
		}
		unanswered = true
		return err
	})
	if refused != nil {
		l.c.violate("deleting %s, on which nothing runs, was refused: %v", first.op.DocumentID, refused)
	}
	if !ok {
		return
	}
	for _, t := range all {
		t.deleted = true
		refused, ok := l.request(ctx, rng, t.owner, func(ctx context.Context, c *client.Client) error {
			_, err := c.Operation(ctx, t.op.ID, 0)
			return err
		})
		if ok || refused != nil && refused.Status != http.StatusNotFound {
			l.c.violate("%s is there after it was deleted: %v", t.op.ID, refused)
		}
	}
	l.deleted.Add(1)
}

// eventsOf are an operation's events.
func (c *chaos) eventsOf(ctx context.Context, id string) (all []event.Event, err error) {
	rows, err := c.db.QueryContext(ctx, selectEvents+` WHERE o.id = $1 ORDER BY e.seq`, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		_, e, err := scanEvent(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

const selectEvents = `SELECT o.id, o.owner, e.seq, e.type, e.at, CAST(e.data AS TEXT)
  FROM operations o JOIN operation_events e ON e.operation = o.num`

func scanEvent(scan func(...any) error) (owner string, e event.Event, err error) {
	var data string
	var at int64
	if err := scan(&e.OperationID, &owner, &e.Seq, &e.Type, &at, &data); err != nil {
		return "", e, err
	}
	e.Time = event.Millis(at)
	if err := json.Unmarshal([]byte(data), &e.Data); err != nil {
		return "", e, fmt.Errorf("event %d of %s: %w", e.Seq, e.OperationID, err)
	}
	return owner, e, nil
}

// lastDeletions is how many documents are deleted when nothing is broken any more: of these nothing may be left in Redis either.
// What is deleted while Redis is away, or by a process that dies, goes there by its time to live.
const lastDeletions = 5

// empty deletes the last documents and waits until all that was deleted is gone, piece by piece, for as long as it gets less.
func (c *chaos) empty(ctx context.Context) {
	rng := rand.New(rand.NewPCG(c.cfg.seed, 700))
	again := map[string]*ticket{}
	for _, t := range c.load.tickets {
		if t.retryOf != "" {
			again[t.retryOf] = t
		}
	}
	var ids []string
	for _, t := range c.load.tickets {
		if len(ids) >= lastDeletions {
			break
		}
		if r := again[t.op.ID]; r == nil && t.retryOf == "" && t.own && !t.deleted && t.answered() {
			c.load.remove(ctx, rng, t)
			ids = append(ids, t.op.ID)
		}
	}
	least := int64(math.MaxInt64)
	for late := time.Now().Add(c.cfg.patience); ; {
		var left int64
		err := c.db.QueryRowContext(ctx, `SELECT count(*) FROM documents WHERE state = 'deleting'`).Scan(&left)
		what := fmt.Sprintf("%d documents, %v", left, err)
		if err == nil && left == 0 {
			what = c.remains(ctx, ids)
		}
		if err == nil && left < least {
			least, late = left, time.Now().Add(c.cfg.patience)
		}
		switch {
		case what == "":
			return
		case time.Now().After(late):
			c.violate("I12: of what was deleted there is left: %s", what)
			return
		case !pause(ctx, 100*time.Millisecond):
			return
		}
	}
}

// remains says what is left of documents that were deleted: in SQL of any, in Redis of those whose operations are named.
func (c *chaos) remains(ctx context.Context, ids []string) string {
	for _, t := range c.load.tickets {
		if !t.deleted {
			continue
		}
		var operations, documents, keys, deliveries int64
		err := c.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM operations WHERE id = $1), (SELECT count(*) FROM documents WHERE id = $2),
  (SELECT count(*) FROM idempotency_keys WHERE owner = $3 AND key = $4), (SELECT count(*) FROM webhook_deliveries WHERE id = $5)`,
			t.op.ID, t.op.DocumentID, t.owner, t.key, c.receiver.of(t.owner).delivery(t.op.ID)).Scan(&operations, &documents, &keys, &deliveries)
		if err != nil || operations+documents+keys+deliveries > 0 {
			return fmt.Sprintf("%s: %d operations, %d documents, %d keys, %d deliveries, %v", t.op.ID, operations, documents, keys, deliveries, err)
		}
	}
	for _, id := range ids {
		for _, key := range []string{live.OperationKey(id), live.StreamKey(id)} {
			if c.redis != nil && c.redisNumber(`return redis.call('EXISTS', '`+key+`')`) > 0 {
				return "key " + key + " of Redis"
			}
		}
	}
	return ""
}
