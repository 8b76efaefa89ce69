package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"chunkstream/limit"
	"chunkstream/servertest"
)

// redisFault does one fault to Redis, mends it, and measures how long the product takes to be on the live path again.
func (c *chaos) redisFault(ctx context.Context, f fault) outcome {
	c.times.begin(theRedis, time.Now())
	defer c.times.end(theRedis)
	o, stays := c.hurtRedis(ctx, f)
	if o.bitten && !stays {
		var live sync.WaitGroup
		live.Go(func() { c.whenDelivered(ctx) })
		c.whenReady(ctx, redisBack)
		live.Wait()
	}
	return o
}

// received is the metric of what has come to a process over Redis.
const received = `chunkstream_redis_events_total{outcome="received"}`

// whenDelivered waits until an event has come to any web process over Redis that is well, and was when this began: then the
// live path is whole again from one end to the other. There are always events on their way.
func (c *chaos) whenDelivered(ctx context.Context) {
	type instance struct {
		p   *process
		pid int
	}
	back := time.Now()
	had := map[instance]float64{}
	for time.Since(back) < c.cfg.patience {
		for _, p := range c.load.webs {
			if !p.well() || !p.running() {
				continue
			}
			one := instance{p, p.pid()}
			m, err := p.metrics(ctx)
			if err != nil {
				continue
			}
			before, there := had[one]
			if !there {
				had[one] = m[received]
			} else if m[received] > before {
				c.timed(redisDelivers, back)
				return
			}
		}
		if !pause(ctx, 2*glance) {
			return
		}
	}
	c.note(map[string]any{"not measured": redisDelivers})
}

// whenReady waits until every process that is well, and was when this began, says that it is ready, which other things may
// hold up.
func (c *chaos) whenReady(ctx context.Context, what string, others ...string) {
	back := time.Now()
	was := map[*process]int{}
	for _, p := range c.processes {
		if p.well() && p.running() {
			was[p] = p.pid()
		}
	}
	for _, p := range c.processes {
		for {
			if pid, there := was[p]; !there || !p.well() || p.pid() != pid {
				break // other faults hold it, or have
			}
			s, why, err := p.readiness(ctx)
			if err == nil && s == "ready" {
				break
			}
			if time.Since(back) > c.cfg.patience {
				c.violate("%s: %s says %q (%s, %v) after %v%s", what, p.name, s, why, err, c.cfg.patience, c.network(p))
				return
			}
			if !pause(ctx, glance) {
				return
			}
		}
	}
	c.timed(what, back, others...)
}

// waits until a condition holds, for as long as the product may need to run into something.
func waits(ctx context.Context, is func() bool) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if is() {
			return true
		}
		if !pause(ctx, 3*time.Millisecond) {
			return false
		}
	}
	return false
}

// hurtRedis does one fault and mends it. harmless says that nothing had to be mended.
func (c *chaos) hurtRedis(ctx context.Context, f fault) (o outcome, harmless bool) {
	if strings.HasPrefix(f.kind, "redis-failover-") {
		return c.failover(ctx, f), false
	}
	var before servertest.ProxyCounts
	if c.redProxy != nil {
		before = c.redProxy.Counts()
	}
	broken := func() int64 { n := c.redProxy.Counts(); return n.Broken + n.Refused - before.Broken - before.Refused }
	switch f.kind {
	case "redis-kill-empty", "redis-kill", "redis-aof-cut":
		c.redis.Kill()
		felt := waits(ctx, func() bool { return broken() > 0 })
		pause(ctx, f.holds)
		how := "connections ended or refused: "
		if f.kind == "redis-kill-empty" {
			if err := os.RemoveAll(filepath.Join(c.redisData, "appendonlydir")); err != nil {
				c.violate("empty the Redis: %v", err)
			}
		}
		if f.kind == "redis-aof-cut" {
			n, err := cutLog(c.redisData, int64(f.n)*97)
			if err != nil {
				c.violate("cut the log of Redis: %v", err)
			}
			felt = felt && n > 0
			how = fmt.Sprintf("%d bytes of its log gone; %s", n, how)
		}
		c.redis.Start()
		return outcome{felt, how + fmt.Sprint(broken())}, false
	case "redis-freeze":
		c.redis.Freeze()
		pause(ctx, 300*time.Millisecond+f.holds)
		degraded := waits(ctx, func() bool { return c.sayDegraded(ctx) })
		c.redis.Thaw()
		return outcome{degraded, "processes said degraded"}, false
	case "redis-flushall":
		n := c.redisNumber(`local n = redis.call('DBSIZE') redis.call('FLUSHALL') return n`)
		return outcome{n > 0, fmt.Sprintf("%d keys gone", n)}, true
	case "redis-del":
		patterns := []string{"operation:*", "stream:chunking:*", "chunkstream:wake"}
		if c.cfg.limited() {
			patterns = append(patterns, limit.KeyPrefix+"*")
		}
		pattern := patterns[f.n%len(patterns)]
		n := c.redisNumber(`local r = redis.call('SCAN', '0', 'MATCH', '` + pattern + `', 'COUNT', 100000)
local k = r[2][1 + tonumber(redis.call('TIME')[2]) % math.max(#r[2], 1)]
if not k then return 0 end
return redis.call('DEL', k)`)
		return outcome{n > 0, fmt.Sprintf("%d key of %s gone", n, pattern)}, true
	case "redis-pause":
		c.redisOK("CLIENT", "PAUSE", strconv.FormatInt((200*time.Millisecond+f.holds).Milliseconds(), 10), "ALL")
		began := time.Now()
		_, err := c.redis.Do("PING") // answered when the pause is over
		took := time.Since(began)
		return outcome{err == nil && took > 100*time.Millisecond, fmt.Sprintf("a PING took %v", took.Round(time.Millisecond))}, false
	case "redis-full":
		was := c.refused("OOM")
		c.redisOK("CONFIG", "SET", "maxmemory-policy", "noeviction")
		c.redisOK("CONFIG", "SET", "maxmemory", "1")
		felt := waits(ctx, func() bool { return c.refused("OOM") > was })
		pause(ctx, f.holds)
		n := c.refused("OOM") - was
		c.redisOK("CONFIG", "SET", "maxmemory", "0")
		return outcome{felt, fmt.Sprintf("%d writes refused (OOM)", n)}, false
	case "redis-readonly":
		was := c.refused("READONLY")
		c.redisOK("REPLICAOF", "127.0.0.1", "1")
		felt := waits(ctx, func() bool { return c.refused("READONLY") > was })
		pause(ctx, f.holds)
		n := c.refused("READONLY") - was
		c.redisOK("REPLICAOF", "NO", "ONE")
		return outcome{felt, fmt.Sprintf("%d writes refused (READONLY)", n)}, false
	case "redis-script-flush":
		was := c.refused("NOSCRIPT")
		c.redisOK("SCRIPT", "FLUSH")
		felt := waits(ctx, func() bool { return c.refused("NOSCRIPT") > was })
		return outcome{felt, fmt.Sprintf("%d calls found no script", c.refused("NOSCRIPT")-was)}, true
	case "redis-client-kill":
		what := []string{"normal", "pubsub"}[f.n%2]
		answer, err := c.redis.Do("CLIENT", "KILL", "TYPE", what)
		n, _ := strconv.Atoi(strings.TrimPrefix(answer, ":"))
		return outcome{err == nil && n > 0, fmt.Sprintf("%d %s clients killed", n, what)}, false
	case "redis-cut":
		n := c.redProxy.Cut()
		return outcome{n > 0, fmt.Sprintf("%d connections cut", n)}, false
	case "redis-blackhole":
		c.redProxy.Deafen()
		pause(ctx, f.holds)
		felt := waits(ctx, func() bool { return c.sayDegraded(ctx) })
		c.redProxy.Hear()
		n := c.redProxy.Counts().Swallowed - before.Swallowed
		return outcome{felt && n > 0, fmt.Sprintf("%d pieces swallowed; processes said degraded", n)}, false
	case "redis-slow":
		c.redProxy.Delay(50*time.Millisecond + f.holds/2)
		pause(ctx, 500*time.Millisecond+f.holds)
		c.redProxy.Delay(0)
		n := c.redProxy.Counts().Delayed - before.Delayed
		return outcome{n > 0, fmt.Sprintf("%d pieces were late", n)}, false
	case "redis-half-open":
		n := c.redProxy.HalfOpen()
		felt := waits(ctx, func() bool { return c.redProxy.Counts().Swallowed > before.Swallowed })
		pause(ctx, f.holds)
		lost := c.redProxy.Counts().Swallowed - before.Swallowed
		return outcome{felt && n > 0, fmt.Sprintf("%d connections half open, %d pieces lost", n, lost)}, false
	case "redis-lost-reply", "redis-lost-request":
		drop, what := c.redProxy.DropReply, "answers"
		if f.kind == "redis-lost-request" {
			drop, what = c.redProxy.DropRequest, "commands"
		}
		drop("", f.n)
		felt := waits(ctx, func() bool { return c.redProxy.Counts().Trapped > before.Trapped })
		pause(ctx, f.holds)
		drop("", 0)
		n := c.redProxy.Counts().Trapped - before.Trapped
		return outcome{felt, fmt.Sprintf("%d %s lost with their connections", n, what)}, false
	}
	return outcome{how: "unknown"}, true
}

// sayDegraded reports whether any process that is well says so.
func (c *chaos) sayDegraded(ctx context.Context) bool {
	for _, p := range c.processes {
		if p.well() {
			if s, _, err := p.readiness(ctx); err == nil && s == "degraded" {
				return true
			}
		}
	}
	return false
}

// askRedis runs a script that gives a number, and says whether it did.
func (c *chaos) askRedis(script string) (int64, bool) {
	answer, err := c.redis.Do("EVAL", script, "0")
	n, bad := strconv.ParseInt(strings.TrimPrefix(answer, ":"), 10, 64)
	return n, err == nil && bad == nil
}

// redisNumber runs a script that gives a number.
func (c *chaos) redisNumber(script string) int64 {
	answer, err := c.redis.Do("EVAL", script, "0")
	n, bad := strconv.ParseInt(strings.TrimPrefix(answer, ":"), 10, 64)
	if err != nil || bad != nil {
		c.violate("ask Redis: %q, %v for %s", answer, err, script)
	}
	return n
}

// refused is how many commands Redis has refused with an error.
func (c *chaos) refused(with string) int64 {
	return c.redisNumber(`return tonumber(string.match(redis.call('INFO', 'errorstats'), 'errorstat_` + with + `:count=(%d+)') or 0)`)
}

func (c *chaos) redisOK(words ...string) {
	if answer, err := c.redis.Do(words...); err != nil || answer != "+OK" {
		c.violate("Redis: %v: %q, %v", words, answer, err)
	}
}

// cutLog takes the last n bytes off the append-only file, as a power cut may, and says how many it took. A transaction that
// would be left without its end goes as a whole. A Redis that meets one when it starts passes it over, as it should, but 7.0
// may leave its beginning in the file and take it for a part of the next one when it starts once more: a key that then has no
// time to live is Redis's doing.
func cutLog(data string, n int64) (int64, error) {
	files, err := filepath.Glob(filepath.Join(data, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return 0, err
	}
	path := files[len(files)-1]
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	left, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	left = left[:max(info.Size()-n, 0)]
	if began := bytes.LastIndex(left, []byte("*1\r\n$5\r\nMULTI\r\n")); began > bytes.LastIndex(left, []byte("*1\r\n$4\r\nEXEC\r\n")) {
		left = left[:began]
	}
	return info.Size() - int64(len(left)), os.Truncate(path, int64(len(left)))
}
