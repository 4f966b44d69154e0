"""What a replica makes of hosts that are linked to another one."""

from collections.abc import AsyncIterator

import pytest

from control_plane.model.ids import NodeId
from control_plane.model.node import Node, NodeState
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_elsewhere import LinkElsewhere
from control_plane.services.link_registry import LinkRegistry
from control_plane.store import events, link_holders, nodes
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
        self._follower = LinkElsewhere(
            store, self.registry, self.claims, name="here", is_there=lambda name: name == "there"
        )

    async def follow(self) -> None:
        """Learn of everything that has happened."""
        for event in await self.world.store.read(lambda tx: events.after(tx, 0)):
            self._follower.note(event)
        await self._follower.follow()

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
