"""The host's own decisions while it is alone: taken purely, counted on disk, and only then carried out."""

import uuid
from typing import Final

import structlog

from node_agent.health.model import Rung
from node_agent.probe.bounded.threads import NoThread, Stuck
from node_agent.repair import alone
from node_agent.repair.alone import Climb, Moment, Use
from node_agent.repair.model import LocalPolicy, Origin, RepairOrder, RepairRecord, RepairState
from node_agent.repair.parts import Parts
from node_agent.repair.text import printable
from node_agent.repair.uses import UseBook

log = structlog.get_logger()

_FILE: Final = "alone/uses"
_SAVE_SECONDS: Final = 30.0


class Autonomy:
    """At most one decision waits at a time."""

    def __init__(self, parts: Parts, moment: Moment) -> None:
        self._parts = parts
        self._book = UseBook(parts.journal.directory / _FILE, moment)
        self._decided: tuple[Climb, RepairOrder] | None = None
        self._said = ""
        self._unsaved = False

    @property
    def quarantined(self) -> bool:
        """Whether the host has given itself up."""
        return alone.is_quarantined(self._book.uses)

    def link_is_up(self) -> None:
        """Drop what was decided and not begun: the control plane decides again."""
        self._said = ""
        self._decided = None

    def consider(self, policy: LocalPolicy | None, moment: Moment, *, link_down_seconds: float) -> bool:
        """Decide; say whether something is to be done. Why nothing is done is logged once."""
        if self._decided is not None:
            return True
        choice = alone.decide(
            self._parts.health.conditions(),
            self._book.uses,
            policy,
            self._parts.jobs.jobs(),
            moment,
            node_id=self._parts.node_id,
            link_down_seconds=link_down_seconds,
        )
        if isinstance(choice, Climb):
            assert policy is not None
            self._said = ""
            self._decided = (choice, _order(choice, policy))
            return True
        if choice.reason != self._said:
            self._said = choice.reason
            if choice.reason:
                log.warning("repair.only_watching", reason=choice.reason)
        return False

    async def take(self, moment: Moment) -> tuple[RepairOrder, bool] | None:
        """Return what was decided, and whether it could be counted; what could not must not be done."""
        if self._unsaved:
            await self._save()
        if self._decided is None:
            return None
        (climb, order), self._decided = self._decided, None
        self._book.add(Use(order.id, climb.rung, climb.condition.id, moment), moment)
        log.warning("repair.alone", rung=climb.rung.name, condition=climb.condition.id, reason=climb.reason)
        if await self._save():
            return order, True
        self._book.settle(order.id, RepairState.REFUSED, None)
        return order, False

    async def settle(self, repair_id: str, record: RepairRecord | None) -> None:
        """Note what became of a use. Without a record it was never begun. One cut off is no reason to climb."""
        if record is not None and not record.state.ended:
            return  # it goes on after a reboot
        ids = record.order.condition_ids if record is not None else ()
        found = [condition for condition in self._parts.health.conditions() if condition.id in ids]
        cut_off = record is None or self._parts.journal.was_cut_off(repair_id)
        state = RepairState.REFUSED if record is None or cut_off else record.state
        self._book.settle(repair_id, state, found[0] if found else None)
        await self._save()

    def open_uses(self) -> tuple[str, ...]:
        """Return the ids of the repairs whose end is not noted yet."""
        return tuple(use.repair_id for use in self._book.uses if use.outcome is None)

    def forgive(self) -> None:
        """End the host's quarantine of itself; on disk with the next `take`."""
        self._book.forgive()
        self._unsaved = True

    async def _save(self) -> bool:
        try:
            await self._parts.threads.call("repair uses", self._book.save, _SAVE_SECONDS)
        except (OSError, Stuck, NoThread) as error:
            log.error("repair.uses_not_stored", error=str(error), todo="free some disk space")  # noqa: TRY400 - the reason is whole
            return False
        self._unsaved = False
        return True


def _order(climb: Climb, policy: LocalPolicy) -> RepairOrder:
    condition = climb.condition
    return RepairOrder(
        id=f"r-local-{uuid.uuid4().hex[:16]}",
        rung=climb.rung,
        origin=Origin.LOCAL_POLICY,
        reason=printable(climb.reason),
        gpu_uuids=(condition.gpu_uuid,) if condition.gpu_uuid else (),
        service=condition.service if climb.rung is Rung.RESTART_SERVICE else "",
        process_ids=condition.process_ids if climb.rung is Rung.STOP_PROCESS else (),
        condition_ids=(condition.id,),
        policy_version=policy.version,
        may_stop_jobs=climb.may_stop_jobs,
    )
