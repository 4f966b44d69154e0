"""What a run can do next. A move is chosen from rows alone, and the same rows always give the same move."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from control_plane.fleet.remedies import Remedy
from control_plane.model.action import Action
from control_plane.model.ids import ActionId, JobId, NodeId
from control_plane.model.run import RunState
from control_plane.model.run_replan import Replan
from control_plane.model.run_step import RunStep

BY_RULES: Final = "rules"
"""The reasoner of a run whose moves no model chooses."""


@dataclass(frozen=True, slots=True)
class ReadGoal:
    """Have a model read the goal."""


@dataclass(frozen=True, slots=True)
class Pursue:
    """Compare what a model read with what the rules read, then ask, refuse, or carry out the rules' plan."""


@dataclass(frozen=True, slots=True)
class Think:
    """Have a model choose what to do next."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call a tool. `turn` and `call_id` tell which reply of a model asked for it; rules leave them empty."""

    tool: str
    arguments: Mapping[str, Any]  # Any: JSON of any shape
    why: str = ""
    turn: int = 0
    call_id: str = ""
    arguments_json: str | None = None


@dataclass(frozen=True, slots=True)
class Redo:
    """Take a step again of which no outcome is known. Its key makes that harmless."""

    step: RunStep


@dataclass(frozen=True, slots=True)
class Decided:
    """Write down what became of an action that the run waited for."""

    action: Action


@dataclass(frozen=True, slots=True)
class AwaitApproval:
    """Wait until people have decided about these actions."""

    action_ids: tuple[ActionId, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait until something changes about the goal's jobs or these nodes, or `seconds` are over."""

    reason: str
    nodes: tuple[NodeId, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ByRules:
    """Go on by rules, because no model can be asked or its words rest on nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Diagnose:
    """Look for the cause of a failed job."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Choose:
    """Have a model choose what to do about a failed job, among what the table offers."""

    job_id: JobId
    offered: tuple[Remedy, ...]


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run a failed job again in another one, with those that its failure has cancelled."""

    replan: Replan
    why: str


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Ask the person whose goal it is what to do about a failed job. `field` is the name of the answer."""

    job_id: JobId
    field: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Finish:
    """End the run with its result. `reason` says in a few words why it ends in this state."""

    state: RunState
    result: str
    reason: str = ""
    evidence_ids: tuple[str, ...] = ()


Move = (
    ReadGoal
    | Pursue
    | Think
    | Call
    | Redo
    | Decided
    | AwaitApproval
    | Watch
    | ByRules
    | Diagnose
    | Choose
    | RunAgain
    | AskPerson
    | Finish
)
