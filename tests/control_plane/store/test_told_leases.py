"""What stands in the books of the leases that were told."""

from functools import partial

from control_plane.fleet.told_leases import ToldLease
from control_plane.store import link_holders, told_leases
from control_plane.store.database import Tx
from tests.control_plane.store.plans import steps
from tests.control_plane.world import World


async def test_they_are_read_without_the_links_of_the_fleet(any_world: World) -> None:
    """Twice a second: there may be ten thousand links in the same table."""
    node, told = await any_world.node("one"), ToldLease(15.0, 1)

    def write(tx: Tx) -> None:
        link_holders.take(tx, node.id, "alpha")
        told_leases.tell(tx, "a-teller", told)

    await any_world.store.write(write)
    assert await any_world.store.read(told_leases.every) == {"a-teller": told}


async def test_they_are_found_by_an_index(world: World) -> None:
    plan = await world.store.read(partial(steps, ask=told_leases.every))
    assert plan
    assert all(step.startswith("SEARCH") and "key>?" in step for step in plan), plan
