"""Reasoning runs over the real server: seen by their owner, followed live, resumed without a gap, stopped."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from control_plane.model.identity import Role
from control_plane.model.ids import RUN, GoalId, RunId, new_id
from control_plane.model.run import EventType, RunState
from control_plane.model.run_step import NewRun
from control_plane.store import run_events, runs
from control_plane.store.database import Tx
from orquanta.v1 import agent_pb2, audit_pb2
from tests.control_plane.services.harness import Client, Fleet
from tests.control_plane.services.refusals import refused

AGENT = "master_orchestrator"


@pytest.fixture
async def viewer(fleet: Fleet) -> Client:
    return await fleet.client(Role.VIEWER)


async def a_run(fleet: Fleet, owner: Client, *, goal_id: GoalId | None = None) -> RunId:
    """Record a run of somebody's."""
    assert owner.user
    run_id = new_id(RUN)
    user_id = owner.user.id
    new = NewRun(id=run_id, agent_name=AGENT, goal_id=goal_id, user_id=user_id, reasoner="rules")
    await fleet.store.write(lambda tx: runs.insert(tx, new))
    return run_id


async def tell(fleet: Fleet, run_id: RunId, *messages: str, ends: bool = False) -> None:
    """Let a run say something."""

    def write(tx: Tx) -> None:
        for message in messages:
            run_events.append(tx, run_id, EventType.TOOL_FINISHED, message)
        if ends:
            runs.set_state(tx, run_id, RunState.SUCCEEDED, "done", result="all well")

    await fleet.store.write(write)


def watching(client: Client, **wanted: object) -> AsyncIterator[agent_pb2.WatchReasoningResponse]:
    """Follow reasoning."""
    return aiter(client.agents.WatchReasoning(agent_pb2.WatchReasoningRequest(**wanted)))  # type: ignore[arg-type]  # any filters


async def test_a_run_is_seen_by_its_owner_and_by_operators_alone(
    fleet: Fleet, user: Client, operator: Client, viewer: Client
) -> None:
    run_id = await a_run(fleet, user)
    await tell(fleet, run_id, "looked at 3 hosts")
    request = agent_pb2.GetRunRequest(run_id=run_id)

    for client in (user, operator):
        response = await client.agents.GetRun(request)
        assert (response.run.id, response.run.state) == (run_id, agent_pb2.RUN_STATE_RUNNING)
        assert [event.message for event in response.events] == ["looked at 3 hosts"]
        assert [one.id for one in (await client.agents.ListRuns(agent_pb2.ListRunsRequest())).runs] == [run_id]
    assert (await refused(viewer.agents.GetRun(request))).code is grpc.StatusCode.PERMISSION_DENIED
    assert not (await viewer.agents.ListRuns(agent_pb2.ListRunsRequest())).runs
    refusal = await refused(anext(watching(viewer, run_id=run_id)))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    missing = agent_pb2.GetRunRequest(run_id=new_id(RUN))
    assert (await refused(operator.agents.GetRun(missing))).reason == "RUN_NOT_FOUND"


async def test_runs_are_listed_in_pages_newest_first(fleet: Fleet, user: Client) -> None:
    made = []
    for _ in range(3):
        fleet.clock.advance(1)
        made.append(await a_run(fleet, user))

    first = await user.agents.ListRuns(agent_pb2.ListRunsRequest(page_size=2))
    rest = await user.agents.ListRuns(agent_pb2.ListRunsRequest(page_size=2, page_token=first.next_page_token))

    assert [run.id for run in (*first.runs, *rest.runs)] == made[::-1]
    assert not rest.next_page_token


async def test_a_runs_stream_tells_all_from_the_beginning_and_ends_with_the_run(fleet: Fleet, user: Client) -> None:
    run_id = await a_run(fleet, user)
    await tell(fleet, run_id, "one", "two")
    stream = watching(user, run_id=run_id)
    begun = [(await anext(stream)).event for _ in range(2)]
    await tell(fleet, run_id, "three", ends=True)
    rest = [response.event async for response in stream]

    assert [event.message for event in [*begun, *rest]] == ["one", "two", "three"]
    assert [event.sequence for event in [*begun, *rest]] == [1, 2, 3]


async def test_a_stream_goes_on_after_its_token_without_gap_or_repeat(fleet: Fleet, user: Client) -> None:
    run_id = await a_run(fleet, user)
    await tell(fleet, run_id, "one", "two", "three", ends=True)
    stream = watching(user, run_id=run_id)
    token = (await anext(stream)).resume_token

    rest = [response.event.message async for response in watching(user, run_id=run_id, resume_token=token)]

    assert rest == ["two", "three"]
    refusal = await refused(anext(watching(user, resume_token=token)))
    assert refusal.reason == "RESUME_TOKEN_INVALID"


async def test_a_stream_of_everything_begins_now_and_holds_only_ones_own(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    mine, theirs = await a_run(fleet, user), await a_run(fleet, operator)
    await tell(fleet, mine, "before")
    stream = watching(user)
    first = asyncio.ensure_future(anext(stream))
    all_of_it = watching(operator)
    seen: asyncio.Future[agent_pb2.WatchReasoningResponse] = asyncio.ensure_future(anext(all_of_it))
    async with asyncio.timeout(30):
        while not (first.done() and seen.done()):
            await tell(fleet, theirs, "not yours")
            await tell(fleet, mine, "yours")
            await asyncio.wait([first, seen], timeout=0.2)

    assert first.result().event.message == "yours"
    assert seen.result().event.message in ("not yours", "yours")


async def test_what_a_model_writes_is_followed_between_what_is_recorded(fleet: Fleet, user: Client) -> None:
    run_id = await a_run(fleet, user)
    await tell(fleet, run_id, "one")
    stream = watching(user, run_id=run_id, include_deltas=True)
    recorded = (await anext(stream)).event
    delta = await fleet.store.read(lambda tx: run_events.of_run(tx, run_id)[0])
    following = asyncio.ensure_future(anext(stream))
    async with asyncio.timeout(30):
        while not fleet.deltas.wanted:  # noqa: ASYNC110 - the server's own side of the stream tells nobody
            await asyncio.sleep(0)
    fleet.deltas.publish(replace(delta, type=EventType.MODEL_DELTA, message="thinking"))
    written = (await following).event
    await tell(fleet, run_id, "two", ends=True)
    rest = [response.event.message async for response in stream]

    assert (recorded.message, written.type, written.message, rest) == ("one", "model.delta", "thinking", ["two"])


async def test_a_run_is_stopped_by_its_owner_once(fleet: Fleet, user: Client, operator: Client, viewer: Client) -> None:
    run_id = await a_run(fleet, user, goal_id=None)
    request = agent_pb2.StopRunRequest(run_id=run_id, reason="enough", request_id="s-1")

    await user.agents.StopRun(request)
    await user.agents.StopRun(request)

    book = await fleet.store.read(lambda tx: runs.book(tx, run_id))
    assert book is not None
    assert "enough" in book.stop_reason
    records = await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest(run_id=run_id))
    assert [record.action for record in records.records] == ["run.stop"]
    assert (await refused(viewer.agents.StopRun(request))).code is grpc.StatusCode.PERMISSION_DENIED


async def test_everything_that_a_stream_shows_is_in_the_audit(fleet: Fleet, user: Client, operator: Client) -> None:
    run_id = await a_run(fleet, user)
    await tell(fleet, run_id, "one", "two", ends=True)
    shown = [response.event async for response in watching(user, run_id=run_id)]

    records = (await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest(run_id=run_id))).records

    assert [(record.action, record.reasoning) for record in reversed(records)] == [
        (event.type, event.message) for event in shown
    ]


async def test_all_that_propose_are_paused_and_resumed_at_once(fleet: Fleet, operator: Client) -> None:
    await fleet.register_agents("auditor", "policy_keeper", "safety_governor", "scheduler_agent")
    paused = (await operator.agents.PauseAllAgents(agent_pb2.PauseAllAgentsRequest(reason="incident"))).agents
    assert {agent.name: agent.paused for agent in paused} == {
        "auditor": False,
        "master_orchestrator": True,
        "policy_keeper": False,
        "safety_governor": False,
        "scheduler_agent": True,
    }
    refusal = await refused(operator.agents.PauseAgent(agent_pb2.PauseAgentRequest(name="auditor")))
    assert refusal.reason == "AGENT_NEVER_PAUSED"
    resumed = (await operator.agents.ResumeAllAgents(agent_pb2.ResumeAllAgentsRequest())).agents
    assert not any(agent.paused for agent in resumed)


@pytest.mark.parametrize(
    "request_",
    [
        agent_pb2.ListRunsRequest(goal_id="x"),
        agent_pb2.ListRunsRequest(states=[99]),  # type: ignore[list-item] # not a value of the contract
        agent_pb2.ListRunsRequest(page_token="x"),
    ],
    ids=["goal", "state", "token"],
)
async def test_a_bad_question_about_runs_is_refused(operator: Client, request_: agent_pb2.ListRunsRequest) -> None:
    assert (await refused(operator.agents.ListRuns(request_))).code is grpc.StatusCode.INVALID_ARGUMENT
