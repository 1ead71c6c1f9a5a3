-- Asks several shops for a price at the same time.

local turbo = require("turbo")

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"
local PORT = tonumber(os.getenv("PORT") or 8888)

local tio = turbo.ioloop.instance()


local CheapestHandler = class("CheapestHandler", turbo.web.RequestHandler)

function CheapestHandler:get(names)
    local shops = turbo.util.strsplit(names, ",")
    -- One coroutine and one client for each shop. The last one to finish
    -- resumes this one.
    local all = turbo.coctx.CoroutineContext(tio)
    local results, left = {}, #shops
    for i, shop in ipairs(shops) do
        tio:add_callback(function()
            results[i] = coroutine.yield(turbo.async.HTTPClient():fetch(
                UPSTREAM .. "/prices/" .. shop))
            left = left - 1
            if left == 0 then
                all:set_arguments({results})
                all:finalize_context()
            end
        end)
    end
    results = coroutine.yield(all)

    local cheapest, price
    for i, shop in ipairs(shops) do
        local res = results[i]
        if not res.error and res.code == 200 then
            local asked = turbo.escape.json_decode(res.body).price
            if not price or asked < price then
                cheapest, price = shop, asked
            end
        end
    end
    if not cheapest then
        self:set_status(502)
        self:write("No shop has answered")
    else
        self:write({shop = cheapest, price = price})
    end
end


local application = turbo.web.Application({
    {"^/cheapest/([%w_,]+)$", CheapestHandler}
})

application:listen(PORT, "127.0.0.1")
tio:start()
