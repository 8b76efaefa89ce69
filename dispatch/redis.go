package dispatch

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/redisconn"
)

// What docs/redis.md promises about wake-ups.
const (
	Stream    = "chunkstream:wake" // the key of the stream
	Group     = "workers"          // its consumer group: each wake-up goes to one process
	StreamTTL = time.Hour          // of the stream, from the newest wake-up
	MaxStream = 10000              // entries of the stream, roughly
)

// consumer is the same in all processes: with NOACK nothing is ever pending, so a name would only be left behind.
const consumer = "any"

const (
	budget  = 50 * time.Millisecond // of one write; a hint that takes longer is of no use
	block   = 2 * time.Second       // of one read
	look    = 25 * time.Millisecond // between two questions for a free slot
	perCall = 64                    // wake-ups in one write
)

// RedisConfig says what wake-ups through Redis stand on. Commands is needed.
type RedisConfig struct {
	// Commands writes the wake-ups.
	Commands *redisconn.Commands
	// Blocking reads them. nil is for a process without workers, which only writes.
	Blocking *redisconn.Blocking
	// Free says how many operations could be begun now; with 0 the wake-ups are left to other processes. It must not
	// block. nil means that there is always room for 16.
	Free func() int
	// QueueDepth is how many wake-ups may wait to be written, 1024. More are dropped and counted.
	QueueDepth int
}

// RedisStats is what a Redis has done since it was made.
type RedisStats struct {
	Written  int64 // wake-ups written
	Dropped  int64 // wake-ups that a full queue or a failed write has cost
	Failures int64 // failed writes and reads
	Received int64 // wake-ups read
	Groups   int64 // times the group had to be made
}

// Redis carries wake-ups between processes. A wake-up rings the bell in this process at once, and goes to Redis in the
// background, from where one process with a free slot gets it. Make one with NewRedis and keep Run running. All methods
// may be called concurrently.
type Redis struct {
	config RedisConfig
	local  Memory
	added  chan struct{}

	mu      sync.Mutex
	waiting map[hint]struct{}
	order   []hint

	written, dropped, failures, received, groups atomic.Int64
}

type hint struct{ lane, operation string }

// NewRedis makes one. Its error is a *redisconn.RoleError for a role that is missing, closed or zero.
func NewRedis(c RedisConfig) (*Redis, error) {
	if _, err := redisconn.RequireCommands(c.Commands); err != nil {
		return nil, err
	}
	if c.Blocking != nil {
		if _, err := redisconn.RequireBlocking(c.Blocking); err != nil {
			return nil, err
		}
	}
	if c.Free == nil {
		c.Free = func() int { return 16 }
	}
	if c.QueueDepth <= 0 {
		c.QueueDepth = 1024
	}
	return &Redis{config: c, added: make(chan struct{}, 1), waiting: map[hint]struct{}{}}, nil
}

// Wake rings the lane's bell in this process and queues the wake-up for the others. It never blocks: what the queue
// cannot take is dropped and counted. A wake-up that is still queued is not queued again.
func (r *Redis) Wake(lane, operationID string) {
	r.local.Wake(lane, operationID)
	h := hint{lane, operationID}
	r.mu.Lock()
	_, known := r.waiting[h]
	room := len(r.order) < r.config.QueueDepth
	if !known && room {
		r.waiting[h] = struct{}{}
		r.order = append(r.order, h)
	}
	r.mu.Unlock()
	switch {
	case known:
	case !room:
		r.dropped.Add(1)
	default:
		select {
		case r.added <- struct{}{}:
		default:
		}
	}
}

// Woken gives the lane's bell, which rings for wake-ups of this process and for those that it gets from Redis. See
// Memory.Woken.
func (r *Redis) Woken(lane string) <-chan struct{} { return r.local.Woken(lane) }

// Stats returns the counters.
func (r *Redis) Stats() RedisStats {
	return RedisStats{Written: r.written.Load(), Dropped: r.dropped.Load(), Failures: r.failures.Load(),
		Received: r.received.Load(), Groups: r.groups.Load()}
}

// Run writes and reads wake-ups until ctx ends, and returns nil then. Redis may come and go meanwhile.
func (r *Redis) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	loops.Go(func() { r.write(ctx) })
	if r.config.Blocking != nil {
		loops.Go(func() { r.read(ctx) })
	}
	loops.Wait()
	return nil
}

// write sends what was queued, until ctx ends; then what is queued still, once.
func (r *Redis) write(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.added:
		}
		for {
			hints := r.take()
			if len(hints) == 0 {
				break
			}
			r.send(context.WithoutCancel(ctx), hints)
		}
	}
}

func (r *Redis) take() []hint {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.order), perCall)
	hints := r.order[:n:n]
	if r.order = r.order[n:]; len(r.order) == 0 {
		r.order = nil
	}
	for _, h := range hints {
		delete(r.waiting, h)
	}
	return hints
}

var add = redisconn.NewScript(`-- KEYS[1]   the stream of wake-ups
-- ARGV[1]   its time to live, milliseconds
-- ARGV[2]   its greatest length, roughly
-- ARGV[3..] lane, operation of each wake-up
-- returns   the number of wake-ups
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'operation', ARGV[i + 1], 'lane', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return (#ARGV - 2) / 2
`)

func (r *Redis) send(ctx context.Context, hints []hint) {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	args := []string{strconv.FormatInt(StreamTTL.Milliseconds(), 10), strconv.Itoa(MaxStream)}
	for _, h := range hints {
		args = append(args, h.lane, h.operation)
	}
	if _, err := r.config.Commands.Run(ctx, add, []string{Stream}, args...); err != nil {
		r.failures.Add(1)
		r.dropped.Add(int64(len(hints)))
		return
	}
	r.written.Add(int64(len(hints)))
}

// read takes as many wake-ups as there are free slots and rings their lanes' bells, until ctx ends.
func (r *Redis) read(ctx context.Context) {
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		free := r.config.Free()
		if free <= 0 {
			pause(ctx, look)
			continue
		}
		entries, err := r.config.Blocking.XReadGroup(ctx, Group, consumer, Stream, free, block)
		if class, _ := redisconn.Classify(err); class == redisconn.ClassNoGroup {
			// From the stream's first entry on: whatever made the group go must not cost the wake-ups that are there.
			var made bool
			if made, err = r.config.Blocking.CreateGroup(ctx, Stream, Group, "0", StreamTTL); made {
				r.groups.Add(1)
			}
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.failures.Add(1)
			backoff = min(max(2*backoff, 50*time.Millisecond), time.Second)
			pause(ctx, backoff/2+rand.N(backoff/2))
		default:
			backoff = 0
			r.received.Add(int64(len(entries)))
			for _, e := range entries {
				if lane := e.Fields["lane"]; r.local.listened(lane) { // anybody may write to a stream
					r.local.Wake(lane, e.Fields["operation"])
				}
			}
		}
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
