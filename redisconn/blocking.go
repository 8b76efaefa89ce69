package redisconn

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Blocking is a worker's role: reads that wait inside Redis. Each call holds one of Config.BlockingConnections; a call
// that finds none within Config.AcquireTimeout fails with ClassExhausted. A call waits at most MaxBlock, and returns
// within 100 ms of its context's end, with ClassCanceled. Nothing is sent twice. After a failure wait before the next
// call: with Redis away, calls fail at once. It is safe for concurrent use. Only Open makes one.
type Blocking struct {
	role  *role
	bound bound
}

// grace is what a call may take beyond the time that it waits in Redis, connecting included. One call without an answer
// after that opens the breaker: there may be only one every MaxBlock.
const grace = 500 * time.Millisecond

func newBlocking(ctx context.Context, s *settings) *Blocking {
	b := &Blocking{role: newRole(ctx, s, "blocking", shape{name: s.ClientName + "-blocking", timeout: s.DialTimeout,
		silence: time.Second, buffer: 16 << 10, share: 1, pool: s.BlockingConnections, long: true})}
	b.bound = newBound(s.BlockingConnections, s.AcquireTimeout, &b.role.meter)
	b.role.work.Add(1)
	go b.role.probing(false, func(ctx context.Context, client rueidis.Client) error {
		if refused := b.bound.acquire(ctx); refused != nil {
			return refused.err
		}
		defer b.bound.release()
		return client.Do(ctx, query{name: "PING", block: true}.build(client.B())).Error()
	})
	return b
}

// Close refuses new calls, waits for those in flight (MaxBlock at most, less when their contexts end), ends the
// connections and returns. Closing again does nothing. The error is always nil.
func (b *Blocking) Close() error {
	if b == nil || b.role == nil {
		return nil
	}
	return b.role.close()
}

// Stats is how the role stands.
func (b *Blocking) Stats() Stats { return b.core().stats() }

func (b *Blocking) do(ctx context.Context, q query, wait time.Duration) (rueidis.RedisMessage, error) {
	if b == nil || b.role == nil {
		_, err := RequireBlocking(b)
		return rueidis.RedisMessage{}, err
	}
	q.block = true
	start := time.Now()
	if refused := b.bound.acquire(ctx); refused != nil {
		return rueidis.RedisMessage{}, b.role.finish(ctx, q.name, *refused, true, start, 1)
	}
	defer b.bound.release()
	return b.role.do(ctx, q, wait+grace)
}

// wait keeps a wait within 1 ms and MaxBlock: Redis takes 0 for ever.
func wait(d time.Duration) time.Duration { return min(max(d, time.Millisecond), MaxBlock) }

// XReadGroup takes up to count new entries of stream for a consumer of group, waiting up to block (at most MaxBlock)
// for the first. Taken entries count as handled (NOACK): they are gone when this process dies, or when the call fails with
// an error that is not SafeToRepeat. No entries and no error means that none came. ClassNoGroup: see CreateGroup.
func (b *Blocking) XReadGroup(ctx context.Context, group, consumer, stream string, count int, block time.Duration) (
	[]Entry, error) {
	block = wait(block)
	return b.entries(ctx, stream, query{name: "XREADGROUP", keys: []string{stream}, after: []string{">"},
		before: []string{"GROUP", group, consumer, "COUNT", strconv.Itoa(max(count, 1)), "BLOCK", milliseconds(block),
			"NOACK", "STREAMS"}}, block)
}

// XRead reads up to count entries of stream after the id after ("$": those to come), waiting up to block for the first.
func (b *Blocking) XRead(ctx context.Context, stream, after string, count int, block time.Duration) ([]Entry, error) {
	block = wait(block)
	return b.entries(ctx, stream, query{name: "XREAD", keys: []string{stream}, after: []string{after}, read: true,
		before: []string{"COUNT", strconv.Itoa(max(count, 1)), "BLOCK", milliseconds(block), "STREAMS"}}, block)
}

func (b *Blocking) entries(ctx context.Context, stream string, q query, block time.Duration) ([]Entry, error) {
	m, err := b.do(ctx, q, block)
	if err != nil || isNil(m) {
		return nil, err
	}
	all, err := m.AsXRead()
	return entries(all[stream]), b.role.odd(ctx, q, err)
}

// BLPop takes the first element of the first of keys that has one, waiting up to block; found is false when none came.
func (b *Blocking) BLPop(ctx context.Context, block time.Duration, keys ...string) (
	key, value string, found bool, err error) {
	block = wait(block)
	q := query{name: "BLPOP", keys: keys, after: []string{strconv.FormatFloat(block.Seconds(), 'f', 3, 64)}}
	m, err := b.do(ctx, q, block)
	if err != nil || isNil(m) {
		return "", "", false, err
	}
	pair, err := m.AsStrSlice()
	if err == nil && len(pair) != 2 {
		err = errors.New("not a pair")
	}
	if err != nil {
		return "", "", false, b.role.odd(ctx, q, err)
	}
	return pair[0], pair[1], true, nil
}

const createGroup = `local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
if made.err then
  if string.sub(made.err, 1, 9) == 'BUSYGROUP' then return 0 end
  return made
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`

// CreateGroup makes the consumer group of stream, and the stream when there is none, with ttl (at least a millisecond)
// in the same step. The group begins after the id start: "0" is with what the stream holds, "$" is with what comes. It
// reports whether it made the group: false when there was one.
func (b *Blocking) CreateGroup(ctx context.Context, stream, group, start string, ttl time.Duration) (
	created bool, err error) {
	q := query{name: "EVAL", before: []string{createGroup, "1"}, keys: []string{stream},
		after: []string{group, start, milliseconds(ttl)}, safe: true}
	m, err := b.do(ctx, q, 0)
	if err != nil {
		return false, err
	}
	n, err := m.AsInt64()
	return n == 1, b.role.odd(ctx, q, err)
}
