"""The clients of the benchmark, one module for each family.

Each client is used as its own documentation recommends for asyncio: one session, no limit
on connections, and its own defaults for everything else. Exceptions are in the comments.
"""

from __future__ import annotations

from . import curl, native, pure, tornado, turbo
from .entry import Entry

#: In the order of the tables.
CLIENTS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *turbo.ENTRIES,
        *tornado.ENTRIES,
        *native.ENTRIES,
        *pure.ENTRIES,
        *curl.ENTRIES,
        # Turbo.lua has its own program, benchmarks/turbo.lua.
        Entry(
            "turbo-lua",
            "Turbo.lua",
            (),
            None,
            loops=False,
            unsupported={"tls": "TLS fails with OpenSSL 3"},
        ),
    )
}
