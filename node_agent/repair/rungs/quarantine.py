"""QUARANTINE: nothing is done to the host; a report is written for whoever takes it over."""

from pathlib import Path
from typing import Final

from node_agent.health.model import Rung
from node_agent.repair.errors import BadArgument, StepFailed
from node_agent.repair.handoff import handoff_report
from node_agent.repair.ports import RepairGpu
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.toolbox import Action
from node_agent.repair.work import Work

_MAXIMUM_REPORTS: Final = 3
"""Bug reports that are kept; each is some megabytes."""
_PREFIX: Final = "nvidia-bug-report-"


class Quarantine:
    """Writes the hand-off report. Taking the node out of service is the control plane's, or the daemon's if alone."""

    rung = Rung.QUARANTINE
    timeout_seconds = 600.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:  # noqa: ARG002 - the rung's shape
        """Nothing."""
        return ()

    async def preconditions(self, work: Work) -> list[Precondition]:  # noqa: ARG002 - the rung's shape
        """None: it changes nothing."""
        return []

    async def plan(self, work: Work) -> list[str]:
        """The bug report, if its tool is there, and the hand-off report."""
        return [_bug_report_plan(work), "write the hand-off report"]

    async def carry_out(self, work: Work) -> None:
        """Write both. A bug report that fails is said in the hand-off report and fails nothing."""
        bug_report = _bug_report_plan(work)
        if _can_bug_report(work):
            try:
                bug_report = await work.step("write the bug report", lambda: _write_bug_report(work))
            except StepFailed as error:
                bug_report = f"none: {error}"
        parts = work.parts
        wanted = set(work.order.gpu_uuids)
        await work.hand_off(
            handoff_report(
                node_id=parts.node_id,
                now=parts.clock.now(),
                reason=work.order.reason,
                gpus=parts.hardware.gpus(),
                conditions=[
                    condition
                    for condition in parts.health.conditions()
                    if not wanted or not condition.gpu_uuid or condition.gpu_uuid in wanted
                ],
                repairs=[record for record in parts.journal.records() if record.order.id != work.order.id],
                bug_report=bug_report,
            )
        )

    async def conclude(self, work: Work) -> Conclusion:
        """Only looking was done, so it is done again."""
        if not work.record.handoff_json:
            await self.carry_out(work)
        return Conclusion(verify=True, message="it was cut off and done again")

    def scope(self, work: Work) -> Scope:  # noqa: ARG002 - the rung's shape
        """Nothing is verified."""
        return Scope((), load=False)


def _can_bug_report(work: Work) -> bool:
    return work.parts.hands.runs_tools(Action.BUG_REPORT) and not work.parts.hands.missing(Action.BUG_REPORT)


def _bug_report_plan(work: Work) -> str:
    if not work.parts.hands.runs_tools(Action.BUG_REPORT):
        return "no bug report: the GPUs are virtual"
    if missing := work.parts.hands.missing(Action.BUG_REPORT):
        return f"no bug report: {missing}"
    try:
        return work.parts.hands.describe(Action.BUG_REPORT, str(_file(work)))
    except BadArgument as error:
        return f"no bug report: {error}"


def _file(work: Work) -> Path:
    return work.parts.journal.directory.absolute() / f"{_PREFIX}{work.order.id}.log.gz"


async def _write_bug_report(work: Work) -> str:
    file = _file(work)
    older = sorted(file.parent.glob(f"{_PREFIX}*"), key=lambda path: path.stat().st_mtime)
    for path in older[: max(0, len(older) - _MAXIMUM_REPORTS + 1)]:
        path.unlink(missing_ok=True)
    await work.parts.hands.do(Action.BUG_REPORT, str(file), repair_id=work.order.id)
    if not file.is_file():
        raise StepFailed(f"nvidia-bug-report.sh ended well but left no {file}")
    return str(file)
