"""Drains, repairs, tests, quarantines and words about conditions on the command line."""

from typing import Any

import grpc
import pytest

from orquanta.v1 import action_pb2, job_pb2, node_pb2, repair_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import Failure, ScriptedServer
from tests.clients.troubles import XID_79, condition, node, repair

RUNNING, VERIFYING = repair_pb2.REPAIR_STATE_RUNNING, repair_pb2.REPAIR_STATE_VERIFYING
SUCCEEDED, FAILED, REFUSED = (
    repair_pb2.REPAIR_STATE_SUCCEEDED,
    repair_pb2.REPAIR_STATE_FAILED,
    repair_pb2.REPAIR_STATE_REFUSED,
)


def will_repair(server: ScriptedServer, *reports: repair_pb2.RepairReport, state: Any = None) -> None:
    """Let the next repair be ordered, and its host report this."""
    ordered = node_pb2.RepairNodeResponse(node=node(), repair_id="r-1", incident_id="i-1", action_id="act-1")
    server.answer("NodeService/RepairNode", ordered)
    tested = node_pb2.VerifyNodeResponse(node=node(), repair_id="r-1")
    server.answer("NodeService/VerifyNode", tested)
    action = action_pb2.Action(id="act-1", state=state or action_pb2.ACTION_STATE_DONE)
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=action))
    earlier = repair(FAILED, repair_id="r-0")
    views = [node(), node(report=earlier), *(node(report=report) for report in reports)]
    responses = [node_pb2.WatchNodesResponse(node=view, resume_token="t") for view in views]
    server.answer("NodeService/WatchNodes", responses)


async def test_a_repair_is_ordered_with_all_that_was_said(server: ScriptedServer, cli: RunCli) -> None:
    will_repair(server)
    result = await cli(
        "node", "repair", "node-a", "--rung", "restart-service", "--gpu", "3", "--gpu", "GPU-4444",
        "--service", "nvidia-fabricmanager", "-r", "link errors", "--request-id", "r-7",
    )  # fmt: skip
    (request,) = server.requests("NodeService/RepairNode", node_pb2.RepairNodeRequest)
    assert request.rung == repair_pb2.REPAIR_RUNG_RESTART_SERVICE
    assert list(request.gpus) == ["3", "GPU-4444"]
    assert (request.service, request.dry_run, request.reason, request.request_id) == (
        "nvidia-fabricmanager",
        False,
        "link errors",
        "r-7",
    )
    assert (result.code, result.stdout) == (0, "r-1 ordered for node-a (repairing).\n")
    assert not server.requests("NodeService/WatchNodes", node_pb2.WatchNodesRequest)


async def test_without_a_rung_the_server_chooses(server: ScriptedServer, cli: RunCli) -> None:
    will_repair(server)
    await cli("node", "repair", "node-a")
    (request,) = server.requests("NodeService/RepairNode", node_pb2.RepairNodeRequest)
    assert request.rung == repair_pb2.REPAIR_RUNG_UNSPECIFIED


async def test_an_unknown_rung_is_refused_with_the_known_ones(cli: RunCli) -> None:
    result = await cli("node", "repair", "node-a", "--rung", "kick")
    assert result.code == 2
    assert "stop-process, move-job, reset-gpu" in result.stderr


async def test_a_repair_that_is_waited_for_tells_each_step_once_as_it_comes(
    server: ScriptedServer, cli: RunCli
) -> None:
    will_repair(
        server,
        repair(RUNNING, steps=1),
        repair(RUNNING, steps=2),
        repair(VERIFYING, steps=2),
        repair(SUCCEEDED, steps=2),
    )
    result = await cli("node", "repair", "node-a", "--wait")
    told = [line[9:] for line in result.stdout.splitlines()]
    assert told == [
        "ok            12 ms  step 1",
        "node-a: reset gpu of GPU 3 running",
        "ok            12 ms  step 2",
        "node-a: reset gpu of GPU 3 verifying",
        "node-a: reset gpu of GPU 3 succeeded: GPU 3 is reset",
    ]
    assert result.code == 0


@pytest.mark.parametrize(("state", "code"), [(SUCCEEDED, 0), (FAILED, 1), (REFUSED, 5)])
@pytest.mark.parametrize("command", [["repair"], ["repair", "--dry-run"], ["verify"]])
async def test_the_exit_code_tells_how_it_ended(
    server: ScriptedServer, cli: RunCli, command: list[str], state: repair_pb2.RepairState.ValueType, code: int
) -> None:
    will_repair(server, repair(RUNNING), repair(state, failed_check=state == FAILED))
    result = await cli("node", *command, "node-a", "--wait", "--json")
    document = result.document()
    assert result.code == code
    assert document["repair_id"] == document["repair"]["id"] == "r-1"
    assert [check["outcome"] for check in document["repair"]["checks"]] == (
        ["failed", "not_checked"] if state == FAILED else []
    )


async def test_a_dry_run_waits_for_what_the_host_says(server: ScriptedServer, cli: RunCli) -> None:
    report = repair(SUCCEEDED, steps=2)
    report.dry_run = True
    will_repair(server, report)
    result = await cli("node", "repair", "node-a", "--dry-run")
    (request,) = server.requests("NodeService/RepairNode", node_pb2.RepairNodeRequest)
    assert request.dry_run
    assert "reset gpu of GPU 3 (dry run) succeeded" in result.stdout
    assert result.code == 0


async def test_a_repair_that_needs_an_approval_says_so_and_is_not_waited_for(
    server: ScriptedServer, cli: RunCli
) -> None:
    will_repair(server, state=action_pb2.ACTION_STATE_AWAITING_APPROVAL)
    result = await cli("node", "repair", "node-a", "--wait", "--json")
    assert (result.code, result.error()["reason"]) == (5, "AWAITING_APPROVAL")
    assert "orquanta action approve act-1" in result.error()["message"]


async def test_a_repair_that_the_governor_refuses_exits_with_its_reason(server: ScriptedServer, cli: RunCli) -> None:
    denied = Failure(grpc.StatusCode.FAILED_PRECONDITION, "one repair per host at a time", "REPAIR_IN_PROGRESS")
    server.answer("NodeService/RepairNode", denied)
    result = await cli("node", "repair", "node-a", "--json")
    assert (result.code, result.error()["reason"]) == (5, "REPAIR_IN_PROGRESS")


async def test_a_repair_whose_place_another_has_taken_is_not_waited_for_for_ever(
    server: ScriptedServer, cli: RunCli
) -> None:
    will_repair(server, repair(RUNNING), repair(RUNNING, repair_id="r-2"))
    result = await cli("node", "repair", "node-a", "--wait", "--json")
    assert (result.code, result.error()["reason"]) == (1, "REPAIR_SUPERSEDED")


async def test_a_repair_of_a_node_that_leaves_the_fleet_is_not_waited_for(server: ScriptedServer, cli: RunCli) -> None:
    will_repair(server)
    revoked = node(state=node_pb2.NODE_STATE_REVOKED)
    server.answer("NodeService/WatchNodes", [node_pb2.WatchNodesResponse(node=revoked)])
    result = await cli("node", "repair", "node-a", "--wait")
    assert result.code == 1


async def test_a_drain_that_is_waited_for_ends_when_the_jobs_are_away(server: ScriptedServer, cli: RunCli) -> None:
    def attempt(state: job_pb2.AllocationState.ValueType, node_id: str = "n-1") -> job_pb2.Allocation:
        return job_pb2.Allocation(state=state, members=[job_pb2.AllocationMember(node_id=node_id)])

    running, ended = job_pb2.ALLOCATION_STATE_RUNNING, job_pb2.ALLOCATION_STATE_ENDED
    there = job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_RUNNING, allocations=[attempt(running)])
    away = job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_PLACED, allocations=[attempt(ended), attempt(running, "n-2")])
    elsewhere = job_pb2.Job(id="j-2", state=job_pb2.JOB_STATE_RUNNING, allocations=away.allocations)
    server.answer("NodeService/DrainNode", node_pb2.DrainNodeResponse(node=node()))
    server.answer("JobService/ListJobs", job_pb2.ListJobsResponse(jobs=[there, elsewhere]))
    server.answer("JobService/WatchJobs", [job_pb2.WatchJobsResponse(job=view) for view in (there, there, away)])
    server.answer("NodeService/GetNode", node_pb2.GetNodeResponse(node=node(state=node_pb2.NODE_STATE_CORDONED)))
    result = await cli("node", "drain", "node-a", "--wait", "-r", "new fans")
    (request,) = server.requests("NodeService/DrainNode", node_pb2.DrainNodeRequest)
    (listed,) = server.requests("JobService/ListJobs", job_pb2.ListJobsRequest)
    assert (request.reason, listed.node_id) == ("new fans", "n-1")
    assert result.stderr.splitlines() == ["j-1 : running, moves away", "j-1  is away: placed"]
    assert (result.code, result.stdout) == (0, "node-a (n-1) cordoned.\n")


async def test_quarantine_and_release_send_the_reason_and_tell_the_state(server: ScriptedServer, cli: RunCli) -> None:
    out, back = node(state=node_pb2.NODE_STATE_QUARANTINED), node(state=node_pb2.NODE_STATE_READY, ill=False)
    server.answer("NodeService/QuarantineNode", node_pb2.QuarantineNodeResponse(node=out))
    server.answer("NodeService/ReleaseNode", node_pb2.ReleaseNodeResponse(node=back))
    assert (await cli("node", "quarantine", "node-a", "-r", "lemon")).stdout == "node-a (n-1) quarantined.\n"
    assert (await cli("node", "release", "node-a", "-r", "board replaced", "--json")).document()["state"] == "ready"
    (quarantine,) = server.requests("NodeService/QuarantineNode", node_pb2.QuarantineNodeRequest)
    (release,) = server.requests("NodeService/ReleaseNode", node_pb2.ReleaseNodeRequest)
    assert (quarantine.reason, release.reason) == ("lemon", "board replaced")


@pytest.mark.parametrize(("command", "clear"), [("ack-condition", False), ("clear-condition", True)])
async def test_a_word_about_a_condition_is_sent(server: ScriptedServer, cli: RunCli, command: str, clear: bool) -> None:
    server.answer("NodeService/UpdateCondition", node_pb2.UpdateConditionResponse(node=node()))
    result = await cli("node", command, "node-a", XID_79, "-r", "known")
    (request,) = server.requests("NodeService/UpdateCondition", node_pb2.UpdateConditionRequest)
    assert (request.node_id, request.condition_id, request.clear, request.reason) == ("node-a", XID_79, clear, "known")
    assert result.code == 0


async def test_a_node_is_shown_with_its_conditions_and_its_last_repair(server: ScriptedServer, cli: RunCli) -> None:
    ill = node(report=repair(FAILED, steps=1, failed_check=True))
    server.answer("NodeService/GetNode", node_pb2.GetNodeResponse(node=ill))
    result = await cli("node", "show", "node-a")
    for part in (
        "health    1 fatal",
        "FATAL    XID 79 on GPU 3 (GPU-3333, 0000:3b:00.0)",
        "LAST REPAIR",
        "reset gpu of GPU 3: FAILED",
        "check nvlink: link 3 is down",
    ):
        assert part in result.stdout, f"{part!r} is missing in:\n{result.stdout}"
    assert "orquanta incident show i-1" in result.stderr


async def test_nodes_are_listed_with_their_health(server: ScriptedServer, cli: RunCli) -> None:
    known = node()
    known.conditions[0].acknowledged_by = "ada@example.com"
    known.conditions.append(condition(id="host/disk/var", kind="DISK_FULL", code=0))
    server.answer("NodeService/ListNodes", node_pb2.ListNodesResponse(nodes=[known, node(ill=False)]))
    lines = (await cli("node", "list")).stdout.splitlines()
    assert lines[0].split()[3] == "HEALTH"
    assert "1 fatal, 1 acknowledged" in lines[1]
    assert "healthy" in lines[2]
