import asyncio
import json
from typing import Any

import pytest

from control_plane.reasoning.breaker import FAILURES_MAX, OPEN_SECONDS
from control_plane.reasoning.contract import Message, ModelRequest, ModelToolCall, Purpose, Speaker
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelUnavailable, NoModel
from control_plane.reasoning.openai_transport import BODY_BYTES_MAX
from control_plane.reasoning.wire import TEXT_CHARACTERS_MAX
from tests.control_plane.reasoning.conftest import Bench, asked, endpoint
from tests.model_server import Answer, JsonObject, ModelServer, events_of, failure

UNREADABLE = {
    "not json": b"hello",
    "not an object": b"[]",
    "no choices": b"{}",
    "wrong choices": b'{"choices": "none"}',
    "empty": b"",
    "deep": b'{"choices": ' + b"[" * 100_000,
    "cut": b'{"choices": [{"message": {"content": "hal',
}
ODD: dict[str, tuple[Any, str]] = {
    "choice is a word": ({"choices": ["x"]}, ""),
    "no message": ({"choices": [{}]}, ""),
    "content is a number": ({"choices": [{"message": {"content": 7}}]}, ""),
    "content in parts": ({"choices": [{"message": {"content": [{"text": "a"}, {"text": "b"}, 3]}}]}, "ab"),
    "calls are a word": ({"choices": [{"message": {"content": "a", "tool_calls": "x"}}]}, "a"),
    "usage is a list": ({"choices": [{"message": {"content": "a"}}], "usage": [1]}, "a"),
    "usage is absurd": (
        {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": -5, "completion_tokens": "9"}},
        "a",
    ),
    "a refusal": ({"choices": [{"message": {"content": None, "refusal": "I will not."}}]}, "I will not."),
    "invisible characters": ({"choices": [{"message": {"content": "a\u202eb\x00c\ud800"}}]}, "abc"),
}


async def nothing(piece: str) -> None:
    pass


@pytest.mark.parametrize(
    "trouble",
    [failure(429, "slow down"), failure(503, "overloaded"), Answer(body=b'{"cho', cut=True), Answer(body=b"hello")],
    ids=["busy", "broken", "cut", "garbage"],
)
async def test_trouble_that_may_pass_is_tried_again_twice_with_growing_pauses(
    bench: Bench, server: ModelServer, trouble: Answer
) -> None:
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    server.answers = [trouble, trouble]
    assert (await engine.ask(asked())).text == "Good."
    assert len(bench.pauses) == 2
    assert 0.25 <= bench.pauses[0] <= 0.5 <= bench.pauses[1] <= 1.0


async def test_an_endpoint_is_given_the_time_that_it_asks_for_and_passed_over_if_that_is_long(
    bench: Bench, server: ModelServer, other_server: ModelServer
) -> None:
    engine = await bench.engine(endpoint(server), endpoint(other_server, name="two"))
    await engine.ask(asked())
    server.answers = [failure(429, "slow down", Retry_After="7")]
    assert (await engine.ask(asked())).endpoint == "one"
    assert bench.pauses == [7.0]
    server.answers = [failure(429, "slow down", Retry_After="600")]
    assert (await engine.ask(asked())).endpoint == "two"
    assert bench.pauses == [7.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_what_will_not_pass_is_not_tried_again_but_elsewhere(
    bench: Bench, server: ModelServer, other_server: ModelServer, status: int
) -> None:
    engine = await bench.engine(endpoint(server), endpoint(other_server, name="two"))
    await engine.ask(asked())
    before = len(server.requests)
    server.answers = [failure(status, "No.")]
    assert (await engine.ask(asked())).endpoint == "two"
    assert len(server.requests) == before + 1
    assert bench.pauses == []
    assert str(status) in engine.endpoints()[0].last_error


async def test_an_endpoint_that_nobody_serves_is_passed_over(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(Endpoint("gone", "http://127.0.0.1:1/v1", "m"), endpoint(server))
    assert (await engine.ask(asked())).endpoint == "one"


@pytest.mark.parametrize("name", list(UNREADABLE))
async def test_answers_that_cannot_be_read_are_troubles_and_no_crash(
    bench: Bench, server: ModelServer, name: str
) -> None:
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    server.say = lambda _body: Answer(body=UNREADABLE[name])
    with pytest.raises(ModelUnavailable) as caught:
        await engine.ask(asked())
    assert "one: " in str(caught.value)


@pytest.mark.parametrize("name", list(ODD))
async def test_answers_of_odd_shape_are_read_as_far_as_they_can_be(
    bench: Bench, server: ModelServer, name: str
) -> None:
    content, text = ODD[name]
    engine = await bench.engine(endpoint(server))
    server.say = lambda _body: Answer(body=json.dumps(content).encode())
    reply = await engine.ask(asked())
    assert reply.text == text
    assert reply.input_tokens > 0  # estimated where it is not told
    assert reply.output_tokens > 0


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_an_answer_without_end_is_cut_off(bench: Bench, server: ModelServer, *, streamed: bool) -> None:
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    part = events_of([{"choices": [{"index": 0, "delta": {"content": "x" * 1000}}]}])
    huge = part * (BODY_BYTES_MAX // len(part) + 2) if streamed else b" " * (BODY_BYTES_MAX + 1)
    server.say = lambda _body: Answer(body=huge, headers={"Content-Type": "text/event-stream"} if streamed else {})
    with pytest.raises(ModelUnavailable, match="larger than"):
        await engine.ask(asked(), on_delta=nothing if streamed else None)


async def test_a_long_text_is_cut_and_many_calls_are_bounded(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server))
    server.say = lambda body: server.spoken(body, "x" * (TEXT_CHARACTERS_MAX + 1))
    reply = await engine.ask(asked())
    assert len(reply.text) == TEXT_CHARACTERS_MAX
    assert reply.truncated


async def test_a_silent_endpoint_is_given_up(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server, timeout_seconds=0.2, first_token_seconds=0.1))
    server.say = lambda _body: Answer(hang=True)
    with pytest.raises(ModelUnavailable, match="in time"):
        await engine.ask(asked())
    server.say = lambda _body: Answer(hang=True, headers={"Content-Type": "text/event-stream"})
    bench.clock.advance(OPEN_SECONDS + 0.001)  # the pauses before are no round numbers
    with pytest.raises(ModelUnavailable, match="in time"):
        await engine.ask(asked(), on_delta=nothing)


async def test_text_is_heard_while_it_is_written(bench: Bench, server: ModelServer) -> None:
    heard: list[str] = []

    async def hear(piece: str) -> None:
        heard.append(piece)

    server.say = lambda body: server.spoken(body, "One two three.")
    engine = await bench.engine(endpoint(server))
    reply = await engine.ask(asked(), on_delta=hear)
    assert heard == ["One ", "two ", "thre", "e."]
    assert reply.text == "One two three."
    assert (reply.output_tokens, server.of_tests()[-1]["stream"]) == (5, True)


async def test_an_endpoint_that_does_not_stream_is_heard_all_the_same(bench: Bench, server: ModelServer) -> None:
    heard: list[str] = []

    async def hear(piece: str) -> None:
        heard.append(piece)

    server.abilities = server.abilities - {"stream", "stream_usage"}
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked(), on_delta=hear)
    assert heard == ["Good."]


async def test_tokens_are_estimated_where_a_stream_does_not_tell_them(bench: Bench, server: ModelServer) -> None:
    server.abilities = server.abilities - {"stream_usage"}
    server.say = lambda body: server.spoken(body, "One two three four five.")
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    reply = await engine.ask(asked(), on_delta=nothing)
    assert 4 <= reply.output_tokens <= 12


@pytest.mark.parametrize("cut", [True, False], ids=["torn", "ended early"])
async def test_a_stream_that_breaks_off_begins_again_and_says_so(
    bench: Bench, server: ModelServer, *, cut: bool
) -> None:
    heard: list[str] = []

    async def hear(piece: str) -> None:
        heard.append(piece)

    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    half = events_of([{"choices": [{"index": 0, "delta": {"content": "Hal"}}]}])
    server.answers = [Answer(body=half, headers={"Content-Type": "text/event-stream"}, cut=cut)]
    reply = await engine.ask(asked(), on_delta=hear)
    assert reply.text == "Good."
    assert heard[0] == "Hal"
    assert "begins again" in heard[1]
    assert "".join(heard[2:]) == "Good."


async def test_an_error_of_who_listens_is_raised_as_it_is(bench: Bench, server: ModelServer) -> None:
    async def fail(piece: str) -> None:
        raise LookupError(piece)

    engine = await bench.engine(endpoint(server))
    with pytest.raises(LookupError):
        await engine.ask(asked(), on_delta=fail)
    assert (await engine.ask(asked())).text == "Good."


async def test_an_endpoint_that_fails_again_and_again_is_left_alone_and_tried_after_a_while(
    bench: Bench, server: ModelServer, other_server: ModelServer
) -> None:
    engine = await bench.engine(endpoint(server), endpoint(other_server, name="two"))
    await engine.ask(asked())
    server.say = lambda _body: failure(503, "overloaded")
    assert (await engine.ask(asked())).endpoint == "two"
    assert engine.endpoints()[0].breaker == "open"
    count = len(server.requests)
    assert (await engine.ask(asked())).endpoint == "two"
    assert len(server.requests) == count
    assert engine.endpoints()[0].failures == FAILURES_MAX
    bench.clock.advance(OPEN_SECONDS + 0.001)  # the pauses before are no round numbers
    assert engine.endpoints()[0].breaker == "half_open"
    assert (await engine.ask(asked())).endpoint == "two"
    assert len(server.requests) == count + 1  # one call tries
    bench.clock.advance(OPEN_SECONDS + 0.001)  # the pauses before are no round numbers
    assert engine.endpoints()[0].breaker == "open"  # now for twice as long
    server.say = lambda _body: None
    bench.clock.advance(OPEN_SECONDS + 0.001)  # the pauses before are no round numbers
    assert (await engine.ask(asked())).endpoint == "one"
    assert engine.endpoints()[0].breaker == "closed"


async def test_without_an_endpoint_that_may_be_asked_nothing_is_available(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine()
    assert not engine.available
    assert engine.model_name == ""
    with pytest.raises(NoModel):
        await engine.ask(asked())
    engine = await bench.engine(endpoint(server))
    assert engine.available
    server.say = lambda _body: failure(503, "overloaded")
    with pytest.raises(ModelUnavailable):
        await engine.ask(asked())
    assert not engine.available


async def test_a_prompt_that_is_too_long_goes_to_an_endpoint_with_room(
    bench: Bench, server: ModelServer, other_server: ModelServer
) -> None:
    small, large = endpoint(server, context_tokens=1_024), endpoint(other_server, name="two", context_tokens=50_000)
    engine = await bench.engine(small, large)
    text = "word " * 3_000
    assert (await engine.ask(asked(text))).endpoint == "two"
    assert server.of_tests() == []
    with pytest.raises(ModelBudgetExceeded):
        await engine.ask(asked(text, input_tokens_max=100))
    alone = await bench.engine(small)
    with pytest.raises(ModelBudgetExceeded):
        await alone.ask(asked(text))


async def test_an_endpoint_that_finds_the_prompt_too_long_is_passed_over(
    bench: Bench, server: ModelServer, other_server: ModelServer
) -> None:
    engine = await bench.engine(endpoint(server), endpoint(other_server, name="two"))
    server.say = lambda _body: failure(400, "the request exceeds the available context size")
    assert (await engine.ask(asked())).endpoint == "two"
    assert engine.endpoints()[0].breaker == "closed"


async def test_no_secret_leaves_and_every_turn_has_content(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server, headers={"X-Team": "blue"}))
    secret = "hunter2hunter2"
    request = ModelRequest(
        (
            Message(Speaker.SYSTEM, f"PASSWORD={secret}"),
            Message(Speaker.USER, f"postgres://bob:{secret}@db/x"),
            Message(Speaker.ASSISTANT, "", calls=(ModelToolCall("c1", "t", f'{{"password": "{secret}"}}'),)),
            Message(Speaker.TOOL, f"Authorization: Bearer {secret}", call_id="c1"),
        ),
        Purpose("tester"),
    )
    await engine.ask(request)
    body = server.of_tests()[-1]
    assert secret not in json.dumps(body)
    assert [turn["content"] == "" for turn in body["messages"]] == [False, False, True, False]
    assert "Bearer secret-key-1" in server.headers[-1]
    assert "x-team: blue" in server.headers[-1].lower()


async def test_a_key_does_not_follow_a_redirect(bench: Bench, server: ModelServer, other_server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    location = f"{other_server.url}/chat/completions"
    server.say = lambda _body: Answer(status=307, headers={"Location": location})
    with pytest.raises(ModelUnavailable):
        await engine.ask(asked())
    assert other_server.requests == []


async def test_a_call_that_is_cancelled_lets_others_through(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server))
    await engine.ask(asked())
    begun = asyncio.Event()

    def say(_body: JsonObject) -> Answer:
        begun.set()
        return Answer(hang=True)

    server.say = say
    call = asyncio.ensure_future(engine.ask(asked()))
    await asyncio.wait_for(begun.wait(), 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    server.say = lambda _body: None
    assert (await engine.ask(asked())).text == "Good."
