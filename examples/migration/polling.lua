-- Starts a job and asks for its state until it is done.

local turbo = require("turbo")
turbo.log.disable_all()

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"

local tio = turbo.ioloop.instance()


local function run(name)
    local res = coroutine.yield(
        turbo.async.HTTPClient():fetch(UPSTREAM .. "/jobs", {
            method = "POST",
            params = {name = name}
        }))
    if res.error or res.code ~= 202 then
        return "refused"
    end

    local url = UPSTREAM .. "/jobs/"
        .. turbo.escape.json_decode(res.body).id
    for attempt = 1, 5 do
        res = coroutine.yield(turbo.async.HTTPClient():fetch(url))
        if res.error then
            return "error " .. res.error.code
        end
        if turbo.escape.json_decode(res.body).state == "done" then
            return "done, asked " .. attempt .. " times"
        end
        coroutine.yield(turbo.async.task(
            tio.add_timeout, tio, turbo.util.gettimemonotonic() + 50))
    end
    return "given up"
end


tio:add_callback(function()
    print("report: " .. run("report"))
    print("endless: " .. run("endless"))
    tio:close()
end)
tio:start()
