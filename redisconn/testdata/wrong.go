// Package wrong holds what must not compile: each line that ends with "wrong:" must fail, with an error that has the
// parts named there. Without those lines it compiles.
package wrong

import (
	"context"
	"time"

	"chunkstream/redisconn"
)

func needsCommands(*redisconn.Commands) {}
func needsBlocking(*redisconn.Blocking) {}
func needsFeed(*redisconn.Feed)         {}

type service struct {
	commands *redisconn.Commands
	blocking *redisconn.Blocking
	feed     *redisconn.Feed
}

func wrong(ctx context.Context, conns *redisconn.Conns, c *redisconn.Commands, b *redisconn.Blocking, f *redisconn.Feed) {
	needsCommands(c)
	needsBlocking(b)
	needsFeed(f)
	_ = service{conns.Commands, conns.Blocking, conns.Feed}
	_, _, _ = ctx, time.Second, conns

	needsCommands(b)                                 // wrong: *redisconn.Commands | *redisconn.Blocking
	needsCommands(f)                                 // wrong: *redisconn.Commands | *redisconn.Feed
	needsCommands(conns)                             // wrong: *redisconn.Commands | *redisconn.Conns
	needsCommands(*c)                                // wrong: *redisconn.Commands | redisconn.Commands
	needsBlocking(c)                                 // wrong: *redisconn.Blocking | *redisconn.Commands
	needsBlocking(f)                                 // wrong: *redisconn.Blocking | *redisconn.Feed
	needsBlocking(conns)                             // wrong: *redisconn.Blocking | *redisconn.Conns
	needsBlocking(*b)                                // wrong: *redisconn.Blocking | redisconn.Blocking
	needsFeed(c)                                     // wrong: *redisconn.Feed | *redisconn.Commands
	needsFeed(b)                                     // wrong: *redisconn.Feed | *redisconn.Blocking
	needsFeed(conns)                                 // wrong: *redisconn.Feed | *redisconn.Conns
	needsFeed(*f)                                    // wrong: *redisconn.Feed | redisconn.Feed
	_ = service{commands: b}                         // wrong: *redisconn.Commands | *redisconn.Blocking
	_ = (*redisconn.Commands)(b)                     // wrong: *redisconn.Commands | *redisconn.Blocking
	_ = service{commands: f}                         // wrong: *redisconn.Commands | *redisconn.Feed
	_ = (*redisconn.Commands)(f)                     // wrong: *redisconn.Commands | *redisconn.Feed
	_ = service{blocking: c}                         // wrong: *redisconn.Blocking | *redisconn.Commands
	_ = (*redisconn.Blocking)(c)                     // wrong: *redisconn.Blocking | *redisconn.Commands
	_ = service{blocking: f}                         // wrong: *redisconn.Blocking | *redisconn.Feed
	_ = (*redisconn.Blocking)(f)                     // wrong: *redisconn.Blocking | *redisconn.Feed
	_ = service{feed: c}                             // wrong: *redisconn.Feed | *redisconn.Commands
	_ = (*redisconn.Feed)(c)                         // wrong: *redisconn.Feed | *redisconn.Commands
	_ = service{feed: b}                             // wrong: *redisconn.Feed | *redisconn.Blocking
	_ = (*redisconn.Feed)(b)                         // wrong: *redisconn.Feed | *redisconn.Blocking
	c.XReadGroup(ctx, "g", "w", "s", 1, time.Second) // wrong: *redisconn.Commands | has no field or method XReadGroup
	c.BLPop(ctx, time.Second, "k")                   // wrong: *redisconn.Commands | has no field or method BLPop
	c.Subscribe(ctx, "ch")                           // wrong: *redisconn.Commands | has no field or method Subscribe
	c.Do(ctx, "BLPOP", "k", 0)                       // wrong: *redisconn.Commands | has no field or method Do
	b.Get(ctx, "k")                                  // wrong: *redisconn.Blocking | has no field or method Get
	b.Publish(ctx, "ch", "m")                        // wrong: *redisconn.Blocking | has no field or method Publish
	b.Subscribe(ctx, "ch")                           // wrong: *redisconn.Blocking | has no field or method Subscribe
	f.Get(ctx, "k")                                  // wrong: *redisconn.Feed | has no field or method Get
	f.Publish(ctx, "ch", "m")                        // wrong: *redisconn.Feed | has no field or method Publish
	f.BLPop(ctx, time.Second, "k")                   // wrong: *redisconn.Feed | has no field or method BLPop
}
