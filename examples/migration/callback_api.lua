-- Greets by full name, which a directory tells by a callback.

local turbo = require("turbo")

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"
local PORT = tonumber(os.getenv("PORT") or 8888)

local tio = turbo.ioloop.instance()


local Directory = class("Directory")

function Directory:initialize()
    self.names = {}
end

-- Calls callback(arg, name, err). What fails has false for a name: a nil
-- would be the end of what task() returns.
function Directory:look_up(key, callback, arg)
    -- Not at once, even for a name that is known: task() would hang.
    tio:add_callback(function()
        if self.names[key] then
            callback(arg, self.names[key])
            return
        end
        local res = coroutine.yield(turbo.async.HTTPClient():fetch(
            UPSTREAM .. "/staff/" .. key))
        if res.error then
            callback(arg, false, "The directory is closed")
        elseif res.code ~= 200 then
            callback(arg, false, "Nobody is called " .. key)
        else
            self.names[key] = turbo.escape.json_decode(res.body).name
            callback(arg, self.names[key])
        end
    end)
end


local GreetingHandler = class("GreetingHandler", turbo.web.RequestHandler)

function GreetingHandler:on_create(kwargs)
    self.directory = kwargs.directory
end

function GreetingHandler:get(key)
    local name, err = coroutine.yield(turbo.async.task(
        self.directory.look_up, self.directory, key))
    self:write(err or "Hello, " .. name)
end


local application = turbo.web.Application({
    {"^/hello/([%w_]+)$", GreetingHandler, {directory = Directory()}}
})

application:listen(PORT, "127.0.0.1")
tio:start()
