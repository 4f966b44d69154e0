"""Time that tests move, loops that end after some rounds, and takers that remember."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from typing_extensions import override

from node_agent.probe.bounded.threads import DeadlineThreads
from node_agent.probe.observations import HostFinding, HostReport, Standing

_Result = TypeVar("_Result")

START = datetime(2026, 1, 1, tzinfo=UTC)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something that other threads or processes do has happened."""
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


class StepClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class PatientThreads(DeadlineThreads):
    """Waits for as long as a busy machine takes, and by the deadline only for calls that a test lets hang."""

    def __init__(self, clock: StepClock, hangs: Callable[[str], bool]) -> None:
        super().__init__(clock)
        self._hangs = hangs

    @override
    async def call(self, key: str, function: Callable[[], _Result], deadline_seconds: float) -> _Result:
        return await super().call(key, function, deadline_seconds if self._hangs(key) else 60)


class Taken:
    """Takes reports and remembers them; the newest of a thing replaces the one before."""

    def __init__(self) -> None:
        self.all: list[HostReport] = []
        self._news = asyncio.Condition()

    async def __call__(self, reports: Sequence[HostReport]) -> None:
        async with self._news:
            self.all += reports
            self._news.notify_all()

    def of(self, finding: HostFinding, subject: str) -> HostReport | None:
        found = [report for report in self.all if report.finding is finding and report.subject == subject]
        return found[-1] if found else None

    async def until(self, finding: HostFinding, subject: str, standing: Standing) -> HostReport:
        """Wait until a thing stands so, and return the report that says it."""

        def found() -> HostReport | None:
            report = self.of(finding, subject)
            return report if report is not None and report.standing is standing else None

        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(found)
        report = found()
        assert report is not None
        return report


def only(reports: Sequence[HostReport], finding: HostFinding, subject: str) -> HostReport:
    """Return the one report of a thing."""
    (report,) = [report for report in reports if report.finding is finding and report.subject == subject]
    return report
