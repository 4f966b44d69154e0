"""Which jobs share a node: what a placement beside them must let be."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import AllocationState, ResourceRequest
from control_plane.store.database import Tx
from control_plane.store.documents import RESOURCES
from control_plane.store.readable import Unreadable
from control_plane.store.tables import AllocationMemberRow, AllocationRow, JobRow


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A job with a member on a node that has not ended."""

    job_id: JobId
    team: str
    resources: ResourceRequest


def on_node(tx: Tx, node_id: NodeId) -> tuple[Neighbour, ...]:
    """Return the jobs that have a member on the node which has not ended.

    One that cannot be read may have asked for anything: it counts as one that wants the node for itself.
    """
    query = (
        select(col(JobRow.id), col(JobRow.team), col(JobRow.spec))
        .join(AllocationRow, col(AllocationRow.job_id) == col(JobRow.id))
        .join(AllocationMemberRow, col(AllocationMemberRow.allocation_id) == col(AllocationRow.id))
        .where(
            col(AllocationMemberRow.node_id) == node_id,
            col(AllocationMemberRow.state) != AllocationState.ENDED.value,
            col(AllocationRow.state) != AllocationState.ENDED.value,
        )
        .order_by(col(JobRow.id))
    )
    return tuple(Neighbour(JobId(job_id), team, _asked(spec)) for job_id, team, spec in tx.session.execute(query))


def _asked(spec: Any) -> ResourceRequest:  # Any: nested JSON
    try:
        return RESOURCES.load(spec["resources"])
    except (Unreadable, LookupError, TypeError):
        return ResourceRequest(exclusive_nodes=True)
