"""What may follow from what a model reads in a goal: more questions or a refusal, never more than rules allow."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

from control_plane.agents.orchestrator.planner.model_reading import Reading
from control_plane.model.money import format_usd
from control_plane.model.plan import LAUNCH_INTENTS, Intent, Plan, Question, QuestionReason, Refusal

RULES: Final = "rules"

_NEAR: Final = timedelta(minutes=2)
"""A time such as "in 3 hours" is read once when the goal comes and once when the model has answered."""


def cross_check(rules: Plan, reading: Reading | None, *, model: str, answered: frozenset[str] = frozenset()) -> Plan:
    """Return the rules' plan, with a model's doubts added: questions where both disagree, or a refusal.

    Nothing else of it changes. `answered` are the fields that the person has been asked about already.
    """
    if reading is None:
        return replace(rules, planner=RULES)
    plan = replace(rules, planner=model or RULES)
    if rules.refusal is not None:
        return plan
    if reading.refusal is not None:
        why = "a model took it for something that must not be done; say it in other words if it did not mean that"
        return replace(plan, refusal=Refusal(reading.refusal, why))
    asked = {question.field for question in rules.questions}
    added: list[Question] = []
    for question in (*_disagreements(rules, reading), *_open_questions(rules, reading)):
        if question.field not in asked and question.field not in answered:
            asked.add(question.field)
            added.append(question)
    return replace(plan, questions=(*rules.questions, *added))


def _disagreements(rules: Plan, reading: Reading) -> Iterator[Question]:
    if reading.intent is not None and _kind(reading.intent) != _kind(rules.intent):
        yield _contradiction(
            "intent", f"This reads as {rules.intent.value} by rules and as {reading.intent.value} by a model."
        )
        return
    launches = rules.intent in LAUNCH_INTENTS
    count = _count(rules)
    if launches and reading.gpu_count is not None and reading.gpu_count != count:
        yield _contradiction(
            "gpu_count", f"This reads as {count or 'no number of'} GPUs by rules and as {reading.gpu_count} by a model."
        )
    kinds = {job.gpu.gpu_type for job in rules.jobs}
    if launches and reading.gpu_type is not None and len(kinds) == 1 and reading.gpu_type not in kinds:
        known = next(iter(kinds)) or "any GPU"
        yield _contradiction("gpu_type", f"This reads as {known} by rules and as {reading.gpu_type} by a model.")
    yield from _money(rules, reading)
    yield from _times(rules, reading)


def _money(rules: Plan, reading: Reading) -> Iterator[Question]:
    said = rules.constraints.budget
    if reading.budget is not None and (said is None or said.amount_usd != reading.budget.amount_usd):
        if said is None and rules.constraints.rate_cap is not None:
            return
        known = "no budget" if said is None else format_usd(said.amount_usd)
        yield _contradiction(
            "budget", f"This reads as {known} by rules and as {format_usd(reading.budget.amount_usd)} by a model."
        )


def _times(rules: Plan, reading: Reading) -> Iterator[Question]:
    deadline = rules.constraints.deadline_at
    known_times = [one for one in (deadline, rules.constraints.start_at) if one is not None]
    if reading.deadlines and not any(abs(one - at) < _NEAR for one in reading.deadlines for at in known_times):
        known = "no deadline" if deadline is None else f"{deadline:%Y-%m-%d %H:%M} UTC"
        other = f"{reading.deadlines[0]:%Y-%m-%d %H:%M} UTC"
        yield _contradiction("deadline", f"This reads as {known} by rules and as {other} by a model.")
    seconds = {job.max_seconds for job in rules.jobs}
    if reading.max_seconds is not None and len(rules.jobs) == 1 and reading.max_seconds not in seconds:
        first = next(iter(seconds))
        known = "no time limit" if first is None else f"{first / 3600:g} hours"
        yield _contradiction(
            "max_hours", f"This reads as {known} by rules and as {reading.max_seconds / 3600:g} hours by a model."
        )


def _open_questions(rules: Plan, reading: Reading) -> Iterator[Question]:
    """Return what the model asks about that the rules know nothing of."""
    known = {
        "intent": rules.intent is not Intent.AMBIGUOUS,
        "gpu_count": _count(rules) is not None or rules.intent not in LAUNCH_INTENTS,
        "gpu_type": any(job.gpu.gpu_type for job in rules.jobs) or rules.intent not in LAUNCH_INTENTS,
        "budget": rules.constraints.budget is not None,
        "deadline": rules.constraints.deadline_at is not None,
        "max_hours": any(job.max_seconds for job in rules.jobs),
        "job_ids": bool(rules.targets.job_ids) or rules.targets.all_of_mine,
        "node": bool(rules.targets.nodes),
        "pool": rules.targets.pool is not None,
        "command": any(job.command for job in rules.jobs),
        "image": any(job.image for job in rules.jobs),
    }
    yield from (question for question in reading.questions if not known.get(question.field, True))


def _kind(intent: Intent) -> str:
    if intent in LAUNCH_INTENTS:
        return "launch"
    return "ask" if intent in (Intent.QUERY, Intent.COST) else intent.value


def _count(rules: Plan) -> int | None:
    counts = [job.gpu.count for job in rules.jobs]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _contradiction(field: str, text: str) -> Question:
    return Question(field, f"{text} Which is right?", QuestionReason.CONTRADICTION)
