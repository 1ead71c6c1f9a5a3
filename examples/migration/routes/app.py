"""The Tornado side: the routes that have moved."""

import asyncio
import os

from tornado.web import Application
from turbo_cookies import TurboCookies

PORT = int(os.environ.get("PORT", "8888"))
SECRET = os.environ.get("COOKIE_SECRET", "an old secret")


class ProfileHandler(TurboCookies):
    def get(self) -> None:
        self.write(f"Tornado: {self.get_turbo_cookie('user') or 'nobody'}")

    def post(self) -> None:
        self.set_turbo_cookie("user", self.get_argument("user"))
        self.write("Renamed")


def make_app() -> Application:
    return Application([("/profile", ProfileHandler)], turbo_secret=SECRET)


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1", xheaders=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
