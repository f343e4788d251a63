-- Sends each request of a file once; bench/requests.py writes it. After the URL: the file.

local requests, sent = {}, 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

-- wrk calls this before it starts the clock.
function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for length in function() return file:read(8) end do
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
  collectgarbage("collect")
  -- Nothing is garbage from here on, and looking for it would take time from the server beside us.
  collectgarbage("stop")
end

function request()
  sent = sent + 1
  if sent > #requests then
    exhausted = true
    wrk.thread:stop()
  end
  return requests[sent] or requests[#requests]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "figures %d %d %d %d %.1f %.1f %s\n",
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99),
    threads[1]:get("exhausted") and "exhausted" or "enough"
  ))
end
