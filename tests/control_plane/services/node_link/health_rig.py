"""What the tests of health over the link have in common: conditions, spools and repairs as a host would tell them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from control_plane.store import conditions
from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2
from tests.control_plane.services.node_link.hosts import Host, Stream, inventory, stamp
from tests.control_plane.services.node_link.rig import Rig

FATAL = health_pb2.CONDITION_SEVERITY_FATAL
RESET = repair_pb2.REPAIR_RUNG_RESET_GPU
RAISED = health_pb2.HEALTH_EVENT_KIND_RAISED
CLEARED = health_pb2.HEALTH_EVENT_KIND_CLEARED


def condition(
    rig: Rig, host: Host, condition_id: str = "gpu/xid-79", **changes: Any
) -> health_pb2.Condition:  # Any: fields
    fields: dict[str, Any] = {  # Any: as above
        "id": condition_id,
        "scope": health_pb2.CONDITION_SCOPE_GPU,
        "subject": host.uuids()[0],
        "kind": "XID",
        "code": 79,
        "severity": FATAL,
        "summary": "fell off the bus",
        "gpu_uuid": host.uuids()[0],
        "repair": RESET,
        "authority": health_pb2.AUTHORITY_CATALOGUE,
        "count": 1,
        "first_seen_at": stamp(rig.clock.now()),
        "last_seen_at": stamp(rig.clock.now()),
        "evidence": [
            health_pb2.ConditionEvidence(
                id="ev-1",
                source=health_pb2.EVIDENCE_SOURCE_KERNEL,
                text="NVRM: Xid",
                observed_at=stamp(rig.clock.now()),
            )
        ],
    }
    return health_pb2.Condition(**(fields | changes))


def event(
    rig: Rig, sequence: int, kind: Any, what: health_pb2.Condition, *, at: datetime | None = None
) -> node_link_pb2.SpoolRecord:  # Any: an enum's value
    when = stamp(at or rig.clock.now())
    happened = health_pb2.HealthEvent(id=f"event-{sequence}", kind=kind, condition=what, occurred_at=when)
    return node_link_pb2.SpoolRecord(sequence=sequence, recorded_at=when, health_event=happened)


def batch(records: Iterable[node_link_pb2.SpoolRecord], spool_id: str = "spool-1") -> node_link_pb2.SpoolBatch:
    return node_link_pb2.SpoolBatch(spool_id=spool_id, records=records)


def progress(order: repair_pb2.RepairOrder, state: Any, **changes: Any) -> repair_pb2.RepairReport:  # Any: enum, fields
    fields: dict[str, Any] = {  # Any: as above
        "repair_id": order.id,
        "incident_id": order.incident_id,
        "origin": repair_pb2.REPAIR_ORIGIN_CONTROL_PLANE,
        "rung": order.rung,
        "state": state,
    }
    return repair_pb2.RepairReport(**(fields | changes))


async def ordered(stream: Stream) -> repair_pb2.RepairOrder:
    """Read until a desired state has a repair."""
    while True:
        for one in reversed(stream.received):
            if one.WhichOneof("message") == "desired_state":
                if one.desired_state.HasField("repair"):
                    return one.desired_state.repair
                break
        await stream.next("desired_state")


async def acked(stream: Stream, sequence: int) -> None:
    while (await stream.next("spool_ack")).spool_ack.sequence < sequence:
        pass


def hello(rig: Rig, host: Host, *present: health_pb2.Condition, **fields: Any) -> node_link_pb2.Hello:  # Any: fields
    return node_link_pb2.Hello(
        inventory=inventory(host.name, host.gpus),
        host_time=stamp(rig.clock.now()),
        conditions=present,
        spool_id="spool-1",
        **fields,
    )


@asynccontextmanager
async def greeted(rig: Rig, host: Host, *present: health_pb2.Condition, **fields: Any) -> AsyncIterator[Stream]:  # Any
    async with host.dial() as stream:
        await stream.send(hello=hello(rig, host, *present, **fields))
        await stream.next("welcome")
        yield stream


async def ids(rig: Rig, host: Host) -> list[str]:
    return [one.id for one in await rig.store.read(lambda tx: conditions.of_node(tx, host.node_id))]
