"""The names of ``turbo.async`` and ``turbo.httputil``."""

from .row import Row, Section

PAGE = "migration/names-client.md"

CLIENT = Section(
    PAGE,
    "The client",
    "turbo.async",
    (
        Row(
            "HTTPClient(ssl_options, io_loop, max_buffer_size)",
            "HTTPClient(ssl_options, io_loop, max_buffer_size)",
            "Connections belong to the loop, not to the client. A new client for each fetch "
            "reuses them too.",
        ),
        Row(
            "HTTPClient:fetch(url, kwargs)",
            "client.fetch(url, kwargs)",
            'Keywords work too: `client.fetch(url, method="POST")`. Returns a future: `await` it '
            "at once or later.",
        ),
        Row(
            "turbo.async.task(func, ...)",
            "task(func, arg)",
            "`turbo.async.task(o.f, o, x)` becomes `task(o.f, x)`, because a Python method is "
            "bound to its object. Several results become a tuple.",
        ),
        Row(
            "turbo.async.errors",
            "errors",
            "The same names and numbers. A code is an `IntEnum` member.",
        ),
        Row("HTTPResponse()", "HTTPResponse"),
        Row("HTTPResponse.error", "res.error", "`None` if the fetch succeeded."),
        Row(
            "HTTPResponse.error.code; HTTPResponse.error.message",
            "res.error.code; res.error.message",
            "The texts of the messages differ.",
        ),
        Row("HTTPResponse.code; HTTPResponse.reason", "res.code; res.reason"),
        Row("HTTPResponse.headers", "res.headers", "An `HTTPHeaders`, not an `HTTPParser`."),
        Row("HTTPResponse.body", "res.body", "Bytes. `res.text` is the decoded text."),
        Row("HTTPResponse.url; HTTPResponse.request", "res.url; res.request"),
        Row("HTTPResponse.request_time", "res.request_time", "Milliseconds, with a fraction."),
    ),
)

HEADERS = Section(
    PAGE,
    "The class HTTPHeaders",
    "turbo.httputil",
    (
        Row("HTTPHeaders()", "HTTPHeaders()"),
        Row(
            "HTTPHeaders:get(key, caseinsensitive); HTTPParser:get(key, caseinsensitive)",
            "headers.get(key, True)",
            "Never case-sensitive. A bool as second argument is Turbo's flag and has no effect. "
            "**A header that occurs several times is one string with commas.** "
            "`headers.get_list(key)` returns the list. There is no second result.",
        ),
        Row("HTTPHeaders:add(key, value)", "headers.add(key, value)"),
        Row("HTTPHeaders:set(key, value, caseinsensitive)", "headers.set(key, value)"),
        Row("HTTPHeaders:remove(key, caseinsensitive)", "headers.remove(key)"),
        Row(
            "HTTPHeaders:get_method(); HTTPHeaders:set_method(method)",
            "headers.get_method(); headers.set_method(method)",
        ),
        Row(
            "HTTPHeaders:get_uri(); HTTPHeaders:set_uri(uri)",
            "headers.get_uri(); headers.set_uri(uri)",
        ),
        Row(
            "HTTPHeaders:get_version(); HTTPHeaders:set_version(version)",
            "headers.get_version(); headers.set_version(version)",
        ),
        Row(
            "HTTPHeaders:get_status_code(); HTTPHeaders:set_status_code(code)",
            "headers.get_status_code(); headers.set_status_code(code)",
        ),
        Row("HTTPHeaders:stringify_as_request()", "headers.stringify_as_request()"),
        Row(
            "HTTPHeaders:stringify_as_response(); HTTPHeaders:__tostring()",
            "str(headers)",
            "Only the header lines, without a status line.",
        ),
        Row(
            "HTTPParser:get_method(); HTTPParser:get_version(); HTTPParser:get_status_code()",
            "headers.get_method(); headers.get_version(); headers.get_status_code()",
            "For a response. In a handler, use `self.request.method` and `self.request.version`.",
        ),
    ),
)

PARSERS = Section(
    PAGE,
    "Parsers",
    "turbo.httputil",
    (
        Row(
            "HTTPParser(hdr_str, hdr_t); HTTPParser:parse_response_header(raw_headers); "
            "HTTPParser:parse_request_header(raw_headers); "
            "HTTPParser:parse_header(hdr_str, hdr_t); turbo.httputil.hdr_t",
            "HTTPHeaders.parse(text)",
            "Header lines only. The first line of a message is "
            "`tornado.httputil.parse_request_start_line(text)` or "
            "`tornado.httputil.parse_response_start_line(text)`.",
        ),
        Row(
            "HTTPParser:get_url(); HTTPParser:parse_url(url); HTTPParser:get_url_field(field); "
            "turbo.httputil.UF",
            "urllib.parse.urlsplit(url)",
            "In a handler: `self.request.uri`, `self.request.path` and `self.request.query`.",
        ),
        Row(
            "HTTPParser:get_argument(name); HTTPParser:get_arguments(); "
            "turbo.httputil.parse_post_arguments(data)",
            "urllib.parse.parse_qs(text)",
            "In a handler: `self.get_argument(name)`.",
        ),
        Row(
            "turbo.httputil.parse_multipart_data(data)",
            "tornado.httputil.parse_body_arguments(content_type, data, {}, {})",
            "In a handler: `self.request.files` and `self.get_body_argument(name)`.",
        ),
        Row(
            "StreamingParser(serverhandle); StreamingParser:load_chunk(chunk); "
            "StreamingParser:shift(bytes); StreamingParser:strfind(fstr, flen); "
            "StreamingParser:substrbytes(bytes); StreamingParser:unused(); "
            "StreamingParser:unused_len(); StreamingParser:possible_boundary(); "
            "StreamingParser:buffer_keep_unused(); "
            "StreamingParser:parse_large_multipart_body(chunk)",
            "tornado.web.stream_request_body",
            "A decorator for a handler, whose `data_received` then receives the body in chunks. "
            "Tornado does not parse a multipart body that it streams.",
        ),
    ),
)

SECTIONS = (CLIENT, HEADERS, PARSERS)
