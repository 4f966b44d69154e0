"""What a person gives that cannot be: one sentence that says what to do, an exit code, and never a traceback."""

import pytest

from orquanta.v1 import auth_pb2, queue_pb2, quota_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer

NOWHERE = "/nowhere/file"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("memory", "import", NOWHERE), f"{NOWHERE} cannot be read: No such file or directory"),
        (("memory", "export", "-o", NOWHERE), f"{NOWHERE} cannot be written: No such file or directory"),
        (("goal", "submit", "--file", NOWHERE), f"{NOWHERE} cannot be read: No such file or directory"),
        (("tool", "call", "costs", f"@{NOWHERE}"), f"{NOWHERE} cannot be read: No such file or directory"),
        (("simulate", "--trace", NOWHERE), f"{NOWHERE} cannot be read: No such file or directory"),
        (("audit", "verify", "--against", NOWHERE), f"{NOWHERE} is no file of checkpoints: No such file or directory"),
        (("user", "update", "ada@example.com", "--budget", "-5"), "-5 is below zero"),
        (("up", "--virtual-gpus", "many"), "for example 8xH100"),
        (("cost", "--by", "moon"), "'--by': 'moon' is not one of 'user'"),
    ],
    ids=lambda given: " ".join(given[:3]) if isinstance(given, tuple) else "",
)
async def test_what_cannot_be_is_wrong_usage(cli: RunCli, command: tuple[str, ...], told: str) -> None:
    result = await cli(*command)
    assert result.code == 2
    assert told in " ".join(result.stderr.split())
    assert "Errno" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("job", "submit", "--gpus", "99999999999", "--", "true"),
        ("job", "submit", "--nodes", "99999999999", "--", "true"),
        ("job", "submit", "--cpus", "inf", "--", "true"),
        ("job", "submit", "--memory", "inf", "--", "true"),
        ("job", "submit", "--memory", "1e30", "--", "true"),
        ("job", "submit", "--gpu-memory", "1e30", "--", "true"),
        ("job", "submit", "--max-hours", "inf", "--", "true"),
        ("job", "logs", "--tail", "99999999999", "j-1"),
        ("job", "logs", "--rank", "99999999999", "j-1"),
        ("job", "list", "--limit", "99999999999"),
        ("audit", "export", "--from", "99999999999999999999"),
        ("audit", "erase", "--record", "99999999999999999999"),
        ("user", "update", "--budget", "inf", "ada@example.com"),
        ("user", "update", "--max-gpus", "99999999999", "ada@example.com"),
        ("grant", "create", "--budget", "1e40"),
    ],
    ids=lambda given: " ".join(given[:3]),
)
async def test_a_number_that_the_contract_cannot_carry_is_told_with_its_option(
    cli: RunCli, command: tuple[str, ...]
) -> None:
    result = await cli(*command)
    assert result.code == 2
    assert f"Invalid value for '{command[2]}'" in result.stderr


async def test_a_duration_without_bounds_is_wrong_usage(cli: RunCli) -> None:
    result = await cli("job", "submit", "--max-time", "99999999999999999h", "--", "true")
    assert (result.code, "'99999999999999999h' is too long; give 3650d at most" in result.stderr) == (2, True)


async def test_a_budget_below_zero_takes_no_limit_away(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("AuthService/UpdateUser", auth_pb2.UpdateUserResponse(user=auth_pb2.User(team="research/nlp")))
    told = await cli("user", "update", "ada@example.com", "--budget", "-1")
    (request,) = server.requests("AuthService/UpdateUser", auth_pb2.UpdateUserRequest)
    assert (request.budget_usd_micros, told.code) == (-1_000_000, 0)
    assert "team      research/nlp" in told.stdout


@pytest.mark.parametrize(("team", "code"), [("research", 0), ("research/nlp", 0), ("speech", 3)])
async def test_a_team_that_waits_for_nothing_is_told_from_one_that_is_not_there(
    server: ScriptedServer, cli: RunCli, team: str, code: int
) -> None:
    server.answer("QueueService/ListQueue", queue_pb2.ListQueueResponse())
    quotas = [quota_pb2.Quota(team=path) for path in ("", "research/nlp")]
    server.answer("QuotaService/ListQuotas", quota_pb2.ListQuotasResponse(quotas=quotas))
    result = await cli("queue", "--team", team)
    assert result.code == code
    assert ("there is no team 'speech'; there are: research/nlp" in result.stderr) is (code != 0)


async def test_a_team_that_is_not_there_is_not_watched(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("QueueService/ListQueue", queue_pb2.ListQueueResponse())
    server.answer("QuotaService/ListQuotas", quota_pb2.ListQuotasResponse())
    result = await cli("queue", "--watch", "--team", "speech")
    assert (result.code, "there is no team 'speech'; there are: none yet" in result.stderr) == (3, True)
