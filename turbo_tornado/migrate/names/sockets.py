"""The names of Turbo's modules for sockets and streams."""

from .row import Row, Section

PAGE = "migration/names-sockets.md"

TCPSERVER = Section(
    PAGE,
    "The TCP server",
    "turbo.tcpserver",
    (
        Row(
            "TCPServer(io_loop, ssl_options, max_buffer_size)",
            "TCPServer(ssl_options, max_buffer_size)",
            "`ssl_options` has the keys `keyfile` and `certfile`.",
        ),
        Row(
            "TCPServer:handle_stream(stream, address)",
            "server.handle_stream",
            "Can be `async def`. `address` is a tuple of host and port.",
        ),
        Row(
            "TCPServer:listen(port, address, backlog, family)",
            "server.listen(port, address, backlog=128)",
        ),
        Row(
            "TCPServer:add_sockets(sockets); TCPServer:add_socket(socket)",
            "server.add_sockets(sockets); server.add_socket(sock)",
        ),
        Row(
            "TCPServer:bind(port, address, backlog, family); TCPServer:start(procs)",
            "server.bind(port, address); server.start()",
            "`listen` replaces both. Do not fork below `asyncio.run`.",
        ),
        Row("TCPServer:stop()", "server.stop()"),
    ),
)

IOSTREAM = Section(
    PAGE,
    "Streams",
    "turbo.iostream",
    (
        Row(
            "IOStream(fd, io_loop, max_buffer_size, kwargs)",
            "IOStream(sock, max_buffer_size=2**20)",
            "Takes a socket, not a descriptor. Usually, `TCPClient` creates the stream.",
        ),
        Row(
            "IOStream:connect(address, port, family, callback, fail_callback, arg)",
            "TCPClient().connect(host, port)",
            "`await` returns the stream. A failure raises `OSError`.",
        ),
        Row(
            "IOStream:read_until(delimiter, callback, arg)",
            'stream.read_until(b"\\r\\n", max_bytes=65536)',
            "`await` it. Delimiter and result are bytes. All reads raise StreamClosedError.",
        ),
        Row(
            "IOStream:read_until_pattern(pattern, callback, arg)",
            'stream.read_until_regex(rb"\\r?\\n\\r?\\n", max_bytes=65536)',
            "**A regular expression, not a [Lua pattern](pitfalls.md#lua-patterns).**",
        ),
        Row(
            "IOStream:read_bytes(num_bytes, callback, arg, streaming_callback, streaming_arg)",
            "stream.read_bytes(1024)",
            "Instead of a streaming callback: a loop with `partial=True`.",
        ),
        Row(
            "IOStream:read_bytes_raw_buffer(num_bytes, callback, arg, streaming_callback)",
            "stream.read_into(bytearray(1024))",
        ),
        Row(
            "IOStream:read_until_close(callback, arg, streaming_callback, streaming_arg)",
            "stream.read_until_close()",
            "Instead of a streaming callback: a loop with `read_bytes(65536, partial=True)`.",
        ),
        Row(
            "IOStream:write(data, callback, arg); IOStream:write_buffer(buf, callback, arg); "
            "IOStream:write_zero_copy(buf, callback, arg)",
            "stream.write(data)",
            "Bytes. `await` waits until the data is with the kernel.",
        ),
        Row(
            "IOStream:set_close_callback(callback, arg)",
            "stream.set_close_callback(func)",
            "There is no argument: write `lambda: func(arg)`.",
        ),
        Row(
            "IOStream:set_max_buffer_size(sz); IOStream:set_maxed_buffer_callback(callback, arg)",
            "IOStream(sock, max_buffer_size=2**20)",
            "Set it when you create the stream. A larger read raises StreamBufferFullError.",
        ),
        Row("IOStream:close()", "stream.close()"),
        Row(
            "IOStream:reading(); IOStream:writing(); IOStream:closed()",
            "stream.reading(); stream.writing(); stream.closed()",
        ),
        Row(
            "SSLIOStream(fd, ssl_options, io_loop, max_buffer_size); "
            "SSLIOStream:connect(address, port, family, verify, callback, errhandler, arg)",
            "TCPClient().connect(host, port, ssl_options=context)",
            "`context` is an `ssl.SSLContext`. Certificates and host names are verified.",
        ),
        Row(
            "turbo.iostream.DNSCache(); DNSResolv(io_loop, args); "
            "DNSResolv:resolv(address, port, family); DNSResolv:clean()",
            "Resolver().resolve(host, port)",
            "`await` it. There is no cache: the system has one.",
        ),
    ),
)

IOSIMPLE = Section(
    PAGE,
    "Simple streams",
    "turbo.iosimple",
    (
        Row(
            "turbo.iosimple.dial(address, ssl, io)",
            "TCPClient().connect(host, port, ssl_options=context)",
            "`await` it. Host and port are separate arguments, without `tcp://`.",
        ),
        Row("IOSimple(stream); IOSimple:get_iostream()", "stream", "The stream itself."),
        Row("IOSimple:write(data)", "stream.write(data)", "`await` it. Bytes."),
        Row("IOSimple:read_until(delimiter)", 'stream.read_until(b"\\r\\n")'),
        Row(
            "IOSimple:read_until_pattern(pattern)",
            'stream.read_until_regex(rb"\\r?\\n")',
            "**A regular expression, not a [Lua pattern](pitfalls.md#lua-patterns).**",
        ),
        Row("IOSimple:read_bytes(num_bytes)", "stream.read_bytes(1024)"),
        Row("IOSimple:read_until_close()", "stream.read_until_close()"),
        Row("IOSimple:close()", "stream.close()"),
    ),
)

SOCKETS = Section(
    PAGE,
    "Sockets and TLS",
    "turbo.sockutil",
    (
        Row(
            "turbo.sockutil.bind_sockets(port, address, backlog, family)",
            "tornado.netutil.bind_sockets(port, address, backlog=128)",
            "Returns a list, one socket for each address.",
        ),
        Row(
            "turbo.sockutil.add_accept_handler(sock, callback, io_loop, arg)",
            "tornado.netutil.add_accept_handler(sock, func)",
            "Returns a function that stops accepting. There is no argument.",
        ),
        Row(
            "turbo.sockutil.create_server_address(port, address, family); "
            "turbo.sockutil.connect_addrinfo(sock, p)",
            "socket.getaddrinfo(host, port)",
            "Blocks. `TCPClient().connect(host, port)` does not.",
        ),
        Row("turbo.socket.new_nonblock_socket(family, stype, protocol)", "socket.socket()"),
        Row("turbo.socket.set_nonblock_flag(fd)", "sock.setblocking(False)"),
        Row(
            "turbo.socket.set_reuseaddr_opt(fd)",
            "sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
        ),
        Row("turbo.socket.get_socket_error(fd)", "tornado.util.errno_from_exception"),
        Row("turbo.socket.resolv_hostname(str)", "socket.gethostbyname(host)", "Blocks."),
        Row("turbo.socket.strerror(errno)", "os.strerror(number)"),
        Row("turbo.socket.*", "socket", "The constants have the same names in `socket`."),
        Row("turbo.syscall.*", "os", "Use the function of `os` for the system call."),
        Row(
            "turbo.crypto.ssl_create_client_context(cert_file, priv_file, ca_path, verify); "
            "turbo.crypto.ssl_create_server_context(cert_file, priv_file, ca_path)",
            "ssl.create_default_context(); ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)",
            "`context.load_cert_chain(cert_file, priv_file)` and "
            "`context.load_verify_locations(ca_path)`. `HTTPClient(ssl_options)` needs neither.",
        ),
        Row(
            "turbo.crypto.ssl_new(ctx, fd_sock, client); "
            "turbo.crypto.ssl_do_handshake(SSLIOStream)",
            "stream.start_tls(False, context)",
            "`await` it.",
        ),
        Row(
            "turbo.crypto.*",
            "ssl",
            "`ssl` and the streams of Tornado replace direct calls of OpenSSL.",
        ),
    ),
)

SECTIONS = (TCPSERVER, IOSTREAM, IOSIMPLE, SOCKETS)
