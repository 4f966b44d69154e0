"""Conditions and repairs on the wire keep to the contract's bounds."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from node_agent.convert_health import MAXIMUM_BYTES, to_condition, to_conditions
from node_agent.convert_repair import OrderInvalid, to_order, to_repair_report
from node_agent.health.model import Authority, Condition, Evidence, Rung, Scope, Severity, Source
from node_agent.repair.model import Check, CheckOutcome, Origin, RepairOrder, RepairRecord, RepairState, Step
from orquanta.v1 import health_pb2, repair_pb2

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def condition(number: int = 0, evidence: int = 8) -> Condition:
    return Condition(
        id=f"gpu/GPU-{number}/xid-79",
        scope=Scope.GPU,
        subject=f"GPU-{number}",
        kind="XID",
        severity=Severity.FATAL,
        summary="s" * 900,
        first_seen_at=NOW,
        last_seen_at=NOW + timedelta(seconds=5),
        count=3,
        code=79,
        repair=Rung.REBOOT_HOST,
        authority=Authority.CATALOGUE,
        evidence=tuple(Evidence(f"e-{n}", Source.KERNEL, "x" * 900, NOW) for n in range(evidence)),
        process_ids=tuple(range(40)),
    )


def test_a_condition_is_cut_to_the_contracts_bounds() -> None:
    made = to_condition(condition(evidence=20))
    assert (made.severity, made.scope) == (health_pb2.CONDITION_SEVERITY_FATAL, health_pb2.CONDITION_SCOPE_GPU)
    assert (made.repair, made.authority) == (repair_pb2.REPAIR_RUNG_REBOOT_HOST, health_pb2.AUTHORITY_CATALOGUE)
    assert (len(made.summary), len(made.evidence), len(made.process_ids)) == (500, 8, 16)
    assert {len(evidence.text) for evidence in made.evidence} == {500}
    assert made.last_seen_at.ToDatetime(tzinfo=UTC) == NOW + timedelta(seconds=5)


def test_every_kind_of_word_has_one_on_the_wire() -> None:
    for rung in Rung:
        made = to_condition(Condition("c", Scope.HOST, "", "X", Severity.INFO, "", NOW, NOW, repair=rung))
        assert repair_pb2.RepairRung.Name(made.repair) == f"REPAIR_RUNG_{rung.name}"
    for scope in Scope:
        for severity in Severity:
            made = to_condition(Condition("c", scope, "", "X", severity, "", NOW, NOW))
            assert health_pb2.ConditionScope.Name(made.scope) == f"CONDITION_SCOPE_{scope.name}"
            assert health_pb2.ConditionSeverity.Name(made.severity) == f"CONDITION_SEVERITY_{severity.name}"


def test_a_full_house_of_conditions_fits_into_hello_and_none_is_left_out_for_its_evidence() -> None:
    made = to_conditions(condition(number) for number in range(600))
    assert len(made) == 500
    assert sum(message.ByteSize() for message in made) <= MAXIMUM_BYTES
    assert made[0].evidence
    assert not made[-1].evidence


def test_a_report_is_cut_to_the_contracts_bounds() -> None:
    order = RepairOrder("r-1", Rung.RESET_GPU, Origin.LOCAL_POLICY, "", policy_version=7)
    record = RepairRecord(
        order=order,
        state=RepairState.FAILED,
        message="m" * 9000,
        started_at=NOW,
        boot_id="b",
        ended_at=NOW,
        steps=tuple(Step(f"step {number}", True, "d" * 5000, NOW, 1.5, undo=number == 99) for number in range(100)),
        checks=tuple(Check("nvml", CheckOutcome.NOT_CHECKED, "d" * 5000, 0.5) for _ in range(100)),
        handoff_json=json.dumps({"evidence": "x" * 60_000}),
    )
    made = to_repair_report(record)
    assert (len(made.message), len(made.steps), len(made.checks)) == (2000, 64, 64)
    assert made.steps[-1].undo  # the newest are kept
    assert json.loads(made.handoff_json)
    assert (made.policy_version, made.origin) == (7, repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY)
    assert made.ByteSize() < 1_000_000


def test_an_order_of_a_later_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(OrderInvalid, match="knows no repair of number 99; upgrade it"):
        to_order(repair_pb2.RepairOrder(id="r-1", rung=99))  # type: ignore[arg-type] # a number of a later contract
    with pytest.raises(OrderInvalid, match="more GPUs"):
        to_order(repair_pb2.RepairOrder(id="r-1", rung=repair_pb2.REPAIR_RUNG_VERIFY, gpu_uuids=["x"] * 65))


def test_an_order_arrives_whole() -> None:
    wire = repair_pb2.RepairOrder(
        id="r-1",
        incident_id="i-1",
        rung=repair_pb2.REPAIR_RUNG_STOP_PROCESS,
        gpu_uuids=["GPU-1"],
        process_ids=[7],
        dry_run=True,
        condition_ids=["c"],
        reason="why",
    )
    wire.not_after.FromDatetime(NOW)
    assert to_order(wire) == RepairOrder(
        id="r-1",
        rung=Rung.STOP_PROCESS,
        origin=Origin.CONTROL_PLANE,
        reason="why",
        incident_id="i-1",
        gpu_uuids=("GPU-1",),
        process_ids=(7,),
        dry_run=True,
        not_after=NOW,
        condition_ids=("c",),
    )
