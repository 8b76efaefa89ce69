package celery

import (
	"crypto/rand"

	"chunkstream/redisconn"
)

// separator stands between the name of a queue and a priority step, in the name of a list.
const separator = "\x06\x16"

// broken is the list of messages that say not even which task they are. It holds the newest thousand.
const broken = "chunkstream:celery:broken"

// keys are kombu's record of messages that were taken and not acknowledged: the messages, and when each was last seen
// to be held. Workers in Python on the same broker keep theirs in the same place and put back, after their own
// visibility timeout, what they find there, ours too; so the values have kombu's form, [message, exchange, routing key],
// with the anonymous exchange and the queue as the routing key. Ours are told from theirs by the tag,
// chunkstream/<run>/<list>: what a Python worker holds is never touched.
var keys = []string{"unacked", "unacked_index"}

func newRun() string { return rand.Text() + "." }

// prelude is shared by the scripts. A message is never decoded and encoded again: cjson would change it.
const prelude = `
local unacked, index = KEYS[1], KEYS[2]
local function now() local t = redis.call('TIME') return t[1] + t[2] / 1000000 end
local function tail(list) return ',"",' .. cjson.encode((string.gsub(list, '\6\22%d+$', ''))) .. ']' end
local function put_back(tag)
  local list = string.match(tag, '^chunkstream/[^/]*/(.*)$')
  local value = redis.call('HGET', unacked, tag)
  if value then redis.call('RPUSH', list, string.sub(value, 2, -1 - #tail(list))) end
  redis.call('HDEL', unacked, tag)
  redis.call('ZREM', index, tag)
  return value and 1 or 0
end
`

// script puts what all have in common behind a script's own header.
func script(header, code string) *redisconn.Script {
	const common = "-- KEYS[1] messages taken, by tag\n-- KEYS[2] when each was last held\n"
	return redisconn.NewScript(common + header + prelude + code)
}

// pop takes up to ARGV[1] messages from the lists KEYS[3…], in their order, and records each at once.
var pop = script(`-- KEYS[3...] the lists, the most urgent first
-- ARGV[1] how many messages at most
-- ARGV[2] what makes the tags unique
-- returns tag and message, in turn
`, `
local out, at = {}, now()
for i = 3, #KEYS do
  while #out < 2 * ARGV[1] do
    local m = redis.call('RPOP', KEYS[i])
    if not m then break end
    local tag = 'chunkstream/' .. ARGV[2] .. '.' .. #out .. '/' .. KEYS[i]
    redis.call('HSET', unacked, tag, '[' .. m .. tail(KEYS[i]))
    redis.call('ZADD', index, at, tag)
    out[#out + 1], out[#out + 2] = tag, m
  end
end
return out`)

// putOff says of the tag ARGV[1] that it was last held at ARGV[2].
var putOff = script(`-- ARGV[1] the tag
-- ARGV[2] when it counts as last held, in seconds since 1970
-- returns 0
-- repeat safe
`, `
return redis.call('ZADD', index, 'XX', ARGV[2], ARGV[1])`)

// renew says of the tags ARGV that they are held.
var renew = script(`-- ARGV[1...] the tags
-- returns how many they are
-- repeat safe
`, `
local at = now()
for _, tag in ipairs(ARGV) do redis.call('ZADD', index, 'XX', at, tag) end
return #ARGV`)

// giveBack puts back the tags ARGV, the last first, so that the first is the next to be taken.
var giveBack = script(`-- ARGV[1...] the tags
-- returns how many they are
-- repeat safe
`, `
for i = #ARGV, 1, -1 do put_back(ARGV[i]) end
return #ARGV`)

// restore puts back our messages that nobody has held for ARGV[1] seconds: a thousand at most, the rest next time.
var restore = script(`-- ARGV[1] how many seconds a holder may be silent
-- returns how many messages were put back
-- repeat safe
`, `
local n = 0
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now() - ARGV[1])) do
  if string.sub(tag, 1, 12) == 'chunkstream/' then n = n + put_back(tag) end
  if n == 1000 then break end
end
return n`)

// tell writes the state ARGV[2], if any, under KEYS[3] for ARGV[3] seconds and to those who wait for it; forgets the
// tag ARGV[1], if any; and with ARGV[4] keeps its message in KEYS[4].
var tell = script(`-- KEYS[3] where the result goes
-- KEYS[4] the list of messages put aside
-- ARGV[1] the tag to forget, or nothing
-- ARGV[2] the state, or nothing
-- ARGV[3] how many seconds the state can be read
-- ARGV[4] not empty: put the message aside
-- returns 1
`, `
if ARGV[4] ~= '' then
  redis.call('LPUSH', KEYS[4], redis.call('HGET', unacked, ARGV[1]) or '')
  redis.call('LTRIM', KEYS[4], 0, 999)
end
if ARGV[1] ~= '' then
  redis.call('HDEL', unacked, ARGV[1])
  redis.call('ZREM', index, ARGV[1])
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
  redis.call('PUBLISH', KEYS[3], ARGV[2])
end
return 1`)
