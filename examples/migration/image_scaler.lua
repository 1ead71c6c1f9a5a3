-- Reads the size of a remote image, with limits for time, size and redirects.

local turbo = require("turbo")

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"
local PORT = tonumber(os.getenv("PORT") or 8888)


local SizeHandler = class("SizeHandler", turbo.web.RequestHandler)

function SizeHandler:get(name)
    -- Any server can have the images, and the request contains no secrets.
    local client = turbo.async.HTTPClient(
        {verify_ca = false}, nil, 2 * 1024 * 1024)
    local res = coroutine.yield(
        client:fetch(UPSTREAM .. "/images/" .. name, {
            request_timeout = 15,
            connect_timeout = 10,
            allow_redirects = true,
            max_redirects = 2
        }))

    if res.error then
        self:set_status(502)
        self:write("No image: error " .. res.error.code)
    elseif res.code ~= 200 then
        self:set_status(502)
        self:write("No image: status " .. res.code)
    elseif res.headers:get("Content-Type", true) ~= "image/png" then
        self:set_status(415)
        self:write("Only PNG is understood")
    else
        -- Bytes 17 to 24, counted from 1, are two numbers of 4 bytes.
        local a, b, c, d, e, f, g, h = res.body:byte(17, 24)
        self:write({
            width = ((a * 256 + b) * 256 + c) * 256 + d,
            height = ((e * 256 + f) * 256 + g) * 256 + h
        })
    end
end


local application = turbo.web.Application({
    {"^/size/(.*)$", SizeHandler}
})

application:listen(PORT, "127.0.0.1")
turbo.ioloop.instance():start()
