"""Reads books from a library, with one table of keywords for all requests."""

import asyncio
import os
import sys

from tornado.escape import json_decode

from turbo_tornado import FetchKeywords, HTTPClient

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")

REQUEST: FetchKeywords = {
    "user_agent": "reader/1.0",
    "cookie": {"card": "1234"},
    "request_timeout": 30,
    "allow_redirects": True,
}


async def main() -> None:
    res = await HTTPClient().fetch(UPSTREAM + "/catalogue", REQUEST)
    if res.error or res.code != 200:
        sys.exit("no catalogue")

    for book in json_decode(res.body)["books"]:
        res = await HTTPClient().fetch(UPSTREAM + "/books/" + book["id"], REQUEST)
        if not res.error and res.code == 200:
            text = res.body.decode()
            print(f"{book['title']}: {len(res.body)} bytes, {len(text)} characters")

    # Keywords override the table, which fetch does not change.
    search = {"search": "Emma"}
    res = await HTTPClient().fetch(UPSTREAM + "/catalogue", REQUEST, params=search)
    print(f"found: {len(json_decode(res.body)['books'])}")


if __name__ == "__main__":
    asyncio.run(main())
