"""Starts a job and asks for its state until it is done."""

import asyncio
import os

from tornado.escape import json_decode
from tornado.ioloop import IOLoop

from turbo_tornado import HTTPClient, task

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")


async def run(name: str) -> str:
    io_loop = IOLoop.current()
    res = await HTTPClient().fetch(
        UPSTREAM + "/jobs",
        method="POST",
        params={"name": name},
    )
    if res.error or res.code != 202:
        return "refused"

    url = UPSTREAM + "/jobs/" + json_decode(res.body)["id"]
    for attempt in range(1, 6):
        res = await HTTPClient().fetch(url)
        if res.error:
            return f"error {res.error.code}"
        if json_decode(res.body)["state"] == "done":
            return f"done, asked {attempt} times"
        await task(io_loop.add_timeout, io_loop.time() + 0.05)
    return "given up"


async def main() -> None:
    print("report:", await run("report"))
    print("endless:", await run("endless"))


if __name__ == "__main__":
    asyncio.run(main())
