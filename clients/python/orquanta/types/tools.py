"""Tools: what agents may do with the fleet."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]  # Any: JSON of any shape


class ToolEffect(StrEnum):
    """What a tool does to the world."""

    UNKNOWN = "unknown"
    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class ToolStatus(StrEnum):
    """How a call went. APPROVAL_REQUIRED waits for a person; DRY_RUN was judged and not carried out."""

    UNKNOWN = "unknown"
    OK = "ok"
    NO_DATA = "no_data"
    ERROR = "error"
    DENIED = "denied"
    APPROVAL_REQUIRED = "approval_required"
    DRY_RUN = "dry_run"

    @property
    def is_failure(self) -> bool:
        """Whether what was asked for has not happened; a dry run is none."""
        return self in (ToolStatus.ERROR, ToolStatus.DENIED, ToolStatus.APPROVAL_REQUIRED, ToolStatus.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. The schemas are JSON Schema. `untrusted_result`: its result may hold words that strangers wrote.

    `costs_money`: what it does can cost money, at most the `estimate_usd` of a dry run.
    """

    name: str
    version: str
    description: str
    input_schema: Json
    output_schema: Json
    effect: ToolEffect
    idempotent: bool
    undo_tool: str
    role: str
    untrusted_result: bool
    origin: str
    costs_money: bool


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a call went. `data` fits the tool's output schema; `evidence_id` cites it; `action_id` was proposed."""

    status: ToolStatus
    data: Json
    error_code: str
    error: str
    action_id: str
    evidence_id: str
    truncated: bool
    untrusted: bool
