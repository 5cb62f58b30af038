-- Random airports of the bundled file, read from the repository's root.
local codes = {}
local file = assert(io.popen("gzip -dc examples/airports/data/airports.csv.gz"))
for line in file:lines() do
  local code = line:match('^"([A-Z0-9_][A-Z0-9_][A-Z0-9_][A-Z0-9_])"')
  if code then
    codes[#codes + 1] = code
  end
end
file:close()
math.randomseed(os.time())
request = function()
  return wrk.format("GET", "/airports/" .. codes[math.random(#codes)])
end
