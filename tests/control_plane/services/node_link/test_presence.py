"""Who was heard is written in small parts, so that nothing else waits long behind thousands of hosts."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from control_plane.model.ids import NODE, NodeId, new_id
from control_plane.services import link_presence
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.store import nodes
from control_plane.store.database import Tx
from tests.control_plane.services.node_link.rig import running
from tests.fake_clock import FakeClock


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
        async with asyncio.timeout(30):
            while sum(map(len, parts)) < len(heard):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
        await rig.until(nodes.sightings, lambda found: set(found) == heard)
    assert sorted(node_id for part in parts for node_id in part) == sorted(heard)
    assert [len(part) for part in parts] == [2, 2, 2, 1]


@pytest.mark.parametrize(
    ("hosts", "heartbeat_seconds"), [(0, 3.0), (1, 3.0), (1_500, 3.0), (2_000, 4.0), (2_500, 5.0), (20_000, 5.0)]
)
def test_thousands_of_hosts_beat_less_often_and_thrice_in_a_lease(hosts: int, heartbeat_seconds: float) -> None:
    terms = LinkTerms(heartbeat_seconds=3.0, lease_seconds=15.0)
    assert terms.heartbeat_of(hosts) == heartbeat_seconds
    assert heartbeat_seconds < terms.alive_seconds_of(hosts) <= terms.lease_seconds


def test_a_heartbeat_that_was_asked_for_is_never_shortened() -> None:
    assert LinkTerms(heartbeat_seconds=6.0, lease_seconds=12.0).heartbeat_of(20_000) == 6.0


@pytest.mark.parametrize(
    ("hosts", "lease_seconds", "heartbeat_seconds"),
    [(0, 15.0, 3.0), (2_500, 15.0, 5.0), (5_000, 30.0, 10.0), (10_000, 60.0, 20.0), (50_000, 120.0, 40.0)],
)
def test_among_thousands_a_lease_has_room_for_three_beats(
    hosts: int, lease_seconds: float, heartbeat_seconds: float
) -> None:
    terms = LinkTerms(heartbeat_seconds=3.0, lease_seconds=15.0).among(hosts)
    assert (terms.lease_seconds, terms.heartbeat_of(hosts)) == (lease_seconds, heartbeat_seconds)
    assert heartbeat_seconds < terms.alive_seconds_of(hosts) <= lease_seconds


def test_a_lease_is_never_shorter_than_it_was_set_nor_stretched_beyond_the_fence() -> None:
    assert LinkTerms(lease_seconds=90.0).among(10_000).lease_seconds == 90.0
    assert LinkTerms(lease_seconds=15.0, fence_seconds=40.0).among(10_000).lease_seconds == 40.0
    assert LinkTerms(lease_seconds=15.0, fence_seconds=5.0).among(10_000).lease_seconds == 15.0


async def test_a_host_is_told_the_lease_and_to_beat_as_often_as_suits_the_fleet(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        one, other = await rig.join("a"), await rig.join("b")
        rig.registry.hosts = 4_000
        async with one.dial() as stream:
            await stream.send(hello=one.hello())
            welcome = (await stream.next("welcome")).welcome
        assert welcome.heartbeat_interval.ToTimedelta().total_seconds() == 8.0
        assert welcome.lease.ToTimedelta().total_seconds() == rig.registry.lease_seconds == 24.0
        rig.registry.hosts = 10
        async with other.dial() as stream:
            await stream.send(hello=other.hello())
            welcome = (await stream.next("welcome")).welcome
        assert welcome.lease.ToTimedelta().total_seconds() == 24.0, "others have it already"


def test_who_may_acknowledge_does_not_stretch_with_the_lease() -> None:
    clock = FakeClock()
    registry = LinkRegistry(clock=clock)
    registry.note_lease(60.0, in_charge_seconds=15.0)
    clock.advance(15)
    assert registry.may_acknowledge(new_id(NODE), 60.0)
    clock.advance(1)
    assert not registry.may_acknowledge(new_id(NODE), 60.0), "whoever took over counts on the lease that was set"
