"""How a plan looks to a person: each field with the words that it came from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orquanta.cli.formats import moment, money, one_line, size, span
from orquanta.cli.output import Output
from orquanta.types.goals import Evidence, Plan, PlannedJob, Preview

_COMMAND_WIDTH = 80
_FIELD = re.compile(r"(?:jobs\[(\d+)\]\.)?(?:\w+\.)*(\w+)")


@dataclass(frozen=True, slots=True)
class _Row:
    """A field of the plan; evidence calls it by one of `names`, within job `job` if that is set."""

    label: str
    value: str
    names: frozenset[str]
    job: int | None = None

    def claims(self, entry: Evidence) -> bool:
        match = _FIELD.fullmatch(entry.field)
        if match is None:
            return False
        job = None if match[1] is None else int(match[1])
        return match[2] in self.names and (job is None or job == self.job)


def print_preview(output: Output, preview: Preview) -> None:
    """How a text is understood, and what that would reserve."""
    plan = preview.plan
    output.say(plan.summary or f"A goal of the kind {plan.intent!r}.")
    output.say()
    output.table(("field", "understood", "from the words"), plan_rows(plan), empty="Nothing was understood.")
    for question in plan.questions:
        output.say(f"? {question.field}: {question.text}")
    for note in plan.notes:
        output.say(f"! {note}")
    for problem in (plan.refusal, plan.infeasible):
        if problem:
            output.say(f"Would not run: {problem}")
    output.say()
    output.say(f"Would reserve at most {money(preview.estimate_usd)}. Nothing was run. Planner: {plan.planner}.")


def plan_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Field, value and words; words that no shown field claims come last, so that none is hidden."""
    rows = [row for row in _fields(plan) if row.value]
    table = [(row.label, row.value, _words(entry for entry in plan.evidence if row.claims(entry))) for row in rows]
    unclaimed = [entry for entry in plan.evidence if not any(row.claims(entry) for row in rows)]
    return table + [(entry.field, "", _words([entry])) for entry in unclaimed]


def _words(evidence: Iterable[Evidence]) -> str:
    return ", ".join(dict.fromkeys(one_line(entry.text) for entry in evidence))


def _fields(plan: Plan) -> list[_Row]:
    rows = [_row("intent", plan.intent)]
    for index, job in enumerate(plan.jobs):
        prefix = f"{job.name}: " if len(plan.jobs) > 1 else ""
        rows += _job_fields(prefix, index, job)
    budget = plan.budget_text or (money(plan.budget_usd) if plan.budget_usd is not None else "")
    return [
        *rows,
        _row("budget", budget, "budget_usd", "budget_text"),
        _row("deadline", moment(plan.deadline) if plan.deadline else "", "deadline_at"),
        _row("spot", plan.spot),
        _row("providers", ", ".join(plan.providers)),
        _row("regions", ", ".join(plan.regions)),
        _row("priority", plan.priority),
        _row("plan only", "yes" if plan.plan_only else "", "plan_only"),
    ]


def _job_fields(prefix: str, index: int, job: PlannedJob) -> list[_Row]:
    needs = job.resources
    memory = size(needs.min_gpu_memory_bytes) if needs.min_gpu_memory_bytes else ""
    limit = span(job.max_runtime_seconds) if job.max_runtime_seconds else ""
    excluded = ", ".join(needs.exclude_gpu_types)
    fields = (
        ("GPUs", str(needs.gpu_count or ""), ("count", "gpu_count", "gpus_per_node", "replicas")),
        ("GPU type", ", ".join(needs.gpu_types), ("gpu_type", "gpu_types", "alternative_types")),
        ("GPU memory", memory, ("min_memory_bytes", "min_gpu_memory_bytes")),
        ("not on", excluded, ("exclude_types", "exclude_gpu_types")),
        ("nodes", str(needs.node_count or ""), ("nodes", "node_count")),
        ("image", job.image, ("image",)),
        ("command", one_line(job.command, _COMMAND_WIDTH), ("command",)),
        ("template", job.template, ("template",)),
        ("time limit", limit, ("max_seconds", "max_runtime_seconds")),
        ("after", ", ".join(job.depends_on), ("depends_on", "condition")),
    )
    return [_Row(prefix + label, value, frozenset(names), index) for label, value, names in fields]


def _row(label: str, value: str, *names: str) -> _Row:
    return _Row(label, value, frozenset((label, *names)))
