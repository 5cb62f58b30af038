//! What is done in Redis in one step. Each takes many keys.
//!
//! A key's state is in one place, so a write that takes it over ends a lease, too. frame.rs says what stands there.

use redis::Script;

/// The scripts; made once for each tier, loaded into the server when it does not know them.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) take: Script,
    pub(crate) fill: Script,
    pub(crate) mark: Script,
    pub(crate) finish: Script,
}

/// Reads, or leases what is missing. ARGV: lease, its life in ms, and for each key what is there and to be replaced.
/// Returns for each what is there, empty if it is leased to the caller, and its life in ms; -9: something was there that is no string.
///
/// What can't be written any more must not be read either: a Redis that has become a replica does not refuse to read. So a call that
/// leases nothing ends with a write that changes nothing, which such a server refuses. Not in every call and not before the
/// leases: after a first write Redis does not look whether its memory is full.
const TAKE: &str = r"
local out = {}
local leased = false
for i, key in ipairs(KEYS) do
  local held = redis.pcall('GET', key)
  if not held or type(held) == 'table' or held == ARGV[2 + i] then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    leased = true
    out[2 * i - 1] = ''
    out[2 * i] = type(held) == 'table' and -9 or 0
  else
    out[2 * i - 1] = held
    out[2 * i] = redis.call('PTTL', key)
  end
end
if not leased then
  redis.call('DEL', ARGV[#ARGV])
end
return out";

/// Puts values where the lease still stands; an empty one ends the lease. ARGV: lease, then for each key value and life in ms.
/// Returns how many were put.
const FILL: &str = r"
local filled = 0
for i, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[1] then
    if ARGV[2 * i] == '' then
      redis.call('DEL', key)
    else
      redis.call('SET', key, ARGV[2 * i], 'PX', ARGV[2 * i + 1])
      filled = filled + 1
    end
  end
end
return filled";

/// The writers of a key whose time is not over, without one of them; and the end of the last one's.
const OTHERS: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function others(held, head, token)
  local kept, last = '', 0
  if type(held) == 'string' and string.sub(held, 1, 2) == head then
    for at = 3, #held - 31, 32 do
      local ends = tonumber(string.sub(held, at + 16, at + 31))
      if ends and ends > now and string.sub(held, at, at + 15) ~= token then
        kept = kept .. string.sub(held, at, at + 31)
        last = math.max(last, ends)
      end
    end
  end
  return kept, last
end
";

/// Says that somebody writes: values and leases are gone, and there are no new ones. ARGV: head, token, time in ms.
const MARK: &str = r"
for _, key in ipairs(KEYS) do
  local kept, last = others(redis.pcall('GET', key), ARGV[1], ARGV[2])
  local ends = now + ARGV[3]
  redis.call('SET', key, ARGV[1] .. kept .. ARGV[2] .. string.format('%016.0f', ends),
    'PX', math.max(last - now, ARGV[3]))
end
return 0";

/// Says that somebody writes no more. The last writer leaves nothing. ARGV: head, token.
const FINISH: &str = r"
for _, key in ipairs(KEYS) do
  local kept, last = others(redis.pcall('GET', key), ARGV[1], ARGV[2])
  if kept == '' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, ARGV[1] .. kept, 'PX', math.max(last - now, 1))
  end
end
return 0";

impl Scripts {
    pub(crate) fn new() -> Self {
        let with_others = |script: &str| Script::new(&[OTHERS, script].concat());
        Self {
            take: Script::new(TAKE),
            fill: Script::new(FILL),
            mark: with_others(MARK),
            finish: with_others(FINISH),
        }
    }
}
