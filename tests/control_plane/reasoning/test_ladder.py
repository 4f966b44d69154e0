import json
from datetime import timedelta
from typing import Any

import pytest

from control_plane.reasoning.contract import ReplyMode, ToolDeclaration
from control_plane.reasoning.errors import ModelReplyInvalid
from tests.control_plane.reasoning.conftest import GOOD, SCHEMA, Bench, asked, endpoint
from tests.model_server import EVERYTHING, Answer, JsonObject, ModelServer, failure

TOOLS = (
    ToolDeclaration("fleet.nodes", "Lists nodes.", {"type": "object", "properties": {"gpu": {"type": "string"}}}),
    ToolDeclaration("fleet_nodes", "Lists nodes too.", {"type": "object", "properties": {}}),
)


def speaks(server: ModelServer, text: str) -> None:
    server.say = lambda body: server.spoken(body, text)


def calls(server: ModelServer, *made: tuple[str, str]) -> None:
    server.say = lambda body: server.spoken(body, calls=made)


def answers_as_asked(server: ModelServer) -> None:
    """Gives good data in whichever form is asked for, and prose where no form is."""

    def say(body: JsonObject) -> Answer:
        if body.get("tools"):
            return server.spoken(body, calls=[(body["tools"][0]["function"]["name"], GOOD)])
        return server.spoken(body, GOOD if body.get("response_format") else f"Here it is:\n```json\n{GOOD}\n```")

    server.say = say


@pytest.mark.parametrize(
    ("missing", "mode"),
    [
        ((), ReplyMode.JSON_SCHEMA),
        (("json_schema",), ReplyMode.JSON_OBJECT),
        (("json_schema", "json_object"), ReplyMode.TOOL),
        (("json_schema", "json_object", "tools"), ReplyMode.TEXT),
    ],
    ids=["strict", "object", "tool", "text"],
)
async def test_data_is_asked_for_by_the_best_way_that_the_endpoint_knows(
    bench: Bench, server: ModelServer, missing: tuple[str, ...], mode: ReplyMode
) -> None:
    server.abilities = EVERYTHING - set(missing)
    answers_as_asked(server)
    engine = await bench.engine(endpoint(server))
    reply = await engine.ask(asked(schema=SCHEMA))
    assert reply.data == {"intent": "launch", "gpus": 8}
    assert reply.mode is mode
    assert bench.pauses == []  # what is not supported is no trouble that passes


async def test_an_endpoint_is_probed_once_also_over_restarts_and_again_after_a_day_or_for_another_model(
    bench: Bench, server: ModelServer
) -> None:
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    probes = len(server.probes())
    assert probes > 0
    await engine.ask(asked())
    restarted = await bench.engine(endpoint(server))
    await restarted.ask(asked())
    assert len(server.probes()) == probes
    bench.clock.advance(timedelta(days=1).total_seconds())
    await restarted.ask(asked())
    assert len(server.probes()) == 2 * probes
    await (await bench.engine(endpoint(server, model="other"))).ask(asked())
    assert len(server.probes()) == 3 * probes


async def test_an_endpoint_that_stops_supporting_a_form_is_asked_in_the_next_one_and_that_is_remembered(
    bench: Bench, server: ModelServer
) -> None:
    answers_as_asked(server)
    engine = await bench.engine(endpoint(server))
    assert (await engine.ask(asked(schema=SCHEMA))).mode is ReplyMode.JSON_SCHEMA
    server.abilities = EVERYTHING - {"json_schema"}
    before = len(server.requests)
    assert (await engine.ask(asked(schema=SCHEMA))).mode is ReplyMode.JSON_OBJECT
    assert len(server.requests) == before + 2
    await engine.ask(asked(schema=SCHEMA))
    assert len(server.requests) == before + 3


@pytest.mark.parametrize("ability", ["completion_limit", "no_temperature"])
async def test_parameters_that_a_model_refuses_are_named_otherwise_or_left_out(
    bench: Bench, server: ModelServer, ability: str
) -> None:
    server.abilities = EVERYTHING | {ability}
    engine = await bench.engine(endpoint(server))
    assert (await engine.ask(asked())).text == "Good."
    body = server.of_tests()[-1]
    assert ("max_completion_tokens" in body) == (ability == "completion_limit")
    assert ("temperature" in body) == (ability != "no_temperature")


async def test_strict_schemas_bound_every_number_and_text_and_require_every_key(
    bench: Bench, server: ModelServer
) -> None:
    speaks(server, '{"intent": "stop", "gpus": 1, "note": null}')
    engine = await bench.engine(endpoint(server))
    reply = await engine.ask(asked(schema=SCHEMA))
    assert reply.data == {"intent": "stop", "gpus": 1}  # a null that only strictness allowed is a key left out
    sent = server.of_tests()[-1]["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["required"] == ["intent", "gpus", "note"]
    assert sent["schema"]["additionalProperties"] is False
    assert sent["schema"]["properties"]["note"]["anyOf"][0]["maxLength"] == 2000


async def test_an_endpoint_that_refuses_bounds_of_texts_is_asked_strictly_without_them(
    bench: Bench, server: ModelServer
) -> None:
    server.abilities = EVERYTHING - {"string_bounds"}
    answers_as_asked(server)
    engine = await bench.engine(endpoint(server))
    assert (await engine.ask(asked(schema=SCHEMA))).mode is ReplyMode.JSON_SCHEMA
    assert "maxLength" not in json.dumps(server.of_tests()[-1])


@pytest.mark.parametrize(
    "nonsense",
    [
        "I cannot say.",
        '{"intent": "launch", "gpus": ',
        '{"intent": "launch", "gpus": NaN}',
        '{"intent": "launch", "gpus": 1e999}',
        '{"intent": "launch", "gpus": 8, "gpus": 9}',
        '{"intent": "launch", "gpus": "eight"}',
        '{"intent": "launch", "gpus": 1000000000000000}',
        '{"intent": "launch"}',
        '{"intent": "destroy", "gpus": 8}',
        '{"intent": "launch", "gpus": true}',
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        "[" * 100_000,
        '{"intent": "launch", "gpus": 8, "note": ' + "[" * 40 + "]" * 40 + "}",
        "{" * 50_000,
    ],
    ids=[
        "prose",
        "cut",
        "nan",
        "infinite",
        "twice",
        "word",
        "huge",
        "missing",
        "unknown",
        "bool",
        "deep",
        "lists",
        "nest",
        "braces",
    ],
)
async def test_data_that_does_not_fit_is_repaired_once_and_then_refused(
    bench: Bench, server: ModelServer, nonsense: str
) -> None:
    said = [nonsense, GOOD, nonsense, nonsense]
    server.say = lambda body: server.spoken(body, said.pop(0))
    engine = await bench.engine(endpoint(server))
    reply = await engine.ask(asked(schema=SCHEMA))
    assert reply.data == {"intent": "launch", "gpus": 8}
    repair = server.of_tests()[-1]["messages"][-1]["content"]
    assert repair.startswith("That cannot be used")
    with pytest.raises(ModelReplyInvalid) as caught:
        await engine.ask(asked(schema=SCHEMA))
    assert caught.value.output_tokens == 10
    assert engine.endpoints()[0].breaker == "closed"


async def test_a_reply_that_was_cut_off_is_asked_for_again_in_fewer_words(bench: Bench, server: ModelServer) -> None:
    said = iter([('{"intent": "laun', "length"), (GOOD, "stop")])

    def say(body: JsonObject) -> Answer:
        text, finish = next(said)
        return server.spoken(body, text, finish=finish)

    server.say = say
    engine = await bench.engine(endpoint(server))
    assert (await engine.ask(asked(schema=SCHEMA))).data == {"intent": "launch", "gpus": 8}
    assert "cut off" in server.of_tests()[-1]["messages"][-1]["content"]


async def test_thoughts_fences_and_prose_around_data_do_no_harm(bench: Bench, server: ModelServer) -> None:
    speaks(server, f"<think>maybe {{}} or {{x}}</think>\nSure {{thing}}: {GOOD} Anything else?")
    engine = await bench.engine(endpoint(server))
    assert (await engine.ask(asked(schema=SCHEMA))).data == {"intent": "launch", "gpus": 8}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_two_calls_in_one_answer_keep_their_own_names_and_get_ids(
    bench: Bench, server: ModelServer, *, streamed: bool
) -> None:
    calls(server, ("fleet_nodes", '{"gpu": "H100"}'), ("fleet_nodes_2", "{}"))
    engine = await bench.engine(endpoint(server))

    async def heard(piece: str) -> None:
        pass

    reply = await engine.ask(asked(tools=TOOLS, schema=SCHEMA), on_delta=heard if streamed else None)
    assert [(call.name, call.arguments_json) for call in reply.calls] == [
        ("fleet.nodes", '{"gpu": "H100"}'),
        ("fleet_nodes", "{}"),
    ]
    assert len({call.id for call in reply.calls}) == 2
    assert reply.data is None


async def test_a_question_with_tools_may_be_answered_with_data(bench: Bench, server: ModelServer) -> None:
    speaks(server, GOOD)
    engine = await bench.engine(endpoint(server))
    reply = await engine.ask(asked(tools=TOOLS, schema=SCHEMA))
    assert reply.data == {"intent": "launch", "gpus": 8}
    assert reply.calls == ()
    body = server.of_tests()[-1]
    assert "tool_choice" not in body
    assert "response_format" not in body  # some servers refuse both at once


@pytest.mark.parametrize("ignores", [True, False], ids=["ignored", "refused"])
async def test_an_endpoint_without_tools_is_told_of_them_and_calls_them_as_data(
    bench: Bench, server: ModelServer, *, ignores: bool
) -> None:
    server.abilities = EVERYTHING - {"tools"} | ({"ignores_tools"} if ignores else set())
    told: list[dict[str, Any]] = [
        {"tool": "fleet_nodes", "arguments_json": '{"gpu": "H100"}', "reply": None},
        {"tool": "none", "arguments_json": "", "reply": {"intent": "stop", "gpus": 0}},
    ]
    server.say = lambda body: server.spoken(body, json.dumps(told.pop(0)))
    engine = await bench.engine(endpoint(server))
    reply = await engine.ask(asked(tools=TOOLS, schema=SCHEMA))
    assert [(call.name, call.arguments_json) for call in reply.calls] == [("fleet.nodes", '{"gpu": "H100"}')]
    assert "Lists nodes too." in server.of_tests()[-1]["messages"][0]["content"]
    assert "tools" not in server.of_tests()[-1]
    reply = await engine.ask(asked(tools=TOOLS, schema=SCHEMA))
    assert reply.data == {"intent": "stop", "gpus": 0}


async def test_a_500_that_tells_of_no_form_is_tried_again(bench: Bench, server: ModelServer) -> None:
    server.answers = [failure(500, "out of memory")]
    engine = await bench.engine(endpoint(server))
    assert (await engine.ask(asked())).text == "Good."
    assert len(bench.pauses) == 1
