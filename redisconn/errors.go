package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// Class says in one word what went wrong; it is the value of metric labels and log fields.
type Class string

// The classes. Those that count as Redis being away (they feed the breaker) are marked †.
const (
	ClassUnavailable Class = "unavailable" // † no connection, a connection lost, the breaker open, the cluster down
	ClassTimeout     Class = "timeout"     // † no answer in time; or the caller's own deadline, which is not counted
	ClassExhausted   Class = "exhausted"   // our bound on connections is reached, or † Redis's maxclients
	ClassLoading     Class = "loading"     // † Redis is reading its data from disk
	ClassReadOnly    Class = "read_only"   // Redis refuses writes: a replica, no good replicas, or a disk that is full
	ClassFull        Class = "full"        // Redis refuses writes: maxmemory is reached and nothing may be evicted
	ClassMoved       Class = "moved"       // Cluster: the keys belong elsewhere, or to different nodes
	ClassAuth        Class = "auth"        // the login, or a right of it, is missing; † a refused login
	ClassWrongType   Class = "wrong_type"  // the key holds another type
	ClassNoGroup     Class = "no_group"    // the stream or its consumer group is gone: create it again
	ClassConflict    Class = "conflict"    // a watched key changed in each of WatchAttempts attempts
	ClassRefused     Class = "refused"     // any other error reply: the command itself is wrong
	ClassCanceled    Class = "canceled"    // the caller's context was cancelled
	ClassClosed      Class = "closed"      // the role was closed
	ClassRole        Class = "wrong_role"  // nil, zero, or another role: a *RoleError
	ClassUnknown     Class = "unknown"     // not an error of this package

	classNoScript Class = "no_script" // Run then sends the script in full
)

var errNoScript = errors.New("no such script")

// ErrClosed is what every call after Close returns, inside an *Error of ClassClosed.
var ErrClosed = errors.New("the role is closed")

// Error is what every call that failed returns. It holds no key, no value and no secret.
type Error struct {
	Role    string // "commands", "blocking" or "feed"
	Command string // the Redis command, or the method for what is more than one
	Class   Class
	// SafeToRepeat says that a repeat cannot apply the command twice: Redis did not run it, or running it again changes
	// nothing. It does not say that a repeat will succeed: Class does. Only false means "it may have happened".
	SafeToRepeat bool
	Attempt      int   // 1, or 2 for a read that was tried again
	Err          error // what is known of the cause: context.Canceled, ErrClosed, or text
}

// Error is "redis role: COMMAND: class: cause".
func (e *Error) Error() string {
	s := "redis " + e.Role + ": " + e.Command + ": " + string(e.Class)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if !e.SafeToRepeat {
		s += " (it may have been carried out)"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Classify gives the class of any error of this package, however wrapped, and whether a repeat is safe. A nil error has
// the class "" and is safe; an error from elsewhere is ClassUnknown and is not.
func Classify(err error) (class Class, safeToRepeat bool) {
	var e *Error
	var r *RoleError
	switch {
	case err == nil:
		return "", true
	case errors.As(err, &e):
		return e.Class, e.SafeToRepeat
	case errors.As(err, &r):
		return ClassRole, true
	case errors.Is(err, ErrClosed):
		return ClassClosed, true
	}
	return ClassUnknown, false
}

// Cause is Classify for whoever tells a person what to mend: a call that was not tried because the breaker is open has
// the class of the failure that opened it. It is "" for nil.
func Cause(err error) Class {
	var n *notTried
	if errors.As(err, &n) {
		return n.class
	}
	class, _ := Classify(err)
	return class
}

// notTried is the error of a call while the breaker is open.
type notTried struct {
	class Class
	err   error
}

func (n *notTried) Error() string { return "not tried, for lately: " + n.err.Error() }
func (n *notTried) Unwrap() error { return n.err }

// dialError is a connection that did not come about: whatever waited for it was not sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connect: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// fault is a driver's error, read.
type fault struct {
	class Class
	ran   bool  // Redis may have run it
	away  bool  // Redis counts as away
	redis bool  // Redis answered, with an error
	err   error // fit to show
}

// read is the one place that knows what the driver's and Redis's errors mean. caller is the context of the call, so
// that its own end is not taken for Redis's.
func read(caller context.Context, err error) fault {
	var reply *rueidis.RedisError
	var dial *dialError
	switch {
	case errors.As(err, &dial):
		if caller.Err() != nil {
			return ended(caller, false)
		}
		return fault{class: ClassUnavailable, away: true, err: dial}
	case errors.As(err, &reply):
		return readReply(reply.Error())
	case caller.Err() != nil:
		return ended(caller, true)
	case timedOut(err):
		return fault{class: ClassTimeout, ran: true, away: true, err: errors.New("no answer in time")}
	case errors.Is(err, context.Canceled):
		// Another caller was connecting for both of us, and gave up.
		return fault{class: ClassUnavailable, err: errors.New("connect: given up")}
	case errors.Is(err, rueidis.ErrClosing), errors.Is(err, rueidis.ErrNoSlot):
		return fault{class: ClassUnavailable, ran: true, away: true, err: errors.New("the connection was replaced")}
	}
	return fault{class: ClassUnavailable, ran: true, away: true, err: fmt.Errorf("connection lost: %w", err)}
}

func timedOut(err error) bool {
	var late interface{ Timeout() bool }
	return errors.As(err, &late) && late.Timeout()
}

func ended(caller context.Context, ran bool) fault {
	f := fault{class: ClassTimeout, ran: ran, err: caller.Err()}
	if errors.Is(f.err, context.Canceled) {
		f.class = ClassCanceled
	}
	return f
}

func readReply(text string) fault {
	f := fault{class: ClassRefused, redis: true, err: errors.New(shown(text))}
	// A script can fail half way; Redis then names the script in its error.
	f.ran = strings.Contains(text, " script: ")
	code, _, _ := strings.Cut(text, " ")
	switch code {
	case "LOADING":
		f.class, f.away = ClassLoading, true
	case "READONLY", "NOREPLICAS", "MISCONF":
		f.class = ClassReadOnly
	case "OOM":
		f.class = ClassFull
	case "MOVED", "ASK", "CROSSSLOT", "TRYAGAIN":
		f.class = ClassMoved
	case "CLUSTERDOWN", "MASTERDOWN", "BUSY":
		f.class, f.away = ClassUnavailable, true
	case "WRONGPASS", "NOAUTH":
		f.class, f.away = ClassAuth, true
	case "NOPERM":
		f.class = ClassAuth
	case "WRONGTYPE":
		f.class = ClassWrongType
	case "NOGROUP":
		f.class = ClassNoGroup
	case "NOSCRIPT":
		f.class = classNoScript
	default: // "ERR …": the driver leaves that word out
		switch {
		case strings.Contains(text, "max number of clients"):
			f.class, f.away = ClassExhausted, true
		case strings.Contains(text, "AUTH") && strings.Contains(text, "password"),
			strings.Contains(text, "invalid password"):
			f.class, f.away = ClassAuth, true
		}
	}
	return f
}

// shown cuts what Redis quotes of a command, which may be a value, and anything long.
func shown(text string) string {
	for _, quote := range []string{", with args beginning", ", `", " script: "} {
		text, _, _ = strings.Cut(text, quote)
	}
	return text[:min(len(text), 160)]
}

// code is the first word of a Redis error, which is all that a log line shows of it.
func code(f fault) string {
	if !f.redis {
		return ""
	}
	word, _, _ := strings.Cut(f.err.Error(), " ")
	if word != strings.ToUpper(word) {
		return "ERR"
	}
	return word
}
