"""How goals, plans and bills look to a person."""

from collections.abc import Iterable

from orquanta.cli.formats import elapsed, gpus, moment, money, one_line, or_dash, span, words
from orquanta.cli.output import Output
from orquanta.types.goals import Bill, Goal, GoalState, GoalView, Plan, PlannedJob, Preview
from orquanta.types.jobs import Job

JOB_COLUMNS = ("job", "name", "state", "gpus", "nodes", "elapsed", "cost", "why")
_WHY_WIDTH = 60
_COMMAND_WIDTH = 80


def print_goal(output: Output, view: GoalView) -> None:
    """A goal with what came of it."""
    goal = view.goal
    output.fields(
        [
            ("goal", goal.id),
            ("text", goal.text),
            ("state", words(goal.state)),
            ("why", goal.status_reason),
            ("plan", goal.plan.summary if goal.plan else ""),
            ("by", goal.user_email),
            ("submitted", moment(goal.created_at)),
            ("changed", moment(goal.updated_at)),
            ("result", goal.result),
        ]
    )
    if view.jobs:
        output.say()
        output.table(JOB_COLUMNS, job_rows(view.jobs), empty="")
    if goal.bill.lines or goal.bill.cost_usd or goal.bill.reserved_usd:
        output.say()
        print_bill(output, goal.bill)
    for line in next_steps(goal):
        output.note(line)


def next_steps(goal: Goal) -> list[str]:
    """What a person has to do for the goal to go on; empty if nothing."""
    if goal.state is GoalState.NEEDS_INPUT and goal.plan is not None:
        answers = " ".join(f"{question.field}='...'" for question in goal.plan.questions)
        return [
            *(f"? {question.text}" for question in goal.plan.questions),
            f"Answer with: orquanta goal answer {goal.id} {answers}",
        ]
    if goal.state is GoalState.AWAITING_APPROVAL:
        return ["An operator other than you must approve it: orquanta action list --state awaiting_approval"]
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
    total = f"Bill: {money(bill.cost_usd)} for {span(bill.gpu_seconds)} of GPU time"
    if bill.reserved_usd:
        total += f", {money(bill.reserved_usd)} still reserved"
    if bill.waived_gpu_seconds:
        total += f", {span(bill.waived_gpu_seconds)} lost to the fleet's own faults and not charged"
    output.say(total)


def print_preview(output: Output, preview: Preview) -> None:
    """How a text is understood: each field with the words that it came from."""
    plan = preview.plan
    said = {entry.field: one_line(entry.text) for entry in plan.evidence}
    output.say(plan.summary or f"A goal of the kind {plan.intent!r}.")
    rows = [(name, value, said.get(name, "")) for name, value in plan_fields(plan) if value]
    output.say()
    output.table(("field", "understood", "from the words"), rows, empty="Nothing was understood.")
    for question in plan.questions:
        output.say(f"? {question.field}: {question.text}")
    for problem in (plan.refusal, plan.infeasible):
        if problem:
            output.say(f"Would not run: {problem}")
    output.say()
    output.say(f"Would reserve at most {money(preview.estimate_usd)}. Nothing was run. Planner: {plan.planner}.")


def plan_fields(plan: Plan) -> list[tuple[str, str]]:
    """The plan's fields under the names that evidence uses; those of one job alone have no `jobs[0].`."""
    fields = [("intent", plan.intent)]
    for index, job in enumerate(plan.jobs):
        prefix = f"jobs[{index}]." if len(plan.jobs) > 1 else ""
        fields += [(prefix + name, value) for name, value in _job_fields(job)]
    fields += [
        ("budget_usd", plan.budget_text or (money(plan.budget_usd) if plan.budget_usd is not None else "")),
        ("deadline", moment(plan.deadline) if plan.deadline else ""),
        ("spot", plan.spot),
        ("providers", ", ".join(plan.providers)),
        ("regions", ", ".join(plan.regions)),
        ("priority", plan.priority),
        ("plan_only", "yes" if plan.plan_only else ""),
    ]
    return fields


def _job_fields(job: PlannedJob) -> list[tuple[str, str]]:
    needs = job.resources
    return [
        ("name", job.name),
        ("gpu_count", str(needs.gpu_count or "")),
        ("gpu_type", ", ".join(needs.gpu_types)),
        ("node_count", str(needs.node_count or "")),
        ("exclude_gpu_types", ", ".join(needs.exclude_gpu_types)),
        ("image", job.image),
        ("command", one_line(job.command, _COMMAND_WIDTH)),
        ("template", job.template),
        ("max_runtime_seconds", span(job.max_runtime_seconds) if job.max_runtime_seconds else ""),
        ("depends_on", ", ".join(job.depends_on)),
    ]
