"""The spool's file. Everything here blocks and runs in the spool's one thread.

SQLite in WAL mode: a commit is one `fdatasync` of the log, half a millisecond on a usual disk; the library costs
2 MB of resident memory, 0.7 MB of it private.
"""

import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_agent.spool.items import Item, Kind, Loss

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    sequence INTEGER PRIMARY KEY, kind INTEGER NOT NULL, samples INTEGER NOT NULL, written REAL NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rollups ON records (sequence) WHERE kind = 3;
CREATE INDEX IF NOT EXISTS events ON records (sequence) WHERE kind = 1;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS spool (
    only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL, last INTEGER NOT NULL, acknowledged INTEGER NOT NULL,
    elapsed REAL NOT NULL, lost_records INTEGER NOT NULL, lost_samples INTEGER NOT NULL
);
"""
_FORMAT = 1  # PRAGMA user_version
_TRIM_STEP = 500  # records given up at once
_TRIM_TO = 0.95  # of the bound, so that not every record costs another
_CHECKED_BYTES = 64_000_000  # a larger file is not read through at each start
_FREE_PAGES = 4096  # 16 MiB that the file may hold in vain before it is made smaller


class Damaged(Exception):
    """The file is not a usable spool; it has to be put aside."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a spool stands."""

    spool_id: str
    last: int
    """The last sequence that was ever given."""
    acknowledged: int
    """Up to here all is in the books."""
    elapsed_seconds: float
    """How long daemons have run with it."""
    lost: Loss
    """Given up, and not told in a record yet."""


class Database:
    """One open spool file."""

    def __init__(self, file: Path) -> None:
        """Open or make the file. Raises Damaged, or sqlite3.Error if the disk refuses."""
        self._file = file
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            self._prepare()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
                raise Damaged(str(error)) from error
            raise

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA cache_size = -256")
        execute("PRAGMA wal_autocheckpoint = 256")
        execute("PRAGMA journal_size_limit = 4194304")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise Damaged(f"its format is {version}, this daemon knows {_FORMAT}")
        if self._file.stat().st_size < _CHECKED_BYTES:
            (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise Damaged(str(verdict))
        if version == 0:
            self._connection.executescript(_SCHEMA)
            execute("BEGIN IMMEDIATE")
            execute("INSERT OR IGNORE INTO spool VALUES (1, ?, 0, 0, 0, 0, 0)", (_fresh_name(),))
            execute(f"PRAGMA user_version = {_FORMAT}")
            execute("COMMIT")
        if execute("SELECT count(*) FROM spool").fetchone() != (1,):
            raise Damaged("it does not say which spool it is")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def standing(self) -> Standing:
        """Return where the spool stands."""
        row = self._connection.execute(
            "SELECT id, last, acknowledged, elapsed, lost_records, lost_samples FROM spool"
        ).fetchone()
        return Standing(row[0], row[1], row[2], row[3], Loss(row[4], row[5]))

    def state(self) -> dict[str, bytes]:
        """Return everything that was saved beside the records."""
        return dict(self._connection.execute("SELECT name, value FROM state"))

    def read(self, first: int, before: int, limit: int, maximum_bytes: int) -> list[tuple[int, bytes]]:
        """Return records from `first` on and before `before` by sequence, oldest first; at least one if any."""
        found: list[tuple[int, bytes]] = []
        total = 0
        for sequence, content in self._connection.execute(
            "SELECT sequence, content FROM records WHERE sequence >= ? AND sequence < ? ORDER BY sequence LIMIT ?",
            (first, before, limit),
        ):
            total += len(content)
            if found and total > maximum_bytes:
                break
            found.append((sequence, content))
        return found

    def events_after(self, sequence: int, limit: int) -> list[tuple[int, bytes]]:
        """Return health events that are still here, acknowledged or not, oldest first."""
        return list(
            self._connection.execute(
                "SELECT sequence, content FROM records WHERE kind = 1 AND sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            )
        )

    # Writing. Each is one transaction: all of it or nothing, whoever is killed.

    def commit(
        self, items: Sequence[Item], state: Mapping[str, bytes], last: int, elapsed_seconds: float, told: Loss
    ) -> int:
        """Store records and state for good; return the bytes in use then. Raises sqlite3.Error.

        `last` is the last sequence given, `told` what the loss records among `items` tell.
        """
        with _Transaction(self._connection):
            self._connection.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
                ((item.sequence, item.kind, item.samples, elapsed_seconds, item.content) for item in items),
            )
            self._save(state)
            self._connection.execute(
                "UPDATE spool SET last = max(last, ?), elapsed = ?,"
                " lost_records = max(0, lost_records - ?), lost_samples = max(0, lost_samples - ?)",
                (last, elapsed_seconds, told.records, told.samples),
            )
        return self.used_bytes()

    def save(self, state: Mapping[str, bytes], acknowledged: int, history_events: int) -> None:
        """Store what may be lost in a power cut, and forget what is in the books. Raises sqlite3.Error."""
        execute = self._connection.execute
        execute("PRAGMA synchronous = NORMAL")
        try:
            with _Transaction(self._connection):
                self._save(state)
                execute("UPDATE spool SET acknowledged = max(acknowledged, ?)", (acknowledged,))
                execute("DELETE FROM records WHERE sequence <= ? AND kind != 1", (acknowledged,))
                execute(
                    "DELETE FROM records WHERE kind = 1 AND sequence <= ("
                    " SELECT sequence FROM records WHERE kind = 1 AND sequence <= ?"
                    " ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
                    (acknowledged, history_events),
                )
        finally:
            execute("PRAGMA synchronous = FULL")
        self._shrink()

    def _save(self, state: Mapping[str, bytes]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", state.items())

    def rename(self) -> str:
        """Go on under a fresh name, with which the books know no sequence yet; return it. Raises sqlite3.Error."""
        name = _fresh_name()
        with _Transaction(self._connection):
            self._connection.execute("UPDATE spool SET id = ?", (name,))
        return name

    def give_up(self, sequences: Sequence[int]) -> Loss:
        """Delete records that cannot be read, and note them as lost in the same transaction. Raises sqlite3.Error."""
        with _Transaction(self._connection):
            self._connection.executemany(
                "DELETE FROM records WHERE sequence = ?", ((sequence,) for sequence in sequences)
            )
            self._connection.execute("UPDATE spool SET lost_records = lost_records + ?", (len(sequences),))
        return Loss(records=len(sequences))

    def trim(self, disk_bytes: int, written_before: float) -> Loss:
        """Give up what is too old, and what the bound has no room for; return what was lost.

        Events that are in the books go first, then the oldest roll-ups, then the oldest records.
        """
        in_books = "sequence <= (SELECT acknowledged FROM spool)"
        lost = self._give_up("written < ?", (written_before,))
        if self.used_bytes() > disk_bytes:
            for choice in (in_books, "kind = 3", "1"):
                lost += self._give_up(choice, (), until=lambda: self.used_bytes() <= disk_bytes * _TRIM_TO)
        self._shrink()
        return lost

    def _give_up(self, choice: str, values: tuple[float, ...], *, until: Callable[[], bool] = lambda: False) -> Loss:
        """Delete chosen records, oldest first and some at a time, and note in the same transaction what was lost."""
        where = f"sequence IN (SELECT sequence FROM records WHERE {choice} ORDER BY sequence LIMIT {_TRIM_STEP})"  # noqa: S608 - words of this module
        told = f"sequence, kind, samples, CASE WHEN kind = {Kind.LOSS} THEN content ELSE x'' END"
        all_lost = Loss()
        while not until():
            with _Transaction(self._connection):
                rows = self._connection.execute(
                    f"DELETE FROM records WHERE {where} RETURNING {told}",  # noqa: S608 - words of this module
                    values,
                ).fetchall()
                (acknowledged,) = self._connection.execute("SELECT acknowledged FROM spool").fetchone()
                items = [Item(row[0], Kind(row[1]), row[2], row[3]) for row in rows]
                lost = sum((Loss.of(item) for item in items if item.sequence > acknowledged), Loss())
                self._connection.execute(
                    "UPDATE spool SET lost_records = lost_records + ?, lost_samples = lost_samples + ?",
                    (lost.records, lost.samples),
                )
            all_lost += lost
            if not rows:
                break
        return all_lost

    def used_bytes(self) -> int:
        """Return how much of the file is in use."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _shrink(self) -> None:
        if self._pragma("freelist_count") > _FREE_PAGES:
            self._connection.execute(f"PRAGMA incremental_vacuum({_FREE_PAGES})").fetchall()

    def _pragma(self, name: str) -> int:
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)


def _fresh_name() -> str:
    return f"s-{uuid.uuid4().hex}"


class _Transaction:
    """BEGIN to COMMIT, or ROLLBACK: on a full disk SQLite may have rolled back already."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error means that the file is broken, and not that the disk is full or refuses."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
