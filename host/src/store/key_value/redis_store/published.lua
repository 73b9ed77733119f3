-- What was to be published for the event of KEYS[1] is published: its record says so, for as long as
-- if there had been nothing.
-- ARGV: for how many seconds longer it was kept for that.
local left = redis.call('PTTL', KEYS[1]) - ARGV[1] * 1000
if redis.call('STRLEN', KEYS[1]) == 0 then return 0 end
if left > 0 then
  redis.call('SET', KEYS[1], '', 'PX', left)
else
  redis.call('DEL', KEYS[1])
end
return 0
