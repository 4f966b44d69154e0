"""Whether a fault of its GPU or host has ended a member: then the fleet is to blame, not the job. Pure."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from control_plane.model.health import Condition, ConditionSeverity
from control_plane.model.ids import NodeId
from control_plane.model.job import Allocation, AllocationMember, AllocationState

VERDICT_SECONDS: Final = 5.0
"""How long the verdict about a failed attempt waits for word of a fault: telemetry looks each second, the kernel's log
is told within milliseconds, and a program may end before either."""

BEFORE: Final = timedelta(seconds=120)
"""A program may hang for so long on a GPU that has failed, for example until a collective operation gives up."""
AFTER: Final = timedelta(seconds=30)
"""A fault may be noticed so much later than the program that it has ended."""

APPLICATION_XIDS: Final = frozenset({13, 31, 43, 45})
"""Faults that programs bring about themselves, whatever a host makes of them: the job's own."""


def fault_of(member: AllocationMember, conditions: Iterable[Condition]) -> Condition | None:
    """Return the fault of the member's host that coincides with its end, the earliest, or None.

    Both times are by the host's clock. What is wrong with the whole host counts if a repair is known for it: a full
    disk, or a check of the operator's, may well be the job's own doing.
    """
    if member.state is not AllocationState.ENDED or member.ended_at is None or not member.gpu_uuids:
        return None
    ended_at = member.ended_at
    found = [one for one in conditions if _is_to_blame(one, member.gpu_uuids) and _coincides(one, ended_at)]
    return min(found, key=lambda one: (one.first_seen_at, one.id), default=None)


def _is_to_blame(one: Condition, gpu_uuids: Collection[str]) -> bool:
    if one.severity is not ConditionSeverity.FATAL or (one.kind == "XID" and one.code in APPLICATION_XIDS):
        return False
    return one.gpu_uuid in gpu_uuids if one.gpu_uuid else one.repair is not None


def _coincides(one: Condition, ended_at: datetime) -> bool:
    seen = (one.first_seen_at, one.last_seen_at)
    return any(-BEFORE <= at - ended_at <= AFTER for at in seen)


def faults_of(allocation: Allocation, told: Mapping[NodeId, Iterable[Condition]]) -> dict[int, str]:
    """Return, by rank, in words what failed under the members of an attempt; `told` has what each host said."""
    faults = {}
    for member in allocation.members:
        one = fault_of(member, told.get(member.node_id, ()))
        if one is not None:
            faults[member.rank] = f"{member.node_name}: {one.summary or one.kind} [{one.id}]"
    return faults
