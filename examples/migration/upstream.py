"""The services that the examples of the migration guide fetch from.

    python examples/migration/upstream.py

It serves on http://127.0.0.1:8889, the default of all examples.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter

from tornado.escape import json_decode
from tornado.web import Application, HTTPError, RequestHandler

PORT = 8889

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", 640, 480) + b"\x08\2\0\0\0"
IMAGES = {
    "logo.png": ("image/png", PNG),
    "huge.png": ("image/png", PNG + bytes(3 * 1024 * 1024)),
    "notes.txt": ("text/plain", b"no image"),
}
BOOKS = {"1": ("Emma", "Emma Woodhouse, handsome, clever, and rich"), "2": ("Die Räuber", "Öde")}
PRICES = {"corner": 4, "market": 3, "mill": 5}
STAFF = {"ada": "Ada Lovelace", "grace": "Grace Hopper"}


class CaptchaHandler(RequestHandler):
    def post(self) -> None:
        known = self.get_body_argument("secret", "") == "s3cret"
        self.write({"success": known and self.get_body_argument("response", "") == "human"})


class ImageHandler(RequestHandler):
    def get(self, name: str) -> None:
        if name not in IMAGES:
            raise HTTPError(404)
        kind, body = IMAGES[name]
        self.set_header("Content-Type", kind)
        self.write(body)


class MovedImageHandler(RequestHandler):
    def get(self, times: str, name: str) -> None:
        left = int(times) - 1
        self.redirect(f"/images/moved/{left}/{name}" if left else f"/images/{name}")


class MessagesHandler(RequestHandler):
    def post(self) -> None:
        if self.request.headers.get("Authorization") != "Bot t0ken":
            self.set_status(401)
            self.write({"message": "who are you?"})
        elif self.request.headers.get("Content-Type") != "application/json":
            self.set_status(415)
            self.write({"message": "not JSON"})
        else:
            self.write({"id": 17, "content": json_decode(self.request.body)["content"]})


class CatalogueHandler(RequestHandler):
    def get(self) -> None:
        if self.request.headers.get("User-Agent") != "reader/1.0":
            raise HTTPError(403)
        word = self.get_argument("search", "")
        books = [{"id": key, "title": title} for key, (title, _) in BOOKS.items()]
        self.write({"books": [book for book in books if word in book["title"]]})


class BookHandler(RequestHandler):
    def get(self, key: str) -> None:
        if key not in BOOKS or self.get_cookie("card") != "1234":
            raise HTTPError(404)
        self.write(BOOKS[key][1])


class TickHandler(RequestHandler):
    def get(self) -> None:
        self.write("tick")


class PriceHandler(RequestHandler):
    def get(self, shop: str) -> None:
        if shop not in PRICES:
            raise HTTPError(404)
        self.write({"price": PRICES[shop]})


class JobsHandler(RequestHandler):
    def post(self) -> None:
        self.set_status(202)
        self.write({"id": self.get_body_argument("name")})


class JobHandler(RequestHandler):
    """A job is done at the third request. The job "endless" is never done."""

    def initialize(self, asked: Counter[str]) -> None:
        self.asked = asked

    def get(self, key: str) -> None:
        self.asked[key] += 1
        done = key != "endless" and self.asked[key] % 3 == 0
        self.write({"state": "done" if done else "running"})


class StaffHandler(RequestHandler):
    def get(self, name: str) -> None:
        if name not in STAFF:
            raise HTTPError(404)
        self.write({"name": STAFF[name]})


class SessionHandler(RequestHandler):
    def post(self) -> None:
        if self.get_body_argument("password") != "swordfish":
            raise HTTPError(403)
        self.set_cookie("session", "8f14e45f")
        self.set_cookie("language", "en")
        self.redirect("/account")


class AccountHandler(RequestHandler):
    def get(self) -> None:
        if self.get_cookie("session") != "8f14e45f":
            raise HTTPError(401)
        self.write(f"Signed in, language {self.get_cookie('language')}")


class FileHandler(RequestHandler):
    def get(self, name: str) -> None:
        if name != "report.csv":
            raise HTTPError(404)
        self.set_header("Content-Type", "text/csv")
        self.write("year,sold\n2025,12\n")


class SlowFileHandler(RequestHandler):
    """Send no response, and end when the client closes the connection."""

    def initialize(self) -> None:
        self.gone = asyncio.Event()

    async def get(self) -> None:
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


class BrokenFileHandler(RequestHandler):
    """Close the connection within the body."""

    async def get(self) -> None:
        stream = self.detach()
        with contextlib.suppress(OSError):
            await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nyear,")
        stream.close()


def make_app() -> Application:
    return Application(
        [
            (r"/siteverify", CaptchaHandler),
            (r"/images/moved/(\d+)/(.+)", MovedImageHandler),
            (r"/images/(.+)", ImageHandler),
            (r"/messages", MessagesHandler),
            (r"/catalogue", CatalogueHandler),
            (r"/books/(\d+)", BookHandler),
            (r"/tick", TickHandler),
            (r"/prices/(\w+)", PriceHandler),
            (r"/jobs", JobsHandler),
            (r"/jobs/(\w+)", JobHandler, {"asked": Counter()}),
            (r"/staff/(\w+)", StaffHandler),
            (r"/session", SessionHandler),
            (r"/account", AccountHandler),
            (r"/files/slow\.csv", SlowFileHandler),
            (r"/files/broken\.csv", BrokenFileHandler),
            (r"/files/(.+)", FileHandler),
        ]
    )


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1")
    print(f"serving on http://127.0.0.1:{PORT}, Ctrl-C stops", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
