// Package limit bounds how often something may be done, by all processes together while Redis is there, and by each for
// itself while it is not. It never lets everything pass: without Redis each process allows its share.
package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/redisconn"
)

// Config is one limit, for any number of keys.
type Config struct {
	// PerSecond is how many are allowed in the long run, Burst how many at once: a token bucket of Burst tokens that gets
	// PerSecond of them. Both are positive.
	PerSecond float64
	Burst     int
	// Replicas is how many processes share the limit: without Redis each allows its part. 0 means 1.
	Replicas int
	// Redis is where the buckets of all processes are. nil: there are none but this process's.
	Redis *redisconn.Commands
	// Patience is how long a decision waits for Redis at most. 0 means 50 ms.
	Patience time.Duration
}

// Limiter decides. It may be used by any number of goroutines at once.
type Limiter struct {
	cfg      Config
	interval time.Duration // between two tokens

	mu    sync.Mutex
	local map[string]time.Time // when the bucket will be full again

	late      atomic.Int64 // when Redis is asked again after it was late, Unix nanoseconds; 0: it was in time
	fallbacks atomic.Int64
}

// Decision is what became of one request for a token.
type Decision struct {
	Allowed    bool
	Limit      int           // the bucket's size
	Remaining  int           // tokens left in it
	Reset      time.Duration // until it is full again
	RetryAfter time.Duration // until there is a token, when this one was not allowed
}

// New makes a limiter.
func New(cfg Config) (*Limiter, error) {
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Patience == 0 {
		cfg.Patience = 50 * time.Millisecond
	}
	if !(cfg.PerSecond > 0) || cfg.PerSecond > 1e6 || cfg.Burst < 1 || cfg.Burst > 1e6 || cfg.Replicas < 1 {
		return nil, fmt.Errorf("limit: %v a second and %d at once, shared by %d: the first two lie above 0 and up to 1000000, the last is positive",
			cfg.PerSecond, cfg.Burst, cfg.Replicas)
	}
	return &Limiter{cfg: cfg, interval: time.Duration(float64(time.Second) / cfg.PerSecond), local: map[string]time.Time{}}, nil
}

// Fallbacks counts the decisions that were made without Redis although it was to be asked.
func (l *Limiter) Fallbacks() int64 { return l.fallbacks.Load() }

// KeyPrefix begins the name of every key in Redis, and KeyTTL is how long one outlives its full bucket.
const (
	KeyPrefix = "chunkstream:limit:"
	KeyTTL    = 10 * time.Second
)

// pause follows an answer that was late: one decision asks Redis again after it, and the others are made here meanwhile. Requests
// wait for them.
const pause = 500 * time.Millisecond

// One number says it all (the generic cell rate algorithm, ITU-T I.371): when the bucket will be full again.
var take = redisconn.NewScript(`-- KEYS[1] a bucket
-- ARGV[1] microseconds between two tokens
-- ARGV[2] microseconds that a full bucket is worth
-- ARGV[3] milliseconds that the key outlives the full bucket
-- returns {1 when allowed else 0, microseconds until it is full, microseconds until there is a token}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local full = math.max(tonumber(redis.call('HMGET', KEYS[1], 'full')[1] or 0), now)
if full - now > tonumber(ARGV[2]) then
  full = now + tonumber(ARGV[2]) -- the limit has changed, or the clock
end
local after = full + tonumber(ARGV[1])
local wait = after - now - tonumber(ARGV[2])
if wait > 0 then
  return {0, full - now, wait}
end
redis.call('HSET', KEYS[1], 'full', string.format('%.0f', after))
redis.call('PEXPIRE', KEYS[1], math.ceil((after - now) / 1000) + ARGV[3])
return {1, after - now, 0}
`)

// Take asks for one token of the key's bucket. It waits for Redis no longer than Config.Patience, and while Redis takes longer
// than that hardly ever.
func (l *Limiter) Take(ctx context.Context, key string) Decision {
	if l.cfg.Redis != nil {
		if l.asks(time.Now()) {
			within, cancel := context.WithTimeout(ctx, l.cfg.Patience)
			d, err := l.shared(within, key)
			cancel()
			if err == nil {
				l.late.Store(0)
				return d
			}
			if within.Err() != nil && ctx.Err() == nil {
				l.late.Store(time.Now().Add(pause).UnixNano())
			}
		}
		l.fallbacks.Add(1)
	}
	return l.own(key, time.Now())
}

// asks reports whether Redis is to be asked now.
func (l *Limiter) asks(now time.Time) bool {
	at := l.late.Load()
	return at == 0 || now.UnixNano() >= at && l.late.CompareAndSwap(at, now.Add(pause).UnixNano())
}

func (l *Limiter) shared(ctx context.Context, key string) (Decision, error) {
	interval := l.interval.Microseconds()
	reply, err := l.cfg.Redis.Run(ctx, take, []string{KeyPrefix + key}, strconv.FormatInt(max(interval, 1), 10),
		strconv.FormatInt(max(interval, 1)*int64(l.cfg.Burst), 10), strconv.FormatInt(KeyTTL.Milliseconds(), 10))
	if err != nil {
		return Decision{}, err
	}
	parts, err := reply.List()
	if err != nil || len(parts) != 3 {
		return Decision{}, errors.Join(errors.New("limit: not what the script returns"), err)
	}
	var n [3]int64
	for i, p := range parts {
		if n[i], err = p.Int(); err != nil {
			return Decision{}, err
		}
	}
	return l.decision(n[0] == 1, l.cfg.Burst, l.interval, time.Duration(n[1])*time.Microsecond, time.Duration(n[2])*time.Microsecond), nil
}

// maxBuckets bounds the buckets in memory; a full one need not be kept.
const maxBuckets = 10_000

// own decides by this process's share.
func (l *Limiter) own(key string, now time.Time) Decision {
	burst := max(1, l.cfg.Burst/l.cfg.Replicas)
	interval := l.interval * time.Duration(l.cfg.Replicas)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.local[key]
	if full.Before(now) {
		full = now
	}
	after := full.Add(interval)
	if wait := after.Sub(now) - time.Duration(burst)*interval; wait > 0 {
		return l.decision(false, burst, interval, full.Sub(now), wait)
	}
	if len(l.local) >= maxBuckets {
		for k, at := range l.local {
			if at.Before(now) {
				delete(l.local, k)
			}
		}
		if len(l.local) >= maxBuckets { // so many at once: who has not asked yet has to wait
			if _, known := l.local[key]; !known {
				return l.decision(false, burst, interval, interval, interval)
			}
		}
	}
	l.local[key] = after
	return l.decision(true, burst, interval, after.Sub(now), 0)
}

func (l *Limiter) decision(allowed bool, burst int, interval, full, wait time.Duration) Decision {
	left := math.Floor(float64(time.Duration(burst)*interval-full) / float64(interval))
	return Decision{Allowed: allowed, Limit: burst, Remaining: max(0, int(left)), Reset: full, RetryAfter: wait}
}
