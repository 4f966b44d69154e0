"""How a memory lies in the SQLite file: its tables, and the way of a row there and back."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from control_plane.memory.contract import Vectors
from control_plane.memory.sameness import same_key
from control_plane.model.ids import MemoryId
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome

VERSION: Final = 1
SCHEMA: Final = f"""
CREATE TABLE memories (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    same TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    symptoms TEXT NOT NULL,
    root_cause TEXT NOT NULL,
    actions TEXT NOT NULL,
    outcome TEXT NOT NULL,
    gpu_type TEXT NOT NULL,
    node_class TEXT NOT NULL,
    evidence_ids TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used_at INTEGER,
    uses INTEGER NOT NULL,
    count INTEGER NOT NULL,
    fixed_count INTEGER NOT NULL,
    embedder TEXT NOT NULL,
    vector BLOB
) STRICT;
CREATE INDEX memories_by_age ON memories (created_at, id);
CREATE INDEX memories_by_end ON memories (expires_at);
CREATE INDEX memories_by_use ON memories (tenant, coalesce(last_used_at, created_at));
CREATE INDEX memories_by_embedder ON memories (embedder);
CREATE TABLE symptoms (
    term TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES memories (number) ON DELETE CASCADE,
    PRIMARY KEY (term, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX symptoms_by_number ON symptoms (number);
CREATE VIRTUAL TABLE words USING fts5 (content, tokenize = 'unicode61');
PRAGMA user_version = {VERSION};
"""

COLUMNS: Final = (
    "id, tenant, kind, text, symptoms, root_cause, actions, outcome, gpu_type, node_class, evidence_ids, source, "
    "created_at, expires_at, last_used_at, uses, count, fixed_count"
)
_PLACES: Final = ", ".join("?" * (len(COLUMNS.split(",")) + 3))
INSERT: Final = f"INSERT INTO memories ({COLUMNS}, same, embedder, vector) VALUES ({_PLACES})"  # noqa: S608 - of constants
UPDATE: Final = (
    "UPDATE memories SET "  # noqa: S608 - of constants
    + ", ".join(f"{name.strip()} = ?" for name in f"{COLUMNS}, same, embedder, vector".split(","))
    + " WHERE number = ?"
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Damaged(Exception):
    """What is read is not what was written."""


def micros(moment: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(number: int) -> datetime:
    """Return the moment of so many microseconds since 1970."""
    return _EPOCH + number * _MICROSECOND


def values_of(memory: Memory, embedder: str, vector: Vectors | None) -> tuple[object, ...]:
    """Return the values of INSERT and, followed by the row's number, of UPDATE."""
    return (
        memory.id,
        memory.tenant,
        memory.kind.value,
        memory.text,
        json.dumps(memory.symptoms),
        memory.root_cause,
        json.dumps([(one.tool, one.result.value) for one in memory.actions]),
        memory.outcome.value,
        memory.gpu_type,
        memory.node_class,
        json.dumps(memory.evidence_ids),
        memory.source,
        micros(memory.created_at),
        micros(memory.expires_at),
        None if memory.last_used_at is None else micros(memory.last_used_at),
        memory.uses,
        memory.count,
        memory.fixed_count,
        same_key(memory),
        "" if vector is None else embedder,
        None if vector is None else vector.astype("<f4").tobytes(),
    )


def words_of(memory: Memory) -> str:
    """Return what is found by words: the text, and every term of it."""
    actions = " ".join(one.tool for one in memory.actions)
    parts = (memory.text, memory.root_cause, " ".join(memory.symptoms), memory.gpu_type, memory.node_class, actions)
    return " ".join(filter(None, parts))


def memory_of(row: sqlite3.Row) -> Memory:
    """Return the memory of a row. Raises Damaged if the row is not one."""
    try:
        return _memory_of(row)
    except (ValueError, TypeError, OverflowError) as error:
        raise Damaged(f"a row cannot be read: {error}") from error


def _memory_of(row: sqlite3.Row) -> Memory:
    actions: list[list[str]] = json.loads(row["actions"])
    used: Any = row["last_used_at"]  # Any: INTEGER or NULL
    return Memory(
        id=MemoryId(row["id"]),
        tenant=row["tenant"],
        kind=MemoryKind(row["kind"]),
        text=row["text"],
        symptoms=tuple(json.loads(row["symptoms"])),
        root_cause=row["root_cause"],
        actions=tuple(MemoryAction(tool, MemoryOutcome(result)) for tool, result in actions),
        outcome=MemoryOutcome(row["outcome"]),
        gpu_type=row["gpu_type"],
        node_class=row["node_class"],
        evidence_ids=tuple(json.loads(row["evidence_ids"])),
        source=row["source"],
        created_at=moment_of(row["created_at"]),
        expires_at=moment_of(row["expires_at"]),
        last_used_at=None if used is None else moment_of(used),
        uses=row["uses"],
        count=row["count"],
        fixed_count=row["fixed_count"],
    )


def vector_of(blob: bytes, dimensions: int) -> Vectors | None:
    """Return the vector of a row, None if it has another length or is not made of numbers. Shapes: (dimensions,)."""
    if len(blob) != 4 * dimensions:
        return None
    vector = np.frombuffer(blob, dtype="<f4").astype(np.float32)
    return vector if np.isfinite(vector).all() else None
