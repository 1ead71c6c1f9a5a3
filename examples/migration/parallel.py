"""Asks several shops for a price at the same time."""

import asyncio
import os

from tornado.escape import json_decode
from tornado.web import Application, RequestHandler

from turbo_tornado import HTTPClient

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8889")
PORT = int(os.environ.get("PORT", "8888"))


class CheapestHandler(RequestHandler):
    async def get(self, names: str) -> None:
        shops = names.split(",")
        # A client carries out one fetch at a time, so each fetch has its own.
        results = await asyncio.gather(
            *(HTTPClient().fetch(UPSTREAM + "/prices/" + shop) for shop in shops)
        )

        cheapest, price = None, None
        for shop, res in zip(shops, results, strict=True):
            if not res.error and res.code == 200:
                asked = json_decode(res.body)["price"]
                if price is None or asked < price:
                    cheapest, price = shop, asked
        if cheapest is None:
            self.set_status(502)
            self.write("No shop has answered")
        else:
            self.write({"shop": cheapest, "price": price})


def make_app() -> Application:
    return Application([(r"/cheapest/([\w,]+)", CheapestHandler)])


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
