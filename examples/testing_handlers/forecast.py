"""The application whose handlers are tested: it forwards the response of a weather service."""

from __future__ import annotations

from tornado.escape import json_decode, json_encode
from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient, errors

SERVICE = "https://weather.example.com"


class ForecastHandler(RequestHandler):
    """GET /forecast?city=...: 404 for no such city, 502 and 504 for no answer."""

    async def get(self) -> None:
        res = await HTTPClient().fetch(
            f"{SERVICE}/v1/forecast",
            {"params": {"city": self.get_query_argument("city")}, "request_timeout": 5},
        )
        if res.error:
            self.set_status(504 if res.error.code == errors.REQUEST_TIMEOUT else 502)
            self.write({"error": res.error.code.name})
        elif res.code == 404:
            self.set_status(404)
        else:
            self.write({"degrees": json_decode(res.body)["celsius"]})


class ReportHandler(RequestHandler):
    """POST /reports: hands a report on, and tries once more when the service is busy."""

    async def post(self) -> None:
        report = {"city": self.get_argument("city"), "celsius": int(self.get_argument("celsius"))}
        for _ in range(2):
            res = await HTTPClient().fetch(
                f"{SERVICE}/v1/reports",
                method="POST",
                body=json_encode(report),
                on_headers=lambda headers: headers.set("Content-Type", "application/json"),
            )
            if res.error or res.code != 503:
                break
        self.set_status(502 if res.error else res.code)


def make_app() -> Application:
    return Application([("/forecast", ForecastHandler), ("/reports", ReportHandler)])
