"""The socket on a host: it says what the daemon says, and refuses what the daemon refuses."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from node_agent.errors import LocalRefused, NotRunning
from node_agent.local.client import LocalClient, connected
from node_agent.local.server import LocalServer
from orquanta.v1 import health_pb2, node_local_pb2, repair_pb2

T = TypeVar("T")
LOST = health_pb2.Condition(id="gpu/GPU-1/lost", kind="GPU_LOST", summary="GPU-1 is lost")


class ScriptedDaemon:
    """A daemon with one condition."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.more = asyncio.Event()

    def status(self) -> dict[str, Any]:
        return {"version": "1.2.3"}

    def conditions(self) -> Sequence[health_pb2.Condition]:
        return [LOST]

    async def events(self, since: datetime | None, *, follow: bool) -> AsyncGenerator[health_pb2.HealthEvent, None]:
        yield health_pb2.HealthEvent(id="1", condition=LOST, reason=str(since))
        while follow:
            await self.more.wait()
            self.more.clear()
            yield health_pb2.HealthEvent(id="2", condition=LOST)

    def repairs(self) -> Sequence[repair_pb2.RepairReport]:
        return [repair_pb2.RepairReport(repair_id="r-1")]

    async def acknowledge(self, condition_id: str, by: str) -> health_pb2.Condition:
        if condition_id != LOST.id:
            raise LookupError(f"there is no condition {condition_id!r}")
        self.told.append(f"{condition_id} acknowledged by {by}")
        return LOST

    async def clear(self, condition_id: str, by: str) -> None:
        self.told.append(f"{condition_id} cleared by {by}")

    async def inject(self, fault: node_local_pb2.InjectFaultRequest) -> str:
        if fault.fault == "kmsg":
            raise PermissionError("this daemon takes no kernel lines; start it with allow_kmsg_injection")
        raise ValueError(f"there is no fault {fault.fault!r}")


@pytest.fixture
def daemon() -> ScriptedDaemon:
    return ScriptedDaemon()


@pytest.fixture
async def served(tmp_path: Path, daemon: ScriptedDaemon) -> AsyncIterator[Path]:
    path = tmp_path / "run" / "node.sock"
    task = asyncio.ensure_future(LocalServer(path, daemon).run())
    await answers(path)
    yield path
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not exists(path)


async def ask(path: Path, what: Callable[[LocalClient], T]) -> T:
    def call() -> T:
        with connected(path) as client:
            return what(client)

    return await asyncio.to_thread(call)


async def answers(path: Path) -> None:
    async with asyncio.timeout(30):
        while True:
            with suppress(NotRunning):
                assert await ask(path, LocalClient.conditions) == [LOST]
                return
            await asyncio.sleep(0.02)


def exists(path: Path) -> bool:
    return os.path.lexists(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_says_what_the_daemon_says(served: Path) -> None:
    assert json.loads(await ask(served, LocalClient.status_json)) == {"version": "1.2.3"}
    assert await ask(served, LocalClient.conditions) == [LOST]
    assert [report.repair_id for report in await ask(served, LocalClient.repairs)] == ["r-1"]
    since = datetime(2026, 1, 2, tzinfo=UTC)
    events = await ask(served, lambda client: list(client.events(since, follow=False)))
    assert [event.reason for event in events] == ["2026-01-02 00:00:00+00:00"]


async def test_following_events_gets_each_as_it_comes(served: Path, daemon: ScriptedDaemon) -> None:
    daemon.more.set()

    def two(client: LocalClient) -> list[str]:
        events = client.events(None, follow=True)
        return [next(events).id, next(events).id]

    assert await ask(served, two) == ["1", "2"]


async def test_an_operators_word_reaches_the_daemon_in_printable_form(served: Path, daemon: ScriptedDaemon) -> None:
    await ask(served, lambda client: client.acknowledge(LOST.id, "ada\x1b[31m"))
    await ask(served, lambda client: client.clear(LOST.id, ""))
    assert daemon.told == [f"{LOST.id} acknowledged by ada[31m", f"{LOST.id} cleared by operator on the host"]


async def test_what_the_daemon_refuses_is_told_in_its_words(served: Path) -> None:
    for name, words in (("kmsg", "allow_kmsg_injection"), ("typhoon", "no fault 'typhoon'")):
        fault = node_local_pb2.InjectFaultRequest(fault=name)
        with pytest.raises(LocalRefused, match=words):
            await ask(served, lambda client, fault=fault: client.inject(fault))  # type: ignore[misc] # bound in the loop
    with pytest.raises(LocalRefused, match="no condition 'x'"):
        await ask(served, lambda client: client.acknowledge("x", "ada"))


async def test_nobody_else_may_open_the_socket(served: Path) -> None:
    assert mode(served) & 0o007 == 0
    assert mode(served.parent) & 0o007 == 0


async def test_without_a_daemon_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="systemctl start orquanta-node"):
        await ask(tmp_path / "none.sock", LocalClient.conditions)


async def test_a_socket_left_by_a_killed_daemon_is_taken_over(tmp_path: Path, daemon: ScriptedDaemon) -> None:
    path = tmp_path / "node.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    task = asyncio.ensure_future(LocalServer(path, daemon).run())
    await answers(path)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_path_too_long_for_a_socket_leaves_the_daemon_running(tmp_path: Path, daemon: ScriptedDaemon) -> None:
    path = tmp_path / ("x" * 120)
    task = asyncio.ensure_future(LocalServer(path, daemon).run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    assert not exists(path)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
