"""Every limit ends a run with an honest partial result; nothing that a model does goes beyond one."""

from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.context import messages, size
from control_plane.agents.orchestrator.runs.view import load_view
from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.run import EventType, RunState
from control_plane.model.tool import ToolCall, ToolContext, ToolResult, ToolSpec, ToolStatus
from control_plane.reasoning.contract import ModelReply, ModelRequest, OnDelta, Speaker
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelUnavailable
from control_plane.reasoning.scripted import ScriptedReply
from control_plane.store import runs
from tests.control_plane.agents.orchestrator.runs.rig import Rig, call, calls, limited, said
from tests.control_plane.clinic import Clinic

QUESTION = "how many H100 idle?"
READ = said("query", "how many")
LOOK = calls(call("fleet_summary"))


def forever(*differing: str) -> Any:  # Any: a script
    """A model that never comes to an end: each turn it wants the next of these tools."""
    numbers = count()

    def answer(request: ModelRequest) -> Any:  # Any: what a script may hold
        if request.schema is not None:
            return READ
        number = next(numbers)
        return calls(call(differing[number % len(differing)], f"c-{number}", **_page(number, differing)))

    return answer


def _page(number: int, differing: tuple[str, ...]) -> dict[str, object]:
    return {"limit": number // len(differing) + 1} if differing[number % len(differing)].startswith("list_") else {}


async def asked(rig: Rig, text: str = QUESTION) -> tuple[Goal, str]:
    """Ask, and return the goal with its run's result; the run has ended."""
    goal = await rig.ask(text)
    run = await rig.run(goal)
    assert run.state.ended
    assert goal.state.ended
    assert goal.result == run.result
    return goal, run.result


@pytest.mark.parametrize(
    ("limits", "said_of_it"),
    [
        ({"turns": 3}, "3 turns"),
        ({"tool_calls": 2}, "2 calls of tools"),
        ({"input_tokens": 4_000}, "4000 tokens to a model"),
        ({"output_tokens": 240}, "240 tokens from a model"),
        ({"cost_usd": Decimal("0.0025")}, "the money or the tokens for the model"),
    ],
    ids=["turns", "tool-calls", "input-tokens", "output-tokens", "dollars"],
)
async def test_a_model_that_never_ends_is_ended_by_a_limit_with_what_was_found(
    rig: Rig, limits: dict[str, Any], said_of_it: str
) -> None:
    await rig.node()
    rig.think(forever("list_jobs", "list_nodes", "list_incidents"), policy=limited(RunPolicy(), **limits))
    goal, result = await asked(rig)
    run = await rig.run(goal)
    assert run.state is RunState.LIMITED
    assert goal.state is GoalState.FAILED
    assert "A limit ended it" in result
    assert "Found so far:" in result
    assert "Nothing was changed." in result
    for used, most in (
        (run.used.turns, run.limits.turns),
        (run.used.tool_calls, run.limits.tool_calls),
        (run.used.input_tokens, run.limits.input_tokens),
        (run.used.output_tokens, run.limits.output_tokens),
    ):
        assert used <= most
    assert EventType.LIMIT_WARNING in [event.type for event in await rig.events(goal)]


async def test_near_a_limit_the_model_is_told_what_is_left(rig: Rig) -> None:
    await rig.node()
    model = rig.think(forever("list_jobs", "list_nodes"), policy=limited(RunPolicy(), turns=5))
    await asked(rig)
    told = [request.messages[-1].text for request in model.requests if "Little is left" in request.messages[-1].text]
    assert any("1 of 5 turns" in text for text in told)


async def test_the_same_read_a_fourth_time_ends_the_run(rig: Rig) -> None:
    await rig.node()
    rig.think(READ, LOOK, LOOK, LOOK, LOOK)
    _, result = await asked(rig)
    assert "3 identical calls of fleet_summary" in result


async def test_a_write_is_made_once_and_lets_reads_be_repeated(rig: Rig) -> None:
    clinic = Clinic.of(rig.world)
    rig.ada = await rig.operator()
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    look, repair = call("get_node", node=node.name), call("repair_node", node=node.name)
    rig.think(
        said("heal", "sort it out"),
        calls(look), calls(look), calls(look), calls(repair), calls(look), calls(repair),
        "It is being repaired.",
    )  # fmt: skip
    goal = await rig.ask(f"{node.name} keeps throwing Xid 79, sort it out")
    assert (await rig.run(goal)).state is RunState.WATCHING
    assert [one.kind for one in await rig.actions()] == ["repair_node"]
    outcomes = [step.outcome for step in await rig.steps(goal) if step.intent.name == "repair_node"]
    assert [one.error_code for one in outcomes if one is not None] == ["", "DONE_BEFORE"]


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (call("run_shell", command="reboot"), "UNKNOWN_TOOL"),
        (call("launch_jobs", jobs=[]), "UNKNOWN_TOOL"),
        (call("get_job", job=7), "ARGUMENTS_INVALID"),
        (replace(call("get_job"), arguments_json="{" * 70), "ARGUMENTS_INVALID"),
        (replace(call("get_job"), arguments_json='{"job": "\\u0000\\ud800"}'), ""),
    ],
    ids=["shell", "not-offered", "wrong-type", "malformed", "odd-characters"],
)
async def test_two_errors_of_a_kind_in_a_row_stop_the_run(rig: Rig, made: Any, code: str) -> None:
    await rig.node()
    rig.think(READ, calls(made), calls(made))
    goal, result = await asked(rig)
    assert "2 tool errors in a row" in result
    codes = [step.outcome.error_code for step in await rig.steps(goal) if step.outcome and step.intent.kind == "tool"]
    assert len(codes) == 2
    assert not code or codes == [code, code]
    assert await rig.actions() == ()


async def test_one_error_is_told_to_the_model_which_may_do_better(rig: Rig) -> None:
    await rig.node()
    rig.think(READ, calls(call("get_job", job=7)), LOOK, "8 H100 are idle [fleet].")
    goal, result = await asked(rig)
    assert (goal.state, result) == (GoalState.SUCCEEDED, "8 H100 are idle [fleet].")


async def test_an_answer_that_rests_on_nothing_is_not_taken(rig: Rig) -> None:
    await rig.node()
    rig.think(READ, "There are 9,000 idle GPUs, trust me.")
    goal, result = await asked(rig)
    assert "8 of 8 H100 idle" in result
    assert (await rig.run(goal)).reasoner == "rules"
    assert any("rests on nothing" in event.message for event in await rig.events(goal))


@pytest.mark.parametrize("at", [0, 1, 2], ids=["reading", "first-turn", "later"])
async def test_without_an_answer_of_the_model_the_run_goes_on_by_rules_and_says_so(rig: Rig, at: int) -> None:
    await rig.node()
    script: list[Any] = [READ, LOOK, "never said"]
    script[at] = ModelUnavailable("every endpoint is down")
    rig.think(*script[: at + 1])
    goal, result = await asked(rig)
    assert goal.state is GoalState.SUCCEEDED
    assert "8 of 8 H100 idle" in result
    run = await rig.run(goal)
    assert run.reasoner == "rules"
    assert goal.plan is not None
    assert goal.plan.planner == ("rules" if at == 0 else "scripted")


async def test_a_model_whose_budget_is_used_up_leaves_an_honest_result(rig: Rig) -> None:
    await rig.node()
    rig.think(READ, LOOK, ModelBudgetExceeded("the day's money is used up"))
    goal, result = await asked(rig)
    assert (await rig.run(goal)).state is RunState.LIMITED
    assert "fleet_summary" in result


class GiantTools:
    """Tools whose every result is huge."""

    def __init__(self, rig: Rig, characters: int) -> None:
        self._rig = rig
        self._text = "".join(f"line {number}\n" for number in range(characters // 8))

    def specs(self, role: Role) -> tuple[ToolSpec, ...]:
        return self._rig.toolbox.specs(role)

    async def resolve_target(self, wanted: ToolCall, principal: Principal) -> str:
        return await self._rig.toolbox.resolve_target(wanted, principal)

    async def call(self, wanted: ToolCall, context: ToolContext) -> ToolResult:
        assert context.step_key
        return ToolResult(ToolStatus.OK, {"text": self._text, "tool": wanted.name}, "giant", untrusted=True)


async def test_a_giant_result_is_shown_by_head_and_tail_and_can_be_read_on(rig: Rig) -> None:
    rig.tools = GiantTools(rig, 40_000)
    model = rig.think(
        READ,
        calls(call("list_jobs")),
        calls(call("read_result", handle="step-3", offset=20_000)),
        "It is long [giant].",
    )
    goal, _ = await asked(rig)
    assert goal.state is GoalState.SUCCEEDED
    shown = model.requests[2].messages[-1]
    assert shown.speaker is Speaker.TOOL
    assert len(shown.text) < 7_000
    assert 'handle "step-3"' in shown.text
    assert "line 0" in shown.text
    piece = (await rig.steps(goal))[4].outcome
    assert piece is not None
    assert (piece.status, piece.data["total_characters"] > 40_000) == ("ok", True)


async def test_what_a_model_is_shown_stays_bounded_however_much_it_reads(rig: Rig) -> None:
    rig.tools = GiantTools(rig, 400_000)
    policy = limited(RunPolicy(), input_tokens=10_000_000)
    model = rig.think(forever("list_jobs", "list_nodes", "list_incidents"), policy=policy)
    await asked(rig)
    sizes = [size(request.messages) for request in model.requests[1:]]
    assert len(sizes) == policy.limits.turns - 1
    assert max(sizes) <= policy.context_tokens + policy.shown_tokens
    assert "folded" in str(model.requests[-1].messages)


async def test_a_run_uses_no_more_time_than_it_may(rig: Rig) -> None:
    await rig.node()

    class Slow:
        available = True
        model_name = "slow"

        async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
            assert request.messages
            assert on_delta is None
            rig.world.clock.advance(250)
            raise ModelUnavailable("slow")

    rig.model = Slow()  # type: ignore[assignment] # a Reasoner, as the rig needs
    rig.policy = limited(RunPolicy(), seconds=200.0)
    rig.build()
    goal, result = await asked(rig)
    assert (await rig.run(goal)).state is RunState.LIMITED
    assert "200 seconds of work" in result


async def test_a_stopped_run_ends_at_its_next_step_and_its_goal_with_it(rig: Rig) -> None:
    await rig.node()
    goal = await rig.orchestrator.create_goal(rig.ada, text=QUESTION, request_id="r", budget_usd=None, timezone="")
    run = await rig.run(goal)
    await rig.world.store.write(lambda tx: runs.request_stop(tx, run.id, "enough of it"))
    await rig.settle()
    ended = await rig.run(goal)
    assert (ended.state, ended.used.tool_calls) == (RunState.STOPPED, 0)
    assert (await rig.goal(goal.id)).state is GoalState.CANCELLED


async def test_a_reply_with_many_calls_is_cut(rig: Rig) -> None:
    await rig.node()
    many = calls(*(call("list_jobs", f"c-{number}", limit=number + 1) for number in range(20)))
    rig.think(READ, many, ScriptedReply(text="There are no jobs."))
    goal, _ = await asked(rig)
    assert (await rig.run(goal)).used.tool_calls == 8


async def test_messages_are_the_same_after_a_restart(rig: Rig) -> None:
    await rig.node()
    rig.think(READ, LOOK, "8 idle [fleet].")
    goal, _ = await asked(rig)
    run = await rig.run(goal)
    before = await rig.world.store.read(lambda tx: load_view(tx, run.id))
    after = await rig.world.store.read(lambda tx: load_view(tx, run.id))
    assert before is not None
    assert after is not None
    assert messages(before, rig.policy) == messages(after, rig.policy)
