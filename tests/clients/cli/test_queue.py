"""`orquanta queue`, `quota`, `job why` and `simulate`: what is sent, and what people read."""

from pathlib import Path

import grpc
import pytest

from orquanta.cli.queue_views import verdict_rows
from orquanta.convert.queues import read_explanation
from orquanta.v1 import job_pb2, queue_pb2, quota_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import Failure, ScriptedServer

ENTRY = queue_pb2.QueueEntry(
    job_id="j-1",
    name="train",
    position=1,
    user_email="ada@example.com",
    resources=job_pb2.ResourceRequest(gpu_count=1, gpu_milli=250, gpu_types=["H100"]),
    wait_reason=queue_pb2.WAIT_REASON_CAPACITY,
    waits_for="0 of 1 H100 free",
    would_help=["one more H100"],
)
OWN = """name,arrives_seconds,runs_seconds,gpus,gpu_type,gpu_milli,priority,team
a,100,60,1,H100|A100,500,high,research
b,110,30,8,,,,
"""
OPENB = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p0,12000,16384,1,460,T4|P100,LS,Running,50,250,60
p1,8000,30517,0,0,,BE,Running,80,90,80
"""


async def test_the_queue_is_a_table_with_what_each_job_waits_for(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("QueueService/ListQueue", queue_pb2.ListQueueResponse(entries=[ENTRY], total=3))
    result = await cli("queue", "--team", "research", "-n", "1")
    (request,) = server.requests("QueueService/ListQueue", queue_pb2.ListQueueRequest)
    assert (request.team, request.page_size) == ("research", 1)
    assert "0.25 x H100" in result.stdout
    assert "0 of 1 H100 free" in result.stdout
    assert "3 jobs wait in all" in result.stderr


async def test_why_tells_what_would_help_and_how_hosts_compare(server: ScriptedServer, cli: RunCli) -> None:
    verdict = queue_pb2.NodeVerdict(node_id="n-1", node_name="alpha", fits=False, reason="8 of 8 GPUs are held")
    job = job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_QUEUED)
    answer = queue_pb2.ExplainJobResponse(waiting=ENTRY, nodes=[verdict], job=job)
    server.answer("QueueService/ExplainJob", answer)
    result = await cli("job", "why", "j-1")
    assert "one more H100" in result.stdout
    assert "8 of 8 GPUs are held" in result.stdout


def test_hosts_of_which_the_same_is_to_be_said_share_a_row_and_those_that_hold_the_job_are_marked() -> None:
    verdicts = [
        queue_pb2.NodeVerdict(node_id=f"n-{number}", node_name=f"h{number}", fits=number < 2, reason=reason)
        for number, reason in enumerate(("fits", "fits", "full", "full", "full", "full", "off"))
    ]
    member = job_pb2.AllocationMember(node_id="n-1")
    held = job_pb2.Allocation(state=job_pb2.ALLOCATION_STATE_RUNNING, members=[member])
    ended = job_pb2.Allocation(state=job_pb2.ALLOCATION_STATE_ENDED, members=[job_pb2.AllocationMember(node_id="n-0")])
    job = job_pb2.Job(id="j-1", allocations=[ended, held])
    found = read_explanation(queue_pb2.ExplainJobResponse(job=job, nodes=verdicts))
    assert verdict_rows(found) == [
        ("h0", "yes", "fits"),
        ("h1", "it is here", "fits"),
        ("h2 and 3 more", "no", "full"),
        ("h6", "no", "off"),
    ]


async def test_a_quota_is_set_as_it_was_given_and_no_more(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("QuotaService/SetQuota", quota_pb2.SetQuotaResponse(quota=quota_pb2.Quota(team="a", weight=1)))
    result = await cli("quota", "set", "a", "--max", "8")
    (request,) = server.requests("QuotaService/SetQuota", quota_pb2.SetQuotaRequest)
    assert (request.team, request.max_gpus, request.HasField("weight")) == ("a", 8, False)
    assert result.code == 0


@pytest.mark.parametrize("form", [OWN, OPENB], ids=["own", "openb"])
async def test_a_trace_of_either_form_is_sent_with_times_from_its_first_job(
    server: ScriptedServer, cli: RunCli, tmp_path: Path, form: str
) -> None:
    trace = tmp_path / "jobs.csv"
    trace.write_text(form)
    points = [queue_pb2.SimulationPoint(at_seconds=float(at), gpus_used=at, gpus_total=8) for at in range(9)]
    figures = queue_pb2.SimulationResult(jobs_finished=2, points=points)
    server.answer("QueueService/Simulate", queue_pb2.SimulateResponse(result=figures))
    result = await cli("simulate", "--trace", str(trace), "--add-nodes", "4xH100x8", "--no-backfill")
    (request,) = server.requests("QueueService/Simulate", queue_pb2.SimulateRequest)
    first, second = request.jobs
    assert (first.arrives_seconds, second.arrives_seconds) == ((0, 10) if form is OWN else (0, 30))
    assert first.resources.gpu_milli == (500 if form is OWN else 460)
    assert list(first.resources.gpu_types) == (["H100", "A100"] if form is OWN else ["T4", "P100"])
    assert first.runs_seconds == (60 if form is OWN else 190)
    assert [(one.count, one.gpu_type, one.gpu_count) for one in request.add_nodes] == [(4, "H100", 8)]
    assert (request.HasField("backfill"), request.backfill, request.HasField("preemption")) == (True, False, False)
    assert "█" in result.stdout
    assert "jobs that ended" in result.stdout


HEAD = "arrives_seconds,runs_seconds,gpus"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "has no column 'arrives_seconds'"),
        ("", "is empty; its first line names the columns"),
        (f"{HEAD}\n", "has no jobs"),
        (f"{HEAD.replace(',', ';')}\n0;60;8\n", "separated by commas"),
        (f"{HEAD},gpu_typ\n0,60,8,H100\n", "has the column 'gpu_typ', which nothing is known of"),
        (f"{HEAD},gpus\n0,60,8,9\n", "has the column 'gpus' twice"),
        (f"{HEAD}\n0,x,1\n", "line 2 of {file}: runs_seconds is 'x'; it must be a number"),
        (f"{HEAD}\n0,60,1\nnan,60,1\n", "line 3 of {file}: arrives_seconds is 'nan'"),
        (
            f"{HEAD}\n0,60,99999999999999999999\n",
            "line 2 of {file}: gpus is '99999999999999999999'; it must be a whole",
        ),
        (f"{HEAD}\n0,60,\n", "line 2 of {file}: gpus is ''"),
        (f"{HEAD}\n0,60\n", "line 2 of {file} has 2 values, and there are 3 columns"),
        (f"{HEAD}\n0,60,1,2\n", "line 2 of {file} has 4 values, and there are 3 columns"),
        (f"{HEAD},gpu_milli\n0,60,1,2500\n", "gpu_milli is '2500'; it must be a whole number from 0 to 1000"),
        (f"{HEAD},memory_gib\n0,60,1,inf\n", "line 2 of {file}: memory_gib is 'inf'"),
        (f"{HEAD},priority\n0,60,1,unknown\n", "priority is 'unknown'; it must be low, normal, high or urgent"),
        (f'{HEAD},name\n0,60,1,"half\n', "cannot be read: unexpected end of data"),
    ],
)
async def test_a_trace_that_cannot_be_read_is_refused_with_the_place(
    server: ScriptedServer, cli: RunCli, tmp_path: Path, text: str, told: str
) -> None:
    trace = tmp_path / "jobs.csv"
    trace.write_text(text)
    result = await cli("simulate", "--trace", str(trace))
    assert result.code == 2
    assert told.replace("{file}", str(trace)) in " ".join(result.stderr.split())
    assert server.requests("QueueService/Simulate", queue_pb2.SimulateRequest) == []


async def test_the_live_queue_is_simulated_where_no_list_is_given(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("QueueService/Simulate", queue_pb2.SimulateResponse())
    result = await cli("simulate", "--order", "fifo")
    (request,) = server.requests("QueueService/Simulate", queue_pb2.SimulateRequest)
    assert (result.code, request.order, list(request.jobs), list(request.nodes)) == (0, "fifo", [], [])
    assert "No GPU was used." in result.stdout


async def test_a_trace_with_a_byte_order_mark_is_read(server: ScriptedServer, cli: RunCli, tmp_path: Path) -> None:
    trace = tmp_path / "jobs.csv"
    trace.write_text(f"{HEAD}\n0,60,8\n", encoding="utf-8-sig")
    server.answer("QueueService/Simulate", queue_pb2.SimulateResponse())
    assert (await cli("simulate", "--trace", str(trace))).code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("sn,cpu_milli,memory_mib,gpu,model\n", "has no hosts"),
        ("sn,cpu_milli,memory_mib\nn,1,1\n", "has no column 'gpu'"),
        ("cpu_milli,memory_mib,gpu,model\n1,1,-8,H100\n", "line 2 of {file}: gpu is '-8'"),
    ],
    ids=["empty", "no hosts", "columns", "negative"],
)
async def test_hosts_that_cannot_be_read_are_refused_and_never_taken_for_the_live_ones(
    server: ScriptedServer, cli: RunCli, tmp_path: Path, text: str, told: str
) -> None:
    hosts = tmp_path / "hosts.csv"
    hosts.write_text(text)
    result = await cli("simulate", "--nodes-file", str(hosts))
    assert result.code == 2
    assert told.replace("{file}", str(hosts)) in " ".join(result.stderr.split())
    assert server.requests("QueueService/Simulate", queue_pb2.SimulateRequest) == []


@pytest.mark.parametrize("kind", ["\u00b2xH100x8", "\u0664xH100x8", "9999999999xH100x8", "4xx8"])
async def test_a_kind_of_host_that_is_none_is_refused(cli: RunCli, kind: str) -> None:
    result = await cli("simulate", "--nodes", kind)
    assert result.code == 2
    assert "is no kind of host; write it like 4xH100x8" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("jobs[1].runs_seconds: is -5.0", "line 3 of {file}: runs_seconds: is -5.0"),
        ("nodes[0].gpu_count: is 65", "4xH100x65: gpu_count: is 65"),
        ("packing: 'x' is not known", "packing: 'x' is not known"),
    ],
    ids=["job", "host", "else"],
)
async def test_what_the_server_refuses_of_a_file_is_told_with_the_line(
    server: ScriptedServer, cli: RunCli, tmp_path: Path, said: str, told: str
) -> None:
    trace = tmp_path / "jobs.csv"
    trace.write_text(f"{HEAD}\n0,60,8\n0,-5,8\n")
    server.answer("QueueService/Simulate", Failure(grpc.StatusCode.INVALID_ARGUMENT, said, "NUMBER_OUT_OF_RANGE"))
    result = await cli("simulate", "--trace", str(trace), "--nodes", "4xH100x65")
    assert (result.code, result.stderr.strip()) == (2, f"orquanta: {told.replace('{file}', str(trace))}")
