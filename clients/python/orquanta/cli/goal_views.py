"""How goals and bills look to a person."""

from collections.abc import Iterable

from orquanta.cli.formats import elapsed, gpus, moment, money, one_line, or_dash, span, words
from orquanta.cli.output import Output
from orquanta.types.goals import Bill, Goal, GoalState, GoalView
from orquanta.types.jobs import Job

JOB_COLUMNS = ("job", "name", "state", "gpus", "nodes", "elapsed", "cost", "why")
_WHY_WIDTH = 60


def print_goal(output: Output, view: GoalView) -> None:
    """A goal with what came of it."""
    goal = view.goal
    output.fields(
        [
            ("goal", goal.id),
            ("text", goal.text),
            ("state", words(goal.state)),
            ("why", goal.status_reason if goal.status_reason != goal.result else ""),
            ("plan", goal.plan.summary if goal.plan else ""),
            ("by", goal.user_email),
            ("submitted", moment(goal.created_at)),
            ("changed", moment(goal.updated_at)),
            ("run", goal.run_id),
            ("result", goal.result),
        ]
    )
    if view.jobs:
        output.say()
        output.table(JOB_COLUMNS, job_rows(view.jobs), empty="")
    if goal.bill.lines or goal.bill.cost_usd or goal.bill.reserved_usd:
        output.say()
        print_bill(output, goal.bill)
    if goal.run_id:
        output.note(f"What was thought and done for it: orquanta agent run {goal.run_id}")
    for line in (*plan_notes(goal), *next_steps(goal)):
        output.note(line)


def plan_notes(goal: Goal) -> tuple[str, ...]:
    """What a person should know of a goal that is on its way; its result tells what came of it."""
    return goal.plan.notes if goal.plan is not None and not goal.state.ended else ()


def next_steps(goal: Goal) -> list[str]:
    """What a person has to do for the goal to go on; empty if nothing."""
    if goal.state is GoalState.NEEDS_INPUT and goal.plan is not None:
        answers = " ".join(f"{question.field}='...'" for question in goal.plan.questions)
        return [
            *(f"? {question.text}" for question in goal.plan.questions),
            f"Answer with: orquanta goal answer {goal.id} {answers}",
        ]
    if goal.state is GoalState.AWAITING_APPROVAL:
        return [
            "Somebody other than you must approve it; who and how many: orquanta action list --waiting",
            "Alone? Make an operator with `orquanta user create`, or raise the server's --approval-above-usd.",
        ]
    return []


def job_rows(jobs: Iterable[Job]) -> list[tuple[str, ...]]:
    """One row for each job, under `JOB_COLUMNS`."""
    return [
        (
            job.id,
            job.spec.name,
            words(job.state),
            gpus(job.spec.resources.gpu_count, job.spec.resources.gpu_types),
            or_dash(node_names(job)),
            elapsed(job.started_at, job.finished_at),
            money(job.cost_usd or job.reserved_usd) if job.state.ended else f"<= {money(job.reserved_usd)}",
            one_line(job.status_reason, _WHY_WIDTH),
        )
        for job in jobs
    ]


def node_names(job: Job) -> str:
    """The nodes of the newest attempt."""
    if not job.allocations:
        return ""
    return ", ".join(dict.fromkeys(member.node_name or member.node_id for member in job.allocations[-1].members))


def print_bill(output: Output, bill: Bill) -> None:
    """What was charged, line by line."""
    if bill.lines:
        _print_lines(output, bill)
    total = f"Bill: {money(bill.cost_usd)} for {span(bill.gpu_seconds)} of GPU time"
    if bill.reserved_usd:
        total += f", {money(bill.reserved_usd)} still reserved"
    if bill.waived_gpu_seconds:
        total += f", {span(bill.waived_gpu_seconds)} lost to the fleet's own faults and not charged"
    output.say(total)


def _print_lines(output: Output, bill: Bill) -> None:
    output.table(
        ("job", "attempt", "gpus", "gpu time", "price", "cost"),
        [
            (
                line.job_name or line.job_id,
                str(line.epoch),
                gpus(line.gpu_count, (line.gpu_type,) if line.gpu_type else ()),
                span(line.gpu_seconds),
                f"{money(line.price_usd_per_gpu_hour)}/h",
                "waived" if line.waived else money(line.cost_usd),
            )
            for line in bill.lines
        ],
        empty="",
    )
