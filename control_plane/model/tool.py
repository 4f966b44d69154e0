"""Tools: what an agent may do with the fleet, as typed data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ActionId, GoalId, RunId

Json = Mapping[str, Any]  # Any: JSON of any shape; each tool's schema says which


class ToolEffect(StrEnum):
    """What a tool does to the world. One that does not say is DESTRUCTIVE."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class ToolStatus(StrEnum):
    """How a call went."""

    OK = "ok"
    NO_DATA = "no_data"
    ERROR = "error"
    DENIED = "denied"
    APPROVAL_REQUIRED = "approval_required"
    DRY_RUN = "dry_run"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool. `description` has at most 300 characters; the schemas are JSON Schema objects.

    `untrusted_result` says that its result may hold words that strangers wrote (logs, names, images, memory): a run
    that reads it is tainted. `origin` is "orquanta" or the name of an MCP server. `costs_money` says that what it does
    can cost money: how much at most is the `estimate_usd` of its result, and of a dry run's.
    """

    name: str
    version: str
    description: str
    input_schema: Json
    output_schema: Json
    effect: ToolEffect = ToolEffect.DESTRUCTIVE
    idempotent: bool = False
    undo_tool: str = ""
    role: Role = Role.USER
    timeout_seconds: float = 30.0
    result_bytes_max: int = 16_384
    untrusted_result: bool = True
    origin: str = "orquanta"
    costs_money: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A wish to call a tool, as a model, a person or another agent states it. Hostile until checked."""

    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class ToolContext:
    """On whose behalf a tool is called and what the caller has read before.

    `step_key` makes a repeat of the same step the same call: what it proposes is proposed once. `tainted` is true once
    the run has read untrusted words; `planned` holds the (tool, resolved target) pairs that its plan named before.
    """

    principal: Principal
    caller: str
    step_key: str
    reasoning: str = ""
    run_id: RunId | None = None
    goal_id: GoalId | None = None
    tainted: bool = False
    planned: frozenset[tuple[str, str]] = frozenset()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call. `data` fits the tool's output schema when the status is OK; `evidence_id` cites it."""

    status: ToolStatus
    data: Json
    evidence_id: str = ""
    error_code: str = ""
    error: str = ""
    action_id: ActionId | None = None
    truncated: bool = False
    untrusted: bool = False
