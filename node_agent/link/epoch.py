"""The highest control epoch that this host has obeyed, kept over restarts.

Of two control planes that both believe to be in charge, the older one is refused by every host.
"""

import json
from pathlib import Path

import structlog

from node_agent.errors import StateUnusable
from node_agent.files import write_atomically

log = structlog.get_logger()


class ControlEpoch:
    """A number that never goes down."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._value = _read(file)

    @property
    def value(self) -> int:
        """The highest epoch obeyed so far; 0 if none was."""
        return self._value

    def admit(self, epoch: int) -> bool:
        """Tell whether orders of `epoch` are to be obeyed, and remember it if so."""
        if epoch < self._value:
            return False
        if epoch > self._value:
            self._value = epoch
            self._store()
        return True

    def _store(self) -> None:
        try:
            write_atomically(self._file, json.dumps({"control_epoch": self._value}).encode())
        except OSError as error:
            # Stops must still be obeyed on a full disk; until a restart the number is kept in memory.
            log.error("link.epoch_not_stored", file=str(self._file), error=error.strerror, epoch=self._value)  # noqa: TRY400 - a full disk needs no traceback


def _read(file: Path) -> int:
    try:
        return int(json.loads(file.read_bytes())["control_epoch"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateUnusable(
            f"{file} cannot be read ({error}). If it is damaged, remove it: the host then trusts the first "
            "control plane that it reaches."
        ) from error
