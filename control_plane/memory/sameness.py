"""When two memories say the same, what becomes of them together, and the bounds of what a memory may hold."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from control_plane.model.memory import Memory, MemoryAction, MemoryOutcome, MemoryQuery
from control_plane.model.redaction import redact

TEXT_MAX: Final = 2_000
CAUSE_MAX: Final = 500
NAME_MAX: Final = 128
SYMPTOM_MAX: Final = 64
SYMPTOMS_MAX: Final = 16
ACTIONS_MAX: Final = 32
EVIDENCE_MAX: Final = 32
COUNT_MAX: Final = 1_000_000


def same_key(memory: Memory) -> str:
    """Return what is equal for memories that say the same: tenant, kind, symptoms, cause, class, actions' tools."""
    parts = (
        memory.tenant,
        memory.kind.value,
        sorted(memory.symptoms),
        memory.root_cause,
        memory.node_class,
        [action.tool for action in memory.actions],
    )
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def bounded(memory: Memory) -> Memory:
    """Return a memory that is fit to be kept: printable, within every bound, without secrets."""
    count = min(max(memory.count, 1), COUNT_MAX)
    fixed = memory.fixed_count or (count if memory.outcome is MemoryOutcome.FIXED else 0)
    return replace(
        memory,
        tenant=plain_name(memory.tenant),
        text=_told(memory.text, TEXT_MAX),
        symptoms=tuple(dict.fromkeys(_names(memory.symptoms, SYMPTOM_MAX)))[:SYMPTOMS_MAX],
        root_cause=_told(memory.root_cause, CAUSE_MAX),
        actions=tuple(MemoryAction(_plain(one.tool, SYMPTOM_MAX), one.result) for one in memory.actions[:ACTIONS_MAX]),
        gpu_type=_plain(memory.gpu_type, NAME_MAX),
        node_class=_plain(memory.node_class, NAME_MAX),
        evidence_ids=tuple(_names(memory.evidence_ids, NAME_MAX))[:EVIDENCE_MAX],
        source=_plain(memory.source, NAME_MAX),
        uses=min(max(memory.uses, 0), COUNT_MAX),
        count=count,
        fixed_count=min(max(fixed, 0), count),
    )


def bounded_query(query: MemoryQuery) -> MemoryQuery:
    """Return a query whose names are written as those of memories are, within their bounds."""
    symptoms = tuple(_names(query.symptoms[:SYMPTOMS_MAX], SYMPTOM_MAX))
    return replace(
        query,
        text=_plain(query.text, TEXT_MAX),
        tenant=plain_name(query.tenant),
        # No memory has the symptom "": what was asked for must not become everything.
        symptoms=symptoms or (("",) if query.symptoms else ()),
        gpu_type=_plain(query.gpu_type, NAME_MAX),
    )


def plain_name(name: str) -> str:
    """Return the name of a tenant as it is kept."""
    return _plain(name, NAME_MAX)


def is_told_already(kept: Memory, memory: Memory) -> bool:
    """Tell whether the run that a memory comes from has been counted in what is kept: it is written only once."""
    return bool(memory.source) and memory.source in (kept.source, *kept.evidence_ids)


def merged(kept: Memory, memory: Memory) -> Memory:
    """Return what is kept once the same was seen again: counts grow, the rest is that of the last time."""
    evidence = dict.fromkeys((*memory.evidence_ids, memory.source, kept.source, *kept.evidence_ids))
    count = min(kept.count + memory.count, COUNT_MAX)
    return replace(
        memory,
        id=kept.id,
        evidence_ids=tuple(filter(None, evidence))[:EVIDENCE_MAX],
        created_at=max(kept.created_at, memory.created_at),
        expires_at=max(kept.expires_at, memory.expires_at),
        last_used_at=kept.last_used_at,
        uses=kept.uses,
        count=count,
        fixed_count=min(kept.fixed_count + memory.fixed_count, count),
    )


def embedded_text(memory: Memory) -> str:
    """Return what is embedded of a memory: what a search for it may be about."""
    return " ".join(filter(None, (memory.text, memory.root_cause, *memory.symptoms, memory.gpu_type)))


def _names(texts: Iterable[str], length_max: int) -> list[str]:
    return list(filter(None, (_plain(text, length_max) for text in texts)))


def _told(text: str, length_max: int) -> str:
    return redact(_plain(text, 2 * length_max))[:length_max]


def _plain(text: str, length_max: int) -> str:
    """One line of printable characters; what cannot be encoded becomes a question mark."""
    cut = text[: 4 * length_max].encode("utf-8", "replace").decode()
    return "".join(one if one.isprintable() else " " for one in " ".join(cut.split()))[:length_max].strip()
