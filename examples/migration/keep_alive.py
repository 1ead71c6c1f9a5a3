"""Fetches ten times over one connection."""

import asyncio
import os

from turbo_tornado import HTTPClient

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")


async def main() -> None:
    client = HTTPClient()
    for number in range(1, 11):
        res = await client.fetch(
            UPSTREAM + "/tick",
            {"allow_redirects": True, "keep_alive": True},
        )
        if res.error or res.headers.get_status_code() != 200:
            print(f"stopped at {number}")
            return
        print(f"{number}: {res.body.decode()}")


if __name__ == "__main__":
    asyncio.run(main())
