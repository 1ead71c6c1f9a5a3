"""Sends a file from another server, and maps each error to a status."""

import asyncio
import os

from tornado.log import app_log
from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient, errors

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")
PORT = int(os.environ.get("PORT", "8888"))
TIMEOUT = 1

STATUS = {
    errors.INVALID_URL: 404,
    errors.COULD_NOT_CONNECT: 502,
    errors.CONNECT_TIMEOUT: 504,
    errors.REQUEST_TIMEOUT: 504,
    errors.SOCKET_ERROR: 502,
}


class FileHandler(RequestHandler):
    async def get(self, name: str) -> None:
        res = await HTTPClient().fetch(
            UPSTREAM + "/files/" + name,
            request_timeout=TIMEOUT,
        )
        if res.error:
            app_log.warning("%s: %s", name, res.error.message)
            self.set_status(STATUS.get(res.error.code, 500))
            self.write(f"No file: error {res.error.code}")
        elif res.code != 200:
            self.set_status(res.code)
            self.write("No file")
        else:
            self.set_header("Content-Type", res.headers.get("Content-Type"))
            self.set_header("Content-Disposition", "attachment")
            self.write(res.body)


def make_app() -> Application:
    return Application([(r"/files/(.+)", FileHandler)])


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
