"""A gateway: handlers that answer with what they fetch from another service.

    python examples/gateway.py           calls each of its routes once, then serves
    python examples/gateway.py --once    calls each of its routes once

Everything stays on this machine: the other service, the upstream, is an application in
the same process that listens on a separate port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable

from tornado.escape import json_decode
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.log import access_log, enable_pretty_logging
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient, HTTPResponse, errors, task

# The gateway.


class GatewayHandler(RequestHandler):
    """The base class of the handlers."""

    def initialize(self, upstream: str, retired: str, directory: Directory) -> None:
        self.upstream = upstream
        self.retired = retired
        self.directory = directory

    def relay(self, res: HTTPResponse) -> None:
        """Send the upstream response, 504 after a timeout, or 502 after another failure."""
        if res.error:
            too_slow = res.error.code in (errors.CONNECT_TIMEOUT, errors.REQUEST_TIMEOUT)
            self.set_status(504 if too_slow else 502)
            self.set_header("Upstream-Error", res.error.code.name)
            self.write({"error": res.error.code.name, "message": res.error.message})
        else:
            self.set_status(res.code)
            self.set_header("Content-Type", res.headers.get("Content-Type", "text/plain"))
            self.write(res.body)


class IndexHandler(GatewayHandler):
    """this list"""

    def get(self) -> None:
        for path, handler in ROUTES.items():
            self.write(f'<p><a href="{path}">{path}</a>: {handler.__doc__}</p>\n')


class LatestHandler(GatewayHandler):
    """one fetch, and what to do when it fails"""

    async def get(self) -> None:
        res = await HTTPClient().fetch(self.upstream + "/latest")
        if res.error:
            self.write("Could not get latest")
        else:
            self.write(res.body)


class FanoutHandler(GatewayHandler):
    """twenty fetches at the same time"""

    async def get(self) -> None:
        # A client carries one fetch at a time and costs next to nothing: one for each.
        # The connections belong to the transport, which all clients share.
        responses = await asyncio.gather(
            *(HTTPClient().fetch(f"{self.upstream}/items/{number}") for number in range(20))
        )
        for res in responses:
            if res.error:
                self.relay(res)
                return
        self.write({"items": [json_decode(res.body) for res in responses]})


class CaptchaHandler(GatewayHandler):
    """a POST with params, as the check of a captcha makes it"""

    async def get(self) -> None:
        res = await HTTPClient().fetch(
            self.upstream + "/siteverify",
            method="POST",
            params={"secret": "s3cret", "response": self.get_argument("response", "human")},
        )
        if res.error:
            self.relay(res)
        elif json_decode(res.body)["success"]:
            self.write("Welcome")
        else:
            self.set_status(403)
            self.write("Robots stay outside")


class SlowHandler(GatewayHandler):
    """an upstream that is too slow: 504"""

    async def get(self) -> None:
        self.relay(await HTTPClient().fetch(self.upstream + "/slow", request_timeout=0.25))


class RefusedHandler(GatewayHandler):
    """an upstream that is not there: 502"""

    async def get(self) -> None:
        self.relay(await HTTPClient().fetch(self.retired + "/latest"))


class TaskHandler(GatewayHandler):
    """an API that takes a callback, awaited by task()"""

    async def get(self) -> None:
        address = await task(self.directory.look_up, "upstream")
        self.relay(await HTTPClient().fetch(address + "/latest"))


class Directory:
    """A registry of services, with a callback API."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses

    def look_up(self, service: str, callback: Callable[[str], None]) -> None:
        IOLoop.current().add_callback(callback, self._addresses[service])


ROUTES: dict[str, type[GatewayHandler]] = {
    "/": IndexHandler,
    "/latest": LatestHandler,
    "/fanout": FanoutHandler,
    "/captcha": CaptchaHandler,
    "/slow": SlowHandler,
    "/refused": RefusedHandler,
    "/task": TaskHandler,
}

# The upstream.


class UpstreamLatestHandler(RequestHandler):
    def get(self) -> None:
        self.write({"latest": "Turbo.lua's client runs on Tornado"})


class UpstreamItemHandler(RequestHandler):
    async def get(self, number: str) -> None:
        await asyncio.sleep(0.05)  # what it costs to make an item
        self.write({"item": int(number)})


class UpstreamSiteVerifyHandler(RequestHandler):
    def post(self) -> None:
        known = self.get_body_argument("secret") == "s3cret"
        self.write({"success": known and self.get_body_argument("response") == "human"})


class UpstreamSlowHandler(RequestHandler):
    """Never answers, and stops when the client disconnects."""

    def initialize(self) -> None:
        self.gone = asyncio.Event()

    async def get(self) -> None:
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


def make_upstream() -> Application:
    return Application(
        [
            (r"/latest", UpstreamLatestHandler),
            (r"/items/(\d+)", UpstreamItemHandler),
            (r"/siteverify", UpstreamSiteVerifyHandler),
            (r"/slow", UpstreamSlowHandler),
        ]
    )


def make_gateway(upstream: str, retired: str) -> Application:
    services = {
        "upstream": upstream,
        "retired": retired,
        "directory": Directory({"upstream": upstream}),
    }
    return Application([(path, handler, services) for path, handler in ROUTES.items()])


def serve(application: Application, port: int) -> tuple[HTTPServer, str]:
    """Start a server on localhost, and return it with its URL. Port 0 is any free port."""
    sockets = bind_sockets(port, "127.0.0.1")
    server = HTTPServer(application)
    server.add_sockets(sockets)
    return server, f"http://127.0.0.1:{sockets[0].getsockname()[1]}"


async def tour(url: str) -> None:
    """Call each route once, and print the result."""
    client = HTTPClient()
    print(f"{'route':<10}{'status':>6}  {'upstream error':<20}{'time':>8}")
    for path in ROUTES:
        res = await client.fetch(url + path)
        if res.error:
            sys.exit(f"{path}: {res.error.code.name}: {res.error.message}")
        error = res.headers.get("Upstream-Error", "-")
        print(f"{path:<10}{res.code:>6}  {error:<20}{res.request_time:>5.0f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description="A gateway whose handlers fetch from an upstream.")
    parser.add_argument("--port", type=int, default=8888, help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="call each route once and exit")
    args = parser.parse_args()

    # Bound and not listening: the port stays reserved, and a connection is refused.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        retired = f"http://127.0.0.1:{unused.getsockname()[1]}"
        upstream, upstream_url = serve(make_upstream(), 0)
        try:
            gateway, url = serve(make_gateway(upstream_url, retired), args.port)
        except OSError as error:
            sys.exit(f"cannot listen on port {args.port}: {error.strerror}; --port takes another")

        # The table repeats the access log.
        access_log.disabled = True
        await tour(url)
        access_log.disabled = False

        if not args.once:
            print(f"\nserving on {url}, Ctrl-C stops", flush=True)
            enable_pretty_logging()
            await asyncio.Event().wait()

        for server in (gateway, upstream):
            server.stop()
            await server.close_all_connections()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
