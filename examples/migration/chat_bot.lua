-- Calls the JSON interface of a chat service, with additional headers.

local turbo = require("turbo")
turbo.log.disable_all()

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"


local function call(token, path, data)
    local body = turbo.escape.json_encode(data)
    local req = {
        ["Authorization"] = "Bot " .. token,
        ["Content-Type"] = "application/json",
        ["Content-Length"] = body:len()
    }
    local res = coroutine.yield(
        turbo.async.HTTPClient():fetch(UPSTREAM .. path, {
            method = "POST",
            body = body,
            on_headers = function(headers)
                for key, value in pairs(req) do
                    headers:add(key, value)
                end
            end
        }))
    if res.error then
        return nil, "error " .. res.error.code
    end
    local answer = turbo.escape.json_decode(res.body)
    if res.code ~= 200 then
        return nil, res.code .. ": " .. answer.message
    end
    return answer
end


local tio = turbo.ioloop.instance()

tio:add_callback(function()
    local answer, err = call("t0ken", "/messages", {content = "Hello"})
    print("sent: " .. (answer and "message " .. answer.id or err))

    answer, err = call("stolen", "/messages", {content = "Hello"})
    print("sent: " .. (answer and "message " .. answer.id or err))
    tio:close()
end)
tio:start()
