"""The stage of one game day: a fleet, hands to put faults in, and eyes that never leave the level out of service."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, FleetError, Host
from orquanta.types.incidents import Incident, IncidentState
from orquanta.types.nodes import Node, NodeState
from orquanta.v1 import node_local_pb2
from orquanta.v1.node_local_pb2_grpc import NodeLocalServiceStub

_POLL_SECONDS = 0.05
_CALL_SECONDS = 15.0
_PATIENCE_SECONDS = 60.0
_OUT_OF_SERVICE = frozenset(
    {NodeState.DRAINING, NodeState.REPAIRING, NodeState.VERIFYING, NodeState.QUARANTINED, NodeState.LOST}
)
KERNEL_LOG = "kernel-log"
"""A FIFO in each host's directory that stands for /dev/kmsg: hosts on one machine must not read each other's faults."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a game day had to prove."""

    what: str
    held: bool
    detail: str
    at_seconds: float


@dataclass(slots=True)
class Levels:
    """The most nodes that were ever out of service at once, fleet-wide and per rack."""

    fleet_most: int = 0
    rack_most: dict[str, int] = field(default_factory=dict)
    states: dict[str, tuple[NodeState, str]] = field(default_factory=dict)

    def see(self, node: Node) -> None:
        """Take note of a node's present state."""
        self.states[node.id] = (node.state, node.labels.get("rack", ""))
        out = [rack for state, rack in self.states.values() if state in _OUT_OF_SERVICE]
        self.fleet_most = max(self.fleet_most, len(out))
        for rack in set(out) - {""}:
            self.rack_most[rack] = max(self.rack_most.get(rack, 0), out.count(rack))


class Stage:
    """A game day under way. Use `open_stage`."""

    def __init__(self, fleet: Fleet, admin: AsyncClient, say: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.admin = admin
        self.levels = Levels()
        self.findings: list[Finding] = []
        self._say = say
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the game day began."""
        return time.monotonic() - self._began

    def note(self, text: str) -> None:
        """Tell the operator what happens."""
        self._say(f"{self.seconds:6.1f} s  {text}")

    def expect(self, what: str, held: bool, detail: str = "") -> None:
        """Record whether something that had to hold did."""
        self.findings.append(Finding(what, held, detail, self.seconds))
        self._say(f"{self.seconds:6.1f} s  {'ok    ' if held else 'FAILED'}  {what}{': ' if detail else ''}{detail}")

    async def add_hosts(
        self,
        count: int,
        gpus: str = "2xH100",
        *,
        settings: Mapping[str, str] | None = None,
        racks: int = 0,
    ) -> list[Host]:
        """Start virtual hosts; with `racks`, spread over so many racks."""
        made = []
        for first in range(0, count, 4):  # a few at once: each is a process that starts
            numbers = range(first, min(first + 4, count))
            made += await asyncio.gather(*(self._add_host(number, gpus, settings or {}, racks) for number in numbers))
        self.note(f"{count} host(s) with {gpus} joined")
        return made

    async def _add_host(self, number: int, gpus: str, settings: Mapping[str, str], racks: int) -> Host:
        name = f"host-{number + 1}"
        fifo = self.fleet.directory / f"{name}.{KERNEL_LOG}"
        os.mkfifo(fifo)
        own = {"kernel_log": str(fifo), "allow_kmsg_injection": "true", **settings}
        labels = {"rack": f"rack-{number % racks + 1}"} if racks else {}
        return await self.fleet.add_host(self.admin, name, gpus, settings=own, labels=labels)

    async def inject(
        self, host: Host, fault: str, *, gpu: str = "0", value: int = 0, text: str = "", times: int = 1
    ) -> str:
        """Put a fault into a host through its socket. Raises FleetError with the daemon's own words."""
        request = node_local_pb2.InjectFaultRequest(fault=fault, gpu=gpu, value=value, text=text, times=times)
        async with grpc.aio.insecure_channel(f"unix:{host.socket}") as channel:
            try:
                answer = await NodeLocalServiceStub(channel).InjectFault(
                    request, timeout=_CALL_SECONDS, wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                raise FleetError(f"{host.name} takes no fault {fault}: {error.details()}") from None
        self.note(f"{host.name}: {answer.message}")
        return str(answer.message)

    async def until(
        self, what: str, holds: Callable[[], Awaitable[bool]], *, seconds: float = _PATIENCE_SECONDS
    ) -> bool:
        """Wait until something holds, and record whether it did in time."""
        deadline = time.monotonic() + seconds
        while not await holds():
            if time.monotonic() > deadline:
                self.expect(what, held=False, detail=f"not within {seconds:g} s")
                return False
            await asyncio.sleep(_POLL_SECONDS)
        self.expect(what, held=True)
        return True

    async def node(self, host: Host) -> Node:
        """The node as it is now."""
        return await self.admin.nodes.get(host.node_id)

    async def becomes(self, host: Host, *states: NodeState, seconds: float = _PATIENCE_SECONDS) -> bool:
        """Wait until a node is in one of these states."""

        async def holds() -> bool:
            return (await self.node(host)).state in states

        return await self.until(f"{host.name} is {' or '.join(states)}", holds, seconds=seconds)

    async def incidents(self, host: Host) -> list[Incident]:
        """The incidents of a host, newest first."""
        return [one async for one in self.admin.incidents.list(node_id=host.node_id)]

    async def incident(self, host: Host, *states: IncidentState, seconds: float = _PATIENCE_SECONDS) -> Incident | None:
        """Wait until the newest incident of a host is in one of these states (any, if none is named); None if late."""

        async def holds() -> bool:
            found = await self.incidents(host)
            return bool(found) and (not states or found[0].state in states)

        wanted = " or ".join(states) or "opened"
        if not await self.until(f"the incident of {host.name} is {wanted}", holds, seconds=seconds):
            return None
        return (await self.incidents(host))[0]


@contextlib.asynccontextmanager
async def open_stage(
    settings: Mapping[str, str], say: Callable[[str], None], *, directory: Path | None = None
) -> AsyncIterator[Stage]:
    """Start a control plane, watch the level out of service at every change, and stop everything in the end."""
    async with Fleet(settings, directory=directory) as fleet:
        stage = Stage(fleet, await fleet.client(), say)
        stage.note("the control plane serves")

        async def watch() -> None:
            async for node in stage.admin.nodes.watch():
                stage.levels.see(node)

        watching = asyncio.ensure_future(watch())
        try:
            yield stage
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
