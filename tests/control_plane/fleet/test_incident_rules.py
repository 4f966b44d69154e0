"""What comes next about a node's trouble."""

from datetime import UTC, datetime, timedelta

from control_plane.fleet.incident_rules import decide
from control_plane.fleet.incident_steps import HealingPolicy, OrderRepair, View
from control_plane.model.health import Condition, ConditionScope, ConditionSeverity
from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import IncidentId, NodeId, RepairId
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALPHA = NodeId("n-alpha")


def wrong(gpu: str) -> Condition:
    return Condition(
        id=f"gpu/{gpu}/xid-119",
        scope=ConditionScope.GPU,
        subject=gpu,
        kind="XID",
        severity=ConditionSeverity.FATAL,
        summary="XID 119",
        count=1,
        first_seen_at=NOW - timedelta(seconds=5),
        last_seen_at=NOW,
        gpu_uuid=gpu,
        repair=Rung.RESET_GPU,
        sticky=True,
    )


def reset_of(gpu: str, state: RepairState) -> Repair:
    return Repair(
        id=RepairId("r-1"),
        node_id=ALPHA,
        incident_id=IncidentId("i-1"),
        action_id=None,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=Rung.RESET_GPU,
        state=state,
        reason="",
        ordered_at=NOW - timedelta(minutes=2),
        sent_at=NOW - timedelta(minutes=2),
        ended_at=NOW - timedelta(minutes=1),
        closed_at=NOW - timedelta(minutes=1),
        gpu_uuids=(gpu,),
        condition_ids=(f"gpu/{gpu}/xid-119",),
    )


def next_rung(condition: Condition, done: Repair) -> Rung:
    incident = Incident(
        id=IncidentId("i-1"),
        node_id=ALPHA,
        node_name="alpha",
        state=IncidentState.REPAIRING,
        summary="",
        diagnosis="",
        status_reason="",
        observed_at=NOW - timedelta(minutes=3),
        opened_at=NOW - timedelta(minutes=3),
        version=1,
        repairs=(done,),
    )
    node = Node(
        id=ALPHA,
        name="alpha",
        state=NodeState.DRAINING,
        status_reason="",
        cordoned=False,
        connected=True,
        inventory=None,
        labels={},
        certificate_serial=CertificateSerial("00"),
        certificate_expires_at=NOW,
        last_seen_at=NOW,
        created_at=NOW,
        version=1,
    )
    step = decide(View(node, (condition,), incident), NOW, HealingPolicy())
    assert isinstance(step, OrderRepair), step
    return step.rung


def test_what_failed_on_a_gpu_is_not_tried_on_it_again() -> None:
    assert next_rung(wrong("GPU-1"), reset_of("GPU-1", RepairState.FAILED)) is Rung.RELOAD_DRIVER


def test_what_was_done_to_one_gpu_says_nothing_about_another() -> None:
    assert next_rung(wrong("GPU-2"), reset_of("GPU-1", RepairState.SUCCEEDED)) is Rung.RESET_GPU
    assert next_rung(wrong("GPU-2"), reset_of("GPU-1", RepairState.FAILED)) is Rung.RESET_GPU
