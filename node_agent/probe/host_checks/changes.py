"""Which reports say something that was not said before."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from node_agent.probe.observations import HostFinding, HostReport, Standing

log = structlog.get_logger()

TakeReports = Callable[[Sequence[HostReport]], Awaitable[None]]
_REPEAT_SECONDS: Final = 60.0
"""How long what is wrong must have been told with other figures before its figures are told again."""
_MAXIMUM_KNOWN: Final = 4_096
"""Things that are reported on; what comes beyond is reported each time, never dropped."""


class KnownReports:
    """Remembers how everything stood when it was last told."""

    def __init__(self) -> None:
        self._known: dict[tuple[HostFinding, str], HostReport] = {}

    def changed(self, reports: Iterable[HostReport]) -> list[HostReport]:
        """Return those whose standing changed, or, once a minute, whose text did while something is wrong.

        Figures change all the time; nobody needs an event for each.
        """
        return [report for report in reports if self._differs(report)]

    def _differs(self, report: HostReport) -> bool:
        known = self._known.get((report.finding, report.subject))
        if known is None:
            return True
        if known.standing is not report.standing or known.gpu_uuid != report.gpu_uuid:
            return True
        if report.standing is Standing.GOOD or known.text == report.text:
            return False
        return (report.observed_at - known.observed_at).total_seconds() >= _REPEAT_SECONDS

    def told(self, reports: Iterable[HostReport]) -> None:
        """Remember that these have been told."""
        for report in reports:
            key = (report.finding, report.subject)
            if key in self._known or len(self._known) < _MAXIMUM_KNOWN:
                self._known[key] = report


class Publisher:
    """Hands on the reports that changed, in order. What could not be handed on is handed on with the next look."""

    def __init__(self, take: TakeReports) -> None:
        self._take = take
        self._known = KnownReports()
        self._lock = asyncio.Lock()

    async def publish(self, reports: Sequence[HostReport]) -> None:
        """Hand on those that changed; errors of the taker are logged."""
        async with self._lock:
            changed = self._known.changed(reports)
            if not changed:
                return
            try:
                await self._take(changed)
            except Exception as error:  # noqa: BLE001 - whatever the taker does, the next look must still come
                log.warning("host_checks.not_taken", reports=len(changed), error=repr(error))
                return
            self._known.told(changed)
