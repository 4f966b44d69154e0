"""The GPUs of all hosts in brief: who asks for the fleet in figures reads columns, not what each host is made of."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any

from sqlalchemy import JSON, select, type_coerce
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.model.node import GpuHealth, MigDevice, NodeState
from control_plane.store.database import Tx
from control_plane.store.pages import batched
from control_plane.store.readable import readable
from control_plane.store.tables import NodeRow


@dataclass(frozen=True, slots=True)
class NodeBrief:
    """A node's state, whether it is linked, and the version that tells whether its GPUs may be others than before."""

    id: NodeId
    state: NodeState
    connected: bool
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
    """Return every node that is not revoked."""
    columns = (col(NodeRow.id), col(NodeRow.state), col(NodeRow.connected), col(NodeRow.version))
    rows = tx.session.execute(select(*columns).where(col(NodeRow.state) != NodeState.REVOKED.value))
    return readable(
        tx, rows, lambda row: NodeBrief(NodeId(row[0]), NodeState(row[1]), row[2], row[3]), "the state of a node"
    )


def gpus(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, tuple[GpuBrief, ...]]:
    """Return the GPUs of these nodes, of those that have reported any; of each that can be read, those that can be."""
    documents = _documents(tx, node_ids)
    return {node_id: tuple(readable(tx, found, _brief, f"a GPU of node {node_id}")) for node_id, found in documents}


def uuids(tx: Tx, node_ids: Collection[NodeId] | None = None) -> dict[NodeId, tuple[str, ...]]:
    """Return the UUIDs of the GPUs of these nodes, or of all, without those that were revoked."""
    documents = _documents(tx, node_ids)
    return {node_id: tuple(readable(tx, found, _uuid, f"a GPU of node {node_id}")) for node_id, found in documents}


def _documents(
    tx: Tx, node_ids: Collection[NodeId] | None
) -> Iterator[tuple[NodeId, Sequence[Mapping[str, Any]]]]:  # Any: nested JSON
    """Yield what each node's inventory says of its GPUs, as it was written; nothing where that is no list."""
    said = type_coerce(col(NodeRow.inventory), JSON)
    query = select(col(NodeRow.id), said).where(col(NodeRow.state) != NodeState.REVOKED.value)
    parts = [query] if node_ids is None else [query.where(col(NodeRow.id).in_(ids)) for ids in batched(node_ids)]
    for part in parts:
        for node_id, inventory in tx.session.execute(part):
            found = inventory.get("gpus") if isinstance(inventory, dict) else None
            yield NodeId(node_id), found if isinstance(found, list) else ()


def _uuid(gpu: Mapping[str, Any]) -> str:  # Any: nested JSON
    return intern(gpu["uuid"])


def _brief(gpu: Mapping[str, Any]) -> GpuBrief:  # Any: nested JSON
    return GpuBrief(
        intern(gpu["uuid"]),
        intern(gpu["gpu_type"]),
        tuple(MigDevice(**device) for device in gpu.get("mig_devices", ())),
        error=bool(gpu.get("error")),
    )
