"""Checks memories of an export before they are taken in."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from control_plane.memory import sameness
from control_plane.model.ids import MEMORY
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome
from control_plane.services.convert.memories import KINDS, OUTCOMES
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import moment
from orquanta.v1 import memory_pb2

LIFETIME_MAX: Final = timedelta(days=3_650)


def imported(fields: Fields, path: str, given: memory_pb2.Memory, now: datetime) -> Memory:
    """Check one memory. It is never from the future, and expires within ten years."""
    made = _past(fields, f"{path}.created_at", given, now)
    expires = moment(fields, f"{path}.expires_at", given.expires_at) or now
    if expires <= now:
        fields.wrong(f"{path}.expires_at", "has passed; leave this memory out", "TIME_INVALID")
    used = moment(fields, f"{path}.last_used_at", given.last_used_at) if given.HasField("last_used_at") else None
    memory_id = fields.id(f"{path}.id", MEMORY, given.id)
    return Memory(
        id=memory_id,
        tenant=fields.text(f"{path}.tenant", given.tenant, most=sameness.NAME_MAX, one_line=True),
        kind=fields.enum(f"{path}.kind", given.kind, KINDS, MemoryKind.RUNBOOK),
        text=fields.text(f"{path}.text", given.text, least=1, most=sameness.TEXT_MAX),
        symptoms=_texts(fields, f"{path}.symptoms", given.symptoms, sameness.SYMPTOMS_MAX, sameness.SYMPTOM_MAX),
        root_cause=fields.text(f"{path}.root_cause", given.root_cause, most=sameness.CAUSE_MAX),
        actions=_actions(fields, f"{path}.actions", given),
        outcome=fields.enum(f"{path}.outcome", given.outcome, OUTCOMES, MemoryOutcome.UNKNOWN),
        gpu_type=fields.text(f"{path}.gpu_type", given.gpu_type, most=sameness.NAME_MAX, one_line=True),
        node_class=fields.text(f"{path}.node_class", given.node_class, most=sameness.NAME_MAX, one_line=True),
        evidence_ids=_texts(
            fields, f"{path}.evidence_ids", given.evidence_ids, sameness.EVIDENCE_MAX, sameness.NAME_MAX
        ),
        source=fields.text(f"{path}.source", given.source, most=sameness.NAME_MAX, one_line=True),
        created_at=made,
        expires_at=min(expires, now + LIFETIME_MAX),
        last_used_at=None if used is None else min(used, now),
        uses=fields.integer(f"{path}.uses", given.uses, least=0, most=sameness.COUNT_MAX),
        count=fields.integer(f"{path}.count", given.count, least=1, most=sameness.COUNT_MAX),
        fixed_count=fields.integer(f"{path}.fixed_count", given.fixed_count, least=0, most=max(1, given.count)),
    )


def _past(fields: Fields, path: str, given: memory_pb2.Memory, now: datetime) -> datetime:
    made = moment(fields, path, given.created_at)
    return now if made is None else min(made, now)


def _texts(fields: Fields, path: str, given: Iterable[str], most: int, characters: int) -> tuple[str, ...]:
    values = fields.count(path, given, most=most)
    return tuple(fields.text(f"{path}[{number}]", one, most=characters) for number, one in enumerate(values))


def _actions(fields: Fields, path: str, given: memory_pb2.Memory) -> tuple[MemoryAction, ...]:
    actions = fields.count(path, given.actions, most=sameness.ACTIONS_MAX)
    return tuple(
        MemoryAction(
            fields.text(f"{path}[{number}].tool", one.tool, least=1, most=sameness.SYMPTOM_MAX, one_line=True),
            fields.enum(f"{path}[{number}].result", one.result, OUTCOMES, MemoryOutcome.UNKNOWN),
        )
        for number, one in enumerate(actions)
    )
