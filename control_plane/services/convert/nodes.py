"""Nodes, their GPUs and join tokens on the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.model.health import Condition
from control_plane.model.ids import IncidentId
from control_plane.model.node import GpuHealth, GpuInventory, HostInventory, JoinTokenRecord, Node, NodeState
from control_plane.model.repair import Repair
from control_plane.services.convert.health import condition
from control_plane.services.convert.repairs import repair
from control_plane.services.convert.scalars import timestamp, wire_enum
from control_plane.store.gpu_holds import GpuHold, Holders, share_milli, used_milli
from orquanta.v1 import node_pb2

NODE_STATE: Final = wire_enum(NodeState, node_pb2.NodeState.Value, "NODE_STATE")
_GPU_HEALTH: Final = wire_enum(GpuHealth, node_pb2.GpuHealth.Value, "GPU_HEALTH")

CONDITIONS_MAX: Final = 100
"""Conditions of one node on the wire, the worst ones."""
LISTED_CONDITIONS_MAX: Final = 10
"""Conditions of a node in a list."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with all that is told of it: who holds its GPUs, how well they are, what is wrong, what is done about it.

    `holders` and `gpu_health` are by GPU UUID and may be those of the whole fleet; `conditions` are worst first.
    """

    node: Node
    holders: Holders
    gpu_health: Mapping[str, GpuHealth]
    conditions: Sequence[Condition]
    repair: Repair | None
    incident_id: IncidentId | None


def node(value: NodeView, *, brief: bool = False) -> node_pb2.Node:
    """Return a node with its GPUs, conditions and repair; in brief, what a list needs of them."""
    record = value.node
    inventory = record.inventory
    worst = value.conditions[: LISTED_CONDITIONS_MAX if brief else CONDITIONS_MAX]
    return node_pb2.Node(
        id=record.id,
        name=record.name,
        state=NODE_STATE[record.state],
        status_reason="; ".join(filter(None, (record.status_reason, record.unread))),
        connected=record.connected,
        inventory=None if inventory is None else _host(inventory),
        gpus=[] if inventory is None else [_gpu(gpu, value) for gpu in inventory.gpus],
        labels=record.labels,
        last_seen_at=timestamp(record.last_seen_at),
        certificate_expires_at=timestamp(record.certificate_expires_at),
        created_at=timestamp(record.created_at),
        version=record.version,
        conditions=[condition(one, brief=brief) for one in worst],
        repair=None if value.repair is None else repair(value.repair, brief=brief),
        incident_id=value.incident_id or "",
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


def _gpu(value: GpuInventory, view: NodeView) -> node_pb2.Gpu:
    held = view.holders.get(value.uuid, ())
    # What the driver cannot read is failed, whatever else is known of it.
    health = value.health if value.error else view.gpu_health.get(value.uuid, value.health)
    return node_pb2.Gpu(
        inventory=_gpu_inventory(value),
        health=_GPU_HEALTH[health],
        allocation_id=held[0].allocation_id if held else "",
        job_id=held[0].job_id if held else "",
        holders=[_holder(value, hold) for hold in held],
        used_milli=used_milli(value, held),
    )


def _holder(gpu: GpuInventory, hold: GpuHold) -> node_pb2.GpuHolder:
    return node_pb2.GpuHolder(
        allocation_id=hold.allocation_id,
        job_id=hold.job_id,
        milli=share_milli(gpu, hold),
        mig_device_uuid=hold.gpu_uuid if hold.gpu_uuid != gpu.uuid else "",
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
        executor=value.executor,
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
        mig_devices=[
            node_pb2.MigDevice(uuid=one.uuid, profile=one.profile, memory_bytes=one.memory_bytes)
            for one in value.mig_devices
        ],
    )
