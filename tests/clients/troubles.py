"""A node, its conditions, repairs and incident, as a server sends them."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from orquanta.v1 import health_pb2, incident_pb2, node_pb2, repair_pb2

BEGIN = datetime(2026, 5, 4, 1, 12, 9, tzinfo=UTC)
GPU = "GPU-3333"
XID_79 = "gpu/GPU-3333/xid-79"


def condition(**changes: object) -> health_pb2.Condition:
    message = health_pb2.Condition(
        id=XID_79,
        scope=health_pb2.CONDITION_SCOPE_GPU,
        subject=GPU,
        kind="XID",
        code=79,
        severity=health_pb2.CONDITION_SEVERITY_FATAL,
        summary="the GPU has fallen off the bus",
        gpu_uuid=GPU,
        pci_bus_id="0000:3b:00.0",
        repair=repair_pb2.REPAIR_RUNG_REBOOT_HOST,
        authority=health_pb2.AUTHORITY_DRIVER,
        vendor_action="RESTART_BM",
        sticky=True,
        count=3,
        earlier_repairs=2,
        evidence=[
            health_pb2.ConditionEvidence(
                id="e-17",
                source=health_pb2.EVIDENCE_SOURCE_KERNEL,
                text="NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\x1b[2J",
            )
        ],
    )
    message.first_seen_at.FromDatetime(BEGIN)
    message.last_seen_at.FromDatetime(BEGIN + timedelta(seconds=4))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def repair(
    state: repair_pb2.RepairState.ValueType,
    *,
    steps: int = 0,
    failed_check: bool = False,
    repair_id: str = "r-1",
    handoff_json: str = "",
) -> repair_pb2.RepairReport:
    checks = [
        repair_pb2.VerificationCheck(
            name="nvlink", outcome=repair_pb2.CHECK_OUTCOME_FAILED, detail="link 3 is down", took=Duration(seconds=1)
        ),
        repair_pb2.VerificationCheck(
            name="memory_pattern", outcome=repair_pb2.CHECK_OUTCOME_NOT_CHECKED, detail="there is no CUDA runtime"
        ),
    ]
    message = repair_pb2.RepairReport(
        repair_id=repair_id,
        incident_id="i-1",
        origin=repair_pb2.REPAIR_ORIGIN_CONTROL_PLANE,
        rung=repair_pb2.REPAIR_RUNG_RESET_GPU,
        state=state,
        gpu_uuids=[GPU],
        message="GPU 3 is reset" if state == repair_pb2.REPAIR_STATE_SUCCEEDED else "",
        steps=[
            repair_pb2.RepairStep(name=f"step {index + 1}", ok=True, took=Duration(nanos=12_000_000))
            for index in range(steps)
        ],
        checks=checks if failed_check else [],
        handoff_json=handoff_json,
    )
    message.started_at.FromDatetime(BEGIN + timedelta(seconds=10))
    if state in (repair_pb2.REPAIR_STATE_SUCCEEDED, repair_pb2.REPAIR_STATE_FAILED, repair_pb2.REPAIR_STATE_REFUSED):
        message.ended_at.FromDatetime(BEGIN + timedelta(seconds=51))
    return message


def node(
    *,
    report: repair_pb2.RepairReport | None = None,
    state: node_pb2.NodeState.ValueType = node_pb2.NODE_STATE_REPAIRING,
    ill: bool = True,
    job_id: str = "j-1",
) -> node_pb2.Node:
    inventory = node_pb2.GpuInventory(index=3, uuid=GPU, gpu_type="H100", serial="1650522")
    return node_pb2.Node(
        id="n-1",
        name="node-a",
        state=state,
        connected=True,
        gpus=[node_pb2.Gpu(inventory=inventory, health=node_pb2.GPU_HEALTH_FAILED, job_id=job_id)],
        conditions=[condition()] if ill else [],
        repair=report,
        incident_id="i-1" if ill else "",
    )


def incident(
    state: incident_pb2.IncidentState.ValueType = incident_pb2.INCIDENT_STATE_REPAIRING,
    *,
    repairs: list[repair_pb2.RepairReport] | None = None,
    entries: int = 2,
    **changes: object,
) -> incident_pb2.Incident:
    history = [
        incident_pb2.IncidentEntry(kind="detected", message="XID 79 on GPU 3"),
        incident_pb2.IncidentEntry(kind="cordoned", message="no new jobs", action_id="act-1"),
        *(incident_pb2.IncidentEntry(kind="noted", message=f"entry {index}") for index in range(entries - 2)),
    ]
    message = incident_pb2.Incident(
        id="i-1",
        node_id="n-1",
        node_name="node-a",
        state=state,
        summary="GPU 3 has fallen off the bus",
        diagnosis="XID 79 [e-17]: only a reboot brings the GPU back.",
        status_reason="waits until job j-1 is away",
        conditions=[condition()],
        gpu_uuids=[GPU],
        repairs=repairs or [],
        entries=history,
        timings=incident_pb2.IncidentTimings(detect=Duration(nanos=8_000_000), cordon=Duration(seconds=2)),
        version=4,
    )
    message.opened_at.FromDatetime(BEGIN)
    for entry in message.entries:
        entry.at.FromDatetime(BEGIN)
    for name, value in changes.items():
        setattr(message, name, value)
    return message
