"""The programs of this distribution. All are installed with it, their libraries only with the extra of each."""

import sys
from importlib import import_module
from typing import Any

_OURS = frozenset({"control_plane", "node_agent", "orquanta", "providers", "simulator"})
_MISSING = 1  # exit status


def start(program: str, extra: str, module: str) -> int | None:
    """Run `main` of a module and return what it returns; without its libraries, say which extra brings them."""
    try:
        loaded: Any = import_module(module)  # Any: a module known by name
    except ModuleNotFoundError as error:
        missing = error.name or "a library"
        if missing.partition(".")[0] in _OURS:
            raise
        sys.stderr.write(f"{program}: {missing} is not installed; run: pip install 'orquanta[{extra}]'\n")
        return _MISSING
    status: int | None = loaded.main()
    return status


def cli() -> int | None:
    """Run `orquanta`."""
    return start("orquanta", "cli", "orquanta.cli.__main__")
