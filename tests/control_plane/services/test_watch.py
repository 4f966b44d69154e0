from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from control_plane.model.identity import Role
from control_plane.model.ids import JOB, GoalId, JobId, new_id
from control_plane.model.job import JobState
from control_plane.model.record import Noun
from control_plane.store import events, jobs
from control_plane.store.database import Store, Tx
from control_plane.store.feed import REMEMBERED_MAX
from orquanta.v1 import action_pb2, goal_pb2, job_pb2, node_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job, running_fleet
from tests.control_plane.services.refusals import refusal_of, refused
from tests.fake_clock import FakeClock


@pytest.fixture
async def fleet(store: Store, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Fleet]:
    """On each kind of database."""
    async with running_fleet(store, clock, tmp_path) as running:
        yield running


async def submit(client: Client, name: str) -> str:
    return (await client.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job(name)))).job.id


_NOISE = 500


def noise(tx: Tx) -> None:
    for number in range(_NOISE):
        tx.emit(Noun.AGENT, f"agent-{number}", "agent.idle", "")


async def touch(fleet: Fleet, job_id: str, reason: str) -> None:
    await fleet.store.write(lambda tx: jobs.update(tx, JobId(job_id), status_reason=reason))


async def test_a_watch_sends_the_current_state_first_and_then_each_change(fleet: Fleet, user: Client) -> None:
    job_id = await submit(user, "one")
    stream = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest()))
    assert (await anext(stream)).job.id == job_id
    other = await submit(user, "two")
    assert (await anext(stream)).job.id == other
    await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job_id))
    change = await anext(stream)
    assert (change.job.id, change.job.state) == (job_id, job_pb2.JOB_STATE_CANCELLED)


async def test_a_watch_of_one_job_ends_when_the_job_has_ended(fleet: Fleet, user: Client) -> None:
    job_id = await submit(user, "one")
    stream = user.jobs.WatchJobs(job_pb2.WatchJobsRequest(job_id=job_id))
    assert (await anext(aiter(stream))).job.state == job_pb2.JOB_STATE_QUEUED
    await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job_id))
    rest = [change.job.state async for change in stream]
    assert rest[-1] == job_pb2.JOB_STATE_CANCELLED
    again = [change.job.state async for change in user.jobs.WatchJobs(job_pb2.WatchJobsRequest(job_id=job_id))]
    assert again == [job_pb2.JOB_STATE_CANCELLED]


async def test_a_watch_that_was_cut_resumes_without_loss_and_without_repeats(fleet: Fleet, user: Client) -> None:
    first = await submit(user, "first")
    stream = user.jobs.WatchJobs(job_pb2.WatchJobsRequest())
    token = (await anext(aiter(stream))).resume_token
    stream.cancel()
    while_away = [await submit(user, f"away-{number}") for number in range(3)]
    await fleet.store.write(noise)
    resumed = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(resume_token=token)))
    seen = [(await anext(resumed)).job.id for _ in while_away]
    assert seen == while_away
    assert first not in seen
    after = await submit(user, "after")
    assert (await anext(resumed)).job.id == after


async def test_resuming_at_any_response_of_a_batch_sends_the_rest_of_it(fleet: Fleet, user: Client) -> None:
    await submit(user, "first")
    stream = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest()))
    token = (await anext(stream)).resume_token
    away = [await submit(user, f"away-{number}") for number in range(4)]
    await touch(fleet, away[0], "changed last")
    order = [*away[1:], away[0]]
    for taken in range(4):
        resumed = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(resume_token=token)))
        part = [await anext(resumed) for _ in range(4 - taken)]
        assert [change.job.id for change in part] == order[taken:]
        token = part[0].resume_token


async def test_the_current_state_can_only_be_resumed_once_it_is_complete(fleet: Fleet, user: Client) -> None:
    await submit(user, "one")
    await submit(user, "two")
    stream = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest()))
    assert (await anext(stream)).resume_token == ""
    assert (await anext(stream)).resume_token != ""


async def test_a_job_that_changed_often_while_nobody_read_is_sent_once_as_it_is(fleet: Fleet, user: Client) -> None:
    job_id = await submit(user, "busy")
    stream = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest()))
    token = (await anext(stream)).resume_token
    for number in range(5):
        await touch(fleet, job_id, f"reason {number}")
    last = await submit(user, "last")
    resumed = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(resume_token=token)))
    change = await anext(resumed)
    assert (change.job.id, change.job.status_reason) == (job_id, "reason 4")
    assert (await anext(resumed)).job.id == last


async def test_a_reader_that_is_behind_more_than_memory_holds_misses_nothing(fleet: Fleet, user: Client) -> None:
    job_id = await submit(user, "one")
    stream = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest()))
    token = (await anext(stream)).resume_token
    await touch(fleet, job_id, "before the noise")
    for _ in range(REMEMBERED_MAX // _NOISE + 2):
        await fleet.store.write(noise)
    other = await submit(user, "two")
    resumed = aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(resume_token=token)))
    assert (await anext(resumed)).job.status_reason == "before the noise"
    assert (await anext(resumed)).job.id == other
    assert (await anext(stream)).job.status_reason == "before the noise"
    assert (await anext(stream)).job.id == other


@pytest.mark.parametrize("damage", ["garbage", "other scope", "cut", "é", "long"])
async def test_a_token_that_is_not_of_this_stream_is_refused(fleet: Fleet, user: Client, damage: str) -> None:
    job_id = await submit(user, "one")
    token = (await anext(aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest())))).resume_token
    request = {
        "garbage": job_pb2.WatchJobsRequest(resume_token="garbage"),
        "other scope": job_pb2.WatchJobsRequest(job_id=job_id, resume_token=token),
        "cut": job_pb2.WatchJobsRequest(resume_token=token[:-3]),
        "é": job_pb2.WatchJobsRequest(resume_token="é" + token[1:]),
        "long": job_pb2.WatchJobsRequest(resume_token=token * 1_000),
    }[damage]
    outcome = await refused(user.jobs.WatchJobs(request))
    assert (outcome.reason, outcome.fields) == ("RESUME_TOKEN_INVALID", ("resume_token",))


async def test_a_token_from_before_the_kept_events_is_refused_with_what_to_do(fleet: Fleet, user: Client) -> None:
    job_id = await submit(user, "one")
    token = (await anext(aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest())))).resume_token
    for number in range(5):
        await touch(fleet, job_id, str(number))
    await fleet.store.write(lambda tx: events.prune(tx, keep=2))
    outcome = await refused(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(resume_token=token)))
    assert outcome.reason == "RESUME_TOKEN_TOO_OLD"
    assert "without a resume token" in outcome.message


async def test_a_watch_of_something_that_does_not_exist_is_refused(user: Client) -> None:
    outcome = await refused(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(job_id=new_id(JOB))))
    assert outcome.reason == "JOB_NOT_FOUND"
    outcome = await refused(user.goals.WatchGoal(goal_pb2.WatchGoalRequest(goal_id="g-0123456789ab")))
    assert outcome.reason == "GOAL_NOT_FOUND"


async def test_a_watch_of_a_goal_sends_its_jobs_and_ends_with_them(fleet: Fleet, user: Client) -> None:
    made = await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text="train on 1 H100 for 1 hour, command: true"))
    stream = user.goals.WatchGoal(goal_pb2.WatchGoalRequest(goal_id=made.goal.id))
    reader = aiter(stream)
    first = await anext(reader)
    assert (first.goal.id, len(first.jobs)) == (made.goal.id, 1)
    await user.goals.CancelGoal(goal_pb2.CancelGoalRequest(goal_id=made.goal.id))
    rest = [change async for change in stream]
    assert rest[-1].goal.state == goal_pb2.GOAL_STATE_CANCELLED
    assert rest[-1].jobs[0].state == job_pb2.JOB_STATE_CANCELLED
    found = await fleet.store.read(lambda tx: jobs.of_goal(tx, GoalId(made.goal.id)))
    assert [job.state for job in found] == [JobState.CANCELLED]


async def test_a_watch_of_nodes_sees_a_cordon_and_who_holds_a_gpu(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("host-1", gpus=2)
    stream = aiter(operator.nodes.WatchNodes(node_pb2.WatchNodesRequest(node_id="host-1")))
    assert (await anext(stream)).node.id == node.id
    job_id = await submit(operator, "one")
    await fleet.place(job_id, node, 1)
    held = await anext(stream)
    assert [gpu.job_id for gpu in held.node.gpus] == [job_id, ""]
    await operator.nodes.CordonNode(node_pb2.CordonNodeRequest(node_id=node.id, reason="smells burnt"))
    cordoned = await anext(stream)
    assert cordoned.node.state == node_pb2.NODE_STATE_CORDONED


async def test_a_watch_of_actions_starts_with_those_that_wait(fleet: Fleet, user: Client, operator: Client) -> None:
    await submit(user, "small")
    spec = a_job("big", resources=job_pb2.ResourceRequest(gpu_count=64), max_runtime_seconds=24 * 3600)
    made = await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))
    stream = aiter(operator.actions.WatchActions(action_pb2.WatchActionsRequest()))
    first = await anext(stream)
    assert first.action.id == made.action_id
    await operator.actions.RejectAction(action_pb2.RejectActionRequest(action_id=made.action_id, reason="too much"))
    assert (await anext(stream)).action.state == action_pb2.ACTION_STATE_REJECTED


async def test_one_caller_may_not_open_streams_without_bound(fleet: Fleet, user: Client) -> None:
    await submit(user, "one")
    streams = [user.jobs.WatchJobs(job_pb2.WatchJobsRequest()) for _ in range(100)]
    for stream in streams:
        await anext(aiter(stream))
    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest())))
    assert refusal_of(caught.value).reason == "TOO_MANY_STREAMS"
    other = await fleet.client(Role.VIEWER)
    assert await anext(aiter(other.jobs.WatchJobs(job_pb2.WatchJobsRequest())))


async def test_open_streams_do_not_read_the_store_for_changes_of_others(
    fleet: Fleet, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await submit(user, "one")
    streams = [aiter(user.jobs.WatchJobs(job_pb2.WatchJobsRequest(job_id=job_id))) for _ in range(50)]
    for stream in streams:
        await anext(stream)
    reads = 0
    read = fleet.store.read

    async def counted(function: Callable[[Tx], Any]) -> Any:  # Any: as the method it stands before
        nonlocal reads
        reads += 1
        return await read(function)

    monkeypatch.setattr(fleet.store, "read", counted)
    await fleet.store.write(noise)
    await touch(fleet, job_id, "done")
    assert [(await anext(stream)).job.status_reason for stream in streams] == ["done"] * 50
    assert reads == 50  # each stream its job once, and nobody the new events
