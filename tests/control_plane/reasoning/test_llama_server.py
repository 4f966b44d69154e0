"""The engine against a real model's server; what the model says does not matter, only that nothing breaks."""

from collections.abc import Iterator

import pytest

from control_plane.reasoning.contract import (
    ModelReply,
    ModelRequest,
    ReplyMode,
    ToolDeclaration,
)
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.engine import Engine
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelReplyInvalid
from control_plane.store import model_usage
from tests.control_plane.reasoning.conftest import SCHEMA, Bench, asked
from tools.llama_server import CONTEXT_TOKENS, MODEL_NAME, installed, serving

FILES = installed()
pytestmark = [
    pytest.mark.llm,
    pytest.mark.long,
    pytest.mark.skipif(FILES is None, reason="llama-server is not built; build it with: make llm"),
    pytest.mark.timeout(600),  # a busy machine writes one token a second
]
SHORT = {
    **SCHEMA,
    "properties": {**SCHEMA["properties"], "note": {"type": "string", "maxLength": 20}},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    assert FILES is not None
    # One thread: two that wait for each other by turning round would take the processor from the other tests.
    with serving(FILES, threads=1) as running:
        yield running


def local(url: str, *, context_tokens: int = CONTEXT_TOKENS) -> Endpoint:
    return Endpoint(
        "local", url, MODEL_NAME, context_tokens=context_tokens, timeout_seconds=280, first_token_seconds=280
    )


async def test_a_real_server_is_probed_streams_and_gives_data_and_calls(bench: Bench, url: str) -> None:
    engine = await bench.engine(local(url))
    heard: list[str] = []

    async def hear(piece: str) -> None:
        heard.append(piece)

    reply = await engine.ask(asked("Name a colour.", output_tokens_max=12), on_delta=hear)
    assert "".join(heard) == reply.text != ""
    assert reply.input_tokens > 0
    status = engine.endpoints()[0]
    assert (status.mode, status.streams, status.breaker) == (ReplyMode.JSON_SCHEMA, True, "closed")

    outcome = await _either(engine, asked("Run training on 2 H100.", schema=SHORT, output_tokens_max=80))
    if isinstance(outcome, ModelReply):
        assert outcome.data is not None
        assert outcome.data["intent"] in ("launch", "stop")
        assert 0 <= outcome.data["gpus"] <= 1000

    tool = ToolDeclaration("fleet.nodes", "Lists the nodes.", {"type": "object", "properties": {}})
    outcome = await _either(engine, asked("How many nodes are idle?", tools=(tool,), output_tokens_max=80))
    if isinstance(outcome, ModelReply):
        assert {call.name for call in outcome.calls} <= {"fleet.nodes"}

    usage = await bench.store.read(model_usage.of_day)
    assert usage.calls == engine.endpoints()[0].calls
    assert engine.endpoints()[0].failures == 0

    # The server itself says that a prompt is too long; the second engine knows the endpoint from the store.
    blind = await bench.engine(local(url, context_tokens=1_000_000))
    with pytest.raises(ModelBudgetExceeded, match="400"):
        await blind.ask(asked("word " * 6_000))
    assert blind.endpoints()[0].calls == 1


async def _either(engine: Engine, request: ModelRequest) -> ModelReply | ModelReplyInvalid:
    try:
        return await engine.ask(request)
    except ModelReplyInvalid as error:  # so small a model may fail twice
        return error
