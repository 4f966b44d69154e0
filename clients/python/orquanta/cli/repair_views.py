"""How repairs look to a person: their steps, and what the verification found."""

from collections.abc import Mapping

from orquanta.cli.formats import clock, elapsed, one_line, precise, words
from orquanta.cli.output import Output
from orquanta.types.repairs import CheckOutcome, Repair, RepairOrigin, RepairStep, VerificationCheck

PROGRESS_COLUMNS = ("what", "result", "took", "detail")
_DETAIL_WIDTH = 90


def repair_title(repair: Repair, gpus: Mapping[str, str]) -> str:
    """`reset gpu of GPU 3 (dry run)`."""
    what = words(repair.rung)
    if repair.service:
        what += f" {repair.service}"
    if repair.gpu_uuids:
        what += " of " + ", ".join(gpus.get(uuid, uuid) for uuid in repair.gpu_uuids)
    return what + (" (dry run)" if repair.dry_run else "")


def print_repair(output: Output, repair: Repair, gpus: Mapping[str, str], *, brief: bool = False) -> None:
    """A repair with its steps and checks; in brief only those that failed."""
    took = elapsed(repair.started_at, repair.ended_at)
    state = words(repair.state).upper() if repair.state.ended else words(repair.state)
    output.say(f"  {clock(repair.started_at)}  {repair.id}  {repair_title(repair, gpus)}: {state}, {took}")
    if repair.origin is RepairOrigin.LOCAL_POLICY:
        output.block(f"decided by the host itself, under its local policy {repair.policy_version}", indent=18)
    if repair.message:
        output.block(repair.message, indent=18)
    for cells in progress_rows(repair):
        if not brief or cells[1] == "FAILED":
            name, result, spent, detail = cells
            line = f"{result:<11} {spent:>7}  {name}"
            output.say(" " * 18 + (f"{line}: {detail}" if detail else line))
    if repair.handoff_json:
        output.block("left a hand-off report: orquanta incident show INCIDENT --handoff", indent=18)


def progress_rows(repair: Repair) -> list[tuple[str, str, str, str]]:
    """One row for each step, then for each check, under `PROGRESS_COLUMNS`."""
    return [*(step_row(step) for step in repair.steps), *(check_row(check) for check in repair.checks)]


def step_row(step: RepairStep) -> tuple[str, str, str, str]:
    """What was done, and whether it worked."""
    name = f"undo: {step.name}" if step.undo else step.name
    return one_line(name), "ok" if step.ok else "FAILED", precise(step.took_seconds), _detail(step.detail)


def check_row(check: VerificationCheck) -> tuple[str, str, str, str]:
    """What was tested, and what was found."""
    result = "FAILED" if check.outcome is CheckOutcome.FAILED else words(check.outcome)
    return f"check {one_line(check.name)}", result, precise(check.took_seconds), _detail(check.detail)


def _detail(text: str) -> str:
    return one_line(text, _DETAIL_WIDTH)
