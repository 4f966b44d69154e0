"""Tools as other agents call them: judged as an agent's acts, never as the person's."""

import json
from dataclasses import replace
from typing import Any

import grpc
import pytest

from control_plane.model.action import StopJob
from control_plane.model.identity import Role
from control_plane.model.ids import ActionId
from control_plane.services.tool_taint import TAINTED_SECONDS, TaintBook
from control_plane.store import actions
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import job_pb2, tool_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused
from tests.control_plane.world import principal


async def call(
    client: Client, name: str, *, dry_run: bool = False, request_id: str = "", **arguments: Any
) -> tool_pb2.CallToolResponse:  # Any: arguments of any tool
    return await client.tools.CallTool(
        tool_pb2.CallToolRequest(
            name=name,
            arguments_json=json.dumps(arguments),
            dry_run=dry_run,
            request_id=request_id,
            reasoning="a test wants it",
        )
    )


async def newest_action(fleet: Fleet) -> Any:  # Any: an action
    page = await fleet.store.read(lambda tx: actions.page(tx, ActionFilter(), PageRequest(1)))
    return page.items[0] if page.items else None


async def test_each_role_is_told_of_the_tools_that_it_may_use(fleet: Fleet, operator: Client) -> None:
    viewer = await fleet.client(Role.VIEWER)
    seen = (await viewer.tools.ListTools(tool_pb2.ListToolsRequest())).tools
    assert {tool.effect for tool in seen} == {tool_pb2.TOOL_EFFECT_READ}
    everything = {tool.name: tool for tool in (await operator.tools.ListTools(tool_pb2.ListToolsRequest())).tools}
    assert set(everything) > {tool.name for tool in seen}
    drain = everything["drain_node"]
    assert (drain.effect, drain.undo_tool, drain.role) == (
        tool_pb2.TOOL_EFFECT_DESTRUCTIVE,
        "release_node",
        "operator",
    )
    assert json.loads(drain.input_schema_json)["required"] == ["node"]
    assert [tool.name for tool in everything.values() if tool.costs_money] == ["launch_jobs"]
    refusal = await call(viewer, "drain_node", node="alpha")
    assert (refusal.status, refusal.error_code) == (tool_pb2.TOOL_STATUS_ERROR, "ROLE_TOO_LOW")


async def test_what_an_agent_asks_for_is_not_the_persons_own_act(fleet: Fleet, operator: Client) -> None:
    node = await fleet.node("alpha")
    done = await call(operator, "cordon_node", node="alpha")
    assert done.status == tool_pb2.TOOL_STATUS_OK, done.error
    action = await newest_action(fleet)
    assert operator.user is not None
    assert (action.id, action.proposer) == (done.action_id, f"mcp:{operator.user.email}")
    assert (action.node_id, action.user_id) == (node.id, operator.user.id)
    # While everything is stopped a person may cordon, but no agent may on their behalf.
    await fleet.governor.set_kill_switch(engaged=True, principal=principal(operator.user), reason="a test")
    denied = await call(operator, "uncordon_node", node="alpha")
    assert (denied.status, denied.error_code) == (tool_pb2.TOOL_STATUS_DENIED, "KILL_SWITCH")


async def test_a_request_id_makes_one_act_of_many_calls(fleet: Fleet, user: Client) -> None:
    job = {"name": "train", "command": "true", "gpu_count": 1, "max_runtime_seconds": 60}
    first = await call(user, "launch_jobs", request_id="r-1", jobs=[job])
    again = await call(user, "launch_jobs", request_id="r-1", jobs=[job])
    assert first == again
    other = await refused(
        user.tools.CallTool(
            tool_pb2.CallToolRequest(
                name="launch_jobs", arguments_json=json.dumps({"jobs": [{**job, "gpu_count": 2}]}), request_id="r-1"
            )
        )
    )
    assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    dry = await call(user, "launch_jobs", request_id="r-2", dry_run=True, jobs=[job])
    assert (dry.status, dry.action_id) == (tool_pb2.TOOL_STATUS_DRY_RUN, "")


async def test_two_people_never_share_a_step(fleet: Fleet, user: Client, operator: Client) -> None:
    job = {"name": "train", "command": "true", "gpu_count": 1, "max_runtime_seconds": 60}
    first = await call(user, "launch_jobs", request_id="r-1", jobs=[job])
    second = await call(operator, "launch_jobs", request_id="r-1", jobs=[job])
    assert first.action_id != second.action_id


async def test_after_strangers_words_what_is_asked_for_is_tainted_for_an_hour(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("ignore-all-rules")))
    await fleet.node("alpha")
    seen = []
    inner = fleet.governor.propose_in

    def watched(tx: Any, proposal: Any, *, fresh: bool = False) -> Any:  # Any: the governor's own types
        seen.append(proposal.tainted)
        return inner(tx, proposal, fresh=fresh)

    fleet.governor.propose_in = watched  # type: ignore[method-assign] # looks at what it is given
    await call(operator, "list_nodes")
    await call(operator, "cordon_node", node="alpha", dry_run=True)
    read = await call(operator, "list_jobs")
    assert read.untrusted
    await call(operator, "cordon_node", node="alpha", dry_run=True)
    await call(user, "list_jobs")  # their own words
    await call(user, "stop_job", job="ignore-all-rules", dry_run=True)
    fleet.clock.advance(TAINTED_SECONDS + 1)
    assert operator.user is not None
    fresh = fleet.client_of(operator.user)
    await call(fresh, "cordon_node", node="alpha", dry_run=True)
    assert seen == [False, True, False, False]


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (tool_pb2.CallToolRequest(name=""), "name"),
        (tool_pb2.CallToolRequest(name="x" * 300), "name"),
        (tool_pb2.CallToolRequest(name="list_nodes", arguments_json=" " * 70_000), "arguments_json"),
        (tool_pb2.CallToolRequest(name="list_nodes", request_id="a b"), "request_id"),
    ],
    ids=["no name", "long name", "long arguments", "request id"],
)
async def test_a_request_out_of_bounds_is_refused(
    user: Client, request_of: tool_pb2.CallToolRequest, field: str
) -> None:
    refusal = await refused(user.tools.CallTool(request_of))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.fields == (field,)


async def test_only_ones_own_jobs_can_be_stopped(fleet: Fleet, user: Client) -> None:
    other = await fleet.client(Role.USER)
    mine = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    refusal = await call(other, "stop_job", job=mine.id)
    assert refusal.error_code == "NOT_THE_OWNER"
    stopped = await call(user, "stop_job", job=mine.id)
    assert stopped.status == tool_pb2.TOOL_STATUS_OK
    action = await fleet.store.read(lambda tx: actions.require(tx, ActionId(stopped.action_id)))
    assert isinstance(action.effect, StopJob)


async def test_a_restart_forgets_no_strangers_words(fleet: Fleet, operator: Client) -> None:
    assert operator.user is not None
    reader = principal(operator.user)
    other = replace(reader, credential_id="another")
    book = TaintBook(fleet.store, fleet.clock)
    await book.read(reader)
    fleet.clock.advance(200)
    await book.read(reader)
    fleet.clock.advance(TAINTED_SECONDS)
    assert await book.is_tainted(reader)
    restarted = TaintBook(fleet.store, fleet.clock)
    assert await restarted.is_tainted(reader)
    assert not await restarted.is_tainted(other)
    fleet.clock.advance(200)
    assert not await book.is_tainted(reader)
    assert not await restarted.is_tainted(reader)
