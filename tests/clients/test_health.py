"""Conditions, repairs and incidents: what the client sends and how it reads what it gets."""

from datetime import UTC, datetime

import grpc
import pytest

from orquanta import AsyncClient
from orquanta.errors import NotFound, PreconditionFailed
from orquanta.types import (
    Authority,
    CheckOutcome,
    ConditionSeverity,
    EvidenceSource,
    IncidentState,
    RepairRung,
    RepairState,
)
from orquanta.v1 import incident_pb2, node_pb2, repair_pb2
from tests.clients.conftest import Certificates
from tests.clients.scripted import Failure, ScriptedServer
from tests.clients.test_calls import DOWN, connect
from tests.clients.troubles import GPU, XID_79, incident, node, repair


async def test_a_node_is_read_with_its_conditions_and_its_repair(
    server: ScriptedServer, certificates: Certificates
) -> None:
    report = repair(repair_pb2.REPAIR_STATE_FAILED, steps=1, failed_check=True)
    server.answer("NodeService/GetNode", node_pb2.GetNodeResponse(node=node(report=report)))
    async with connect(server, certificates) as client:
        found = await client.nodes.get("node-a")
    (condition,) = found.conditions
    assert (condition.id, condition.code, condition.severity) == (XID_79, 79, ConditionSeverity.FATAL)
    assert (condition.repair, condition.authority) == (RepairRung.REBOOT_HOST, Authority.DRIVER)
    assert condition.first_seen_at == datetime(2026, 5, 4, 1, 12, 9, tzinfo=UTC)
    assert condition.evidence[0].source is EvidenceSource.KERNEL
    assert found.repair is not None
    assert found.repair.state is RepairState.FAILED
    assert found.repair.state.ended
    assert found.repair.steps[0].took_seconds == pytest.approx(0.012)
    assert [check.outcome for check in found.repair.checks] == [CheckOutcome.FAILED, CheckOutcome.NOT_CHECKED]


async def test_what_a_newer_server_sends_reads_as_unknown_and_what_is_not_there_as_none(
    server: ScriptedServer, certificates: Certificates
) -> None:
    strange = node()
    strange.conditions[0].severity = 77  # type: ignore[assignment] # a value that this contract does not have
    strange.conditions[0].repair = 78  # type: ignore[assignment] # likewise
    strange.conditions[0].authority = 0  # type: ignore[assignment] # nobody
    server.answer("NodeService/GetNode", node_pb2.GetNodeResponse(node=strange))
    async with connect(server, certificates) as client:
        found = await client.nodes.get("node-a")
    (condition,) = found.conditions
    assert condition.severity is ConditionSeverity.UNKNOWN
    assert (condition.repair, condition.authority) == (RepairRung.UNKNOWN, None)
    assert found.repair is None


async def test_a_retried_repair_keeps_its_request_id_and_all_that_was_asked(
    server: ScriptedServer, certificates: Certificates
) -> None:
    ordered = node_pb2.RepairNodeResponse(node=node(), repair_id="r-1", incident_id="i-1", action_id="act-1")
    server.answer("NodeService/RepairNode", DOWN, ordered)
    async with connect(server, certificates) as client:
        result = await client.nodes.repair("node-a", RepairRung.RESET_GPU, gpus=[GPU], dry_run=True, reason="ecc")
    first, second = server.requests("NodeService/RepairNode", node_pb2.RepairNodeRequest)
    assert first == second
    assert first.request_id
    assert (first.rung, list(first.gpus), first.dry_run) == (repair_pb2.REPAIR_RUNG_RESET_GPU, [GPU], True)
    assert (result.repair_id, result.incident_id, result.action_id) == ("r-1", "i-1", "act-1")


async def test_each_change_of_a_node_calls_its_own_method(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("NodeService/DrainNode", node_pb2.DrainNodeResponse(node=node(), action_id="act-1"))
    server.answer("NodeService/VerifyNode", node_pb2.VerifyNodeResponse(node=node(), repair_id="r-1"))
    server.answer("NodeService/QuarantineNode", node_pb2.QuarantineNodeResponse(node=node()))
    server.answer("NodeService/ReleaseNode", node_pb2.ReleaseNodeResponse(node=node()))
    server.answer("NodeService/UpdateCondition", node_pb2.UpdateConditionResponse(node=node()))
    async with connect(server, certificates) as client:
        assert (await client.nodes.drain("node-a", reason="fans")).action_id == "act-1"
        assert (await client.nodes.verify("node-a", reason="fans")).repair_id == "r-1"
        assert (await client.nodes.quarantine("node-a", reason="fans")).id == "n-1"
        assert (await client.nodes.release("node-a", reason="fans")).id == "n-1"
        await client.nodes.acknowledge_condition("node-a", XID_79, reason="fans")
        await client.nodes.clear_condition("node-a", XID_79, reason="fans")
    assert {(call.request.node_id, call.request.reason) for call in server.calls} == {("node-a", "fans")}  # type: ignore[attr-defined] # each has both
    updates = server.requests("NodeService/UpdateCondition", node_pb2.UpdateConditionRequest)
    assert [update.clear for update in updates] == [False, True]
    assert {update.condition_id for update in updates} == {XID_79}


async def test_a_repair_that_is_not_allowed_raises_with_its_reason(
    server: ScriptedServer, certificates: Certificates
) -> None:
    denied = Failure(grpc.StatusCode.FAILED_PRECONDITION, "one at a time", "REPAIR_IN_PROGRESS")
    server.answer("NodeService/RepairNode", denied)
    async with connect(server, certificates) as client:
        with pytest.raises(PreconditionFailed) as caught:
            await client.nodes.repair("node-a")
    assert caught.value.reason == "REPAIR_IN_PROGRESS"


async def test_incidents_are_listed_over_pages_by_state_and_node(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer(
        "IncidentService/ListIncidents",
        incident_pb2.ListIncidentsResponse(incidents=[incident()], next_page_token="more"),
        incident_pb2.ListIncidentsResponse(incidents=[incident(incident_pb2.INCIDENT_STATE_ESCALATED)]),
    )
    async with connect(server, certificates) as client:
        states = [one.state async for one in client.incidents.list(states=[IncidentState.OPEN], node_id="node-a")]
    first, second = server.requests("IncidentService/ListIncidents", incident_pb2.ListIncidentsRequest)
    assert states == [IncidentState.REPAIRING, IncidentState.ESCALATED]
    assert (list(first.states), first.node_id) == ([incident_pb2.INCIDENT_STATE_OPEN], "node-a")
    assert (first.page_token, second.page_token) == ("", "more")


async def test_an_incident_is_read_with_phases_that_have_not_come_as_none(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer("IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=incident()))
    async with connect(server, certificates) as client:
        found = await client.incidents.get("i-1")
    assert found.timings.detect_seconds == pytest.approx(0.008)
    assert (found.timings.cordon_seconds, found.timings.drain_seconds) == (2.0, None)
    assert [entry.kind for entry in found.entries] == ["detected", "cordoned"]
    assert not found.state.ended
    assert found.closed_at is None


async def test_a_watch_of_incidents_goes_on_after_a_broken_connection(
    server: ScriptedServer, certificates: Certificates
) -> None:
    gone = Failure(grpc.StatusCode.NOT_FOUND, "no such node", "NODE_NOT_FOUND")
    views = [
        incident_pb2.WatchIncidentsResponse(incident=incident(entries=count), resume_token=f"t-{count}")
        for count in (2, 3)
    ]
    server.answer("IncidentService/WatchIncidents", [views[0], DOWN], [views[1], gone])
    async with connect(server, certificates) as client:
        watch = client.incidents.watch(node_id="node-a")
        seen = [len((await anext(watch)).entries) for _ in views]
        with pytest.raises(NotFound):
            await anext(watch)
    first, second = server.requests("IncidentService/WatchIncidents", incident_pb2.WatchIncidentsRequest)
    assert seen == [2, 3]
    assert (first.resume_token, second.resume_token) == ("", "t-2")


async def test_a_person_takes_an_incident_over(server: ScriptedServer, certificates: Certificates) -> None:
    mine = incident(acknowledged_by="ada@example.com", taken_over=True)
    server.answer("IncidentService/AcknowledgeIncident", incident_pb2.AcknowledgeIncidentResponse(incident=mine))
    async with AsyncClient(server.address, api_key="k", ca_certificate=certificates.ca) as client:
        taken = await client.incidents.acknowledge("i-1", take_over=True, reason="on it")
    (request,) = server.requests("IncidentService/AcknowledgeIncident", incident_pb2.AcknowledgeIncidentRequest)
    assert (request.incident_id, request.take_over, request.reason) == ("i-1", True, "on it")
    assert request.request_id
    assert (taken.acknowledged_by, taken.taken_over) == ("ada@example.com", True)
