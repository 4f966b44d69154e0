"""What neither a model nor a trouble of its own may do to a run: widen it, wedge it, or make it cost unseen."""

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from control_plane.agents.orchestrator.runs import loop
from control_plane.agents.orchestrator.runs.loop import RunLoop
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile
from control_plane.model.goal import GoalState
from control_plane.model.job import JobState
from control_plane.model.money import from_micros, to_micros
from control_plane.model.run import RunState
from control_plane.reasoning.errors import ModelReplyInvalid
from control_plane.reasoning.scripted import ScriptedReply
from control_plane.store import model_usage
from control_plane.store.model_usage import UsageKey
from tests.control_plane.agents.orchestrator.runs.rig import Rig, call, calls, said
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import spec


async def test_a_repair_that_names_no_host_changes_none_that_a_model_picks(rig: Rig) -> None:
    clinic = Clinic.of(rig.world)
    rig.ada = await rig.operator()
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    rig.think(
        said("heal", "fix"),
        calls(call("list_nodes", "w-0")),
        calls(call("drain_node", "w-1", node=node.name), call("repair_node", "w-2", node=node.name)),
        "I have drained what looked bad.",
    )
    goal = await rig.ask("fix deployment chat-api, it keeps failing")
    assert await rig.actions() == ()
    refused = [step.outcome.error_code for step in await rig.steps(goal) if step.outcome and step.outcome.error_code]
    assert refused == ["NOT_IN_GOAL", "NOT_IN_GOAL"]


async def test_another_host_is_not_asked_for_even_while_nothing_would_fit_it(rig: Rig) -> None:
    clinic = Clinic.of(rig.world)
    rig.ada = await rig.operator()
    node, _ = await rig.node(gpu=1), await rig.node("beta", gpu=1)
    await clinic.raised(node)
    rig.think(
        said("heal", "sort it out"),
        calls(call("get_node", "w-0", node=node.name)),
        calls(call("repair_node", "w-1", node="beta"), call("repair_node", "w-2", node="nowhere")),
        "Done.",
    )
    goal = await rig.ask(f"{node.name} keeps throwing Xid 79, sort it out")
    refused = [step.outcome.error_code for step in await rig.steps(goal) if step.outcome and step.outcome.error_code]
    assert refused == ["NOT_IN_GOAL", "NOT_IN_GOAL"]


async def test_what_a_model_cost_without_an_answer_is_counted(rig: Rig) -> None:
    await rig.node()
    wasted = ModelReplyInvalid("no data")
    wasted.input_tokens, wasted.output_tokens, wasted.cost_usd = 900, 80, Decimal("0.04")
    rig.think(said("query", "how many"), wasted)
    goal = await rig.ask("how many H100 idle?")
    assert goal.state is GoalState.SUCCEEDED  # by rules
    steps = await rig.steps(goal)
    used = (await rig.run(goal)).used
    read = steps[0].outcome
    assert read is not None
    assert (used.input_tokens - read.input_tokens, used.output_tokens - read.output_tokens) == (900, 80)
    assert used.cost_usd == Decimal("0.04")


async def test_a_cancel_that_is_denied_is_told_and_holds_up_no_run(rig: Rig) -> None:
    account = await rig.world.user("ada2")
    await rig.world.launch(account, spec("train"))
    rule = "{id: keep, when: \"action.kind == 'stop_job'\", then: deny, message: nothing is stopped this week}"
    policies, faults = check([PolicyFile("keep.yaml", f"rules:\n  - {rule}\n")])
    assert policies is not None, faults
    rig.world.governor.policies.put(policies)
    job = await rig.world.job("train")
    rig.think(said("cancel", "cancel"))
    goal = await rig.ask(f"cancel {job.id}", who=await rig.operator())
    assert goal.state is GoalState.FAILED
    assert "nothing is stopped this week" in goal.result
    assert (await rig.run(goal)).state is RunState.FAILED
    assert (await rig.world.job("train")).state is JobState.QUEUED
    assert "stop_job.denied" in {record.action for record in await rig.world.audit()}


@pytest.mark.parametrize("odd", ["\ud800", "\x00", "\u202e\u200b", "x" * 20_000], ids=["half", "nul", "unseen", "long"])
async def test_no_text_of_a_model_wedges_a_run(rig: Rig, odd: str) -> None:
    await rig.node()
    rig.think(
        {
            **said("train", "train"),
            "budget_quote": odd[:300],
            "questions": [{"field": "image", "text": f"Which{odd[:200]} image?"}],
        },
        ScriptedReply(text=f"t{odd}", calls=(call("list_jobs", f"c{odd}", user=odd), call(odd, "z"))),
        f"answer {odd}",
    )
    goal = await rig.ask("train llama3-8b on 2 H100 for 2 hours, budget 100 dollars")
    told = goal.status_reason + (goal.plan.questions[0].text if goal.plan is not None and goal.plan.questions else "")
    told.encode()
    assert not any(unseen in told for unseen in "\u202e\u200b\x00")
    goal = await rig.ask("how many H100 idle?")
    assert (await rig.run(goal)).state.ended


class Broken:
    """Tools that take every run down with them."""

    def __init__(self, rig: Rig) -> None:
        self._toolbox = rig.toolbox

    def __getattr__(self, name: str) -> Any:  # Any: whatever the toolbox has
        return getattr(self._toolbox, name)

    def specs(self, _role: object) -> Any:  # Any: never anything
        raise RuntimeError("the tools cannot be listed")


async def test_a_run_that_fails_by_itself_again_and_again_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_RETRY_SECONDS", 0.001)
    goal = await rig.orchestrator.create_goal(
        rig.ada, text="how many H100 idle?", request_id="r", budget_usd=None, timezone=""
    )
    rig.tools = Broken(rig)
    rig.build()
    driving = asyncio.create_task(RunLoop(rig.world.store, rig.driver).run())
    async with asyncio.timeout(30):
        while not (await rig.run(goal)).state.ended:  # noqa: ASYNC110 - the loop has to act first
            await asyncio.sleep(0.01)
    driving.cancel()
    with suppress(asyncio.CancelledError):
        await driving
    run = await rig.run(goal)
    assert run.state is RunState.FAILED
    assert "RuntimeError" in run.result
    assert (await rig.goal(goal.id)).state is GoalState.FAILED


async def test_what_a_question_cost_that_a_crash_cut_off_counts_against_the_limit(rig: Rig) -> None:
    await rig.node()
    model = rig.think(said("query", "how many"), calls(call("fleet_summary")), "All are idle [fleet].")
    limit = rig.policy.limits.cost_usd
    goal = await rig.orchestrator.create_goal(
        rig.ada, text="how many H100 idle?", request_id="r", budget_usd=None, timezone=""
    )
    run = await rig.run(goal)
    key = UsageKey(run.user_id, run.goal_id, run.id, run.agent_name, "m")
    lost = to_micros(limit) * 3 // 4
    await rig.world.store.write(lambda tx: model_usage.reserve(tx, key, lost, per_day_usd_micros=lost))
    await rig.world.store.write(model_usage.settle_all)  # as the next control plane does
    await rig.settle()
    assert {request.cost_usd_max for request in model.requests[:1]} == {limit - from_micros(lost)}
    assert all((request.cost_usd_max or 0) <= limit - from_micros(lost) for request in model.requests)
    used = (await rig.run(goal)).used.cost_usd
    assert used >= from_micros(lost)
