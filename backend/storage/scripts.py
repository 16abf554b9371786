"""What Redis does in one step: Lua for `store`, `versions`, `run_store` and `limiter`."""

# KEYS[1] the active pointer, KEYS[2] the versions by name
# ARGV[1] the name that the caller has at hand, '' for none
# Returns nil, or the name and the version's JSON, nil when the caller has it.
ACTIVE = """
local name = redis.call('GET', KEYS[1])
if not name then return false end
if name == ARGV[1] then return {name, false} end
return {name, redis.call('HGET', KEYS[2], name)}
"""

# Of more versions than `most`, those that never were active go first, lowest number first, then those whose last
# activation is the longest ago. Neither `name` nor the active one goes.
_PRUNE = """
local function prune(name, most)
  local over = redis.call('HLEN', KEYS[2]) - tonumber(most)
  if over <= 0 then return end
  local active = redis.call('GET', KEYS[1])
  local names = redis.call('HKEYS', KEYS[2])
  table.sort(names, function(a, b) return #a < #b or (#a == #b and a < b) end)
  local order = {}
  for _, each in ipairs(names) do
    if not redis.call('ZSCORE', KEYS[3], each) then table.insert(order, each) end
  end
  for _, each in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do table.insert(order, each) end
  for _, each in ipairs(order) do
    if over > 0 and each ~= active and each ~= name then
      redis.call('HDEL', KEYS[2], each)
      redis.call('ZREM', KEYS[3], each)
      over = over - 1
    end
  end
end
"""

# KEYS[1] the active pointer, KEYS[2] the versions by name, KEYS[3] names by milliseconds of their last activation
# ARGV[1] the version's name, ARGV[2] its JSON, ARGV[3] most versions to keep
# Returns 1, or -1 where the name is taken by other content.
ADD_VERSION = f"""{_PRUNE}
local kept = redis.call('HGET', KEYS[2], ARGV[1])
if kept then return kept == ARGV[2] and 1 or -1 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
prune(ARGV[1], ARGV[3])
return 1
"""

# KEYS as of ADD_VERSION, KEYS[4] the activations, latest first: "milliseconds name by"
# ARGV[1] the version's name, ARGV[2] its JSON, '' where it must be stored already, ARGV[3] the name expected to be
# active, '' for none, ARGV[4] who activates, ARGV[5] most versions, ARGV[6] most activations to keep
# Returns 1 won, 0 lost, -1 the name is taken by other content, -2 there is no such version.
ACTIVATE = f"""{_PRUNE}
local kept = redis.call('HGET', KEYS[2], ARGV[1])
if ARGV[2] == '' and not kept then return -2 end
if ARGV[2] ~= '' and kept and kept ~= ARGV[2] then return -1 end
local active = redis.call('GET', KEYS[1]) or ''
if kept and active == ARGV[1] then return 1 end
if active ~= ARGV[3] then return 0 end
local time = redis.call('TIME')
local now = string.format('%.3f', time[1] * 1000 + time[2] / 1000)
if not kept then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[4], now .. ' ' .. ARGV[1] .. ' ' .. ARGV[4])
redis.call('LTRIM', KEYS[4], 0, ARGV[6] - 1)
prune(ARGV[1], ARGV[5])
return 1
"""

# KEYS[1] whose settings a project goes by: settings, rank, since
# ARGV[1] the caller's settings, ARGV[2] their rank, ARGV[3] since when they hold
# Of the same rank the later ones win. Returns nil where the caller's settings hold, else those that do.
CLAIM = """
local held = redis.call('HMGET', KEYS[1], 'settings', 'rank', 'since')
if held[1] then
  local rank, since = tonumber(held[2]), tonumber(held[3])
  if rank > tonumber(ARGV[2]) or (rank == tonumber(ARGV[2]) and since > tonumber(ARGV[3])) then
    if held[1] == ARGV[1] then return false end
    return held[1]
  end
end
redis.call('HSET', KEYS[1], 'settings', ARGV[1], 'rank', ARGV[2], 'since', ARGV[3])
return false
"""

# KEYS[1] the project's record
# ARGV field, value, field, value...
UPDATE_PROJECT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if #ARGV > 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return 1
"""

# KEYS[1] this project's and version's predictions, KEYS[2] "project|version|hash" of all by time of keeping
# ARGV[1] most to keep, ARGV[2] "project|version|", then hash, prediction, hash, prediction...
# The key of an evicted prediction follows from its member of KEYS[2].
KEEP_PREDICTIONS = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], string.format('%.6f', now), ARGV[2] .. ARGV[i])
end
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
while over > 0 do
  local oldest = redis.call('ZPOPMIN', KEYS[2], math.min(over, 1000))
  for i = 1, #oldest, 2 do
    local project, version, hash = string.match(oldest[i], '^([^|]*)|([^|]*)|(.*)$')
    redis.call('HDEL', 'whetstone:project:' .. project .. ':predictions:' .. version, hash)
  end
  over = over - 1000
end
return 0
"""

# KEYS[1] an endpoint's epoch, KEYS[2] what it was found to be able to do
# ARGV[1] the epoch that the caller knows
BEGIN_EPOCH = """
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], string.format('%d', ARGV[1] + 1))
redis.call('DEL', KEYS[2])
return 1
"""

# KEYS[1] the bulk labeling: total, done, failed
# ARGV[1] tasks done, ARGV[2] tasks failed, ARGV[3] seconds to keep it
# Returns nil, or total, done, failed.
ADVANCE_BULK = """
local total = redis.call('HGET', KEYS[1], 'total')
if not total then return false end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {total, redis.call('HINCRBY', KEYS[1], 'done', ARGV[1]), redis.call('HINCRBY', KEYS[1], 'failed', ARGV[2])}
"""

# KEYS[1] the runs by id, KEYS[2] ids in the order in which they were first saved
# ARGV[1] the run's id, ARGV[2] its JSON, ARGV[3] most to keep
# A run's place is counted, not timed: a clock that jumps back must not make the newest run the oldest.
SAVE_RUN = """
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  redis.call('ZADD', KEYS[2], (tonumber(last[2]) or 0) + 1, ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[2], over)
  for i = 1, #oldest, 2 do redis.call('HDEL', KEYS[1], oldest[i]) end
end
return 1
"""

# One step of a holder of, or waiter for, slots. The caller's own count is what holds: a Redis that lost its data or a
# lease that ran out while its process was stopped mends itself with the holder's next step.
# KEYS[1] entries: id -> "rank wanted count arrived_us expires_us", KEYS[2] pace: limit, paused_until_us
# ARGV[1] id, ARGV[2] rank (0 live, 1 bulk, 2 optimize), ARGV[3] wanted in all, 0 to leave, ARGV[4] count it has now
# ARGV[5] 1 to take more, ARGV[6] most slots, ARGV[7] lease in microseconds, ARGV[8] prefix of the wake-up lists
# Returns count, how many of them to give back, microseconds of a pause left, 1 if the limit is below most.
# Lower ranks leave one slot to live requests. Among equals, those who came first go first, and each has its share.
STEP = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local me, most = ARGV[1], tonumber(ARGV[6])
local mine = {id = me, rank = tonumber(ARGV[2]), wanted = tonumber(ARGV[3]), count = tonumber(ARGV[4]), arrived = now}
local entries = {}
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local rank, wanted, count, arrived, expires = string.match(stored[i + 1], '(%d+) (%d+) (%d+) (%d+) (%d+)')
  if tonumber(expires) < now then
    redis.call('HDEL', KEYS[1], stored[i])
  elseif stored[i] == me then
    mine.arrived = tonumber(arrived)
  else
    table.insert(entries, {id = stored[i], rank = tonumber(rank), wanted = tonumber(wanted), count = tonumber(count),
                           arrived = tonumber(arrived)})
  end
end
if mine.wanted > 0 then table.insert(entries, mine) end

local pace = redis.call('HMGET', KEYS[2], 'limit', 'paused_until_us')
local limit = math.max(1, math.min(most, math.floor(tonumber(pace[1]) or most)))
local pause = math.max(0, (tonumber(pace[2]) or 0) - now)

local function room(rank)
  local free, low = limit, math.max(1, limit - 1)
  for _, entry in ipairs(entries) do
    free = free - entry.count
    if entry.rank > 0 then low = low - entry.count end
  end
  return math.max(0, rank == 0 and free or math.min(free, low))
end

local function unmet(entry)
  local cap = entry.rank == 0 and limit or math.max(1, limit - 1)
  return math.max(0, math.min(entry.wanted, cap) - entry.count)
end

-- An equal part for each of a rank.
local function share(rank, round)
  local equals = 0
  for _, entry in ipairs(entries) do
    if entry.rank == rank then equals = equals + 1 end
  end
  return math.max(1, round((rank == 0 and limit or math.max(1, limit - 1)) / math.max(1, equals)))
end

local function others(wants)
  local sum = 0
  for _, entry in ipairs(entries) do
    if entry ~= mine then sum = sum + wants(entry) end
  end
  return sum
end

local function need(rank)
  return others(function(entry) return entry.rank == rank and unmet(entry) or 0 end)
end

-- What `entry` may take: its room without what is due to higher ranks and to equals that have nothing and came before.
local function open(entry)
  local left = room(entry.rank)
  for _, other in ipairs(entries) do
    if other.rank < entry.rank then
      left = left - unmet(other)
    elseif other.rank == entry.rank and other.count == 0 and (entry.count > 0 or other.arrived < entry.arrived) then
      left = left - 1
    end
  end
  return left
end

if ARGV[5] == '1' and pause == 0 then
  local most_now = open(mine)
  if need(mine.rank) > 0 then most_now = math.min(most_now, share(mine.rank, math.ceil) - mine.count) end
  mine.count = mine.count + math.max(0, math.min(most_now, mine.wanted - mine.count))
end

local give = mine.count + others(function(entry) return entry.count end) - limit
for rank = 0, mine.rank - 1 do give = math.max(give, need(rank) - room(rank)) end
-- Where an equal has nothing yet, parts are rounded down, so that it need not wait for another's end.
local empty = others(function(entry) return entry.rank == mine.rank and entry.count == 0 and 1 or 0 end)
local fair = share(mine.rank, empty > 0 and math.floor or math.ceil)
local surplus = math.min(need(mine.rank) - room(mine.rank), mine.count - fair)
give = math.max(0, math.min(math.max(give, surplus), mine.count))
if pause > 0 then give = mine.count end

if mine.wanted > 0 then
  local entry = string.format('%d %d %d %.0f %.0f', mine.rank, mine.wanted, mine.count, mine.arrived, now + ARGV[7])
  redis.call('HSET', KEYS[1], me, entry)
  redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[7] / 1000))
else
  redis.call('HDEL', KEYS[1], me)
end

local waiting = {}
for _, entry in ipairs(entries) do
  if entry ~= mine and entry.count == 0 then table.insert(waiting, entry) end
end
table.sort(waiting, function(a, b)
  if a.rank ~= b.rank then return a.rank < b.rank end
  return a.arrived < b.arrived
end)
for _, entry in ipairs(waiting) do
  local list = ARGV[8] .. entry.id
  if pause > 0 or open(entry) <= 0 then break end
  if redis.call('EXISTS', list) == 0 then
    redis.call('RPUSH', list, 1)
    redis.call('PEXPIRE', list, 5000)
  end
end
return {mine.count, give, string.format('%.0f', pause), limit < most and 1 or 0}
"""

# KEYS[1] pace: limit, paused_until_us, halved_us
# ARGV[1] most slots, ARGV[2] microseconds to pause
# Calls under way when the first was refused are often refused too: they prolong the pause and halve nothing.
BACK_OFF = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local pace = redis.call('HMGET', KEYS[1], 'limit', 'paused_until_us', 'halved_us')
local limit, paused, halved = tonumber(pace[1]) or tonumber(ARGV[1]), tonumber(pace[2]) or 0, tonumber(pace[3]) or 0
if now >= paused and now - halved >= 1000000 then
  redis.call('HSET', KEYS[1], 'limit', math.max(1, math.floor(limit / 2)), 'halved_us', string.format('%.0f', now))
end
redis.call('HSET', KEYS[1], 'paused_until_us', string.format('%.0f', math.max(paused, now + ARGV[2])))
redis.call('PEXPIRE', KEYS[1], 600000 + math.ceil(ARGV[2] / 1000))
return 0
"""

# KEYS[1] pace: limit
# ARGV[1] most slots, ARGV[2] calls that succeeded
# As many successes as the limit is high raise it by one.
EASE = """
local limit = tonumber(redis.call('HGET', KEYS[1], 'limit'))
if not limit then return 0 end
redis.call('HSET', KEYS[1], 'limit', tostring(math.min(tonumber(ARGV[1]), limit + ARGV[2] / limit)))
return 0
"""
