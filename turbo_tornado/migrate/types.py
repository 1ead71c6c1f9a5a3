"""The known values of a Turbo program: classes, results and attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from luaparser.astnodes import Node

HANDLER = "turbo.web.RequestHandler"
_LOOP = "turbo.ioloop.IOLoop"
_STREAM = "turbo.iostream.IOStream"
_WEBSOCKET = "turbo.websocket.WebSocketStream"
HTTP_CLIENT = "turbo.async.HTTPClient"
RESPONSE = "turbo.async.HTTPResponse"
RESPONSE_ERROR = f"{RESPONSE}.error"
HTTP_ERROR = "turbo.web.HTTPError"
TASK = "turbo.async.task"
STATIC_FILE_HANDLER = "turbo.web.StaticFileHandler"

#: Class -> the classes that it inherits from.
BASES: dict[str, tuple[str, ...]] = {
    STATIC_FILE_HANDLER: (HANDLER,),
    "turbo.web.RedirectHandler": (HANDLER,),
    "turbo.web.ErrorHandler": (HANDLER,),
    "turbo.websocket.WebSocketHandler": (_WEBSOCKET, HANDLER),
    "turbo.websocket.WebSocketClient": (_WEBSOCKET,),
    "turbo.iostream.SSLIOStream": (_STREAM,),
    "turbo.httpserver.HTTPServer": ("turbo.tcpserver.TCPServer",),
    "turbo.thread.Thread": ("turbo.iosimple.IOSimple",),
}

#: Function, method or attribute -> the class of its value.
RESULTS = {
    "turbo.ioloop.instance": _LOOP,
    f"{_LOOP}:add_callback": _LOOP,
    f"{HTTP_CLIENT}:fetch": RESPONSE,
    RESPONSE_ERROR: RESPONSE_ERROR,
    f"{RESPONSE}.headers": "turbo.httputil.HTTPParser",
    "turbo.iosimple.dial": "turbo.iosimple.IOSimple",
    "turbo.iosimple.IOSimple:get_iostream": _STREAM,
    f"{HANDLER}.request": "turbo.httpserver.HTTPRequest",
    f"{HANDLER}.application": "turbo.web.Application",
    "turbo.httpserver.HTTPRequest.headers": "turbo.httputil.HTTPParser",
    "turbo.httpserver.HTTPRequest.connection": "turbo.httpserver.HTTPConnection",
}

#: Method that a program overrides, or keyword of a table -> the classes of its parameters.
PARAMETERS = {
    "turbo.tcpserver.TCPServer:handle_stream": (_STREAM,),
    "on_headers": ("turbo.httputil.HTTPHeaders",),
    "turbo.thread.Thread": ("turbo.thread.Thread",),
    "turbo.httpserver.HTTPServer": ("turbo.httpserver.HTTPRequest",),
    "turbo.websocket.WebSocketClient": ("turbo.websocket.WebSocketClient",),
}


@dataclass
class Known:
    """A module, class or function of Turbo."""

    name: str


@dataclass
class UserClass:
    """A class of the program."""

    #: The class of Turbo that it inherits from, if known.
    base: str | None
    attributes: dict[str, Value | None] = field(default_factory=dict)


@dataclass
class Instance:
    """An object of a class of Turbo, or of a class of the program."""

    name: str | None
    user_class: UserClass | None = None


@dataclass
class TableValue:
    """A table of which the fields are known."""

    fields: dict[str, Node] = field(default_factory=dict)
    #: Whether it can have more fields.
    is_open: bool = False


@dataclass
class FunctionValue:
    """A function of the program."""

    result: Value | None = None


Value: TypeAlias = "Known | UserClass | Instance | TableValue | FunctionValue"
