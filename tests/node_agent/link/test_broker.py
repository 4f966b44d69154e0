"""The connection to the broker ends when it is told to, and is made anew whatever the broker does."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.link.broker import Broker, BrokerAway
from node_agent.link.certificate import CertificateFacts
from node_agent.link.identity import Identity
from tests.node_agent.broker import NatsServer, nats_serving
from tests.node_agent.pki import Authority

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def identity_of(authority: Authority, directory: Path) -> Identity:
    pair = authority.server()
    directory.mkdir()
    (directory / "key.pem").write_bytes(pair.key_pem)
    (directory / "certificate.pem").write_bytes(pair.certificate_pem)
    (directory / "ca.pem").write_bytes(authority.pem)
    return Identity("host-1", (), CertificateFacts("n-0123456789ab", "1", NOW, NOW), directory)


async def forever() -> None:
    await asyncio.Event().wait()


async def run_for(broker: Broker, seconds: float) -> None:
    """Run the connection for a while, then cancel it, once."""
    task = asyncio.ensure_future(broker.run(forever))
    await asyncio.sleep(seconds)
    task.cancel()
    ended, _ = await asyncio.wait([task], timeout=30)
    assert ended, f"cancelled {seconds} s after its start, the connection goes on"
    assert task.cancelled()


@pytest.mark.parametrize("_again", range(3))
async def test_a_cancellation_is_never_lost_however_far_the_connection_has_got(tmp_path: Path, _again: int) -> None:
    authority = Authority()
    identity = identity_of(authority, tmp_path / "identity")
    async with nats_serving(tmp_path / "nats", authority) as nats:
        for milliseconds in range(0, 40, 2):
            broker = Broker(identity, clock=SystemClock())
            broker.use_servers([nats.url])
            await run_for(broker, milliseconds / 1000)


@dataclass
class Life:
    """A broker's connection at work: it comes up, is used as hard as logs use it, and goes down."""

    broker: Broker
    ups: int = 0
    acknowledged: int = 0

    async def work(self) -> None:
        self.ups += 1
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(self._publish(number))

    async def _publish(self, number: int) -> None:
        for count in itertools.count():
            try:
                await self.broker.publish_log("j-1", bytes(190_000), message_id=f"{self.ups}-{number}-{count}")
                self.acknowledged += 1
            except BrokerAway:
                await asyncio.sleep(0.05)
            await self.broker.publish_telemetry(b"sample")

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():  # noqa: ASYNC110 - the broker's side makes it true
                await asyncio.sleep(0.02)


@asynccontextmanager
async def at_work(identity: Identity, nats: NatsServer) -> AsyncIterator[Life]:
    """Run a connection; afterwards nothing of it is left, also of the connections before it."""
    others = asyncio.all_tasks()
    broker = Broker(identity, clock=SystemClock(), ping_seconds=0.3)
    broker.use_servers([nats.url])
    life = Life(broker)
    running = asyncio.ensure_future(broker.run(life.work))
    try:
        yield life
    finally:
        running.cancel()
        ended, _ = await asyncio.wait([running], timeout=30)
        assert ended, "cancelled, the connection goes on"
    await life.until(lambda: asyncio.all_tasks() <= others)


async def test_a_killed_broker_is_connected_to_again(tmp_path: Path) -> None:
    authority = Authority()
    identity = identity_of(authority, tmp_path / "identity")
    async with nats_serving(tmp_path / "nats", authority) as nats, at_work(identity, nats) as life:
        await life.until(lambda: life.acknowledged > 40)
        await nats.kill()
        await life.until(lambda: not life.broker.connected)
        ups, acknowledged = life.ups, life.acknowledged
        await nats.start()
        await life.until(lambda: life.ups > ups and life.acknowledged > acknowledged)


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "is killed"])
async def test_a_broker_that_stands_still_is_given_up_and_connected_to_again(tmp_path: Path, dies: bool) -> None:
    authority = Authority()
    identity = identity_of(authority, tmp_path / "identity")
    async with nats_serving(tmp_path / "nats", authority) as nats, at_work(identity, nats) as life:
        await life.until(lambda: life.acknowledged > 40)
        nats.freeze()
        await life.until(lambda: not life.broker.connected)
        if dies:
            await nats.kill()
            await nats.start()
        else:
            nats.thaw()
        acknowledged = life.acknowledged
        await life.until(lambda: life.ups >= 2 and life.acknowledged > acknowledged)


async def test_a_connection_to_a_broker_that_stands_still_ends_when_it_is_told_to(tmp_path: Path) -> None:
    authority = Authority()
    identity = identity_of(authority, tmp_path / "identity")
    async with nats_serving(tmp_path / "nats", authority) as nats:
        async with at_work(identity, nats) as life:
            await life.until(lambda: life.acknowledged > 40)
            nats.freeze()
        async with at_work(identity, nats) as life:
            assert not life.broker.connected
        nats.thaw()


async def test_a_host_that_the_broker_refuses_is_let_in_once_it_has_another_identity(tmp_path: Path) -> None:
    authority = Authority()
    stranger = identity_of(Authority(), tmp_path / "stranger")
    (stranger.ca_file).write_bytes(authority.pem)
    async with nats_serving(tmp_path / "nats", authority) as nats, at_work(stranger, nats) as life:
        await life.until(lambda: bool(life.broker._last_failure))
        assert life.ups == 0
        life.broker.use_identity(identity_of(authority, tmp_path / "identity"))
        await life.until(lambda: life.acknowledged > 0)


async def test_a_host_that_is_sent_away_and_refused_comes_back_when_it_is_let_in(tmp_path: Path) -> None:
    authority = Authority()
    identity = identity_of(authority, tmp_path / "identity")
    async with nats_serving(tmp_path / "nats", authority) as nats, at_work(identity, nats) as life:
        await life.until(lambda: life.acknowledged > 0)
        nats.admit(anybody=False)
        await life.until(lambda: "authorization" in life.broker._last_failure.lower() and not life.broker.connected)
        ups = life.ups
        nats.admit(anybody=True)
        await life.until(lambda: life.ups > ups)
        acknowledged = life.acknowledged
        await life.until(lambda: life.acknowledged > acknowledged)
