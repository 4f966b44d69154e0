"""What a model is shown of an incident: conditions, what was seen behind them, how they changed, repairs. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from control_plane.fleet.diagnosis import fitting, seen
from control_plane.fleet.failures.shown import ITEMS_MAX, Piece
from control_plane.fleet.incident_causes import condition_item, in_question, observation_items, repair_item
from control_plane.model.diagnosis import EvidenceItem, EvidenceKind
from control_plane.model.health import Condition, HealthEvent
from control_plane.model.incident import Incident

_CONDITIONS: Final = 10
_OBSERVATIONS: Final = 3
_CHANGES: Final = 10
_REPAIRS: Final = 6


def of_incident(incident: Incident, changes: Sequence[HealthEvent], facts: Sequence[EvidenceItem]) -> tuple[Piece, ...]:
    """Return what to show, the most telling first. `changes` are the host's, newest first, `facts` its telemetry."""
    found = (
        *_conditions(incident),
        *(Piece(repair_item(one), "a repair") for one in incident.repairs[-_REPAIRS:]),
        *(Piece(one, "measured by the host") for one in facts),
        *_changes(incident, changes),
    )
    return found[:ITEMS_MAX]


def _conditions(incident: Incident) -> Iterator[Piece]:
    meant = in_question(incident)
    others = [one for one in incident.conditions if one not in meant]
    for one in [*meant, *others][:_CONDITIONS]:
        lasts = "lasts" if one.id in incident.active_ids else "is over"
        yield Piece(condition_item(incident, one), f"{_named(one)}, {lasts}, {seen(one.count)}; {fitting(one)}")
        for item in observation_items(incident, one)[:_OBSERVATIONS]:
            yield Piece(item, f"seen behind {_named(one)}")


def _changes(incident: Incident, changes: Sequence[HealthEvent]) -> Iterator[Piece]:
    known = {one.id for one in incident.conditions}
    told = [one for one in changes if one.condition.id in known][:_CHANGES]
    for one in told:
        text = f"{one.kind.value}: {_named(one.condition)}" + (f" ({one.reason})" if one.reason else "")
        item = EvidenceItem(f"event:{one.id}", EvidenceKind.EVENT, text[:500], one.occurred_at)
        yield Piece(item, f"at {one.occurred_at:%H:%M:%S}")


def _named(one: Condition) -> str:
    code = f" {one.code}" if one.code else ""
    where = one.gpu_uuid or one.subject or one.scope.value
    return f"{one.kind}{code}, {one.severity.name.lower()}, of {where}"
