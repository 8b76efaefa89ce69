package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chunkstream/redisconn"
)

// redisUses is every command that the service sends to Redis or runs in its scripts, on a key or channel of each kind
// (docs/redis.md). Nothing here is run: the doctor asks whether it might be.
var redisUses = []string{
	"PING",
	"EVAL s 1 operation:doctor", "EVALSHA s 1 operation:doctor",
	"HMGET operation:doctor f", "HSET operation:doctor f v", "HDEL operation:doctor f", "PEXPIRE operation:doctor 1",
	"XREVRANGE stream:chunking:doctor + - COUNT 1", "XADD stream:chunking:doctor MAXLEN 1 1-0 f v",
	"PEXPIRE stream:chunking:doctor 1",
	"PUBLISH chunking:doctor m", "PUBLISH chunkstream:events:doctor m",
	"SUBSCRIBE chunking:doctor", "SUBSCRIBE chunkstream:events:doctor", "UNSUBSCRIBE chunking:doctor",
	"XADD chunkstream:wake MAXLEN ~ 1 * f v", "PEXPIRE chunkstream:wake 1",
	"TIME", "HMGET chunkstream:limit:doctor full", "HSET chunkstream:limit:doctor full 1", "PEXPIRE chunkstream:limit:doctor 1",
	"XGROUP CREATE chunkstream:wake workers $ MKSTREAM",
	"XREADGROUP GROUP workers doctor COUNT 1 NOACK STREAMS chunkstream:wake >",
}

// redisGrants is what a user of the service's own needs, as ACL SETUSER takes it; info and the two of acl are
// for the doctor alone.
const redisGrants = "~operation:* ~stream:chunking:* ~chunkstream:* &chunking:* &chunkstream:* +ping +eval +evalsha +hmget +hset " +
	"+hdel +pexpire +xrevrange +xadd +xgroup|create +xreadgroup +publish +subscribe +unsubscribe +info +time +acl|whoami +acl|dryrun"

// redisRights asks Redis of every command the service uses whether its user may run it. Where that cannot be asked it
// says so, and tries some of them.
func redisRights(ctx context.Context, conns *redisconn.Conns) []finding {
	f := finding{what: "redis rights"}
	user, err := conns.Commands.WhoAmI(ctx)
	var missing []string
	for _, use := range redisUses {
		words := strings.Fields(use)
		refusal := ""
		if err == nil {
			refusal, err = conns.Commands.DryRun(ctx, user, words[0], words[1:]...)
		}
		if err != nil {
			return append(unasked(err), tried(ctx, conns))
		}
		if grant := grantFor(words, refusal); refusal != "" && !slices.Contains(missing, grant) {
			missing = append(missing, grant)
		}
	}
	if f.found = fmt.Sprintf("user %s may run every command that is used", user); len(missing) > 0 {
		f.serious = true
		f.found = fmt.Sprintf("user %s lacks %s", user, strings.Join(missing, " "))
		f.fix = fmt.Sprintf("ACL SETUSER %s %s", user, strings.Join(missing, " "))
	}
	return []finding{f}
}

// grantFor reads from Redis's refusal of a command what ACL SETUSER must be told. A user lacks the right to a command, a
// key or a channel; one at a time is named.
func grantFor(words []string, refusal string) string {
	name := strings.ToLower(words[0])
	of := func(prefixes ...string) string {
		for _, p := range prefixes {
			if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, p) }) {
				return p + "*"
			}
		}
		return "*"
	}
	switch {
	case strings.HasSuffix(refusal, " key"):
		return "~" + of("operation:", "stream:chunking:", "chunkstream:")
	case strings.HasSuffix(refusal, " channel"):
		return "&" + of("chunking:", "chunkstream:")
	case name == "xgroup":
		return "+xgroup|create"
	}
	return "+" + name
}

// unasked says why Redis was not asked.
func unasked(err error) []finding {
	f := finding{what: "redis rights, asked", found: "could not be looked at: " + err.Error()}
	switch class, _ := redisconn.Classify(err); class {
	case redisconn.ClassAuth:
		f.fix = "as an administrator: ACL SETUSER … +acl|whoami +acl|dryrun; all that is needed: ACL SETUSER … " + redisGrants
	case redisconn.ClassRefused:
		f.found = "could not be looked at: ACL DRYRUN came with Redis 7 (" + err.Error() + ")"
	default:
		f.fix = "run it again"
	}
	return []finding{f}
}

// tried does some of what the service does, on keys of its own that go away by themselves.
func tried(ctx context.Context, conns *redisconn.Conns) finding {
	const key = "chunkstream:doctor"
	_, hashErr := conns.Commands.HSet(ctx, key, map[string]string{"f": "v"}, time.Minute)
	_, groupErr := conns.Blocking.CreateGroup(ctx, key+":stream", "doctor", "$", time.Minute)
	_, readErr := conns.Blocking.XReadGroup(ctx, "doctor", "doctor", key+":stream", 1, time.Millisecond)
	_, pubErr := conns.Commands.Publish(ctx, key, "1")
	if err := errors.Join(hashErr, groupErr, readErr, pubErr); err != nil {
		return finding{what: "redis rights, tried", found: strings.ReplaceAll(err.Error(), "\n", "; "), serious: true,
			fix: "ACL SETUSER … " + redisGrants}
	}
	return finding{what: "redis rights, tried", found: "a hash, a group, a script and a channel may be used"}
}
