"""Nodes, their GPUs and join tokens on the wire."""

from collections.abc import Mapping
from typing import Final

from control_plane.model.node import GpuHealth, GpuInventory, HostInventory, JoinTokenRecord, Node, NodeState
from control_plane.services.convert.scalars import timestamp, wire_enum
from control_plane.store.allocations import GpuHold
from orquanta.v1 import node_pb2

NODE_STATE: Final = wire_enum(NodeState, node_pb2.NodeState.Value, "NODE_STATE")
_GPU_HEALTH: Final = wire_enum(GpuHealth, node_pb2.GpuHealth.Value, "GPU_HEALTH")

Holders = Mapping[str, GpuHold]
"""Who holds each GPU, by its UUID."""


def node(value: Node, holders: Holders) -> node_pb2.Node:
    """Return a node with its GPUs and who holds them."""
    inventory = value.inventory
    return node_pb2.Node(
        id=value.id,
        name=value.name,
        state=NODE_STATE[value.state],
        status_reason=value.status_reason,
        connected=value.connected,
        inventory=None if inventory is None else _host(inventory),
        gpus=[] if inventory is None else [_gpu(gpu, holders) for gpu in inventory.gpus],
        labels=value.labels,
        last_seen_at=timestamp(value.last_seen_at),
        certificate_expires_at=timestamp(value.certificate_expires_at),
        created_at=timestamp(value.created_at),
        version=value.version,
    )


def join_token(value: JoinTokenRecord) -> node_pb2.JoinToken:
    """Return a join token's record; the secret is not in it."""
    return node_pb2.JoinToken(
        id=value.id,
        created_by=value.created_by,
        created_at=timestamp(value.created_at),
        expires_at=timestamp(value.expires_at),
        used_at=timestamp(value.used_at),
        used_by_node_id=value.used_by_node_id or "",
        revoked_at=timestamp(value.revoked_at),
        labels=value.labels,
    )


def _gpu(value: GpuInventory, holders: Holders) -> node_pb2.Gpu:
    hold = holders.get(value.uuid)
    return node_pb2.Gpu(
        inventory=_gpu_inventory(value),
        health=_GPU_HEALTH[value.health],
        allocation_id="" if hold is None else hold.allocation_id,
        job_id="" if hold is None else hold.job_id,
    )


def _host(value: HostInventory) -> node_pb2.HostInventory:
    return node_pb2.HostInventory(
        hostname=value.hostname,
        kernel=value.kernel,
        operating_system=value.operating_system,
        cpu_model=value.cpu_model,
        cpu_count=value.cpu_count,
        memory_bytes=value.memory_bytes,
        driver_version=value.driver_version,
        cuda_version=value.cuda_version,
        virtual_gpus=value.virtual_gpus,
        gpus=[_gpu_inventory(gpu) for gpu in value.gpus],
        boot_id=value.boot_id,
        agent_version=value.agent_version,
        container_engine=value.container_engine,
        enforceable_limits=value.enforceable_limits,
        address=value.address,
    )


def _gpu_inventory(value: GpuInventory) -> node_pb2.GpuInventory:
    return node_pb2.GpuInventory(
        index=value.index,
        uuid=value.uuid,
        gpu_type=value.gpu_type,
        product_name=value.product_name,
        memory_bytes=value.memory_bytes,
        pci_bus_id=value.pci_bus_id,
        serial=value.serial,
        nvlink_peer_uuids=value.nvlink_peer_uuids,
        mig_enabled=value.mig_enabled,
        mig_device_uuids=value.mig_device_uuids,
        compute_capability=value.compute_capability,
        power_limit_watts=value.power_limit_watts,
        error=value.error,
    )
