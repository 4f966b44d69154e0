"""Memories: what worked and what did not."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class MemoryKind(StrEnum):
    """What a memory is about. UNKNOWN stands for one that a newer server sent."""

    INCIDENT = "incident"
    GOAL_OUTCOME = "goal_outcome"
    JOB_FAILURE = "job_failure"
    RUNBOOK = "runbook"
    UNKNOWN = "unknown"


class MemoryOutcome(StrEnum):
    """How it ended. UNKNOWN: nobody knows."""

    FIXED = "fixed"
    FAILED = "failed"
    WORSE = "worse"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MemoryAction:
    """Something that was done, and what came of it."""

    tool: str
    result: MemoryOutcome


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory. `tenant` empty: the whole fleet's, else a user's id.

    `count` is how often the same was seen, `fixed_count` how often of these it was fixed; `created_at` is of the
    last time.
    """

    id: str
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
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    uses: int
    count: int
    fixed_count: int


@dataclass(frozen=True, slots=True)
class FoundMemory:
    """A memory that was found, and how near it is, 0 to 1."""

    memory: Memory
    score: float


@dataclass(frozen=True, slots=True)
class MemoryStatus:
    """How memory stands. `waiting` memories are found by words until they are embedded."""

    store: str
    embedder: str
    dimensions: int
    memories: int
    waiting: int
    error: str


@dataclass(frozen=True, slots=True)
class ImportedMemories:
    """What became of an import."""

    added: int
    known: int
