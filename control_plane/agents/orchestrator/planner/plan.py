"""The rule-based planner: a sentence in, a typed plan out. Pure: no clock, no network, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from decimal import Decimal

from control_plane.agents.orchestrator.planner.answers import answered_intent, apply_answers, read_answers
from control_plane.agents.orchestrator.planner.assemble import (
    build_constraints,
    build_evidence,
    build_jobs,
    build_targets,
    summarise,
)
from control_plane.agents.orchestrator.planner.draft import draft_goal
from control_plane.agents.orchestrator.planner.facts import GOAL, Fact
from control_plane.agents.orchestrator.planner.feasibility import find_infeasible, too_short
from control_plane.agents.orchestrator.planner.intent_words import SPENDING
from control_plane.agents.orchestrator.planner.job_facts import Draft
from control_plane.agents.orchestrator.planner.prices import FLOOR_PRICE_USD_PER_HOUR
from control_plane.agents.orchestrator.planner.questions import ask
from control_plane.agents.orchestrator.planner.reading import read
from control_plane.agents.orchestrator.planner.safety import Danger, find_danger
from control_plane.agents.orchestrator.planner.timing import Limits, Window
from control_plane.errors import InvalidArgument
from control_plane.fleet.templates import stand_in
from control_plane.model.plan import Evidence, Infeasible, InfeasibleCode, Intent, Plan, PlannedJob, Question

MAX_ANSWERS = 32


def plan_goal(
    text: str,
    *,
    now: datetime,
    timezone: tzinfo = UTC,
    fx_usd: Mapping[str, Decimal],
    floor_price_usd_per_hour: Mapping[str, Decimal] = FLOOR_PRICE_USD_PER_HOUR,
    answers: Mapping[str, str] | None = None,
) -> Plan:
    """Plan a goal.

    `now` is aware; times without a zone are read in `timezone`. `fx_usd` maps currencies to what one
    unit is worth in US dollars; `floor_price_usd_per_hour` maps GPU models to the lowest price of one
    for an hour. `answers` maps a question's field to what the person answered, in plain words too.
    Raises `InvalidArgument` for text that is blank, longer than 20,000 characters or not plain, for
    too many answers, and for a naive `now`.
    """
    answers = answers or {}
    if now.tzinfo is None:
        raise InvalidArgument("The present time has no time zone; pass an aware datetime.", reason="TIME_NOT_AWARE")
    if len(answers) > MAX_ANSWERS:
        raise InvalidArgument(
            f"At most {MAX_ANSWERS} answers fit one goal; send a new goal.", reason="TOO_MANY_ANSWERS"
        )
    shadow = read(text)
    read_in = read_answers(answers)
    sources = {GOAL: text} | {f"answer:{answer.field}": answer.text for answer in read_in}
    draft = draft_goal(shadow, now, timezone, fx_usd, answered_intent(read_in))
    draft = apply_answers(draft, read_in, now, timezone, fx_usd)
    for source, part in ((GOAL, shadow), *((f"answer:{answer.field}", answer.shadow) for answer in read_in)):
        danger = find_danger(part)
        if danger is not None:
            return _refused(draft, danger, source, sources)
    plan = _planned(draft, sources, now, floor_price_usd_per_hour)
    questions = () if plan.infeasible else ask(draft, shadow.text)
    plan = replace(plan, questions=questions, notes=() if _asks_for_commands(questions) else plan.notes)
    return replace(plan, summary=summarise(plan, about_money=bool(SPENDING.search(shadow.text))))


def _planned(draft: Draft, sources: Mapping[str, str], now: datetime, floors: Mapping[str, Decimal]) -> Plan:
    jobs = build_jobs(draft)
    constraints = build_constraints(draft)
    intent = draft.intent.value
    infeasible = find_infeasible(intent, jobs, constraints, now, floors)
    over = too_short(jobs, constraints, now) if draft.launches else None
    if infeasible is None and over is not None:
        infeasible = Infeasible(
            InfeasibleCode.DEADLINE_TOO_SHORT,
            f"The time limits overrun the deadline by {over}. Allow less time for the work, or a later deadline.",
        )
    return Plan(
        intent=intent,
        summary="",
        jobs=jobs if draft.launches else (),
        subject=None if draft.launches else jobs[0],
        constraints=constraints,
        infeasible=infeasible,
        targets=build_targets(draft),
        evidence=build_evidence(draft, sources),
        plan_only=draft.plan_only is not None,
        notes=_notes(jobs) if draft.launches else (),
    )


def _asks_for_commands(questions: Sequence[Question]) -> bool:
    return any(question.field.startswith("command") for question in questions)


def _notes(jobs: Sequence[PlannedJob]) -> tuple[str, ...]:
    """Return what a person should know of jobs for which no program is named."""
    own = [job.template for job in jobs if job.command is None and job.image is None and job.template is not None]
    return (stand_in(list(dict.fromkeys(own))),) if own else ()


def _refused(draft: Draft, danger: Danger, source: str, sources: Mapping[str, str]) -> Plan:
    """Return a plan without jobs: only what was said about GPUs and places remains, for the record."""
    job = replace(
        draft.jobs[0], intent=Intent.UNSAFE, limits=Limits(), command=None, image=None, condition=None, depends_on=()
    )
    kept = replace(draft, intent=Fact(Intent.UNSAFE, ()), jobs=(job,), window=Window(), plan_only=None)
    start, end = danger.span
    why = Evidence("refusal", sources[source][start:end], start, end, source)
    plan = Plan(
        intent=Intent.UNSAFE,
        summary="",
        subject=build_jobs(kept)[0],
        constraints=build_constraints(kept),
        refusal=danger.refusal,
        targets=build_targets(kept),
        evidence=(why, *build_evidence(kept, sources)),
    )
    return replace(plan, summary=summarise(plan))
