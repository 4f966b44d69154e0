"""The stage of one game day: a fleet, hands to put faults in, and eyes that never leave the level out of service."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orquanta.client import AsyncClient
from orquanta.errors import OrQuantaError
from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import Fleet, FleetError, Host
from orquanta.gameday.levels import Levels, audited
from orquanta.types.incidents import Incident, IncidentState
from orquanta.types.nodes import GpuInventory, Node, NodeState
from orquanta.types.repairs import RepairOrigin

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0
_AT_ONCE = 4
_WATCH_AGAIN_SECONDS = 0.2
_LOOK_SECONDS = 0.5
"""Nodes are counted this often though no change was heard of: the watch may be cut, and a level pass meanwhile."""
_CANARY_SECONDS = "1"
"""Virtual GPUs have nothing to show in longer."""
_EXISTING = tuple(state for state in NodeState if state not in (NodeState.UNKNOWN, NodeState.REVOKED))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a game day had to prove."""

    what: str
    held: bool
    detail: str
    at_seconds: float


class NotHeldError(FleetError):
    """Something that had to hold did not, and what comes next makes no sense without it."""


class Stage:
    """A game day under way. Use `open_stage`."""

    def __init__(self, fleet: Fleet, admin: AsyncClient, say: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.admin = admin
        self.levels = Levels()
        self.findings: list[Finding] = []
        self._say = say
        self._began = time.monotonic()
        self._changed = asyncio.Event()

    @property
    def seconds(self) -> float:
        """Since the game day began."""
        return time.monotonic() - self._began

    def note(self, text: str) -> None:
        """Tell the operator what happens."""
        self._say(f"{self.seconds:6.1f} s  {text}")

    def expect(self, what: str, held: bool, detail: str = "") -> None:
        """Record whether something that had to hold did; `detail` is told if it did not."""
        self.findings.append(Finding(what, held, "" if held else detail, self.seconds))
        told = f": {detail}" if detail and not held else ""
        self._say(f"{self.seconds:6.1f} s  {'ok    ' if held else 'FAILED'}  {what}{told}")

    # Hosts and faults.

    async def add_hosts(
        self,
        count: int,
        gpus: str = "2xH100",
        *,
        settings: Mapping[str, str] | None = None,
        config: str = "",
        racks: int = 0,
        state: Path | None = None,
    ) -> list[Host]:
        """Start virtual hosts; with `racks`, spread over so many racks. `config` is a `node.toml` for all of them."""
        given = {"canary_seconds": _CANARY_SECONDS, **(settings or {})}
        if config:
            file = self.fleet.directory / "node.toml"
            file.write_text(config)
            given["config"] = str(file)

        async def add(number: int) -> Host:
            labels = {"rack": f"rack-{number % racks + 1}"} if racks else {}
            return await self.fleet.add_host(
                self.admin, f"host-{number + 1}", gpus, settings=given, labels=labels, state=state
            )

        made: list[Host] = []
        for first in range(0, count, _AT_ONCE):  # each is several processes that start
            made += await asyncio.gather(*(add(number) for number in range(first, min(first + _AT_ONCE, count))))
        self.note(f"{count} host(s) with {gpus} joined")
        return made

    async def gpu(self, host: Host, index: int = 0) -> GpuInventory:
        """A GPU of a host."""
        return (await self.node(host)).gpus[index].inventory

    async def print(self, host: Host, *lines: str) -> None:
        """Have the kernel of a host print lines."""
        self.note(f"{host.name}: its kernel prints {lines[0]!r}" + (f" and {len(lines) - 1} more" if lines[1:] else ""))
        await kernel.print_lines(host.kernel_log, lines)

    async def inject(self, host: Host, fault: str, *, gpu: str = "0", value: int = 0, times: int = 1) -> None:
        """Put a fault into a virtual GPU. Raises FleetError with the daemon's own words."""
        self.note(f"{host.name}: {await local.inject(host, fault, gpu=gpu, value=value, times=times)}")

    # Waiting and looking.

    async def until(
        self, what: str, holds: Callable[[], Awaitable[bool]], *, seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Wait until something holds. Raises NotHeldError if it does not in time."""
        deadline = time.monotonic() + seconds
        while not await holds():
            if time.monotonic() > deadline:
                self.expect(what, held=False, detail=f"not within {seconds:g} s")
                raise NotHeldError(what)
            await asyncio.sleep(_POLL_SECONDS)
        self.expect(what, held=True)

    async def node(self, host: Host) -> Node:
        """The node as it is now."""
        return await self.admin.nodes.get(host.node_id)

    async def becomes(self, host: Host, *states: NodeState, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until a node is in one of these states."""

        async def holds() -> bool:
            return (await self.node(host)).state in states

        await self.until(f"{host.name} is {' or '.join(states)}", holds, seconds=seconds)

    async def incidents(self, host: Host) -> list[Incident]:
        """The incidents of a host, newest first, whole."""
        found = [one.id async for one in self.admin.incidents.list(node_id=host.node_id)]
        return [await self.admin.incidents.get(one) for one in found]

    async def incident(
        self, host: Host, *states: IncidentState, count: int = 1, seconds: float = _PATIENCE_SECONDS
    ) -> Incident:
        """Wait until a host has had `count` incidents, and the newest is in one of these states, if any is named."""

        async def holds() -> bool:
            found = [one async for one in self.admin.incidents.list(node_id=host.node_id)]
            return len(found) >= count and (not states or found[0].state in states)

        which = "the incident" if count == 1 else f"incident {count}"
        await self.until(f"{which} of {host.name} is {' or '.join(states) or 'opened'}", holds, seconds=seconds)
        return (await self.incidents(host))[0]

    async def condition(self, host: Host, kind: str, *, present: bool = True, seconds: float = 60.0) -> None:
        """Wait until the books know of a condition of this kind, or know it no more."""

        async def holds() -> bool:
            return any(one.kind == kind for one in (await self.node(host)).conditions) is present

        await self.until(f"{host.name} {'has' if present else 'no longer has'} {kind}", holds, seconds=seconds)

    # What must hold in the end of every game day.

    async def serves_again(self, *hosts: Host, seconds: float = _PATIENCE_SECONDS) -> None:
        """Expect that nodes take jobs, with healthy GPUs and nothing wrong that asks for a repair."""
        for host in hosts:
            await self.becomes(host, NodeState.READY, seconds=seconds)
            node = await self.node(host)
            wrong = [one.id for one in node.conditions if one.repair is not None or one.severity.value == "fatal"]
            self.expect(f"nothing is wrong with {host.name} any more", not wrong, ", ".join(wrong))

    async def bound_holds(self, most: int) -> None:
        """Expect that never more nodes were out of service: by a snapshot at every change, and by the audit."""
        records = [record async for record in self.admin.audit.list(page_size=500)]
        by_audit = audited(reversed(records))
        seen = self.levels.fleet_most
        self.expect(
            f"at no moment more than {most} out of service",
            max(seen, by_audit) <= most,
            f"{seen} seen, {by_audit} audited",
        )
        self.note(f"most out of service: {by_audit} by the audit, {seen} in {self.levels.snapshots} snapshots")

    async def books_are_sane(self) -> None:
        """Expect that no GPU and no money is leaked, and that each repair is in the books once."""
        metrics = await self.admin.metrics.fleet()
        held = sum(kind.allocated for kind in metrics.gpu_types)
        self.expect("no GPU is held by a job that has ended", held == 0, f"{held} are")
        jobs = [job async for job in self.admin.jobs.list()]
        spent, user = sum(job.cost_usd for job in jobs), await self.admin.auth.who_am_i()
        sane = user.reserved_usd == 0 and user.spent_usd == spent
        self.expect(
            "the money adds up", sane, f"spent {user.spent_usd}, jobs cost {spent}, reserved {user.reserved_usd}"
        )
        ids: list[str] = []
        async for incident in self.admin.incidents.list():
            ids += [repair.id for repair in (await self.admin.incidents.get(incident.id)).repairs]
        self.expect("each repair is in the books once", len(ids) == len(set(ids)), ", ".join(ids))

    async def no_repair(self, host: Host, why: str) -> None:
        """Expect that nothing was done about a host."""
        done = [one.id for incident in await self.incidents(host) for one in incident.repairs]
        alone = [one.repair_id for one in await local.repairs(host)]
        self.expect(f"{host.name}: no repair, {why}", not done and not alone, ", ".join(done + alone))

    # The eyes.

    async def watch(self) -> None:
        """Wake `count` at every change of any node, until cancelled."""
        while True:
            with contextlib.suppress(OrQuantaError):
                async for _ in self.admin.nodes.watch():
                    self._changed.set()
            await asyncio.sleep(_WATCH_AGAIN_SECONDS)  # the control plane is away, on purpose

    async def count(self) -> None:
        """Take a snapshot of all nodes after every change, and now and then without one, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            with contextlib.suppress(OrQuantaError):
                self.levels.see([node async for node in self.admin.nodes.list(states=_EXISTING, page_size=500)])


def alone(incident: Incident) -> bool:
    """Whether a host has repaired itself in this incident."""
    return any(repair.origin is RepairOrigin.LOCAL_POLICY for repair in incident.repairs)


def rungs(incidents: Iterable[Incident]) -> list[str]:
    """Return the rungs that were climbed in incidents, in that order, and how each ended."""
    return [f"{one.rung} {one.state}" for incident in incidents for one in incident.repairs]


@contextlib.asynccontextmanager
async def open_stage(
    settings: Mapping[str, str], say: Callable[[str], None], *, directory: Path | None = None
) -> AsyncIterator[Stage]:
    """Start a control plane, watch the level out of service at all times, and stop everything in the end."""
    async with Fleet(settings, directory=directory) as fleet:
        stage = Stage(fleet, await fleet.client(), say)
        stage.note("the control plane serves")
        eyes = [asyncio.ensure_future(stage.watch()), asyncio.ensure_future(stage.count())]
        try:
            yield stage
        finally:
            for eye in eyes:
                eye.cancel()
            await asyncio.gather(*eyes, return_exceptions=True)
