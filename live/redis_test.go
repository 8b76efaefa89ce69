package live_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
)

// open gives the roles over a Redis, which may be away.
func open(t testing.TB, url string) *redisconn.Conns {
	t.Helper()
	conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New(url)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conns.Close() })
	return conns
}

// redisBus makes a bus over a Redis and a journal. Its connections are closed after the test's other cleanups.
func redisBus(t testing.TB, url string, j *journal) *live.Redis {
	t.Helper()
	conns := open(t, url)
	bus, err := live.NewRedis(live.RedisConfig{Commands: conns.Commands, Feed: conns.Feed, Source: j.source()})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

// redisRig is a process: a hub on a bus over Redis, and a server. Several may share a journal.
func redisRig(t testing.TB, url string, j *journal, c live.Config) (*rig, *live.Redis) {
	t.Helper()
	bus := redisBus(t, url, j)
	c.Bus = bus
	r := &rig{t: t, journal: j}
	r.hub = live.NewHub(j.source(), c)
	end := r.run()
	server := httptest.NewServer(r.handler())
	address := server.Listener.Addr().String()
	r.dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
	r.stop = sync.OnceFunc(func() { end(); server.Close() })
	t.Cleanup(r.stop)
	return r, bus
}

// eventually waits for something that other processes do.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// connected waits until a bus is whole.
func connected(t testing.TB, buses ...*live.Redis) {
	t.Helper()
	for _, bus := range buses {
		eventually(t, "not degraded", func() bool {
			degraded, _ := bus.Degraded()
			return !degraded
		})
	}
}

// written waits until Redis has the operation up to n.
func written(t testing.TB, c *redisconn.Commands, id string, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s/%d in Redis", id, n), func() bool {
		fields, err := c.HGetAll(t.Context(), live.OperationKey(id))
		entries, _ := c.XRange(t.Context(), live.StreamKey(id), strconv.FormatInt(n, 10), "+", 1)
		return err == nil && fields["seq"] == strconv.FormatInt(n, 10) && len(entries) == 1
	})
}

// lifetimes checks that no key lives for ever.
func lifetimes(t testing.TB, c *redisconn.Commands, s *servertest.Redis) {
	t.Helper()
	all := redisconn.NewScript(`-- KEYS none
-- ARGV none
-- returns all keys without a time to live
local bad = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('PTTL', key) < 0 then bad[#bad + 1] = key end
end
return bad
`)
	reply, err := c.Run(t.Context(), all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := reply.Texts(); err != nil || len(bad) > 0 {
		t.Errorf("keys without a time to live: %q, %v", bad, err)
	}
}

// journey commits an operation of n events and returns them, unpublished.
func (j *journal) journey(owner, id string, n int, last event.Type) []event.Owned {
	out := []event.Owned{j.commit(owner, id, event.Queued), j.commit(owner, id, event.Started)}
	for len(out) < n-1 {
		out = append(out, j.commit(owner, id, event.Batch))
	}
	return append(out, j.commit(owner, id, last))
}

func wantSeqs(t testing.TB, what string, events []event.Event, from, to int64) {
	t.Helper()
	next := from
	for _, e := range events {
		if e.Seq == 0 {
			continue
		}
		if e.Seq != next {
			t.Fatalf("%s: got %s, want %d to %d", what, brief(events), from, to)
		}
		next++
	}
	if next != to+1 {
		t.Fatalf("%s: got %s, want %d to %d", what, brief(events), from, to)
	}
}

// What is published in one process reaches watchers in another: of the operation and of everything, at once, in order.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	j := newJournal()
	slow := live.Config{Poll: time.Hour} // so that only the bus can have brought it
	a, busA := redisRig(t, server.URL(), j, slow)
	b, busB := redisRig(t, server.URL(), j, slow)
	connected(t, busA, busB)
	a.publish("ann", "op_1", event.Queued)
	written(t, open(t, server.URL()).Commands, "op_1", 1)

	one := b.watch("ws", "op_1", "")
	all := b.watchSSE("/events", "")
	other := b.watchWS("/ws?owner=bob")
	if e := one.next(); e.Type != event.Snapshot || e.Data.Seq != 1 || e.Data.Degraded {
		t.Fatalf("opened with %+v", e)
	}
	if e := all.next(); e.Type != event.Snapshot || e.Data.Seq != 1 {
		t.Fatalf("opened with %+v", e)
	}
	a.publish("ann", "op_1", event.Started)
	a.progress("ann", "op_1", 1, 21)
	if e := one.next(); e.Seq != 2 {
		t.Fatalf("got %+v, want event 2", e)
	}
	if e := one.next(); e.Type != event.Progress || e.Data.BytesDone != 21 {
		t.Fatalf("got %+v, want progress", e)
	}
	for range 97 {
		a.publish("ann", "op_1", event.Batch)
	}
	a.publish("ann", "op_1", event.Completed)
	got, end := one.rest()
	if end.code != int(live.CloseDone) {
		t.Errorf("ended with %+v", end)
	}
	wantSeqs(t, "one operation", got, 3, 100)
	a.publish("ann", "op_2", event.Queued)
	var ofAll []event.Event
	for e := all.next(); e.OperationID == "op_1"; e = all.next() {
		ofAll = append(ofAll, e)
		if e.Seq == 100 {
			continue
		}
	}
	wantSeqs(t, "all operations", ofAll, 2, 100)
	if s := b.hub.Stats(); s.GapReads != 0 {
		t.Errorf("%d reads of SQL for what should have come over Redis", s.GapReads)
	}
	for _, c := range []*client{all, other} {
		c.drop()
	}
	select {
	case e, ok := <-other.events:
		if ok {
			t.Errorf("bob saw %+v", e)
		}
	default:
	}
	eventually(t, "no channel without a watcher", func() bool { return busB.Stats().Channels == 0 })
	eventually(t, "Redis knows too", func() bool {
		answer, err := server.Do("PUBSUB", "NUMSUB", live.Channel("op_1"))
		return err == nil && answer == "*2"
	})
	lifetimes(t, open(t, server.URL()).Commands, server)
}

// What the keys hold is what docs/redis.md says, from the first event to after the last.
func TestKeys(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	j := newJournal()
	a, bus := redisRig(t, server.URL(), j, live.Config{})
	connected(t, bus)
	commands := open(t, server.URL()).Commands
	ttl := func(key string) time.Duration {
		t.Helper()
		d, found, err := commands.TTL(t.Context(), key)
		if err != nil || !found {
			t.Fatalf("%s: %v, %v", key, found, err)
		}
		return d
	}
	near := func(key string, want time.Duration) {
		t.Helper()
		if got := ttl(key); got > want || got < want-time.Minute {
			t.Errorf("%s lives for %v, want %v", key, got, want)
		}
	}
	hash := func(want map[string]string) {
		t.Helper()
		got, err := commands.HGetAll(t.Context(), live.OperationKey("op_1"))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("hash: got %v, %v, want %v", got, err, want)
		}
		for name := range got {
			if !slices.Contains(live.HashFields, name) {
				t.Errorf("the hash has an unknown field %q", name)
			}
		}
	}
	at := func(e event.Owned) string { return e.Event.Time.UTC().Format("2006-01-02T15:04:05.000Z") }
	send := func(e event.Owned) event.Owned {
		t.Helper()
		a.hub.Publish(e)
		written(t, commands, "op_1", e.Event.Seq)
		return e
	}

	send(j.commit("ann", "op_1", event.Queued))
	hash(map[string]string{"status": "queued", "progress": "1", "seq": "1", "epoch": "0", "chunks": "1"})
	near(live.OperationKey("op_1"), live.HashTTL)
	near(live.StreamKey("op_1"), live.StreamTTL)
	started := send(j.commit("ann", "op_1", event.Started))
	send(j.commitSized("ann", "op_1", event.Retrying, 5000))
	long, err := commands.HGetAll(t.Context(), live.OperationKey("op_1"))
	if n := len(long["error"]); err != nil || n != live.MaxError || !strings.HasPrefix(long["error"], "padding: xxx") {
		t.Errorf("error of %d bytes, want it cut to %d", n, live.MaxError)
	}
	send(j.commit("ann", "op_1", event.Batch))
	hash(map[string]string{"status": "processing", "progress": "4", "seq": "4", "epoch": "1", "chunks": "4",
		"started_at": at(started)})
	// Each event lets both live for their whole time again, also where they have expired or were deleted meanwhile.
	for _, key := range []string{live.OperationKey("op_1"), live.StreamKey("op_1")} {
		if _, err := commands.Expire(t.Context(), key, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	send(j.commit("ann", "op_1", event.Batch))
	near(live.OperationKey("op_1"), live.HashTTL)
	near(live.StreamKey("op_1"), live.StreamTTL)
	if answer, err := server.Do("DEL", live.OperationKey("op_1"), live.StreamKey("op_1")); err != nil || answer != ":2" {
		t.Fatal(answer, err)
	}
	send(j.commit("ann", "op_1", event.Batch))
	near(live.OperationKey("op_1"), live.HashTTL)
	near(live.StreamKey("op_1"), live.StreamTTL)
	done := send(j.commit("ann", "op_1", event.Completed))
	hash(map[string]string{"status": "completed", "progress": "100", "seq": "7", "epoch": "1", "chunks": "7",
		"started_at": at(started), "completed_at": at(done), "result": `{"chunks":7,"bytes":1000}`})
	near(live.OperationKey("op_1"), live.HashEndedTTL)
	near(live.StreamKey("op_1"), live.StreamEnded)

	entries, err := commands.XRange(t.Context(), live.StreamKey("op_1"), "-", "+", 0)
	if err != nil || len(entries) != 7 {
		t.Fatalf("stream: %v, %v", entries, err)
	}
	for i, e := range entries {
		if want := fmt.Sprintf("%d-0", i+1); e.ID != want {
			t.Errorf("entry %s, want %s", e.ID, want)
		}
		names := slices.Sorted(maps.Keys(e.Fields))
		if !slices.Equal(names, slices.Sorted(slices.Values(live.StreamFields))) {
			t.Errorf("entry %s has the fields %q", e.ID, names)
		}
		if n := len(e.Fields["data"]); n > live.MaxData || !strings.HasPrefix(e.Fields["data"], `{"status":"`) {
			t.Errorf("entry %s has data of %d bytes: %.40s", e.ID, n, e.Fields["data"])
		}
	}
	ms := done.Event.Time.UnixMilli()
	if got, want := entries[6].Fields["timestamp"], fmt.Sprintf("%d.%03d", ms/1000, ms%1000); got != want {
		t.Errorf("timestamp %q, want %q", got, want)
	}
	if entries[6].Fields["event"] != "completed" {
		t.Errorf("last event is %q", entries[6].Fields["event"])
	}
	lifetimes(t, commands, server)
}

// state is all that Redis holds of an operation.
func state(t testing.TB, c *redisconn.Commands, id string) string {
	t.Helper()
	hash, err := c.HGetAll(t.Context(), live.OperationKey(id))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.XRange(t.Context(), live.StreamKey(id), "-", "+", 0)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(hash, stream)
}

// Events that come again and again and in any order leave behind what they leave once and in order.
func TestScriptsAreIdempotent(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	commands := open(t, server.URL()).Commands
	j := newJournal()
	events := []event.Owned{j.commit("ann", "op_1", event.Queued)}
	for attempt := range int64(3) {
		for _, kind := range []event.Type{event.Started, event.Batch, event.Batch, event.Retrying} {
			if attempt == 2 && kind == event.Retrying {
				kind = event.Failed
			}
			e := j.commit("ann", "op_1", kind)
			e.Event.Data.Attempt = attempt + 1
			if kind == event.Retrying {
				e.Event.Data.Status = "queued"
			}
			if kind == event.Retrying || kind == event.Failed {
				e.Event.Data.Error = &event.Failure{Code: "c", Detail: "d"}
			}
			j.operations["op_1"].events[e.Event.Seq-1] = e.Event
			events = append(events, e)
		}
	}
	last := events[len(events)-1].Event.Seq
	var want string
	for round := range 8 {
		if answer, err := server.Do("FLUSHALL"); err != nil || answer != "+OK" {
			t.Fatal(answer, err)
		}
		a, bus := redisRig(t, server.URL(), j, live.Config{})
		connected(t, bus)
		order := slices.Clone(events)
		if round > 0 {
			order = slices.Concat(events, events, events)
			rand.Shuffle(len(order), func(x, y int) { order[x], order[y] = order[y], order[x] })
		}
		for _, e := range order {
			a.hub.Publish(e)
			if round%2 == 1 { // one by one, so that nothing is put in order before it is written
				eventually(t, "written", func() bool {
					fields, err := commands.HGetAll(t.Context(), live.OperationKey("op_1"))
					n, _ := strconv.ParseInt(fields["seq"], 10, 64)
					return err == nil && n >= e.Event.Seq
				})
			}
		}
		a.stop() // writes what is queued
		if got := state(t, commands, "op_1"); round == 0 {
			want = got
			written(t, commands, "op_1", last)
		} else if got != want {
			t.Fatalf("round %d: got\n%s\nwant\n%s", round, got, want)
		}
	}
}

// trouble is something that happens to Redis while events flow from one process to another.
func TestTrouble(t *testing.T) {
	t.Parallel()
	do := func(words ...string) func(testing.TB, *servertest.Redis) {
		return func(t testing.TB, s *servertest.Redis) {
			if answer, err := s.Do(words...); err != nil || strings.HasPrefix(answer, "-") {
				t.Errorf("%s: %s, %v", words, answer, err)
			}
		}
	}
	for name, trouble := range map[string]func(testing.TB, *servertest.Redis){
		"nothing":      func(testing.TB, *servertest.Redis) {},
		"flushall":     do("FLUSHALL"),
		"script flush": do("SCRIPT", "FLUSH"),
		"client kill":  do("CLIENT", "KILL", "TYPE", "pubsub"),
		"kill":         func(_ testing.TB, s *servertest.Redis) { s.Kill(); s.Start() },
		"freeze": func(_ testing.TB, s *servertest.Redis) {
			s.Freeze()
			time.Sleep(700 * time.Millisecond)
			s.Thaw()
		},
		"wrong type": func(t testing.TB, s *servertest.Redis) {
			do("DEL", live.StreamKey("op_1"), live.OperationKey("op_1"))(t, s)
			do("SET", live.StreamKey("op_1"), "x", "EX", "2")(t, s)
			do("SET", live.OperationKey("op_1"), "x", "EX", "2")(t, s)
		},
		"full": func(t testing.TB, s *servertest.Redis) {
			do("CONFIG", "SET", "maxmemory", "1")(t, s)
			time.Sleep(500 * time.Millisecond)
			do("CONFIG", "SET", "maxmemory", "0")(t, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.StartRedis(t)
			j := newJournal()
			a, busA := redisRig(t, server.URL(), j, live.Config{})
			b, busB := redisRig(t, server.URL(), j, live.Config{})
			connected(t, busA, busB)
			a.publish("ann", "op_1", event.Queued)
			a.publish("ann", "op_1", event.Started)
			clients := []*client{b.watch("ws", "op_1", "?since=0"), b.watch("sse", "op_1", "?since=0"),
				a.watch("ws", "op_1", "?since=0"), b.watchWS("/ws")}
			all := clients[3]
			first := all.next()
			hurt := make(chan struct{})
			ticker := time.NewTicker(2 * time.Millisecond)
			defer ticker.Stop()
			var slowest time.Duration
			publish := func(kind event.Type) {
				e := j.commit("ann", "op_1", kind)
				start := time.Now()
				a.hub.Publish(e)
				slowest = max(slowest, time.Since(start))
			}
			for n, left := 0, 50; left > 0; n++ {
				if n == 50 {
					go func() {
						defer close(hurt)
						trouble(t, server)
					}()
				}
				<-ticker.C
				publish(event.Batch)
				select {
				case <-hurt:
					left--
				default:
				}
			}
			publish(event.Completed)
			n := int64(len(j.operations["op_1"].events))
			ended := time.Now()
			for i, c := range clients[:3] {
				events, _ := c.rest()
				wantSeqs(t, fmt.Sprint("watcher ", i), events, 1, n)
			}
			next := first.Data.Seq + 1
			for next <= n {
				if e := all.next(); e.Seq == next {
					next++
				} else if e.Seq > 0 || e.Data.Seq >= next {
					t.Fatalf("watcher of all: got %+v, want %d", e, next)
				}
			}
			if took := time.Since(ended); took > 4*time.Second {
				t.Errorf("watchers saw the end %v after it", took)
			}
			if slowest > 100*time.Millisecond {
				t.Errorf("a Publish took %v", slowest)
			}
			commands := open(t, server.URL()).Commands
			written(t, commands, "op_1", n) // mended
			connected(t, busA, busB)
			entries, err := commands.XRange(t.Context(), live.StreamKey("op_1"), "-", "+", 0)
			if err != nil {
				t.Fatal(err)
			}
			from := max(0, n-live.MaxStream)
			for i, e := range entries {
				if want := fmt.Sprintf("%d-0", int(n)-len(entries)+1+i); e.ID != want {
					t.Fatalf("entry %d of the stream is %s, want %s", i, e.ID, want)
				}
			}
			if int64(len(entries)) != n-from {
				t.Errorf("the stream has %d entries of %d events", len(entries), n)
			}
			lifetimes(t, commands, server)
			t.Logf("%s: %d events, slowest publish %v, end after %v, %+v", name, n, slowest, time.Since(ended), busA.Stats())
		})
	}
}

// An ephemeral event that still waits for its time when the operation ends is not sent: other programs read the channel too.
func TestNoProgressAfterTheEnd(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	r, bus := redisRig(t, server.URL(), newJournal(), live.Config{})
	connected(t, bus)
	conn, err := net.Dial("tcp", server.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	// until reads messages of these channels up to one of a type.
	until := func(kind event.Type) (all []event.Event) {
		for lines.Scan() {
			var e event.Event
			if !strings.HasPrefix(lines.Text(), "{") {
				continue // the protocol's own
			} else if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if all = append(all, e); e.Type == kind {
				return all
			}
		}
		t.Fatalf("no %s: %v, after %s", kind, lines.Err(), brief(all))
		return nil
	}
	if _, err := fmt.Fprintf(conn, "SUBSCRIBE %s\r\n", live.Channel("op_1")); err != nil || !lines.Scan() {
		t.Fatal(err, lines.Err())
	}
	r.publish("ann", "op_1", event.Queued)
	r.publish("ann", "op_1", event.Started)
	r.progress("ann", "op_1", 1, 30)
	r.publish("ann", "op_1", event.Completed)
	until(event.Completed)
	if _, err := fmt.Fprintf(conn, "SUBSCRIBE %s\r\n", live.Channel("op_2")); err != nil {
		t.Fatal(err)
	}
	r.publish("ann", "op_2", event.Queued)
	r.publish("ann", "op_2", event.Started)
	for n := range int64(3) { // each has its time after the one of op_1
		r.progress("ann", "op_2", 1, 30+n)
		for _, e := range until(event.Progress) {
			if e.OperationID == "op_1" {
				t.Errorf("%s came after the end of its operation", e.Type)
			}
		}
	}
}

// What could not be stored while its key was of another type is stored when that has gone, although nothing new comes.
func TestStreamIsMended(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	r, bus := redisRig(t, server.URL(), newJournal(), live.Config{})
	connected(t, bus)
	for _, words := range [][]string{{"SET", live.StreamKey("op_1"), "x"}, {"PEXPIRE", live.StreamKey("op_1"), "600000"}} {
		if answer, err := server.Do(words...); err != nil || strings.HasPrefix(answer, "-") {
			t.Fatal(answer, err)
		}
	}
	kinds := []event.Type{event.Queued, event.Started, event.Batch, event.Completed}
	for _, kind := range kinds {
		r.publish("ann", "op_1", kind)
	}
	commands := open(t, server.URL()).Commands
	eventually(t, "the hash at the end", func() bool {
		fields, err := commands.HGetAll(t.Context(), live.OperationKey("op_1"))
		return err == nil && fields["seq"] == strconv.Itoa(len(kinds))
	})
	if answer, err := server.Do("DEL", live.StreamKey("op_1")); answer != ":1" {
		t.Fatal(answer, err)
	}
	eventually(t, "the stream at the end", func() bool {
		entries, err := commands.XRange(t.Context(), live.StreamKey("op_1"), "-", "+", 0)
		return err == nil && len(entries) == len(kinds)
	})
}

// Without Redis everything goes on, from SQL.
func TestRedisAbsent(t *testing.T) {
	t.Parallel()
	j := newJournal()
	url := "redis://" + servertest.FreeAddress(t) + "/0"
	a, busA := redisRig(t, url, j, live.Config{Poll: 200 * time.Millisecond})
	b, _ := redisRig(t, url, j, live.Config{Poll: 200 * time.Millisecond})
	if degraded, why := busA.Degraded(); !degraded || !strings.Contains(why, "redis") {
		t.Errorf("Degraded = %v, %q", degraded, why)
	}
	a.publish("ann", "op_1", event.Queued)
	own, other := a.watch("ws", "op_1", ""), b.watch("ws", "op_1", "")
	for _, c := range []*client{own, other} {
		if e := c.next(); !e.Data.Degraded {
			t.Errorf("the snapshot does not say that it is degraded: %+v", e)
		}
	}
	const n = 1000
	for range n - 2 {
		a.publish("ann", "op_1", event.Batch)
	}
	a.publish("ann", "op_1", event.Completed)
	for _, c := range []*client{own, other} {
		events, _ := c.rest()
		wantSeqs(t, "a watcher", events, 2, n)
	}
	if s := busA.Stats(); s.Dropped == 0 {
		t.Errorf("nothing was counted as dropped: %+v", s)
	}
}

// A message that is no event of its channel is discarded, and a stranger's watching brings nothing.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	j := newJournal()
	a, bus := redisRig(t, server.URL(), j, live.Config{Poll: time.Hour})
	connected(t, bus)
	a.publish("ann", "op_1", event.Queued)
	c := a.watch("ws", "op_1", "")
	c.next()
	eventually(t, "subscribed", func() bool { return bus.Stats().Channels == 1 })
	for _, message := range []string{"", "{", "[]", `{"seq":2,"type":"batch","operation_id":"op_2"}`} {
		if answer, err := server.Do("PUBLISH", live.Channel("op_1"), message); err != nil || answer != ":1" {
			t.Fatalf("%q: %s, %v", message, answer, err)
		}
	}
	// They are counted while the channel is watched: the last event ends that.
	eventually(t, "4 foreign messages counted", func() bool { return bus.Stats().Foreign == 4 })
	a.publish("ann", "op_1", event.Completed)
	events, _ := c.rest()
	wantSeqs(t, "the watcher", events, 2, 2)
}

func TestNewRedisRefuses(t *testing.T) {
	t.Parallel()
	conns := open(t, "redis://"+servertest.FreeAddress(t))
	source := newJournal().source()
	for _, c := range []live.RedisConfig{
		{}, {Commands: conns.Commands, Source: source}, {Feed: conns.Feed, Source: source},
		{Commands: conns.Commands, Feed: &redisconn.Feed{}, Source: source},
		{Commands: conns.Commands, Feed: conns.Feed},
	} {
		if _, err := live.NewRedis(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// The contract of every bus.
func TestBuses(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, *journal) live.Bus{
		"memory": func(*testing.T, *journal) live.Bus { return live.NewMemory(4096) },
		"redis": func(t *testing.T, j *journal) live.Bus {
			return redisBus(t, servertest.StartRedis(t).URL(), j)
		},
		"redis absent": func(t *testing.T, j *journal) live.Bus {
			return redisBus(t, "redis://"+servertest.FreeAddress(t), j)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJournal()
			bus := open(t, j)
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			got := map[string][]event.Event{}
			ended := make(chan error, 1)
			go func() {
				ended <- bus.Run(ctx, live.Receiver{
					Deliver: func(o event.Owned) {
						mu.Lock()
						defer mu.Unlock()
						if e := o.Event; o.Owner == "ann" && (e.Seq == 0 || int(e.Seq) == len(got[e.OperationID])+1) {
							got[e.OperationID] = append(got[e.OperationID], e)
						}
					},
					Overhear: func(string, event.Event) {},
					Lost:     func() {},
				})
			}()
			// Watch and Unwatch in any order and number never block, and what is watched becomes ready.
			for range 100 {
				<-bus.Watch("ann", "")
				ready := bus.Watch("ann", "op_1")
				bus.Unwatch("ann", "op_1")
				bus.Unwatch("ann", "op_1") // once too often
				<-ready
				bus.Unwatch("ann", "")
			}
			// Events published here are delivered here, in order and once, however many publish.
			var publishing sync.WaitGroup
			for n := range 8 {
				publishing.Go(func() {
					for _, e := range j.journey("ann", fmt.Sprint("op_", n), 50, event.Completed) {
						bus.Publish(e)
					}
				})
			}
			publishing.Wait()
			for n := range 8 {
				eventually(t, "delivered", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(got[fmt.Sprint("op_", n)]) == 50
				})
			}
			// Far more than a queue holds neither blocks nor is forgotten in the count.
			start := time.Now()
			for range 20000 {
				bus.Publish(event.Owned{Owner: "bob", Event: event.Event{Type: event.Batch, Seq: 1, OperationID: "op_x"}})
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("20000 events took %v", took)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			bus.Publish(event.Owned{Owner: "bob", Event: event.Event{Type: event.Batch, Seq: 1, OperationID: "op_x"}})
			bus.Watch("ann", "op_1")
			bus.Unwatch("ann", "op_1")
			if degraded, why := bus.Degraded(); degraded != (why != "") {
				t.Errorf("Degraded = %v, %q", degraded, why)
			}
		})
	}
}

// Ephemeral events are conflated: no more than one in 50 ms leaves the process, and the newest is among them.
func TestEphemeralOverRedis(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	a, busA := redisRig(t, server.URL(), newJournal(), live.Config{Poll: time.Hour})
	b, busB := redisRig(t, server.URL(), a.journal, live.Config{Poll: time.Hour})
	connected(t, busA, busB)
	a.publish("ann", "op_1", event.Queued)
	a.publish("ann", "op_1", event.Started)
	written(t, open(t, server.URL()).Commands, "op_1", 2)
	own, other := a.watch("ws", "op_1", ""), b.watch("ws", "op_1", "")
	own.next()
	other.next()
	before := busB.Stats().Received
	start := time.Now()
	const n = 300
	for i := range n {
		a.progress("ann", "op_1", 1, int64(21+i))
		time.Sleep(500 * time.Microsecond)
	}
	for _, c := range []*client{own, other} {
		for last := int64(0); last < 20+n; {
			e := c.next()
			if e.Type != event.Progress || e.Data.BytesDone <= last {
				t.Fatalf("got %+v after %d bytes", e, last)
			}
			last = e.Data.BytesDone
		}
	}
	if got, most := busB.Stats().Received-before, int64(time.Since(start)/(50*time.Millisecond)+2); got > most {
		t.Errorf("%d messages, want at most %d", got, most)
	}
	a.publish("ann", "op_1", event.Completed)
	for _, c := range []*client{own, other} {
		events, _ := c.rest()
		wantSeqs(t, "a watcher", events, 3, 3)
		if len(events) != 1 {
			t.Errorf("got %s, want the end alone: an echo was delivered", brief(events))
		}
	}
}

// What a full queue has dropped gets into Redis all the same, once there is room.
func TestQueueOverflow(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	j := newJournal()
	conns := open(t, server.URL())
	bus, err := live.NewRedis(live.RedisConfig{
		Commands: conns.Commands, Feed: conns.Feed, Source: j.source(), QueueDepth: 8, Writers: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, journal: j, hub: live.NewHub(j.source(), live.Config{Bus: bus})}
	t.Cleanup(r.run())
	connected(t, bus)
	server.Freeze()
	const operations = 40
	for i := range operations {
		for _, e := range j.journey("ann", fmt.Sprint("op_", i), 6, event.Completed) {
			r.hub.Publish(e)
		}
	}
	server.Thaw()
	if s := bus.Stats(); s.Dropped == 0 || s.Owed == 0 {
		t.Errorf("nothing was dropped: %+v", s)
	}
	for i := range operations {
		written(t, conns.Commands, fmt.Sprint("op_", i), 6)
	}
	eventually(t, "no debts", func() bool { return bus.Stats().Owed == 0 })
	for i := range operations {
		if n, err := conns.Commands.XLen(t.Context(), live.StreamKey(fmt.Sprint("op_", i))); err != nil || n != 6 {
			t.Errorf("op_%d has %d entries, %v", i, n, err)
		}
	}
}

// TestForget: what Redis keeps of an operation that was deleted goes, and of no other; a late event of it, or a Redis that is
// away, leaves nothing that stays.
func TestForget(t *testing.T) {
	t.Parallel()
	server := servertest.StartRedis(t)
	j := newJournal()
	rig, bus := redisRig(t, server.URL(), j, live.Config{})
	connected(t, bus)
	c := open(t, server.URL()).Commands
	for _, id := range []string{"op_gone", "op_stays"} {
		for _, e := range j.journey("ann", id, 3, event.Completed) {
			rig.hub.Publish(e)
		}
	}
	for _, id := range []string{"op_gone", "op_stays"} {
		eventually(t, id+" is in Redis", func() bool {
			n, err := c.Exists(t.Context(), live.OperationKey(id), live.StreamKey(id))
			return err == nil && n == 2 && state(t, c, id) != ""
		})
	}
	gone := func() bool {
		n, err := c.Exists(t.Context(), live.OperationKey("op_gone"), live.StreamKey("op_gone"))
		return err == nil && n == 0
	}
	if err := bus.Forget(t.Context(), []string{"op_gone", "op_never"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its keys are gone", gone)
	if n, err := c.Exists(t.Context(), live.OperationKey("op_stays"), live.StreamKey("op_stays")); err != nil || n != 2 {
		t.Errorf("of the other operation %d keys are left, %v, want 2", n, err)
	}
	rig.hub.Publish(j.journey("ann", "op_gone", 3, event.Completed)[2])
	eventually(t, "a late event has brought them back", func() bool { return !gone() })
	lifetimes(t, c, server)

	server.Kill()
	if err := bus.Forget(t.Context(), []string{"op_stays"}); err == nil {
		t.Error("without a Redis it said that the keys are gone")
	}
}
