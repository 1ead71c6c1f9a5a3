-- Reads books from a library, with one table of keywords for all requests.

local turbo = require("turbo")
turbo.log.disable_all()

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"

local REQUEST = {
    user_agent = "reader/1.0",
    cookie = {card = "1234"},
    request_timeout = 30,
    allow_redirects = true
}


local tio = turbo.ioloop.instance()

tio:add_callback(function()
    local res = coroutine.yield(
        turbo.async.HTTPClient():fetch(UPSTREAM .. "/catalogue", REQUEST))
    if res.error or res.code ~= 200 then
        io.stderr:write("no catalogue\n")
        os.exit(1)
    end

    for _, book in ipairs(turbo.escape.json_decode(res.body).books) do
        res = coroutine.yield(turbo.async.HTTPClient():fetch(
            UPSTREAM .. "/books/" .. book.id, REQUEST))
        if not res.error and res.code == 200 then
            local _, characters = res.body:gsub("[^\128-\191]", "")
            print(string.format("%s: %d bytes, %d characters",
                book.title, #res.body, characters))
        end
    end

    -- Copied, because fetch writes its defaults into the table.
    local search = {params = {search = "Emma"}}
    for key, value in pairs(REQUEST) do
        search[key] = value
    end
    res = coroutine.yield(
        turbo.async.HTTPClient():fetch(UPSTREAM .. "/catalogue", search))
    print("found: " .. #turbo.escape.json_decode(res.body).books)
    tio:close()
end)
tio:start()
