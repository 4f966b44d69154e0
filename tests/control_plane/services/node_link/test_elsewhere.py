"""What a replica makes of hosts that are linked to another one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import NodeId
from control_plane.model.node import Node, NodeState
from control_plane.model.record import Noun
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_dispatch import LinkDispatch
from control_plane.services.link_elsewhere import LinkElsewhere
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.services.link_writer import LinkWriter
from control_plane.store import events, feed, link_holders, nodes
from control_plane.store.database import Store, Tx
from tests.control_plane.world import World
from tests.fake_clock import FakeClock


class Here:
    """One replica, its registry and what it knows; another one, `there`, is there."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.world = World.on(store, clock)
        self.clock = clock
        self.registry = LinkRegistry(clock=clock, shared=True)
        self.claims = GpuClaims()
        self.follower = LinkElsewhere(
            store, self.registry, self.claims, name="here", is_there=lambda name: name == "there"
        )

    async def follow(self) -> None:
        """Learn of everything that has happened."""
        self.follower.note(await self.world.store.read(lambda tx: events.after(tx, 0)))
        await self.follower.follow()

    async def look_at_all(self) -> None:
        """Learn of everything, as when events are not known any more."""
        self.follower.note(None)
        await self.follower.follow()

    async def links(self, node: Node, replica: str) -> None:
        """The host is welcomed at a replica."""
        await self.world.store.write(lambda tx: link_holders.take(tx, node.id, replica))
        await self.world.come_back(node)


@pytest.fixture
async def here(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Here]:
    store = await Store.open(sqlite_url, clock=clock, shared=True)
    yield Here(store, clock)
    await store.close()


def _waits_here(here: Here) -> tuple[NodeId, ...]:
    return here.registry.take_heard()


async def test_a_host_that_was_put_off_here_and_is_linked_elsewhere_is_told_of_as_heard_no_more(here: Here) -> None:
    node = await here.world.node("a")
    here.registry.excuse(node.id, here.clock.monotonic() + 60)
    assert _waits_here(here) == (node.id,)
    await here.links(node, "there")
    await here.follow()
    assert _waits_here(here) == ()


@pytest.mark.parametrize("holder", ["gone", "here", ""])
async def test_a_host_that_comes_back_from_a_replica_that_is_gone_waits_here(here: Here, holder: str) -> None:
    node = await here.world.node("a")
    here.registry.excuse(node.id, here.clock.monotonic() + 60)
    if holder:
        await here.links(node, holder)
    await here.follow()
    assert _waits_here(here) == (node.id,)


async def test_gpus_of_a_revoked_host_belong_to_nobody(here: Here) -> None:
    node = await here.world.node("a", gpu=1)
    await here.links(node, "there")
    await here.follow()
    assert here.claims.owner("GPU-a-0") == node.id

    def revoke(tx: Tx) -> None:
        nodes.update(tx, node.id, state=NodeState.REVOKED)

    await here.world.store.write(revoke)
    await here.follow()
    assert here.claims.owner("GPU-a-0") is None


async def test_after_events_were_missed_every_gpu_is_known_to_belong_to_whom_the_books_say(here: Here) -> None:
    gone, first, second = [await here.world.node(name, gpu=1) for name in ("gone", "first", "second")]
    for node in (gone, first, second):
        await here.links(node, "there")
    await here.look_at_all()
    assert here.claims.owner("GPU-first-0") == first.id
    here.registry.excuse(second.id, here.clock.monotonic() + 60)

    def change(tx: Tx) -> None:
        nodes.update(tx, gone.id, state=NodeState.REVOKED)
        of_both = [node.inventory for node in (first, second)]
        for node, inventory in zip((first, second), reversed(of_both), strict=True):  # each has the other one's GPU
            nodes.update(tx, node.id, inventory=inventory)

    await here.world.store.write(change)
    await here.look_at_all()
    assert [here.claims.owner(f"GPU-{name}-0") for name in ("gone", "first", "second")] == [None, second.id, first.id]
    assert _waits_here(here) == ()


async def test_a_replica_that_was_away_for_longer_than_memory_reaches_looks_at_every_host_anew(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "REMEMBERED_MAX", 20)
    store = here.world.store
    node = await here.world.node("a", gpu=1)
    await here.links(node, "there")
    ca = CertificateAuthority.load_or_create(tmp_path / "ca", clock=here.clock)
    writer = LinkWriter(store, ca, here.registry, here.claims, terms=LinkTerms(), clock=here.clock)
    dispatch = LinkDispatch(
        store, store.feed, here.registry, writer, None, clock=here.clock, replica="here", elsewhere=here.follower
    )

    def much_happens(tx: Tx) -> None:
        for number in range(30):
            tx.emit(Noun.JOB, f"job-{number}", "job.queued", "")

    running = asyncio.create_task(dispatch.run())
    async with asyncio.timeout(30):
        while here.claims.owner("GPU-a-0") is None:  # what happens before it follows events is no news to it
            await store.write(much_happens)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert here.claims.owner("GPU-a-0") == node.id
