package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"chunkstream/event"
	"chunkstream/secret"
)

// Webhook is an address that an owner wants to be told at when operations end.
type Webhook struct {
	ID, Owner   string
	Name        string // for people; may be empty
	URL         string
	Events      []event.Type // the terminal types that it is told of
	Everything  bool         // of all the owner's operations; otherwise of those alone that name it
	CreatedAt   time.Time
	FormerUntil time.Time // until then the secret before the present one signs too; zero: there is none
}

// NewWebhook is what CreateWebhook needs.
type NewWebhook struct {
	Owner, Name, URL string
	Secret           secret.Text // which the deliveries are signed with; it has to be kept as it is
	Events           []event.Type
	Everything       bool
}

// MaxWebhooks is how many webhooks an owner may have.
const MaxWebhooks = 20

// DeliverFor is how long a delivery is tried before it is given up as dead.
const DeliverFor = 24 * time.Hour

// deliveriesKept is how long a delivery is remembered after its end.
const deliveriesKept = 7 * 24 * time.Hour

const selectWebhook = `SELECT w.id, w.owner, w.name, w.url, w.events, w.everything, w.created_at,
       CASE WHEN w.former_until > ` + nowMs + ` THEN w.former_until ELSE 0 END FROM webhooks w`

func scanWebhook(scan scan) (w Webhook, err error) {
	var events string
	var everything, created, former int64
	err = scan(&w.ID, &w.Owner, &w.Name, &w.URL, &events, &everything, &created, &former)
	for _, one := range strings.Fields(events) {
		w.Events = append(w.Events, event.Type(one))
	}
	w.Everything, w.CreatedAt, w.FormerUntil = everything == 1, instant(created), instant(former)
	return w, err
}

// CreateWebhook keeps a new webhook. ErrTooMany: the owner has MaxWebhooks already.
func (s *Store) CreateWebhook(ctx context.Context, n NewWebhook) (w Webhook, err error) {
	events := " "
	for _, one := range n.Events {
		events += string(one) + " "
	}
	everything := 0
	if n.Everything {
		everything = 1
	}
	err = s.db.do(ctx, func(t *tx) error {
		var all int64
		if err := t.one(`SELECT count(*) FROM webhooks WHERE owner = $1`, []any{n.Owner}, &all); err != nil {
			return err
		}
		if all >= MaxWebhooks {
			return ErrTooMany
		}
		id := newID("whk_")
		if _, err := t.exec(`INSERT INTO webhooks (id, owner, name, url, secret, events, everything, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, `+nowMs+`)`, id, n.Owner, n.Name, n.URL, n.Secret.Reveal(), events, everything); err != nil {
			return err
		}
		return t.each(selectWebhook+` WHERE w.id = $1`, []any{id}, func(scan scan) (err error) {
			w, err = scanWebhook(scan)
			return err
		})
	})
	if err != nil {
		return Webhook{}, fmt.Errorf("store: create webhook: %w", err)
	}
	return w, nil
}

// Webhooks gives all of the owner's webhooks, oldest first.
func (s *Store) Webhooks(ctx context.Context, owner string) ([]Webhook, error) {
	var all []Webhook
	err := s.read(ctx, selectWebhook+` WHERE w.owner = $1 ORDER BY w.num`, owner).each(func(scan scan) error {
		w, err := scanWebhook(scan)
		all = append(all, w)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: list webhooks: %w", err)
	}
	return all, nil
}

// Webhook gives one of the owner's, or ErrNotFound.
func (s *Store) Webhook(ctx context.Context, owner, id string) (w Webhook, err error) {
	err = sql.ErrNoRows
	if read := s.read(ctx, selectWebhook+` WHERE w.id = $1 AND w.owner = $2`, id, owner).each(func(scan scan) error {
		w, err = scanWebhook(scan)
		return err
	}); read != nil {
		err = read
	}
	if err != nil {
		return Webhook{}, found("read webhook", err)
	}
	return w, nil
}

// RotateWebhook gives one of the owner's webhooks a new secret, or gives ErrNotFound. The one before it signs too for as
// long as overlap says; one that was before that does not any more.
func (s *Store) RotateWebhook(ctx context.Context, owner, id string, signing secret.Text, overlap time.Duration) (Webhook, error) {
	err := s.db.do(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE webhooks SET former = secret, former_until = `+nowMs+` + $1, secret = $2 WHERE id = $3 AND owner = $4`,
			overlap.Milliseconds(), signing.Reveal(), id, owner)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return Webhook{}, fmt.Errorf("store: rotate webhook: %w", err)
	}
	return s.Webhook(ctx, owner, id)
}

// DeleteWebhook removes one of the owner's webhooks with its deliveries, or gives ErrNotFound. What is under way at the
// moment may still arrive.
func (s *Store) DeleteWebhook(ctx context.Context, owner, id string) error {
	err := s.db.do(ctx, func(t *tx) error {
		var num int64
		err := t.one(`DELETE FROM webhooks WHERE id = $1 AND owner = $2 RETURNING num`, []any{id, owner}, &num)
		if missing(err) {
			return ErrNotFound
		}
		if err == nil {
			_, err = t.exec(`DELETE FROM webhook_deliveries WHERE webhook = $1`, num)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("store: delete webhook: %w", err)
	}
	return nil
}

// tell puts a delivery into the outbox for each webhook that is to be told of the terminal event typ, with which the
// transaction ends the operation. A delivery's id says of what and to whom, so that there is one of each.
// replace, and not LIKE, for which SQLite would prepare the statement again at each call.
func (t *tx) tell(operation string, typ event.Type) error {
	return t.later(`
INSERT INTO webhook_deliveries (id, webhook, operation, owner, due_at, created_at)
SELECT 'msg_' || substr(o.id, 4) || '_' || substr(w.id, 5), w.num, o.num, o.owner, o.finished_at, o.finished_at
  FROM operations o JOIN webhooks w ON w.owner = o.owner AND (w.everything = 1 OR w.num = o.webhook)
 WHERE o.id = $1 AND replace(w.events, $2, '') <> w.events`, operation, " "+string(typ)+" ")
}

// DeliveryState is what has become of a delivery.
type DeliveryState string

// The states of a delivery. The last two are final, but Redeliver makes dead ones pending again.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryDead      DeliveryState = "dead" // given up after DeliverFor, or refused for good
)

// Delivery is the telling of one webhook of one operation's end.
type Delivery struct {
	ID          string // the same at every attempt
	OperationID string
	State       DeliveryState
	Attempts    int64
	Status      int    // HTTP status of the last answer; 0: there was none
	Error       string // why the last attempt failed, in a few words
	CreatedAt   time.Time
	DueAt       time.Time // when it is tried next, while it is pending
	EndedAt     time.Time // zero while it is pending
}

// Deliveries lists those of one of the owner's webhooks, newest first, at most limit, all or in one state, made before the one
// with the id before if that is not "". ErrNotFound: there is no such webhook, or no such before.
func (s *Store) Deliveries(ctx context.Context, owner, webhook string, state DeliveryState, before string, limit int) ([]Delivery, error) {
	var num, last int64
	err := s.read(ctx, `SELECT num FROM webhooks WHERE id = $1 AND owner = $2`, webhook, owner).one(&num)
	if err == nil && before != "" {
		err = s.read(ctx, `SELECT num FROM webhook_deliveries WHERE id = $1 AND webhook = $2`, before, num).one(&last)
	}
	if err != nil {
		return nil, found("list deliveries", err)
	}
	var all []Delivery
	err = s.read(ctx, `
SELECT x.id, o.id, x.state, x.attempts, x.status, x.error, x.created_at, CASE WHEN x.state = 'pending' THEN x.due_at ELSE 0 END, x.ended_at
  FROM webhook_deliveries x JOIN operations o ON o.num = x.operation JOIN documents d ON d.num = o.document
 WHERE x.webhook = $1 AND o.owner = $2 AND ($3 = '' OR x.state = $3) AND ($4 = 0 OR x.num < $4)`+visible+`
 ORDER BY x.num DESC LIMIT $5`, num, owner, string(state), last, limit).each(func(scan scan) error {
		var d Delivery
		var created, due, ended int64
		err := scan(&d.ID, &d.OperationID, &d.State, &d.Attempts, &d.Status, &d.Error, &created, &due, &ended)
		d.CreatedAt, d.DueAt, d.EndedAt = instant(created), instant(due), instant(ended)
		all = append(all, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: list deliveries: %w", err)
	}
	return all, nil
}

// Redeliver lets all dead deliveries of one of the owner's webhooks be tried again, for DeliverFor from now on, and gives
// their number. ErrNotFound: there is no such webhook.
func (s *Store) Redeliver(ctx context.Context, owner, webhook string) (int64, error) {
	var n int64
	err := s.db.do(ctx, func(t *tx) error {
		var num int64
		err := t.one(`SELECT num FROM webhooks WHERE id = $1 AND owner = $2`, []any{webhook, owner}, &num)
		if missing(err) {
			return ErrNotFound
		}
		if err == nil {
			n, err = t.exec(`UPDATE webhook_deliveries SET state = 'pending', ended_at = 0, attempts = 0, due_at = `+nowMs+`, created_at = `+nowMs+`
 WHERE webhook = $1 AND state = 'dead'`, num)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("store: redeliver: %w", err)
	}
	return n, nil
}

// Attempt is a delivery that this process is to try now.
type Attempt struct {
	ID         string
	Owner      string
	URL        string
	Secrets    []secret.Text // to sign with: the present one, and perhaps the one before it
	Number     int64         // of the attempt, from 1
	Event      event.Event
	DocumentID string
	Name       string // of the operation
	Strategy   string

	num, epoch int64
}

const selectDueDelivery = `SELECT o.num FROM webhook_deliveries o
 WHERE o.state = 'pending' AND o.due_at <= ` + nowMs + ` AND o.owner NOT IN (SELECT value FROM ` + jsonEach + `($1))
 ORDER BY o.due_at LIMIT 1`

// ClaimDelivery takes the delivery that has been due for longest, leaving out those of the owners in busy, or gives nil when
// nothing is due. It is nobody else's for as long as lease says; EndDelivery has to come before, or another attempt follows.
func (s *Store) ClaimDelivery(ctx context.Context, lease time.Duration, busy []string) (*Attempt, error) {
	if busy == nil {
		busy = []string{}
	}
	list, err := json.Marshal(busy)
	if err != nil {
		return nil, fmt.Errorf("store: claim delivery: %w", err)
	}
	for {
		// Reading first keeps an empty outbox out of the writer.
		var num int64
		err := s.read(ctx, selectDueDelivery, string(list)).one(&num)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		var a *Attempt
		gone := false
		if err == nil {
			err = s.db.doLease(ctx, func(t *tx) (err error) {
				a, gone, err = t.claimDelivery(lease, string(list))
				return err
			})
		}
		if err != nil {
			return nil, fmt.Errorf("store: claim delivery: %w", err)
		}
		if !gone {
			return a, nil
		}
	}
}

// claimDelivery says with gone that it has removed a delivery that has lost its webhook or its operation.
func (t *tx) claimDelivery(lease time.Duration, busy string) (a *Attempt, gone bool, err error) {
	var num int64
	err = t.one(selectDueDelivery+skipLocked, []any{busy}, &num)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	a = &Attempt{num: num}
	var present, former, typ, data string
	var at int64
	err = t.one(`
SELECT x.id, x.owner, w.url, w.secret, CASE WHEN w.former_until > `+nowMs+` THEN w.former ELSE '' END, x.attempts + 1, x.epoch + 1,
       o.id, d.id, o.name, o.strategy, e.seq, e.type, e.at, e.data
  FROM webhook_deliveries x JOIN webhooks w ON w.num = x.webhook AND w.owner = x.owner
  JOIN operations o ON o.num = x.operation AND o.owner = x.owner JOIN documents d ON d.num = o.document
  JOIN operation_events e ON e.operation = o.num AND e.seq = o.seq
 WHERE x.num = $1 AND o.finished_at > 0`+visible, []any{num}, &a.ID, &a.Owner, &a.URL, &present, &former, &a.Number, &a.epoch,
		&a.Event.OperationID, &a.DocumentID, &a.Name, &a.Strategy, &a.Event.Seq, &typ, &at, &data)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = t.exec(`DELETE FROM webhook_deliveries WHERE num = $1`, num)
		return nil, true, err
	}
	if err != nil {
		return nil, false, err
	}
	a.Secrets = []secret.Text{secret.New(present)}
	if former != "" {
		a.Secrets = append(a.Secrets, secret.New(former))
	}
	a.Event.Type, a.Event.Time = event.Type(typ), event.Millis(at)
	if err := json.Unmarshal([]byte(data), &a.Event.Data); err != nil {
		return nil, false, fmt.Errorf("event %d: %w", a.Event.Seq, err)
	}
	_, err = t.exec(`UPDATE webhook_deliveries SET epoch = epoch + 1, attempts = attempts + 1, due_at = `+nowMs+` + $1 WHERE num = $2`,
		lease.Milliseconds(), num)
	return a, false, err
}

// Outcome is what came of an attempt.
type Outcome struct {
	Delivered bool
	Dead      bool          // no further attempt will do better
	RetryIn   time.Duration // otherwise: until the next attempt
	Status    int           // HTTP status of the answer; 0: there was none
	Error     string        // why it failed, in a few words
}

// EndDelivery writes down what came of an attempt and gives the state that the delivery is in now: one that would be tried
// again after DeliverFor is dead. ErrFenced: its lease was over, and another attempt was begun; nothing was written.
func (s *Store) EndDelivery(ctx context.Context, a *Attempt, o Outcome) (DeliveryState, error) {
	var state DeliveryState
	done := ""
	switch {
	case o.Delivered:
		done = string(DeliveryDelivered)
	case o.Dead:
		done = string(DeliveryDead)
	}
	err := s.db.do(ctx, func(t *tx) error {
		err := t.one(`
UPDATE webhook_deliveries SET status = $1, error = $2, due_at = `+nowMs+` + $3,
       state = CASE WHEN $4 <> '' THEN $4 WHEN created_at + $5 < `+nowMs+` + $3 THEN 'dead' ELSE 'pending' END,
       ended_at = CASE WHEN $4 <> '' OR created_at + $5 < `+nowMs+` + $3 THEN `+nowMs+` ELSE 0 END
 WHERE num = $6 AND epoch = $7 AND state = 'pending' RETURNING state`,
			[]any{o.Status, storable(o.Error), o.RetryIn.Milliseconds(), done, DeliverFor.Milliseconds(), a.num, a.epoch}, &state)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrFenced
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("store: end delivery: %w", err)
	}
	return state, nil
}
