"""REBOOT_HOST: on the disk first, then `systemctl reboot`; the daemon of the next boot finds it and verifies."""

from typing import Final

from node_agent.health.model import Rung
from node_agent.repair.errors import StepFailed, StillGoingOn
from node_agent.repair.journal import ACTED
from node_agent.repair.ports import RepairGpu
from node_agent.repair.rungs import clearing
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.toolbox import Action
from node_agent.repair.work import Work

_ORDERED_AT: Final = "ordered_at"
"""Mark: CLOCK_MONOTONIC when the reboot was ordered, which all processes of one boot share."""
MAXIMUM_REBOOTS: Final = 3
"""Reboots by repairs within `REBOOT_PERIOD_SECONDS`; whoever orders more has lost the overview."""
REBOOT_PERIOD_SECONDS: Final = 3_600.0


class RebootHost:
    """Reboots the host."""

    rung = Rung.REBOOT_HOST
    timeout_seconds = 1_200.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:  # noqa: ARG002 - the rung's shape
        """The whole host."""
        return None

    async def preconditions(self, work: Work) -> list[Precondition]:
        """No job is on the host, and it was not rebooted again and again."""
        missing = work.parts.hands.missing(Action.REBOOT)
        now = work.parts.clock.now()
        recent = [
            record
            for record in work.parts.journal.records()
            if record.order.rung is Rung.REBOOT_HOST
            and record.order.id != work.order.id
            and not record.order.dry_run
            and record.steps
            and abs((now - record.started_at).total_seconds()) < REBOOT_PERIOD_SECONDS
        ]
        return [
            Precondition("systemctl is there", not missing, missing or "found"),
            clearing.no_jobs(work, None),
            Precondition(
                "it does not reboot in a circle",
                len(recent) < MAXIMUM_REBOOTS,
                f"{len(recent)} reboots within the last hour; {MAXIMUM_REBOOTS} are allowed",
            ),
        ]

    async def plan(self, work: Work) -> list[str]:
        """Stop jobs, reboot, verify after boot."""
        return [
            *(f"stop job {job.job_id}" for job in clearing.affected_jobs(work, None)),
            work.parts.hands.describe(Action.REBOOT),
            "after boot: verify under load",
        ]

    async def carry_out(self, work: Work) -> None:
        """Order the reboot and wait to be ended by it. Returns only where the host came back in this process."""
        await clearing.stop_affected_jobs(work, None)
        marks = {ACTED: "begun", _ORDERED_AT: repr(work.parts.clock.monotonic())}
        try:
            await work.step(
                "reboot",
                lambda: work.parts.hands.do(Action.REBOOT, repair_id=work.order.id),
                marks=marks,
                done={ACTED: "done"},
            )
        except StepFailed as error:
            if work.interrupted.is_set():  # the shutdown that it ordered ended the command, and is ending the daemon
                raise StillGoingOn("the reboot ends the daemon") from error
            raise
        virtual = work.parts.hardware.virtual
        if virtual is not None and not work.parts.hands.runs_tools(Action.REBOOT):
            work.boot_id = await virtual.reboot()
            return
        await work.pause(work.parts.limits.reboot_seconds)
        if work.interrupted.is_set():
            raise StillGoingOn("the reboot ends the daemon")
        raise StepFailed(_not_rebooted(work.parts.limits.reboot_seconds))

    async def conclude(self, work: Work) -> Conclusion:
        """Another boot: it was rebooted. The same boot: it may still come, until its time is over."""
        acted = work.entry.marks.get(ACTED, "")
        if work.boot_id != work.record.boot_id:
            if acted:
                return Conclusion(verify=True, message="the host was rebooted")
            return Conclusion(verify=True, message="the host was rebooted by somebody else in the midst of the repair")
        if not acted:
            return Conclusion(verify=False, message="it was cut off before the reboot was ordered; nothing was done")
        left = self._seconds_left(work)
        if left > 0:
            await work.pause(left)
            if work.interrupted.is_set():
                raise StillGoingOn("the reboot ends the daemon")
        return Conclusion(verify=False, message=_not_rebooted(work.parts.limits.reboot_seconds))

    def scope(self, work: Work) -> Scope:
        """All GPUs, under load."""
        return Scope(tuple(work.parts.hardware.gpus()), load=True)

    @staticmethod
    def _seconds_left(work: Work) -> float:
        try:
            ordered_at = float(work.entry.marks.get(_ORDERED_AT, "nan"))
        except ValueError:
            return 0.0
        waited = work.parts.clock.monotonic() - ordered_at
        limit = work.parts.limits.reboot_seconds
        return limit - waited if 0 <= waited <= limit else 0.0


def _not_rebooted(seconds: float) -> str:
    return (
        f"the host is still in the same boot {seconds:.0f} s after the reboot was ordered: "
        "see journalctl, then reboot it by hand"
    )
