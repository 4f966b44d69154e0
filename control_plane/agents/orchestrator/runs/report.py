"""What a run tells at its end, made by code from what was recorded. Pure."""

from control_plane.agents.orchestrator.runs.bounds import RESULT_CHARS_MAX
from control_plane.agents.orchestrator.runs.moves import Finish
from control_plane.agents.orchestrator.runs.view import RunView
from control_plane.fleet import attempts
from control_plane.fleet.remedies_words import sentence
from control_plane.model.run import RunState
from control_plane.model.run_step import Outcome, RunStep
from control_plane.model.tool import ToolEffect, ToolStatus

_LINES_MAX = 30
_LINE_CHARS = 240


def partial(view: RunView, state: RunState, why: str) -> Finish:
    """Return an honest end: why it ends here, what was found, what was done, and what is left open."""
    lines = [sentence(why)]
    read = [line for line in map(_found, view.calls()) if line]
    done = [line for line in map(_done, view.calls()) if line]
    lines += ["", "Found so far:", *read[-_LINES_MAX:]] if read else ["", "Nothing was found before that."]
    nothing = [] if view.jobs else ["", "Nothing was changed."]
    lines += ["", "Done so far:", *done[-_LINES_MAX:]] if done else nothing
    if view.jobs:
        lines += ["", "Its jobs:", *attempts.told(view.jobs, view.replans), attempts.cost(view.jobs)]
    if view.unfinished is not None and view.unfinished.intent.effect is not ToolEffect.READ:
        lines.append(f"- {view.unfinished.intent.name} was begun, and what came of it is not known; see the audit")
    return Finish(state, "\n".join(lines)[:RESULT_CHARS_MAX], why, view.evidence())


def _found(call: tuple[RunStep, Outcome]) -> str:
    step, outcome = call
    if step.intent.effect is not ToolEffect.READ:
        return ""
    shown = outcome.shown if outcome.status == ToolStatus.OK else outcome.status.replace("_", " ")
    cited = f" [{outcome.evidence_id}]" if outcome.evidence_id else ""
    return f"- {step.intent.name}: {_one_line(shown)}{cited}"


def _done(call: tuple[RunStep, Outcome]) -> str:
    step, outcome = call
    if step.intent.effect is ToolEffect.READ:
        return ""
    named = f" ({outcome.action_id})" if outcome.action_id else ""
    what = str(outcome.data.get("outcome") or outcome.data.get("error") or outcome.status.replace("_", " "))
    return f"- {step.intent.name}{named}: {_one_line(what)}"


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LINE_CHARS else flat[: _LINE_CHARS - 1] + "…"
