"""One repair in the making: every step is in the journal before it is done, and again when it has ended."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from node_agent.probe.bounded.threads import NoThread, Stuck
from node_agent.repair.codec import MAXIMUM_STEPS
from node_agent.repair.errors import BadArgument, Interrupted, JournalUnusable, StepFailed
from node_agent.repair.journal import Entry, Undo
from node_agent.repair.model import Check, CheckOutcome, RepairOrder, RepairRecord, RepairState, Step
from node_agent.repair.parts import Parts
from node_agent.repair.ports import RepairGpu
from node_agent.repair.text import MAXIMUM_MESSAGE, listed, printable

log = structlog.get_logger()

_JOURNAL_SECONDS: Final = 30.0
_UNDO_ATTEMPTS: Final = 3


class Work:
    """Carries one repair from its first entry in the journal to its last."""

    def __init__(
        self,
        entry: Entry,
        parts: Parts,
        *,
        boot_id: str,
        interrupted: asyncio.Event,
        emit: Callable[[RepairRecord], None],
    ) -> None:
        """`interrupted` is set when the daemon is to stop; `emit` hears of every change."""
        self.parts = parts
        self.boot_id = boot_id
        self.interrupted = interrupted
        self.deadline = float("inf")
        """On the monotonic clock; no step but an undo is begun after it."""
        self._entry = entry
        self._emit = emit

    @property
    def entry(self) -> Entry:
        """The repair as the journal has it."""
        return self._entry

    @property
    def record(self) -> RepairRecord:
        """The repair as others see it."""
        return self._entry.record

    @property
    def order(self) -> RepairOrder:
        """What was ordered."""
        return self._entry.record.order

    def targets(self) -> tuple[RepairGpu, ...]:
        """Return the GPUs that the order is about: those it names, or all of the host."""
        wanted = set(self.order.gpu_uuids)
        return tuple(gpu for gpu in self.parts.hardware.gpus() if not wanted or gpu.uuid in wanted)

    async def begin(self) -> None:
        """Write the first entry; raises JournalUnusable, and nothing must be done then."""
        stamp = self.parts.journal.stamp()
        entry = self._entry
        await self._in_journal(lambda: self.parts.journal.begin(entry, stamp))
        self._emit(self.record)

    async def step(
        self,
        name: str,
        action: Callable[[], Awaitable[str]],
        *,
        timeout_seconds: float | None = None,
        undo: Undo | None = None,
        settled: bool = False,
        marks: Mapping[str, str] | None = None,
        done: Mapping[str, str] | None = None,
    ) -> str:
        """Do one thing. `undo` and `marks` are in the journal before it, `done` after it.

        `settled` says that the undo is not needed once the step has worked.

        Raises Interrupted, JournalUnusable before anything is done; StepFailed when it does not work.
        `timeout_seconds` is for actions that can be cut off; commands have a limit of their own.
        """
        if self.interrupted.is_set():
            raise Interrupted(f"the daemon was stopped before: {name}")
        if self.parts.clock.monotonic() > self.deadline:
            raise StepFailed(f"the time for this repair was over before: {name}")
        undone = self._entry.undo if undo is None or undo in self._entry.undo else (*self._entry.undo, undo)
        await self._save(replace(self._entry, begun=name, undo=undone, marks={**self._entry.marks, **(marks or {})}))
        started_at, began = self.parts.clock.now(), time.monotonic()
        try:
            detail = await _within(timeout_seconds, action)
        except Exception as error:  # whatever breaks, what was done before must be taken back
            text = _said(error)
            await self._save(self._with_step(_step(name, False, text, started_at, began)))
            raise StepFailed(f"{name}: {text}") from error
        entry = self._with_step(_step(name, True, detail, started_at, began))
        left = tuple(other for other in entry.undo if not (settled and other == undo))
        await self._save(replace(entry, undo=left, marks={**entry.marks, **(done or {})}))
        return detail

    async def take_back(self) -> tuple[str, ...]:
        """Take back what was done, the newest first, whatever else goes wrong; return what could not be."""
        failures = []
        for undo in reversed(self._entry.undo):
            name = f"{undo.kind.value.replace('_', ' ')} {undo.subject}"
            started_at, began = self.parts.clock.now(), time.monotonic()
            ok, detail = await self._undo_one(undo)
            entry = self._with_step(_step(name, ok, detail, started_at, began, undo=True))
            left = tuple(other for other in entry.undo if other != undo)
            await self._save_if_possible(replace(entry, undo=left))
            if not ok:
                failures.append(f"{name} ({detail})")
        return tuple(failures)

    async def note(self, *, state: RepairState | None = None, marks: Mapping[str, str] | None = None) -> None:
        """Write a change of state, or marks; raises JournalUnusable."""
        record = self.record if state is None else replace(self.record, state=state)
        await self._save(replace(self._entry, record=record, marks={**self._entry.marks, **(marks or {})}))

    def replace_steps(self, steps: Sequence[Step]) -> None:
        """Say what would be done, for a dry run; not in the journal until it ends."""
        bounded = tuple(
            replace(step, name=printable(step.name, 300), detail=printable(step.detail))
            for step in steps[:MAXIMUM_STEPS]
        )
        self._entry = replace(self._entry, record=replace(self.record, steps=bounded))

    async def hand_off(self, handoff_json: str) -> None:
        """Keep the hand-off report; raises JournalUnusable."""
        await self._save(replace(self._entry, record=replace(self.record, handoff_json=handoff_json)))

    async def resumed(self) -> bool:
        """Count that another daemon has taken this up; return whether that is on the disk."""
        try:
            await self._save(replace(self._entry, resumes=self._entry.resumes + 1))
        except JournalUnusable as error:
            log.error("repair.not_recorded", repair_id=self.order.id, reason=str(error))  # noqa: TRY400 - the reason is whole
            return False
        return True

    async def check(self, name: str, look: Callable[[], Awaitable[tuple[CheckOutcome, str]]]) -> Check:
        """Add what one look of a verification found; a look that breaks is a failed check."""
        began = time.monotonic()
        try:
            outcome, detail = await look()
        except Exception as error:  # noqa: BLE001 - whatever breaks, the other checks go on
            outcome, detail = CheckOutcome.FAILED, f"the check itself failed: {_said(error)}"
        check = Check(name, outcome, printable(detail), time.monotonic() - began)
        checks = (*self.record.checks, check)[:MAXIMUM_STEPS]
        await self._save_if_possible(replace(self._entry, record=replace(self.record, checks=checks)))
        return check

    async def end(self, state: RepairState, message: str) -> None:
        """Write how it ended. Without room on the disk, at least this daemon and its control plane know."""
        record = replace(
            self.record, state=state, message=printable(message, MAXIMUM_MESSAGE), ended_at=self.parts.clock.now()
        )
        await self._save_if_possible(replace(self._entry, record=record, begun=""))
        log.info(
            "repair.ended",
            repair_id=self.order.id,
            rung=self.order.rung.name,
            state=state.value,
            message=record.message,
        )

    async def pause(self, seconds: float) -> None:
        """Wait, but not when the daemon is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.interrupted.wait()

    async def _undo_one(self, undo: Undo) -> tuple[bool, str]:
        detail = ""
        for attempt in range(_UNDO_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self.parts.limits.undo_pause_seconds)
            try:
                return True, await self.parts.hands.take_back(undo, repair_id=self.order.id)
            except Exception as error:  # noqa: BLE001 - whatever breaks, the rest must be taken back too
                detail = _said(error)
        return False, f"{detail}; do it by hand"

    def _with_step(self, step: Step) -> Entry:
        steps = self.record.steps
        if len(steps) < MAXIMUM_STEPS:
            steps = (*steps, step)
        return replace(self._entry, begun="", record=replace(self.record, steps=steps))

    async def _save(self, entry: Entry) -> None:
        stamp = self.parts.journal.stamp()
        await self._in_journal(lambda: self.parts.journal.write(entry, stamp))
        self._entry = entry
        self._emit(entry.record)

    async def _save_if_possible(self, entry: Entry) -> None:
        try:
            await self._save(entry)
        except JournalUnusable as error:
            log.error("repair.not_recorded", repair_id=self.order.id, reason=str(error))  # noqa: TRY400 - the reason is whole
            self._entry = entry
            self.parts.journal.keep_in_memory(entry)
            self._emit(entry.record)

    async def _in_journal(self, write: Callable[[], None]) -> None:
        try:
            await self.parts.threads.call("repair journal", write, _JOURNAL_SECONDS)
        except (Stuck, NoThread) as error:
            raise JournalUnusable(f"the journal of repairs cannot be written: the disk hangs ({error})") from error


async def _within(timeout_seconds: float | None, action: Callable[[], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await action()
    except TimeoutError as error:
        raise StepFailed(f"it did not end within {timeout_seconds or 0:.0f} s") from error


def _said(error: Exception) -> str:
    return printable(str(error) if isinstance(error, StepFailed | BadArgument) else repr(error))


def _step(name: str, ok: bool, detail: str, started_at: datetime, began: float, *, undo: bool = False) -> Step:
    return Step(printable(name, 200), ok, printable(detail), started_at, time.monotonic() - began, undo)


def names(gpus: "tuple[RepairGpu, ...] | list[RepairGpu]") -> str:
    """Return GPUs for a person: their indexes and bus ids."""
    return listed([f"GPU {gpu.identity.index} ({gpu.identity.pci_bus_id})" for gpu in gpus])
