"""A repair engine on the stage, and ways to wait for what it does."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

from node_agent.clock import Clock, SystemClock
from node_agent.repair.engine import RepairEngine
from node_agent.repair.journal import RepairJournal
from node_agent.repair.model import RepairOrder, RepairRecord
from node_agent.repair.parts import Limits
from node_agent.repair.ports import (
    VirtualGpus,
)
from node_agent.repair.toolbox import Toolbox
from tests.node_agent.repair.doubles import Hardware, Health, Jobs
from tests.node_agent.repair.stage import BOOT, Stage

PATIENCE_SECONDS = 100.0


class Host:
    """A stage with an engine on it."""

    def __init__(self, stage: Stage, *, virtual: VirtualGpus | None = None, tools: bool = True) -> None:
        self.stage = stage
        self.hardware = Hardware(stage, virtual=virtual)
        self.jobs, self.health = Jobs(), Health()
        self.seen: list[RepairRecord] = []
        self.clock: Clock = SystemClock()
        self.tools = Toolbox(stage.tools) if tools else Toolbox()

    def engine(self, *, boot_id: str = BOOT, limits: Limits | None = None) -> RepairEngine:
        return RepairEngine(
            journal=RepairJournal(self.stage.journal_dir),
            toolbox=self.tools,
            hardware=self.hardware,
            jobs=self.jobs,
            health=self.health,
            clock=self.clock,
            boot_id=boot_id,
            node_id="n-1",
            on_record=self.seen.append,
            limits=limits or self.stage.limits(),
        )

    async def carry_out(self, order: RepairOrder, engine: RepairEngine | None = None) -> RepairRecord:
        """Order it and wait for its end."""
        engine = engine or self.engine()
        engine.order(order)
        async with running(engine):
            return await ended(engine, order.id)


@contextlib.asynccontextmanager
async def running(engine: RepairEngine):  # type: ignore[no-untyped-def] # noqa: ANN201 - a context of nothing
    task = asyncio.create_task(engine.run())
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ended(engine: RepairEngine, repair_id: str) -> RepairRecord:
    return await until(
        lambda: next(
            (record for record in engine.records() if record.order.id == repair_id and record.state.ended), None
        )
    )


async def until(look: Callable[[], RepairRecord | None]) -> RepairRecord:
    """Poll, for what is looked at belongs to other processes too."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (found := look()) is not None:
                return found
            await asyncio.sleep(0.01)


async def until_true(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if look():
                return
            await asyncio.sleep(0.01)


def holder(stage: Stage, *, device: str = "nvidia0", deaf: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a device open; a deaf one ignores SIGTERM."""
    deafness = "trap '' TERM; " if deaf else ""  # ignored signals stay ignored over exec
    script = f'{deafness}exec 3<"{stage.devices / device}"; echo ready; exec sleep 100000'
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def reap(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end and return its exit code."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while (code := process.poll()) is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return code
