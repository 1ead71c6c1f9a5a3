"""The handlers of forecast.py, tested by pytest with pytest-asyncio in its auto mode.

pytest -o asyncio_mode=auto test_functions.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from forecast import SERVICE, make_app
from tornado.escape import json_decode
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from turbo_tornado import errors
from turbo_tornado.testing import Answer, StubRequest, StubTransport

Call = Callable[..., Awaitable[HTTPResponse]]


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    """Call the application with a Tornado client, which the stub does not replace."""
    server = HTTPServer(make_app())
    socket, port = bind_unused_port()
    server.add_socket(socket)
    client = AsyncHTTPClient()

    async def call(path: str, **arguments: Any) -> HTTPResponse:
        return await client.fetch(f"http://127.0.0.1:{port}{path}", raise_error=False, **arguments)

    yield call
    client.close()
    server.stop()
    await server.close_all_connections()


async def test_forecast(turbo_stub: StubTransport, call: Call) -> None:
    turbo_stub.get(f"{SERVICE}/v1/forecast?city=Oslo", json={"celsius": -3})
    response = await call("/forecast?city=Oslo")
    assert json_decode(response.body) == {"degrees": -3}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(404), 404),
        (Answer(error=errors.COULD_NOT_CONNECT), 502),
        (Answer(error=errors.SSL_ERROR), 502),
        (Answer(json={"celsius": -3}, delay=10), 504),
    ],
)
async def test_no_forecast(
    answer: Answer, status: int, turbo_stub: StubTransport, call: Call
) -> None:
    turbo_stub.get(f"{SERVICE}/v1/forecast", answer)
    assert (await call("/forecast?city=Oslo")).code == status


async def test_a_service_with_a_memory(turbo_stub: StubTransport, call: Call) -> None:
    celsius = {}

    def report(request: StubRequest) -> Answer:
        said = request.json()
        celsius[said["city"]] = said["celsius"]
        return Answer(201)

    def forecast(request: StubRequest) -> Answer:
        [city] = request.query["city"]
        return Answer(json={"celsius": celsius[city]}) if city in celsius else Answer(404)

    turbo_stub.post(f"{SERVICE}/v1/reports", report)
    turbo_stub.get(f"{SERVICE}/v1/forecast", forecast)

    assert (await call("/forecast?city=Oslo")).code == 404
    assert (await call("/reports", method="POST", body="city=Oslo&celsius=-3")).code == 201
    assert json_decode((await call("/forecast?city=Oslo")).body) == {"degrees": -3}
