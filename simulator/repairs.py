"""A repair on a virtual host: taken over once by its id, done in a drawn time, tested, and reported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from orquanta.v1 import repair_pb2
from simulator.draws import Duration, dice_of
from simulator.stamps import seconds_of, stamp

VERIFY_SECONDS: Final = Duration.parse("uniform:0.5,1.5")
_REMEMBERED_MAX: Final = 64
_REBOOT: Final = repair_pb2.REPAIR_RUNG_REBOOT_HOST
_QUARANTINE: Final = repair_pb2.REPAIR_RUNG_QUARANTINE
_VERIFY: Final = repair_pb2.REPAIR_RUNG_VERIFY


@dataclass(frozen=True, slots=True)
class RepairTerms:
    """How repairs go: how long their steps take, how long a reboot takes, and how many in a thousand do not help."""

    seconds: Duration
    reboot_seconds: Duration
    failures_per_thousand: int = 0
    seed: int = 0


@dataclass(slots=True)
class Repairs:
    """The repair in progress, and which orders were taken already."""

    terms: RepairTerms
    current: repair_pb2.RepairReport | None = None
    helps: bool = False
    step_at: float = float("inf")
    """When the current repair moves on."""
    _taken: dict[str, None] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether a repair goes on."""
        return self.step_at != float("inf")

    @property
    def reboots(self) -> bool:
        """Whether the host is away for its repair now."""
        current = self.current
        return (
            self.active
            and current is not None
            and current.rung == _REBOOT
            and current.state == repair_pb2.REPAIR_STATE_RUNNING
        )

    def take(self, order: repair_pb2.RepairOrder, now: float) -> repair_pb2.RepairReport | None:
        """Take an order over; return the report about it, or None for one that was taken before or must wait."""
        if order.id in self._taken or self.active:
            return None
        self._taken[order.id] = None
        while len(self._taken) > _REMEMBERED_MAX:
            del self._taken[next(iter(self._taken))]
        report = repair_pb2.RepairReport(
            repair_id=order.id,
            incident_id=order.incident_id,
            origin=repair_pb2.REPAIR_ORIGIN_CONTROL_PLANE,
            rung=order.rung,
            gpu_uuids=order.gpu_uuids,
            service=order.service,
            dry_run=order.dry_run,
            condition_ids=order.condition_ids,
            started_at=stamp(now),
        )
        self.current = report
        if order.HasField("not_after") and seconds_of(order.not_after) < now:
            report.state = repair_pb2.REPAIR_STATE_REFUSED
            report.message = "the order came too late"
            report.ended_at.CopyFrom(stamp(now))
            return report
        dice = dice_of(self.terms.seed, order.id)
        self.helps = dice.randrange(1000) >= self.terms.failures_per_thousand
        report.state = repair_pb2.REPAIR_STATE_RUNNING
        seconds = 0.0
        if not order.dry_run and order.rung not in (_QUARANTINE, _VERIFY):
            seconds = (self.terms.reboot_seconds if order.rung == _REBOOT else self.terms.seconds).draw(dice)
        self.step_at = now + seconds
        return report

    def advance(self, now: float, still_wrong: Sequence[str]) -> repair_pb2.RepairReport | None:
        """Move on if it is time; `still_wrong`: conditions that this rung cannot end. Return the report if it did."""
        report = self.current
        if report is None or self.step_at > now:
            return None
        if report.state == repair_pb2.REPAIR_STATE_RUNNING and not report.dry_run and report.rung != _QUARANTINE:
            step = report.steps.add(name=f"simulated {_name(report.rung)}", ok=True, started_at=report.started_at)
            step.took.FromMilliseconds(int((now - seconds_of(report.started_at)) * 1000))
            report.state = repair_pb2.REPAIR_STATE_VERIFYING
            self.step_at = now + VERIFY_SECONDS.draw(dice_of(self.terms.seed, report.repair_id, "verify"))
            return report
        self._end(report, now, still_wrong)
        return report

    def _end(self, report: repair_pb2.RepairReport, now: float, still_wrong: Sequence[str]) -> None:
        self.step_at = float("inf")
        report.ended_at.CopyFrom(stamp(now))
        report.state = repair_pb2.REPAIR_STATE_SUCCEEDED
        if report.rung == _QUARANTINE:
            report.handoff_json = '{"host": "simulated"}'
            report.message = "the hand-off report is written"
        elif report.dry_run:
            report.message = "it could be done; nothing was changed"
        else:
            passed = self.helps and not still_wrong
            outcome = repair_pb2.CHECK_OUTCOME_PASSED if passed else repair_pb2.CHECK_OUTCOME_FAILED
            why = "as it must be" if passed else f"still there: {', '.join(still_wrong)}"[:200] or "drawn to fail"
            report.checks.add(name="simulated load", outcome=outcome, detail=why)
            report.message = "done, and the test under load passed" if passed else f"the test under load failed: {why}"
            report.state = repair_pb2.REPAIR_STATE_SUCCEEDED if passed else repair_pb2.REPAIR_STATE_FAILED


def _name(rung: repair_pb2.RepairRung.ValueType) -> str:
    return repair_pb2.RepairRung.Name(rung).removeprefix("REPAIR_RUNG_").lower().replace("_", " ")
