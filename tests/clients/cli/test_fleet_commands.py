"""Nodes, tokens, actions, the kill switch, agents, audit, prices, figures."""

from datetime import UTC, datetime

from orquanta.v1 import action_pb2, agent_pb2, audit_pb2, catalog_pb2, metrics_pb2, node_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer


def action(state: action_pb2.ActionState.ValueType) -> action_pb2.Action:
    return action_pb2.Action(
        id="act-1",
        state=state,
        summary="launch train on 16 H100",
        hash="abc123",
        arguments_json='{"gpus":16}',
        estimate_usd_micros=120_000_000,
    )


def node() -> node_pb2.Node:
    gpus = [node_pb2.Gpu(inventory=node_pb2.GpuInventory(index=i, gpu_type="H100")) for i in range(2)]
    gpus[0].allocation_id = "a-1"
    return node_pb2.Node(
        id="n-1",
        name="node-a",
        state=node_pb2.NODE_STATE_READY,
        gpus=gpus,
        inventory=node_pb2.HostInventory(virtual_gpus=True),
    )


async def test_node_list_counts_gpus_and_free_ones(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("NodeService/ListNodes", node_pb2.ListNodesResponse(nodes=[node()]))
    lines = (await cli("node", "list")).stdout.splitlines()
    assert lines[0].split() == ["NODE", "NAME", "STATE", "HEALTH", "GPUS", "FREE", "HEARD", "WHY"]
    assert "2 x H100 (virtual)  1 " in lines[1]


async def test_token_prints_the_join_command_alone_on_stdout(server: ScriptedServer, cli: RunCli) -> None:
    server.answer(
        "NodeService/CreateJoinToken",
        node_pb2.CreateJoinTokenResponse(
            join_token=node_pb2.JoinToken(id="t-1"), secret="oqj_x", server="10.0.0.1:50051"
        ),
    )
    result = await cli("node", "token", "create", "--lifetime", "8h", "--label", "rack=7")
    (request,) = server.requests("NodeService/CreateJoinToken", node_pb2.CreateJoinTokenRequest)
    assert result.stdout == "orquanta-node join --server 10.0.0.1:50051 --token oqj_x\n"
    assert (request.lifetime.seconds, dict(request.labels)) == (8 * 3600, {"rack": "7"})


async def test_cordon_sends_the_reason(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("NodeService/CordonNode", node_pb2.CordonNodeResponse(node=node()))
    result = await cli("node", "cordon", "node-a", "--reason", "fan is loud")
    (request,) = server.requests("NodeService/CordonNode", node_pb2.CordonNodeRequest)
    assert (result.code, request.node_id, request.reason) == (0, "node-a", "fan is loud")


async def test_approval_is_bound_to_the_hash_that_was_shown(server: ScriptedServer, cli: RunCli) -> None:
    waiting = action(action_pb2.ACTION_STATE_AWAITING_APPROVAL)
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=waiting))
    approved = action(action_pb2.ACTION_STATE_APPROVED)
    server.answer("ActionService/ApproveAction", action_pb2.ApproveActionResponse(action=approved))
    result = await cli("action", "approve", "act-1", "--yes")
    (request,) = server.requests("ActionService/ApproveAction", action_pb2.ApproveActionRequest)
    assert result.code == 0
    assert request.hash == "abc123"


async def test_approval_without_anybody_to_ask_shows_all_and_approves_nothing(
    server: ScriptedServer, cli: RunCli
) -> None:
    waiting = action(action_pb2.ACTION_STATE_AWAITING_APPROVAL)
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=waiting))
    result = await cli("action", "approve", "act-1")
    assert result.code == 2
    assert "launch train on 16 H100" in result.stdout
    assert '"gpus": 16' in result.stdout
    assert [call.method for call in server.calls] == ["ActionService/GetAction"]


async def test_approval_of_another_hash_than_expected_is_refused_here(server: ScriptedServer, cli: RunCli) -> None:
    waiting = action(action_pb2.ACTION_STATE_AWAITING_APPROVAL)
    server.answer("ActionService/GetAction", action_pb2.GetActionResponse(action=waiting))
    result = await cli("action", "approve", "act-1", "--yes", "--hash", "other", "--json")
    assert result.code == 5
    assert result.error()["reason"] == "HASH_MISMATCH"


async def test_stop_all_never_asks(server: ScriptedServer, cli: RunCli) -> None:
    engaged = action_pb2.KillSwitch(engaged=True, changed_by="ada@example.com", reason="smoke")
    server.answer("ActionService/StopAll", action_pb2.StopAllResponse(kill_switch=engaged))
    result = await cli("action", "stop-all", "-r", "smoke")
    assert result.code == 0
    assert "The kill switch is ON" in result.stdout


async def test_agents_can_be_listed_and_paused(server: ScriptedServer, cli: RunCli) -> None:
    agent = agent_pb2.Agent(name="scheduler_agent", status=agent_pb2.AGENT_STATUS_IDLE, paused=True)
    server.answer("AgentService/ListAgents", agent_pb2.ListAgentsResponse(agents=[agent]))
    server.answer("AgentService/PauseAgent", agent_pb2.PauseAgentResponse(agent=agent))
    assert (await cli("agent", "list", "--json")).document()["agents"][0]["paused"] is True
    assert (await cli("agent", "pause", "scheduler_agent")).stdout == "scheduler_agent paused.\n"


async def test_audit_is_filtered_and_keeps_signs_of_money(server: ScriptedServer, cli: RunCli) -> None:
    record = audit_pb2.AuditRecord(
        id=7, agent_name="governor", action="action.approved", cost_impact_usd_micros=-2_500_000
    )
    record.created_at.FromDatetime(datetime(2026, 3, 1, 12, tzinfo=UTC))
    server.answer("AuditService/ListAuditRecords", audit_pb2.ListAuditRecordsResponse(records=[record]))
    shown = await cli("audit", "list", "--goal", "g-1", "--since", "8h")
    (request,) = server.requests("AuditService/ListAuditRecords", audit_pb2.ListAuditRecordsRequest)
    document = (await cli("audit", "list", "--json")).document()
    assert "-$2.50" in shown.stdout
    assert request.goal_id == "g-1"
    assert request.HasField("since")
    assert document["records"][0]["created_at"] == "2026-03-01T12:00:00Z"
    assert document["records"][0]["cost_impact_usd"] == "-2.500000"


async def test_metrics_shows_gpus_by_model(server: ScriptedServer, cli: RunCli) -> None:
    h100 = metrics_pb2.GpuTypeMetrics(
        gpu_type="H100", total=16, allocated=10, free=6, utilization_percent=93, used_milli=8250, partly_allocated=3
    )
    server.answer(
        "MetricsService/GetFleetMetrics",
        metrics_pb2.GetFleetMetricsResponse(gpu_types=[h100], nodes_by_state={"ready": 2}),
    )
    lines = (await cli("metrics")).stdout.splitlines()
    assert lines[1].split()[:7] == ["H100", "16", "10", "3", "8.25", "6", "93"]
    assert "2 ready" in "\n".join(lines)


async def test_prices_name_their_source(server: ScriptedServer, cli: RunCli) -> None:
    price = catalog_pb2.Price(
        provider="owned", gpu_type="*", usd_micros_per_gpu_hour=2_000_000, source="list", as_of="2026-01-01"
    )
    server.answer("CatalogService/ListPrices", catalog_pb2.ListPricesResponse(prices=[price]))
    result = await cli("price", "list")
    assert result.stdout.splitlines()[1].split() == ["owned", "any", "other", "$2.00", "2026-01-01", "list"]


async def test_replicas_are_listed_with_the_one_that_leads(server: ScriptedServer, cli: RunCli) -> None:
    replicas = [
        agent_pb2.Replica(name="alpha", server="a:1", link_server="a:2", leads=True, links=3),
        agent_pb2.Replica(name="beta", server="b:1", link_server="b:2", silent_seconds=7),
    ]
    answer = agent_pb2.ListReplicasResponse(replicas=replicas, control_epoch=9, answered_by="alpha")
    server.answer("AgentService/ListReplicas", answer)
    lines = (await cli("replica", "list")).stdout.splitlines()
    assert lines[1].split()[:5] == ["alpha", "yes", "3", "a:1", "a:2"]
    assert lines[2].endswith("7 s ago")
    assert lines[3].startswith("Epoch 9")
    assert (await cli("replica", "list", "--json")).document()["control_epoch"] == 9
