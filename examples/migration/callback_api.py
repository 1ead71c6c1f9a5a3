"""Greets a user by full name, which a callback interface returns."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from tornado.escape import json_decode
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient, task

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")
PORT = int(os.environ.get("PORT", "8888"))


class Directory:
    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def look_up(self, key: str, callback: Callable[..., None], arg: Any) -> None:
        """Call callback(arg, name, err)."""
        if key in self.names:
            callback(arg, self.names[key], None)
            return

        async def ask() -> None:
            res = await HTTPClient().fetch(UPSTREAM + "/staff/" + key)
            if res.error:
                callback(arg, None, "The directory is closed")
            elif res.code != 200:
                callback(arg, None, "Nobody is called " + key)
            else:
                self.names[key] = json_decode(res.body)["name"]
                callback(arg, self.names[key], None)

        IOLoop.current().add_callback(ask)


class GreetingHandler(RequestHandler):
    def initialize(self, directory: Directory) -> None:
        self.directory = directory

    async def get(self, key: str) -> None:
        name, err = await task(self.directory.look_up, key)
        self.write(err or "Hello, " + name)


def make_app() -> Application:
    return Application([(r"/hello/(\w+)", GreetingHandler, {"directory": Directory()})])


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
