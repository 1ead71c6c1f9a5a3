-- Accepts a comment if a captcha service confirms that a human wrote it.

local turbo = require("turbo")

local UPSTREAM = os.getenv("UPSTREAM") or "http://127.0.0.1:8889"
local PORT = tonumber(os.getenv("PORT") or 8888)


local CommentHandler = class("CommentHandler", turbo.web.RequestHandler)

function CommentHandler:post()
    local kwargs = {}
    kwargs.method = "POST"
    kwargs.params = {
        secret = "s3cret",
        response = self:get_argument("captcha")
    }
    local res = coroutine.yield(
        turbo.async.HTTPClient():fetch(UPSTREAM .. "/siteverify", kwargs))

    if res.error or res.code ~= 200 then
        self:set_status(503)
        self:write("The captcha cannot be checked now")
    elseif turbo.escape.json_decode(res.body).success then
        self:write("Thank you")
    else
        self:set_status(403)
        self:write("Robots stay outside")
    end
end


local application = turbo.web.Application({
    {"^/comment$", CommentHandler}
})

application:listen(PORT, "127.0.0.1")
turbo.ioloop.instance():start()
