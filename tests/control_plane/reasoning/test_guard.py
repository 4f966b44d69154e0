import pytest

from control_plane.reasoning import guard
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.errors import NoModel
from control_plane.reasoning.openai_transport import OpenAiTransport
from control_plane.reasoning.wire import StreamedReply
from tests.control_plane.reasoning.conftest import Bench, asked, endpoint
from tests.model_server import ModelServer

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://localhost.example.com/v1", "http://10.0.0.1/v1"])
async def test_no_test_can_ask_a_real_model(bench: Bench, url: str) -> None:
    engine = await bench.engine(Endpoint("far", url, "m"))
    assert not engine.available
    with pytest.raises(NoModel):
        await engine.ask(asked())
    transport = OpenAiTransport(Endpoint("far", url, "m"))
    with pytest.raises(NoModel):
        await transport.ask(BODY)
    with pytest.raises(NoModel):
        await anext(transport.stream({**BODY, "stream": True}, StreamedReply()))
    await transport.close()


async def test_a_server_of_this_machine_is_allowed_only_where_a_test_says_so(
    bench: Bench, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await bench.engine(endpoint(server))
    assert engine.available
    monkeypatch.setattr(guard._switch, "loopback_users", 0)
    assert not engine.available
    with pytest.raises(NoModel):
        await engine.ask(asked())
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80/v1", True),
        ("http://[::1]/v1", True),
        ("http://localhost:1/", True),
        ("http://127.0.0.1.example.com/", False),
        ("http://example.com/127.0.0.1", False),
        ("http://127.0.0.1@example.com/", False),
        ("nonsense", False),
        ("http://[broken", False),
    ],
)
def test_only_addresses_of_this_machine_count_as_such(url: str, *, loopback: bool) -> None:
    assert guard.is_loopback(url) is loopback
