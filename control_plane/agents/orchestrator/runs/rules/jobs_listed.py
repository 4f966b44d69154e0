"""Lists of jobs by rules: those in the state and of the time that a question asks for."""

import re

from control_plane.agents.orchestrator.runs.moves import Call, Move
from control_plane.agents.orchestrator.runs.rules.answering import answered
from control_plane.agents.orchestrator.runs.view import Json, RunView
from control_plane.agents.orchestrator.zones import zone_of
from control_plane.model.run_step import Outcome

_SHOWN = 10
_LOOKED_AT = 100  # jobs among which those of a time are looked for
_ASKED = re.compile(
    r"\b(which|what|list|show|any|how many|whose|all)\b.{0,40}?\b(?:jobs|runs|trainings|experiments)\b|"
    r"\b(which|any) (?:\w+ ){0,2}(?:job|run|training)\b",
    re.IGNORECASE,
)
_WHY = re.compile(r"\bwhy\b", re.IGNORECASE)
_STATES = (
    ("running", re.compile(r"\b(running|active|in progress|going on)\b", re.IGNORECASE)),
    ("failed", re.compile(r"\b(failed|crashed|died|broke|failing)\b", re.IGNORECASE)),
    ("succeeded", re.compile(r"\b(succeeded|finished|done|completed?|successful)\b", re.IGNORECASE)),
    ("cancelled", re.compile(r"\b(cancell?ed|stopped|aborted|killed)\b", re.IGNORECASE)),
)
"""How a list of jobs in one state is asked for."""


def is_asked(text: str) -> bool:
    """Whether a question asks for a list of jobs, and not why one of them is as it is."""
    return _ASKED.search(text) is not None and _WHY.search(text) is None


def decide(view: RunView, text: str, *, mine: bool) -> Move:
    """Return the call that the list needs, or the list."""
    state = next((name for name, pattern in _STATES if pattern.search(text)), None)
    period = _period(view)
    arguments: dict[str, object] = {"limit": _SHOWN if period is None else _LOOKED_AT}
    arguments |= ({"user": "me"} if mine else {}) | ({} if state is None else {"state": state})
    found = view.look("list_jobs", arguments)
    if found is None:
        return Call("list_jobs", arguments, "see the jobs")
    jobs = [one for one in found.data.get("jobs", ()) if isinstance(one, dict) and _within(one, period)]
    when = "" if period is None else f" {period[2]}"
    whose = "your jobs" if mine else "jobs"
    one = len(jobs) < 2  # noqa: PLR2004 - one job is, several are
    verb = ("is" if one else "are") if state == "running" else ("has" if one else "have")
    how = "" if state is None else f" {verb} {state}"
    if not jobs:
        return answered(view, f"{'None of your jobs' if mine else 'No job'}{how or ' is known'}{when}.")
    more = " or more" if found.data.get("next_page") else ""
    head = f"{len(jobs)}{more} of {whose}{how}{when}:" if state or period else ""
    lines = "\n".join(f"- {job_words(one)}" for one in jobs[:_SHOWN])
    return answered(view, "\n".join(filter(None, (head, lines))))


def _period(view: RunView) -> tuple[str, str, str] | None:
    """Return since when and until when, and how a person calls that, if the question says so."""
    # The planner's patterns are compiled by the first goal; after a restart this question may be the first.
    from control_plane.agents.orchestrator.planner.periods import read_period  # noqa: PLC0415 - see above

    if view.goal is None:
        return None
    found = read_period(view.goal.text, view.goal.created_at, zone_of(view.goal.timezone))
    return None if found is None else (f"{found.since:%FT%TZ}", f"{found.until:%FT%TZ}", found.words)


def _within(job: Json, period: tuple[str, str, str] | None) -> bool:
    """Whether the newest that is known of a job lies in a period; times of a result are all written alike."""
    if period is None:
        return True
    newest = str(job.get("finished_at") or job.get("started_at") or job.get("created_at") or "")
    return period[0] <= newest <= period[1]


def job_lines(found: Outcome) -> str:
    """Return a line for each job of a tool's list."""
    return "\n".join(f"- {job_words(one)}" for one in found.data.get("jobs", ()) if isinstance(one, dict))


def job_words(job: Json) -> str:
    """Return how a job is and what it has cost."""
    reason = f": {job.get('reason')}" if job.get("reason") else ""
    return f"{job.get('name')} ({job.get('id')}) is {job.get('state')}{reason}; cost so far ${job.get('cost_usd')}."
