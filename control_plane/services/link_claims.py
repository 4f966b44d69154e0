"""Which node each GPU of the fleet belongs to, so that no host can pass off another one's GPU as its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from control_plane.model.ids import NodeId
from control_plane.model.node import HostInventory


class GpuClaims:
    """The owner of each GPU UUID: the first node that had it, until that node reports without it or is revoked."""

    def __init__(self) -> None:
        self._owners: dict[str, NodeId] = {}
        self._claims: dict[NodeId, tuple[str, ...]] = {}

    def load(self, known: Mapping[NodeId, Sequence[str]]) -> None:
        """Take over which GPUs each node has, as the store knows it."""
        for node_id, uuids in known.items():
            self._take(node_id, tuple(uuid for uuid in uuids if self._owners.get(uuid, node_id) == node_id))

    def claim(self, node_id: NodeId, inventory: HostInventory) -> tuple[HostInventory, tuple[str, ...]]:
        """Return the inventory without the GPUs of others, and the UUIDs of those."""
        foreign = tuple(gpu.uuid for gpu in inventory.gpus if self._owners.get(gpu.uuid, node_id) != node_id)
        if foreign:
            own = tuple(gpu for gpu in inventory.gpus if gpu.uuid not in foreign)
            inventory = replace(inventory, gpus=own)
        self._take(node_id, tuple(gpu.uuid for gpu in inventory.gpus))
        return inventory, foreign

    def _take(self, node_id: NodeId, uuids: tuple[str, ...]) -> None:
        self.release(node_id)
        self._claims[node_id] = uuids
        self._owners.update(dict.fromkeys(uuids, node_id))

    def nodes(self) -> tuple[NodeId, ...]:
        """Return the nodes that have claims."""
        return tuple(self._claims)

    def owner(self, gpu_uuid: str) -> NodeId | None:
        """Return whose the GPU is."""
        return self._owners.get(gpu_uuid)

    def release(self, node_id: NodeId) -> None:
        """Give up the claims of a node."""
        for gpu_uuid in self._claims.pop(node_id, ()):
            self._owners.pop(gpu_uuid, None)
