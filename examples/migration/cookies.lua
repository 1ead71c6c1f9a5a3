-- Signs in and sends the received cookies with the next request.

local turbo = require("turbo")
turbo.log.disable_all()

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"


local function account(password)
    -- Turbo does not follow redirects by default.
    local res = coroutine.yield(
        turbo.async.HTTPClient():fetch(UPSTREAM .. "/session", {
            method = "POST",
            params = {user = "ada", password = password}
        }))
    if res.error then
        return "error " .. res.error.code
    end
    if res.code ~= 302 then
        return "not signed in"
    end

    local fields = res.headers:get("Set-Cookie")
    if type(fields) == "string" then
        fields = {fields}
    end
    local cookies = {}
    for _, field in ipairs(fields or {}) do
        local name, value = field:match("^([^=]+)=([^;]*)")
        cookies[name] = value
    end

    res = coroutine.yield(turbo.async.HTTPClient():fetch(
        UPSTREAM .. "/account", {cookie = cookies}))
    if res.error or res.code ~= 200 then
        return "signed out again"
    end
    return res.body
end


local tio = turbo.ioloop.instance()

tio:add_callback(function()
    print(account("swordfish"))
    print(account("guess"))
    tio:close()
end)
tio:start()
