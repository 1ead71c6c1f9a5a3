"""Accepts a comment if a captcha service confirms that a human wrote it."""

import asyncio
import os

from tornado.escape import json_decode
from tornado.web import Application, RequestHandler

from turbo_tornado import FetchKeywords, HTTPClient

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")
PORT = int(os.environ.get("PORT", "8888"))


class CommentHandler(RequestHandler):
    async def post(self) -> None:
        kwargs: FetchKeywords = {}
        kwargs["method"] = "POST"
        kwargs["params"] = {
            "secret": "s3cret",
            "response": self.get_argument("captcha"),
        }
        res = await HTTPClient().fetch(UPSTREAM + "/siteverify", kwargs)

        if res.error or res.code != 200:
            self.set_status(503)
            self.write("The captcha cannot be checked now")
        elif json_decode(res.body)["success"]:
            self.write("Thank you")
        else:
            self.set_status(403)
            self.write("Robots stay outside")


def make_app() -> Application:
    return Application([(r"/comment", CommentHandler)])


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
