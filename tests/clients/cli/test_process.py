"""The command line as a process: terminals, signals, pipes, completion, start-up."""

import asyncio
import os
import pty
import signal
import subprocess
import sys

import pytest

from orquanta.v1 import action_pb2, goal_pb2, job_pb2
from tests.clients.scripted import ScriptedServer, Silence

COMMAND = (sys.executable, "-m", "orquanta.cli")


async def on_terminal(arguments: tuple[str, ...], environment: dict[str, str], typed: bytes) -> tuple[int, str]:
    """Run with a pseudo-terminal as stdin, stdout and stderr; returns exit code and what was shown."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdin=slave, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm"}
    )
    os.close(slave)
    os.write(master, typed)
    shown = await asyncio.to_thread(_read_all, master)
    os.close(master)
    return await process.wait(), shown


def _read_all(master: int) -> str:
    data = b""
    while True:
        try:
            piece = os.read(master, 65_536)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            return data.decode(errors="replace")
        data += piece


def running_goal(state: goal_pb2.GoalState.ValueType) -> goal_pb2.Goal:
    return goal_pb2.Goal(id="g-1", text="train", state=state)


async def test_person_confirms_an_approval_on_the_terminal(server: ScriptedServer, environment: dict[str, str]) -> None:
    waiting = action_pb2.Action(
        id="act-1", state=action_pb2.ACTION_STATE_AWAITING_APPROVAL, summary="launch it", hash="abc"
    )
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=waiting))
    server.answer("ActionService/ApproveAction", action_pb2.ApproveActionResponse(action=waiting))
    declined, shown = await on_terminal(("action", "approve", "act-1"), environment, b"n\n")
    approved, _ = await on_terminal(("action", "approve", "act-1"), environment, b"y\n")
    requests = server.requests("ActionService/ApproveAction", action_pb2.ApproveActionRequest)
    assert "launch it" in shown
    assert "Approve exactly this?" in shown
    assert (declined, approved) == (130, 0)
    assert [request.hash for request in requests] == ["abc"]


async def test_terminal_gets_a_live_table_and_a_final_bill(server: ScriptedServer, environment: dict[str, str]) -> None:
    job = job_pb2.Job(id="j-1", spec=job_pb2.JobSpec(name="train"), state=job_pb2.JOB_STATE_RUNNING)
    events = [
        goal_pb2.WatchGoalResponse(goal=running_goal(state), jobs=[job])
        for state in (goal_pb2.GOAL_STATE_RUNNING, goal_pb2.GOAL_STATE_SUCCEEDED)
    ]
    ended = running_goal(goal_pb2.GOAL_STATE_SUCCEEDED)
    ended.result = "loss 1.9"
    server.answer("GoalService/WatchGoal", events)
    server.answer("GoalService/GetGoal", goal_pb2.GetGoalResponse(goal=ended, jobs=[job]))
    code, shown = await on_terminal(("goal", "watch", "g-1"), environment, b"")
    assert code == 0
    assert "\x1b[" in shown
    assert "running" in shown
    assert "loss 1.9" in shown


async def test_question_is_asked_on_the_terminal_and_the_goal_goes_on(
    server: ScriptedServer, environment: dict[str, str]
) -> None:
    asking = running_goal(goal_pb2.GOAL_STATE_NEEDS_INPUT)
    asking.plan.questions.add(field="gpu_type", text="Which GPU?")
    done = running_goal(goal_pb2.GOAL_STATE_SUCCEEDED)
    server.answer("GoalService/CreateGoal", goal_pb2.CreateGoalResponse(goal=asking))
    server.answer(
        "GoalService/WatchGoal",
        [goal_pb2.WatchGoalResponse(goal=asking), Silence()],
        [goal_pb2.WatchGoalResponse(goal=done)],
    )
    server.answer("GoalService/GetGoal", goal_pb2.GetGoalResponse(goal=asking), goal_pb2.GetGoalResponse(goal=done))
    server.answer("GoalService/AnswerGoal", goal_pb2.AnswerGoalResponse(goal=done))
    code, shown = await on_terminal(("goal", "submit", "train"), environment, b"H100\n")
    (request,) = server.requests("GoalService/AnswerGoal", goal_pb2.AnswerGoalRequest)
    assert code == 0
    assert "Which GPU?" in shown
    assert dict(request.answers) == {"gpu_type": "H100"}


async def test_interrupt_while_watching_detaches_and_says_so(
    server: ScriptedServer, environment: dict[str, str]
) -> None:
    running = running_goal(goal_pb2.GOAL_STATE_RUNNING)
    server.answer("GoalService/WatchGoal", [goal_pb2.WatchGoalResponse(goal=running), Silence()])
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("goal", "watch", "g-1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert b"g-1 running" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()
    assert process.returncode == 130
    assert b"The goal goes on; watch it with: orquanta goal watch g-1" in stderr
    assert b"Traceback" not in stderr


async def test_reader_that_stops_reading_is_no_error(server: ScriptedServer, environment: dict[str, str]) -> None:
    chunk = job_pb2.ReadLogsResponse(data=b"x" * 65_536)
    server.answer("JobService/ReadLogs", [chunk] * 64)
    process = await asyncio.create_subprocess_shell(
        f"{' '.join(COMMAND)} job logs j-1 | head -c 10",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    stdout, stderr = await process.communicate()
    assert (stdout, stderr) == (b"x" * 10, b"")


def test_help_loads_neither_grpc_nor_rich(bare_environment: dict[str, str]) -> None:
    """What makes help and completion quick, asserted without a clock."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "orquanta.cli", "--help"],
        capture_output=True,
        text=True,
        env=bare_environment,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not {"grpc", "google.protobuf", "rich", "asyncio.base_events"} & loaded
    assert "Exit codes: 0 done" in " ".join(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(bare_environment: dict[str, str], shell: str) -> None:
    words = {
        "bash": {"COMP_WORDS": "orquanta go", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "orquanta go"},
        "fish": {"_TYPER_COMPLETE_ARGS": "orquanta go", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }
    done = subprocess.run(
        COMMAND,
        capture_output=True,
        text=True,
        env={**bare_environment, "_ORQUANTA_COMPLETE": f"complete_{shell}", **words[shell]},
        check=False,
    )
    assert "goal" in done.stdout
