"""Calls the JSON interface of a chat service, with additional headers."""

import asyncio
import os
from typing import Any

from tornado.escape import json_decode, json_encode

from turbo_tornado import HTTPClient, HTTPHeaders

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")


async def call(token: str, path: str, data: Any) -> tuple[Any, str | None]:
    body = json_encode(data)
    req: dict[str, str | int] = {
        "Authorization": "Bot " + token,
        "Content-Type": "application/json",
        "Content-Length": len(body),
    }

    def on_headers(headers: HTTPHeaders) -> None:
        for key, value in req.items():
            headers.add(key, value)

    res = await HTTPClient().fetch(
        UPSTREAM + path,
        method="POST",
        body=body,
        on_headers=on_headers,
    )
    if res.error:
        return None, f"error {res.error.code}"
    answer = json_decode(res.body)
    if res.code != 200:
        return None, f"{res.code}: {answer['message']}"
    return answer, None


async def main() -> None:
    answer, err = await call("t0ken", "/messages", {"content": "Hello"})
    print("sent:", f"message {answer['id']}" if answer else err)

    answer, err = await call("stolen", "/messages", {"content": "Hello"})
    print("sent:", f"message {answer['id']}" if answer else err)


if __name__ == "__main__":
    asyncio.run(main())
