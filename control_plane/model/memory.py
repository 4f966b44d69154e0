"""Memory: what worked and what did not, in what situation."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from control_plane.model.ids import MemoryId


class MemoryKind(StrEnum):
    """What a memory is about."""

    INCIDENT = "incident"
    GOAL_OUTCOME = "goal_outcome"
    JOB_FAILURE = "job_failure"
    RUNBOOK = "runbook"


class MemoryOutcome(StrEnum):
    """How it ended. FIXED needs a post-condition that held for a while."""

    FIXED = "fixed"
    FAILED = "failed"
    WORSE = "worse"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MemoryAction:
    """Something that was done, for example a repair rung, and what came of it."""

    tool: str
    result: MemoryOutcome


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory, written by code from a finished run or a verified outcome; never by a model.

    `tenant` is "" for the whole fleet's, else a user's id. `text` is made from a template. `symptoms` are terms such as
    `xid:79`. `count` is how often the same was seen, `fixed_count` how often of these it was fixed; `outcome` and the
    actions' results are those of the last time, as is `created_at`. It is recalled as untrusted, dated, with its
    outcome.
    """

    id: MemoryId
    tenant: str
    kind: MemoryKind
    text: str
    symptoms: tuple[str, ...]
    root_cause: str
    actions: tuple[MemoryAction, ...]
    outcome: MemoryOutcome
    gpu_type: str
    node_class: str
    evidence_ids: tuple[str, ...]
    source: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    uses: int = 0
    count: int = 1
    fixed_count: int = 0


@dataclass(frozen=True, slots=True)
class MemoryQuery:
    """What to look for.

    `tenant` sees its own and the fleet's. `symptoms`, where given, must share at least one. `gpu_type`, where given,
    leaves out what is about another one. Without a text, the newest come first.
    """

    text: str
    tenant: str = ""
    kinds: tuple[MemoryKind, ...] = ()
    symptoms: tuple[str, ...] = ()
    gpu_type: str = ""
    limit: int = 3


@dataclass(frozen=True, slots=True)
class FoundMemory:
    """A memory that was found, and how near it is, 0 to 1."""

    memory: Memory
    score: float
