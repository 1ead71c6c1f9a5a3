"""The handlers of forecast.py, tested in Tornado's test case.

python -m unittest test_case
pytest test_case.py
"""

from __future__ import annotations

from forecast import SERVICE, make_app
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from turbo_tornado import errors
from turbo_tornado.testing import Answer, StubTransport


class ForecastTest(AsyncHTTPTestCase):
    def get_app(self) -> Application:
        return make_app()

    def setUp(self) -> None:
        super().setUp()
        self.stub = StubTransport().install()
        self.addCleanup(self.stub.uninstall)

    def test_forecast(self) -> None:
        self.stub.get(f"{SERVICE}/v1/forecast?city=Oslo", json={"celsius": -3})
        response = self.fetch("/forecast?city=Oslo")
        self.assertEqual(response.code, 200)
        self.assertEqual(response.body, b'{"degrees": -3}')

    def test_no_such_city(self) -> None:
        self.stub.get(f"{SERVICE}/v1/forecast", status=404)
        self.assertEqual(self.fetch("/forecast?city=Nowhere").code, 404)

    def test_the_service_is_down(self) -> None:
        self.stub.get(f"{SERVICE}/v1/forecast", error=errors.COULD_NOT_CONNECT)
        response = self.fetch("/forecast?city=Oslo")
        self.assertEqual(response.code, 502)
        self.assertIn(b"COULD_NOT_CONNECT", response.body)

    def test_the_service_is_slow(self) -> None:
        # More than the five seconds that the handler allows: the fetch ends at once.
        self.stub.get(f"{SERVICE}/v1/forecast", json={"celsius": -3}, delay=10)
        self.assertEqual(self.fetch("/forecast?city=Oslo").code, 504)

    def test_a_busy_service_is_asked_again(self) -> None:
        reports = self.stub.post(f"{SERVICE}/v1/reports", Answer(503), Answer(201))
        response = self.fetch("/reports", method="POST", body="city=Oslo&celsius=-3")
        self.assertEqual(response.code, 201)
        self.assertEqual(len(reports.requests), 2)
        self.assertEqual(reports.requests[1].json(), {"city": "Oslo", "celsius": -3})
        self.assertEqual(reports.requests[1].headers["Content-Type"], "application/json")
