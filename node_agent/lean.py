"""Keeps modules out of the daemon that its libraries import and it has no use for.

To be imported before everything else; see `node_agent.later`.
"""

from functools import partial
from types import FunctionType, MethodType
from typing import Final

from node_agent.later import postpone

_CO_COROUTINE: Final = 0x80
"""Marks the code of an `async def`."""


def is_coroutine_function(function: object) -> bool:
    """Return whether a function is an `async def`; as `inspect.iscoroutinefunction`."""
    while isinstance(function, (MethodType, partial)):
        function = function.__func__ if isinstance(function, MethodType) else function.func
    return isinstance(function, FunctionType) and bool(function.__code__.co_flags & _CO_COROUTINE)


# asyncio, dataclasses, gRPC and NATS import it, and ask it for this: 0.8 MB with the parser modules that it brings.
postpone("inspect", iscoroutinefunction=is_coroutine_function)
postpone("ipaddress")  # of URLs, for addresses in brackets: 0.3 MB
# Messages in pure Python, beside those in C that are used: 1 MB.
postpone("google.protobuf.internal.python_message")
