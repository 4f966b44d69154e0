"""Opens the database: SQLite in WAL mode or PostgreSQL, migrated to the newest schema."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from control_plane.errors import InvalidArgument
from control_plane.store.readable import from_json, to_json

_READERS = 4
_BUSY_MILLISECONDS = 10_000
_PAUSE_MILLISECONDS = 10
_KIND = 0xFF  # of an error's code; the rest tells more of it
# A server that vanished without a word is given up after ten seconds; the kernel alone would wait for a quarter of an
# hour, with every reader and the writer stuck on it.
_DEAD_PEER = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2, "tcp_user_timeout": 10_000}
_ALEMBIC = threading.Lock()  # it keeps its context in globals


def open_engine(url: str) -> Engine:
    """Return an engine for `sqlite:///path` or `postgresql://...`.

    Raises InvalidArgument for any other URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidArgument(
            "database_url is not a URL; use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
            reason="DATABASE_URL_INVALID",
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InvalidArgument("SQLite needs a file: sqlite:///PATH", reason="DATABASE_URL_INVALID")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed, pool_size=_READERS + 1, max_overflow=0, json_serializer=to_json, json_deserializer=from_json
        )
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if backend == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=_READERS + 1,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
            json_serializer=to_json,
            connect_args={"connect_timeout": 5, **_DEAD_PEER},
        )
    raise InvalidArgument(
        f"database_url names {backend!r}; use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
        reason="DATABASE_URL_INVALID",
    )


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not open transactions by itself: `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    _keep_a_log(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
    cursor.close()


def _keep_a_log(cursor: sqlite3.Cursor) -> None:
    """Have the file written by way of a log.

    Those that open a fresh file at once hinder each other here, and SQLite says so at once, whatever its timeout.
    """
    for _ in range(_BUSY_MILLISECONDS // _PAUSE_MILLISECONDS):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _KIND != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE_MILLISECONDS / 1_000)
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Any) -> None:  # Any: SQLAlchemy's event passes its Connection untyped
    # A write transaction takes the lock at once: upgrading a read lock later could fail half way.
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def migrate(engine: Engine) -> None:
    """Bring the schema to its newest version; safe when several control planes start at once."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # PostgreSQL takes an advisory lock before it looks at the version. SQLite takes its one write lock, and has to keep
    # it to the end: who looked between two migrations would make the rest of them as well.
    with _ALEMBIC, engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_lock(7236001)")
            connection.commit()
        else:
            connection.begin()  # the migrations commit nothing of a transaction that is not their own
        try:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        finally:
            if engine.dialect.name == "postgresql":
                connection.rollback()
                connection.exec_driver_sql("SELECT pg_advisory_unlock(7236001)")
                connection.commit()
