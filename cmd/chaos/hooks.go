package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/webhook"
)

// receiver is what the webhooks of all owners lead to: one server in this process that fails now and then, as such do.
type receiver struct {
	c       *chaos
	address string
	network string      // that it is in, as --webhook-network takes it
	calm    atomic.Bool // it does not fail any more
	hooks   []*hook
	failed  atomic.Int64
}

// hook is one webhook and what has come for it.
type hook struct {
	id, owner string
	key       []byte
	events    []string
	all       bool // of operations that do not name it too

	mu  sync.Mutex
	got map[string]*message // by webhook-id
}

// message is one delivery.
type message struct {
	body  string
	came  int64 // how often it was there in whole
	taken bool  // the receiver has answered with 200
}

// hookTimeout bounds an attempt. Who dies in one holds it up twice as long.
const hookTimeout = time.Second

// newReceiver starts the server. The webhooks themselves are made by subscribe, once there is a process to make them.
func newReceiver(c *chaos) (*receiver, error) {
	r := &receiver{c: c, network: "127.0.0.0/8"}
	host := "127.0.0.1"
	if c.machines != nil {
		host, r.network = c.machines.here(), c.machines.subnet+"0/24"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	r.address = listener.Addr().String()
	server := &http.Server{Handler: r, ReadTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until it is closed
	c.host.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return r, nil
}

// subscribe makes a webhook for each owner, as users do: one is told of everything, one of what did not succeed, and one of
// the operations alone that name it.
func (r *receiver) subscribe(ctx context.Context) error {
	for i, owner := range r.c.owners {
		h := &hook{owner: owner, events: []string{"completed", "failed", "cancelled"}, all: i > 0 || len(r.c.owners) == 1, got: map[string]*message{}}
		if i == 1 {
			h.events = h.events[1:]
		}
		body, err := json.Marshal(map[string]any{"url": "http://" + r.address + "/" + owner, "events": h.events, "all": h.all})
		if err != nil {
			return err
		}
		p := r.c.processes[0]
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+"/v1/webhooks", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		var made struct {
			ID     string
			Secret secret.Text
		}
		if err := p.ask(req, r.c.keys[owner], &made); err != nil {
			return fmt.Errorf("make a webhook for %s: %w", owner, err)
		}
		h.id = made.ID
		if h.key, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(made.Secret.Reveal(), "whsec_")); err != nil {
			return err
		}
		r.hooks = append(r.hooks, h)
	}
	return nil
}

// of is an owner's.
func (r *receiver) of(owner string) *hook {
	return r.hooks[slices.IndexFunc(r.hooks, func(h *hook) bool { return h.owner == owner })]
}

// asked reports whether it is to be told of such an end of an operation that names this webhook, or none.
func (h *hook) asked(named string, end event.Type) bool {
	return (h.all || named == h.id) && slices.Contains(h.events, string(end))
}

// delivery is the id under which it is told of an operation.
func (h *hook) delivery(operation string) string {
	return "msg_" + strings.TrimPrefix(operation, "op_") + "_" + strings.TrimPrefix(h.id, "whk_")
}

// ServeHTTP takes a delivery, or fails: by the seed one in four does not get through at its first attempt.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 64<<10))
	if err != nil {
		return // whoever sent it has died
	}
	id := req.Header.Get("Webhook-Id")
	at := slices.IndexFunc(r.hooks, func(h *hook) bool { return "/"+h.owner == req.URL.Path })
	if at < 0 || req.Method != http.MethodPost {
		r.c.violate("a delivery came as %s of %s, where no webhook leads to", req.Method, req.URL.Path)
		return
	}
	h := r.hooks[at]
	if wrong := h.unsigned(id, req.Header, body); wrong != "" {
		r.c.violate("delivery %q of %s's webhook: %s", id, h.owner, wrong)
	}
	h.mu.Lock()
	m := h.got[id]
	if m == nil {
		m = &message{body: string(body)}
		h.got[id] = m
	}
	m.came++
	first, changed := m.came == 1, m.body != string(body)
	h.mu.Unlock()
	if changed {
		r.c.violate("delivery %s of %s's webhook was %s and is now %s", id, h.owner, m.body, body)
	}
	if first && !r.calm.Load() && r.fails(w, req, id) {
		r.failed.Add(1)
		return
	}
	h.mu.Lock()
	m.taken = true
	h.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

// unsigned says what is wrong with the signature, or nothing (Standard Webhooks 1.0).
func (h *hook) unsigned(id string, header http.Header, body []byte) string {
	stamp := header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Sprintf("its time is %q", stamp)
	}
	sum := hmac.New(sha256.New, h.key)
	fmt.Fprintf(sum, "%s.%s.%s", id, stamp, body)
	if want := "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil)); header.Get("Webhook-Signature") != want {
		return fmt.Sprintf("its signature is %q, want %q", header.Get("Webhook-Signature"), want)
	}
	return ""
}

// fails answers as a receiver that is not well, and reports whether it did.
func (r *receiver) fails(w http.ResponseWriter, req *http.Request, id string) bool {
	sum := fnv.New64a()
	fmt.Fprint(sum, r.c.cfg.seed, id)
	switch sum.Sum64() % 16 {
	case 0:
		w.WriteHeader(http.StatusInternalServerError)
	case 1: // to another one, which must not be told
		http.Redirect(w, req, "/"+r.hooks[len(r.hooks)-1].owner+"?from="+id, http.StatusTemporaryRedirect)
	case 2: // too late
		pause(req.Context(), hookTimeout*3/2)
	case 3:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	default:
		return false
	}
	return true
}

// promised is after how many attempts a delivery waits how long at most, as docs/api.md says it: a fifth more or less.
var promised = []time.Duration{0, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}

// mostAttempts is more than a delivery can come to in a day.
const mostAttempts = 20

// drain waits, with a receiver that is well, until every delivery has ended. What waits after a failed attempt, as long as it may, is
// brought forward: the pauses grow to hours.
func (r *receiver) drain(ctx context.Context) {
	r.calm.Store(true)
	least := math.MaxInt
	for late := time.Now().Add(r.c.cfg.patience); ; {
		left, err := r.pending(ctx)
		switch {
		case err == nil && len(left) == 0:
			return
		case err == nil && len(left) < least:
			least, late = len(left), time.Now().Add(r.c.cfg.patience)
		}
		if time.Now().After(late) {
			r.c.violate("deliveries to webhooks that do not end: %v, %v", left, err)
			return
		}
		if !pause(ctx, 50*time.Millisecond) {
			return
		}
	}
}

// pending are the deliveries that have not ended. Those in a pause between two attempts are due now.
func (r *receiver) pending(ctx context.Context) (ids []string, err error) {
	now := time.Now().Add(r.c.skew)
	rows, err := r.c.db.QueryContext(ctx, `SELECT id, attempts, due_at FROM webhook_deliveries WHERE state = 'pending'`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		var attempts, due int64
		if err := rows.Scan(&id, &attempts, &due); err != nil {
			return nil, err
		}
		most := max(promised[min(attempts, int64(len(promised)-1))]*6/5, 2*hookTimeout)
		if wait := time.UnixMilli(due).Sub(now); wait > most+5*time.Second {
			r.c.violate("delivery %s is due in %v after %d attempts, and may be in %v at most", id, wait, attempts, most)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil || len(ids) == 0 {
		return ids, err
	}
	_, err = r.c.db.ExecContext(ctx, `UPDATE webhook_deliveries SET due_at = $1 WHERE state = 'pending' AND due_at > $2`,
		now.UnixMilli(), now.Add(2*hookTimeout+time.Second).UnixMilli())
	return ids, err
}

// told is what a webhook must be told of an operation, if it asked for that.
type toldOf struct {
	owner, named string
	end          event.Type
	body         string
	deleted      bool // then it may have been told
}

// check compares what has come with the operations in SQL and with what is known of those that were deleted: each webhook that asked
// for an end was told of it, at least once and under one id, and nobody of anything else.
func (r *receiver) check(ctx context.Context, all map[string]kept) {
	want, err := r.wanted(ctx, all)
	if err != nil {
		r.c.violate("what webhooks must be told of: %v", err)
		return
	}
	for _, h := range r.hooks {
		for id, m := range h.got {
			var got webhook.Message
			if err := json.Unmarshal([]byte(m.body), &got); err != nil {
				r.c.violate("delivery %s of %s's webhook: %v in %s", id, h.owner, err, m.body)
				continue
			}
			op, there := want[got.Data.OperationID]
			switch {
			case !there:
				r.c.violate("%s's webhook was told of %s, which nobody knows", h.owner, got.Data.OperationID)
			case op.owner != h.owner:
				r.c.violate("I11: %s's webhook was told of %s, which is %s's", h.owner, got.Data.OperationID, op.owner)
			case !h.asked(op.named, op.end):
				r.c.violate("%s's webhook was told of %s, which it had not asked for: %s", h.owner, got.Data.OperationID, m.body)
			case id != h.delivery(got.Data.OperationID):
				r.c.violate("%s's webhook was told of %s under the id %s", h.owner, got.Data.OperationID, id)
			case m.body != op.body:
				r.c.violate("delivery %s of %s's webhook was\n  %s\nwant\n  %s", id, h.owner, m.body, op.body)
			}
		}
		for id, op := range want {
			if m := h.got[h.delivery(id)]; op.owner == h.owner && !op.deleted && h.asked(op.named, op.end) && (m == nil || !m.taken) {
				r.c.violate("%s's webhook %s was never told of %s, which has ended as %s, or has never taken it", h.owner, h.id, id, op.end)
			}
		}
		if err := r.checkRows(ctx, h); err != nil {
			r.c.violate("deliveries of %s's webhook: %v", h.owner, err)
		}
	}
}

// checkRows compares what has come with what SQL has of the deliveries.
func (r *receiver) checkRows(ctx context.Context, h *hook) error {
	rows, err := r.c.db.QueryContext(ctx, `SELECT x.id, x.state, x.attempts, x.status FROM webhooks w LEFT JOIN webhook_deliveries x ON x.webhook = w.num WHERE w.id = $1`, h.id)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	there := false
	for rows.Next() {
		there = true
		var id, state *string
		var attempts, status *int64
		if err := rows.Scan(&id, &state, &attempts, &status); err != nil {
			return err
		}
		if id == nil {
			continue // it has none
		}
		m := h.got[*id]
		if m == nil {
			m = &message{}
		}
		if *state != "delivered" || *status != http.StatusOK || !m.taken || m.came > *attempts || *attempts > mostAttempts {
			r.c.violate("delivery %s of %s's webhook is %s with status %d after %d attempts; it came %d times, taken: %v", *id, h.owner, *state, *status,
				*attempts, m.came, m.taken)
		}
	}
	if !there {
		r.c.violate("%s's webhook %s is gone", h.owner, h.id)
	}
	return rows.Err()
}

// wanted is what there is to tell, by operation.
func (r *receiver) wanted(ctx context.Context, all map[string]kept) (map[string]toldOf, error) {
	want := map[string]toldOf{}
	add := func(id, document, name, strategy string, was kept, named string, deleted bool) error {
		if len(was.events) == 0 {
			return fmt.Errorf("%s has no events", id)
		}
		last := was.events[len(was.events)-1]
		body, err := json.Marshal(webhook.Message{Type: "operation." + string(last.Type), Timestamp: last.Time,
			Data: webhook.MessageData{OperationID: id, DocumentID: document, Name: name, Strategy: strategy, Event: last}})
		want[id] = toldOf{was.owner, named, last.Type, string(body), deleted}
		return err
	}
	named := map[string]string{}
	for _, t := range r.c.load.tickets {
		named[t.op.ID] = t.hook
		if t.deleted {
			if err := add(t.op.ID, t.op.DocumentID, t.op.Name, t.op.Strategy, all[t.op.ID], t.hook, true); err != nil {
				return nil, err
			}
		}
	}
	rows, err := r.c.db.QueryContext(ctx, `SELECT o.id, d.id, o.name, o.strategy FROM operations o JOIN documents d ON d.num = o.document`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, document, name, strategy string
		err := rows.Scan(&id, &document, &name, &strategy)
		if err == nil {
			err = add(id, document, name, strategy, all[id], named[id], name == sampleName) // that one may have ended before there were webhooks
		}
		if err != nil {
			return nil, err
		}
	}
	return want, rows.Err()
}

// deliveries is how many there were, and how often one came again.
func (r *receiver) deliveries() (n, again int64) {
	for _, h := range r.hooks {
		for _, m := range h.got {
			n++
			again += m.came - 1
		}
	}
	return n, again
}
