"""Who was heard is written in small parts, so that nothing else waits long behind thousands of hosts."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from control_plane.model.ids import NODE, NodeId, new_id
from control_plane.services import link_presence
from control_plane.services.link_terms import LinkTerms
from control_plane.store import nodes
from control_plane.store.database import Tx
from tests.control_plane.services.node_link.rig import running


async def test_hosts_that_were_heard_are_written_some_at_a_time_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[NodeId, ...]] = []
    whole = nodes.seen

    def seen(tx: Tx, node_ids: Sequence[NodeId], at: datetime) -> None:
        parts.append(tuple(node_ids))
        whole(tx, node_ids, at)

    monkeypatch.setattr(nodes, "seen", seen)
    monkeypatch.setattr(link_presence, "SEEN_AT_ONCE", 2)
    monkeypatch.setattr(link_presence, "_BETWEEN_SECONDS", 0.0)
    async with running(tmp_path) as rig:
        host = await rig.join("a")
        heard = {host.node_id, *(new_id(NODE) for _ in range(6))}
        for node_id in heard:
            rig.registry.heard(node_id)
        node = await rig.until_node(host.node_id, lambda node: node.last_seen_at is not None)
        async with asyncio.timeout(30):
            while sum(map(len, parts)) < len(heard):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
    assert sorted(node_id for part in parts for node_id in part) == sorted(heard)
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert node.last_seen_at is not None


@pytest.mark.parametrize(
    ("hosts", "heartbeat_seconds"), [(0, 3.0), (1, 3.0), (3_000, 3.0), (4_000, 4.0), (5_000, 5.0), (20_000, 5.0)]
)
def test_thousands_of_hosts_beat_less_often_and_thrice_in_a_lease(hosts: int, heartbeat_seconds: float) -> None:
    terms = LinkTerms(heartbeat_seconds=3.0, lease_seconds=15.0)
    assert terms.heartbeat_of(hosts) == heartbeat_seconds
    assert heartbeat_seconds < terms.alive_seconds_of(hosts) <= terms.lease_seconds


def test_a_heartbeat_that_was_asked_for_is_never_shortened() -> None:
    assert LinkTerms(heartbeat_seconds=6.0, lease_seconds=12.0).heartbeat_of(20_000) == 6.0


async def test_a_host_is_told_to_beat_as_often_as_suits_the_fleet(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        host = await rig.join("a")
        rig.registry.hosts = 4_000
        async with host.dial() as stream:
            await stream.send(hello=host.hello())
            welcome = (await stream.next("welcome")).welcome
        assert welcome.heartbeat_interval.ToTimedelta().total_seconds() == 4.0
