"""Probe clients with real probe processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from node_agent.clock import SystemClock
from node_agent.probe import child_process
from node_agent.probe.child_process import ProbeProcess, VirtualGpuSettings
from node_agent.probe.client import ProbeClient, Spawn
from node_agent.probe.deadlines import Deadlines
from node_agent.probe.errors import ProbeAway
from node_agent.probe.observations import NvmlXid, ProbeStall
from node_agent.probe.samples import NvmlReading
from node_agent.virtual.fault import VirtualFault

WAIT_SECONDS = 60.0
PATIENT = Deadlines(sample=30.0, control=30.0, bury=30.0, first_pause=0.01, longest_pause=0.05)
"""Longer than a busy machine takes for anything."""


class Probe:
    """A client, and what it observed."""

    def __init__(self, path: Path | None, *, spec: str, deadlines: Deadlines, spawn: Spawn) -> None:
        self.observed: list[ProbeStall | NvmlXid] = []
        self._spawn = spawn
        self.processes: list[child_process.Exit] = []
        self.client = ProbeClient(
            VirtualGpuSettings(spec, "test-host", path) if spec else None,
            observe=self.observed.append,
            clock=SystemClock(),
            deadlines=deadlines,
            spawn=self._spawn_one,
        )

    async def _spawn_one(
        self, virtual: VirtualGpuSettings | None, on_event: Callable[[str, Any], None], on_end: Callable[[], None]
    ) -> ProbeProcess:
        probe = await self._spawn(virtual, on_event, on_end)
        self.processes.append(probe.process)
        return probe

    def expect(self, deadlines: Deadlines) -> None:
        """Ask with other deadlines from now on."""
        self.client._deadlines = deadlines

    @property
    def uuids(self) -> list[str]:
        assert self.client.inventory is not None
        return [gpu.uuid for gpu in self.client.inventory.gpus]

    @property
    def stalls(self) -> list[ProbeStall]:
        return [seen for seen in self.observed if isinstance(seen, ProbeStall)]

    async def inject(self, fault: VirtualFault) -> None:
        fields = (fault.kind.value, fault.gpu_uuid, fault.value, fault.times, fault.link, fault.call, fault.cured_by)
        await self.client.control("inject", fields)

    async def read_again(self) -> NvmlReading:
        """Read as soon as the probe can be read."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    return await self.client.read()
                except ProbeAway:
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def probing(
    path: Path | None = None,
    *,
    spec: str = "2xH100",
    deadlines: Deadlines = PATIENT,
    spawn: Spawn = child_process.spawn,
) -> AsyncIterator[Probe]:
    """Start a probe and keep it at work; afterwards no process of it is left."""
    probe = Probe(path, spec=spec, deadlines=deadlines, spawn=spawn)
    keeper: asyncio.Task[None] | None = None
    try:
        await probe.client.start()
        keeper = asyncio.create_task(probe.client.run())
        yield probe
    finally:
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        probe.client.close()
        await until(lambda: all(process.poll() is not None for process in probe.processes))


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes tell of themselves through the kernel alone
            await asyncio.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
