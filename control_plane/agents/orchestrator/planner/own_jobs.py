"""Goals that change the size of "my training": which of the caller's own jobs is meant. Pure: the caller reads them."""

import re
from collections.abc import Sequence
from dataclasses import replace

from control_plane.agents.orchestrator.planner.assemble import summarise
from control_plane.agents.orchestrator.planner.known_names import KnownJob
from control_plane.model.plan import Evidence, Intent, Plan, Question, QuestionReason

_TEXT_CHARS_MAX = 2_000
_MINE = re.compile(
    r"\b(?:my|our|mein(?:e|en)?|mon|ma|mi|mio|minha|meu)\s+(?:\w+\s+){0,2}?"
    r"(?P<what>jobs?|runs?|train(?:ing|ings)?|goals?|tasks?|experiments?|fine-?tun(?:e|ing)|batch|sweep|benchmark|"
    r"entrenamiento|entrainement|addestramento|treinamento)\b(?!\s+(?:pool|cluster|queue|partition|fleet|nodes?|hosts?))",
    re.IGNORECASE,
)
_KINDS = (("train", "train"), ("fine", "tun"), ("batch", "batch"), ("sweep", "sweep"), ("bench", "bench"))
"""How a kind of work is spoken of, and what is then in the names of its jobs."""


def is_wanted(plan: Plan, text: str) -> bool:
    """Whether a goal changes the size of a job of the caller's own that its plan does not name."""
    named = plan.targets.job_ids or plan.targets.pool or plan.targets.nodes
    if plan.intent is not Intent.SCALE or plan.refusal or plan.infeasible or named:
        return False
    return len(text) <= _TEXT_CHARS_MAX and speaks_of_own(text)


def speaks_of_own(text: str) -> bool:
    """Whether a text speaks of a job of the caller's own."""
    return _MINE.search(text) is not None


def with_own_job(plan: Plan, text: str, live: Sequence[KnownJob]) -> Plan:
    """Return the plan about the one job that is meant, or with a question where there are several."""
    match = _MINE.search(text)
    if match is None or plan.targets.job_ids or not live:
        return plan
    what = match["what"].lower()
    part = next((name for said, name in _KINDS if what.startswith(said)), "")
    meant = [job for job in live if part and part in job.name.lower()] or list(live)
    if len(meant) > 1:
        listed = ", ".join(f"{job.name} ({job.id}, {job.state})" for job in meant)
        text = f"Which of your jobs is meant: {listed}? Name its id."
        return replace(plan, questions=(*plan.questions, Question("job_ids", text, QuestionReason.MISSING)))
    start, end = match.span("what")
    why = Evidence("targets.job_ids", text[start:end], start, end)
    plan = replace(plan, targets=replace(plan.targets, job_ids=(meant[0].id,)), evidence=(*plan.evidence, why))
    return replace(plan, summary=summarise(plan))
