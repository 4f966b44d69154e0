"""InfiniBand and RoCE ports: those that were up and went down, that flap, run slower or count errors.

A port that was never up is not in use, and no fault. Which ones were up is kept on disk, so that a port that stays down
after a reboot is noticed.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from node_agent.clock import Clock
from node_agent.files import write_atomically
from node_agent.probe.bounded.threads import DeadlineThreads, NoThread, Stuck
from node_agent.probe.host_checks.port_files import (
    MAXIMUM_PORTS,
    PortState,
    list_ports,
    read_counters,
    read_port,
)
from node_agent.probe.host_checks.port_history import PortHistory
from node_agent.probe.host_checks.settings import HostCheckSettings
from node_agent.probe.observations import HostFinding, HostReport, Standing

log = structlog.get_logger()

SUBJECT_ALL: Final = "all ports"
"""What a report is about that says that the adapters do not answer."""
MEMORY_FILE: Final = "ports.json"
_FORGET_AFTER: Final = timedelta(days=7)
"""A port that was down for so long is not expected any more: it was unplugged on purpose."""
_WRITE_EVERY: Final = timedelta(days=1)
_MAXIMUM_FILE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found."""

    ports: dict[str, PortState | None]
    counters: dict[str, dict[str, int]]


class Ports:
    """Looks at all ports of the host."""

    def __init__(self, settings: HostCheckSettings, clock: Clock, threads: DeadlineThreads) -> None:
        self._settings = settings
        self._clock = clock
        self._threads = threads
        self._file = settings.state_dir / MEMORY_FILE
        self._histories = {name: PortHistory(expected=True) for name in settings.expected_ports[:MAXIMUM_PORTS]}
        self._up_at: dict[str, datetime] = {}
        self._written: tuple[frozenset[str], datetime] | None = None
        self._counters_due = 0.0
        self._loaded = False
        self._hung = False

    async def look(self) -> list[HostReport]:
        """Return how all ports stand; nothing on a host that has and had none."""
        if not self._loaded:
            await self._load()
        present = list_ports(self._settings.sys_root)
        names = sorted({*present, *self._histories})[:MAXIMUM_PORTS]
        if not names:
            return []
        now = self._clock.monotonic()
        count = now >= self._counters_due
        try:
            look = await self._threads.call(
                "ports", lambda: self._read(names, count=count), self._settings.deadline_seconds
            )
        except (Stuck, NoThread) as error:
            standing = Standing.BAD if isinstance(error, Stuck) and error.again else Standing.UNKNOWN
            self._hung = True
            return [self._report(HostFinding.PORT, SUBJECT_ALL, standing, f"the adapters do not answer: {error}")]
        if count:
            self._counters_due = now + self._settings.periods.port_counters_seconds
        reports = self._judged(look, now)
        if self._hung:
            self._hung = False
            reports.append(self._report(HostFinding.PORT, SUBJECT_ALL, Standing.GOOD, "the adapters answer"))
        await self._remember()
        return reports

    def _read(self, names: list[str], *, count: bool) -> _Look:
        root = self._settings.sys_root
        ports = {name: read_port(root, name) for name in names}
        counters = {name: read_counters(root, name) for name, port in ports.items() if count and port}
        return _Look(ports, counters)

    def _judged(self, look: _Look, now: float) -> list[HostReport]:
        reports = []
        for name, port in look.ports.items():
            history = self._histories.setdefault(name, PortHistory(expected=False))
            self._forget(name, history)
            if name in look.counters:
                history.note_counters(look.counters[name], now)
                standing, text = history.judge_counters(now)
                reports.append(self._report(HostFinding.PORT_ERRORS, name, standing, f"{name}: {text}"))
            standing, text = history.judge_state(port, now)
            reports.append(self._report(HostFinding.PORT, name, standing, f"{name} {text}"))
            if port is not None and port.up:
                self._up_at[name] = self._clock.now()
            elif port is None and not history.expected:
                del self._histories[name]  # it went without having been in use; the report above was the last
        return reports

    def _forget(self, name: str, history: PortHistory) -> None:
        up_at = self._up_at.get(name)
        if up_at and self._clock.now() - up_at >= _FORGET_AFTER and name not in self._settings.expected_ports:
            del self._up_at[name]
            history.expected = False  # until it is up again

    async def _load(self) -> None:
        self._loaded = True
        try:
            seen = await self._threads.call("ports file", self._load_file, self._settings.deadline_seconds)
        except (Stuck, NoThread, OSError) as error:
            log.warning("ports.memory_unreadable", path=str(self._file), error=str(error))
            return
        now = self._clock.now()
        for name, (up_at, rate) in seen.items():
            if now - up_at < _FORGET_AFTER:
                self._up_at[name] = up_at
                self._histories[name] = PortHistory(expected=True, best_rate_gbps=rate)

    def _load_file(self) -> dict[str, tuple[datetime, float]]:
        try:
            with self._file.open("rb") as file:
                data = file.read(_MAXIMUM_FILE_BYTES)
        except FileNotFoundError:
            return {}
        return _parse(data)

    async def _remember(self) -> None:
        """Write down which ports were up, when that changes and once a day."""
        now = self._clock.now()
        known = frozenset(self._up_at)
        if not known and not self._written:
            return
        if self._written and self._written[0] == known and now - self._written[1] < _WRITE_EVERY:
            return
        self._written = (known, now)
        data = _format({name: (at, self._histories[name].best_rate_gbps) for name, at in self._up_at.items()})
        try:
            await self._threads.call(
                "ports file", lambda: write_atomically(self._file, data, durable=False), self._settings.deadline_seconds
            )
        except (Stuck, NoThread, OSError) as error:  # only a reboot with a port down would not be noticed
            log.warning("ports.memory_not_written", path=str(self._file), error=str(error))

    def _report(self, finding: HostFinding, subject: str, standing: Standing, text: str) -> HostReport:
        return HostReport(finding, subject, standing, text, self._clock.now())


def _format(seen: dict[str, tuple[datetime, float]]) -> bytes:
    ports = {name: {"up_at": at.isoformat(), "rate_gbps": rate} for name, (at, rate) in sorted(seen.items())}
    return json.dumps({"ports": ports}, indent=1).encode()


def _parse(data: bytes) -> dict[str, tuple[datetime, float]]:
    """Return what `_format` wrote; a file that is damaged says nothing, and is written again."""
    seen: dict[str, tuple[datetime, float]] = {}
    try:
        # Any: the file is checked right here.
        ports: dict[str, Any] = json.loads(data)["ports"]
        for name, entry in list(ports.items())[:MAXIMUM_PORTS]:
            at = datetime.fromisoformat(entry["up_at"])
            if at.tzinfo is not None:
                seen[str(name)] = (at, float(entry["rate_gbps"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return seen
