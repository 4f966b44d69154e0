"""The programs of this distribution. All are installed with it, their libraries only with the extra of each."""

import os
import sys
from importlib import import_module
from typing import Any, TextIO

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
    _open_what_is_closed()
    status: int | None = loaded.main()
    return status


def _open_what_is_closed() -> None:
    """Give a program that was started without stdin, stdout or stderr (`>&-`) one that leads nowhere."""
    sys.stdin = sys.stdin or _nowhere(os.O_RDONLY)
    sys.stdout = sys.stdout or _nowhere(os.O_WRONLY)
    sys.stderr = sys.stderr or _nowhere(os.O_WRONLY)


def _nowhere(flags: int) -> TextIO:
    return os.fdopen(os.open(os.devnull, flags), "r" if flags == os.O_RDONLY else "w")


def cli() -> int | None:
    """Run `orquanta`."""
    return start("orquanta", "cli", "orquanta.cli.__main__")
