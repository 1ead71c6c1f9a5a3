from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from tests.support import MakePeer, StartProgram, response
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPHeaders, configure, errors, reset
from turbo_tornado.request.request import Request
from turbo_tornado.transports.base import Abort, OnDone
from turbo_tornado.transports.registry import registry
from turbo_tornado.transports.simple import SimpleTransport

HAS_PYCURL = importlib.util.find_spec("pycurl") is not None

needs_pycurl = pytest.mark.skipif(not HAS_PYCURL, reason="pycurl is not installed")


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    reset()
    yield
    reset()


def in_use() -> set[str]:
    """Return the names of the classes that have carried a fetch of this loop."""
    return {type(client).__name__ for client in registry.clients_of(IOLoop.current())}


class Recording(SimpleTransport):
    """Counts the requests that each of its instances has carried."""

    made: list[Recording]
    hops: int

    def initialize(self, **kwargs: Any) -> None:  # type: ignore[override]
        super().initialize(**kwargs)
        self.hops = 0
        self.made.append(self)

    def send(self, request: Request, on_done: OnDone) -> Abort:
        self.hops += 1
        return super().send(request, on_done)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Return the instances of `Recording`, in the order in which they are made."""
    monkeypatch.setattr(Recording, "made", [], raising=False)
    return Recording.made


# The transport


async def test_configure_by_name(transport: str, server: Server) -> None:
    configure(transport)
    res = await HTTPClient().fetch(server.url())
    assert res.code == 200
    assert in_use() == {{"simple": "SimpleTransport", "curl": "CurlTransport"}[transport]}


AUTO = pytest.mark.parametrize(
    "make_auto", [reset, partial(configure, "auto")], ids=["reset", "auto"]
)


@AUTO
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", None])
async def test_auto_is_simple(
    make_auto: Callable[[], None], version: Any, recording: list[Recording], raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"body"))
    configure(Recording)
    make_auto()
    assert (await HTTPClient().fetch(peer.url(), http_version=version)).body == b"body"
    assert in_use() == {"SimpleTransport"}
    assert recording == []


async def test_auto_of_one_client_is_simple(recording: list[Recording], server: Server) -> None:
    configure(Recording)
    assert (await HTTPClient(transport="auto").fetch(server.url())).code == 200
    assert in_use() == {"SimpleTransport"}
    assert recording == []


def set_http_2(headers: HTTPHeaders) -> None:
    headers.set_version("HTTP/2")


HTTP_2: dict[str, Callable[[str], Any]] = {
    "keyword": lambda url: HTTPClient().fetch(url, http_version="HTTP/2"),
    "table": lambda url: HTTPClient(transport="auto").fetch(url, {"http_version": "HTTP/2"}),
    "on_headers": lambda url: HTTPClient().fetch(url, on_headers=set_http_2),
}


@needs_pycurl
@AUTO
@pytest.mark.parametrize("fetch", HTTP_2.values(), ids=HTTP_2)
async def test_auto_is_curl_for_http_2(
    make_auto: Callable[[], None], fetch: Callable[[str], Any], closed_port: int, server: Server
) -> None:
    make_auto()
    # The class that tries to connect shows the choice.
    res = await fetch(f"http://127.0.0.1:{closed_port}/")
    assert res.error is not None
    assert res.error.code is errors.COULD_NOT_CONNECT
    assert in_use() == {"CurlTransport"}
    # Each fetch chooses for itself.
    assert (await HTTPClient().fetch(server.url(), http_version="HTTP/1.1")).code == 200
    assert in_use() == {"CurlTransport", "SimpleTransport"}


async def test_http_2_does_not_change_a_named_transport(
    recording: list[Recording], server: Server
) -> None:
    for choice, name in (("simple", "SimpleTransport"), (Recording, "Recording")):
        configure(choice)
        with pytest.raises(ValueError, match="HTTP/2"):
            HTTPClient().fetch(server.url(), http_version="HTTP/2")
        assert name in in_use()
    assert "CurlTransport" not in in_use()
    assert server.requests == []


async def test_configure_by_class(recording: list[Recording], server: Server) -> None:
    configure(Recording)
    assert recording == []
    for _ in range(2):
        assert (await HTTPClient().fetch(server.url())).code == 200
    [transport] = recording
    assert transport.hops == 2


async def test_configure_by_instance(recording: list[Recording], server: Server) -> None:
    given = Recording(force_instance=True)
    configure(given)
    for _ in range(2):
        assert (await HTTPClient().fetch(server.url())).code == 200
    assert recording == [given]
    assert given.hops == 2
    given.close()


async def test_reset_does_not_close_an_instance(recording: list[Recording], server: Server) -> None:
    # The creator of the instance may still use it.
    given = Recording(force_instance=True)
    assert (await HTTPClient(transport=given).fetch(server.url())).code == 200
    registry.close(IOLoop.current())
    assert (await given.fetch(server.url())).code == 200
    given.close()


async def test_instance_of_another_loop_raises(recording: list[Recording], server: Server) -> None:
    def make_one() -> None:
        async def make() -> None:
            Recording(force_instance=True)

        asyncio.run(make())

    thread = threading.Thread(target=make_one)
    thread.start()
    thread.join()
    [other] = recording
    client = HTTPClient(transport=other)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="another IOLoop"):
            client.fetch(server.url())
    assert server.requests == []


async def test_defaults_of_a_transport_are_refused(transport_class: Any, server: Server) -> None:
    class WithProxy(transport_class):  # type: ignore[misc]
        def initialize(self, **arguments: Any) -> None:
            super().initialize(defaults={"proxy_host": "127.0.0.1"}, **arguments)

    given = WithProxy(force_instance=True)
    for use in (configure, lambda transport: HTTPClient(transport=transport)):
        with pytest.raises(ValueError, match="'proxy_host' of WithProxy"):
            use(given)
    given.close()
    # Its instances are created by the first fetch.
    for _ in range(2):
        with pytest.raises(ValueError, match="'proxy_host' of WithProxy"):
            HTTPClient(transport=WithProxy).fetch(server.url())
    # These values have no effect.
    given = transport_class(
        force_instance=True, defaults={"proxy_host": None, "request_timeout": 20.0}
    )
    assert (await HTTPClient(transport=given).fetch(server.url())).code == 200
    given.close()


async def test_transport_of_one_client(recording: list[Recording], server: Server) -> None:
    configure("simple")
    assert (await HTTPClient(transport=Recording).fetch(server.url())).code == 200
    assert (await HTTPClient().fetch(server.url())).code == 200
    [transport] = recording
    assert transport.hops == 1


async def test_transport_name_of_one_client(
    transport: str, recording: list[Recording], server: Server
) -> None:
    configure(Recording)
    assert (await HTTPClient(transport=transport).fetch(server.url())).code == 200
    assert recording == []
    assert in_use() == {{"simple": "SimpleTransport", "curl": "CurlTransport"}[transport]}


async def test_configure_applies_to_existing_clients(
    recording: list[Recording], server: Server
) -> None:
    client, bound = HTTPClient(), HTTPClient(transport="simple")
    configure(Recording)
    assert (await client.fetch(server.url())).code == 200
    assert (await bound.fetch(server.url())).code == 200
    [transport] = recording
    assert transport.hops == 1


async def test_configure_does_not_change_async_http_client(server: Server) -> None:
    configure("simple")
    assert (await HTTPClient().fetch(server.url())).code == 200
    assert AsyncHTTPClient.configured_class() is SimpleAsyncHTTPClient
    tornados = AsyncHTTPClient()
    assert type(tornados) is SimpleAsyncHTTPClient
    tornados.close()


NO_TRANSPORTS: list[tuple[Any, type[Exception], str]] = [
    ("tornado", ValueError, "'auto', 'simple' or 'curl'"),
    ("", ValueError, "'auto', 'simple' or 'curl'"),
    ("Simple", ValueError, "'Simple'"),
    (5, TypeError, "AsyncHTTPClient"),
    (dict, TypeError, "dict"),
    (HTTPClient(), TypeError, "HTTPClient"),
]


@pytest.mark.parametrize(("choice", "kind", "words"), NO_TRANSPORTS)
async def test_invalid_transport(
    choice: Any, kind: type[Exception], words: str, recording: list[Recording], server: Server
) -> None:
    configure(Recording, user_agent="before")
    with pytest.raises(kind, match=words):
        configure(choice, user_agent="after")
    # An invalid call changes nothing.
    assert (await HTTPClient().fetch(server.url())).request["User-Agent"] == "before"
    assert len(recording) == 1


@pytest.mark.parametrize(("choice", "kind", "words"), NO_TRANSPORTS)
def test_invalid_transport_of_one_client(choice: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        HTTPClient(transport=choice)


# Without pycurl

# Python code that makes the import of pycurl fail.
MISSING = {
    "not installed": """
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pycurl":
            raise ModuleNotFoundError("No module named 'pycurl'", name="pycurl")
sys.meta_path.insert(0, Missing())
""",
    "blocked": """
sys.modules["pycurl"] = None
""",
    # A wheel whose libcurl is not on this system.
    "broken": """
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "pycurl":
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        raise ImportError("libcurl.so.4: cannot open shared object file")
sys.meta_path.insert(0, Broken())
""",
}

PROGRAM = """
import asyncio, importlib.machinery, sys
{missing}
from tornado.ioloop import IOLoop
from turbo_tornado import HTTPClient, configure
from turbo_tornado.transports.registry import registry

async def main():
    for make in (
        lambda: configure("curl"),
        lambda: HTTPClient(transport="curl"),
    ):
        try:
            make()
        except ImportError as error:
            print(error)
    for make in (
        HTTPClient,
        lambda: configure("auto") or HTTPClient(),
        lambda: HTTPClient(transport="auto"),
    ):
        client = make()
        for _ in range(2):
            try:
                client.fetch(sys.argv[1], http_version="HTTP/2")
            except ValueError as error:
                print(error)
        # After the mistake the client is free.
        response = await client.fetch(sys.argv[1])
        assert response.error is None, response
        print(response.body.decode())
    print(*(type(client).__name__ for client in registry.clients_of(IOLoop.current())))

asyncio.run(main())
"""


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
async def test_without_pycurl(
    missing: str, raw_peer: MakePeer, start_program: StartProgram
) -> None:
    peer = await raw_peer(response(b"carried"))
    program = PROGRAM.format(missing=missing)
    process = await start_program(sys.executable, "-c", program, peer.url())
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    configured, of_client, *fetched, in_use = out.decode().splitlines()
    assert in_use == "SimpleTransport"
    assert "turbo_tornado[curl]" in configured
    assert "turbo_tornado[curl]" in of_client
    assert fetched[2::3] == ["carried"] * 3
    assert len(fetched) == 9
    for refused in (*fetched[0::3], *fetched[1::3]):
        assert refused.startswith("http_version 'HTTP/2' needs pycurl")
        assert "turbo_tornado[curl]" in refused
    assert len(peer.requests) == 3
    assert err == b""


# The defaults of a fetch


async def test_default_user_agent_and_cookie(server: Server) -> None:
    configure(user_agent="Configured", cookie={"a": 1}, use_gzip=False)
    assert (await HTTPClient().fetch(server.url())).code == 200
    [request] = server.requests
    fields = dict(request["headers"])
    assert fields["User-Agent"] == "Configured"
    assert fields["Cookie"] == "a=1"
    assert "Accept-Encoding" not in fields


async def test_default_of_the_request(server: Server) -> None:
    configure(method="put", body="text", auth_username="user", auth_password="pass")
    assert (await HTTPClient().fetch(server.url())).code == 200
    [request] = server.requests
    assert (request["method"], request["body"]) == ("PUT", b"text")
    assert ("Authorization", "Basic dXNlcjpwYXNz") in request["headers"]


async def test_default_params(server: Server) -> None:
    configure(params={"key": "value"})
    assert (await HTTPClient().fetch(server.url())).url.endswith("/echo?key=value")


async def test_default_http_version(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    configure(transport, http_version="HTTP/1.0")
    assert (await HTTPClient().fetch(peer.url())).body == b"body"
    assert peer.requests[0].version == "HTTP/1.0"


async def test_default_keep_alive(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    configure(transport, keep_alive=False)
    for _ in range(2):
        assert (await HTTPClient().fetch(peer.url())).body == b"body"
    assert [request.connection for request in peer.requests] == [1, 2]
    assert peer.requests[0].field("Connection") == "close"


async def test_default_redirects(server: Server) -> None:
    configure(max_redirects=1)
    res = await HTTPClient().fetch(server.url("/redirect/2"))
    assert res.error is not None
    assert res.error.code is errors.REDIRECT_MAX
    configure(allow_redirects=False)
    assert (await HTTPClient().fetch(server.url("/redirect/1"))).code == 302


async def test_default_on_headers(server: Server) -> None:
    seen: list[HTTPHeaders] = []
    configure(on_headers=seen.append)
    assert (await HTTPClient().fetch(server.url())).code == 200
    assert [headers.get_method() for headers in seen] == ["GET"]


async def test_default_timeouts(transport: str, server: Server, blackhole: str) -> None:
    configure(transport, request_timeout=0.05)
    res = await HTTPClient().fetch(server.url("/slow/30"))
    assert res.error is not None
    assert res.error.code is errors.REQUEST_TIMEOUT
    configure(request_timeout=None, connect_timeout=0.05)
    res = await HTTPClient().fetch(blackhole)
    assert res.error is not None
    assert res.error.code is errors.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    "fetch",
    [
        lambda client, url: client.fetch(url, {"user_agent": "Given"}),
        lambda client, url: client.fetch(url, user_agent="Given"),
    ],
    ids=["table", "keyword"],
)
async def test_keywords_take_precedence_over_defaults(
    fetch: Callable[..., Any], server: Server
) -> None:
    configure(user_agent="Configured", cookie="a=1")
    sent = (await fetch(HTTPClient(), server.url())).request
    assert sent["User-Agent"] == "Given"
    assert sent["Cookie"] == "a=1"


async def test_none_means_the_default(server: Server) -> None:
    configure(user_agent="Configured")
    sent = (await HTTPClient().fetch(server.url(), user_agent=None)).request
    assert sent["User-Agent"] == "Configured"


async def test_configure_changes_only_the_named_defaults(
    recording: list[Recording], server: Server
) -> None:
    configure(Recording, user_agent="First", keep_alive=False)
    configure(cookie="a=1")
    configure(None, user_agent="Second")
    sent = (await HTTPClient().fetch(server.url())).request
    assert sent["User-Agent"] == "Second"
    assert sent["Cookie"] == "a=1"
    assert sent["Connection"] == "close"
    assert len(recording) == 1
    configure("simple")
    assert (await HTTPClient().fetch(server.url())).request == sent
    assert recording[0].hops == 1


async def test_none_restores_one_default(server: Server) -> None:
    built_in = (await HTTPClient().fetch(server.url())).request
    configure(user_agent="Configured", cookie="a=1", keep_alive=False)
    configure(user_agent=None, keep_alive=None)
    sent = (await HTTPClient().fetch(server.url())).request
    assert sent["User-Agent"] == built_in["User-Agent"]
    assert sent["Cookie"] == "a=1"
    assert "Connection" not in sent


async def test_reset(recording: list[Recording], server: Server) -> None:
    built_in = (await HTTPClient().fetch(server.url())).request
    configure(Recording, user_agent="Configured", cookie="a=1", max_redirects=0)
    reset()
    assert (await HTTPClient().fetch(server.url())).request == built_in
    assert (await HTTPClient().fetch(server.url("/redirect/1"))).code == 200
    assert recording == []


async def test_running_fetch_is_not_affected_by_configure(raw_peer: MakePeer) -> None:
    moved = response(b"", "Location: /next", status="302 Found")
    peer = await raw_peer(moved)
    configure(max_redirects=2)
    future = HTTPClient().fetch(peer.url())
    configure(max_redirects=0)
    res = await future
    assert res.error is not None
    assert "2" in res.error.message
    assert len(peer.requests) == 3


@pytest.mark.parametrize(
    ("defaults", "kind", "words"),
    [
        ({"keep_alvie": False}, TypeError, "keep_alive"),
        ({"timeout": 5}, TypeError, "request_timeout|names are"),
        ({"url": "http://127.0.0.1/"}, TypeError, "'url'"),
        ({"keep_alive": "no"}, TypeError, "keep_alive"),
        ({"request_timeout": "5"}, TypeError, "request_timeout"),
        ({"request_timeout": -1}, ValueError, "request_timeout"),
        ({"connect_timeout": float("nan")}, ValueError, "connect_timeout"),
        ({"user_agent": "a\r\nb: c"}, ValueError, "user_agent"),
        ({"http_version": "HTTP/3"}, ValueError, "http_version"),
        ({"method": "GET "}, ValueError, "method"),
    ],
    ids=str,
)
async def test_invalid_defaults(
    defaults: dict[str, Any],
    kind: type[Exception],
    words: str,
    recording: list[Recording],
    server: Server,
) -> None:
    configure(Recording, user_agent="before")
    with pytest.raises(kind, match=words):
        configure("simple", **{"user_agent": "after", **defaults})
    sent = (await HTTPClient().fetch(server.url())).request
    assert sent["User-Agent"] == "before"
    assert len(recording) == 1


@needs_pycurl
async def test_two_transports_in_one_loop(raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    for name in ("simple", "curl", "simple"):
        configure(name)
        assert (await HTTPClient().fetch(peer.url())).body == b"body"
    assert [request.connection for request in peer.requests] == [1, 2, 1]
