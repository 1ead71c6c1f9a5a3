-- Sends a file from another server, and maps each error to a status.

local turbo = require("turbo")

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"
local PORT = tonumber(os.getenv("PORT") or 8888)
local TIMEOUT = 1

local errors = turbo.async.errors
local STATUS = {
    [errors.INVALID_URL] = 404,
    [errors.COULD_NOT_CONNECT] = 502,
    [errors.CONNECT_TIMEOUT] = 504,
    [errors.REQUEST_TIMEOUT] = 504,
    [errors.SOCKET_ERROR] = 502
}


local FileHandler = class("FileHandler", turbo.web.RequestHandler)

function FileHandler:get(name)
    local res = coroutine.yield(turbo.async.HTTPClient():fetch(
        UPSTREAM .. "/files/" .. name,
        {request_timeout = TIMEOUT, allow_redirects = true}))
    if res.error then
        turbo.log.warning(name .. ": " .. res.error.message)
        self:set_status(STATUS[res.error.code] or 500)
        self:write("No file: error " .. res.error.code)
    elseif res.code ~= 200 then
        self:set_status(res.code)
        self:write("No file")
    else
        self:set_header("Content-Type",
            res.headers:get("Content-Type", true))
        self:set_header("Content-Disposition", "attachment")
        self:write(res.body)
    end
end


local application = turbo.web.Application({
    {"^/files/(.+)$", FileHandler}
})

application:listen(PORT, "127.0.0.1")
turbo.ioloop.instance():start()
