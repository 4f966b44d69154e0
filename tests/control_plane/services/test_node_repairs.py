"""Drains, repairs, tests, quarantines, releases and words about conditions, as people ask for them."""

import grpc
import pytest

from control_plane.model.health import ConditionScope, ConditionSeverity
from control_plane.model.repair import RepairState, Rung
from orquanta.v1 import audit_pb2, health_pb2, job_pb2, metrics_pb2, node_pb2, repair_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused
from tests.control_plane.services.troubles import condition, open_incident, report_health, report_repair


async def get(client: Client, name: str = "host-1") -> node_pb2.Node:
    return (await client.nodes.GetNode(node_pb2.GetNodeRequest(node_id=name))).node


async def test_a_node_tells_its_conditions_worst_first_its_incident_and_how_well_its_gpus_are(
    fleet: Fleet, user: Client
) -> None:
    node = await fleet.node("host-1", gpus=3)
    warning = condition(
        fleet, "GPU-host-1-1", id="gpu/GPU-host-1-1/thermal", kind="THERMAL", severity=ConditionSeverity.WARNING
    )
    await report_health(fleet, node, warning, condition(fleet, "GPU-host-1-0"))
    incident_id = await open_incident(fleet, node)
    found = await get(user)
    assert [one.kind for one in found.conditions] == ["XID", "THERMAL"]
    fatal = found.conditions[0]
    assert (fatal.code, fatal.severity, fatal.repair) == (
        79,
        health_pb2.CONDITION_SEVERITY_FATAL,
        repair_pb2.REPAIR_RUNG_RESET_GPU,
    )
    assert (fatal.authority, fatal.evidence[0].id) == (health_pb2.AUTHORITY_UNSPECIFIED, "e-1")
    assert [gpu.health for gpu in found.gpus] == [
        node_pb2.GPU_HEALTH_FAILED,
        node_pb2.GPU_HEALTH_DEGRADED,
        node_pb2.GPU_HEALTH_HEALTHY,
    ]
    assert found.incident_id == incident_id
    assert not found.HasField("repair")


async def test_a_list_of_nodes_tells_the_same_without_evidence_and_steps(fleet: Fleet, operator: Client) -> None:
    node, well = await fleet.node("host-1"), await fleet.node("host-2")
    await report_health(fleet, node, *(condition(fleet, "GPU-host-1-0", id=f"c-{index:02}") for index in range(20)))
    ordered = await operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1"))
    await report_repair(fleet, node, ordered.repair_id, Rung.RESET_GPU, RepairState.RUNNING)
    listed = (await operator.nodes.ListNodes(node_pb2.ListNodesRequest())).nodes
    by_id = {one.id: one for one in listed}
    whole = await get(operator)
    assert not by_id[well.id].conditions
    assert [one.id for one in by_id[node.id].conditions] == [f"c-{index:02}" for index in range(10)]
    assert not by_id[node.id].conditions[0].evidence
    assert by_id[node.id].repair.repair_id == whole.repair.repair_id == ordered.repair_id
    assert (len(by_id[node.id].repair.steps), len(whole.repair.steps)) == (0, 1)
    assert by_id[node.id].gpus == whole.gpus
    assert by_id[node.id].incident_id == whole.incident_id != ""
    assert len(whole.conditions) == 20


async def test_a_drain_takes_the_node_out_of_scheduling_and_stops_what_runs_there(
    fleet: Fleet, operator: Client
) -> None:
    node = await fleet.node("host-1")
    job = (await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await fleet.place(job.id, node, 1)
    request = node_pb2.DrainNodeRequest(node_id="host-1", reason="new fans", request_id="d-1")
    drained = await operator.nodes.DrainNode(request)
    assert drained.node.state == node_pb2.NODE_STATE_DRAINING
    assert "new fans" in drained.node.status_reason
    moving = (await operator.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.id))).job
    assert moving.allocations[0].state == job_pb2.ALLOCATION_STATE_STOPPING
    assert (await operator.nodes.DrainNode(request)).action_id == drained.action_id


async def test_a_repair_without_a_rung_is_the_one_that_the_conditions_ask_for(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1")
    await report_health(fleet, node, condition(fleet, "GPU-host-1-3"))
    ordered = await operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1", reason="XID 79"))
    assert ordered.repair_id.startswith("r-")
    assert ordered.incident_id.startswith("i-")
    assert ordered.action_id.startswith("act-")
    report = ordered.node.repair
    assert (report.repair_id, report.incident_id) == (ordered.repair_id, ordered.incident_id)
    assert (report.rung, list(report.gpu_uuids)) == (repair_pb2.REPAIR_RUNG_RESET_GPU, ["GPU-host-1-3"])
    assert list(report.condition_ids) == ["gpu/GPU-host-1-3/xid-79"]
    assert report.origin == repair_pb2.REPAIR_ORIGIN_CONTROL_PLANE


async def test_a_retried_repair_is_one_repair(fleet: Fleet, operator: Client) -> None:
    await fleet.node("host-1")
    request = node_pb2.RepairNodeRequest(
        node_id="host-1", rung=repair_pb2.REPAIR_RUNG_RESET_GPU, gpus=["2"], request_id="r-1"
    )
    first, again = await operator.nodes.RepairNode(request), await operator.nodes.RepairNode(request)
    assert first == again
    assert list(first.node.repair.gpu_uuids) == ["GPU-host-1-2"]
    request.gpus[0] = "3"
    assert (await refused(operator.nodes.RepairNode(request))).reason == "REQUEST_ID_REUSED"


async def test_one_repair_at_a_time_on_one_host(fleet: Fleet, operator: Client) -> None:
    await fleet.node("host-1")
    await operator.nodes.VerifyNode(node_pb2.VerifyNodeRequest(node_id="host-1"))
    outcome = await refused(
        operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1", rung=repair_pb2.REPAIR_RUNG_REBOOT_HOST))
    )
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REPAIR_IN_PROGRESS")


async def test_progress_of_a_repair_is_told_by_the_watch_of_its_node(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1")
    ordered = await operator.nodes.VerifyNode(node_pb2.VerifyNodeRequest(node_id="host-1"))
    stream = aiter(operator.nodes.WatchNodes(node_pb2.WatchNodesRequest(node_id="host-1")))
    first = await anext(stream)
    assert (first.node.repair.repair_id, first.node.repair.rung) == (
        ordered.repair_id,
        repair_pb2.REPAIR_RUNG_VERIFY,
    )
    await report_repair(fleet, node, ordered.repair_id, Rung.VERIFY, RepairState.SUCCEEDED)
    while (seen := (await anext(stream)).node.repair).state != repair_pb2.REPAIR_STATE_SUCCEEDED:
        pass
    assert (seen.message, seen.steps[0].took.nanos) == ("done", 250_000_000)
    assert seen.checks[0].outcome == repair_pb2.CHECK_OUTCOME_NOT_CHECKED
    assert seen.HasField("ended_at")


async def test_a_dry_run_takes_nothing_out_of_service(fleet: Fleet, operator: Client) -> None:
    await fleet.node("host-1")
    request = node_pb2.RepairNodeRequest(node_id="host-1", rung=repair_pb2.REPAIR_RUNG_REBOOT_HOST, dry_run=True)
    ordered = await operator.nodes.RepairNode(request)
    assert ordered.node.state == node_pb2.NODE_STATE_READY
    assert ordered.node.repair.dry_run
    assert ordered.incident_id == ""


async def test_a_healthy_node_without_a_named_rung_is_not_repaired(fleet: Fleet, operator: Client) -> None:
    await fleet.node("host-1")
    outcome = await refused(operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1")))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_REPAIR_FITS")
    assert "orquanta node verify host-1" in outcome.message


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (node_pb2.RepairNodeRequest(node_id="a b"), "ID_INVALID", "node_id"),
        (node_pb2.RepairNodeRequest(node_id="host-1", gpus=["9"]), "GPU_UNKNOWN", "gpus"),
        (node_pb2.RepairNodeRequest(node_id="host-1", gpus=["; reboot"]), "GPU_INVALID", "gpus[0]"),
        (node_pb2.RepairNodeRequest(node_id="host-1", gpus=["0"] * 65), "LIST_TOO_LONG", "gpus"),
        (node_pb2.RepairNodeRequest(node_id="host-1", service="a b"), "SERVICE_INVALID", "service"),
        (node_pb2.RepairNodeRequest(node_id="host-1", rung=99), "ENUM_UNKNOWN", "rung"),  # type: ignore[arg-type] # not a value of the contract
        (node_pb2.RepairNodeRequest(node_id="host-1", reason="x" * 2001), "TEXT_TOO_LONG", "reason"),
        (node_pb2.RepairNodeRequest(node_id="nowhere"), "NODE_NOT_FOUND", ""),
    ],
)
async def test_a_bad_request_for_a_repair_is_refused_and_orders_nothing(
    fleet: Fleet, operator: Client, request_: node_pb2.RepairNodeRequest, reason: str, field: str
) -> None:
    await fleet.node("host-1")
    outcome = await refused(operator.nodes.RepairNode(request_))
    assert outcome.reason == reason
    assert outcome.fields == ((field,) if field else ())
    assert not (await get(operator)).HasField("repair")


async def test_a_quarantined_node_stays_out_until_it_is_released(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1")
    request = node_pb2.QuarantineNodeRequest(node_id="host-1", reason="third repair this month")
    out = (await operator.nodes.QuarantineNode(request)).node
    assert out.state == node_pb2.NODE_STATE_QUARANTINED
    assert "third repair this month" in out.status_reason
    await report_repair(fleet, node, out.repair.repair_id, Rung.QUARANTINE, RepairState.SUCCEEDED)
    assert (await get(operator)).repair.handoff_json == '{"serial": "1650522"}'
    back = (await operator.nodes.ReleaseNode(node_pb2.ReleaseNodeRequest(node_id="host-1", reason="new board"))).node
    assert back.state == node_pb2.NODE_STATE_READY
    again = await refused(operator.nodes.ReleaseNode(node_pb2.ReleaseNodeRequest(node_id="host-1")))
    assert again.reason == "NODE_IN_SERVICE"


async def test_an_acknowledged_condition_says_by_whom_and_asks_for_no_repair(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1")
    known = condition(fleet, "GPU-host-1-0")
    await report_health(fleet, node, known)
    request = node_pb2.UpdateConditionRequest(node_id="host-1", condition_id=known.id, reason="board is ordered")
    after = (await operator.nodes.UpdateCondition(request)).node
    assert operator.user is not None
    assert after.conditions[0].acknowledged_by == operator.user.email
    outcome = await refused(operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1")))
    assert outcome.reason == "NO_REPAIR_FITS"


@pytest.mark.parametrize(
    ("condition_id", "reason"),
    [("", "FIELD_MISSING"), ("x" * 513, "TEXT_TOO_LONG"), ("a\nb", "TEXT_INVALID"), ("gone", "CONDITION_UNKNOWN")],
)
async def test_a_word_about_a_condition_that_is_not_there_is_refused(
    fleet: Fleet, operator: Client, condition_id: str, reason: str
) -> None:
    await fleet.node("host-1")
    request = node_pb2.UpdateConditionRequest(node_id="host-1", condition_id=condition_id)
    assert (await refused(operator.nodes.UpdateCondition(request))).reason == reason


async def test_every_repair_leaves_its_reason_in_the_audit(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1")
    await operator.nodes.VerifyNode(node_pb2.VerifyNodeRequest(node_id="host-1", reason="after the move"))
    records = (await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())).records
    ours = [record for record in records if record.node_id == node.id]
    assert any("after the move" in record.reasoning for record in ours)


async def test_figures_count_conditions_and_free_gpus_without_failed_ones(fleet: Fleet, user: Client) -> None:
    ill, closed = await fleet.node("host-1", gpus=4), await fleet.node("host-2", gpus=4)
    full = condition(fleet, "", id="host/disk/var", scope=ConditionScope.HOST, subject="/var", kind="DISK_FULL", code=0)
    await report_health(fleet, ill, condition(fleet, "GPU-host-1-0"))
    await report_health(fleet, closed, full)
    await open_incident(fleet, ill)
    figures = await user.metrics.GetFleetMetrics(metrics_pb2.GetFleetMetricsRequest())
    assert dict(figures.conditions_by_kind) == {"XID": 1, "DISK_FULL": 1}
    assert dict(figures.incidents_by_state) == {"open": 1}
    assert dict(figures.nodes_by_state) == {"ready": 2}
    assert (figures.gpu_types[0].total, figures.gpu_types[0].free) == (8, 3)
