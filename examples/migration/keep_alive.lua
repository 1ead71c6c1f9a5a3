-- Fetches ten times over one connection.

local turbo = require("turbo")
turbo.log.disable_all()

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"


local tio = turbo.ioloop.instance()

tio:add_callback(function()
    local client = turbo.async.HTTPClient()
    for number = 1, 10 do
        local res = coroutine.yield(client:fetch(
            UPSTREAM .. "/tick",
            {allow_redirects = true, keep_alive = true}))
        if res.error or res.headers:get_status_code() ~= 200 then
            print("stopped at " .. number)
            break
        end
        print(number .. ": " .. res.body)
    end
    tio:close()
end)
tio:start()
