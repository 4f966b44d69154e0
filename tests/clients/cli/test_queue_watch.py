"""`orquanta queue --watch`: what is asked, what is said, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from orquanta.cli.output import Output
from orquanta.cli.queue_watch import Answers, changes, head_lines
from orquanta.convert.queues import read_entry
from orquanta.transport import Transport
from orquanta.types.queues import QueuePage, WaitReason
from orquanta.v1 import queue_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.cli.test_queue import ENTRY
from tests.clients.scripted import Failure, ScriptedServer

FIRST = replace(read_entry(ENTRY), queued_at=None)
SECOND = replace(FIRST, job_id="j-2", name="eval", position=2)


def page(*entries: object, total: int = -1) -> QueuePage:
    return QueuePage(entries, len(entries) if total < 0 else total, None)  # type: ignore[arg-type] # entries


def test_who_came_went_or_waits_for_something_else_is_said_and_who_only_moved_is_not() -> None:
    assert changes(None, page()) == ["no job waits"]
    both = page(FIRST, SECOND)
    assert changes(None, both) == [
        "2 jobs wait",
        "j-1 train place 1, capacity: 0 of 1 H100 free",
        "j-2 eval place 2, capacity: 0 of 1 H100 free",
    ]
    moved = page(replace(SECOND, position=1, waits_for="1 of 2 H100 free"))
    assert changes(both, moved) == ["1 job waits", "j-1 train waits no more"]
    held = page(replace(SECOND, wait_reason=WaitReason.QUOTA, waits_for="team a holds\n8"), total=9)
    assert changes(both, held) == [
        "9 jobs wait",
        "j-1 train is not among the first any more",
        "j-2 eval place 2, quota: team a holds 8",
    ]


def test_the_head_of_the_table_says_when_the_server_does_not_answer_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2026, 11, 23, 8, tzinfo=UTC)
    time = [start]
    for module in ("queue_watch", "formats"):
        monkeypatch.setattr(f"orquanta.cli.{module}.now", lambda: time[0])
    answers = Answers(every_seconds=2)

    def after(seconds: int) -> list[str]:
        time[0] = start + timedelta(seconds=seconds)
        return head_lines(page(FIRST), start, answers)

    assert after(12) == ["1 job waits; changed 12s ago. Ctrl-C ends this."]
    head, missed = after(13)
    assert head == "1 job waits; changed 13s ago. Ctrl-C ends this."
    assert missed.startswith("No answer of the server since ")
    assert missed.endswith(", 13s ago: this is how the queue was then. It is asked again.")
    answers.note()
    assert len(after(25)) == 1


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks no time passes."""

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setitem(Transport.__init__.__kwdefaults__ or {}, "pause", at_once)


@pytest.mark.usefixtures("no_pauses")
async def test_each_change_is_one_json_object_on_a_line_and_a_refusal_ends_it(
    server: ScriptedServer, cli: RunCli
) -> None:
    answer = queue_pb2.ListQueueResponse(entries=[ENTRY], total=1)
    refusal = Failure(grpc.StatusCode.INVALID_ARGUMENT, "no such team", "TEAM_INVALID")
    server.answer("QueueService/ListQueue", answer, answer, queue_pb2.ListQueueResponse(), refusal)
    result = await cli("queue", "--watch", "--every", "1", "--json")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert ([one["job_id"] for one in first["entries"]], second["total"]) == (["j-1"], 0)
    assert (result.code, result.error()["reason"]) == (2, "TEAM_INVALID")


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "pipe"])
async def test_an_outage_is_told_of_on_standard_error_when_it_begins_and_when_it_is_over(
    server: ScriptedServer, cli: RunCli, *, as_json: bool
) -> None:
    answer = queue_pb2.ListQueueResponse(entries=[ENTRY], total=1)
    down = Failure(grpc.StatusCode.UNAVAILABLE, "restarting", "SHUTTING_DOWN")
    refusal = Failure(grpc.StatusCode.INVALID_ARGUMENT, "no such team", "TEAM_INVALID")
    server.answer("QueueService/ListQueue", answer, *[down] * 12, answer, answer, *[down] * 5, answer, refusal)
    result = await cli("queue", "--watch", *(["--json"] if as_json else []))
    told = [line.split(" ", 1)[1] for line in result.stderr.splitlines()[:4]]
    assert [line.startswith("No answer of the server since ") for line in told] == [True, False, True, False]
    assert told[0].endswith("(restarting). It is asked again.")
    assert told[1] == told[3] == "The server answers again; what has changed meanwhile comes now."
    assert len(result.stdout.splitlines()) == (1 if as_json else 2)
    assert result.code == 2


async def test_a_rate_that_would_burden_the_server_is_wrong_usage(cli: RunCli) -> None:
    result = await cli("queue", "--watch", "--every", "0.1")
    assert (result.code, "greater than or equal to 1" in result.stderr) == (2, True)


async def test_ctrl_c_ends_a_watch_without_a_word(server: ScriptedServer, environment: dict[str, str]) -> None:
    server.answer("QueueService/ListQueue", queue_pb2.ListQueueResponse(entries=[ENTRY], total=1))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orquanta.cli", "queue", "--watch"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert b"1 job waits" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (130, b"")


def test_a_pipe_that_nobody_reads_any_more_is_noticed_before_something_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        Output(as_json=False).check_reader()
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            Output(as_json=False).check_reader()
