"""The connection to the broker ends when it is told to."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.link.broker import Broker
from node_agent.link.certificate import CertificateFacts
from node_agent.link.identity import Identity
from tests.node_agent.broker import nats_serving
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
    ended, _ = await asyncio.wait([task], timeout=10)
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
