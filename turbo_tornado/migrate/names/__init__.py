"""The names of Turbo.lua and what replaces them.

The tables of the guide are generated from here. To write them, run
``python -m tests.support.name_tables``.
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
