"""The Tornado application after Turbo has gone: it writes its own cookies and reads both."""

from __future__ import annotations

import asyncio
import os

from tornado.web import Application
from turbo_cookies import TurboCookies

PORT = int(os.environ.get("PORT", "8888"))
SECRET = os.environ.get("COOKIE_SECRET", "a new secret")
TURBO_SECRET = os.environ.get("TURBO_COOKIE_SECRET", "an old secret")


class ProfileHandler(TurboCookies):
    def user(self) -> str | None:
        signed = self.get_signed_cookie("user", max_age_days=1)
        return signed.decode() if signed else self.get_turbo_cookie("user", max_age=3600)

    def get(self) -> None:
        user = self.user()
        if user:
            # From now on, the cookie has the format of Tornado.
            self.set_signed_cookie("user", user, expires_days=1)
        self.write(f"Tornado: {user or 'nobody'}")


def make_app() -> Application:
    return Application(
        [("/profile", ProfileHandler)], cookie_secret=SECRET, turbo_secret=TURBO_SECRET
    )


async def main() -> None:
    make_app().listen(PORT, "127.0.0.1", xheaders=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
