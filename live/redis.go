package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"chunkstream/event"
	"chunkstream/redisconn"
)

// RedisConfig says what a Redis bus stands on. Commands, Feed and Source are needed; a zero number means its default.
type RedisConfig struct {
	// Commands writes the keys and publishes.
	Commands *redisconn.Commands
	// Feed receives. The bus runs it and is its only user.
	Feed *redisconn.Feed
	// Source is the hub's: its Events and Heads fill the gaps before a later event is written.
	Source Source
	// QueueDepth is how many events may wait to be written to Redis, and as many for delivery in this process, 4096.
	// What does not fit is dropped and counted; Redis gets it later from SQL.
	QueueDepth int
	// Writers is how many operations are written at once, 32. They share the few connections of Commands.
	Writers int
	// Ephemeral is the shortest time between two ephemeral events of an operation, 50 ms. The newest one is sent.
	Ephemeral time.Duration
}

// RedisStats is what a Redis bus has done since it was made, and what it holds now.
type RedisStats struct {
	Written  int64 // durable events handed to Redis, those from SQL included
	Dropped  int64 // events that this process did not get into Redis when they came: a full queue, or a failure
	Failures int64 // failed writes, and failed reads of SQL to fill a gap
	Filled   int64 // reads of SQL because Redis lacked events
	Owed     int64 // operations that Redis lacks events of, to be mended from SQL, now
	Received int64 // messages received
	Foreign  int64 // of those: discarded, because they are no event of their channel
	Gaps     int64 // times the subscription was lost
	Channels int64 // channels subscribed to, now
}

// Redis is the bus between processes. What is published here is delivered in this process at once and written to Redis
// in the background: the operation's hash, its stream and its channels, for each operation in order and without a gap
// (docs/redis.md). What is published elsewhere arrives on one connection that is subscribed to what is watched here.
//
// While Redis is away nothing waits: what cannot be written is dropped and counted, and mended from SQL when Redis is
// back. Make one with NewRedis and give it to a hub, which runs it.
type Redis struct {
	config RedisConfig
	local  *Memory
	out    *outboxes
	listen *listener

	written, dropped, failures, filled atomic.Int64
	failing                            atomic.Pointer[string] // why the newest write failed; nil while writes work
}

// NewRedis makes a bus. Its error is a *redisconn.RoleError for a role that is missing, closed or zero, or says that
// the Source is missing.
func NewRedis(c RedisConfig) (*Redis, error) {
	if _, err := redisconn.RequireCommands(c.Commands); err != nil {
		return nil, err
	}
	if _, err := redisconn.RequireFeed(c.Feed); err != nil {
		return nil, err
	}
	if c.Source.Events == nil || c.Source.Heads == nil {
		return nil, errors.New("live: RedisConfig.Source is required")
	}
	setDefault(&c.QueueDepth, 4096)
	setDefault(&c.Writers, 32)
	setDefault(&c.Ephemeral, 50*time.Millisecond)
	return &Redis{
		config: c, local: NewMemory(c.QueueDepth), out: newOutboxes(c.QueueDepth), listen: newListener(c.Feed),
	}, nil
}

// Publish delivers e in this process and queues it for Redis, or drops and counts it when a queue is full. It never
// blocks.
func (r *Redis) Publish(e event.Owned) {
	if e.Event.OperationID == "" || e.Event.Type.Durable() != (e.Event.Seq > 0) {
		r.local.Publish(e) // the hub refuses and counts it
		return
	}
	r.local.Publish(e)
	if !r.out.add(e) {
		r.dropped.Add(1)
	}
}

// draining is how long the end of Run's context leaves for writing what is queued.
const draining = time.Second

// Run delivers, writes and receives until ctx ends, then takes up to a second to write what is queued. Its error is
// that of Feed.Run.
func (r *Redis) Run(ctx context.Context, to Receiver) error {
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var writers, others sync.WaitGroup
	for range r.config.Writers {
		writers.Go(func() { r.write(writing) })
	}
	writers.Go(func() { r.out.pace(writing, r.config.Ephemeral) })
	others.Go(func() { _ = r.local.Run(ctx, to) })
	others.Go(func() { r.mend(ctx) })
	err := r.listen.run(ctx, to)
	<-ctx.Done()
	others.Wait()

	late := time.NewTimer(draining)
	defer late.Stop()
	select {
	case <-r.out.close():
	case <-late.C:
	}
	stopWriting()
	writers.Wait()
	return err
}

// Watch asks for the events of one operation, or of everything of owner when operationID is "".
func (r *Redis) Watch(owner, operationID string) <-chan struct{} {
	return r.listen.watch(owner, operationID)
}

// Forget lets go of the keys of operations that have been deleted. It stops at the first error: what is left goes by its
// time to live, and so do keys that a late event brings back.
func (r *Redis) Forget(ctx context.Context, operationIDs []string) error {
	for _, id := range operationIDs {
		for _, key := range []string{OperationKey(id), StreamKey(id)} {
			if _, err := r.config.Commands.Expire(ctx, key, time.Millisecond); err != nil {
				return fmt.Errorf("live: forget an operation: %w", err)
			}
		}
	}
	return nil
}

// Unwatch undoes one Watch.
func (r *Redis) Unwatch(owner, operationID string) { r.listen.unwatch(owner, operationID) }

// Dropped is how many events a full queue has cost the watchers in this process, and how many did not get into Redis
// when they came.
func (r *Redis) Dropped() int64 { return r.local.Dropped() + r.dropped.Load() }

// Degraded reports whether Redis is away: events of other processes then come from SQL, up to a poll later.
func (r *Redis) Degraded() (bool, string) {
	if !r.listen.connected() {
		return true, "redis: no subscription; live events come from the database"
	}
	if why := r.failing.Load(); why != nil {
		return true, *why
	}
	return false, ""
}

// Stats returns the counters.
func (r *Redis) Stats() RedisStats {
	s := RedisStats{Written: r.written.Load(), Dropped: r.Dropped(), Failures: r.failures.Load(), Filled: r.filled.Load(),
		Owed: r.out.owes()}
	r.listen.stats(&s)
	return s
}

// write takes operations that have something to write, one after the other, until ctx ends.
func (r *Redis) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-r.out.ready:
			events, progress, how := r.out.take(b)
			var err error
			if how == held {
				err = r.publishAll(ctx, b.owner, events)
				r.dropped.Add(int64(len(events)))
			} else if err = r.writeOperation(ctx, b, events, how == owed); err != nil {
				r.dropped.Add(int64(len(events)))
			}
			if progress != nil && (err != nil || r.publish(ctx, b.owner, *progress) != nil) {
				r.dropped.Add(1)
			}
			r.out.done(b, err, r.judge(err))
		}
	}
}

// judge notes how a write has ended, and reports whether the failure lies with the operation rather than with Redis, so
// that trying again and again will hardly help.
func (r *Redis) judge(err error) (hopeless bool) {
	if err == nil {
		r.failing.Store(nil)
		return false
	}
	r.failures.Add(1)
	switch class, _ := redisconn.Classify(err); class {
	case redisconn.ClassWrongType, redisconn.ClassRefused:
		return true
	case redisconn.ClassUnknown, redisconn.ClassCanceled: // SQL cannot be read, or the bus ends
	default:
		why := "redis: events cannot be written: " + string(class)
		r.failing.Store(&why)
	}
	return false
}

// writeOperation writes durable events of one operation. With owing, Redis may lack earlier ones too.
func (r *Redis) writeOperation(ctx context.Context, b *outbox, events []event.Event, owing bool) error {
	w := writing{outbox: b, holes: owing}
	if owing {
		heads, err := r.config.Source.Heads(ctx, []string{b.id})
		if err != nil {
			return err
		}
		head, found := heads[b.id]
		if !found {
			return nil // deleted
		}
		// Watchers have had from SQL what was dropped: only what is new is published.
		w.publishFrom = head + 1
		if len(events) > 0 {
			w.publishFrom = events[0].Seq
			head = max(head, events[len(events)-1].Seq)
		}
		if events, err = r.fill(ctx, b, max(0, head-MaxStream), head, events); err != nil {
			return err
		}
	}
	for waited := false; len(events) > 0; {
		part := events[:fitting(events)]
		last, missing, err := r.writePart(ctx, w, part)
		switch {
		case err != nil:
			return err
		case !missing:
			events = events[len(part):]
		case !waited:
			// What is missing was published by another process, which is most likely about to write it.
			waited = true
			if err := pause(ctx, soon); err != nil {
				return err
			}
		default:
			to := events[len(events)-1].Seq
			if events, err = r.fill(ctx, b, max(last, to-MaxStream), to, events); err != nil {
				return err
			}
			w.holes = true
		}
	}
	return nil
}

// writing is how events of an operation are written.
type writing struct {
	*outbox
	holes       bool  // numbers may be missing
	publishFrom int64 // the first number to be published
}

const (
	soon      = 3 * time.Millisecond
	fillPage  = 200
	fillLimit = 5 * time.Second // on all reads of one fill
)

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill reads the events in (after, to] from SQL. Should it not have them any more, those at hand must do.
func (r *Redis) fill(ctx context.Context, b *outbox, after, to int64, have []event.Event) ([]event.Event, error) {
	r.filled.Add(1)
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	var all []event.Event
	for after < to {
		page, err := r.config.Source.Events(ctx, b.owner, b.id, after, fillPage)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = page[len(page)-1].Seq
	}
	for _, e := range have {
		if e.Seq > after {
			all = append(all, e)
		}
	}
	return all, nil
}

// One call of a script carries so much at most, so that it stays on the connections for small commands.
const partEvents, partBytes = 64, 48 << 10

// fitting is how many of events go into one call, at least 1.
func fitting(events []event.Event) int {
	n, size := 0, 0
	for n < min(len(events), partEvents) {
		size += 1500
		if f := events[n].Data.Error; f != nil {
			size += 2 * len(f.Detail)
		}
		if n++; size > partBytes {
			break
		}
	}
	return n
}

// writePart writes a few events: first the stream and the channels, then the hash.
func (r *Redis) writePart(ctx context.Context, w writing, events []event.Event) (last int64, missing bool, err error) {
	id := w.id
	ctx = redisconn.WithOperation(ctx, id)
	args, err := streamArgs(w.owner, events, w.holes, w.publishFrom)
	if err != nil {
		return 0, false, err
	}
	reply, err := r.config.Commands.Run(ctx, writeStream, []string{StreamKey(id)}, args...)
	if class, _ := redisconn.Classify(err); err != nil && class != redisconn.ClassWrongType {
		return 0, false, err
	}
	if err == nil {
		if last, missing, err = readWritten(reply); err != nil || missing {
			return last, missing, err
		}
	}
	_, hashErr := r.config.Commands.Run(ctx, writeHash, []string{OperationKey(id)}, hashArgs(events)...)
	if err = errors.Join(err, hashErr); err == nil {
		r.written.Add(int64(len(events)))
	}
	return last, false, err
}

func readWritten(reply redisconn.Reply) (last int64, missing bool, err error) {
	parts, err := reply.List()
	if err != nil {
		return 0, false, err
	}
	if len(parts) != 2 {
		return 0, false, errors.New("live: the stream's script did not return two numbers")
	}
	if last, err = parts[0].Int(); err != nil {
		return 0, false, err
	}
	stopped, err := parts[1].Int()
	return last, stopped == 1, err
}

// publishAll sends events that are not stored.
func (r *Redis) publishAll(ctx context.Context, owner string, events []event.Event) error {
	for _, e := range events {
		if err := r.publish(ctx, owner, e); err != nil {
			return err
		}
	}
	return nil
}

// publish sends one event.
func (r *Redis) publish(ctx context.Context, owner string, e event.Event) error {
	message, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx = redisconn.WithOperation(ctx, e.OperationID)
	for _, channel := range []string{Channel(e.OperationID), OwnerChannel(owner)} {
		if _, err := r.config.Commands.Publish(ctx, channel, string(message)); err != nil {
			return err
		}
	}
	return nil
}

// mending is how often operations that Redis lacks events of are looked at, and the least time between two tries.
const mending = 500 * time.Millisecond

// mend lets what was dropped be written from SQL once Redis answers again.
func (r *Redis) mend(ctx context.Context) {
	t := time.NewTicker(mending)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if r.config.Commands.Stats().Up {
			if n := r.out.mend(); n == 0 {
				r.failing.Store(nil)
			}
		}
	}
}
