"""The keywords of Tornado, requests, httpx and aiohttp, and what to use instead."""

from __future__ import annotations

_AUTH = "use 'auth_username' and 'auth_password', or the header Authorization in 'headers'"
_CERT = 'use HTTPClient({"cert_file": ..., "priv_file": ...})'
_CLIENT_TLS = "use HTTPClient(ssl_options), a mapping or an ssl.SSLContext"
_PROXY = "use 'proxy', such as \"http://user:password@host:port\""
_RAISE = "call raise_for_error() on the response, and check its code"
_REDIRECTS = "use 'allow_redirects'"
_STREAM = "use 'streaming_callback'"
_STREAMED_BODY = "use 'body' with an open file or an (async) iterable of bytes"
_TIMEOUT = "use 'request_timeout' for the whole fetch and 'connect_timeout' for the connection"
_TRANSPORT = (
    "it is an option of Tornado's API only; use it with "
    "turbo_tornado.transports.simple.SimpleTransport"
)
_VERIFY = 'use HTTPClient({"verify_ca": False}) or HTTPClient({"ca_path": ...})'

#: The advice for a keyword of another client. A name in single quotes is a keyword of `fetch`.
ADVICE = {
    "allow_nonstandard_methods": "every method is allowed",
    "allow_redirect": _REDIRECTS,
    "auth": _AUTH,
    "auth_mode": "for another scheme than Basic, set the header Authorization in 'headers'",
    "auto_decompress": "use 'use_gzip'",
    "base_url": "pass the complete URL",
    "body_producer": _STREAMED_BODY,
    "ca_certs": 'use HTTPClient({"ca_path": ...})',
    "callback": "await the future, or call its add_done_callback",
    "cert": _CERT,
    "chunked": _STREAMED_BODY,
    "client_cert": _CERT,
    "client_key": _CERT,
    "compress": "compress the 'body', and set the header Content-Encoding in 'headers'",
    "content": "use 'body'",
    "cookies": "use 'cookie', a mapping or a str; the client does not store cookies",
    "data": "use 'params' for a form, or 'body' for bytes and text",
    "decompress_response": "use 'use_gzip'",
    "event_hooks": "use configure(on_request=..., on_response=...)",
    "expect_100_continue": _TRANSPORT,
    "fingerprint": _CLIENT_TLS,
    "follow_redirects": _REDIRECTS,
    "header_callback": "read response.headers",
    "hooks": "use configure(on_request=..., on_response=...)",
    "http2": "use 'http_version' with \"HTTP/2\"",
    "if_modified_since": "set the header If-Modified-Since in 'headers'",
    "io_loop": "use HTTPClient(io_loop=...)",
    "max_body_size": "use HTTPClient(max_buffer_size=...)",
    "max_buffer_size": "use HTTPClient(max_buffer_size=...)",
    "network_interface": _TRANSPORT,
    "prepare_curl_callback": (
        "it is an option of Tornado's API only; use it with "
        "turbo_tornado.transports.curl.CurlTransport"
    ),
    "proxies": _PROXY,
    "proxy_auth": _PROXY,
    "proxy_auth_mode": _PROXY,
    "proxy_headers": _PROXY,
    "proxy_host": _PROXY,
    "proxy_password": _PROXY,
    "proxy_port": _PROXY,
    "proxy_username": _PROXY,
    "raise_error": _RAISE,
    "raise_for_status": _RAISE,
    "read_until_eof": "a body without a length ends with its connection",
    "skip_auto_headers": "use 'on_headers' to remove a header",
    "ssl": _CLIENT_TLS,
    "ssl_context": _CLIENT_TLS,
    "ssl_options": _CLIENT_TLS,
    "stream": _STREAM,
    "streaming": _STREAM,
    "timeout": _TIMEOUT,
    "transport": "use HTTPClient(transport=...)",
    "trust_env": "use 'proxy' with \"environment\"",
    "validate_cert": _VERIFY,
    "verify": _VERIFY,
    "verify_ca": _VERIFY,
    "verify_ssl": _VERIFY,
    "version": "use 'http_version'",
}
