"""The journal of repairs: one fsynced file per repair, replaced whole before each step and after it.

Whoever reads it after a kill or a reboot knows which step was begun, which were done, and what has to be taken back.
"""

import contextlib
import errno
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

import structlog

from node_agent.files import make_directory, write_atomically
from node_agent.repair.codec import from_json, to_json
from node_agent.repair.errors import JournalUnusable
from node_agent.repair.model import RepairRecord, RepairState

log = structlog.get_logger()

MAXIMUM_RECORDS: Final = 100
"""Ended repairs that are kept with all they did; of older ones only the ids are."""
MAXIMUM_FORGOTTEN: Final = 10_000
"""Ids of older repairs that are kept, so that none is carried out again."""
MAXIMUM_FILE_BYTES: Final = 1024 * 1024
_RESERVE_BYTES: Final = 1024 * 1024
"""Space that a repair takes before it begins and gives back when the disk fills up in its midst."""
ACTED: Final = "acted"
"""The mark of a step that cannot be taken back: "begun" before it, "done" after it."""
_VERSION: Final = 1
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_FORGOTTEN: Final = "forgotten"
_RESERVE: Final = "reserve"
_SUFFIX: Final = ".json"
_DAMAGED: Final = ".damaged"


class UndoKind(Enum):
    """How something that was done is taken back. Each can be done again without harm."""

    START_SERVICE = "start_service"
    LOAD_MODULE = "load_module"


@dataclass(frozen=True, slots=True)
class Undo:
    """Something that must be taken back before a repair may end."""

    kind: UndoKind
    subject: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A repair as the journal keeps it."""

    serial: int
    """Grows with each repair, whatever the clock does."""
    record: RepairRecord
    begun: str = ""
    """The step that was begun and is not known to have ended; empty between steps."""
    undo: tuple[Undo, ...] = ()
    """What has to be taken back, the oldest first; to be done from the end."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What a rung must know to conclude the repair after a kill or a reboot."""
    resumes: int = 0
    """How often a daemon has taken this repair up after another."""


def is_safe_id(repair_id: str) -> bool:
    """Say whether an id can name a file."""
    return _SAFE_ID.fullmatch(repair_id) is not None


class RepairJournal:
    """All repairs of one host. Reading is from memory; writing blocks for the disk and may be done in a thread."""

    def __init__(self, directory: Path) -> None:
        """Read what is there. Raises JournalUnusable if the directory cannot be made or read."""
        self._directory = directory
        self._guard = threading.Lock()
        self._written: dict[str, int] = {}
        self._revision = 0
        try:
            make_directory(directory)
            self._forgotten = self._read_forgotten()
            self._entries = self._read_entries()
        except OSError as error:
            raise _unusable(directory, error) from error

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._directory

    def knows(self, repair_id: str) -> bool:
        """Say whether a repair was ever begun or refused here."""
        return repair_id in self._entries or repair_id in self._forgotten

    def records(self) -> tuple[RepairRecord, ...]:
        """Return the repairs, newest first, at most `MAXIMUM_RECORDS`."""
        newest = sorted(self._entries.values(), key=lambda entry: -entry.serial)
        return tuple(entry.record for entry in newest[:MAXIMUM_RECORDS])

    def unfinished(self) -> tuple[Entry, ...]:
        """Return the repairs that have not ended, oldest first."""
        return tuple(
            entry
            for entry in sorted(self._entries.values(), key=lambda entry: entry.serial)
            if not entry.record.state.ended
        )

    def was_cut_off(self, repair_id: str) -> bool:
        """Say whether a repair failed without having done anything that failed: the daemon ended in its midst."""
        entry = self._entries.get(repair_id)
        return (
            entry is not None
            and entry.record.state is RepairState.FAILED
            and ACTED not in entry.marks
            and all(step.ok for step in entry.record.steps)
        )

    def next_serial(self) -> int:
        """Return the serial number of the next repair."""
        return max((entry.serial for entry in self._entries.values()), default=0) + 1

    def stamp(self) -> int:
        """Return a number for a write, taken when it is asked for: of two writes the one with the greater wins."""
        with self._guard:
            self._revision += 1
            return self._revision

    def begin(self, entry: Entry, stamp: int) -> None:
        """Write a repair's first entry and set space aside for the rest. Raises JournalUnusable, leaving nothing."""
        try:
            self._set_space_aside()
        except OSError as error:
            self._give_space_back()
            raise _unusable(self._directory, error) from error
        try:
            self.write(entry, stamp)
        except JournalUnusable:
            self._give_space_back()
            raise

    def write(self, entry: Entry, stamp: int) -> None:
        """Make an entry survive a power cut. Raises JournalUnusable, and the one before stays."""
        repair_id = entry.record.order.id
        with self._guard:
            if self._written.get(repair_id, 0) >= stamp:
                return  # a newer one is there: this write was overtaken in its thread
            data = _encode(entry)
            path = self._path(repair_id)
            try:
                write_atomically(path, data)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._give_space_back():
                    raise _unusable(self._directory, error) from error
                try:
                    write_atomically(path, data)
                except OSError as again:
                    raise _unusable(self._directory, again) from again
            self._written[repair_id] = stamp
            self._entries[repair_id] = entry
            if entry.record.state.ended:
                self._written.pop(repair_id, None)
                self._give_space_back()
                self._forget_oldest()

    def keep_in_memory(self, entry: Entry) -> None:
        """Take over an entry that could not be written, so that this daemon at least knows how the repair ended."""
        with self._guard:
            self._entries[entry.record.order.id] = entry

    def _path(self, repair_id: str) -> Path:
        if not is_safe_id(repair_id):
            raise ValueError("an id that cannot name a file")
        return self._directory / f"{repair_id}{_SUFFIX}"

    def _set_space_aside(self) -> None:
        handle = os.open(self._directory / _RESERVE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, _RESERVE_BYTES)
        finally:
            os.close(handle)

    def _give_space_back(self) -> bool:
        """Delete the space set aside; say whether there was any."""
        try:
            (self._directory / _RESERVE).unlink()
        except OSError:
            return False
        return True

    def _read_entries(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for path in self._directory.glob(f"*{_SUFFIX}"):
            repair_id = path.name.removesuffix(_SUFFIX)
            try:
                with path.open("rb") as file:
                    entry = _decode(file.read(MAXIMUM_FILE_BYTES + 1))
                if entry.record.order.id != repair_id:
                    raise ValueError("it speaks of another repair than its name")  # noqa: TRY301 - handled with the rest
            except (OSError, ValueError) as error:
                log.error("repair.entry_damaged", file=path.name, reason=str(error)[:200])  # noqa: TRY400 - the reason is whole
                self._forgotten[repair_id] = None
                with contextlib.suppress(OSError):
                    path.replace(path.with_suffix(_DAMAGED))
                continue
            found[repair_id] = entry
        return found

    def _read_forgotten(self) -> dict[str, None]:
        try:
            lines = (self._directory / _FORGOTTEN).read_text("ascii", errors="replace").split()
        except FileNotFoundError:
            lines = []
        damaged = [path.name.removesuffix(_DAMAGED) for path in self._directory.glob(f"*{_DAMAGED}")]
        return dict.fromkeys([*damaged, *lines][-MAXIMUM_FORGOTTEN:])

    def _forget_oldest(self) -> None:
        ended = sorted(
            (entry for entry in self._entries.values() if entry.record.state.ended), key=lambda entry: entry.serial
        )
        surplus = [entry.record.order.id for entry in ended[:-MAXIMUM_RECORDS]]
        if not surplus:
            return
        kept = [*self._forgotten, *surplus][-MAXIMUM_FORGOTTEN:]
        try:
            write_atomically(self._directory / _FORGOTTEN, "\n".join(kept).encode())
            for repair_id in surplus:
                self._path(repair_id).unlink(missing_ok=True)
        except OSError as error:
            log.warning("repair.journal_not_tidied", error=str(error))
            return  # the files stay, and with them the ids
        self._forgotten = dict.fromkeys(kept)
        for repair_id in surplus:
            del self._entries[repair_id]


def _encode(entry: Entry) -> bytes:
    document = {
        "version": _VERSION,
        "serial": entry.serial,
        "record": to_json(entry.record),
        "begun": entry.begun,
        "undo": [[undo.kind.value, undo.subject] for undo in entry.undo],
        "marks": dict(entry.marks),
        "resumes": entry.resumes,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _decode(data: bytes) -> Entry:
    if len(data) > MAXIMUM_FILE_BYTES:
        raise ValueError(f"it is longer than {MAXIMUM_FILE_BYTES} bytes")
    try:
        document: Any = json.loads(data)
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']!r}")
        return Entry(
            serial=int(document["serial"]),
            record=from_json(document["record"]),
            begun=str(document["begun"]),
            undo=tuple(Undo(UndoKind(kind), str(subject)) for kind, subject in document["undo"]),
            marks={str(name): str(value) for name, value in document["marks"].items()},
            resumes=int(document["resumes"]),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an entry of the journal: {error!r}") from error


def _unusable(directory: Path, error: OSError) -> JournalUnusable:
    return JournalUnusable(
        f"the journal of repairs in {directory} cannot be written ({error.strerror or error}); "
        "free some space or fix its owner: nothing is repaired that is not recorded"
    )
