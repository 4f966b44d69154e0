"""The engine: finishes what an earlier daemon left, then carries out orders one at a time, and decides when alone."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.health.model import Rung
from node_agent.probe.bounded.threads import DeadlineThreads
from node_agent.repair import alone
from node_agent.repair.alone import Moment
from node_agent.repair.autonomy import Autonomy
from node_agent.repair.carrying import carry_out, finish, rehearse
from node_agent.repair.errors import JournalUnusable
from node_agent.repair.hands import Hands
from node_agent.repair.journal import Entry, RepairJournal, is_safe_id
from node_agent.repair.lock import HostLock
from node_agent.repair.model import LocalPolicy, Origin, RepairOrder, RepairRecord, RepairState
from node_agent.repair.parts import Limits, Parts
from node_agent.repair.ports import HardwareControl, HealthView, JobControl
from node_agent.repair.rungs import RUNGS
from node_agent.repair.text import MAXIMUM_MESSAGE, printable
from node_agent.repair.toolbox import Toolbox
from node_agent.repair.work import Work

log = structlog.get_logger()

_LOCK_FILE: Final = "repair.lock"
_LOCK_PAUSE_SECONDS: Final = 1.0
_MAXIMUM_REMEMBERED: Final = 100
"""Orders that were withdrawn and wait to be noted; also ids that could not be recorded."""
_DRY_RUN_ID: Final = "dry-run"


class RepairEngine:
    """All repairs of one host. For one event loop; `order` and `consider` may be called before `run` too."""

    def __init__(
        self,
        *,
        journal: RepairJournal,
        toolbox: Toolbox,
        hardware: HardwareControl,
        jobs: JobControl,
        health: HealthView,
        clock: Clock,
        boot_id: str,
        node_id: str,
        on_record: Callable[[RepairRecord], None],
        limits: Limits | None = None,
    ) -> None:
        """`on_record` hears of each change of each repair, at once and in order; it must not raise."""
        limits = Limits() if limits is None else limits
        self._parts = Parts(
            journal=journal,
            hands=Hands(toolbox, hardware),
            hardware=hardware,
            jobs=jobs,
            health=health,
            clock=clock,
            threads=DeadlineThreads(clock),
            node_id=node_id,
            limits=limits,
        )
        self._boot_id = boot_id
        self._emit = on_record
        self._lock = HostLock(limits.lock_file or journal.directory / _LOCK_FILE)
        self._autonomy = Autonomy(self._parts, self._moment())
        self._wanted: RepairOrder | None = None
        self._withdrawn: list[RepairOrder] = []
        self._unrecorded: dict[str, None] = {}
        self._work: Work | None = None
        self._busy = True  # until what an earlier daemon left is finished, and during each repair
        self._wake = asyncio.Event()
        self._interrupted = asyncio.Event()

    @property
    def current(self) -> RepairRecord | None:
        """The repair that is being carried out."""
        return None if self._work is None else self._work.record

    @property
    def self_quarantined(self) -> bool:
        """Whether the host has given itself up while alone, and must take no jobs until somebody looked at it."""
        return self._autonomy.quarantined

    def policy_is_valid(self, policy: LocalPolicy | None) -> bool:
        """Say whether a policy allows anything now; without a valid one a host that is alone takes no jobs."""
        return alone.is_valid(policy, self._moment(), self._parts.node_id)

    def knows(self, repair_id: str) -> bool:
        """Say whether a repair was begun or refused here, by this daemon or an earlier one: it is not begun again."""
        at_work = self._work is not None and self._work.order.id == repair_id
        return at_work or repair_id in self._unrecorded or self._parts.journal.knows(repair_id)

    def records(self) -> tuple[RepairRecord, ...]:
        """Return the repairs, newest first, at most 100."""
        return self._parts.journal.records()

    def order(self, order: RepairOrder | None) -> None:
        """Take over what the control plane wants now. Safe to repeat; None withdraws an order that has not begun."""
        waiting = self._wanted
        if waiting is not None and (order is None or order.id != waiting.id):
            self._withdrawn = [*self._withdrawn, waiting][-_MAXIMUM_REMEMBERED:]
            self._wanted = None
        if order is not None and not self.knows(order.id) and self._wanted is None:
            self._wanted = order
            if self._busy:
                self._emit(self._unbegun(order, RepairState.PENDING, "waits for the repair before it"))
        self._wake.set()

    def consider(self, *, link_down_seconds: float | None, policy: LocalPolicy | None) -> None:
        """Decide what the host does by itself, if the link is down for long enough and nothing is being repaired."""
        if link_down_seconds is None:
            self._autonomy.link_is_up()
        elif (
            not self._busy
            and self._wanted is None
            and self._autonomy.consider(policy, self._moment(), link_down_seconds=link_down_seconds)
        ):
            self._wake.set()

    def forgive(self) -> None:
        """End the host's quarantine of itself: somebody has looked at it."""
        self._autonomy.forgive()
        self._wake.set()

    async def dry_run(self, order: RepairOrder) -> RepairRecord:
        """Say what an order would do and whether it could be done; changes nothing, not even the journal."""
        repair_id = order.id if is_safe_id(order.id) else _DRY_RUN_ID
        work = self._new_work(replace(order, id=repair_id, dry_run=True))
        state, message = await rehearse(work)
        return replace(work.record, state=state, message=message, ended_at=self._parts.clock.now())

    async def run(self) -> NoReturn:
        """Finish what was left, then carry out orders until cancelled.

        When cancelled, the step in hand may end and what was done is taken back, within `Limits.stop_seconds`; what is
        cut off then is finished by the next daemon.
        """
        worker = asyncio.create_task(self._carry_on(), name="repairs")  # outlives the cancellation by its grace
        try:
            await asyncio.shield(worker)
        except asyncio.CancelledError:
            self._interrupted.set()
            self._wake.set()
            await asyncio.wait({worker}, timeout=self._parts.limits.stop_seconds)
            raise
        finally:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
            self._lock.release()
        raise AssertionError("the worker ends only when it is interrupted")

    # The worker: everything below runs in its task.

    async def _carry_on(self) -> None:
        await self._finish_what_was_left()
        while not self._interrupted.is_set():
            self._busy = False
            await self._wake.wait()
            self._wake.clear()
            self._busy = True
            await self._do_what_waits()

    async def _do_what_waits(self) -> None:
        while self._withdrawn:
            await self._refuse(self._withdrawn.pop(0), "it was withdrawn before it began")
        if self._interrupted.is_set():
            return
        if self._wanted is not None:
            order, self._wanted = self._wanted, None
            await self._carry_out(order)
            self._wake.set()  # for what was ordered or withdrawn meanwhile
            return
        decided = await self._autonomy.take(self._moment())
        if decided is None:
            return
        order, counted = decided
        if not counted:
            self._refuse_unrecorded(order, "what the host does by itself cannot be recorded: free some disk space")
            return
        await self._carry_out(order)
        await self._autonomy.settle(order.id, self._record(order.id))
        self._wake.set()

    async def _carry_out(self, order: RepairOrder) -> None:
        if self.knows(order.id):
            return
        if refusal := self._refusal(order):
            await self._refuse(order, refusal)
            return
        if not await self._take_lock(wait=False):
            await self._refuse(order, "another process repairs this host: try again when it has ended")
            return
        self._work = work = self._new_work(order)
        try:
            if order.dry_run:
                await work.end(*await rehearse(work))
            else:
                await carry_out(work)
            self._take_over(work)
        except JournalUnusable as error:  # before anything was done
            self._refuse_unrecorded(order, str(error))
        finally:
            self._work = None
            self._lock.release()

    async def _finish_what_was_left(self) -> None:
        for entry in self._parts.journal.unfinished():
            if not await self._take_lock(wait=True):
                return
            self._work = work = self._work_on(entry)
            try:
                await finish(work)
                self._take_over(work)
            finally:
                self._work = None
                self._lock.release()
            if self._interrupted.is_set():
                return
        for repair_id in self._autonomy.open_uses():
            await self._autonomy.settle(repair_id, self._record(repair_id))

    def _take_over(self, work: Work) -> None:
        """Let what happened in a repair be known beyond it."""
        self._boot_id = work.boot_id  # a reboot of virtual GPUs happens within this process
        looked_at = work.order.origin is Origin.CONTROL_PLANE and work.order.rung is not Rung.QUARANTINE
        succeeded = work.record.state is RepairState.SUCCEEDED and not work.order.dry_run
        if looked_at and succeeded and self.self_quarantined:
            self.forgive()

    # Orders that are not carried out.

    def _refusal(self, order: RepairOrder) -> str:
        if order.rung not in RUNGS:
            return f"{order.rung.name} is not for the host to do: the control plane moves jobs"
        if order.not_after is not None and self._parts.clock.now() > order.not_after:
            return f"it was not to be begun after {order.not_after.isoformat()}"
        if not is_safe_id(order.id):
            return "its id cannot be recorded: letters, digits, dot, dash and underscore, at most 100"
        return ""

    async def _refuse(self, order: RepairOrder, message: str) -> None:
        if is_safe_id(order.id):
            await self._new_work(order).end(RepairState.REFUSED, message)
        else:
            self._refuse_unrecorded(order, message)

    def _refuse_unrecorded(self, order: RepairOrder, message: str) -> None:
        """Refuse what cannot be recorded; this daemon at least does not try it again."""
        self._unrecorded[order.id] = None
        for oldest in list(self._unrecorded)[:-_MAXIMUM_REMEMBERED]:
            del self._unrecorded[oldest]
        log.error("repair.refused", repair_id=printable(order.id, 100), reason=message)
        self._emit(self._unbegun(order, RepairState.REFUSED, message))

    def _unbegun(self, order: RepairOrder, state: RepairState, message: str) -> RepairRecord:
        now = self._parts.clock.now()
        return RepairRecord(
            order=order,
            state=state,
            message=printable(message, MAXIMUM_MESSAGE),
            started_at=now,
            boot_id=self._boot_id,
            ended_at=now if state.ended else None,
        )

    # Small things.

    def _record(self, repair_id: str) -> RepairRecord | None:
        return next((record for record in self.records() if record.order.id == repair_id), None)

    def _new_work(self, order: RepairOrder) -> Work:
        return self._work_on(Entry(self._parts.journal.next_serial(), self._unbegun(order, RepairState.PENDING, "")))

    def _work_on(self, entry: Entry) -> Work:
        return Work(entry, self._parts, boot_id=self._boot_id, interrupted=self._interrupted, emit=self._emit)

    async def _take_lock(self, *, wait: bool) -> bool:
        while True:
            try:
                holder = self._lock.acquire()
            except OSError as error:
                log.error("repair.lock_unusable", error=str(error), todo="fix the owner of its directory")  # noqa: TRY400 - the reason is whole
                holder = 0
            if holder is None:
                return True
            if not wait or self._interrupted.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOCK_PAUSE_SECONDS):
                    await self._interrupted.wait()

    def _moment(self) -> Moment:
        clock = self._parts.clock
        return Moment(clock.now(), clock.monotonic(), self._boot_id)
