"""Which of many nodes have anything of a job on them, read at once: most of those in a storm may have nothing."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState
from control_plane.store.pages import among, batched
from control_plane.store.tables import AllocationMemberRow
from control_plane.store.transaction import Tx

_EMPTY: Final = "occupied.empty"
"""Under this, with a node's id, a transaction remembers that nothing is on it."""


def load(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read which of these nodes have a member of a job that has not ended."""
    for ids in batched(node_ids):
        query = select(col(AllocationMemberRow.node_id)).where(
            col(AllocationMemberRow.node_id).in_(among(ids)),
            col(AllocationMemberRow.state) != AllocationState.ENDED.value,
        )
        occupied = set(tx.session.execute(query.distinct()).scalars())
        for node_id in ids:
            if node_id not in occupied:
                tx.know((_EMPTY, node_id), value=True)


def is_empty(tx: Tx, node_id: NodeId) -> bool:
    """Tell whether it is known that nothing of a job is on the node."""
    return tx.known((_EMPTY, node_id)) is not None


def fill(tx: Tx, node_id: NodeId) -> None:
    """Take note that something of a job may be on the node from now on."""
    tx.forget((_EMPTY, node_id))
