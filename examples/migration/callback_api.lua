-- Greets a user by full name, which a callback interface returns.

local turbo = require("turbo")

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"
local PORT = tonumber(os.getenv("PORT") or 8888)

local tio = turbo.ioloop.instance()


local Directory = class("Directory")

function Directory:initialize()
    self.names = {}
end

-- Calls callback(arg, name, err). After a failure, name is false: a nil
-- would end the results of task().
function Directory:look_up(key, callback, arg)
    -- Call back later even for a cached name. Otherwise, task() would hang.
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
