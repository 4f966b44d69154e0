"""The hosts of a storm as the books and the link know them: what they are made of, and what they say is wrong."""

from datetime import datetime, timedelta
from uuid import NAMESPACE_DNS, uuid5

from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NodeId
from control_plane.model.node import GpuInventory, HostInventory, Node, NodeState
from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2

GPUS, HOSTS_PER_RACK = 8, 32
HOURS = timedelta(hours=24)


def _uuid(name: str, index: int) -> str:
    return f"GPU-{uuid5(NAMESPACE_DNS, f'{index}.{name}')}"


def node(node_id: NodeId, name: str, index: int, now: datetime) -> Node:
    """Return a host that has joined and is not there yet."""
    return Node(
        id=node_id,
        name=name,
        state=NodeState.JOINING,
        status_reason="",
        cordoned=False,
        connected=False,
        inventory=None,
        labels={"pool": "train", "rack": f"rack-{index // HOSTS_PER_RACK}"},
        certificate_serial=CertificateSerial("1"),
        certificate_expires_at=now + HOURS,
        last_seen_at=None,
        created_at=now,
        version=1,
    )


def inventory(name: str) -> HostInventory:
    """Return what it is made of: eight H100."""
    return HostInventory(
        hostname=name,
        boot_id=f"boot-{name}",
        agent_version="1.0",
        gpus=tuple(
            GpuInventory(
                index=index,
                uuid=_uuid(name, index),
                gpu_type="H100",
                product_name="NVIDIA H100 80GB HBM3",
                memory_bytes=80 * 10**9,
                pci_bus_id=f"00000000:{index:02x}:00.0",
                serial=f"{name}-{index}",
            )
            for index in range(GPUS)
        ),
        cpu_count=192,
        memory_bytes=2 << 40,
        address=f"{name}.example",
    )


def fault(name: str, now: datetime) -> node_link_pb2.ConnectRequest:
    """Return how it says that the system processor of its first GPU does not answer."""
    uuid = _uuid(name, 0)
    condition = health_pb2.Condition(
        id=f"gpu/{uuid}/xid-119",
        scope=health_pb2.CONDITION_SCOPE_GPU,
        subject=uuid,
        kind="XID",
        code=119,
        severity=health_pb2.CONDITION_SEVERITY_FATAL,
        summary="XID 119: the GPU's system processor does not answer",
        gpu_uuid=uuid,
        repair=repair_pb2.REPAIR_RUNG_RESET_GPU,
        authority=health_pb2.AUTHORITY_CATALOGUE,
        count=1,
        evidence=[
            health_pb2.ConditionEvidence(
                id="ev-1",
                source=health_pb2.EVIDENCE_SOURCE_KERNEL,
                text="NVRM: Xid (PCI:0000:00:00): 119, Timeout after 6s of waiting for RPC response from GPU0 GSP!",
            )
        ],
    )
    condition.first_seen_at.FromDatetime(now)
    condition.last_seen_at.FromDatetime(now)
    condition.evidence[0].observed_at.FromDatetime(now)
    event = health_pb2.HealthEvent(id="event-1", kind=health_pb2.HEALTH_EVENT_KIND_RAISED, condition=condition)
    event.occurred_at.FromDatetime(now)
    record = node_link_pb2.SpoolRecord(sequence=1, health_event=event)
    record.recorded_at.FromDatetime(now)
    return node_link_pb2.ConnectRequest(spool=node_link_pb2.SpoolBatch(spool_id="spool-1", records=[record]))
