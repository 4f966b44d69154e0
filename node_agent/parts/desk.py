"""The host's health: what probes see goes in, what changed goes to the spool, with the state in the same write."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

import structlog

from node_agent.beat import sleep_to_beat
from node_agent.clock import Clock
from node_agent.convert_health import to_record
from node_agent.health.engine import HealthEngine, Observation
from node_agent.health.model import Change, Condition
from node_agent.health.rules import HealthRules
from node_agent.health.state import HealthState
from node_agent.probe.kernel.reader import LogPosition
from node_agent.probe.observations import KernelLoss, KernelReport
from node_agent.spool.spool import Spool
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_HEALTH: Final = "health"  # names of the spool's state
_UNREADABLE: Final = "health.unreadable"
_KERNEL: Final = "kernel"
_TICK_SECONDS = 1.0
_SAVE_SECONDS = 30.0  # counts and positions that no event told of
_FAILURES_LOGGED = 100  # the first and every hundredth


class HealthDesk:
    """Feeds the health engine and hands on what it says.

    An observation and all that follows from it are judged without a pause, so that events, conditions and saved state
    always agree: what a crash undoes is undone as a whole, and the kernel's line is then read again.
    """

    def __init__(self, engine: HealthEngine, spool: Spool, clock: Clock) -> None:
        self.engine = engine
        self._spool = spool
        self._clock = clock
        self._failures = 0
        self._position: LogPosition | None = None
        self.kernel_lines = 0
        """Lines of the kernel log that meant something."""
        self.kernel_lines_lost = 0

    # What is.

    def conditions(self) -> tuple[Condition, ...]:
        """Return what is wrong now, worst first."""
        return self.engine.conditions()

    def condition(self, condition_id: str) -> Condition | None:
        """Return the condition of this id, if it lasts."""
        return next((found for found in self.engine.conditions() if found.id == condition_id), None)

    def kernel_position(self) -> LogPosition | None:
        """Return the place in the kernel log up to which everything was taken; None if none was ever read."""
        try:
            value = json.loads(self._spool.state(_KERNEL) or b"null")
            return None if value is None else LogPosition(str(value["boot_id"]), int(value["sequence"]))
        except (ValueError, KeyError, TypeError):
            return None

    # What happens.

    async def observe(self, observations: Iterable[Observation]) -> None:
        """Judge observations in order; returns when what changed is on disk."""
        await self.tell(self._judge(observations))

    async def take_kernel(self, reports: Sequence[KernelReport], boot_id: str) -> None:
        """Judge what the kernel printed, and remember how far it was read."""
        changes = self._judge(reports)
        sequences = [report.line.sequence for report in reports if not isinstance(report, KernelLoss)]
        self.kernel_lines += len(sequences)
        self.kernel_lines_lost += sum(report.lines for report in reports if isinstance(report, KernelLoss))
        if sequences:
            self.note_position(LogPosition(boot_id, max(sequences)))
        await self.tell(changes)

    def note_position(self, position: LogPosition) -> None:
        """Take note of how far the kernel log was read; it is saved with the next change, or soon."""
        self._position = position

    async def tell(
        self,
        changes: Sequence[Change],
        *records: node_link_pb2.SpoolRecord,
        state: Mapping[str, bytes] | None = None,
    ) -> None:
        """Put records, then changes, into the spool, and the state as it is now with them.

        To be called at once when the changes are known, with nothing awaited in between.
        """
        if not changes and not records and not state:
            return
        for change in changes:
            log.info(
                "health.changed",
                kind=change.kind.value,
                condition=change.condition.id,
                severity=change.condition.severity.name,
                summary=change.condition.summary,
            )
        saved = {**(state or {}), _HEALTH: self._state()}
        if self._position is not None:
            saved[_KERNEL] = _position_json(self._position)
        await self._spool.append(*records, *map(to_record, changes), state=saved)

    # What people say.

    async def acknowledge(self, condition_id: str, by: str) -> None:
        """Let a condition propose no repair any more. Nothing if it does not last."""
        await self.tell(self.engine.acknowledge(condition_id, by, self._clock.now()))

    async def clear(self, condition_id: str, by: str) -> None:
        """End a condition by a person's word. Nothing if it does not last."""
        await self.tell(self.engine.clear(condition_id, by, self._clock.now()))

    async def run(self) -> NoReturn:
        """Let time pass for the engine, and save now and then what no event told of, until cancelled."""
        saved_at = self._clock.monotonic()
        while True:
            await sleep_to_beat(_TICK_SECONDS)
            await self.tell(self._guarded(self.engine.tick))
            if self._clock.monotonic() - saved_at >= _SAVE_SECONDS:
                saved_at = self._clock.monotonic()
                self.save()

    def save(self) -> None:
        """Have what is known now saved soon, if it differs from what is saved."""
        state = self._state()
        if state != self._spool.state(_HEALTH):
            self._spool.save(_HEALTH, state)
        if self._position is not None and self._position != self.kernel_position():
            self._spool.save(_KERNEL, _position_json(self._position))

    def _state(self) -> bytes:
        return self.engine.state().to_json().encode()

    def _judge(self, observations: Iterable[Observation]) -> list[Change]:
        changes: list[Change] = []
        for observation in observations:
            changes += self._guarded(lambda: self.engine.observe(observation))  # noqa: B023 - called at once
        return changes

    def _guarded(self, judge: Callable[[], list[Change]]) -> list[Change]:
        """One observation that no rule foresaw must not end the daemon: the next start would read it again."""
        try:
            return judge()
        except Exception:
            self._failures += 1
            if self._failures % _FAILURES_LOGGED == 1:
                log.exception("health.rule_failed", count=self._failures)
            return []


def open_engine(spool: Spool, rules: HealthRules, clock: Clock) -> HealthEngine:
    """Return an engine that knows what the last daemon knew."""
    stored = spool.state(_HEALTH)
    restored = None
    try:
        restored = HealthState.from_json(stored.decode()) if stored else None
    except ValueError as error:
        log.error("health.state_unreadable", reason=str(error), kept_as=_UNREADABLE)  # noqa: TRY400 - the reason is whole
        spool.save(_UNREADABLE, stored)
    return HealthEngine(clock=clock, rules=rules, restored=restored)


def _position_json(position: LogPosition) -> bytes:
    return json.dumps({"boot_id": position.boot_id, "sequence": position.sequence}).encode()
