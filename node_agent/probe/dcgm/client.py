"""Scrapes a DCGM exporter and says what changed."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog

from node_agent.clock import Clock
from node_agent.probe.bounded.text import printable
from node_agent.probe.dcgm.fetch import FetchFailed, fetch, parse_url
from node_agent.probe.dcgm.reading import MAXIMUM_GPUS, DcgmGpu, DcgmReading, TooMuch
from node_agent.probe.host_checks.changes import KnownReports
from node_agent.probe.observations import HostFinding, HostReport, ProbeStall, Standing

log = structlog.get_logger()

DEADLINE_SECONDS: Final = 5.0
PERIOD_SECONDS: Final = 10.0
"""DCGM exporters collect every 30 s by default; asking more often yields the same figures."""
FAILURES_UNTIL_BAD: Final = 3
SUBJECT: Final = "exporter"
"""What reports are about that speak of the exporter itself. Those of a GPU have its UUID as their subject."""
PROBE: Final = "dcgm"


class DcgmClient:
    """Asks one exporter. `scrape` is not for use twice at once."""

    def __init__(self, url: str, clock: Clock, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Take the exporter's URL, such as `http://127.0.0.1:9400/metrics`. Raises ValueError if it is none."""
        from node_agent.probe.dcgm.page import DcgmPage, KnownLabels  # noqa: PLC0415 - see that module: hosts without exporter go free

        self._new_page = DcgmPage
        self._labels: KnownLabels = {}
        self._target = parse_url(url)
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self.stalls = 0
        """Times that it gave no whole answer within the deadline."""
        self._failures = 0
        self._stalled_since: float | None = None
        self._seen: dict[str, str] = {}  # UUID -> name for a person, of each GPU that was ever shown
        self._known = KnownReports()

    async def run(
        self,
        take: Callable[[DcgmReading], Awaitable[None]],
        *,
        period_seconds: float = PERIOD_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Scrape again and again and hand on each reading, until cancelled. Errors of the taker are logged."""
        while True:
            reading = await self.scrape()
            try:
                await take(reading)
            except Exception as error:  # noqa: BLE001 - whatever the taker does, the next reading must still come
                log.warning("dcgm.not_taken", error=repr(error))
            await sleep(period_seconds)

    async def scrape(self) -> DcgmReading:
        """Ask the exporter once. What goes wrong is in the reading; nothing is raised for it."""
        began = self._clock.monotonic()
        page = self._new_page(self._labels)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                async with fetch(self._target) as pieces:
                    async for piece in pieces:
                        page.feed(piece)
            gpus, unreadable = page.end()
        except TimeoutError:
            return self._stalled(began)
        except (FetchFailed, TooMuch) as error:
            return self._failed(str(error))
        except ssl.SSLError as error:
            return self._failed(f"its TLS cannot be trusted: {printable(str(error), 200)}")
        except OSError as error:
            return self._failed(f"no connection: {printable(error.strerror or str(error), 200)}")
        if not gpus:
            return self._failed(
                f"its page shows no GPU, {len(self._seen)} before"
                if self._seen
                else "its page shows no figure of a GPU"
            )
        return self._answered(page.hostname, gpus, unreadable)

    def _answered(self, hostname: str, gpus: dict[str, DcgmGpu], unreadable: int) -> DcgmReading:
        now = self._clock.now()
        self._failures = 0
        text = f"shows {len(gpus)} GPUs" + (f"; {unreadable} lines could not be read" if unreadable else "")
        standing = Standing.WARNING if unreadable else Standing.GOOD
        reports = [self._report(SUBJECT, standing, text, now), *self._gone_and_back(gpus, now)]
        return DcgmReading(
            scraped_at=now,
            hostname=hostname,
            gpus=gpus,
            reports=self._changed(reports),
            stall=self._stall_ended(now),
        )

    def _gone_and_back(self, gpus: dict[str, DcgmGpu], now: datetime) -> list[HostReport]:
        for uuid, gpu in gpus.items():
            if uuid in self._seen or len(self._seen) < MAXIMUM_GPUS:
                self._seen[uuid] = f"GPU {gpu.index} ({gpu.model_name})" if gpu.index else uuid
        reports = []
        for uuid, shown in self._seen.items():
            if uuid in gpus:
                standing, text = Standing.GOOD, f"DCGM shows {shown}"
            else:
                standing, text = Standing.BAD, f"DCGM does not show {shown} any more: it may be lost"
            reports.append(self._report(uuid, standing, text, now, gpu_uuid=uuid))
        return reports

    def _failed(self, why: str) -> DcgmReading:
        """Return a reading that says why there is none. An exporter that restarts is no fault at once."""
        now = self._clock.now()
        self._failures += 1
        standing = Standing.BAD if self._failures >= FAILURES_UNTIL_BAD else Standing.WARNING
        report = self._report(SUBJECT, standing, f"{self._target.url} cannot be used: {why}", now)
        return DcgmReading(now, reports=self._changed([report]), stall=self._stall_ended(now))

    def _stalled(self, began: float) -> DcgmReading:
        now = self._clock.now()
        self.stalls += 1
        self._failures += 1
        standing = Standing.BAD if self._failures >= FAILURES_UNTIL_BAD else Standing.WARNING
        text = f"{self._target.url} gave no whole answer within {self._deadline_seconds:g} s"
        stall = None
        if self._stalled_since is None:
            self._stalled_since = began
            stall = ProbeStall(PROBE, self._deadline_seconds, now, doing=f"GET {self._target.path}")
        return DcgmReading(now, reports=self._changed([self._report(SUBJECT, standing, text, now)]), stall=stall)

    def _stall_ended(self, now: datetime) -> ProbeStall | None:
        if self._stalled_since is None:
            return None
        seconds = self._clock.monotonic() - self._stalled_since
        self._stalled_since = None
        return ProbeStall(PROBE, seconds, now, ended=True)

    def _changed(self, reports: list[HostReport]) -> tuple[HostReport, ...]:
        changed = self._known.changed(reports)
        self._known.told(changed)
        return tuple(changed)

    def _report(self, subject: str, standing: Standing, text: str, now: datetime, *, gpu_uuid: str = "") -> HostReport:
        return HostReport(HostFinding.DCGM, subject, standing, printable(text), now, gpu_uuid)
