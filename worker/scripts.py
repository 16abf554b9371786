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
