"""`orquanta goal` as scripts and people without a terminal see it."""

from pathlib import Path

import grpc
import pytest

from orquanta.v1 import auth_pb2, goal_pb2, job_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import Failure, ScriptedServer, json_lines

RUNNING, SUCCEEDED = goal_pb2.GOAL_STATE_RUNNING, goal_pb2.GOAL_STATE_SUCCEEDED


def goal(state: goal_pb2.GoalState.ValueType, result: str = "") -> goal_pb2.Goal:
    bill = goal_pb2.Bill(
        cost_usd_micros=1_234_500,
        gpu_seconds=90,
        lines=[
            goal_pb2.BillLine(
                job_id="j-1",
                job_name="train",
                epoch=1,
                gpu_type="H100",
                gpu_count=2,
                gpu_seconds=90,
                price_usd_micros_per_gpu_hour=2_000_000,
                cost_usd_micros=1_234_500,
            )
        ],
    )
    return goal_pb2.Goal(id="g-1", text="train it", state=state, bill=bill, result=result)


def job(state: job_pb2.JobState.ValueType) -> job_pb2.Job:
    spec = job_pb2.JobSpec(name="train", resources=job_pb2.ResourceRequest(gpu_types=["H100"], gpu_count=2))
    return job_pb2.Job(id="j-1", goal_id="g-1", spec=spec, state=state, status_reason="on node-a")


def follow(server: ScriptedServer, *states: goal_pb2.GoalState.ValueType, result: str = "") -> None:
    """Let the goal be created and go through these states."""
    server.answer("GoalService/CreateGoal", goal_pb2.CreateGoalResponse(goal=goal(states[0])))
    server.answer(
        "GoalService/WatchGoal",
        [goal_pb2.WatchGoalResponse(goal=goal(s), jobs=[job(job_pb2.JOB_STATE_RUNNING)]) for s in states],
    )
    server.answer(
        "GoalService/GetGoal",
        goal_pb2.GetGoalResponse(goal=goal(states[-1], result), jobs=[job(job_pb2.JOB_STATE_SUCCEEDED)]),
    )


async def test_submit_waits_says_each_change_and_ends_with_result_and_bill(server: ScriptedServer, cli: RunCli) -> None:
    follow(server, RUNNING, SUCCEEDED, result="loss 1.9")
    result = await cli("goal", "submit", "train", "it", "--budget", "40")
    (request,) = server.requests("GoalService/CreateGoal", goal_pb2.CreateGoalRequest)
    assert result.code == 0, result.stderr
    assert (request.text, request.budget_usd_micros) == ("train it", 40_000_000)
    assert request.timezone == "Europe/Berlin"
    assert " goal g-1 running" in result.stdout
    assert " job train j-1 running: on node-a" in result.stdout
    assert "loss 1.9" in result.stdout
    assert "Bill: $1.23 for 1m 30s of GPU time" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (goal_pb2.GOAL_STATE_SUCCEEDED, 0),
        (goal_pb2.GOAL_STATE_FAILED, 1),
        (goal_pb2.GOAL_STATE_CANCELLED, 1),
        (goal_pb2.GOAL_STATE_REFUSED, 5),
        (goal_pb2.GOAL_STATE_NEEDS_INPUT, 6),
    ],
)
async def test_watch_exits_with_what_became_of_the_goal(
    server: ScriptedServer, cli: RunCli, state: goal_pb2.GoalState.ValueType, code: int
) -> None:
    follow(server, RUNNING, state)
    assert (await cli("goal", "watch", "g-1")).code == code


async def test_a_goal_names_its_run_and_how_to_look_at_it(server: ScriptedServer, cli: RunCli) -> None:
    worked_on = goal(SUCCEEDED)
    worked_on.run_id = "run-1"
    server.answer(
        "GoalService/GetGoal", goal_pb2.GetGoalResponse(goal=worked_on), goal_pb2.GetGoalResponse(goal=goal(SUCCEEDED))
    )
    shown, other = await cli("goal", "show", "g-1"), await cli("goal", "show", "g-1")
    assert ["run", "run-1"] in [line.split() for line in shown.stdout.splitlines()]
    assert "orquanta agent run run-1" in shown.stderr
    assert "agent run" not in other.stderr


async def test_detached_submit_returns_at_once(server: ScriptedServer, cli: RunCli) -> None:
    follow(server, RUNNING)
    result = await cli("goal", "submit", "--detach", "train it")
    assert (result.code, result.stdout) == (0, "g-1 running\n")
    assert "orquanta goal watch g-1" in result.stderr


async def test_detached_goal_that_awaits_approval_exits_with_5(server: ScriptedServer, cli: RunCli) -> None:
    follow(server, goal_pb2.GOAL_STATE_AWAITING_APPROVAL)
    result = await cli("goal", "submit", "--detach", "train it")
    assert result.code == 5
    assert "operator" in result.stderr


async def test_json_is_accepted_before_and_after_the_command(server: ScriptedServer, cli: RunCli) -> None:
    follow(server, RUNNING, SUCCEEDED)
    before = await cli("--json", "goal", "submit", "train it")
    after = await cli("goal", "submit", "train it", "--json")
    assert before == after
    document = before.document()
    assert document["goal"]["state"] == "succeeded"
    assert document["goal"]["bill"]["cost_usd"] == "1.234500"
    assert document["goal"]["created_at"] is None
    assert document["jobs"][0]["spec"]["resources"]["gpu_types"] == ["H100"]


async def test_watch_with_json_prints_one_line_for_each_change(server: ScriptedServer, cli: RunCli) -> None:
    follow(server, RUNNING, SUCCEEDED)
    result = await cli("goal", "watch", "g-1", "--json")
    assert [line["goal"]["state"] for line in json_lines(result.stdout)] == ["running", "succeeded"]


async def test_long_goal_comes_from_standard_input_or_a_file(
    server: ScriptedServer, cli: RunCli, tmp_path: Path
) -> None:
    follow(server, RUNNING)
    file = tmp_path / "goal.txt"
    file.write_text("from a file")
    await cli("goal", "submit", "-d", "-f", "-", stdin="first\nsecond\n")
    await cli("goal", "submit", "-d", "-f", str(file))
    requests = server.requests("GoalService/CreateGoal", goal_pb2.CreateGoalRequest)
    assert [request.text for request in requests] == ["first\nsecond\n", "from a file"]


async def test_dry_run_shows_each_field_with_its_words_and_runs_nothing(server: ScriptedServer, cli: RunCli) -> None:
    plan = goal_pb2.Plan(
        intent="finetune",
        summary="Fine-tune on 2 H100.",
        jobs=[goal_pb2.PlannedJob(name="finetune", resources=job_pb2.ResourceRequest(gpu_count=2, gpu_types=["H100"]))],
        evidence=[goal_pb2.Evidence(field="gpu_count", text="two", start=3, end=6, source="goal")],
        planner="rules",
    )
    server.answer("GoalService/PreviewGoal", goal_pb2.PreviewGoalResponse(plan=plan, estimate_usd_micros=5_000_000))
    result = await cli("goal", "submit", "--dry-run", "fine-tune on two H100")
    assert result.code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("GPUs"))
    assert line.split() == ["GPUs", "2", "two"]
    assert "at most $5.00" in result.stdout
    assert server.requests("GoalService/CreateGoal", goal_pb2.CreateGoalRequest) == []


async def test_question_is_printed_with_the_command_that_answers_it(server: ScriptedServer, cli: RunCli) -> None:
    asking = goal(goal_pb2.GOAL_STATE_NEEDS_INPUT)
    asking.plan.questions.add(field="gpu_type", text="Which GPU?", reason="missing")
    server.answer("GoalService/GetGoal", goal_pb2.GetGoalResponse(goal=asking))
    shown = await cli("goal", "show", "g-1")
    assert "? Which GPU?" in shown.stderr
    assert "orquanta goal answer g-1 gpu_type='...'" in shown.stderr
    unanswered = await cli("goal", "answer", "g-1")
    assert unanswered.code == 6


async def test_answers_are_sent_by_field(server: ScriptedServer, cli: RunCli) -> None:
    follow(server, RUNNING, SUCCEEDED)
    server.answer("GoalService/AnswerGoal", goal_pb2.AnswerGoalResponse(goal=goal(RUNNING)))
    result = await cli("goal", "answer", "g-1", "gpu_type=H100", "budget=a=b")
    (request,) = server.requests("GoalService/AnswerGoal", goal_pb2.AnswerGoalRequest)
    assert result.code == 0
    assert dict(request.answers) == {"gpu_type": "H100", "budget": "a=b"}


async def test_list_filters_by_state_and_by_self(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("AuthService/WhoAmI", auth_pb2.WhoAmIResponse(user=auth_pb2.User(id="u-1")))
    server.answer("GoalService/ListGoals", goal_pb2.ListGoalsResponse(goals=[goal(RUNNING)]))
    result = await cli("goal", "list", "--mine", "--state", "needs-input", "-s", "running")
    (request,) = server.requests("GoalService/ListGoals", goal_pb2.ListGoalsRequest)
    assert list(request.states) == [goal_pb2.GOAL_STATE_NEEDS_INPUT, goal_pb2.GOAL_STATE_RUNNING]
    assert request.user_id == "u-1"
    assert result.stdout.splitlines()[0].split() == ["GOAL", "STATE", "TEXT", "BY", "COST", "CHANGED"]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 3),
        (grpc.StatusCode.UNAUTHENTICATED, 4),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
        (grpc.StatusCode.FAILED_PRECONDITION, 5),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 5),
        (grpc.StatusCode.ABORTED, 5),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.UNAVAILABLE, 7),
    ],
)
async def test_each_kind_of_error_has_its_exit_code_and_its_json(
    server: ScriptedServer, cli: RunCli, code: grpc.StatusCode, exit_code: int
) -> None:
    server.answer("GoalService/GetGoal", Failure(code, "no; do this instead", "WHY", {"id": "g-9"}))
    result = await cli("goal", "show", "g-9", "--json")
    assert result.code == exit_code
    assert result.stdout == ""
    assert result.error() == {
        "message": "no; do this instead",
        "reason": "WHY",
        "metadata": {"id": "g-9"},
        "exit_code": exit_code,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("goal", "submit"),
        ("goal", "submit", "a", "--file", "b"),
        ("goal", "submit", "a", "--budget", "much"),
        ("goal", "submit", "--file", "/nonexistent"),
        ("goal", "list", "--state", "sleeping"),
        ("goal", "answer", "g-1", "no-equals-sign"),
        ("goal", "nonsense"),
        ("goal",),
    ],
)
async def test_wrong_usage_exits_with_2_and_asks_the_server_nothing(
    server: ScriptedServer, cli: RunCli, arguments: tuple[str, ...]
) -> None:
    result = await cli(*arguments)
    assert result.code == 2
    assert "orquanta goal" in result.stderr
    assert server.calls == []


async def test_text_from_elsewhere_cannot_drive_the_terminal(server: ScriptedServer, cli: RunCli) -> None:
    server.answer(
        "GoalService/ListGoals",
        goal_pb2.ListGoalsResponse(goals=[goal_pb2.Goal(id="g-1", text="\x1b[2Jgone\x07\nx")]),
    )
    result = await cli("goal", "list")
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert len(result.stdout.splitlines()) == 2
