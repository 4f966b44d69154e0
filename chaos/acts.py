"""Does what the plan says, each thing at its time, and takes down when it was done and undone."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from chaos.network import Weather
from chaos.plan import Kind, Mischief
from chaos.site import Site
from orquanta.gameday.fleet import FleetError
from tests.e2e.replicas import Replica

_SETTLE_SECONDS: Final = 1.0
"""For a part that is back, before the next one of its kind is taken away."""

_STARTING_SECONDS: Final = 90.0
_CALM_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment by both clocks: the machine's monotonic one, and the one that databases write down."""

    monotonic: float
    utc: datetime

    @classmethod
    def now(cls) -> "Moment":
        """Return this one."""
        return cls(time.monotonic(), datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done."""

    kind: Kind
    began: Moment
    undone: Moment


class Acts:
    """Carries out a plan. Different parts may be away at once, two of one kind never: most of the brokers stay."""

    def __init__(self, site: Site, seconds: float) -> None:
        self._site = site
        self._seconds = seconds
        self._leader = site.fleet.replicas[0].name
        self._control_planes = asyncio.Lock()
        self._brokers = asyncio.Lock()
        self._database = asyncio.Lock()
        self._networks = asyncio.Lock()
        self._hosts = asyncio.Lock()
        self.deeds: list[Deed] = []
        self.now: set[Kind] = set()
        """What is done at this moment."""
        self.starts_in_vain = 0

    async def run(self, plan: Sequence[Mischief]) -> None:
        """Do all of it; return when all is undone."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, mischief in enumerate(plan):
                await asyncio.sleep(max(0.0, began + mischief.at_seconds - time.monotonic()))
                if number >= len(Kind) and time.monotonic() - began > self._seconds:
                    break  # so late on a busy machine that the time is over
                if number >= len(Kind):
                    await self._calm()
                group.create_task(self._do(mischief))

    async def _calm(self) -> None:
        """Wait for most hosts to be linked, but not for long: on a busy machine, nothing would ever be whole again."""
        until = time.monotonic() + _CALM_SECONDS
        while time.monotonic() < until and not await asyncio.to_thread(self._site.mostly_linked):  # noqa: ASYNC110 - remote
            await asyncio.sleep(_LOOK_SECONDS)

    async def _do(self, mischief: Mischief) -> None:
        lock, act = self._act_of(mischief.kind)
        async with lock:
            self.now.add(mischief.kind)
            try:
                await act(mischief)
                await asyncio.sleep(_SETTLE_SECONDS)
            finally:
                self.now.discard(mischief.kind)

    def _act_of(self, kind: Kind) -> tuple[asyncio.Lock, Callable[[Mischief], Awaitable[None]]]:
        match kind:
            case Kind.LEADER_KILLED | Kind.FOLLOWER_KILLED:
                return self._control_planes, self._kill_control_plane
            case Kind.LEADER_STOPPED:
                return self._control_planes, self._stop_control_plane
            case Kind.BROKER_KILLED:
                return self._brokers, self._kill_broker
            case Kind.DATABASE_STOPPED | Kind.DATABASE_KILLED:
                return self._database, self._kill_database
            case Kind.LINKS_RESET | Kind.LINKS_SILENT | Kind.HOSTS_DEAF:
                return self._networks, self._cut
            case Kind.HOSTS_KILLED:
                return self._hosts, self._kill_hosts

    async def _kill_control_plane(self, mischief: Mischief) -> None:
        replica = await self._chosen(leads=mischief.kind is Kind.LEADER_KILLED)
        began = Moment.now()
        replica.program.kill()
        await asyncio.sleep(mischief.lasts_seconds)
        undone = Moment.now()
        await self._start(replica)
        self.deeds.append(Deed(mischief.kind, began, undone))

    async def _start(self, replica: Replica) -> None:
        """Start a control plane as a service manager does: again, if it finds neither database nor broker."""
        until = time.monotonic() + _STARTING_SECONDS
        while True:
            try:
                await replica.start()
            except FleetError:
                self.starts_in_vain += 1
                if time.monotonic() > until:
                    raise
            else:
                return

    async def _stop_control_plane(self, mischief: Mischief) -> None:
        replica = await self._chosen(leads=True)
        began = Moment.now()
        replica.program.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(mischief.lasts_seconds)
        finally:
            replica.program.signal(signal.SIGCONT)
        self.deeds.append(Deed(mischief.kind, began, Moment.now()))

    async def _chosen(self, *, leads: bool) -> Replica:
        known: str | None = await asyncio.to_thread(self._site.leader)
        self._leader = known or self._leader
        return next(one for one in self._site.fleet.replicas if (one.name == self._leader) is leads)

    async def _kill_broker(self, mischief: Mischief) -> None:
        number = int(mischief.place * len(self._site.fleet.nats.ports))
        began = Moment.now()
        self._site.fleet.nats.kill(number)
        await asyncio.sleep(mischief.lasts_seconds)
        self._site.fleet.nats.start_one(number)
        self.deeds.append(Deed(mischief.kind, began, Moment.now()))

    async def _kill_database(self, mischief: Mischief) -> None:
        how = signal.SIGKILL if mischief.kind is Kind.DATABASE_KILLED else signal.SIGQUIT
        began = Moment.now()
        await asyncio.to_thread(self._site.database.kill, how)
        await asyncio.sleep(mischief.lasts_seconds)
        await asyncio.to_thread(self._site.database.start)
        self.deeds.append(Deed(mischief.kind, began, Moment.now()))

    async def _cut(self, mischief: Mischief) -> None:
        networks = self._site.networks
        if mischief.kind is not Kind.HOSTS_DEAF:
            networks = [networks[int(mischief.place * len(networks))]]
        weather = {Kind.LINKS_RESET: Weather.RESET, Kind.LINKS_SILENT: Weather.SILENT}.get(mischief.kind, Weather.DEAF)
        began = Moment.now()
        for network in networks:
            network.change(weather)
        await asyncio.sleep(mischief.lasts_seconds)
        for network in networks:
            network.change(Weather.FAIR)
        self.deeds.append(Deed(mischief.kind, began, Moment.now()))

    async def _kill_hosts(self, mischief: Mischief) -> None:
        began = Moment.now()
        part = self._site.hosts.kill_part(mischief.place)
        await asyncio.sleep(mischief.lasts_seconds)
        self._site.hosts.start_part(part)
        self.deeds.append(Deed(mischief.kind, began, Moment.now()))
