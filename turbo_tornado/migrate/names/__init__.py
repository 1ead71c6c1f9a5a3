"""The names of Turbo.lua and what replaces them. The guide's tables are generated from here.

To write the tables: ``python -m tests.support.name_tables``.
"""

from . import client, loop, server, sockets, system, tools, web
from .row import Row, Section

__all__ = ["SECTIONS", "Row", "Section"]

SECTIONS: tuple[Section, ...] = (
    *client.SECTIONS,
    *loop.SECTIONS,
    *web.SECTIONS,
    *server.SECTIONS,
    *sockets.SECTIONS,
    *tools.SECTIONS,
    *system.SECTIONS,
)
