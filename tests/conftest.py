"""What tests of the control plane share: a clock, a PostgreSQL server, and a store on each kind of database."""

from control_plane import swift_start  # isort: skip - before the modules that it is to speed up

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from control_plane.reasoning.guard import forbid_real_calls
from control_plane.store.database import Store
from control_plane.store.engine import migrate, open_engine
from tests.fake_clock import FakeClock
from tests.postgresql import PostgreSql, running_postgresql
from tests.scratch import keep_in_memory

_TEMPLATE = "orquanta_template"

# A shell that starts the tests in the background has SIGINT ignored, and every program they start would inherit that.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

keep_in_memory()

# No test may ask a real model; those that speak to a server of their own use loopback_allowed().
forbid_real_calls()

# Time limits would fail on a busy machine, and a run must mean the same everywhere.
settings.register_profile("orquanta", deadline=None, derandomize=True)
settings.load_profile("orquanta")

# Where `rich` is installed, a traceback would show every local variable of every frame, which takes seconds.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are gathered: they and their modules stay to the end."""
    try:
        return (yield)
    finally:
        swift_start.loaded()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the long tests out to the workers, as what each begins with: one that began last would be waited for."""
    long = [item for item in items if item.get_closest_marker("long") is not None]
    others = [item for item in items if item.get_closest_marker("long") is None]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = len(items) // workers
    dealt: list[pytest.Item] = []
    for worker in range(workers):  # xdist gives each worker so many in a row, and later lets the idle take from the end
        mine = long[worker::workers]
        size = max(0, share - len(mine)) if worker < workers - 1 else len(others)
        dealt += mine + others[:size]
        del others[:size]
    items[:] = dealt


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """One server for the whole run of this worker."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: PostgreSql) -> PostgreSql:
    """The server with a template database that has every table."""
    postgresql.execute(f"CREATE DATABASE {_TEMPLATE}")
    engine = open_engine(postgresql.url(_TEMPLATE))
    migrate(engine)
    engine.dispose()
    return postgresql


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that has every table, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a fresh SQLite database with every table."""
    shutil.copy(migrated_sqlite, tmp_path / "orquanta.db")
    return f"sqlite:///{tmp_path / 'orquanta.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh database with every table, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: PostgreSql = request.getfixturevalue("migrated_postgresql")
    with ExitStack() as stack:
        yield stack.enter_context(server.database(_TEMPLATE))


@pytest.fixture
async def store(database_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """A store on each kind of database."""
    opened = await Store.open(database_url, clock=clock)
    yield opened
    await asyncio.wait_for(opened.close(), 30)


@pytest.fixture
async def sqlite_store(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """A store on SQLite alone, where the database makes no difference."""
    opened = await Store.open(sqlite_url, clock=clock)
    yield opened
    await asyncio.wait_for(opened.close(), 30)
