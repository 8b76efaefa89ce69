package main

import (
	"context"
	"sync"
)

// outageClients is how many documents are in flight meanwhile: few, so that what they wait for is not each other.
const outageClients = 4

// withoutRedis measures how long it takes from a submission until a watcher sees the operation's end, while nothing is broken,
// and then while Redis is away.
func (c *chaos) withoutRedis(ctx context.Context) {
	c.complete(ctx, withRedis)
	c.redis.Kill()
	c.complete(ctx, absentRedis)
	c.redis.Start()
	c.whenReady(ctx, redisBack)
}

// complete has documents done, one after the other by each of a few clients, and measures each.
func (c *chaos) complete(ctx context.Context, what string) {
	during, end := context.WithTimeout(ctx, c.cfg.outage)
	defer end()
	before := len(c.load.tickets)
	var all sync.WaitGroup
	for range outageClients {
		all.Go(func() {
			for during.Err() == nil {
				c.load.one(ctx, c.load.next.Add(1)-1)
			}
		})
	}
	all.Wait()
	for _, t := range c.load.tickets[before:] {
		if w := t.watches[0]; w.ended && t.cancelled == "" {
			c.measured(what, w.at.Sub(t.began))
		}
	}
}
