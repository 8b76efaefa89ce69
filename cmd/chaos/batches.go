package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"chunkstream/client"
)

// batch is documents that were submitted together. Its members are tickets like all others; how each was cut, watched and told of is
// checked as theirs is.
type batch struct {
	owner, key, id string
	body           []byte
	members        []*ticket // in order
}

// batchState is what the API says of one.
type batchState struct {
	ID          string
	Total, Done int
	Statuses    map[string]int
	BytesTotal  int64 `json:"bytes_total"`
	BytesDone   int64 `json:"bytes_done"`
	Chunks      int64
	Data        []client.Operation
}

// newBatch draws one.
func (l *load) newBatch(rng *rand.Rand, n int64) (*batch, error) {
	b := &batch{owner: l.c.owners[n%int64(len(l.c.owners))], key: fmt.Sprint("batch-", n)}
	var documents []map[string]any
	for i := range 2 + rng.IntN(4) {
		text := l.texts[rng.IntN(len(l.texts))]
		if len(text) > 64<<10 {
			text = strings.ToValidUTF8(text[:4<<10], "?")
		}
		t := &ticket{owner: b.owner, key: fmt.Sprintf("%s, document %d", b.key, i), own: rng.IntN(2) == 0, fails: rng.IntN(12) == 0, began: time.Now()}
		w := l.ways[rng.IntN(len(l.ways))]
		if t.fails {
			w, text = tooMuch, strings.Repeat(text+"\n", 1+doomed/len(text))
		}
		if t.own {
			text = fmt.Sprintf("document %d of batch %d\n", i, n) + text
		}
		t.text = text
		config := map[string]any{}
		for name := range w.settings {
			config[name] = w.settings.Get(name)
			if number, err := strconv.Atoi(w.settings.Get(name)); err == nil {
				config[name] = number
			}
		}
		documents = append(documents, map[string]any{"text": text, "strategy": w.strategy, "config": config})
		b.members = append(b.members, t)
	}
	whole := map[string]any{"documents": documents}
	if rng.IntN(4) == 0 {
		hook := l.c.receiver.of(b.owner).id
		for _, t := range b.members {
			t.hook = hook
		}
		whole["webhook"] = hook
	}
	var err error
	b.body, err = json.Marshal(whole)
	return b, err
}

// together submits a batch under a key, has each of its documents watched to its end, and perhaps cancels it, repeats it or deletes one.
func (l *load) together(ctx context.Context, rng *rand.Rand, n int64) {
	b, err := l.newBatch(rng, n)
	if err != nil {
		l.c.violate("%s: %v", b.key, err)
		return
	}
	var other sync.WaitGroup
	var second batchState
	twice, seconded := rng.IntN(3) == 0, false
	if twice {
		other.Go(func() { second, seconded = l.submitBatch(ctx, rand.New(rand.NewPCG(uint64(n), 5)), b) })
	}
	first, ok := l.submitBatch(ctx, rng, b)
	other.Wait()
	if !ok || twice && !seconded {
		return // submitBatch has said why
	}
	b.id = first.ID
	for i, t := range b.members {
		t.op = first.Data[i]
	}
	if twice {
		l.sameBatch(b, second)
	}
	l.mu.Lock()
	l.batches = append(l.batches, b)
	l.tickets = append(l.tickets, b.members...)
	l.mu.Unlock()
	var watching sync.WaitGroup
	for i, t := range b.members {
		v := &watch{over: []string{"ws", "sse"}[(n+int64(i))%2]}
		t.watches = append(t.watches, v)
		watching.Go(func() { l.watch(ctx, rand.New(rand.NewPCG(uint64(n), uint64(30+i))), t, v) })
	}
	if rng.IntN(6) == 0 {
		pause(ctx, time.Duration(rng.IntN(30))*time.Millisecond)
		if all, ok := l.ofBatch(ctx, rng, b, http.MethodPost, "/v1/batches/"+b.id+"/cancel", asked{what: "cancel"}); ok && l.sameBatch(b, all) {
			for i, t := range b.members {
				l.took(t, all.Data[i])
			}
		}
	}
	watching.Wait()
	if ctx.Err() != nil {
		return // the checks find what has not ended
	}
	if all, ok := l.ofBatch(ctx, rng, b, http.MethodGet, "/v1/batches/"+b.id, asked{what: "get"}); ok && l.sameBatch(b, all) {
		sum := batchState{ID: b.id, Total: len(b.members), Statuses: map[string]int{}}
		for _, op := range all.Data {
			sum.Statuses[op.Status]++
			sum.BytesTotal, sum.BytesDone, sum.Chunks = sum.BytesTotal+op.BytesTotal, sum.BytesDone+op.BytesDone, sum.Chunks+op.Chunks
			if op.Final() {
				sum.Done++
			}
		}
		all.Data = nil
		if was, want := fmt.Sprintf("%+v", all), fmt.Sprintf("%+v", sum); was != want || sum.Done != sum.Total {
			l.c.violate("%s, all of which has ended for its watchers, is %s, and its operations come to %s", b.key, was, want)
		}
	}
	if rng.IntN(3) == 0 {
		if again, ok := l.submitBatch(ctx, rng, b); ok {
			l.sameBatch(b, again)
		}
	}
	if t := b.members[rng.IntN(len(b.members))]; t.own && rng.IntN(2) == 0 && t.answered() {
		l.remove(ctx, rng, t)
	}
}

// submitBatch submits until a process has acknowledged all of it.
func (l *load) submitBatch(ctx context.Context, rng *rand.Rand, b *batch) (all batchState, ok bool) {
	l.submitting.Add(1)
	defer l.submitting.Add(-1)
	return l.ofBatch(ctx, rng, b, http.MethodPost, "/v1/batches", asked{what: "submit"})
}

// ofBatch makes a request of a batch until it is answered, and notes it in the history of each member.
func (l *load) ofBatch(ctx context.Context, rng *rand.Rand, b *batch, method, path string, a asked) (all batchState, ok bool) {
	refused, ok := l.demand(ctx, rng, func(ctx context.Context, p *process) error {
		var body []byte
		if a.what == "submit" {
			body = b.body
		}
		req, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if a.what == "submit" {
			req.Header.Set("Idempotency-Key", b.key)
			req.Header.Set("Content-Type", "application/json")
		}
		began := time.Now()
		all = batchState{}
		err = p.ask(req, l.c.keys[b.owner], &all)
		for i, t := range b.members {
			var op client.Operation
			if err == nil && i < len(all.Data) {
				op = all.Data[i]
			}
			if a.what == "submit" {
				a.text = t.text
			}
			t.history.note(began, a, op, err)
		}
		return err
	})
	switch {
	case refused != nil:
		l.c.violate("%s %s of %s was refused: %v", method, path, b.key, refused)
	case !ok:
		l.c.violate("%s %s of %s was never answered", method, path, b.key)
	case all.Total != len(b.members) || len(all.Data) != len(b.members):
		l.c.violate("%s %s of %s has %d operations and says %d, of %d documents", method, path, b.key, len(all.Data), all.Total, len(b.members))
		return all, false
	}
	return all, ok
}

// sameBatch looks whether an answer is of the batch as it was acknowledged.
func (l *load) sameBatch(b *batch, all batchState) bool {
	same := all.ID == b.id
	for i, t := range b.members {
		same = same && all.Data[i].ID == t.op.ID
	}
	if !same {
		l.c.violate("I10: key %s of %s gave %s, and then %+v", b.key, b.owner, b.id, all)
	}
	return same
}

// checkBatches compares what SQL has of batches with what clients were told: each is there once, with its members in their places but
// for those that were deleted, and none besides.
func (c *chaos) checkBatches(ctx context.Context) error {
	rows, err := c.db.QueryContext(ctx, `SELECT b.id, b.owner, p.idx, o.id FROM batches b LEFT JOIN batch_operations p ON p.batch = b.num
  LEFT JOIN operations o ON o.num = p.operation ORDER BY b.num, p.idx`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	there := map[string][]string{}
	for rows.Next() {
		var id, owner string
		var at *int64
		var operation *string
		if err := rows.Scan(&id, &owner, &at, &operation); err != nil {
			return err
		}
		line := owner + ": nothing"
		if at != nil && operation != nil {
			line = fmt.Sprintf("%s: %d is %s", owner, *at, *operation)
		}
		there[id] = append(there[id], line)
	}
	for _, b := range c.load.batches {
		var want []string
		for i, t := range b.members {
			if !t.deleted {
				want = append(want, fmt.Sprintf("%s: %d is %s", b.owner, i, t.op.ID))
			}
		}
		if !slices.Equal(there[b.id], want) {
			c.violate("%s, batch %s, has %q, want %q", b.key, b.id, there[b.id], want)
		}
		delete(there, b.id)
	}
	for id, places := range there {
		c.violate("I10: batch %s is there, and no client was told of it: %q", id, places)
	}
	return rows.Err()
}
