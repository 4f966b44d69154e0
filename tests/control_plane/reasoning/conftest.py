from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from control_plane.reasoning.contract import Message, ModelRequest, Purpose, Speaker
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.engine import Engine
from control_plane.reasoning.guard import loopback_allowed
from control_plane.reasoning.openai_transport import OpenAiTransport
from control_plane.store.database import Store
from tests.fake_clock import FakeClock
from tests.model_server import ModelServer, running_model_server

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"type": "string", "enum": ["launch", "stop"]},
        "gpus": {"type": "integer", "minimum": 0, "maximum": 1000},
        "note": {"type": "string"},
    },
    "required": ["intent", "gpus"],
}
GOOD = '{"intent": "launch", "gpus": 8}'


def asked(text: str = "What now?", **terms: Any) -> ModelRequest:
    """A request with one message."""
    terms = {"purpose": Purpose("tester"), "output_tokens_max": 200, **terms}
    return ModelRequest((Message(Speaker.USER, text),), **terms)


@dataclass
class Bench:
    """Makes engines, and remembers how long they would have waited."""

    store: Store
    clock: FakeClock
    pauses: list[float] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    async def engine(self, *endpoints: Endpoint, per_day: Decimal = Decimal(20)) -> Engine:
        engine = Engine(
            endpoints,
            self.store,
            clock=self.clock,
            cost_per_day_usd=per_day,
            transport=OpenAiTransport,
            sleep=self.sleep,
        )
        await engine.start()
        self.engines.append(engine)
        return engine


def endpoint(server: ModelServer, **terms: Any) -> Endpoint:
    """The endpoint of a test's server."""
    return Endpoint(**{"name": "one", "base_url": server.url, "model": "m", "api_key": "secret-key-1", **terms})


@pytest.fixture(autouse=True)
def loopback() -> Iterator[None]:
    with loopback_allowed():
        yield


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with running_model_server() as running:
        yield running


@pytest.fixture
async def other_server() -> AsyncIterator[ModelServer]:
    async with running_model_server() as running:
        yield running


@pytest.fixture
async def bench(sqlite_store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    made = Bench(sqlite_store, clock)
    yield made
    for engine in made.engines:
        await engine.close()
