"""How rules end a question: the answer, and under it what it rests on."""

from datetime import datetime

from control_plane.agents.orchestrator.runs.moves import Finish
from control_plane.agents.orchestrator.runs.view import RunView
from control_plane.model.run import RunState
from control_plane.model.run_step import Outcome

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def answered(view: RunView, text: str, *, ok: bool = True) -> Finish:
    """Return the end of a run with its answer and the evidence for it."""
    cited = view.evidence()
    told = f"{text}\nEvidence: {', '.join(cited)}" if cited else text
    return Finish(RunState.SUCCEEDED if ok else RunState.FAILED, told, "" if ok else text, cited)


def trouble(found: Outcome, otherwise: str) -> str:
    """Return what a tool says went wrong."""
    return str(found.data.get("error") or otherwise)


def ago(view: RunView, moment: object) -> str:
    """Return how long before the question something was, "" for what is no time."""
    if view.goal is None or not isinstance(moment, str):
        return ""
    try:
        seconds = int((view.goal.created_at - datetime.fromisoformat(moment)).total_seconds())
    except (TypeError, ValueError):
        return ""
    if seconds < _MINUTE:
        return "just now"
    for size, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    return ""
