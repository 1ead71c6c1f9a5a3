"""Peers, servers and certificates for the tests, on loopback only."""

from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable

from turbo_tornado import HTTPClient, HTTPResponse

from .peer import Connection, RawPeer, Request, Script, response
from .watched import watched

#: The types of the fixtures with these names.
MakeClient = Callable[..., HTTPClient]
Fetch = Callable[..., Awaitable[HTTPResponse]]
MakePeer = Callable[..., Awaitable[RawPeer]]
Sent = Callable[..., Awaitable[Request]]
Refused = Callable[..., Awaitable[BaseException]]
StartProgram = Callable[..., Awaitable[Process]]
RunPython = Callable[..., Awaitable[None]]

__all__ = [
    "Connection",
    "Fetch",
    "MakeClient",
    "MakePeer",
    "RawPeer",
    "Refused",
    "Request",
    "RunPython",
    "Script",
    "Sent",
    "StartProgram",
    "response",
    "watched",
]
