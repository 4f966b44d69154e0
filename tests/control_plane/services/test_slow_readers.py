"""Readers that stop reading, over real gRPC with its flow control: each kind of watch drops them, says why, and goes on
from where they were.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import grpc
import pytest
from grpc import aio

from control_plane.model.action import CordonNode, Proposal, UncordonNode
from control_plane.model.identity import Role
from control_plane.model.ids import ACTION, RUN, AllocationId, GoalId, JobId, NodeId, new_id
from control_plane.model.run import EventType
from control_plane.model.run_step import NewRun
from control_plane.services import reader
from control_plane.store import goals, incidents, jobs, nodes, run_events, runs
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from orquanta.v1 import (
    action_pb2,
    action_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    goal_pb2,
    goal_pb2_grpc,
    incident_pb2,
    incident_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
)
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refusal_of
from tests.control_plane.services.test_incidents import trouble
from tests.control_plane.services.test_logs import running_job

PATIENCE_SECONDS = 30.0
MUCH = "x" * 16_000
OFTEN = 20
"""Changes of MUCH that are more than gRPC takes ahead of who does not read."""

SMALL_WINDOW = (
    ("grpc.http2.lookahead_bytes", 4_096),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
"""A client that takes 4 KB ahead of what is read of it; by itself gRPC takes megabytes."""

Change = Callable[[int], Awaitable[None]]


class Streaming(Protocol):
    """Any stub's method that answers with a stream."""

    def __call__(self, request: Any) -> Any: ...  # Any: each has its own messages


@dataclass
class Kind:
    """One kind of stream: how it is called with a resume token, and what changes what it is about."""

    method: Streaming
    request: Callable[[str], Any]  # Any: each has its own message
    change: Change

    def open(self, token: str = "") -> Any:  # Any: each has its own messages
        return self.method(self.request(token))


Make = Callable[[Fleet, Client, aio.Channel], Awaitable[Kind]]


async def a_goal(fleet: Fleet, client: Client, channel: aio.Channel) -> Kind:
    text = "Run nvidia-smi on one H100 for at most one hour"
    goal_id = (await client.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=text))).goal.id

    async def change(number: int) -> None:
        await fleet.store.write(lambda tx: goals.update(tx, GoalId(goal_id), status_reason=f"{number} {MUCH}"))

    stub = goal_pb2_grpc.GoalServiceStub(channel)
    return Kind(stub.WatchGoal, lambda t: goal_pb2.WatchGoalRequest(goal_id=goal_id, resume_token=t), change)


async def some_jobs(fleet: Fleet, client: Client, channel: aio.Channel) -> Kind:
    job_id = (await client.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("one")))).job.id

    async def change(number: int) -> None:
        await fleet.store.write(lambda tx: jobs.update(tx, JobId(job_id), status_reason=f"{number} {MUCH}"))

    stub = job_pb2_grpc.JobServiceStub(channel)
    return Kind(stub.WatchJobs, lambda t: job_pb2.WatchJobsRequest(resume_token=t), change)


async def some_nodes(fleet: Fleet, _client: Client, channel: aio.Channel) -> Kind:
    node = await fleet.node("host-1")

    async def change(number: int) -> None:
        await fleet.store.write(lambda tx: nodes.update(tx, node.id, status_reason=f"{number} {MUCH}"))

    stub = node_pb2_grpc.NodeServiceStub(channel)
    return Kind(stub.WatchNodes, lambda t: node_pb2.WatchNodesRequest(resume_token=t), change)


async def some_incidents(fleet: Fleet, _client: Client, channel: aio.Channel) -> Kind:
    incident_id = await trouble(fleet)

    async def change(number: int) -> None:
        await fleet.store.write(lambda tx: incidents.update(tx, incident_id, diagnosis=f"{number} {MUCH}"))

    stub = incident_pb2_grpc.IncidentServiceStub(channel)
    return Kind(stub.WatchIncidents, lambda t: incident_pb2.WatchIncidentsRequest(resume_token=t), change)


async def some_actions(fleet: Fleet, _client: Client, channel: aio.Channel) -> Kind:
    node = await fleet.node("host-1")

    async def change(number: int) -> None:
        effect = UncordonNode(NodeId(node.id), "why") if number % 2 else CordonNode(NodeId(node.id), "why")
        await fleet.governor.propose(Proposal(new_id(ACTION), effect, "root", f"{number} {MUCH}", is_person=True))

    stub = action_pb2_grpc.ActionServiceStub(channel)
    return Kind(stub.WatchActions, lambda t: action_pb2.WatchActionsRequest(resume_token=t), change)


def reasoning(*, deltas: bool) -> Make:
    async def make(fleet: Fleet, client: Client, channel: aio.Channel) -> Kind:
        assert client.user
        run_id, user_id = new_id(RUN), client.user.id
        new = NewRun(id=run_id, agent_name="master_orchestrator", goal_id=None, user_id=user_id, reasoner="rules")
        await fleet.store.write(lambda tx: runs.insert(tx, new))

        async def change(number: int) -> None:
            def write(tx: Any) -> None:  # Any: a transaction
                run_events.append(tx, run_id, EventType.TOOL_FINISHED, f"{number} {MUCH}")

            await fleet.store.write(write)

        def request(token: str) -> agent_pb2.WatchReasoningRequest:
            return agent_pb2.WatchReasoningRequest(run_id=run_id, resume_token=token, include_deltas=deltas)

        return Kind(agent_pb2_grpc.AgentServiceStub(channel).WatchReasoning, request, change)

    return make


async def a_log(fleet: Fleet, client: Client, channel: aio.Channel) -> Kind:
    job_id, _ = await running_job(fleet, client)
    written = 0

    async def change(number: int) -> None:
        nonlocal written
        data = f"{number} {MUCH}\n".encode()
        at = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
        chunk = LogChunk(
            job_id=JobId(job_id),
            allocation_id=AllocationId("a-0123456789ab"),
            epoch=1,
            rank=0,
            offset=written,
            next_offset=written + len(data),
            records=(LogRecord(LogStream.STDOUT, data, at),),
            end=False,
        )
        await fleet.logs.append([(chunk, False)])
        written += len(data)

    stub = job_pb2_grpc.JobServiceStub(channel)
    return Kind(stub.ReadLogs, lambda t: job_pb2.ReadLogsRequest(job_id=job_id, follow=True, resume_token=t), change)


KINDS: dict[str, Make] = {
    "goal": a_goal,
    "jobs": some_jobs,
    "nodes": some_nodes,
    "incidents": some_incidents,
    "actions": some_actions,
    "reasoning": reasoning(deltas=False),
    "reasoning with deltas": reasoning(deltas=True),
    "logs": a_log,
}


@pytest.fixture
async def narrow(fleet: Fleet, admin: Client) -> AsyncIterator[aio.Channel]:
    """A channel of an administrator on whose way there is little room."""
    tls = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(root_certificates=fleet.ca_pem),
        grpc.access_token_call_credentials(admin.credential),
    )
    async with aio.secure_channel(f"127.0.0.1:{fleet.port}", tls, options=SMALL_WINDOW) as channel:
        yield channel


@pytest.fixture
def be_impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(reader, "SLOW_READER_SECONDS", 0.3)


async def until_dropped(fleet: Fleet, change: Change) -> int:
    """Change things, often, until the stream that is not read was dropped; return how often."""
    number = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while fleet.services.gate.streams or number < OFTEN:
            if number < 100:
                await change(number)
                number += 1
            await asyncio.sleep(0.01)
    return number


async def drained(stream: Any) -> tuple[list[Any], aio.AioRpcError]:  # Any: each has its own messages
    """Read a stream to its end; return what came, and what ended it."""
    responses: list[Any] = []  # Any: as above
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            async for response in stream:
                responses.append(response)  # noqa: PERF401 - what came before the end is wanted
        except aio.AioRpcError as error:
            return responses, error
    raise AssertionError("the stream has ended in good order")


@pytest.mark.parametrize("name", KINDS)
async def test_a_reader_that_does_not_read_is_dropped_told_why_and_goes_on_from_where_it_was(
    fleet: Fleet,
    admin: Client,
    narrow: aio.Channel,
    name: str,
    be_impatient: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = await KINDS[name](fleet, admin, narrow)
    stream = kind.open()
    if name in {"actions", "reasoning", "reasoning with deltas", "logs"}:  # nothing is there yet
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not fleet.services.gate.streams:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
    else:
        assert (await anext(aiter(stream))).resume_token
    be_impatient()  # not before: a process that stands still for a moment does not read either
    changes = await until_dropped(fleet, kind.change)
    responses, error = await drained(stream)
    refusal = refusal_of(error)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "READER_TOO_SLOW")
    assert "resume_token" in refusal.message
    assert len(responses) < changes, "what the reader did not take was not queued for it"

    token = [response.resume_token for response in responses if response.resume_token][-1]
    monkeypatch.setattr(reader, "SLOW_READER_SECONDS", PATIENCE_SECONDS)  # a busy machine may read slowly itself
    resumed = kind.open(token)
    await kind.change(1_000)
    seen = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for response in resumed:
            seen += str(response)
            if "1000 xxx" in seen:
                break
    assert str(responses[-1]) not in seen, "nothing is sent twice"
    resumed.cancel()


async def test_a_reader_that_reads_slowly_but_reads_is_not_dropped(
    fleet: Fleet, admin: Client, narrow: aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SLOW_READER_SECONDS", 2.0)  # in less a busy machine may not come to read
    kind = await some_jobs(fleet, admin, narrow)
    stream = aiter(kind.open())
    await anext(stream)
    for number in range(20):
        await kind.change(number)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "19 xxx" not in str(await anext(stream)):  # noqa: ASYNC110 - it is slow on purpose
            await asyncio.sleep(0.11)


async def test_an_export_that_is_not_read_is_dropped_too(
    fleet: Fleet, admin: Client, narrow: aio.Channel, be_impatient: Callable[[], None]
) -> None:
    be_impatient()
    kind = await some_actions(fleet, admin, narrow)
    for number in range(60):
        await kind.change(number)
    stream = audit_pb2_grpc.AuditServiceStub(narrow).ExportAudit(audit_pb2.ExportAuditRequest())
    await anext(aiter(stream))
    await until_dropped(fleet, _nothing)
    _, error = await drained(stream)
    assert refusal_of(error).reason == "READER_TOO_SLOW"


async def test_a_whole_fleet_is_sent_part_by_part_each_node_once(
    fleet: Fleet, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.services.node_views._WATCHED_AT_ONCE", 3)
    made = {(await fleet.node(f"host-{number}", gpus=1)).id for number in range(7)}
    stream = aiter((await fleet.client(Role.VIEWER)).nodes.WatchNodes(node_pb2.WatchNodesRequest()))
    first = [await anext(stream) for _ in made]
    assert {response.node.id for response in first} == made
    assert [bool(response.resume_token) for response in first] == [False] * 6 + [True]
    changed = first[0].node.id
    await fleet.store.write(lambda tx: nodes.update(tx, NodeId(changed), status_reason="other"))
    assert (await anext(stream)).node.id == changed


async def _nothing(_number: int) -> None:
    return
