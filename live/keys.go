package live

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"chunkstream/event"
	"chunkstream/redisconn"
)

// What docs/redis.md promises about the keys of an operation.
const (
	HashTTL      = 24 * time.Hour   // of the hash, from its newest event
	HashEndedTTL = time.Hour        // of the hash, from the terminal event
	MaxError     = 1 << 10          // bytes of the hash's field error
	StreamTTL    = time.Hour        // of the stream, from its newest event
	StreamEnded  = 10 * time.Minute // of the stream, from the terminal event
	MaxStream    = 1000             // entries of the stream
	MaxData      = 4 << 10          // bytes of a stream entry's field data
)

// OperationKey names the hash that holds the state of an operation.
func OperationKey(id string) string { return "operation:" + id }

// StreamKey names the stream of an operation's durable events.
func StreamKey(id string) string { return "stream:chunking:" + id }

// Channel names the channel of all events of an operation.
func Channel(id string) string { return "chunking:" + id }

// OwnerChannel names the channel of all events of an owner's operations. It is for hubs: who watches everything cannot
// know the ids in advance.
func OwnerChannel(owner string) string { return "chunkstream:events:" + owner }

// HashFields and StreamFields are the names of all fields that are ever written.
var (
	HashFields = []string{"status", "progress", "seq", "epoch", "chunks", "started_at", "completed_at", "failed_at",
		"error", "result"}
	StreamFields = []string{"event", "timestamp", "data"}
)

// Each key has one script, because the keys of one operation need not be on one node of a Cluster. Each script can be
// run again, with old events too, and in any order, and leaves the same behind.
var (
	writeHash = redisconn.NewScript(`-- KEYS[1]   the hash of an operation
-- ARGV[1]   its time to live, milliseconds
-- ARGV[2]   the number of the event that the fields describe
-- ARGV[3]   its epoch
-- ARGV[4]   when that epoch began, '' when not known
-- ARGV[5..] field, value, field, value …
-- returns   1 when anything was written, else 0
-- repeat safe
local held = redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'started_at')
if tonumber(ARGV[2]) <= tonumber(held[1] or 0) then
  if ARGV[4] ~= '' and held[2] == ARGV[3] and not held[3] then
    return redis.call('HSET', KEYS[1], 'started_at', ARGV[4])
  end
  return 0
end
local stale = {started_at = true, completed_at = true, failed_at = true, error = true, result = true}
for i = 5, #ARGV, 2 do
  stale[ARGV[i]] = nil
end
redis.call('HSET', KEYS[1], 'seq', ARGV[2], 'epoch', ARGV[3], unpack(ARGV, 5))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'started_at', ARGV[4])
end
if ARGV[4] ~= '' or held[2] == ARGV[3] then
  stale['started_at'] = nil
end
for field in pairs(stale) do
  redis.call('HDEL', KEYS[1], field)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
`)

	// What cannot be stored (no memory, a key of another type) is published all the same.
	writeStream = redisconn.NewScript(`-- KEYS[1]   the stream of an operation
-- ARGV[1]   its time to live, milliseconds
-- ARGV[2]   its greatest length
-- ARGV[3]   the channel of the operation
-- ARGV[4]   the channel of the owner
-- ARGV[5]   1 when numbers may be missing before an event because they cannot be had, else 0
-- ARGV[6..] number, type, timestamp, data, message of each event, ascending; message '' is not published
-- returns   the number of the newest event before, and 1 when it stopped because a number is missing, else 0
-- repeat safe
local failure, before = nil, 0
local newest = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if newest.err then
  failure = newest.err
elseif newest[1] then
  before = tonumber(string.match(newest[1][1], '^%d+'))
end
local last, added, missing = before, false, 0
for i = 6, #ARGV, 5 do
  local seq = tonumber(ARGV[i])
  if seq > last then
    if not failure then
      if seq > last + 1 and ARGV[5] == '0' then
        missing = 1
        break
      end
      local reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', ARGV[2], ARGV[i] .. '-0',
        'event', ARGV[i + 1], 'timestamp', ARGV[i + 2], 'data', ARGV[i + 3])
      if type(reply) == 'table' and reply.err then
        failure = reply.err
      else
        added = true
      end
    end
    last = seq
    if ARGV[i + 4] ~= '' then
      redis.call('PUBLISH', ARGV[3], ARGV[i + 4])
      redis.call('PUBLISH', ARGV[4], ARGV[i + 4])
    end
  end
end
if added then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
if failure then
  return redis.error_reply(failure)
end
return {before, missing}
`)
)

// hashArgs are the arguments of writeHash for events of one operation, ascending: the state after the last of them.
func hashArgs(events []event.Event) []string {
	e := events[len(events)-1]
	d := e.Data
	ttl, started := HashTTL, ""
	for _, s := range events {
		if s.Type == event.Started && s.Data.Attempt == d.Attempt {
			started = instant(s.Time)
		}
	}
	progress := int64(0)
	if d.BytesTotal > 0 {
		progress = int64(100 * float64(d.BytesDone) / float64(d.BytesTotal))
	}
	fields := []string{"status", d.Status, "chunks", number(d.Chunks)}
	switch e.Type {
	case event.Completed:
		progress = 100
		fields = append(fields, "completed_at", instant(e.Time),
			"result", fmt.Sprintf(`{"chunks":%d,"bytes":%d}`, d.Chunks, d.BytesTotal))
	case event.Failed:
		fields = append(fields, "failed_at", instant(e.Time))
	}
	if e.Type.Terminal() {
		ttl = HashEndedTTL
	}
	if d.Error != nil {
		fields = append(fields, "error", cut(d.Error.Code+": "+d.Error.Detail, MaxError))
	}
	fields = append(fields, "progress", number(progress))
	return append([]string{number(ttl.Milliseconds()), number(e.Seq), number(d.Attempt), started}, fields...)
}

// streamArgs are the arguments of writeStream. Events below publishFrom are not published.
func streamArgs(owner string, events []event.Event, holes bool, publishFrom int64) ([]string, error) {
	last := events[len(events)-1]
	ttl, flag := StreamTTL, "0"
	if last.Type.Terminal() {
		ttl = StreamEnded
	}
	if holes {
		flag = "1"
	}
	args := make([]string, 0, 5+5*len(events))
	args = append(args, number(ttl.Milliseconds()), number(MaxStream),
		Channel(last.OperationID), OwnerChannel(owner), flag)
	for _, e := range events {
		var message []byte
		if e.Seq >= publishFrom {
			var err error
			if message, err = json.Marshal(e); err != nil {
				return nil, fmt.Errorf("live: encode event %s/%d: %w", e.OperationID, e.Seq, err)
			}
		}
		data, err := boundedData(e.Data)
		if err != nil {
			return nil, fmt.Errorf("live: encode event %s/%d: %w", e.OperationID, e.Seq, err)
		}
		ms := e.Time.UnixMilli()
		timestamp := fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
		args = append(args, number(e.Seq), string(e.Type), timestamp, data, string(message))
	}
	return args, nil
}

// boundedData is d as JSON of at most MaxData bytes: what does not fit is cut off the error's detail.
func boundedData(d event.Data) (string, error) {
	for limit := MaxData; ; limit /= 2 {
		b, err := json.Marshal(d)
		if err != nil || len(b) <= MaxData || limit == 0 {
			return string(b), err
		}
		d.Worker = cut(d.Worker, limit)
		if d.Error != nil {
			d.Error = &event.Failure{Code: cut(d.Error.Code, limit), Detail: cut(d.Error.Detail, limit)}
		}
	}
}

// cut is s, or as much of it as n bytes hold.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// instant is a time as events have it.
func instant(t event.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
