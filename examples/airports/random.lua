-- Random airports of the United States' local identifiers: most exist, all are valid codes.
local digits = "0123456789"
local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
local function pick(from)
  local n = math.random(#from)
  return from:sub(n, n)
end
request = function()
  return wrk.format("GET", "/airports/" .. pick(digits) .. pick(digits) .. pick(letters) .. pick(letters))
end
