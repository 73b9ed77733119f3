-- The values of KEYS, if they have no more than ARGV[1] bytes together; else 0.
local room, values = tonumber(ARGV[1]), {}
for i, key in ipairs(KEYS) do
  room = room - redis.call('STRLEN', key)
  if room < 0 then return 0 end
  values[i] = redis.call('GET', key)
end
return values
