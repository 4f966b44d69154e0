"""All checks of the host, each on its own period."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from node_agent.beat import sleep_to_beat
from node_agent.clock import Clock
from node_agent.probe.bounded.command import Commands
from node_agent.probe.bounded.threads import DeadlineThreads
from node_agent.probe.host_checks.changes import Publisher
from node_agent.probe.host_checks.disks import Disks
from node_agent.probe.host_checks.drift import ClockDrift
from node_agent.probe.host_checks.memory import Memory
from node_agent.probe.host_checks.ports import Ports
from node_agent.probe.host_checks.services import Services
from node_agent.probe.host_checks.settings import HostCheckSettings
from node_agent.probe.observations import HostReport

log = structlog.get_logger()

_MAXIMUM_THREADS: Final = 40
"""One for each path of the disk check and the few others, if all of them hang."""
_LOG_EVERY: Final = 100


class HostChecks:
    """Watches the host and hands on what changed."""

    def __init__(
        self,
        settings: HostCheckSettings,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
    ) -> None:
        threads = DeadlineThreads(clock, maximum=_MAXIMUM_THREADS)
        self._sleep = sleep
        self._drift = ClockDrift(settings.clock_limits, clock)
        periods = settings.periods
        self._checks: tuple[tuple[str, float, Callable[[], Awaitable[Sequence[HostReport]]]], ...] = (
            ("ports", periods.ports_seconds, Ports(settings, clock, threads).look),
            ("disks", periods.disks_seconds, Disks(settings, clock, threads).look),
            ("memory", periods.memory_seconds, Memory(settings, clock).look),
            ("services", periods.services_seconds, Services(settings, clock, Commands(clock, threads=threads)).look),
            ("clock", periods.clock_seconds, self._drift.look),
        )

    def note_link_drift(self, seconds: float) -> None:
        """Take what the link measured: this host's clock minus the control plane's, in seconds."""
        self._drift.note_link_drift(seconds)

    async def look_once(self) -> list[HostReport]:
        """Look at everything now, for a scan by hand. Takes as long as the slowest check, at most its deadline."""
        looks = await asyncio.gather(*(look() for _, _, look in self._checks))
        return [report for look in looks for report in look]

    async def run(self, take: Callable[[Sequence[HostReport]], Awaitable[None]]) -> None:
        """Hand on how everything stands, then what changes, until cancelled."""
        publisher = Publisher(take)
        async with asyncio.TaskGroup() as group:
            for name, period_seconds, look in self._checks:
                group.create_task(self._repeat(name, period_seconds, look, publisher), name=f"host check {name}")

    async def _repeat(
        self,
        name: str,
        period_seconds: float,
        look: Callable[[], Awaitable[Sequence[HostReport]]],
        publisher: Publisher,
    ) -> None:
        failures = 0
        while True:
            try:
                await publisher.publish(await look())
            except Exception as error:  # noqa: BLE001 - one odd host must not end the watch over the rest
                failures += 1
                if failures % _LOG_EVERY == 1:
                    log.error("host_checks.failed", check=name, error=repr(error), count=failures)  # noqa: TRY400 - a trace each second helps nobody
            await self._sleep(period_seconds)
