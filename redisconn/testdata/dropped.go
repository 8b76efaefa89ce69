// Package dropped holds calls whose errors go nowhere, and some that are right, for the check that finds the first.
package dropped

import (
	"context"

	"chunkstream/redisconn"
)

func dropped(ctx context.Context, conns *redisconn.Conns, s *redisconn.Script) (err error) {
	c, b, f := conns.Commands, conns.Blocking, conns.Feed
	c.Set(ctx, "revoked:1", "1", 0)                     // dropped
	go c.Incr(ctx, "n")                                 // dropped
	defer c.Del(ctx, "k")                               // dropped
	_, _ = c.Publish(ctx, "ch", "m")                    // dropped
	_, _, _ = c.Get(ctx, "k")                           // dropped
	(c.Ping)(ctx)                                       // dropped
	b.XReadGroup(ctx, "g", "c", "s", 1, 0)              // dropped
	f.Subscribe(ctx, "ch")                              // dropped
	_ = f.Run(ctx, redisconn.FeedHandler{})             // dropped
	reply, _ := c.Run(ctx, s, nil)                      // dropped
	n, _ := reply.Int()                                 // dropped
	_, _ = redisconn.RequireCommands(c)                 // dropped
	func() { c.Transaction(ctx, []string{"k"}, nil) }() // dropped
	if _, err = c.Set(ctx, "k", "v", 0); err != nil || n == 0 {
		return err
	}
	_, err = c.Incr(ctx, "n")
	defer conns.Close()
	defer func() { err = f.Unsubscribe(ctx, "ch") }()
	_ = c.Stats()
	return err
}
