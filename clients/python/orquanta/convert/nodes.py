"""Nodes, inventories and join tokens from the wire."""

from orquanta.convert.health import read_condition
from orquanta.convert.repairs import read_repair
from orquanta.convert.scalars import read_enum, read_time
from orquanta.types.nodes import (
    Drain,
    Gpu,
    GpuHealth,
    GpuHolder,
    GpuInventory,
    HostInventory,
    JoinToken,
    MigDevice,
    NewJoinToken,
    Node,
    NodeState,
    OrderedRepair,
)
from orquanta.v1 import node_pb2 as pb

_WHOLE_MILLI = 1_000


def read_node(message: pb.Node) -> Node:
    """A node."""
    return Node(
        id=message.id,
        name=message.name,
        state=read_enum(NodeState, pb.NodeState, message.state),
        status_reason=message.status_reason,
        connected=message.connected,
        inventory=_read_host_inventory(message.inventory),
        gpus=tuple(_read_gpu(gpu) for gpu in message.gpus),
        labels=dict(message.labels),
        last_seen_at=read_time(message.last_seen_at),
        certificate_expires_at=read_time(message.certificate_expires_at),
        created_at=read_time(message.created_at),
        version=message.version,
        conditions=tuple(read_condition(condition) for condition in message.conditions),
        repair=read_repair(message.repair) if message.HasField("repair") else None,
        incident_id=message.incident_id,
    )


def read_drain(message: pb.DrainNodeResponse) -> Drain:
    """A drain."""
    return Drain(node=read_node(message.node), action_id=message.action_id)


def read_ordered_repair(message: pb.RepairNodeResponse) -> OrderedRepair:
    """A repair that was asked for."""
    return OrderedRepair(
        node=read_node(message.node),
        repair_id=message.repair_id,
        incident_id=message.incident_id,
        action_id=message.action_id,
    )


def read_ordered_test(message: pb.VerifyNodeResponse) -> OrderedRepair:
    """A test under load that was asked for."""
    return OrderedRepair(node=read_node(message.node), repair_id=message.repair_id, incident_id="", action_id="")


def _read_gpu(message: pb.Gpu) -> Gpu:
    holders = tuple(GpuHolder(one.allocation_id, one.job_id, one.milli, one.mig_device_uuid) for one in message.holders)
    if message.allocation_id and not holders:  # a server that names one holder only
        holders = (GpuHolder(message.allocation_id, message.job_id, _WHOLE_MILLI),)
    return Gpu(
        inventory=_read_gpu_inventory(message.inventory),
        health=read_enum(GpuHealth, pb.GpuHealth, message.health),
        allocation_id=message.allocation_id,
        job_id=message.job_id,
        holders=holders,
        used_milli=message.used_milli if message.holders else sum(one.milli for one in holders),
    )


def _read_host_inventory(message: pb.HostInventory) -> HostInventory:
    return HostInventory(
        hostname=message.hostname,
        kernel=message.kernel,
        operating_system=message.operating_system,
        cpu_model=message.cpu_model,
        cpu_count=message.cpu_count,
        memory_bytes=message.memory_bytes,
        driver_version=message.driver_version,
        cuda_version=message.cuda_version,
        virtual_gpus=message.virtual_gpus,
        gpus=tuple(_read_gpu_inventory(gpu) for gpu in message.gpus),
        boot_id=message.boot_id,
        agent_version=message.agent_version,
        container_engine=message.container_engine,
        enforceable_limits=tuple(message.enforceable_limits),
        executor=message.executor,
        address=message.address,
    )


def _read_gpu_inventory(message: pb.GpuInventory) -> GpuInventory:
    return GpuInventory(
        index=message.index,
        uuid=message.uuid,
        gpu_type=message.gpu_type,
        product_name=message.product_name,
        memory_bytes=message.memory_bytes,
        pci_bus_id=message.pci_bus_id,
        serial=message.serial,
        nvlink_peer_uuids=tuple(message.nvlink_peer_uuids),
        mig_enabled=message.mig_enabled,
        mig_device_uuids=tuple(message.mig_device_uuids),
        compute_capability=message.compute_capability,
        power_limit_watts=message.power_limit_watts,
        error=message.error,
        mig_devices=tuple(MigDevice(one.uuid, one.profile, one.memory_bytes) for one in message.mig_devices),
    )


def read_join_token(message: pb.JoinToken) -> JoinToken:
    """A join token without its secret."""
    return JoinToken(
        id=message.id,
        created_by=message.created_by,
        created_at=read_time(message.created_at),
        expires_at=read_time(message.expires_at),
        used_at=read_time(message.used_at),
        used_by_node_id=message.used_by_node_id,
        revoked_at=read_time(message.revoked_at),
        labels=dict(message.labels),
    )


def read_new_join_token(message: pb.CreateJoinTokenResponse) -> NewJoinToken:
    """A join token with its secret."""
    return NewJoinToken(join_token=read_join_token(message.join_token), secret=message.secret, server=message.server)
