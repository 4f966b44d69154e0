"""OrQuanta for Python: `AsyncClient` and its blocking twin `Client`, typed results, one tree of errors.

Names are loaded when they are first used, so that importing this package (or only the generated stubs in
`orquanta.v1`) costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orquanta.blocking.client import Client
    from orquanta.client import AsyncClient
    from orquanta.errors import OrQuantaError
    from orquanta.retry import RetryPolicy

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "OrQuantaError", "RetryPolicy", "__version__"]

_HOMES = {
    "AsyncClient": "orquanta.client",
    "Client": "orquanta.blocking.client",
    "OrQuantaError": "orquanta.errors",
    "RetryPolicy": "orquanta.retry",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
