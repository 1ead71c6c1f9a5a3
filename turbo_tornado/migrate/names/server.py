"""The names of ``turbo.httpserver`` and ``turbo.websocket``."""

from .row import Row, Section

PAGE = "migration/names-server.md"

HTTPSERVER = Section(
    PAGE,
    "The HTTP server",
    "turbo.httpserver",
    (
        Row(
            "HTTPServer(request_callback, no_keep_alive, io_loop, xheaders, kwargs)",
            "HTTPServer(func, no_keep_alive=True, xheaders=True, max_body_size=2**20)",
            "An `Application` is a request callback in both. `ssl_options` with `key_file` and "
            '`cert_file` becomes `{"keyfile": path, "certfile": path}`. `max_header_size` '
            "exists in both.",
        ),
        Row(
            "HTTPServer:listen(port, address); HTTPServer:bind(port); HTTPServer:start(procs)",
            "HTTPServer.listen; HTTPServer.bind; HTTPServer.start",
            "`listen` within `main` replaces all three. To use several processes, start several "
            "processes behind a proxy.",
        ),
        Row(
            "turbo.web.RequestHandler.request; HTTPRequest",
            "self.request",
            "Has `method`, `uri`, `path`, `version`, `headers`, `body`, `arguments`, `files`, "
            "`host`, `protocol` and `remote_ip`. `remote_ip` reads X-Real-Ip with "
            "`listen(port, xheaders=True)`.",
        ),
        Row(
            "HTTPRequest.headers; HTTPRequest.method; HTTPRequest.uri; HTTPRequest.path; "
            "HTTPRequest.version; HTTPRequest.body; HTTPRequest.arguments; HTTPRequest.files; "
            "HTTPRequest.host; HTTPRequest.protocol; HTTPRequest.remote_ip; HTTPRequest.query",
            "self.request.headers; self.request.method; self.request.uri; self.request.path; "
            "self.request.version; self.request.body; self.request.arguments; "
            "self.request.files; self.request.host; self.request.protocol; "
            "self.request.remote_ip; self.request.query",
            "`body` is bytes and never `None`. `arguments` has a list of bytes for each name: "
            "use `self.get_argument`.",
        ),
        Row("HTTPRequest.connection; HTTPConnection", "self.request.connection", "Rarely needed."),
        Row(
            "HTTPConnection.arguments",
            "self.request.arguments; self.request.files",
            "A file has `filename`, `body` and `content_type`. It is in memory, not on disk.",
        ),
        Row(
            "HTTPRequest:request_time()",
            "self.request.request_time()",
            "**Seconds, not milliseconds.**",
        ),
        Row("HTTPRequest:full_url()", "self.request.full_url()"),
        Row(
            "HTTPRequest:supports_http_1_1()",
            'self.request.version == "HTTP/1.1"',
        ),
        Row(
            "HTTPRequest:write(chunk, callback, arg); HTTPRequest:write_buffer(buf, callback, arg);"
            " HTTPRequest:write_zero_copy(buf, callback, arg); HTTPRequest:finish(); "
            "HTTPConnection:write(chunk, callback, arg); "
            "HTTPConnection:write_buffer(buf, callback, arg); "
            "HTTPConnection:write_zero_copy(buf, callback, arg); HTTPConnection:finish()",
            "self.request.connection",
            "In a handler: `self.write` and `self.finish`. In a request callback: "
            "`request.connection.write_headers(...)`, then `write` and `finish`. `await` replaces "
            "the callback. Tornado writes the status line and the headers: do not write them "
            "yourself.",
        ),
    ),
)

WEBSOCKET = Section(
    PAGE,
    "WebSocket",
    "turbo.websocket",
    (
        Row(
            "WebSocketHandler",
            "WebSocketHandler",
            "**Rejects pages of other origins with status 403.** Override `check_origin` to allow "
            "them. Turbo does not check.",
        ),
        Row(
            "WebSocketHandler:open(); WebSocketHandler:on_message(msg); "
            "WebSocketHandler:on_close(); WebSocketHandler:prepare()",
            "self.open; self.on_message; self.on_close; self.prepare",
            "A text message is `str`, a binary one is bytes.",
        ),
        Row(
            "WebSocketHandler:on_error(msg)",
            "self.on_close",
            "`self.close_code` and `self.close_reason` tell how the connection ended.",
        ),
        Row(
            "WebSocketHandler:subprotocol(protocols)",
            "self.select_subprotocol",
            "Receives a list. Return one of them or `None`.",
        ),
        Row(
            "WebSocketStream; WebSocketStream:write_message(msg, binary)",
            "self.write_message(text, binary=True)",
            "A dict becomes JSON. Raises WebSocketClosedError after the end.",
        ),
        Row(
            "WebSocketStream:ping(data, callback, callback_arg)",
            "self.ping(data)",
            "Override `on_pong` instead of passing a callback. "
            "`Application(..., websocket_ping_interval=30)` sends pings.",
        ),
        Row("WebSocketStream:pong(data)", "", "Remove it: Tornado responds to a ping."),
        Row("WebSocketStream:close()", "self.close()"),
        Row("WebSocketStream:closed()", "self.ws_connection is None"),
        Row(
            "WebSocketClient(address, kwargs)",
            "websocket_connect(url)",
            "`connection = await websocket_connect(url)`. `connect_timeout` is a keyword.",
        ),
        Row(
            "WebSocketClient.modify_headers",
            "websocket_connect(HTTPRequest(url, headers=headers))",
        ),
        Row("WebSocketClient.on_headers", "websocket_connect(url)", "Then `connection.headers`."),
        Row(
            "WebSocketClient.on_connect; WebSocketClient.on_message; WebSocketClient.on_close",
            "WebSocketClientConnection.read_message",
            "Code after `await websocket_connect(url)` replaces `on_connect`. A loop with "
            "`await connection.read_message()` replaces the others. `None` means that the "
            "connection is closed.",
        ),
        Row(
            "WebSocketClient.on_error; turbo.websocket.errors",
            "WebSocketError; HTTPClientError",
            "`await websocket_connect(url)` raises: use `try`.",
        ),
        Row("WebSocketClient.on_ping", "WebSocketClientConnection.on_ping"),
        Row(
            "turbo.websocket.opcode; turbo.websocket.MAGIC",
            "",
            "Remove it: Tornado encodes the frames.",
        ),
    ),
)

SECTIONS = (HTTPSERVER, WEBSOCKET)
