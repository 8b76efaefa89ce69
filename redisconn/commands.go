package redisconn

import (
	"context"
	"errors"
	"sort"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Commands is the request path's role: every method ends within Config.CommandTimeout, none blocks inside Redis, and
// all callers share a few connections, writing their commands behind each other's. A write is never sent twice; a read
// whose connection was lost is tried once more. After BreakerFailures failures within BreakerWindow every call fails at
// once with ClassUnavailable, until Redis answers a probe. It is safe for concurrent use. Only Open makes one.
type Commands struct {
	role *role
	big  *role // its own connection, breaker and patience: 5 MB must not stand in front of 50 bytes
	tx   bound
}

func newCommands(ctx context.Context, s *settings) *Commands {
	c := &Commands{
		role: newRole(ctx, s, "commands", shape{name: s.ClientName + "-commands", timeout: s.CommandTimeout,
			silence: time.Second, buffer: 64 << 10, share: s.Connections, pool: s.TransactionConnections + 1}),
		big: newRole(ctx, s, "commands_big", shape{name: s.ClientName + "-big", timeout: s.BigTimeout,
			silence: time.Second + s.BigTimeout, buffer: 256 << 10, share: 1, pool: 1}),
	}
	c.tx = newBound(s.TransactionConnections, s.AcquireTimeout, &c.role.meter)
	ping := func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Ping().Build()).Error()
	}
	c.role.work.Add(1)
	go c.role.probing(true, ping)
	c.big.work.Add(1)
	go c.big.probing(false, ping)
	return c
}

// Close refuses new calls, waits for those in flight, ends the connections and returns. Closing again does nothing. The
// error is always nil.
func (c *Commands) Close() error {
	if c == nil || c.role == nil {
		return nil
	}
	return errors.Join(c.role.close(), c.big.close())
}

// Stats is how the role stands.
func (c *Commands) Stats() Stats { return c.core().stats() }

// BigStats is how the connection for big values stands; its Role is "commands_big".
func (c *Commands) BigStats() Stats {
	if c == nil {
		return Stats{}
	}
	return c.big.stats()
}

// query is one command: its name, its keys and the rest, in the order that Redis wants them: name, before, keys, after.
type query struct {
	name   string
	before []string
	keys   []string
	after  []string
	read   bool // changes nothing: may be tried again
	safe   bool // running it again changes nothing more
	big    bool // the reply may be big
	block  bool // on a connection of its own
}

func (q query) size() (n int) {
	for _, list := range [][]string{q.before, q.keys, q.after} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}

func (q query) build(b rueidis.Builder) rueidis.Completed {
	a := b.Arbitrary(q.name).Args(q.before...).Keys(q.keys...).Args(q.after...)
	if q.block {
		return a.Blocking()
	}
	return a.Build()
}

func (c *Commands) do(ctx context.Context, q query) (rueidis.RedisMessage, error) {
	if c == nil || c.role == nil {
		_, err := RequireCommands(c)
		return rueidis.RedisMessage{}, err
	}
	r := c.role
	if q.big || q.size() > BigValue {
		r = c.big
	}
	return r.do(ctx, q, r.shape.timeout)
}

// do carries out one command within budget. A nil reply is no error.
func (r *role) do(ctx context.Context, q query, budget time.Duration) (m rueidis.RedisMessage, err error) {
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	for attempt := 1; ; attempt++ {
		var f fault
		if m, f = r.once(within, ctx, q); f.class == "" {
			r.meter.took(time.Since(start))
			return m, nil
		}
		if f.class == classNoScript && q.name == "EVALSHA" {
			r.meter.took(time.Since(start))
			return m, errNoScript
		}
		if q.read && attempt == 1 && f.class == ClassUnavailable && f.ran && within.Err() == nil && !r.openly.Load() {
			r.meter.retries.Add(1)
			continue
		}
		r.meter.took(time.Since(start))
		return m, r.finish(ctx, q.name, f, q.safe || q.read, start, attempt)
	}
}

func (r *role) once(within, caller context.Context, q query) (m rueidis.RedisMessage, f fault) {
	if caller.Err() != nil {
		return m, ended(caller, false)
	}
	l, refused := r.begin()
	if refused != nil {
		return m, *refused
	}
	defer l.calls.Done()
	r.meter.inUse.Add(1)
	defer r.meter.inUse.Add(-1)
	defer func() {
		if p := recover(); p != nil { // the builder's way to say that keys are of different nodes
			f = twoSlots()
		}
	}()
	m, err := l.client.Do(within, q.build(l.client.B())).ToMessage()
	if err == nil || rueidis.IsRedisNil(err) {
		r.good(time.Now())
		return m, f
	}
	return m, read(caller, err)
}

func twoSlots() fault {
	return fault{class: ClassMoved, err: errors.New("the keys are of different Cluster slots: give them one {tag}")}
}

func isNil(m rueidis.RedisMessage) bool { return m.IsNil() }

// odd is the error for a reply of a type that the command never has.
func (r *role) odd(ctx context.Context, q query, err error) error {
	if err == nil {
		return nil
	}
	return r.finish(ctx, q.name, fault{class: ClassRefused, ran: true, err: errors.New("a reply of another type")},
		q.safe || q.read, time.Now(), 1)
}

func (c *Commands) number(ctx context.Context, q query) (int64, error) {
	m, err := c.do(ctx, q)
	if err != nil {
		return 0, err
	}
	n, err := m.AsInt64()
	return n, c.role.odd(ctx, q, err)
}

func (c *Commands) text(ctx context.Context, q query) (string, error) {
	m, err := c.do(ctx, q)
	if err != nil {
		return "", err
	}
	s, err := m.ToString()
	return s, c.role.odd(ctx, q, err)
}

// Get reads the text under key; found is false when there is none. For a value that may be over BigValue bytes use
// GetBig.
func (c *Commands) Get(ctx context.Context, key string) (value string, found bool, err error) {
	return c.get(ctx, query{name: "GET", keys: []string{key}, read: true})
}

// GetBig is Get over the connection for big values, within Config.BigTimeout.
func (c *Commands) GetBig(ctx context.Context, key string) (value string, found bool, err error) {
	return c.get(ctx, query{name: "GET", keys: []string{key}, read: true, big: true})
}

func (c *Commands) get(ctx context.Context, q query) (string, bool, error) {
	m, err := c.do(ctx, q)
	if err != nil || isNil(m) {
		return "", false, err
	}
	s, err := m.ToString()
	return s, err == nil, c.role.odd(ctx, q, err)
}

// Set writes value under key for ttl, which is at least a millisecond; 0 means for ever. It reports true: it writes or
// it fails. A value over BigValue bytes goes over the connection for big values.
func (c *Commands) Set(ctx context.Context, key, value string, ttl time.Duration) (written bool, err error) {
	q := query{name: "SET", keys: []string{key}, after: append([]string{value}, expiry(ttl)...), safe: true}
	_, err = c.do(ctx, q)
	return err == nil, err
}

// SetNX writes value under key for ttl (0 means for ever) unless the key exists; it reports whether it wrote.
func (c *Commands) SetNX(ctx context.Context, key, value string, ttl time.Duration) (written bool, err error) {
	m, err := c.do(ctx, query{name: "SET", keys: []string{key}, after: append([]string{value, "NX"}, expiry(ttl)...)})
	return err == nil && !isNil(m), err
}

func expiry(ttl time.Duration) []string {
	if ttl <= 0 {
		return nil
	}
	return []string{"PX", milliseconds(ttl)}
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// Del deletes keys and gives how many there were. With Cluster they must be of one slot.
func (c *Commands) Del(ctx context.Context, keys ...string) (int64, error) {
	return c.number(ctx, query{name: "DEL", keys: keys, safe: true})
}

// Exists gives how many of keys there are; a key named twice counts twice. With Cluster they must be of one slot.
func (c *Commands) Exists(ctx context.Context, keys ...string) (int64, error) {
	return c.number(ctx, query{name: "EXISTS", keys: keys, read: true})
}

// Expire gives key a new time to live, at least a millisecond; it reports whether the key exists.
func (c *Commands) Expire(ctx context.Context, key string, ttl time.Duration) (exists bool, err error) {
	n, err := c.number(ctx, query{name: "PEXPIRE", keys: []string{key}, after: []string{milliseconds(ttl)}, safe: true})
	return n == 1, err
}

// TTL is how long key has to live: 0 when for ever; found is false when there is no such key.
func (c *Commands) TTL(ctx context.Context, key string) (ttl time.Duration, found bool, err error) {
	n, err := c.number(ctx, query{name: "PTTL", keys: []string{key}, read: true})
	return time.Duration(max(n, 0)) * time.Millisecond, err == nil && n != -2, err
}

var hset = NewScript(`-- KEYS[1]  the hash
-- ARGV[1]  its time to live, milliseconds
-- ARGV[2..] field, value, field, value …
-- returns  the number of fields that are new
-- repeat   safe
local n = redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return n
`)

// HSet writes fields into the hash under key and gives it ttl (at least a millisecond) in the same step, so that no
// hash is left without one. It gives the number of fields that are new; no fields is no call.
func (c *Commands) HSet(ctx context.Context, key string, fields map[string]string, ttl time.Duration) (int64, error) {
	if len(fields) == 0 {
		return 0, nil
	}
	reply, err := c.Run(ctx, hset, []string{key}, append([]string{milliseconds(ttl)}, pairs(fields)...)...)
	if err != nil {
		return 0, err
	}
	return reply.Int()
}

// HGetAll is all fields of the hash under key; none when there is no such key.
func (c *Commands) HGetAll(ctx context.Context, key string) (map[string]string, error) {
	q := query{name: "HGETALL", keys: []string{key}, read: true}
	m, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	fields, err := m.AsStrMap()
	return fields, c.role.odd(ctx, q, err)
}

// Incr adds 1 to the number under key, 0 when there is none, and gives the sum. It sets no time to live: see Run.
func (c *Commands) Incr(ctx context.Context, key string) (int64, error) {
	return c.number(ctx, query{name: "INCR", keys: []string{key}})
}

// XAdd appends to the stream under key and gives the entry's id. With id "" Redis makes one; an id that is not above
// all others fails with ClassRefused, which makes a repeat with the same id harmless. maxLen over 0 keeps the stream at
// about that many entries. The stream's time to live is left as it is: use a script for both at once.
func (c *Commands) XAdd(ctx context.Context, key, id string, maxLen int64, fields map[string]string) (string, error) {
	q := query{name: "XADD", keys: []string{key}, safe: id != ""}
	if maxLen > 0 {
		q.after = []string{"MAXLEN", "~", strconv.FormatInt(maxLen, 10)}
	}
	if id == "" {
		id = "*"
	}
	q.after = append(append(q.after, id), pairs(fields)...)
	return c.text(ctx, q)
}

// XRange is the entries of the stream under key from the id start to the id end, both included, at most count; "-" and
// "+" are the first and the last, "(id" leaves id out. A missing key has none.
func (c *Commands) XRange(ctx context.Context, key, start, end string, count int64) ([]Entry, error) {
	q := query{name: "XRANGE", keys: []string{key}, after: []string{start, end}, read: true}
	if count > 0 {
		q.after = append(q.after, "COUNT", strconv.FormatInt(count, 10))
	}
	m, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	all, err := m.AsXRange()
	return entries(all), c.role.odd(ctx, q, err)
}

// XLen is the number of entries of the stream under key; 0 when there is no such key.
func (c *Commands) XLen(ctx context.Context, key string) (int64, error) {
	return c.number(ctx, query{name: "XLEN", keys: []string{key}, read: true})
}

// Publish sends message to whoever subscribes to channel now, and gives how many connections did (with Cluster, of one
// node). A repeat sends it again.
func (c *Commands) Publish(ctx context.Context, channel, message string) (int64, error) {
	return c.number(ctx, query{name: "PUBLISH", after: []string{channel, message}})
}

// Ping asks Redis for a sign of life and gives how long that took.
func (c *Commands) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	_, err := c.do(ctx, query{name: "PING", read: true})
	return time.Since(start), err
}

// Info is one section of Redis's own account of itself ("server", "memory", "replication", …), as Redis writes it.
func (c *Commands) Info(ctx context.Context, section string) (string, error) {
	return c.text(ctx, query{name: "INFO", after: []string{section}, read: true})
}

// Time is Redis's clock.
func (c *Commands) Time(ctx context.Context) (time.Time, error) {
	q := query{name: "TIME", read: true}
	m, err := c.do(ctx, q)
	if err != nil {
		return time.Time{}, err
	}
	parts, err := m.AsIntSlice()
	if err != nil || len(parts) != 2 {
		return time.Time{}, c.role.odd(ctx, q, errors.New("not two numbers"))
	}
	return time.Unix(parts[0], parts[1]*1000), nil
}

// WhoAmI is the ACL user that these connections are logged in as; "default" when nobody named one.
func (c *Commands) WhoAmI(ctx context.Context) (string, error) {
	return c.text(ctx, query{name: "ACL", before: []string{"WHOAMI"}, read: true})
}

// DryRun asks Redis whether an ACL user may run a command with these arguments, without running it. refusal is "" when
// it may, else Redis's own words, which name the command, the key or the channel that is not granted. The error is
// ClassAuth when the connection's user may not ask, and ClassRefused where there is no ACL DRYRUN: before Redis 7.
func (c *Commands) DryRun(ctx context.Context, user, command string, args ...string) (refusal string, err error) {
	answer, err := c.text(ctx, query{name: "ACL", before: append([]string{"DRYRUN", user, command}, args...), read: true})
	if answer == "OK" {
		answer = ""
	}
	return answer, err
}

// Run runs a script by its digest, and in full where Redis does not know it. Its error is SafeToRepeat only if the
// script's header says "-- repeat safe", or if it surely did not run.
func (c *Commands) Run(ctx context.Context, s *Script, keys []string, args ...string) (Reply, error) {
	q := query{name: "EVALSHA", keys: keys, after: args, safe: s != nil && s.repeatable}
	switch {
	case s == nil || s.digest == "":
		return Reply{}, &Error{"commands", q.name, ClassRefused, true, 1, errors.New("a script not made by NewScript")}
	case len(keys) < s.keys:
		return Reply{}, &Error{"commands", q.name, ClassRefused, true, 1,
			errors.New("the script needs " + strconv.Itoa(s.keys) + " keys")}
	}
	count := strconv.Itoa(len(keys))
	q.before = []string{s.digest, count}
	m, err := c.do(ctx, q)
	if errors.Is(err, errNoScript) {
		q.name, q.before = "EVAL", []string{s.source, count}
		m, err = c.do(ctx, q)
	}
	return Reply{m}, err
}

func pairs(fields map[string]string) []string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	all := make([]string, 0, 2*len(names))
	for _, name := range names {
		all = append(all, name, fields[name])
	}
	return all
}
