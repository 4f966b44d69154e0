"""What memory says about repairs of such a fault: one that failed before is not tried first again."""

from collections import Counter
from collections.abc import Iterable

from control_plane.agents.orchestrator.runs.moves import Call
from control_plane.agents.orchestrator.runs.view import Json, RunView
from control_plane.model.run_step import Outcome

TOOL = "recall_memory"

_LADDER = ("stop_process", "reset_gpu", "reload_driver", "reboot_host")
_SYMPTOMS_MAX = 8
_BAD = ("failed", "worse")


def recall(view: RunView, name: str, faults: Iterable[Json]) -> Call | Outcome | None:
    """Return the call that asks memory about these faults, what came of it, or None where there is no memory."""
    if TOOL not in view.tools:
        return None
    symptoms = sorted({_symptom(one) for one in faults})[:_SYMPTOMS_MAX]
    arguments = {"text": f"repair of {', '.join(symptoms)}", "symptoms": symptoms}
    return view.look(TOOL, arguments) or Call(TOOL, arguments, f"recall what helped against the fault of {name}")


def better_rung(recalled: Outcome, fitting: str) -> tuple[str, str]:
    """Return the rung to begin with instead of `fitting`, and why; two empty texts if memory says nothing against it.

    If every higher rung has failed as well, the fitting one is tried all the same.
    """
    failures, ids = _failures(recalled)
    if failures[fitting] <= 0 or fitting not in _LADDER:
        return "", ""
    for rung in _LADDER[_LADDER.index(fitting) + 1 :]:
        if failures[rung] <= 0:
            told = ", ".join(dict.fromkeys(ids[fitting]))
            return rung, f"{fitting.replace('_', ' ')} has failed on such a fault before ({told})"
    return "", ""


def _failures(recalled: Outcome) -> tuple[Counter[str], dict[str, list[str]]]:
    """Return how much more often each rung failed than it helped, and the memories that say so."""
    failures: Counter[str] = Counter()
    ids: dict[str, list[str]] = {}
    memories = recalled.data.get("memories", ())
    for memory in memories if isinstance(memories, list | tuple) else ():
        times = memory.get("seen_times", 1)
        for action in memory.get("actions", ()):
            rung, _, result = str(action).partition(": ")
            if rung not in _LADDER or result == "unknown":
                continue
            failures[rung] += times if result in _BAD else -times
            if result in _BAD:
                ids.setdefault(rung, []).append(str(memory.get("evidence_id", "")))
    return failures, ids


def _symptom(fault: Json) -> str:
    kind = str(fault.get("kind", "")).lower().replace(" ", "_")
    return f"{kind}:{fault['code']}" if fault.get("code") else kind
