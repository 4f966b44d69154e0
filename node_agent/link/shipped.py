"""How far each member's log has been taken over by NATS, kept over restarts of the daemon."""

import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from node_agent.files import make_directory

log = structlog.get_logger()

_RECORD_BYTES = 256  # padded, so that one write replaces the whole and a killed daemon leaves no half


@dataclass(frozen=True, slots=True)
class Shipped:
    """Offsets in one member's log, in bytes of output."""

    acknowledged: int = 0
    """NATS holds everything before this."""
    attempted: int = 0
    """A chunk from `acknowledged` to here was under way; the same chunk is sent again, so that it is known."""
    salt: str = ""
    """Makes message ids that another node cannot guess: who could would make this one's look like repeats."""
    ended: bool = False
    """NATS also holds the mark that nothing follows."""


class ShippedFile:
    """The progress of one member, in a file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._value = _read(path) or Shipped(salt=secrets.token_hex(8))

    @property
    def value(self) -> Shipped:
        """The progress so far."""
        return self._value

    def attempt(self, end: int) -> None:
        """Note that a chunk from what is acknowledged to `end` is about to be sent."""
        self._store(replace(self._value, attempted=end))

    def acknowledge(self, end: int, *, ended: bool) -> None:
        """Note that NATS holds everything before `end`."""
        self._store(replace(self._value, acknowledged=end, attempted=end, ended=ended))

    def forget(self) -> None:
        """Remove the file: the member is gone."""
        self._path.unlink(missing_ok=True)

    def _store(self, value: Shipped) -> None:
        """Not durable on purpose: after a power cut an older offset only means a repeat, which is recognised."""
        self._value = value
        text = json.dumps(
            {
                "acknowledged": value.acknowledged,
                "attempted": value.attempted,
                "salt": value.salt,
                "ended": value.ended,
            }
        )
        try:
            handle = self._open()
            try:
                os.pwrite(handle, text.ljust(_RECORD_BYTES).encode(), 0)
            finally:
                os.close(handle)
        except OSError as error:
            # Logs still flow; a restart of the daemon then repeats chunks, which is recognised by their offsets.
            log.warning("logs.progress_not_stored", file=str(self._path), error=error.strerror)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except FileNotFoundError:  # twice for each chunk: the directory is looked for only where it is missed
            make_directory(self._path.parent)
            return os.open(self._path, flags, 0o600)


def _read(path: Path) -> Shipped | None:
    try:
        value = json.loads(path.read_bytes())
        return Shipped(
            acknowledged=int(value["acknowledged"]),
            attempted=int(value["attempted"]),
            salt=str(value["salt"]),
            ended=bool(value["ended"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("logs.progress_unreadable", file=str(path), error=str(error))
        return None
