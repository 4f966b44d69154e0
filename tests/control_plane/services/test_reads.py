"""The audit, agents, figures and prices."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.model.ids import NodeId
from control_plane.telemetry.reading import reading_of
from orquanta.v1 import agent_pb2, audit_pb2, catalog_pb2, event_pb2, job_pb2, metrics_pb2, node_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused


async def test_a_user_sees_the_audit_of_their_own_work_and_an_operator_all_of_it(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    mine = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    theirs = (await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    own = (await user.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())).records
    assert {record.job_id for record in own} == {mine.id}
    sneaky = audit_pb2.ListAuditRecordsRequest(job_id=theirs.id)
    assert not (await user.audit.ListAuditRecords(sneaky)).records
    everything = (await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())).records
    assert {record.job_id for record in everything} == {mine.id, theirs.id}
    assert [record.id for record in everything] == sorted((record.id for record in everything), reverse=True)


async def test_the_audit_is_filtered_by_time_and_author(fleet: Fleet, operator: Client) -> None:
    await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    since = Timestamp(seconds=int(fleet.clock.now().timestamp()) + 1)
    assert not (await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest(since=since))).records
    assert operator.user
    by = audit_pb2.ListAuditRecordsRequest(agent_name=operator.user.email)
    assert (await operator.audit.ListAuditRecords(by)).records


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (audit_pb2.ListAuditRecordsRequest(goal_id="x"), "ID_INVALID"),
        (audit_pb2.ListAuditRecordsRequest(agent_name="x" * 255), "TEXT_TOO_LONG"),
        (audit_pb2.ListAuditRecordsRequest(since=Timestamp(seconds=1 << 60)), "TIME_INVALID"),
        (audit_pb2.ListAuditRecordsRequest(page_token="x"), "PAGE_TOKEN_INVALID"),
        (audit_pb2.ListAuditRecordsRequest(page_size=4_294_967_295), "PAGE_SIZE_INVALID"),
    ],
)
async def test_a_bad_question_to_the_audit_is_refused(
    operator: Client, request_: audit_pb2.ListAuditRecordsRequest, reason: str
) -> None:
    assert (await refused(operator.audit.ListAuditRecords(request_))).reason == reason


async def test_an_agent_is_paused_and_resumed_and_a_late_retry_changes_nothing(fleet: Fleet, operator: Client) -> None:
    names = [agent.name for agent in (await operator.agents.ListAgents(agent_pb2.ListAgentsRequest())).agents]
    assert names == ["master_orchestrator", "scheduler_agent"]
    pause = agent_pb2.PauseAgentRequest(name="scheduler_agent", reason="maintenance", request_id="p-1")
    assert (await operator.agents.PauseAgent(pause)).agent.paused
    assert not (await operator.agents.ResumeAgent(agent_pb2.ResumeAgentRequest(name="scheduler_agent"))).agent.paused
    assert not (await operator.agents.PauseAgent(pause)).agent.paused
    found = (await operator.agents.GetAgent(agent_pb2.GetAgentRequest(name="scheduler_agent"))).agent
    assert found.status == agent_pb2.AGENT_STATUS_IDLE


async def test_an_agent_that_does_not_exist_is_not_found(operator: Client) -> None:
    outcome = await refused(operator.agents.GetAgent(agent_pb2.GetAgentRequest(name="no_such")))
    assert outcome.reason == "AGENT_NOT_FOUND"
    assert "scheduler_agent" in outcome.message
    assert (await refused(operator.agents.PauseAgent(agent_pb2.PauseAgentRequest(name="A B")))).reason == "NAME_INVALID"


async def test_the_fleets_figures_count_gpus_nodes_jobs_and_money(fleet: Fleet, user: Client) -> None:
    node = await fleet.node("host-1", gpus=4)
    await fleet.node("host-2", gpu_type="A100", gpus=2)
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await fleet.place(job.id, node, 1)
    batch = event_pb2.TelemetryBatch(gpus=[event_pb2.GpuSample(uuid="GPU-host-1-0", utilization_percent=80)])
    fleet.telemetry.add(NodeId(node.id), reading_of(batch))
    figures = await user.metrics.GetFleetMetrics(metrics_pb2.GetFleetMetricsRequest())
    a100, h100 = figures.gpu_types
    assert (a100.gpu_type, a100.total, a100.allocated, a100.free) == ("A100", 2, 0, 2)
    assert not a100.HasField("utilization_percent")
    assert (h100.gpu_type, h100.total, h100.allocated, h100.free) == ("H100", 4, 1, 3)
    assert (h100.used_milli, h100.partly_allocated) == (1000, 0)
    assert h100.utilization_percent == 80
    assert dict(figures.nodes_by_state) == {"ready": 2}
    assert dict(figures.jobs_by_state) == {"placed": 1}
    placed = (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.id))).job
    assert figures.reserved_usd_micros == placed.reserved_usd_micros > 0


async def test_a_cordoned_nodes_gpus_are_not_free(fleet: Fleet, operator: Client) -> None:
    await fleet.node("host-1", gpus=4)
    await operator.nodes.CordonNode(node_pb2.CordonNodeRequest(node_id="host-1"))
    (h100,) = (await operator.metrics.GetFleetMetrics(metrics_pb2.GetFleetMetricsRequest())).gpu_types
    assert (h100.total, h100.free) == (4, 0)


async def test_telemetry_is_given_for_one_node_or_all(fleet: Fleet, user: Client) -> None:
    first, second = await fleet.node("host-1"), await fleet.node("host-2")
    for node in (first, second):
        batch = event_pb2.TelemetryBatch(gpus=[event_pb2.GpuSample(uuid="x", power_watts=300)])
        fleet.telemetry.add(node.id, reading_of(batch))
    everything = (await user.metrics.GetTelemetry(metrics_pb2.GetTelemetryRequest())).nodes
    assert {found.node_id for found in everything} == {first.id, second.id}
    (one,) = (await user.metrics.GetTelemetry(metrics_pb2.GetTelemetryRequest(node_id="host-2"))).nodes
    assert (one.node_id, one.batches, one.newest.gpus[0].power_watts) == (second.id, 1, 300)
    call = user.metrics.GetTelemetry(metrics_pb2.GetTelemetryRequest(node_id="nowhere"))
    assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND


async def test_prices_are_listed_with_their_source_and_day(user: Client) -> None:
    prices = (await user.catalog.ListPrices(catalog_pb2.ListPricesRequest())).prices
    h100 = next(price for price in prices if price.gpu_type == "H100")
    assert h100.usd_micros_per_gpu_hour == 3_990_000
    assert h100.source
    assert h100.as_of
    assert not (await user.catalog.ListPrices(catalog_pb2.ListPricesRequest(provider="nobody"))).prices
