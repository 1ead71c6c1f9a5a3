-- Turbo.lua's client on one job, like measure.py for Python.
-- luajit turbo.lua JOB, with LUA_PATH and TURBO_LIBTFFI set to a built checkout.

local turbo = require "turbo"
local ffi = require "ffi"

ffi.cdef [[
struct benchmark_usage { long user[2]; long system[2]; long others[14]; };
int getrusage(int who, struct benchmark_usage *usage);
]]

turbo.log.disable_all()

-- Turbo forks a process to resolve a name that is not cached, and uses a socket with a random
-- name for it. A run that was ended leaves its sockets, so the names must not repeat.
math.randomseed(math.floor(turbo.util.gettimemonotonic()))

local job = turbo.escape.json_decode(arg[1])
local body = job.posted > 0 and string.rep("x", job.posted) or nil

local function now()
    local time = ffi.new("struct timespec")
    ffi.C.clock_gettime(1, time)
    return tonumber(time.tv_sec) + tonumber(time.tv_nsec) / 1e9
end

-- The CPU time of this process and of its children, which Turbo forks to resolve names.
local function cpu()
    local usage, used = ffi.new("struct benchmark_usage"), 0
    for who = -1, 0 do
        ffi.C.getrusage(who, usage)
        used = used + tonumber(usage.user[0] + usage.system[0])
            + tonumber(usage.user[1] + usage.system[1]) / 1e6
    end
    return used
end

local function peak()
    for line in io.lines("/proc/self/status") do
        local kilobytes = line:match("^VmHWM:%s+(%d+)")
        if kilobytes then return tonumber(kilobytes) * 1024 end
    end
end

-- A client has one connection, so each request in flight needs its own client.
local clients = {}
local ssl_options = { ca_path = job.ca }

local function fetch(number)
    local client = job.kept and clients[number] or turbo.async.HTTPClient(ssl_options)
    clients[number] = client
    return coroutine.yield(client:fetch(job.urls[(number - 1) % #job.urls + 1], {
        method = job.method,
        body = body,
        keep_alive = job.kept,
        connect_timeout = job.timeout,
        request_timeout = job.timeout,
    }))
end

local function load(loop, seconds, requests, finished)
    local tally = { done = 0, failed = 0 }
    local stop, left = now() + seconds, requests
    local running = math.min(job.in_flight, requests)
    for number = 1, running do
        loop:add_callback(function()
            while left > 0 and now() < stop do
                left = left - 1
                local response = fetch(number)
                local wrong
                if response.error then
                    wrong = response.error.message
                elseif response.code ~= 200 or #(response.body or "") ~= job.length then
                    wrong = string.format(
                        "status %d, %d bytes", response.code, #(response.body or ""))
                end
                if wrong then
                    tally.failed = tally.failed + 1
                    tally.error = tally.error or wrong
                else
                    tally.done = tally.done + 1
                end
            end
            running = running - 1
            if running == 0 then finished(tally) end
        end)
    end
end

local loop = turbo.ioloop.instance()

local function measure()
    local wall, used = now(), cpu()
    load(loop, job.window[1], job.window[2], function(tally)
        tally.wall, tally.cpu = now() - wall, cpu() - used
        tally.peak = peak()
        print(turbo.escape.json_encode(tally))
        loop:close()
    end)
end

loop:add_callback(function()
    -- Resolve each address once, before all requests in flight resolve the same one.
    load(loop, job.timeout, #job.urls, function()
        load(loop, job.warm_up[1], job.warm_up[2], measure)
    end)
end)
loop:start()
