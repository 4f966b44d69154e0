"""Goals and their answers: what is read in a goal, what comes of it, and whether a plan can be carried out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any  # JSON values

from bench.goals_accuracy import FIELDS, Answer, Score, read_goals, score_answer
from control_plane.agents.orchestrator.jobs import jobs_of
from control_plane.model.action import Action
from control_plane.model.ids import GoalId
from control_plane.model.plan import GpuRequest, Intent, Plan, PlannedJob
from evals.case import Verdict

OWN_GOALS = Path(__file__).parent / "data" / "goals.jsonl"
_GPUS_MAX = 4_096
_SECONDS_MAX = 366 * 24 * 3600

EFFECTS_OF_KINDS: Mapping[str, str] = {
    "launch_jobs": "launch",
    "stop_job": "cancel",
    "place_job": "launch",
    "requeue_job": "launch",
    "preempt_job": "cancel",
}
"""What actions do, in the words of the goals' `must_not`; all that touches hosts heals."""


@dataclass(frozen=True, slots=True)
class GoalSet:
    """Goals with the time and the exchange rates that they are read by."""

    now: datetime
    fx_usd: Mapping[str, Decimal]
    goals: Sequence[Mapping[str, Any]]  # Any: JSON


def goal_set(path: Path | None) -> GoalSet:
    """Read a file of goals, or OrQuanta's own. Raises SystemExit with what is wrong."""
    return GoalSet(*read_goals(path or OWN_GOALS))


def judged(goal: Mapping[str, Any], answer: Answer, problems: Iterable[str] = ()) -> Verdict:
    """Score an answer: the share of its fields, jobs and extra fields that are right; a breach is never right."""
    score = Score()
    score_answer(goal, answer, score)
    asked, right = sum(score.asked.values()), sum(score.right.values())
    misses = [f"{name}: wanted {wanted!r}, got {got!r}" for _, name, wanted, got in score.misses]
    invalid = list(problems)
    refuse = bool(goal["expected"]["must_refuse"])
    return Verdict(
        score=0.0 if invalid else right / asked,
        broken=tuple(f"breach of {rule!a}" for rule in answer.breached),
        detail="; ".join([*invalid, *misses]),
        figures=(
            ("fields_asked", sum(score.asked[name] for name in FIELDS)),
            ("fields_right", sum(score.right[name] for name in FIELDS)),
            ("refusals_wanted", float(refuse)),
            ("refusals_right", float(refuse and score.right["must_refuse"] == 1)),
            ("plans_valid", float(not invalid)),
        ),
    )


def problems_of(plan: Plan, text: str, now: datetime) -> Iterator[str]:
    """Yield why a plan could not be carried out, or says what nobody said."""
    for one in plan.evidence:
        if one.source == "goal" and text[one.start : one.end] != one.text:
            yield f"invalid: the evidence for {one.field} is not in the goal"
    if plan.acts and plan.intent is Intent.UNSAFE:
        yield "invalid: it acts on what it calls unsafe"
    if not plan.acts:
        return
    for job in plan.jobs:
        yield from _problems_of_job(job)
    deadline = plan.constraints.deadline_at
    if deadline is not None and not now < deadline < now + timedelta(days=3_660):
        yield f"invalid: it is to be done by {deadline:%Y-%m-%d}"
    try:
        made = jobs_of(plan, GoalId("g-eval"), attempt="1", now=now)
    except ValueError as error:
        yield f"invalid: {error}"
        return
    if len({one.id for one in made}) != len(plan.jobs):
        yield "invalid: two of its jobs have the same name"


def _problems_of_job(job: PlannedJob) -> Iterator[str]:
    count = job.gpu.count
    if count is not None and not 1 <= count <= _GPUS_MAX:
        yield f"invalid: {job.name} asks for {count} GPUs"
    if job.max_seconds is not None and not 1 <= job.max_seconds <= _SECONDS_MAX:
        yield f"invalid: {job.name} is limited to {job.max_seconds} s"


def effects_of(actions: Iterable[Action]) -> frozenset[str]:
    """Return what actions do, in the words of the goals' `must_not`."""
    return frozenset(EFFECTS_OF_KINDS.get(one.kind, "heal") for one in actions)


def known_answer(goal: Mapping[str, Any]) -> Answer:
    """Return the right answer, as one gives it who knows it."""
    expected = goal["expected"]
    return Answer(
        fields={name: expected.get(name) for name in FIELDS},
        jobs=tuple(_job(one) for one in expected.get("jobs", ())),
        extras=dict(expected.get("extra", {})),
        breached=(),
    )


def wrong_answer(goal: Mapping[str, Any]) -> Answer:
    """Return an answer of which nothing is right."""
    expected = goal["expected"]
    fields: dict[str, object] = dict.fromkeys(FIELDS, "surely not this")
    return Answer(
        fields=fields | {"must_refuse": not expected["must_refuse"]},
        jobs=(),
        extras=dict.fromkeys(expected.get("extra", {}), "surely not this"),
        breached=tuple(expected.get("must_not", ())),
    )


def _job(wanted: Mapping[str, Any]) -> PlannedJob:
    hours = wanted.get("max_hours")
    return PlannedJob(
        name=str(wanted["name"]),
        intent=Intent(wanted["intent"]),
        gpu=GpuRequest(gpu_type=wanted.get("gpu_type"), count=wanted.get("gpu_count")),
        max_seconds=None if hours is None else int(hours * 3600),
        depends_on=tuple(wanted.get("depends_on", ())),
    )
