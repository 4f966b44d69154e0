"""Incidents on the command line: the list, the one page, the acknowledgement, the watch."""

import json

import grpc
import pytest

from orquanta.v1 import diagnosis_pb2, incident_pb2, node_pb2, repair_pb2
from tests.clients.cli.conftest import Result, RunCli
from tests.clients.scripted import Failure, ScriptedServer, json_lines
from tests.clients.troubles import incident, node, repair


async def shown(server: ScriptedServer, cli: RunCli, one: incident_pb2.Incident) -> Result:
    server.answer("IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=one))
    server.answer("NodeService/GetNode", node_pb2.GetNodeResponse(node=node()))
    return await cli("incident", "show", "i-1")


async def test_the_list_asks_for_what_is_not_resolved_of_one_node(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("IncidentService/ListIncidents", incident_pb2.ListIncidentsResponse(incidents=[incident()]))
    result = await cli("incident", "list", "--open", "--node", "node-a")
    (request,) = server.requests("IncidentService/ListIncidents", incident_pb2.ListIncidentsRequest)
    assert request.node_id == "node-a"
    assert set(request.states) == {
        incident_pb2.INCIDENT_STATE_OPEN,
        incident_pb2.INCIDENT_STATE_REPAIRING,
        incident_pb2.INCIDENT_STATE_VERIFYING,
        incident_pb2.INCIDENT_STATE_ESCALATED,
    }
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["INCIDENT", "STATE", "NODE"]
    assert lines[1].split()[:3] == ["i-1", "repairing", "node-a"]
    assert "waits until job j-1 is away" in lines[1]


async def test_the_list_says_what_waits_for_a_person_and_how_to_end_that(server: ScriptedServer, cli: RunCli) -> None:
    states = (
        incident_pb2.INCIDENT_STATE_REPAIRING,
        incident_pb2.INCIDENT_STATE_ESCALATED,
        incident_pb2.INCIDENT_STATE_RESOLVED,
        incident_pb2.INCIDENT_STATE_RESOLVED,
    )
    found = [incident(state=state) for state in states]
    server.answer("IncidentService/ListIncidents", incident_pb2.ListIncidentsResponse(incidents=found))
    last = (await cli("incident", "list")).stdout.splitlines()[-1]
    assert last.startswith("1 open, 1 escalated, 2 resolved.")
    assert last.endswith("orquanta node release node-a")


async def test_the_page_says_what_is_wrong_with_evidence_what_was_done_and_what_is_waited_for(
    server: ScriptedServer, cli: RunCli
) -> None:
    failed = repair(repair_pb2.REPAIR_STATE_FAILED, steps=2, failed_check=True)
    page = (await shown(server, cli, incident(repairs=[failed]))).stdout
    for part in (
        "REPAIRING: GPU 3 has fallen off the bus",
        "GPU 3 1650522",  # the serial number that the vendor asks for
        "now             waits until job j-1 is away",
        "nobody yet",
        "j-1",
        "XID 79 [e-17]: only a reboot brings the GPU back.",
        "FATAL    XID 79 on GPU 3 (GPU-3333, 0000:3b:00.0): the GPU has fallen off the bus",
        "gpu/GPU-3333/xid-79",
        "seen 3 times",
        "asks for: reboot host (the driver says RESTART_BM)",
        "repaired 2 times before within 30 days",
        "[e-17]",
        "cordoned              no new jobs [act-1]",
        "r-1  reset gpu of GPU 3: FAILED, 41s",
        "step 2",
        "check nvlink: link 3 is down",
        "check memory_pattern: there is no CUDA runtime",
        "detect 8 ms   cordon 2.0s   drain -",
        "orquanta incident ack i-1 --take-over",
    ):
        assert part in page, f"{part!r} is missing in:\n{page}"


async def test_the_page_tells_the_root_cause_as_a_models_words_where_they_are(
    server: ScriptedServer, cli: RunCli
) -> None:
    one = incident()
    one.explanation.CopyFrom(
        diagnosis_pb2.Diagnosis(
            cause="POWER_SUPPLY",
            summary="the power\x1b[2J of the board fails",
            advice="look at the cables",
            fault="hardware",
            confidence=0.6,
            diagnosed_by="llama",
            note="a model's words",
            evidence=[diagnosis_pb2.DiagnosisEvidence(id="condition:n-1/x", kind="condition", text="XID 999")],
        )
    )
    result = await shown(server, cli, one)
    for part in (
        "ROOT CAUSE",
        "POWER_SUPPLY (fault of the hardware), 60% sure: the power",
        "advice: look at the cables",
        "found by: llama, a model",
        "note: a model's words",
        "evidence: condition:n-1/x",
    ):
        assert part in result.stdout, f"{part!r} is missing in:\n{result.stdout}"
    assert "\x1b" not in result.stdout
    server.answer("IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=one))
    told = (await cli("incident", "show", "i-1", "--json")).document()["explanation"]
    assert (told["diagnosed_by"], told["evidence"][0]["id"]) == ("llama", "condition:n-1/x")


async def test_the_page_never_lets_a_kernel_line_drive_the_terminal(server: ScriptedServer, cli: RunCli) -> None:
    assert "\x1b" not in (await shown(server, cli, incident())).stdout


async def test_the_page_of_an_escalated_incident_says_that_a_person_must_act_and_how(
    server: ScriptedServer, cli: RunCli
) -> None:
    quarantined = repair(repair_pb2.REPAIR_STATE_SUCCEEDED, handoff_json='{"serial": "1650522"}')
    one = incident(incident_pb2.INCIDENT_STATE_ESCALATED, repairs=[quarantined])
    page = (await shown(server, cli, one)).stdout
    assert "A person must act" in page
    for command in ("node release node-a", "node verify node-a --wait", "incident show i-1 --handoff"):
        assert f"orquanta {command}" in page


async def test_the_page_of_a_resolved_incident_asks_for_nothing(server: ScriptedServer, cli: RunCli) -> None:
    page = (await shown(server, cli, incident(incident_pb2.INCIDENT_STATE_RESOLVED))).stdout
    assert page.splitlines()[-1] == "  Nothing: it is over, and what it was about serves again."


async def test_the_page_stays_a_page_when_there_is_much_to_tell(server: ScriptedServer, cli: RunCli) -> None:
    page = (await shown(server, cli, incident(entries=200))).stdout
    assert "(170 earlier entries are left out here; --json has all)" in page
    assert page.count(" noted ") == 30


async def test_the_page_tells_when_no_order_can_reach_the_host(server: ScriptedServer, cli: RunCli) -> None:
    away = node()
    away.connected = False
    server.answer("IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=incident()))
    server.answer("NodeService/GetNode", node_pb2.GetNodeResponse(node=away))
    page = (await cli("incident", "show", "i-1")).stdout
    assert "LINK DOWN" in page
    assert "Check the host's power and network" in page


async def test_the_hand_off_report_is_printed_as_it_is(server: ScriptedServer, cli: RunCli) -> None:
    quarantined = repair(repair_pb2.REPAIR_STATE_SUCCEEDED, handoff_json='{"serial": "1650522"}')
    server.answer(
        "IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=incident(repairs=[quarantined]))
    )
    result = await cli("incident", "show", "i-1", "--handoff")
    assert json.loads(result.stdout) == {"serial": "1650522"}
    server.answer("IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=incident()))
    missing = await cli("incident", "show", "i-1", "--handoff", "--json")
    assert (missing.code, missing.error()["reason"]) == (3, "NO_HANDOFF")


async def test_json_has_the_whole_incident_with_seconds_and_rfc_3339_times(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("IncidentService/GetIncident", incident_pb2.GetIncidentResponse(incident=incident()))
    document = (await cli("incident", "show", "i-1", "--json")).document()
    assert document["timings"]["detect_seconds"] == 0.008
    assert document["timings"]["drain_seconds"] is None
    assert document["opened_at"] == "2026-05-04T01:12:09Z"
    assert document["conditions"][0]["evidence"][0]["id"] == "e-17"


@pytest.mark.parametrize("take_over", [False, True])
async def test_an_acknowledgement_says_whether_it_is_taken_over(
    server: ScriptedServer, cli: RunCli, take_over: bool
) -> None:
    seen = incident(acknowledged_by="ada@example.com", taken_over=take_over)
    server.answer("IncidentService/AcknowledgeIncident", incident_pb2.AcknowledgeIncidentResponse(incident=seen))
    flags = ["--take-over"] if take_over else []
    result = await cli("incident", "ack", "i-1", *flags, "-r", "on it", "--request-id", "a-1")
    (request,) = server.requests("IncidentService/AcknowledgeIncident", incident_pb2.AcknowledgeIncidentRequest)
    assert (request.incident_id, request.take_over, request.reason, request.request_id) == (
        "i-1",
        take_over,
        "on it",
        "a-1",
    )
    what = "taken over" if take_over else "acknowledged"
    assert result.stdout == f"i-1 (repairing) {what} by ada@example.com.\n"


async def test_the_watch_tells_each_thing_that_was_done_once(server: ScriptedServer, cli: RunCli) -> None:
    changes = [
        incident_pb2.WatchIncidentsResponse(incident=incident(entries=entries), resume_token=f"t-{entries}")
        for entries in (2, 3, 4)
    ]
    gone = Failure(grpc.StatusCode.NOT_FOUND, "no such node", "NODE_NOT_FOUND")
    server.answer("IncidentService/WatchIncidents", [*changes, gone])
    result = await cli("incident", "watch")
    assert result.code == 3
    assert [line.split("noted: ")[1] for line in result.stdout.splitlines() if "noted: " in line] == [
        "entry 0",
        "entry 1",
    ]
    assert "node-a repairing - GPU 3 has fallen off the bus: waits until job j-1 is away" in result.stdout


async def test_the_watch_prints_one_line_of_json_for_each_change(server: ScriptedServer, cli: RunCli) -> None:
    gone = Failure(grpc.StatusCode.NOT_FOUND, "no such node", "NODE_NOT_FOUND")
    server.answer("IncidentService/WatchIncidents", [incident_pb2.WatchIncidentsResponse(incident=incident()), gone])
    result = await cli("incident", "watch", "--node", "node-a", "--json")
    assert [line["id"] for line in json_lines(result.stdout)] == ["i-1"]


async def test_an_unknown_state_is_refused_with_the_known_ones(cli: RunCli) -> None:
    result = await cli("incident", "list", "--state", "burning")
    assert result.code == 2
    assert "open, repairing, verifying, resolved, escalated" in result.stderr
