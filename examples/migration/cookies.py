"""Signs in and sends the received cookies with the next request."""

import asyncio
import os

from turbo_tornado import HTTPClient

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")


async def account(password: str) -> str:
    # The redirect has the cookies, so the client must not follow it.
    res = await HTTPClient().fetch(
        UPSTREAM + "/session",
        method="POST",
        params={"user": "ada", "password": password},
        allow_redirects=False,
    )
    if res.error:
        return f"error {res.error.code}"
    if res.code != 302:
        return "not signed in"

    cookies = {}
    for field in res.headers.get_list("Set-Cookie"):
        name, _, value = field.split(";")[0].partition("=")
        cookies[name] = value

    res = await HTTPClient().fetch(UPSTREAM + "/account", cookie=cookies)
    if res.error or res.code != 200:
        return "signed out again"
    return res.body.decode()


async def main() -> None:
    print(await account("swordfish"))
    print(await account("guess"))


if __name__ == "__main__":
    asyncio.run(main())
