package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"chunkstream/client"
)

// local is whom everybody is on loopback, and whose the processes' own key is elsewhere.
const local = "local"

// others are owners with a key each. One process on loopback has no use for keys: there everything is of one owner.
var others = []string{"red", "blue"}

// keyed reports whether processes let nobody in without a key.
func (c config) keyed() bool { return c.store != "sqlite" || c.redis }

// limited reports whether requests are counted by owner, in Redis: never so few that one is refused for long. Where completions
// or what is refused of itself are measured they are not.
func (c config) limited() bool { return c.redis && c.outage == 0 && c.measure != "overload" }

// invite makes keys for all owners, as an administrator does it, and has them use every web process.
func (c *chaos) invite(ctx context.Context) error {
	c.owners = []string{local}
	if !c.cfg.keyed() {
		return nil
	}
	for _, owner := range others {
		body, err := json.Marshal(map[string]string{"owner": owner})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.processes[0].address+"/v1/keys", bytes.NewReader(body))
		if err != nil {
			return err
		}
		var made struct{ Key string }
		req.Header.Set("Content-Type", "application/json")
		if err := c.processes[0].ask(req, chaosKey, &made); err != nil {
			return fmt.Errorf("make a key for %s: %w", owner, err)
		}
		for _, p := range c.processes {
			if err := p.as(owner, made.Key); err != nil {
				return err
			}
		}
		c.owners, c.keys[owner] = append(c.owners, owner), made.Key
	}
	c.keys[local] = chaosKey
	return nil
}

// ask makes a request that package client does not have, with a key unless that is empty.
func (p *process) ask(req *http.Request, key string, answer any) error {
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		problem := client.Problem{}
		_ = json.Unmarshal(body, &problem) // what is no problem in JSON has its status all the same
		problem.Status = resp.StatusCode
		return &problem
	}
	return json.Unmarshal(body, answer)
}

// trespass has another owner ask for a ticket's operation or document, in one of all the ways there are. For that owner there
// must be none.
func (l *load) trespass(ctx context.Context, rng *rand.Rand, t *ticket) {
	if len(l.c.owners) < 2 {
		return
	}
	at := rng.IntN(len(l.c.owners))
	if l.c.owners[at] == t.owner {
		at = (at + 1) % len(l.c.owners)
	}
	whose := l.c.owners[at]
	id := t.op.ID
	ways := []struct {
		what string
		do   func(context.Context, *client.Client) error
	}{
		{"the state", func(ctx context.Context, c *client.Client) error { _, err := c.Operation(ctx, id, 0); return err }},
		{"a cancel", func(ctx context.Context, c *client.Client) error { _, err := c.Cancel(ctx, id); return err }},
		{"a retry", func(ctx context.Context, c *client.Client) error { _, err := c.Retry(ctx, id); return err }},
		{"the chunks", func(ctx context.Context, c *client.Client) error {
			for _, err := range c.Chunks(ctx, id) {
				return err
			}
			return nil
		}},
		{"the events over ws", func(ctx context.Context, c *client.Client) error {
			for _, err := range c.Watch(ctx, id, 0) {
				return err
			}
			return nil
		}},
		{"the events over sse", func(ctx context.Context, c *client.Client) error {
			for _, err := range c.WatchSSE(ctx, id, 0) {
				return err
			}
			return nil
		}},
		{"the document", func(ctx context.Context, c *client.Client) error {
			_, err := c.Document(ctx, t.op.DocumentID)
			return err
		}},
		{"the text", func(ctx context.Context, c *client.Client) error {
			text, err := c.DocumentText(ctx, t.op.DocumentID)
			if err != nil {
				return err
			}
			return text.Close()
		}},
		{"a deletion", func(ctx context.Context, c *client.Client) error { return c.DeleteDocument(ctx, t.op.DocumentID) }},
	}
	way := ways[rng.IntN(len(ways))]
	refused, ok := l.request(ctx, rng, whose, way.do)
	l.trespasses.Add(1)
	if ok || refused != nil && refused.Status != http.StatusNotFound {
		l.c.violate("I11: %s asked for %s of %s, which is %s's: %v", whose, way.what, id, t.owner, refused)
	}
}

// gone reports whether a problem says that there is nothing of that name.
func gone(err error) bool {
	p := (*client.Problem)(nil)
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}
