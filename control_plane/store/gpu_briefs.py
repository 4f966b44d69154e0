"""The GPUs of all hosts in brief: who asks for the fleet in figures reads columns, not what each host is made of."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.model.node import GpuHealth, MigDevice, NodeState
from control_plane.store.database import Tx
from control_plane.store.pages import batched
from control_plane.store.tables import NodeRow

_GONE = (NodeState.LOST.value, NodeState.REVOKED.value)


@dataclass(frozen=True, slots=True)
class NodeBrief:
    """A node's state, and the version that tells whether its GPUs may be others than before."""

    id: NodeId
    state: NodeState
    version: int


@dataclass(frozen=True, slots=True)
class GpuBrief:
    """A GPU, its model, the MIG devices on it, and what its driver says is wrong with it."""

    uuid: str
    gpu_type: str
    mig_devices: tuple[MigDevice, ...]
    error: bool

    @property
    def health(self) -> GpuHealth:
        """A GPU that the driver cannot read takes no jobs."""
        return GpuHealth.FAILED if self.error else GpuHealth.HEALTHY


def hosts(tx: Tx) -> list[NodeBrief]:
    """Return every node that is not lost or revoked."""
    query = select(col(NodeRow.id), col(NodeRow.state), col(NodeRow.version)).where(col(NodeRow.state).not_in(_GONE))
    return [
        NodeBrief(NodeId(node_id), NodeState(state), version) for node_id, state, version in tx.session.execute(query)
    ]


def gpus(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, tuple[GpuBrief, ...]]:
    """Return the GPUs of these nodes, of those that have reported any."""
    found: dict[NodeId, tuple[GpuBrief, ...]] = {}
    for ids in batched(node_ids):
        query = select(col(NodeRow.id), col(NodeRow.inventory)).where(col(NodeRow.id).in_(ids))
        for node_id, inventory in tx.session.execute(query):
            found[NodeId(node_id)] = tuple(_brief(gpu) for gpu in (inventory or {"gpus": ()})["gpus"])
    return found


def _brief(gpu: Mapping[str, Any]) -> GpuBrief:  # Any: nested JSON
    return GpuBrief(
        intern(gpu["uuid"]),
        intern(gpu["gpu_type"]),
        tuple(MigDevice(**device) for device in gpu.get("mig_devices", ())),
        error=bool(gpu.get("error")),
    )
