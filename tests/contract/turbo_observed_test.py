"""The recorded scenarios of Turbo.lua 2.1.5, replayed with `HTTPClient`.

``turbo_observed.json`` contains, for each scenario, the fetches, the requests that the server
received, and the results. The peers respond like that server. Each scenario must have the
recorded requests and results. `DIFFERENCES` has the exceptions, with the reasons.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support import Connection, MakeClient, MakePeer, RawPeer, Request, response
from tests.support.certificates import Certificates
from tests.support.phases import in_phase, require_phase
from turbo_tornado import HTTPClient, HTTPHeaders, HTTPResponse, __version__, errors

RECORD: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("turbo_observed.json").read_text(encoding="utf-8")
)

Result = dict[str, Any]
Field = tuple[str, str]


class Received(NamedTuple):
    """The compared parts of a request, without the order of its headers."""

    start: str
    fields: list[Field]
    body: str
    #: 1 for the first connection of the scenario, 2 for the next, and so on.
    connection: int = 1


class Difference(NamedTuple):
    """An intended difference from Turbo.lua."""

    why: str
    results: list[Result] | None = None
    requests: list[Received] | None = None


# The server that was recorded

# The server sends the bodies of the record.
RECORDED_GZIP = base64.b64decode(RECORD["gzip-default"]["turbo_results"][0]["body"])


def echo(request: Request) -> bytes:
    seen = {
        "start": request.line,
        "headers": request.fields,
        "body": base64.b64encode(request.body).decode(),
    }
    fields = ("Content-Type: application/json", "X-Dup: a", "X-Dup: b")
    answer = response(json.dumps(seen).encode(), *fields)
    return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else answer


OK = b"HTTP/1.1 200 OK\r\n"
STATUS = {
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "500": response(b"status body", status="500 Internal Server Error"),
}
MOVED = {
    "301": "301 Moved Permanently",
    "302": "302 Found",
    "303": "303 See Other",
    "307": "307 Temporary Redirect",
    "308": "308 Permanent Redirect",
}
#: The response, and whether the connection is closed afterwards.
FIXED: dict[str, tuple[bytes, bool]] = {
    "/head-cl": (OK + b"Content-Length: 1234\r\n\r\n", False),
    "/gzip": (response(RECORDED_GZIP, "Content-Encoding: gzip"), False),
    "/close-now": (b"", True),
    "/close-mid-headers": (OK + b"Content-Type: text/pl", True),
    "/close-mid-body": (OK + b"Content-Length: 100\r\n\r\nonly a part", True),
    "/garbage": (b"\x00\x01\x02 this is not HTTP\r\n\r\n", True),
    "/bad-status": (b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", False),
    "/bad-header": (OK + b"this line has no colon\r\nContent-Length: 2\r\n\r\nok", False),
    "/many-headers/40": (response(b"ok", *(f"X-{n}: {n}" for n in range(40))), False),
    "/chunked": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        False,
    ),
    "/no-length": (OK + b"\r\nno length", True),
    "/http10": (response(b"http0", version="HTTP/1.0"), True),
    "/continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"after 100"), False),
    "/setcookie": (response(b"c", "Set-Cookie: a=1", "Set-Cookie: b=2"), False),
}


async def recorded_server(conn: Connection) -> None:
    while True:
        request = await conn.read_request()
        target = urlsplit(request.target)
        _, route, *rest = target.path.split("/")
        here = conn.peer.url("")
        if route in ("echo", "probe"):
            await conn.send(echo(request))
        elif target.path in FIXED:
            data, closing = FIXED[target.path]
            await conn.send(data)
            if closing:
                conn.close()
                return
        elif route == "auth":
            known = request.field("Authorization") == "Basic dXNlcjpwYXNz"
            await conn.send(
                response(b"in") if known else response(b"out", status="401 Unauthorized")
            )
        elif route == "status":
            await conn.send(STATUS[rest[0]])
        elif route == "redirect":
            left = int(rest[0]) - 1
            location = f"{here}/redirect/{left}" if left else f"{here}/echo"
            code = target.query.partition("=")[2] or "302"
            body = b"" if request.method == "HEAD" else b"moved"
            await conn.send(response(body, f"Location: {location}", status=MOVED[code]))
        elif route == "redirect-abs":
            await conn.send(response(b"moved", f"Location: {here}/echo?abs=1", status="302 Found"))
        elif route == "redirect-scheme":
            await conn.send(response(b"moved", "Location: ftp://127.0.0.1/", status="302 Found"))
        elif route == "slow-headers":
            if float(rest[0]) > 1:
                return
            await asyncio.sleep(float(rest[0]))
            await conn.send(response(b"slow"))
        elif route == "slow-body":
            await conn.send(OK + b"Content-Length: 10\r\n\r\nslow")
            return
        elif route == "big":
            await conn.send(response(b"x" * (int(rest[0]) + 1)))
        else:
            await conn.send(response(b"nope", status="404 Not Found"))


# Intended differences

HOST: Field = ("Host", "127.0.0.1:{http}")
AGENT: Field = ("User-Agent", f"Turbo Client v{__version__}")
ACCEPT: Field = ("Accept-Encoding", "gzip")
USUAL = [HOST, AGENT, ACCEPT]
CLOSE: Field = ("Connection", "close")
AUTHORIZATION: Field = ("Authorization", "Basic dXNlcjpwYXNz")


def request(
    target: str = "/echo",
    *fields: Field,
    method: str = "GET",
    version: str = "HTTP/1.1",
    body: str = "",
    connection: int = 1,
    usual: list[Field] | None = None,
) -> Received:
    return Received(f"{method} {target} {version}", [*(usual or USUAL), *fields], body, connection)


def echoed(received: Received, url: str = "http://127.0.0.1:{http}/echo") -> Result:
    """Return the result of a fetch that ends at /echo with this request."""
    return {
        "code": 200,
        "reason": "OK",
        "url": url,
        "ctype": "application/json",
        "dup": ["a", "b"],
        "body": received._replace(connection=1),
    }


def failed(code: errors) -> list[Result]:
    return [{"error": code.value}]


def over_tls(port: str, host: str = "127.0.0.1") -> Difference:
    """Return the difference of a successful fetch over TLS."""
    there = [("Host", f"{host}:{{{port}}}"), AGENT, ACCEPT]
    received = request(usual=there)
    url = f"https://{host}:{{{port}}}/echo"
    return Difference("HTTPS fails with OpenSSL 3", [echoed(received, url)], [received])


def not_over_tls() -> Difference:
    return Difference("HTTPS fails with OpenSSL 3", failed(errors.SSL_ERROR))


def followed(code: str) -> Difference:
    return Difference(
        "only 301 and 302 are followed",
        [echoed(request())],
        [request(f"/redirect/1?code={code}"), request()],
    )


ECHO_WITH_AUTH = request("/echo", AUTHORIZATION)
ECHO_WITH_COOKIE = request("/echo", ("Cookie", "testcookie=testvalue"))
ECHO_WITH_COOKIES = request("/echo", ("Cookie", "a=1; b=2"))
ECHO_WITHOUT_KEEPING = request("/echo", CLOSE)
ECHO_OF_PARAMS = request("/echo?q=Turbo%20lua%20%26%20co%2F%2B%C3%A9")
BODY_AND_PARAMS = request("/echo?p=1", ("Content-Length", "1"), method="POST", body="B")
JSON_WITH_ONE_LENGTH = request("/echo", ("Content-Length", "7"), method="POST", body='{"a":1}')

DIFFERENCES: dict[str, Difference] = {
    "get-params": Difference(
        "url is that of the request, its query included",
        [echoed(ECHO_OF_PARAMS, "http://127.0.0.1:{http}" + ECHO_OF_PARAMS.start.split()[1])],
    ),
    "get-params-number": Difference(
        "url is that of the request, its query included",
        [echoed(request("/echo?n=42"), "http://127.0.0.1:{http}/echo?n=42")],
    ),
    "get-params-with-query": Difference(
        "params are dropped when the URL has a query",
        [echoed(request("/echo?x=1&y=2"), "http://127.0.0.1:{http}/echo?x=1&y=2")],
        [request("/echo?x=1&y=2")],
    ),
    "post-none": Difference("POST without a body", failed(errors.REQUIRES_BODY), []),
    "body-and-params": Difference(
        "params are dropped when there is a body",
        [echoed(BODY_AND_PARAMS, "http://127.0.0.1:{http}/echo?p=1")],
        [BODY_AND_PARAMS],
    ),
    "cookie-table": Difference(
        "no semicolon ends a Cookie", [echoed(ECHO_WITH_COOKIE)], [ECHO_WITH_COOKIE]
    ),
    "cookie-two": Difference(
        "cookies in their order, without a semicolon at the end",
        [echoed(ECHO_WITH_COOKIES)],
        [ECHO_WITH_COOKIES],
    ),
    "gzip-default": Difference(
        "use_gzip does nothing",
        [
            {
                "code": 200,
                "reason": "OK",
                "url": "http://127.0.0.1:{http}/gzip",
                "body": gzip.decompress(RECORDED_GZIP),
            }
        ],
    ),
    "auth": Difference(
        "auth_username and auth_password do nothing",
        [{"code": 200, "reason": "OK", "url": "http://127.0.0.1:{http}/auth", "body": b"in"}],
        [request("/auth", AUTHORIZATION)],
    ),
    "auth-echo": Difference(
        "auth_username and auth_password do nothing", [echoed(ECHO_WITH_AUTH)], [ECHO_WITH_AUTH]
    ),
    "on-headers-content-length": Difference(
        "Content-Length is always ours", [echoed(JSON_WITH_ONE_LENGTH)], [JSON_WITH_ONE_LENGTH]
    ),
    "redirect-default": Difference(
        "allow_redirects is off unless given",
        [echoed(request())],
        [request("/redirect/1"), request()],
    ),
    "redirect-5": Difference("one hop too many returns the 3xx", failed(errors.REDIRECT_MAX)),
    "redirect-max-2": Difference("one hop too many returns the 3xx", failed(errors.REDIRECT_MAX)),
    "redirect-303": followed("303"),
    "redirect-307": followed("307"),
    "redirect-308": followed("308"),
    "redirect-post": Difference(
        "POST is repeated on 302",
        [echoed(request())],
        [request("/redirect/1", ("Content-Length", "1"), method="POST", body="b"), request()],
    ),
    "redirect-head": Difference(
        "HEAD and a redirect hang",
        [{**echoed(request()), "body": b""}],
    ),
    "invalid-url-empty": Difference("an empty URL hangs", failed(errors.INVALID_URL)),
    "connect-timeout": Difference(
        "connect_timeout gives COULD_NOT_CONNECT", failed(errors.CONNECT_TIMEOUT)
    ),
    "close-now": Difference("NO_HEADERS comes as REQUEST_TIMEOUT", failed(errors.NO_HEADERS)),
    "close-mid-headers": Difference(
        "SOCKET_ERROR comes as REQUEST_TIMEOUT", failed(errors.SOCKET_ERROR)
    ),
    "close-mid-body": Difference(
        "SOCKET_ERROR comes as REQUEST_TIMEOUT", failed(errors.SOCKET_ERROR)
    ),
    "garbage": Difference(
        "PARSE_ERROR_HEADERS comes as REQUEST_TIMEOUT", failed(errors.PARSE_ERROR_HEADERS)
    ),
    "bad-status": Difference(
        "PARSE_ERROR_HEADERS comes as REQUEST_TIMEOUT", failed(errors.PARSE_ERROR_HEADERS)
    ),
    "bad-header": Difference(
        "PARSE_ERROR_HEADERS comes as REQUEST_TIMEOUT", failed(errors.PARSE_ERROR_HEADERS)
    ),
    "too-big": Difference("SOCKET_ERROR comes as REQUEST_TIMEOUT", failed(errors.SOCKET_ERROR)),
    "no-length": Difference(
        "a body without Content-Length is dropped",
        [
            {
                "code": 200,
                "reason": "OK",
                "url": "http://127.0.0.1:{http}/no-length",
                "body": b"no length",
            }
        ],
    ),
    "tls-ok": over_tls("tls_ok"),
    "tls-localhost": over_tls("tls_ok", "localhost"),
    "tls-untrusted": not_over_tls(),
    "tls-noverify": over_tls("tls_selfsigned"),
    "tls-selfsigned": not_over_tls(),
    "tls-wronghost": not_over_tls(),
    "tls-expired": not_over_tls(),
    "tls-bad-capath": not_over_tls(),
    "tls-clientcert": over_tls("tls_clientcert"),
    "tls-on-plain": not_over_tls(),
    "reuse-instance": Difference(
        "keep_alive defaults to true, by choice",
        requests=[request(), request("/echo?2")],
    ),
    "keep-alive-false": Difference(
        "Connection: close says that the connection is not kept",
        [echoed(ECHO_WITHOUT_KEEPING)] * 2,
        [ECHO_WITHOUT_KEEPING, ECHO_WITHOUT_KEEPING._replace(connection=2)],
    ),
    "busy": Difference(
        "BUSY never resumes the second fetch",
        [
            {
                "code": 200,
                "reason": "OK",
                "url": "http://127.0.0.1:{http}/slow-headers/0.3",
                "body": b"slow",
            },
            *failed(errors.BUSY),
        ],
        [request("/slow-headers/0.3")],
    ),
}


# From the record to the compared values


def upper_escapes(text: str) -> str:
    """Percent-encodings mean the same in either case (RFC 3986, section 6.2.2.1)."""
    return re.sub(r"%[0-9A-Fa-f]{2}", lambda match: match[0].upper(), text)


def received_by_turbos_server(scenario: dict[str, Any]) -> list[Received]:
    """Return the recorded requests without the differences that all of them have.

    Host has the port, User-Agent our version, gzip is offered unless it was refused,
    and no CR LF follows a body.
    """
    requests: list[Received] = []
    connections: list[int] = []
    use_gzip = all(fetch.get("kwargs", {}).get("use_gzip", True) for fetch in scenario["fetches"])
    for seen in scenario["bytes_received_by_server"]:
        if not seen["start"]:
            continue
        if seen["conn"] not in connections:
            connections.append(seen["conn"])
        number = connections.index(seen["conn"]) + 1
        requests.append(as_ours(seen["start"], seen["headers"], seen["body"], number, use_gzip))
    return requests


def as_ours(
    start: str, headers: list[list[str]], body: str, connection: int, use_gzip: bool
) -> Received:
    fields = [(name, value) for name, value in headers if name != "Host"]
    fields = [
        AGENT if field == ("User-Agent", "Turbo Client v2.0.0") else field for field in fields
    ]
    fields = [HOST, *fields, *([ACCEPT] if use_gzip else [])]
    return Received(upper_escapes(start), fields, upper_escapes(body), connection)


def results_of_turbo(scenario: dict[str, Any]) -> list[Result]:
    """Return the recorded results in the form in which they are compared."""
    recorded = scenario["turbo_results"]
    if isinstance(recorded, dict):
        return [recorded]
    return [result_of_turbo(result) for result in recorded]


def result_of_turbo(recorded: Result) -> Result:
    if "error" in recorded:
        return {"error": recorded["error"]}
    result: Result = {
        key: recorded[key] for key in ("code", "reason", "url", "ctype", "dup") if key in recorded
    }
    body = recorded.get("body", "")
    if body.startswith("<"):
        result["body"] = b"x" * int(body.strip("<>").split()[0])
        return result
    result["body"] = base64.b64decode(body)
    if "ctype" in result and result["body"]:
        seen = json.loads(result["body"])
        sent = base64.b64decode(seen["body"]).decode()
        result["body"] = as_ours(seen["start"], seen["headers"], sent, 1, True)
    return result


def result_of_ours(res: HTTPResponse) -> Result:
    assert isinstance(res.request_time, float)
    if res.error is not None:
        assert res.error.message
        others: tuple[Any, ...] = (res.request, res.code, res.headers, res.body, res.url)
        assert others == (None,) * len(others)
        return {"error": res.error.code.value}
    assert isinstance(res.request, HTTPHeaders)
    result: Result = {"code": res.code, "reason": res.reason, "url": res.url, "body": res.body}
    if "X-Dup" in res.headers:
        result["ctype"] = res.headers["Content-Type"]
        result["dup"] = res.headers.get_list("X-Dup")
        if res.body:
            seen = json.loads(res.body)
            fields = [(name, value) for name, value in seen["headers"]]
            sent = base64.b64decode(seen["body"]).decode()
            result["body"] = Received(seen["start"], fields, sent)
    return result


def comparable(value: Any) -> Any:
    """Sort headers, and count a long body."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, Received):
        return value._replace(fields=sorted(value.fields))
    if isinstance(value, bytes) and len(value) > 10_000:
        return (len(value), value[:10])
    return value


Fill = Callable[[Any], Any]


def filler(places: dict[str, str]) -> Fill:
    """Return a function that replaces ``{http}`` and the others in nested values."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda match: places[match[1]], value)
        if isinstance(value, Received):
            return Received(fill(value.start), fill(value.fields), value.body, value.connection)
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(fill(item) for item in value)
        return value

    return fill


# The replay


class World:
    """The peers of the record, and where they are."""

    def __init__(self, peers: dict[str, RawPeer], places: dict[str, str]) -> None:
        self.peers = peers
        self.fill = filler({**places, **{name: str(peer.port) for name, peer in peers.items()}})

    def received(self) -> list[Received]:
        """Return what has arrived since the last call."""
        requests: list[Received] = []
        for peer in self.peers.values():
            numbers = list(dict.fromkeys(request.connection for request in peer.requests))
            requests += [
                Received(
                    request.line,
                    request.fields,
                    request.body.decode(),
                    numbers.index(request.connection) + 1,
                )
                for request in peer.requests
            ]
            peer.requests.clear()
        return requests


MakeWorld = Callable[..., Awaitable[World]]


@pytest.fixture
def make_world(
    raw_peer: MakePeer,
    certificates: Certificates,
    closed_port: int,
    blackhole: str,
    tmp_path: Path,
) -> MakeWorld:
    async def make() -> World:
        peers = {
            "http": await raw_peer(recorded_server),
            "tls_plain": await raw_peer(plain),
        }
        for place, certificate, client_ca in (
            ("tls_ok", "valid", None),
            ("tls_selfsigned", "self-signed", None),
            ("tls_wronghost", "wrong-host", None),
            ("tls_expired", "expired", None),
            ("tls_clientcert", "valid", certificates.ca),
        ):
            context = certificates.server_context(certificate, client_ca)
            peers[place] = await raw_peer(recorded_server, context)
        for name, file in (
            ("ca.pem", certificates.ca),
            ("client.crt", certificates.client_cert),
            ("client.key", certificates.client_key),
        ):
            shutil.copy(file, tmp_path / name)
        places = {
            "closed": str(closed_port),
            "blackhole": str(urlsplit(blackhole).port),
            "certs": str(tmp_path),
        }
        return World(peers, places)

    return make


async def plain(conn: Connection) -> None:
    await conn.reader.read(1)
    await conn.send(response(b"plain", status="400 Bad Request"))


def on_headers(calls: list[list[str]]) -> Callable[[HTTPHeaders], None]:
    def change(headers: HTTPHeaders) -> None:
        for method, *arguments in calls:
            getattr(headers, method)(*arguments)

    return change


#: Seconds. Turbo needs short timeouts, because it hangs instead of reporting some failures.
PATIENCE = 30


async def replay(
    scenario: dict[str, Any], world: World, make_client: MakeClient, expires: bool
) -> tuple[HTTPClient, list[HTTPResponse]]:
    """Run the fetches of a scenario.

    :arg expires: whether a timeout must expire. Otherwise, the timeouts are longer than recorded.
    """
    settings = world.fill(scenario["client"])

    def client() -> HTTPClient:
        return make_client(settings.get("ssl"), max_buffer_size=settings.get("max_buffer_size"))

    one = client()
    together = settings.get("concurrent")
    keep = settings.get("same_client") or together
    results: list[Any] = []
    for fetch in scenario["fetches"]:
        kwargs = world.fill(fetch.get("kwargs", {}))
        if "on_headers" in fetch:
            kwargs["on_headers"] = on_headers(fetch["on_headers"])
        if not expires:
            kwargs |= {name: PATIENCE for name in kwargs if name.endswith("_timeout")}
        given = dict(kwargs)
        pending = (one if keep else client()).fetch(world.fill(fetch["url"]), kwargs)
        assert kwargs == given
        results.append(pending if together else await pending)
    return one, await asyncio.gather(*results) if together else results


def test_every_scenario_is_known() -> None:
    assert len(RECORD) == 92
    assert set(DIFFERENCES) <= set(RECORD)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_recorded_difference_exists(name: str) -> None:
    """Each listed difference really differs from the record."""
    difference, scenario = DIFFERENCES[name], RECORD[name]
    assert difference.why
    assert difference != Difference(difference.why)
    if difference.results is not None:
        assert comparable(difference.results) != comparable(results_of_turbo(scenario))
    if difference.requests is not None:
        assert comparable(difference.requests) != comparable(received_by_turbos_server(scenario))


@pytest.mark.parametrize("name", RECORD)
@pytest.mark.kept
@in_phase
async def test_result_is_the_same_as_in_turbo_or_listed(
    name: str, make_client: MakeClient, make_world: MakeWorld
) -> None:
    scenario = RECORD[name]
    difference = DIFFERENCES.get(name, Difference("none"))
    world = await make_world()
    expected = difference.results
    if expected is None:
        expected = results_of_turbo(scenario)
    expires = any(result.get("error") in errors.TIMEOUTS for result in expected)
    client, results = await replay(scenario, world, make_client, expires)
    ours = [result_of_ours(res) for res in results]
    assert comparable(ours) == comparable(world.fill(expected))

    received = world.received()
    expected_requests = difference.requests
    if expected_requests is None:
        expected_requests = received_by_turbos_server(scenario)
    require_phase(received or not (expires and expected_requests))
    assert comparable(received) == comparable(world.fill(expected_requests))

    # The request is what arrived, and after it nothing did.
    for res in results:
        if res.error is None and len(results) == 1:
            assert sorted(res.request.get_all()) == sorted(received[-1].fields)
            line = f"{res.request.get_method()} {res.request.get_uri()} {res.request.get_version()}"
            assert line == received[-1].start
    probe = await client.fetch(world.peers["http"].url("/probe"))
    assert (probe.error, probe.code) == (None, 200)
    assert [seen.start for seen in world.received()] == ["GET /probe HTTP/1.1"]
