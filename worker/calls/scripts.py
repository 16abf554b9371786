"""What Redis does in one step for the worker: Lua for `evaluations` and `ledger`."""

# KEYS[1] one prompt's evaluations by data hash, KEYS[2] the shapes that they share, KEYS[3] "prompt|hash" of all
# prompts' evaluations in the order of keeping
# ARGV[1] most to keep, ARGV[2] the prompt's key, ARGV[3] how many shapes, then shape's id, shape, ..., then hash,
# evaluation, hash, evaluation...
# The place is counted, not timed: a clock that jumps back must not make the newest the oldest. The keys of an evicted
# evaluation follow from its member of KEYS[3].
KEEP_EVALUATIONS = """
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local place = tonumber(last[2]) or 0
local first = 4 + 2 * ARGV[3]
for i = 4, first - 1, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
for i = first, #ARGV, 2 do
  place = place + 1
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[3], string.format('%.0f', place), ARGV[2] .. '|' .. ARGV[i])
end
local over = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[1])
while over > 0 do
  local oldest = redis.call('ZPOPMIN', KEYS[3], math.min(over, 1000))
  for i = 1, #oldest, 2 do
    local prompt, hash = string.match(oldest[i], '^([^|]*)|(.*)$')
    local key = 'whetstone:evaluations:' .. prompt
    redis.call('HDEL', key, hash)
    if redis.call('EXISTS', key) == 0 then redis.call('DEL', key .. ':shapes') end
  end
  over = over - 1000
end
return 0
"""

# A reservation is "calls tokens nano-dollars expires_us", or "settled". KEYS[1] what the run spent, KEYS[2] its
# reservations by id, KEYS[3] what all runs of the month spent, KEYS[4] their reservations
# ARGV[1] id, ARGV[2] calls, ARGV[3] tokens, ARGV[4] nano-dollars to reserve, ARGV[5] to ARGV[7] the run's caps on
# these, ARGV[8] to ARGV[10] the month's, 0 for none, ARGV[11] lease in microseconds, ARGV[12], ARGV[13] seconds to keep
# the run's, the month's
# Returns nothing when reserved, else what stands against it: 1 run or 2 month, 1 calls or 2 tokens or 3 nano-dollars,
# how much is spent and reserved already.
RESERVE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function taken(spent, reservations)
  local found = redis.call('HMGET', spent, 'student_calls', 'teacher_calls', 'embedding_calls', 'prompt_tokens',
                           'completion_tokens', 'nano_usd')
  for i = 1, 6 do found[i] = tonumber(found[i] or 0) end
  local sums = {found[1] + found[2] + found[3], found[4] + found[5], found[6]}
  local stored = redis.call('HGETALL', reservations)
  for i = 1, #stored, 2 do
    local calls, tokens, nano_usd, expires = string.match(stored[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
    if calls and tonumber(expires) <= now then
      redis.call('HDEL', reservations, stored[i])
    elseif calls and stored[i] ~= ARGV[1] then
      sums = {sums[1] + calls, sums[2] + tokens, sums[3] + nano_usd}
    end
  end
  return sums
end

for scope = 1, 2 do
  local sums = taken(KEYS[2 * scope - 1], KEYS[2 * scope])
  for unit = 1, 3 do
    local cap = tonumber(ARGV[1 + 3 * scope + unit])
    if cap > 0 and sums[unit] + ARGV[1 + unit] > cap then
      return {scope, unit, string.format('%.0f', sums[unit])}
    end
  end
end
local reservation = string.format('%s %s %s %.0f', ARGV[2], ARGV[3], ARGV[4], now + ARGV[11])
for scope = 1, 2 do
  redis.call('HSET', KEYS[2 * scope], ARGV[1], reservation)
  redis.call('EXPIRE', KEYS[2 * scope], ARGV[11 + scope])
end
return {}
"""

# KEYS as of RESERVE
# ARGV[1] the reservation's id, '' for none, ARGV[2], ARGV[3] seconds to keep the run's, the month's, then what was
# spent, amount, what, amount...
# What is settled once counts once, also when the answer is lost and the step is tried again.
SETTLE = """
if ARGV[1] ~= '' then
  if redis.call('HGET', KEYS[2], ARGV[1]) == 'settled' then return 0 end
  redis.call('HSET', KEYS[2], ARGV[1], 'settled')
  redis.call('HDEL', KEYS[4], ARGV[1])
end
for scope = 1, 2 do
  local spent = KEYS[2 * scope - 1]
  for i = 4, #ARGV, 2 do
    if ARGV[i + 1] ~= '0' then redis.call('HINCRBY', spent, ARGV[i], ARGV[i + 1]) end
  end
  redis.call('EXPIRE', spent, ARGV[1 + scope])
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""

# KEYS[1] the run's reservations, KEYS[2] the month's
RELEASE_ALL = """
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  if stored[i + 1] ~= 'settled' then
    redis.call('HDEL', KEYS[1], stored[i])
    redis.call('HDEL', KEYS[2], stored[i])
  end
end
return 0
"""
