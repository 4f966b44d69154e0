"""What the hosts of the fleet are made of: how many there are of each make. Far cheaper than whole nodes."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, select, type_coerce
from sqlmodel import col

from control_plane.model.node import NodeState
from control_plane.store.database import Tx
from control_plane.store.readable import readable
from control_plane.store.tables import NodeRow

HostShape = tuple[tuple[str, int, int], ...]
"""The GPUs of a host: model, bytes of memory of each, and how many."""

_GONE = (NodeState.LOST.value, NodeState.REVOKED.value)


def read(tx: Tx) -> Mapping[HostShape, int]:
    """Return how many hosts of each make there are, without those that are lost or revoked."""
    query = select(type_coerce(col(NodeRow.inventory), JSON)).where(col(NodeRow.state).not_in(_GONE))
    found = (inventory for inventory in tx.session.execute(query).scalars() if inventory is not None)
    return Counter(readable(tx, found, _shape, "what a node is made of"))


def _shape(inventory: dict[str, Any]) -> HostShape:  # Any: nested JSON
    counts: Counter[tuple[str, int]] = Counter(
        (str(gpu["gpu_type"]), int(gpu["memory_bytes"])) for gpu in inventory["gpus"]
    )
    return tuple(sorted((gpu_type, memory, number) for (gpu_type, memory), number in counts.items()))
