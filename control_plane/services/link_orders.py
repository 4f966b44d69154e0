"""What a host is told about repairs, conditions and what is to stop, on the wire."""

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.governor import books
from control_plane.governor.books import Assignment
from control_plane.model.health import ConditionOrder
from control_plane.model.repair import Repair
from orquanta.v1 import node_link_pb2, repair_pb2


def repair_order(repair: Repair) -> repair_pb2.RepairOrder:
    """Return a repair as its host is to carry it out."""
    made = repair_pb2.RepairOrder(
        id=repair.id,
        incident_id=repair.incident_id or "",
        rung=repair_pb2.RepairRung.ValueType(int(repair.rung)),
        gpu_uuids=repair.gpu_uuids,
        service=repair.service,
        process_ids=repair.process_ids,
        dry_run=repair.dry_run,
        reason=repair.reason,
        condition_ids=repair.condition_ids,
    )
    if repair.not_after is not None:
        made.not_after.CopyFrom(_stamp(repair.not_after))
    return made


def condition_order(said: ConditionOrder) -> node_link_pb2.ConditionOrder:
    """Return an operator's word about a condition."""
    return node_link_pb2.ConditionOrder(
        condition_id=said.condition_id, by=said.by, clear=said.clear, at=_stamp(said.at)
    )


def member_stops(stopping: Iterable[Assignment]) -> list[node_link_pb2.MemberStop]:
    """Return how the host is to stop attempts: with a checkpoint first if a further attempt follows."""
    first = {one.allocation.id: books.goes_on(one) for one in stopping}
    return [node_link_pb2.MemberStop(allocation_id=name, checkpoint_first=first[name]) for name in sorted(first)]


def _stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made
