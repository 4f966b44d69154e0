"""Deadlines, credentials, retries and request ids of calls; watches that resume."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import grpc
import pytest

from orquanta import AsyncClient
from orquanta.errors import DeadlineExceeded, NotFound, PreconditionFailed, Unavailable
from orquanta.gameday.fleet import free_port
from orquanta.retry import RetryPolicy
from orquanta.types import GoalState, JobSpec, JobState, LogStream, ResourceRequest
from orquanta.v1 import auth_pb2, goal_pb2, job_pb2
from tests.clients.conftest import Certificates
from tests.clients.scripted import Failure, ScriptedServer, Silence

DOWN = Failure(grpc.StatusCode.UNAVAILABLE, "restarting", "RESTARTING")
QUICK = RetryPolicy(max_attempts=4, first_pause_seconds=0.0, max_pause_seconds=0.0)


def connect(server: ScriptedServer, certificates: Certificates, **options: float) -> AsyncClient:
    return AsyncClient(
        server.address,
        api_key="k-secret",
        ca_certificate=certificates.ca,
        retry=QUICK,
        watch_retry=QUICK,
        timeout_seconds=options.get("timeout_seconds", 20.0),
    )


def goal(state: goal_pb2.GoalState.ValueType, text: str = "train") -> goal_pb2.Goal:
    return goal_pb2.Goal(id="g-1", text=text, state=state)


async def test_every_call_has_a_deadline_and_carries_the_credential(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer("GoalService/GetGoal", goal_pb2.GetGoalResponse())
    async with connect(server, certificates) as client:
        await client.goals.get("g-1")
    (call,) = server.calls
    assert call.metadata["authorization"] == "Bearer k-secret"
    assert call.seconds_left is not None
    assert 0 < call.seconds_left <= 20


async def test_retried_create_keeps_its_request_id(server: ScriptedServer, certificates: Certificates) -> None:
    created = goal_pb2.CreateGoalResponse(goal=goal(goal_pb2.GOAL_STATE_RUNNING))
    server.answer("GoalService/CreateGoal", DOWN, DOWN, created)
    async with connect(server, certificates) as client:
        result = await client.goals.create("train", budget_usd=Decimal("1.5"))
    requests = server.requests("GoalService/CreateGoal", goal_pb2.CreateGoalRequest)
    assert result.state is GoalState.RUNNING
    assert len(requests) == 3
    assert len({request.request_id for request in requests}) == 1
    assert requests[0].request_id
    assert requests[0].budget_usd_micros == 1_500_000


async def test_two_creates_have_two_request_ids(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("GoalService/CreateGoal", goal_pb2.CreateGoalResponse())
    async with connect(server, certificates) as client:
        await client.goals.create("train")
        await client.goals.create("train")
    first, second = server.requests("GoalService/CreateGoal", goal_pb2.CreateGoalRequest)
    assert first.request_id != second.request_id


async def test_retries_stop_at_the_bound(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("GoalService/GetGoal", DOWN)
    async with connect(server, certificates) as client:
        with pytest.raises(Unavailable, match="restarting"):
            await client.goals.get("g-1")
    assert len(server.calls) == QUICK.max_attempts


async def test_what_cannot_succeed_is_not_retried(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("GoalService/CancelGoal", Failure(grpc.StatusCode.FAILED_PRECONDITION, "ended", "ENDED"))
    async with connect(server, certificates) as client:
        with pytest.raises(PreconditionFailed):
            await client.goals.cancel("g-1")
    assert len(server.calls) == 1


async def test_mutation_without_a_request_id_is_never_repeated(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer("AuthService/ChangePassword", DOWN)
    async with connect(server, certificates) as client:
        with pytest.raises(Unavailable):
            await client.auth.change_password("old", "new")
    assert len(server.calls) == 1


async def test_silent_server_ends_in_deadline_exceeded(
    server: ScriptedServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("GoalService/GetGoal", Silence())
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with connect(server, certificates, timeout_seconds=0.3) as client:
        monkeypatch.setattr(client.goals._transport, "_pause", pause)
        with pytest.raises(DeadlineExceeded):
            await client.goals.get("g-1")
    # Not counted at the server: where the machine is busy, a call's time may be over before it has come there.
    assert len(pauses) + 1 == QUICK.max_attempts


async def test_login_authenticates_the_calls_after_it(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("AuthService/Login", auth_pb2.LoginResponse(access_token="jwt"))
    server.answer("AuthService/WhoAmI", auth_pb2.WhoAmIResponse())
    async with AsyncClient(server.address, ca_certificate=certificates.ca) as client:
        await client.auth.login("ada@example.com", "correct horse")
        await client.auth.who_am_i()
    login, who = server.calls
    assert "authorization" not in login.metadata
    assert who.metadata["authorization"] == "Bearer jwt"


async def test_list_follows_the_pages(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer(
        "GoalService/ListGoals",
        goal_pb2.ListGoalsResponse(goals=[goal_pb2.Goal(id="g-1")], next_page_token="two"),
        goal_pb2.ListGoalsResponse(goals=[goal_pb2.Goal(id="g-2"), goal_pb2.Goal(id="g-3")]),
    )
    async with connect(server, certificates) as client:
        found = [entry.id async for entry in client.goals.list(states=[GoalState.RUNNING])]
    requests = server.requests("GoalService/ListGoals", goal_pb2.ListGoalsRequest)
    assert found == ["g-1", "g-2", "g-3"]
    assert [request.page_token for request in requests] == ["", "two"]
    assert list(requests[1].states) == [goal_pb2.GOAL_STATE_RUNNING]


async def test_watch_resumes_after_the_last_event_it_saw(server: ScriptedServer, certificates: Certificates) -> None:
    def event(state: goal_pb2.GoalState.ValueType, token: str) -> goal_pb2.WatchGoalResponse:
        return goal_pb2.WatchGoalResponse(goal=goal(state), resume_token=token)

    server.answer(
        "GoalService/WatchGoal",
        [event(goal_pb2.GOAL_STATE_PLANNING, "t1"), DOWN],
        DOWN,
        [event(goal_pb2.GOAL_STATE_RUNNING, "t2")],  # an orderly end, but the goal goes on
        [event(goal_pb2.GOAL_STATE_SUCCEEDED, "t3"), Silence()],
    )
    async with connect(server, certificates) as client:
        states = [view.goal.state async for view in client.goals.watch("g-1")]
    requests = server.requests("GoalService/WatchGoal", goal_pb2.WatchGoalRequest)
    assert states == [GoalState.PLANNING, GoalState.RUNNING, GoalState.SUCCEEDED]
    assert [request.resume_token for request in requests] == ["", "t1", "t1", "t2"]


async def test_watch_gives_up_when_the_server_stays_away(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("JobService/WatchJobs", DOWN)
    async with connect(server, certificates) as client:
        with pytest.raises(Unavailable):
            async for _ in client.jobs.watch():
                pass
    assert len(server.calls) == QUICK.max_attempts


async def test_watch_of_something_unknown_fails_at_once(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("GoalService/WatchGoal", Failure(grpc.StatusCode.NOT_FOUND, "no goal g-9", "NOT_FOUND"))
    async with connect(server, certificates) as client:
        with pytest.raises(NotFound):
            await client.goals.wait("g-9")


async def test_watch_survives_a_server_that_is_restarted_on_its_port(
    server: ScriptedServer, certificates: Certificates
) -> None:
    first = job_pb2.WatchJobsResponse(job=job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_RUNNING), resume_token="t1")
    last = job_pb2.WatchJobsResponse(job=job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_SUCCEEDED), resume_token="t2")
    server.answer("JobService/WatchJobs", [first, Silence()], [last])
    await server.stop()
    await server.start(free_port())  # one that the kernel gives to nobody else while the server is away
    async with AsyncClient(server.address, ca_certificate=certificates.ca) as client:
        states = []
        async for job in client.jobs.watch(job_id="j-1"):
            states.append(job.state)
            if job.state is JobState.RUNNING:
                await server.stop()
                await server.start(server.port)
    assert states == [JobState.RUNNING, JobState.SUCCEEDED]
    assert server.requests("JobService/WatchJobs", job_pb2.WatchJobsRequest)[-1].resume_token == "t1"


async def test_leaving_a_watch_early_ends_the_call_on_the_server(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer("JobService/WatchJobs", [job_pb2.WatchJobsResponse(job=job_pb2.Job(id="j-1")), Silence()])
    async with connect(server, certificates) as client:
        watch = client.jobs.watch()
        assert (await anext(watch)).id == "j-1"
        await watch.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_logs_go_on_without_gap_or_repeat(server: ScriptedServer, certificates: Certificates) -> None:
    def chunk(data: bytes, token: str) -> job_pb2.ReadLogsResponse:
        return job_pb2.ReadLogsResponse(epoch=1, stream=job_pb2.LOG_STREAM_STDOUT, data=data, resume_token=token)

    server.answer("JobService/ReadLogs", [chunk(b"\xff one\n", "1"), DOWN], [chunk(b"two\n", "2")])
    async with connect(server, certificates) as client:
        chunks = [c async for c in client.jobs.logs("j-1", follow=True, rank=0, tail_lines=5)]
    first, second = server.requests("JobService/ReadLogs", job_pb2.ReadLogsRequest)
    assert b"".join(c.data for c in chunks) == b"\xff one\ntwo\n"
    assert {c.stream for c in chunks} == {LogStream.STDOUT}
    assert (first.HasField("rank"), first.rank, first.tail_lines, first.follow) == (True, 0, 5, True)
    assert second.resume_token == "1"


async def test_job_spec_makes_the_round_trip(server: ScriptedServer, certificates: Certificates) -> None:
    def echo(request: object) -> job_pb2.SubmitJobResponse:
        assert isinstance(request, job_pb2.SubmitJobRequest)
        job = job_pb2.Job(id="j-1", spec=request.spec, state=job_pb2.JOB_STATE_QUEUED)
        job.created_at.FromDatetime(datetime(2026, 3, 1, 12, tzinfo=UTC))
        return job_pb2.SubmitJobResponse(job=job, action_id="act-1")

    spec = JobSpec(
        name="train",
        command="python train.py",
        resources=ResourceRequest(gpu_count=16, gpu_types=("H100",), node_count=2),
        environment={"A": "1"},
        max_runtime_seconds=3600,
    )
    server.answer("JobService/SubmitJob", echo)
    async with connect(server, certificates) as client:
        submission = await client.jobs.submit(spec)
    assert submission.job.spec == spec
    assert submission.action_id == "act-1"
    assert submission.job.created_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert submission.job.finished_at is None
    assert submission.job.exit_code is None


async def test_enum_value_of_a_newer_server_reads_as_unknown(
    server: ScriptedServer, certificates: Certificates
) -> None:
    newer = goal_pb2.Goal(id="g-1")
    newer.MergeFromString(b"\x28\x63")  # field 5 (state) = 99
    server.answer("GoalService/GetGoal", goal_pb2.GetGoalResponse(goal=newer))
    async with connect(server, certificates) as client:
        view = await client.goals.get("g-1")
    assert view.goal.state is GoalState.UNKNOWN
    assert not view.goal.state.ended


async def test_cancelling_the_caller_cancels_the_call(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("GoalService/GetGoal", Silence())
    async with connect(server, certificates) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.goals.get("g-1")
