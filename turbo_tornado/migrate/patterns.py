"""Patterns that fail after a literal port. Each has a section in the guide."""

from __future__ import annotations

from typing import NamedTuple

PAGE = "migration/pitfalls.md"


class Pattern(NamedTuple):
    """Something to check in a program."""

    #: The heading in the guide, see `names.row.Section.title`.
    title: str
    replacement: str

    @property
    def anchor(self) -> str:
        """The page and the heading, as a link writes them."""
        return f"{PAGE}#{self.title.lower().replace(' ', '-')}"


RAISED_ERROR = Pattern(
    "Raise the error of a response",
    "res.raise_for_error(), or a response with status 502 or 504",
)
POST_WITHOUT_BODY = Pattern(
    "A request without a body",
    'body="", because a request without a body and params has the error REQUIRES_BODY',
)
FILE_ROUTE = Pattern(
    "A file as a route",
    "StaticFileHandler with a directory and a default file",
)
REDIRECTS = Pattern(
    "Redirects",
    "Turbo does not follow redirects here: allow_redirects=False if the program needs the 3xx",
)
BLOCKING = Pattern("Code that blocks the loop", "asyncio.to_thread, or a library for asyncio")
SLEEP = Pattern("Sleep", "await asyncio.sleep(seconds)")
ERROR_PAGES = Pattern(
    "Error pages",
    "Tornado logs the message. To send it, override write_error in a base class",
)
UNKNOWN_KEYWORD = Pattern("Unknown keywords", "TypeError: remove it, or correct its name")
LUA_PATTERN = Pattern("Lua patterns", "re, with a regular expression that you write yourself")

PATTERNS = (
    RAISED_ERROR,
    POST_WITHOUT_BODY,
    FILE_ROUTE,
    REDIRECTS,
    BLOCKING,
    SLEEP,
    ERROR_PAGES,
    UNKNOWN_KEYWORD,
    LUA_PATTERN,
)

#: The keywords of ``fetch`` in Turbo that exist in Python too.
KEYWORDS = frozenset(
    {
        "allow_redirects",
        "auth_password",
        "auth_username",
        "body",
        "connect_timeout",
        "cookie",
        "http_version",
        "keep_alive",
        "max_redirects",
        "method",
        "on_headers",
        "params",
        "request_timeout",
        "use_gzip",
        "user_agent",
    }
)

#: Modules whose functions block -> what replaces them.
BLOCKING_MODULES = {
    "socket": "tornado.tcpclient.TCPClient, or asyncio.sleep for socket.sleep",
    "socket.http": "HTTPClient().fetch(url)",
    "socket.https": "HTTPClient().fetch(url)",
    "socket.url": "urllib.parse",
    "socket.smtp": "a package for asyncio, such as aiosmtplib",
    "socket.ftp": "a package for asyncio, such as aioftp",
    "ssl": "tornado.tcpclient.TCPClient with ssl_options",
    "ssl.https": "HTTPClient().fetch(url)",
    "http.request": "HTTPClient().fetch(url)",
    "requests": "HTTPClient().fetch(url)",
    "lcurl": "HTTPClient().fetch(url)",
    "cURL": "HTTPClient().fetch(url)",
    "luasql.mysql": "a package for asyncio, such as aiomysql",
    "luasql.postgres": "a package for asyncio, such as asyncpg",
    "luasql.sqlite3": "sqlite3 in asyncio.to_thread",
    "luasql.odbc": "a package for asyncio, such as aioodbc",
    "lsqlite3": "sqlite3 in asyncio.to_thread",
    "lsqlite3complete": "sqlite3 in asyncio.to_thread",
    "pgmoon": "a package for asyncio, such as asyncpg",
    "dbi": "a package for asyncio for the database",
    "redis": "the package redis, with redis.asyncio",
    "mongo": "the package pymongo, with AsyncMongoClient",
    "mongorover": "the package pymongo, with AsyncMongoClient",
    "memcached": "a package for asyncio, such as aiomcache",
}
#: Functions of Lua that block -> what replaces them.
BLOCKING_FUNCTIONS = {
    "os.execute": "asyncio.create_subprocess_shell(command)",
    "io.popen": "asyncio.create_subprocess_shell(command, stdout=PIPE)",
    "io.read": "sys.stdin.readline in asyncio.to_thread",
}
SLEEP_FUNCTIONS = frozenset({"sleep", "usleep", "msleep", "nanosleep", "sleep_ms"})
#: Functions of Lua that take a pattern -> the call in Python.
PATTERN_FUNCTIONS = {
    "find": "re.search({}, text)",
    "gmatch": "re.finditer({}, text)",
    "gsub": "re.subn({}, replacement, text)",
    "match": "re.search({}, text)",
}
