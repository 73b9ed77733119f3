-- Applies what an event has written, if what it has read is still so.
-- KEYS: the record of the event, if ARGV[2] is not 0; then what was read; then what is written.
-- ARGV: how many keys were read; for how many seconds the record is kept, 0: there is none; what is
--       to be published; then for each key "1" and its value, or "0" and "" where there is none.
-- Returns 0, or the number of the key that has changed, or -1 if the event is recorded already.
local reads, seconds, own = tonumber(ARGV[1]), ARGV[2], 0
if seconds ~= '0' then
  own = 1
  if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
end
for i = 1, #KEYS - own do
  local key, there, value = KEYS[own + i], ARGV[2 * i + 2] == '1', ARGV[2 * i + 3]
  if i <= reads then
    -- What is no plain value any more is an error, a table, and neither.
    local now = redis.pcall('GET', key)
    if there and now ~= value or not there and now then return i end
  elseif there then
    redis.call('SET', key, value)
  else
    redis.call('DEL', key)
  end
end
if own > 0 then
  redis.call('SET', KEYS[1], ARGV[3], 'EX', seconds)
end
return 0
