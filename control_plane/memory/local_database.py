"""The SQLite file of memories as a file: opened, checked, and put aside when it is damaged."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from control_plane.errors import Unavailable
from control_plane.memory.local_rows import SCHEMA, VERSION, Damaged

log = structlog.get_logger()

_BUSY_SECONDS: Final = 5.0
_PUT_ASIDE_MAX: Final = 3
"""Damaged files that are kept; the oldest goes first."""
_ENDINGS: Final = ("", "-wal", "-shm")


class MemoryDatabase:
    """A connection that is opened where it is needed, for one thread. `when_opened` reads what is kept in memory.

    A damaged file is put aside and begun anew: memory is of use, but nothing depends on it.
    """

    def __init__(self, path: Path, when_opened: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._when_opened = when_opened
        self._open: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection; only within `guarded`."""
        assert self._open is not None, "only within guarded()"
        return self._open

    @contextmanager
    def guarded(self, now: datetime) -> Iterator[None]:
        """Open the file; turn what SQLite says into Unavailable, and put a damaged file aside."""
        try:
            self._opened(now)
            yield
        except (sqlite3.Error, Damaged) as error:
            if _is_damage(error):
                self._put_aside(now, error)
                raise Unavailable("the file of memories was damaged; it was put aside and begun anew") from error
            self.close()
            raise Unavailable(f"the file of memories cannot be used: {error}; look at {self._path}") from error
        except OSError as error:
            self.close()
            raise Unavailable(f"the file of memories cannot be used: {error}; look at {self._path}") from error

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction. After a failure the file is opened anew: what is in memory may be ahead of it."""
        db = self.connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            self.close()
            raise

    def close(self) -> None:
        """Close the file; it is opened again where it is needed."""
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.close()
        self._open = None

    def _opened(self, now: datetime) -> None:
        if self._open is not None:
            return
        try:
            self._open = self._connect()
        except (sqlite3.Error, Damaged) as error:
            if not _is_damage(error):
                raise
            self._put_aside(now, error)
            self._open = self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
            self._when_opened(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise Unavailable(
                f"{self._path} was written by a later OrQuanta (version {version}); use that, or move the file away"
            )
        if version == 0:
            db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        (told,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if told != "ok":
            raise Damaged(f"its check says: {told}")

    def _put_aside(self, now: datetime, error: Exception) -> None:
        self.close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{now:%Y%m%dT%H%M%S%f}")
        log.error("memory.damaged", path=str(self._path), put_aside=str(aside), why=str(error)[:300])
        for ending in _ENDINGS:
            with suppress(FileNotFoundError):
                Path(f"{self._path}{ending}").replace(f"{aside}{ending}")
        _remove(sorted(self._path.parent.glob(f"{self._path.name}.damaged-*[0-9]"))[:-_PUT_ASIDE_MAX])


def _remove(old: Iterable[Path]) -> None:
    for path in old:
        for ending in _ENDINGS:
            path.with_name(path.name + ending).unlink(missing_ok=True)


def _is_damage(error: Exception) -> bool:
    if isinstance(error, Damaged):
        return True
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
