"""What `orquanta-node status` shows: a small file that the daemon keeps up to date."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import structlog

from node_agent.files import write_atomically

log = structlog.get_logger()

_FILE = "status.json"
_PAUSE_SECONDS = 0.5  # however much happens, the file is written twice a second at most


class LocalStatus:
    """Writes the file when told that something changed."""

    def __init__(self, state_dir: Path, describe: Callable[[], dict[str, Any]]) -> None:
        """`describe` returns values for `json.dumps`."""
        self._file = state_dir / _FILE
        self._describe = describe
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Have the file written soon."""
        self._changed.set()

    async def run(self) -> NoReturn:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            text = json.dumps({"pid": os.getpid(), **self._describe()}, indent=2)
            try:
                write_atomically(self._file, text.encode(), durable=False)
            except OSError as error:
                log.warning("status.not_written", file=str(self._file), error=error.strerror)
            await asyncio.sleep(_PAUSE_SECONDS)


def read_status(state_dir: Path) -> dict[str, Any]:
    """Return what the daemon wrote last; empty if it never ran. Any: the file is JSON."""
    try:
        value = json.loads((state_dir / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
