"""What replicas know of each other, and the leader of the hosts that the others hear."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial

import pytest

from control_plane.bus.client import Message
from control_plane.model.ids import NodeId
from control_plane.model.node import Node
from control_plane.replicas.directory import GONE_SECONDS, Announcement, Directory
from control_plane.replicas.silence import FleetSilence
from control_plane.services.link_registry import LinkRegistry
from control_plane.store import link_holders, nodes
from control_plane.store.database import Store
from tests.control_plane.world import World
from tests.fake_clock import FakeClock

ALPHA = Announcement("alpha", "1", "a:1", "a:2", 0, "0.1.0", "p", "s", "2026-05-04T12:00:00+00:00")
BETA = replace(ALPHA, name="beta", server="b:1", link_server="b:2")


@pytest.fixture
async def store(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    opened = await Store.open(sqlite_url, clock=clock, shared=True)
    yield opened
    await opened.close()


@pytest.fixture
def directory(clock: FakeClock) -> Directory:
    return Directory(lambda: ALPHA, clock=clock, link_servers=("c:2",))


async def announce(directory: Directory, said: Announcement) -> None:
    await directory._take(Message(f"$KV.ORQ_REPLICAS.replica.{said.name}", json.dumps(asdict(said)).encode(), {}))


async def test_a_replica_is_there_for_as_long_as_it_says_so(directory: Directory, clock: FakeClock) -> None:
    await announce(directory, BETA)
    assert [one.said.name for one in directory.replicas()] == ["alpha", "beta"]
    assert directory.link_servers() == ("c:2", "a:2", "b:2")
    clock.advance(GONE_SECONDS + 0.1)
    assert directory.is_there("alpha")
    assert not directory.is_there("beta")
    assert directory.link_servers() == ("c:2", "a:2")
    assert [one.said.name for one in directory.replicas()] == ["alpha", "beta"], "people still see it for a while"
    clock.advance(60)
    assert [one.said.name for one in directory.replicas()] == ["alpha"]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", json.dumps({**asdict(BETA), "name": "x" * 300}).encode()])
async def test_an_announcement_that_makes_no_sense_is_refused(directory: Directory, data: bytes) -> None:
    await directory._take(Message("$KV.ORQ_REPLICAS.replica.x", data, {}))
    assert len(directory.replicas()) == 1


async def hears(store: Store, clock: FakeClock, node: Node) -> None:
    await store.write(lambda tx: nodes.seen(tx, [node.id], clock.now()))


async def test_silence_is_counted_from_what_any_replica_has_heard(
    store: Store, directory: Directory, clock: FakeClock
) -> None:
    world = World.on(store, clock)
    quiet, loud = await world.node("quiet"), await world.node("loud")
    silence = FleetSilence(store, directory)
    await silence.look()
    for _ in range(10):
        clock.advance(1)
        await hears(store, clock, loud)
        await silence.look()
    assert silence.silent_for_seconds(loud.id) == 0
    assert silence.silent_for_seconds(quiet.id) == 10


async def test_a_wall_clock_that_is_off_makes_nobody_silent(
    store: Store, directory: Directory, clock: FakeClock
) -> None:
    node = await World.on(store, clock).node("one")
    silence = FleetSilence(store, directory)
    await silence.look()
    for hours in (5, -5, 0):
        clock.advance(2)
        at = clock.now() + timedelta(hours=hours)
        await store.write(partial(nodes.seen, node_ids=[node.id], at=at))
        await silence.look()
    assert silence.silent_for_seconds(node.id) == 0


async def test_hosts_that_two_replicas_heard_at_one_moment_are_both_heard(
    store: Store, directory: Directory, clock: FakeClock
) -> None:
    world = World.on(store, clock)
    one, other = await world.node("one"), await world.node("other")
    silence = FleetSilence(store, directory)
    for _ in range(5):
        clock.advance(1)
        await hears(store, clock, one)
        await silence.look()
        await hears(store, clock, other)
        await silence.look()
    assert (silence.silent_for_seconds(one.id), silence.silent_for_seconds(other.id)) == (0, 0)


async def test_a_host_whose_link_has_come_up_again_is_heard(
    store: Store, directory: Directory, clock: FakeClock
) -> None:
    world = World.on(store, clock)
    back, away = await world.node("back"), await world.node("away")
    silence = FleetSilence(store, directory)
    for _ in range(5):
        await silence.look()
        clock.advance(2)
    await store.write(lambda tx: nodes.update(tx, back.id, connected=True, last_seen_at=clock.now()))
    await silence.look()
    assert (silence.silent_for_seconds(back.id), silence.silent_for_seconds(away.id)) == (0, 10)


async def test_while_the_database_was_away_nobody_was_silent(
    store: Store, directory: Directory, clock: FakeClock
) -> None:
    node = await World.on(store, clock).node("one")
    silence = FleetSilence(store, directory)
    await silence.look()
    clock.advance(60)
    await silence.look()
    assert silence.silent_for_seconds(node.id) == 0


async def test_hosts_of_a_replica_that_is_gone_have_a_whole_lease_to_link_elsewhere(
    store: Store, directory: Directory, clock: FakeClock
) -> None:
    world = World.on(store, clock)
    node = await world.node("one")
    await store.write(lambda tx: link_holders.take(tx, node.id, "beta"))
    silence = FleetSilence(store, directory)
    await announce(directory, BETA)
    while await store.read(link_holders.every):
        clock.advance(0.5)
        await silence.look()
    assert silence.silent_for_seconds(node.id) == 0
    assert not (await world.node_now(node)).connected


async def test_a_link_that_has_moved_on_is_not_taken_down_by_the_one_that_lost_it(
    store: Store, clock: FakeClock
) -> None:
    node = await World.on(store, clock).node("one")
    await store.write(lambda tx: link_holders.take(tx, node.id, "alpha"))
    await store.write(lambda tx: link_holders.take(tx, node.id, "beta"))
    assert not await store.write(lambda tx: link_holders.release(tx, node.id, "alpha"))
    assert await store.read(lambda tx: link_holders.holder(tx, node.id)) == "beta"
    assert await store.write(lambda tx: link_holders.release(tx, node.id, "beta"))


def test_a_replica_acknowledges_a_heartbeat_only_if_the_leader_could_read_that_the_host_was_heard(
    clock: FakeClock,
) -> None:

    registry, node_id = LinkRegistry(clock=clock, shared=True), NodeId("n-0123456789ab")
    assert not registry.may_acknowledge(node_id, 15)
    registry.note_reported([node_id], clock.monotonic())
    assert not registry.may_acknowledge(node_id, 15), "how long a lease it was told may not be in the books"
    registry.note_told(clock.monotonic())
    clock.advance(15)
    assert registry.may_acknowledge(node_id, 15)
    clock.advance(0.1)
    assert not registry.may_acknowledge(node_id, 15)
