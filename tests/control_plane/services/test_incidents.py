"""Incidents as people read, follow and acknowledge them."""

import grpc
import pytest

from control_plane.governor import incidents as governed
from control_plane.model.identity import Role
from control_plane.model.ids import INCIDENT, IncidentId, new_id
from control_plane.model.incident import IncidentState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import incidents, nodes
from control_plane.store.database import Tx
from orquanta.v1 import audit_pb2, incident_pb2, node_pb2
from tests.control_plane.services.harness import Client, Fleet
from tests.control_plane.services.refusals import refused
from tests.control_plane.services.troubles import condition, open_incident, report_health, report_repair


async def trouble(fleet: Fleet, name: str = "host-1") -> IncidentId:
    """Make a node with a lost GPU and its incident."""
    node = await fleet.node(name)
    await report_health(fleet, node, condition(fleet, f"GPU-{name}-0"))
    fleet.clock.advance(1)
    return await open_incident(fleet, node)


async def close(fleet: Fleet, incident_id: IncidentId, state: IncidentState) -> None:
    def write(tx: Tx) -> None:
        governed.close(tx, incidents.require(tx, incident_id), state, "tested and fine")

    await fleet.store.write(write)


async def get(client: Client, incident_id: str) -> incident_pb2.Incident:
    return (await client.incidents.GetIncident(incident_pb2.GetIncidentRequest(incident_id=incident_id))).incident


async def test_an_incident_tells_what_is_wrong_what_was_done_and_how_long_it_took(
    fleet: Fleet, operator: Client
) -> None:
    incident_id = await trouble(fleet)
    ordered = await operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1", reason="now"))
    assert ordered.incident_id == incident_id
    found = await get(operator, incident_id)
    assert (found.node_name, found.state) == ("host-1", incident_pb2.INCIDENT_STATE_REPAIRING)
    assert "e-1" in found.diagnosis
    assert list(found.gpu_uuids) == ["GPU-host-1-0"]
    assert [one.evidence[0].text for one in found.conditions] == ["NVRM: Xid 79"]
    assert [one.repair_id for one in found.repairs] == [ordered.repair_id]
    kinds = [entry.kind for entry in found.entries]
    assert kinds[0] == "detected"
    assert "cordoned" in kinds
    assert (found.timings.HasField("detect"), found.timings.HasField("total")) == (True, False)
    assert found.timings.detect.seconds == 1
    assert not found.HasField("closed_at")
    assert (found.explanation.cause, found.explanation.diagnosed_by) == ("XID_79", "rules")
    assert [one.id for one in found.explanation.evidence][:2] == [
        f"condition:{found.node_id}/{found.conditions[0].id}",
        f"condition:{found.node_id}/{found.conditions[0].id}/e-1",
    ]
    (listed,) = (await operator.incidents.ListIncidents(incident_pb2.ListIncidentsRequest())).incidents
    assert not listed.HasField("explanation")


@pytest.mark.parametrize("incident_id", ["", "i-1", "j-0123456789ab", "i-0123456789aB"])
async def test_a_bad_id_of_an_incident_is_refused(user: Client, incident_id: str) -> None:
    outcome = await refused(user.incidents.GetIncident(incident_pb2.GetIncidentRequest(incident_id=incident_id)))
    assert (outcome.reason, outcome.fields) == ("ID_INVALID", ("incident_id",))


async def test_an_incident_that_does_not_exist_is_not_found(user: Client) -> None:
    unknown = incident_pb2.GetIncidentRequest(incident_id=new_id(INCIDENT))
    assert (await refused(user.incidents.GetIncident(unknown))).reason == "INCIDENT_NOT_FOUND"


async def test_incidents_are_listed_newest_first_by_state_and_node_over_pages(fleet: Fleet, user: Client) -> None:
    ids = [await trouble(fleet, f"host-{index}") for index in range(3)]
    await close(fleet, ids[0], IncidentState.ESCALATED)

    async def listed(**which: object) -> list[str]:
        request = incident_pb2.ListIncidentsRequest(**which)  # type: ignore[arg-type] # fields of the message
        found: list[str] = []
        while True:
            page = await user.incidents.ListIncidents(request)
            found += [one.id for one in page.incidents]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    assert await listed(page_size=2) == ids[::-1]
    assert await listed(node_id="host-1") == [ids[1]]
    assert await listed(states=[incident_pb2.INCIDENT_STATE_ESCALATED]) == [ids[0]]
    strange = incident_pb2.ListIncidentsRequest(states=[77])  # type: ignore[list-item] # not a value of the contract
    assert (await refused(user.incidents.ListIncidents(strange))).fields == ("states[0]",)
    nowhere = incident_pb2.ListIncidentsRequest(node_id="nowhere")
    assert (await refused(user.incidents.ListIncidents(nowhere))).reason == "NODE_NOT_FOUND"


async def test_a_list_leaves_out_what_only_the_page_of_one_incident_needs(fleet: Fleet, operator: Client) -> None:
    incident_id = await trouble(fleet)
    ordered = await operator.nodes.RepairNode(node_pb2.RepairNodeRequest(node_id="host-1"))
    node = await fleet.store.read(lambda tx: nodes.resolve(tx, "host-1"))
    await report_repair(fleet, node, ordered.repair_id, Rung.RESET_GPU, RepairState.FAILED)

    def chatter(tx: Tx) -> None:
        for index in range(30):
            incidents.add_entry(tx, incident_id, "noted", f"{index}")

    await fleet.store.write(chatter)
    (listed,) = (await operator.incidents.ListIncidents(incident_pb2.ListIncidentsRequest())).incidents
    whole = await get(operator, incident_id)
    assert (len(listed.conditions[0].evidence), len(whole.conditions[0].evidence)) == (0, 1)
    assert (len(listed.repairs[0].steps), len(whole.repairs[0].steps)) == (0, 1)
    assert len(listed.entries) == 10
    assert listed.entries[-1] == whole.entries[-1]


async def test_a_watch_tells_open_incidents_first_and_then_each_change(fleet: Fleet, operator: Client) -> None:
    over, present = await trouble(fleet, "host-1"), await trouble(fleet, "host-2")
    await close(fleet, over, IncidentState.RESOLVED)
    stream = aiter(operator.incidents.WatchIncidents(incident_pb2.WatchIncidentsRequest()))
    first = await anext(stream)
    assert first.incident.id == present
    later = await trouble(fleet, "host-3")
    second = await anext(stream)
    assert second.incident.id == later
    await close(fleet, present, IncidentState.RESOLVED)
    third = await anext(stream)
    assert (third.incident.id, third.incident.state) == (present, incident_pb2.INCIDENT_STATE_RESOLVED)
    resumed = aiter(
        operator.incidents.WatchIncidents(incident_pb2.WatchIncidentsRequest(resume_token=first.resume_token))
    )
    assert {(await anext(resumed)).incident.id, (await anext(resumed)).incident.id} == {later, present}


async def test_a_watch_of_one_node_tells_of_no_other_and_takes_no_token_of_another_watch(
    fleet: Fleet, operator: Client
) -> None:
    await trouble(fleet, "host-1")
    ours = await trouble(fleet, "host-2")
    stream = aiter(operator.incidents.WatchIncidents(incident_pb2.WatchIncidentsRequest(node_id="host-2")))
    first = await anext(stream)
    assert first.incident.id == ours
    stolen = incident_pb2.WatchIncidentsRequest(node_id="host-1", resume_token=first.resume_token)
    outcome = await refused(operator.incidents.WatchIncidents(stolen))
    assert outcome.reason == "RESUME_TOKEN_INVALID"


async def test_a_node_is_told_anew_when_its_incident_opens_and_ends(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1")
    stream = aiter(operator.nodes.WatchNodes(node_pb2.WatchNodesRequest(node_id="host-1")))
    assert (await anext(stream)).node.incident_id == ""
    incident_id = await open_incident(fleet, node)
    assert (await anext(stream)).node.incident_id == incident_id
    await close(fleet, incident_id, IncidentState.RESOLVED)
    assert (await anext(stream)).node.incident_id == ""


async def test_an_acknowledgement_is_recorded_once_with_its_reason(fleet: Fleet, operator: Client) -> None:
    incident_id = await trouble(fleet)
    request = incident_pb2.AcknowledgeIncidentRequest(incident_id=incident_id, reason="on my way", request_id="a-1")
    first = (await operator.incidents.AcknowledgeIncident(request)).incident
    again = (await operator.incidents.AcknowledgeIncident(request)).incident
    assert operator.user is not None
    assert (first.acknowledged_by, first.taken_over) == (operator.user.email, False)
    assert first == again
    assert [entry.message for entry in first.entries if entry.kind == "acknowledged"] == [
        f"by {operator.user.email}: on my way"
    ]
    records = (await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())).records
    ours = [record for record in records if record.action == "incident.acknowledged"]
    assert [(record.agent_name, record.reasoning) for record in ours] == [(operator.user.email, "on my way")]


async def test_a_person_takes_an_incident_over(fleet: Fleet, operator: Client) -> None:
    incident_id = await trouble(fleet)
    request = incident_pb2.AcknowledgeIncidentRequest(incident_id=incident_id, take_over=True)
    assert (await operator.incidents.AcknowledgeIncident(request)).incident.taken_over


async def test_what_is_resolved_can_not_be_taken_over(fleet: Fleet, operator: Client) -> None:
    incident_id = await trouble(fleet)
    await close(fleet, incident_id, IncidentState.RESOLVED)
    request = incident_pb2.AcknowledgeIncidentRequest(incident_id=incident_id, take_over=True)
    outcome = await refused(operator.incidents.AcknowledgeIncident(request))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INCIDENT_RESOLVED")


async def test_only_operators_acknowledge(fleet: Fleet) -> None:
    incident_id = await trouble(fleet)
    request = incident_pb2.AcknowledgeIncidentRequest(incident_id=incident_id)
    viewer = await fleet.client(Role.VIEWER)
    assert (await refused(viewer.incidents.AcknowledgeIncident(request))).reason == "ROLE_INSUFFICIENT"
    assert (await get(viewer, incident_id)).acknowledged_by == ""
