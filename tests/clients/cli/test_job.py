"""`orquanta job`: submitting, output byte for byte, exit codes."""

import pytest

from orquanta.v1 import action_pb2, job_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer, json_lines


def job(state: job_pb2.JobState.ValueType, reason: str = "") -> job_pb2.Job:
    member = job_pb2.AllocationMember(
        rank=0,
        node_name="node-a",
        state=job_pb2.ALLOCATION_STATE_ENDED,
        exit_reason=job_pb2.EXIT_REASON_SIGNALED,
        signal=9,
    )
    allocation = job_pb2.Allocation(id="a-1", epoch=1, members=[member], gpu_type="H100")
    return job_pb2.Job(id="j-1", state=state, status_reason=reason, allocations=[allocation])


async def test_submit_sends_everything_that_was_asked_for(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("JobService/SubmitJob", job_pb2.SubmitJobResponse(job=job(job_pb2.JOB_STATE_QUEUED, "waits")))
    result = await cli(
        *("job", "submit", "--gpus", "16", "-t", "H100", "-t", "A100", "--nodes", "2", "--name", "train"),
        *("--max-hours", "1.5", "--priority", "high", "--env", "A=1", "--env", "B=x=y", "--gpu-memory", "80"),
        *("--", "python", "train.py", "--text", "two words"),
    )
    (request,) = server.requests("JobService/SubmitJob", job_pb2.SubmitJobRequest)
    spec = request.spec
    assert (result.code, result.stdout) == (0, "j-1 queued. waits\n")
    assert spec.name == "train"
    assert spec.command == "python train.py --text 'two words'"
    assert (spec.resources.gpu_count, spec.resources.node_count) == (16, 2)
    assert list(spec.resources.gpu_types) == ["H100", "A100"]
    assert spec.resources.min_gpu_memory_bytes == 80 * 1024**3
    assert (spec.max_runtime_seconds, spec.priority) == (5400, job_pb2.JOB_PRIORITY_HIGH)
    assert dict(spec.environment) == {"A": "1", "B": "x=y"}
    assert request.request_id


async def test_submit_sends_where_it_may_run_and_how_it_is_asked_for_a_checkpoint(
    server: ScriptedServer, cli: RunCli
) -> None:
    server.answer("JobService/SubmitJob", job_pb2.SubmitJobResponse())
    await cli(
        *("job", "submit", "--gpu-share", "0.25", "--share-memory", "4", "--label", "pool=a", "--not-on", "gpu-7"),
        *("--apart", "web", "--exclusive", "--near", "rack", "--checkpoint-signal", "SIGUSR1"),
        *("--checkpoint-time", "90s", "--executor", "hosts", "--", "true"),
    )
    (request,) = server.requests("JobService/SubmitJob", job_pb2.SubmitJobRequest)
    needs = request.spec.resources
    assert (needs.gpu_count, needs.gpu_milli, needs.share_memory_bytes) == (1, 250, 4 << 30)
    assert (dict(needs.node_labels), list(needs.exclude_nodes)) == ({"pool": "a"}, ["gpu-7"])
    assert (needs.anti_affinity, needs.exclusive_nodes) == ("web", True)
    assert needs.topology == job_pb2.TOPOLOGY_DOMAIN_RACK
    assert (request.spec.checkpoint_signal, request.spec.checkpoint_seconds) == ("SIGUSR1", 90)
    assert request.spec.executor == "hosts"


@pytest.mark.parametrize("share", ["1", "0", "0m", "1000m", "half", "-0.5"])
async def test_what_is_no_part_of_a_gpu_is_refused(server: ScriptedServer, cli: RunCli, share: str) -> None:
    result = await cli("job", "submit", f"--gpu-share={share}", "--", "true")
    assert (result.code, server.requests("JobService/SubmitJob", job_pb2.SubmitJobRequest)) == (2, [])
    assert "not a part of a GPU" in result.stderr


async def test_one_argument_is_a_shell_command_line_as_it_stands(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("JobService/SubmitJob", job_pb2.SubmitJobResponse())
    await cli("job", "submit", "--", "/usr/bin/nvidia-smi && sleep 1")
    (request,) = server.requests("JobService/SubmitJob", job_pb2.SubmitJobRequest)
    assert request.spec.name == "nvidia-smi"
    assert request.spec.command == "/usr/bin/nvidia-smi && sleep 1"


async def test_job_that_awaits_approval_exits_with_5_and_names_the_action(server: ScriptedServer, cli: RunCli) -> None:
    response = job_pb2.SubmitJobResponse(job=job(job_pb2.JOB_STATE_QUEUED), action_id="act-1")
    server.answer("JobService/SubmitJob", response)
    result = await cli("job", "submit", "--template", "benchmark")
    assert result.code == 5
    assert "orquanta action approve act-1" in result.stderr


async def test_waiting_for_a_job_waits_for_its_approval_first(server: ScriptedServer, cli: RunCli) -> None:
    def action(state: action_pb2.ActionState.ValueType) -> action_pb2.Action:
        return action_pb2.Action(id="act-1", state=state, outcome="too dear")

    def change(state: action_pb2.ActionState.ValueType) -> action_pb2.WatchActionsResponse:
        return action_pb2.WatchActionsResponse(action=action(state))

    waiting, ended = action_pb2.ACTION_STATE_AWAITING_APPROVAL, job(job_pb2.JOB_STATE_SUCCEEDED)
    server.answer("JobService/SubmitJob", job_pb2.SubmitJobResponse(job=ended, action_id="act-1"))
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=action(waiting)))
    server.answer(
        "ActionService/WatchActions",
        [change(waiting), change(action_pb2.ACTION_STATE_DONE)],
        [change(waiting), change(action_pb2.ACTION_STATE_REJECTED)],
    )
    server.answer("JobService/WatchJobs", [job_pb2.WatchJobsResponse(job=ended)])
    server.answer("JobService/GetJob", job_pb2.GetJobResponse(job=ended))
    approved = await cli("job", "submit", "--wait", "--", "train")
    rejected = await cli("job", "submit", "--wait", "--", "train")
    assert (approved.code, rejected.code) == (0, 5)
    assert "act-1 rejected. too dear" in rejected.stderr


@pytest.mark.parametrize(("state", "code"), [(job_pb2.JOB_STATE_SUCCEEDED, 0), (job_pb2.JOB_STATE_FAILED, 1)])
async def test_followed_job_prints_its_output_and_exits_with_its_fate(
    server: ScriptedServer, cli: RunCli, state: job_pb2.JobState.ValueType, code: int
) -> None:
    server.answer("JobService/SubmitJob", job_pb2.SubmitJobResponse(job=job(job_pb2.JOB_STATE_QUEUED)))
    server.answer("JobService/ReadLogs", [job_pb2.ReadLogsResponse(data=b"loss 1.9\n")])
    server.answer("JobService/WatchJobs", [job_pb2.WatchJobsResponse(job=job(state))])
    server.answer("JobService/GetJob", job_pb2.GetJobResponse(job=job(state)))
    result = await cli("job", "submit", "--follow", "--", "train")
    assert (result.code, result.stdout) == (code, "loss 1.9\n")


async def test_logs_are_the_bytes_that_were_written(server: ScriptedServer, cli: RunCli) -> None:
    chunks = [
        job_pb2.ReadLogsResponse(data=b"\xff\x00 half a", stream=job_pb2.LOG_STREAM_STDOUT),
        job_pb2.ReadLogsResponse(data=b" line\n", lost_bytes=7, stream=job_pb2.LOG_STREAM_STDERR),
    ]
    server.answer("JobService/ReadLogs", chunks)
    plain = await cli("job", "logs", "j-1", "--tail", "10", "--rank", "0")
    as_json = await cli("job", "logs", "j-1", "--json")
    request = server.requests("JobService/ReadLogs", job_pb2.ReadLogsRequest)[0]
    assert plain.stdout.encode(errors="surrogateescape") == b"\xff\x00 half a line\n"
    assert "7 bytes were dropped" in plain.stderr
    assert (request.tail_lines, request.HasField("rank"), request.follow) == (10, True, False)
    assert [line["stream"] for line in json_lines(as_json.stdout)] == ["stdout", "stderr"]
    assert json_lines(as_json.stdout)[1]["lost_bytes"] == 7


async def test_show_says_why_and_how_each_member_ended(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("JobService/GetJob", job_pb2.GetJobResponse(job=job(job_pb2.JOB_STATE_FAILED, "rank 0 was killed")))
    result = await cli("job", "show", "j-1")
    assert "rank 0 was killed" in result.stdout
    assert "signaled by signal 9" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--gpus", "-1", "--", "x"),
        ("--max-hours", "1", "--max-time", "1h", "--", "x"),
        ("--env", "A", "--", "x"),
        ("--max-time", "soon", "--", "x"),
        ("--gpus", "99999999999", "--", "x"),
    ],
)
async def test_wrong_submit_exits_with_2_and_submits_nothing(
    server: ScriptedServer, cli: RunCli, arguments: tuple[str, ...]
) -> None:
    assert (await cli("job", "submit", *arguments)).code == 2
    assert server.calls == []
