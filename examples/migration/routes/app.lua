-- The Turbo side: signs in, and has the routes that have not moved yet.

TURBO_SSL = true  -- Signed cookies need it.
local turbo = require("turbo")

local PORT = tonumber(os.getenv("PORT") or 8887)
local SECRET = os.getenv("COOKIE_SECRET") or "an old secret"


local SignInHandler = class("SignInHandler", turbo.web.RequestHandler)

function SignInHandler:post()
    self:set_secure_cookie("user", self:get_argument("user"))
    self:write("Signed in")
end


local WhoHandler = class("WhoHandler", turbo.web.RequestHandler)

function WhoHandler:get()
    self:write("Turbo: " .. self:get_secure_cookie("user", "nobody"))
end


local application = turbo.web.Application({
    {"^/sign%-in$", SignInHandler},
    {"^/who$", WhoHandler}
}, {cookie_secret = SECRET})

application:listen(PORT, "127.0.0.1")
turbo.ioloop.instance():start()
