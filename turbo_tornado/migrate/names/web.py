"""The names of ``turbo.web``."""

from .row import Row, Section

PAGE = "migration/names-server.md"

APPLICATION = Section(
    PAGE,
    "The application",
    "turbo.web",
    (
        Row(
            "Application(handlers, kwargs)",
            'Application([(pattern, RequestHandler, {"option": arg})], cookie_secret=secret)',
            "Also for `Application:new`. Patterns are regular expressions that match the whole "
            r"path: `^/item/(%d+)$` becomes `/item/(\d+)`. **Without a group the method gets no "
            "argument.** In Turbo it gets the matched text. The third element is a dict. "
            "`settings` become keywords: `Application(routes, **settings)`. `default_host` has "
            "another meaning: use a last route with RedirectHandler.",
        ),
        Row(
            "Application:listen(port, address, kwargs)",
            "Application.listen",
            "Call it within `main`. `kwargs` become keywords, see "
            "[HTTPServer](#the-http-server): `listen(port, max_body_size=2**20)`.",
        ),
        Row(
            "Application:add_handler(pattern, handler, arg)",
            "Application.add_handlers",
            '`application.add_handlers(".*", [(pattern, handler)])`',
        ),
        Row(
            "Application:set_server_name(name); Application:get_server_name()",
            "self.set_default_headers",
            'Override it and call `self.set_header("Server", name)`.',
        ),
        Row(
            "StaticFileHandler",
            "StaticFileHandler",
            '`{"path": directory}` as the third element. '
            "[A single file](pitfalls.md#a-file-as-a-route) needs more.",
        ),
        Row("turbo.web.STATIC_CACHE", "", "Tornado caches only the hash of a file."),
        Row(
            "RedirectHandler",
            "RedirectHandler",
            '`{"url": url}` as the third element. Tornado adds the query of the request to the '
            "URL; Turbo does not.",
        ),
        Row(
            "ErrorHandler(application, request, code, message)",
            "tornado.web.ErrorHandler; Application([], default_handler_class=ErrorHandler, "
            'default_handler_args={"status_code": 404})',
            "To change the page of an error, override `RequestHandler.write_error`.",
        ),
        Row(
            "HTTPError(code, message)",
            "HTTPError(404, message)",
            "`error(...)` becomes `raise`. The message goes to the log, not to the client: see "
            "[error pages](pitfalls.md#error-pages).",
        ),
    ),
)

HANDLER = Section(
    PAGE,
    "The request handler",
    "turbo.web",
    (
        Row("RequestHandler", "RequestHandler", '`class("Name", parent)` is `class Name(parent)`.'),
        Row(
            "RequestHandler:on_create(kwargs); RequestHandler.options",
            "self.initialize",
            "The dict of the route arrives as keywords. Store what you need: `self.token = token`. "
            "A keyword that not every route has needs a default.",
        ),
        Row(
            "RequestHandler:prepare(); RequestHandler:on_finish(); "
            "RequestHandler:set_default_headers(); RequestHandler:on_connection_close()",
            "self.prepare; self.on_finish; self.set_default_headers; self.on_connection_close",
        ),
        Row(
            "RequestHandler:get(...); RequestHandler:post(...); RequestHandler:head(...); "
            "RequestHandler:put(...); RequestHandler:delete(...); RequestHandler:options(...)",
            "self.get; self.post; self.head; self.put; self.delete; self.options",
            "`async def` if they await. Groups of the pattern arrive decoded: remove "
            "`turbo.escape.unescape`. A table of functions (`pre`, `main`, `post`) becomes one "
            "method that calls them in this order.",
        ),
        Row(
            "RequestHandler:get_argument(name, default, strip)",
            "self.get_argument(name, default)",
            "**Strips unless `strip=False`.** Turbo does not. **The last value, and the body "
            "before the query.** In Turbo, the first value, and the query before the body. A "
            "default of `None` counts; `nil` does not. A missing argument is a 400 in both.",
        ),
        Row(
            "RequestHandler:get_arguments(name, strip)",
            "self.get_arguments(name)",
            "**Strips unless `strip=False`.** Always a list. Turbo returns a string for one value "
            "and `nil` for none.",
        ),
        Row(
            "RequestHandler:get_json(force)",
            "json_decode(self.request.body)",
            "Check the Content-Type yourself. Raises ValueError.",
        ),
        Row(
            "RequestHandler:get_cookie(name, default)",
            "self.get_cookie(name, default)",
            "Percent-encoded, as the browser sent it. Turbo decodes it: `url_unescape(value, "
            "plus=False)`.",
        ),
        Row(
            "RequestHandler:set_cookie(name, value, domain, expire_hours)",
            "self.set_cookie(name, value, expires_days=1 / 24)",
            "**Text without spaces.** Turbo percent-encodes the value: "
            '`urllib.parse.quote(text, safe="")`. A number needs `str()`. Default: until the '
            "browser closes; in Turbo one hour. Turbo's `domain` sets the path: `path=domain`.",
        ),
        Row(
            "RequestHandler:get_secure_cookie(name, default, max_age)",
            "self.get_signed_cookie(name, max_age_days=1)",
            "**Bytes: `.decode()`.** Compared with text, they are never equal. **Days, not "
            "seconds.** Default: 31 days; in Turbo unlimited. No default value: use `or`. Cookies "
            "that Turbo signed need [a function](routes.md#signed-cookies).",
        ),
        Row(
            "RequestHandler:set_secure_cookie(name, value, domain, expire_hours)",
            "self.set_signed_cookie(name, value, expires_days=1)",
            "Turbo cannot read it. Default: 30 days; in Turbo one hour.",
        ),
        Row("RequestHandler:clear_cookie(name)", "self.clear_cookie(name)"),
        Row(
            "RequestHandler:write(chunk)",
            "self.write(chunk)",
            "A dict becomes JSON. **A list raises TypeError**, and so does `None`. Use "
            "`self.write(json_encode(chunk))`.",
        ),
        Row(
            "RequestHandler:flush(callback, arg)",
            "self.flush()",
            "`await` it instead of passing a callback.",
        ),
        Row("RequestHandler:finish(chunk)", "self.finish(chunk)", "`return` after it."),
        Row("RequestHandler:finished()", "", "Store a flag of your own."),
        Row(
            "RequestHandler:set_async(bool)",
            "",
            "Remove it: the request ends with its coroutine. To end it elsewhere, await a future.",
        ),
        Row(
            "RequestHandler:set_chunked_write()",
            "",
            "Remove it: `flush` before the end switches to chunked encoding.",
        ),
        Row("RequestHandler:clear()", "self.clear()"),
        Row(
            "RequestHandler:add_header(name, value); RequestHandler:set_header(name, value)",
            "self.add_header(name, value); self.set_header(name, value)",
        ),
        Row(
            "RequestHandler:get_header(name)",
            "",
            "Store the value yourself. A request header is in `self.request.headers`.",
        ),
        Row(
            "RequestHandler:set_status(code); RequestHandler:get_status()",
            "self.set_status(404); self.get_status()",
        ),
        Row(
            "RequestHandler:redirect(url, permanent)",
            "self.redirect(url, permanent=True)",
        ),
        Row(
            "RequestHandler:send_error(code, message)",
            "self.send_error(404)",
            "**Does not raise: `return` after it.** To send a message, see "
            "[error pages](pitfalls.md#error-pages).",
        ),
        Row(
            "RequestHandler:settings(); RequestHandler.application",
            "self.settings; self.application",
        ),
    ),
)

MUSTACHE = Section(
    PAGE,
    "Templates",
    "turbo.web",
    (
        Row(
            "turbo.web.Mustache.compile(template)",
            "tornado.template.Template(text)",
            "[Another syntax](#mustache-and-tornado). To keep the Mustache files, use a package "
            "for Mustache, such as `chevron`.",
        ),
        Row(
            "turbo.web.Mustache.render(template, obj, partials, allow_blank)",
            "self.render_string(name, key=value); self.render(name, key=value)",
            "A missing name raises NameError. `self:write(...)` of the result is `self.render`, "
            "which also ends the request.",
        ),
        Row(
            "turbo.web.Mustache.TemplateHelper(base_path); "
            "turbo.web.Mustache.TemplateHelper:load(template); "
            "turbo.web.Mustache.TemplateHelper:set_base_directory(path)",
            "tornado.template.Loader(path)",
            "In an application: `Application(..., template_path=path)`.",
        ),
        Row(
            "turbo.web.Mustache.TemplateHelper:render(template, table, partials, allow_blank)",
            "self.render(name, key=value)",
            "Replaces `self:write(helper:render(...))` and ends the request. "
            "`self.render_string` returns the text.",
        ),
    ),
)

SECTIONS = (APPLICATION, HANDLER, MUSTACHE)
