"""Reads the size of a remote image, with limits for time, size and redirects."""

import asyncio
import os
import struct

from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")
PORT = int(os.environ.get("PORT", "8888"))


class SizeHandler(RequestHandler):
    async def get(self, name: str) -> None:
        # Any server can have the images, and the request contains no secrets.
        client = HTTPClient({"verify_ca": False}, None, 2 * 1024 * 1024)
        res = await client.fetch(
            UPSTREAM + "/images/" + name,
            request_timeout=15,
            connect_timeout=10,
            allow_redirects=True,
            max_redirects=2,
        )

        if res.error:
            self.set_status(502)
            self.write(f"No image: error {res.error.code}")
        elif res.code != 200:
            self.set_status(502)
            self.write(f"No image: status {res.code}")
        elif res.headers.get("Content-Type", True) != "image/png":
            self.set_status(415)
            self.write("Only PNG is understood")
        else:
            # Bytes 16 to 23, counted from 0, are two numbers of 4 bytes.
            width, height = struct.unpack(">II", res.body[16:24])
            self.write({"width": width, "height": height})


def make_app() -> Application:
    return Application([(r"/size/(.*)", SizeHandler)])


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
