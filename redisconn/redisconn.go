// Package redisconn owns every connection to Redis, by role, and is the only expert on the driver.
//
// A Redis client has a role, and the role is its type. Commands is the request path: short deadlines, one command
// after another over a few shared connections, nothing that blocks. Blocking is a worker's waiting reads, on
// connections of its own. Feed is the one subscription of the process. They share no interface, so the wrong one does
// not compile; where a value comes as any (a plug-in, a decoded configuration), RequireCommands, RequireBlocking and
// RequireFeed refuse it with an error that names both types and the fix.
//
// Nothing here fails silently: every method returns an error, every error is an *Error with one Class and the answer
// to one question, "may this be repeated?". Nothing here needs Redis to be up: each role keeps trying for ever and
// works again within two seconds of Redis coming back.
package redisconn

import (
	"context"
	"errors"
)

// Conns is the three roles over one Redis, made by Open. Hand each part of a program the one role it needs.
type Conns struct {
	Commands *Commands
	Blocking *Blocking
	Feed     *Feed
}

// Open checks c and gives the three roles. It does not wait for Redis: a Redis that is away is no error of Open, only a
// bad Config is, as a *ConfigError. Commands connects at once in the background, Blocking with its first call, Feed
// with Run. ctx lends its values to the background work and not its end: that is Close.
func Open(ctx context.Context, c Config) (*Conns, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	base := context.WithoutCancel(ctx)
	return &Conns{
		Commands: newCommands(base, s),
		Blocking: newBlocking(base, s),
		Feed:     newFeed(base, s),
	}, nil
}

// Close closes the three roles, Feed first and Commands last, and returns when their calls in flight have ended and
// their connections are gone. Closing again does nothing. The error is always nil; it is there for io.Closer.
func (c *Conns) Close() error {
	if c == nil {
		return nil
	}
	return errors.Join(c.Feed.Close(), c.Blocking.Close(), c.Commands.Close())
}

type operationKey struct{}

// WithOperation marks the calls made with the returned context as belonging to one operation, by its id: the log line
// of a failure then names it. The id is not sent to Redis.
func WithOperation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, operationKey{}, id)
}
