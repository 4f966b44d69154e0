"""Approvals, grants, undo and agents' keys on the command line."""

import re
from datetime import UTC, datetime, timedelta

from orquanta.v1 import action_pb2, auth_pb2, grant_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer


def waiting() -> action_pb2.Action:
    """An action that one of two admins has approved."""
    need = action_pb2.ApprovalNeed(count=2, ttl_seconds=1800)
    getattr(need, "from").append("admin")
    given = action_pb2.Approval(approver="olga@example.com", hash="abc123", reason="fits")
    action = action_pb2.Action(
        id="act-1",
        kind="launch_jobs",
        state=action_pb2.ACTION_STATE_AWAITING_APPROVAL,
        summary="launch train on 16 H100",
        proposer="orchestrator",
        hash="abc123",
        arguments_json='{"gpus":16}',
        estimate_usd_micros=12_000_000,
        approvals=[given],
        approval_need=need,
        tainted=True,
    )
    action.expires_at.FromDatetime(datetime.now(UTC) + timedelta(minutes=20, seconds=30))
    return action


def grant(**changes: object) -> grant_pb2.Grant:
    fields: dict[str, object] = {
        "id": "gr-1",
        "granted_by": "olga@example.com",
        "kinds": ["repair_node"],
        "uses_max": 5,
        "uses": 2,
        "budget_usd_micros": 50_000_000,
        "used_usd_micros": 20_000_000,
    }
    return grant_pb2.Grant(**(fields | changes))  # type: ignore[arg-type] # fields by their names


async def test_what_waits_tells_who_is_missing_and_how_much_time_is_left(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("ActionService/ListActions", action_pb2.ListActionsResponse(actions=[waiting()]))
    result = await cli("action", "list", "--waiting")
    (request,) = server.requests("ActionService/ListActions", action_pb2.ListActionsRequest)
    assert list(request.states) == [action_pb2.ACTION_STATE_AWAITING_APPROVAL]
    assert "one person more of 2 (admin, not who asked for it)" in result.stdout
    assert re.search(r"\d+m \d+s$", result.stdout.splitlines()[1])


async def test_an_action_is_shown_with_its_approvals(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=waiting()))
    shown = (await cli("action", "show", "act-1")).stdout
    assert "olga@example.com" in shown
    assert ": fits" in shown
    assert "one person more of 2 (admin" in shown
    assert "read strangers' words" in shown
    document = (await cli("action", "show", "act-1", "--json")).document()
    assert document["approval_need"] == {"count": 2, "allowed": ["admin"], "ttl_seconds": 1800}
    assert document["approvals"][0]["approver"] == "olga@example.com"
    assert document["tainted"] is True


async def test_approving_shows_what_is_approved_even_without_asking(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=waiting()))
    server.answer("ActionService/ApproveAction", action_pb2.ApproveActionResponse(action=waiting()))
    result = await cli("action", "approve", "act-1", "--yes", "--hash", "abc123")
    assert result.code == 0
    assert "launch train on 16 H100" in result.stdout
    assert "$12.00" in result.stdout
    assert "abc123" in result.stdout
    assert "It needs one person more of 2" in result.stdout


async def test_an_undo_names_the_action_that_does_it(server: ScriptedServer, cli: RunCli) -> None:
    undoing = action_pb2.Action(
        id="act-2", state=action_pb2.ACTION_STATE_DONE, outcome="alpha is back", undoes_action_id="act-1"
    )
    server.answer("ActionService/UndoAction", action_pb2.UndoActionResponse(action=undoing))
    result = await cli("action", "undo", "act-1", "--reason", "a mistake")
    (request,) = server.requests("ActionService/UndoAction", action_pb2.UndoActionRequest)
    assert (request.action_id, request.reason) == ("act-1", "a mistake")
    assert result.stdout == "act-2 done. alpha is back\n"


async def test_a_grant_is_given_with_bounds(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("GrantService/CreateGrant", grant_pb2.CreateGrantResponse(grant=grant()))
    result = await cli(
        "grant", "create", "repair_node", "drain_node", "--budget", "50", "--uses", "5", "--for", "2h",
        "--user", "rosa@example.com", "--pool", "a100", "-r", "night shift",
    )  # fmt: skip
    (request,) = server.requests("GrantService/CreateGrant", grant_pb2.CreateGrantRequest)
    assert list(request.kinds) == ["repair_node", "drain_node"]
    assert (request.budget_usd_micros, request.uses_max, request.seconds) == (50_000_000, 5, 7200)
    assert (request.user_id, request.pool, request.reason) == ("rosa@example.com", "a100", "night shift")
    assert result.stdout.startswith("gr-1 covers 3 actions (repair_node) for at most $30.00 until ")


async def test_grants_are_listed_shown_and_revoked(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("GrantService/ListGrants", grant_pb2.ListGrantsResponse(grants=[grant()]))
    server.answer("GrantService/GetGrant", grant_pb2.GetGrantResponse(grant=grant()))
    server.answer("GrantService/RevokeGrant", grant_pb2.RevokeGrantResponse(grant=grant(revoked_by="otto")))
    listed = (await cli("grant", "list", "--all")).stdout
    (request,) = server.requests("GrantService/ListGrants", grant_pb2.ListGrantsRequest)
    assert request.include_ended
    assert "2 of 5" in listed
    assert "$20.00 of $50.00" in listed
    assert "everybody but olga@example.com" in (await cli("grant", "show", "gr-1")).stdout
    assert (await cli("grant", "revoke", "gr-1")).stdout == "gr-1 revoked.\n"
    assert (await cli("grant", "list", "--json")).document()["grants"][0]["used_usd"] == "20.000000"


async def test_a_key_for_an_agent_says_so(server: ScriptedServer, cli: RunCli) -> None:
    key = auth_pb2.ApiKey(id="k-1", name="helper", for_agent=True)
    server.answer("AuthService/CreateApiKey", auth_pb2.CreateApiKeyResponse(api_key=key, secret="shown-once"))
    server.answer("AuthService/ListApiKeys", auth_pb2.ListApiKeysResponse(api_keys=[key]))
    assert (await cli("key", "create", "helper", "--for-agent")).stdout == "shown-once\n"
    (request,) = server.requests("AuthService/CreateApiKey", auth_pb2.CreateApiKeyRequest)
    assert request.for_agent
    assert "an agent" in (await cli("key", "list")).stdout
