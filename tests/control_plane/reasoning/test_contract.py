"""What every Reasoner keeps, the scripted one and the real one alike."""

import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from control_plane.reasoning.contract import Message, ModelToolCall, Purpose, Reasoner, Speaker, ToolDeclaration
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelReplyInvalid, NoModel
from control_plane.reasoning.rules_only import NO_MODELS
from control_plane.reasoning.scripted import ScriptedModel, ScriptedReply
from tests.control_plane.reasoning.conftest import GOOD, SCHEMA, Bench, asked, endpoint
from tests.model_server import Answer, JsonObject, ModelServer

TOOL = ToolDeclaration("look", "Looks.", {"type": "object", "properties": {}})
Make = Callable[[list[ScriptedReply]], Awaitable[Reasoner]]


@pytest.fixture(params=["scripted", "engine"])
async def make(request: pytest.FixtureRequest, bench: Bench, server: ModelServer) -> Make:
    """Makes a Reasoner that gives these replies."""

    async def scripted(replies: list[ScriptedReply]) -> Reasoner:
        return ScriptedModel(replies)

    async def engine(replies: list[ScriptedReply]) -> Reasoner:
        left = list(replies)

        def say(body: JsonObject) -> Answer:
            reply = left.pop(0)
            text = reply.text or ("" if reply.data is None else json.dumps(reply.data))
            calls = [(call.name, call.arguments_json) for call in reply.calls]
            return server.spoken(body, text, calls=calls, finish="length" if reply.truncated else "stop")

        server.say = say
        return await bench.engine(endpoint(server))

    return scripted if request.param == "scripted" else engine


async def test_a_text_is_given_whole_and_in_pieces(make: Make) -> None:
    heard: list[str] = []

    async def hear(piece: str) -> None:
        heard.append(piece)

    reasoner = await make([ScriptedReply("A somewhat longer answer, in several pieces.")])
    assert reasoner.available
    assert reasoner.model_name
    reply = await reasoner.ask(asked(), on_delta=hear)
    assert "".join(heard) == reply.text == "A somewhat longer answer, in several pieces."
    assert (reply.data, reply.calls, reply.truncated) == (None, (), False)
    assert reply.input_tokens > 0
    assert reply.output_tokens > 0


@pytest.mark.parametrize("said", [ScriptedReply(GOOD), ScriptedReply(data=json.loads(GOOD))], ids=["text", "data"])
async def test_data_fits_the_schema(make: Make, said: ScriptedReply) -> None:
    reply = await (await make([said])).ask(asked(schema=SCHEMA))
    assert reply.data == {"intent": "launch", "gpus": 8}


@pytest.mark.parametrize(
    "data",
    [{"intent": "launch"}, {"intent": "launch", "gpus": -1}, {"intent": "fly", "gpus": 1}],
    ids=["few", "low", "odd"],
)
async def test_data_that_does_not_fit_is_an_error(make: Make, data: Mapping[str, Any]) -> None:
    reasoner = await make([ScriptedReply(data=data), ScriptedReply(data=data)])
    with pytest.raises(ModelReplyInvalid):
        await reasoner.ask(asked(schema=SCHEMA))


async def test_calls_are_given_only_when_tools_were_offered(make: Make) -> None:
    said = ScriptedReply("Let me look.", calls=(ModelToolCall("c0", "look", '{"at": 1}'),))
    reasoner = await make([said, said])
    reply = await reasoner.ask(asked(tools=(TOOL,)))
    assert [(call.name, call.arguments_json) for call in reply.calls] == [("look", '{"at": 1}')]
    assert (await reasoner.ask(asked())).calls == ()


async def test_a_whole_turn_with_calls_and_results_can_be_asked(make: Make) -> None:
    reasoner = await make([ScriptedReply("Done.")])
    call = ModelToolCall("c0", "look", "{}")
    messages = (
        Message(Speaker.SYSTEM, "Be brief."),
        Message(Speaker.USER, "Look."),
        Message(Speaker.ASSISTANT, "", calls=(call,)),
        Message(Speaker.TOOL, "Nothing there.", call_id="c0"),
    )
    request = asked(tools=(TOOL,))
    assert (await reasoner.ask(type(request)(messages, Purpose("tester"), tools=(TOOL,)))).text == "Done."


async def test_a_reply_that_hit_its_bound_says_so(make: Make) -> None:
    assert (await (await make([ScriptedReply("And then", truncated=True)])).ask(asked())).truncated


async def test_a_script_is_followed_to_its_end_and_hears_no_secret() -> None:
    model = ScriptedModel(["one", "two"])
    assert (await model.ask(asked("PASSWORD=hunter2"))).text == "one"
    assert "hunter2" not in model.requests[0].messages[0].text
    with pytest.raises(AssertionError, match="1 of the scripted replies"):
        model.assert_complete()
    await model.ask(asked())
    model.assert_complete()
    with pytest.raises(AssertionError, match="another was asked for"):
        await model.ask(asked())


async def test_a_script_may_be_a_function_raise_errors_and_cost_money() -> None:
    model = ScriptedModel(lambda request: f"You said: {request.messages[-1].text}")
    assert (await model.ask(asked("hi"))).text == "You said: hi"
    model.assert_complete()
    model = ScriptedModel([NoModel("gone"), ScriptedReply("dear", cost_usd=Decimal(2))])
    with pytest.raises(NoModel):
        await model.ask(asked())
    with pytest.raises(ModelBudgetExceeded):
        await model.ask(asked(cost_usd_max=Decimal(1)))


async def test_without_a_model_everything_is_refused_and_nothing_is_available() -> None:
    for reasoner in (NO_MODELS, ScriptedModel(["never"], model_name="")):
        assert not reasoner.available
        assert reasoner.model_name == ""
        assert reasoner.endpoints() == ()
        with pytest.raises(NoModel):
            await reasoner.ask(asked())
