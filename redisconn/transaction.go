package redisconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

// Tx is one attempt of a transaction, valid only inside the function that Transaction calls: Get, HGetAll and Exists
// read at once, the others are kept until that function returns and then carried out together. It is not safe for
// concurrent use.
type Tx struct {
	c      *Commands
	client rueidis.DedicatedClient
	broken bool // the connection's state is not known
	queue  []query
}

// Get reads the text under key now.
func (t *Tx) Get(ctx context.Context, key string) (value string, found bool, err error) {
	q := query{name: "GET", keys: []string{key}, read: true}
	m, err := t.now(ctx, q)
	if err != nil || m.IsNil() {
		return "", false, err
	}
	value, err = m.ToString()
	return value, err == nil, t.c.role.odd(ctx, q, err)
}

// HGetAll reads the fields of the hash under key now.
func (t *Tx) HGetAll(ctx context.Context, key string) (map[string]string, error) {
	q := query{name: "HGETALL", keys: []string{key}, read: true}
	m, err := t.now(ctx, q)
	if err != nil {
		return nil, err
	}
	fields, err := m.AsStrMap()
	return fields, t.c.role.odd(ctx, q, err)
}

// Exists reports now whether there is key.
func (t *Tx) Exists(ctx context.Context, key string) (bool, error) {
	q := query{name: "EXISTS", keys: []string{key}, read: true}
	m, err := t.now(ctx, q)
	if err != nil {
		return false, err
	}
	n, err := m.AsInt64()
	return n == 1, t.c.role.odd(ctx, q, err)
}

// Set will write value under key for ttl (0: for ever).
func (t *Tx) Set(key, value string, ttl time.Duration) {
	t.queue = append(t.queue, query{name: "SET", keys: []string{key}, after: append([]string{value}, expiry(ttl)...)})
}

// Del will delete keys.
func (t *Tx) Del(keys ...string) { t.queue = append(t.queue, query{name: "DEL", keys: keys}) }

// Incr will add 1 to the number under key.
func (t *Tx) Incr(key string) { t.queue = append(t.queue, query{name: "INCR", keys: []string{key}}) }

// Expire will give key a new time to live.
func (t *Tx) Expire(key string, ttl time.Duration) {
	t.queue = append(t.queue, query{name: "PEXPIRE", keys: []string{key}, after: []string{milliseconds(ttl)}})
}

// HSet will write fields into the hash under key and give it ttl; of its two replies the first counts new fields.
func (t *Tx) HSet(key string, fields map[string]string, ttl time.Duration) {
	t.queue = append(t.queue, query{name: "HSET", keys: []string{key}, after: pairs(fields)})
	t.Expire(key, ttl)
}

// Publish will send message to channel.
func (t *Tx) Publish(channel, message string) {
	t.queue = append(t.queue, query{name: "PUBLISH", after: []string{channel, message}})
}

// Transaction watches the keys watch (at least one; with Cluster, all keys of one slot), calls f, and carries out what
// f kept in tx, all or nothing: nothing if a watched key changed since. Then it tries again with a new Tx, WatchAttempts
// times, after which it fails with ClassConflict. f may so run several times; an error of f ends it with that error. It
// gives one reply for each command kept. All of it ends within four times Config.CommandTimeout, each command within
// one; it holds one of Config.TransactionConnections meanwhile.
func (c *Commands) Transaction(ctx context.Context, watch []string, f func(ctx context.Context, tx *Tx) error) (
	[]Reply, error) {
	if _, err := RequireCommands(c); err != nil && (c == nil || c.role == nil) {
		return nil, err
	}
	start := time.Now()
	r := c.role
	fail := func(f fault, attempt int) error { return r.finish(ctx, "MULTI", f, false, start, attempt) }
	if len(watch) == 0 {
		return nil, fail(fault{class: ClassRefused, err: errors.New("no key to watch: use a script")}, 1)
	}
	if refused := c.tx.acquire(ctx); refused != nil {
		return nil, fail(*refused, 1)
	}
	l, refused := r.begin()
	if refused != nil {
		c.tx.release()
		return nil, fail(*refused, 1)
	}
	defer l.calls.Done()
	within, cancel := context.WithTimeout(ctx, 4*r.CommandTimeout)
	defer cancel()
	client, giveBack := l.client.Dedicate()
	broken := false
	r.meter.inUse.Add(1)
	defer func() {
		// Giving a connection back asks Redis to forget what it was used for, and closing one lets it answer first: with
		// a Redis that is silent neither is done on the caller's time.
		r.work.Add(1) // the call in flight keeps Close from waiting yet
		go func() {
			defer r.work.Done()
			if broken {
				client.Close()
			}
			giveBack()
			r.meter.inUse.Add(-1)
			c.tx.release()
		}()
	}()
	for attempt := 1; ; attempt++ {
		t := &Tx{c: c, client: client}
		replies, done, err := t.attempt(within, watch, f)
		broken = t.broken
		if err != nil || done {
			return replies, err
		}
		if attempt == WatchAttempts {
			return nil, fail(fault{class: ClassConflict, err: errors.New("a watched key keeps changing")}, attempt)
		}
		pause := time.NewTimer(rand.N(time.Duration(attempt) * 2 * time.Millisecond))
		select {
		case <-within.Done():
			pause.Stop()
			return nil, fail(ended(within, false), attempt)
		case <-pause.C:
		}
	}
}

func (t *Tx) attempt(ctx context.Context, watch []string, f func(context.Context, *Tx) error) (
	replies []Reply, done bool, err error) {
	if _, err := t.now(ctx, query{name: "WATCH", keys: watch, read: true}); err != nil {
		return nil, false, err
	}
	if err := f(ctx, t); err != nil || len(t.queue) == 0 {
		if _, dropped := t.now(ctx, query{name: "UNWATCH", read: true}); dropped != nil {
			t.broken = true
		}
		return nil, true, err
	}
	return t.exec(ctx)
}

// now carries out one command on the transaction's connection.
func (t *Tx) now(ctx context.Context, q query) (m rueidis.RedisMessage, err error) {
	start := time.Now()
	r := t.c.role
	within, cancel := context.WithTimeout(ctx, r.CommandTimeout)
	defer cancel()
	f := t.guarded(func() fault {
		m, err = t.client.Do(within, q.build(t.client.B())).ToMessage()
		if err == nil || rueidis.IsRedisNil(err) {
			return fault{}
		}
		return read(ctx, err)
	})
	r.meter.took(time.Since(start))
	if f.class == "" {
		r.good(time.Now())
		return m, nil
	}
	t.broken = t.broken || !f.redis
	return m, r.finish(ctx, q.name, f, true, start, 1)
}

func (t *Tx) exec(ctx context.Context) (replies []Reply, done bool, err error) {
	start := time.Now()
	r := t.c.role
	within, cancel := context.WithTimeout(ctx, r.CommandTimeout)
	defer cancel()
	var answered []rueidis.RedisMessage
	f := t.guarded(func() fault {
		b := t.client.B()
		all := []rueidis.Completed{b.Multi().Build()}
		for _, q := range t.queue {
			all = append(all, q.build(b))
		}
		results := t.client.DoMulti(within, append(all, b.Exec().Build())...)
		// A command that Redis refuses to keep says why itself; EXEC then only says that it did nothing.
		var refused *fault
		for _, result := range results[:len(results)-1] {
			if err := result.Error(); err != nil && refused == nil {
				f := read(ctx, err)
				refused = &f
			}
		}
		last := results[len(results)-1]
		if answered, err = last.ToArray(); err == nil {
			done = true
			return fault{}
		} else if rueidis.IsRedisNil(err) {
			return fault{}
		} else if refused != nil {
			return *refused
		}
		return read(ctx, err)
	})
	r.meter.took(time.Since(start))
	if f.class != "" {
		t.broken = t.broken || !f.redis
		return nil, false, r.finish(ctx, "EXEC", f, false, start, 1)
	}
	for _, m := range answered {
		if err := m.Error(); err != nil && !m.IsNil() {
			// The others were carried out: Redis does not undo.
			f := read(ctx, err)
			f.ran = true
			return nil, true, r.finish(ctx, "EXEC", f, false, start, 1)
		}
		replies = append(replies, Reply{m})
	}
	return replies, done, nil
}

// guarded turns the driver's panic about keys of different Cluster slots into an error.
func (t *Tx) guarded(do func() fault) (f fault) {
	defer func() {
		if p := recover(); p != nil {
			t.broken = true
			f = twoSlots()
		}
	}()
	return do()
}
