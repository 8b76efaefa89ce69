package redisconn

import (
	"fmt"
	"sync/atomic"
)

// RoleError says that a value is not the role that is needed, or not a usable one.
type RoleError struct {
	Want string // the type needed, such as *redisconn.Commands
	Got  string // the type given, with what is wrong with it
	Fix  string // what to pass instead
}

// Error names both types and the fix.
func (e *RoleError) Error() string {
	return fmt.Sprintf("redisconn: want %s, got %s: %s", e.Want, e.Got, e.Fix)
}

// mismatches counts for the whole process, since what is refused need not belong to any Conns.
var mismatches atomic.Int64

// Mismatches is how many values RequireCommands, RequireBlocking and RequireFeed have refused in this process. It is 0
// in a program that is wired correctly.
func Mismatches() int64 { return mismatches.Load() }

const (
	fixCommands = "pass Conns.Commands from redisconn.Open: short commands, never a wait"
	fixBlocking = "pass Conns.Blocking from redisconn.Open: a worker's waiting reads"
	fixFeed     = "pass Conns.Feed from redisconn.Open: the process's subscription"
)

// RequireCommands gives v as *Commands. It refuses nil, a nil pointer, a zero value, a closed role and every other type
// with a *RoleError.
func RequireCommands(v any) (*Commands, error) {
	c, ok := v.(*Commands)
	if err := require(v, ok, c == nil, c.core(), "*redisconn.Commands", fixCommands); err != nil {
		return nil, err
	}
	return c, nil
}

// RequireBlocking is RequireCommands for *Blocking.
func RequireBlocking(v any) (*Blocking, error) {
	b, ok := v.(*Blocking)
	if err := require(v, ok, b == nil, b.core(), "*redisconn.Blocking", fixBlocking); err != nil {
		return nil, err
	}
	return b, nil
}

// RequireFeed is RequireCommands for *Feed.
func RequireFeed(v any) (*Feed, error) {
	f, ok := v.(*Feed)
	if err := require(v, ok, f == nil, f.core(), "*redisconn.Feed", fixFeed); err != nil {
		return nil, err
	}
	return f, nil
}

func require(v any, ok, null bool, r *role, want, fix string) error {
	got := fmt.Sprintf("%T", v)
	switch {
	case v == nil:
		got = "nil"
	case !ok:
	case null:
		got = "a nil " + got
	case r == nil:
		got += " that Open did not make"
	case r.isClosed():
		got += " that is closed"
	default:
		return nil
	}
	mismatches.Add(1)
	return &RoleError{want, got, fix}
}

func (c *Commands) core() *role {
	if c == nil {
		return nil
	}
	return c.role
}

func (b *Blocking) core() *role {
	if b == nil {
		return nil
	}
	return b.role
}

func (f *Feed) core() *role {
	if f == nil {
		return nil
	}
	return f.role
}
