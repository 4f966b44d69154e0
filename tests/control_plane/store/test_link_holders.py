"""Who holds which link, and who was heard when: as much is read of it as has changed."""

from datetime import datetime, timedelta
from functools import partial

from control_plane.model.ids import NodeId
from control_plane.store import events, link_holders, nodes
from control_plane.store.database import Tx
from tests.control_plane.store.plans import steps
from tests.control_plane.world import World


async def hear(world: World, node_ids: list[NodeId], at: datetime) -> None:
    await world.store.write(partial(nodes.seen, node_ids=node_ids, at=at))


async def test_only_nodes_that_were_heard_since_are_read(any_world: World) -> None:
    first, second = any_world.clock.now(), any_world.clock.now() + timedelta(seconds=1)
    found = [(await any_world.node(f"n{number}")).id for number in range(6)]
    await hear(any_world, found[:3], first)
    await hear(any_world, found[3:], second)
    assert set(await any_world.store.read(partial(link_holders.heard_at, known={}))) == set(found)
    known = {first: 3, second: 3}
    assert await any_world.store.read(partial(link_holders.heard_at, known=known)) == {}
    later = second + timedelta(seconds=1)
    await hear(any_world, found[:1], later)
    assert await any_world.store.read(partial(link_holders.heard_at, known=known)) == {found[0]: later}


async def test_a_node_that_another_replica_heard_at_the_same_moment_is_read(any_world: World) -> None:
    one, other = (await any_world.node("one")).id, (await any_world.node("other")).id
    moment = any_world.clock.now()
    await hear(any_world, [other], moment - timedelta(seconds=9))
    await hear(any_world, [one], moment)
    known = {moment - timedelta(seconds=9): 1, moment: 1}
    await hear(any_world, [other], moment)
    assert (await any_world.store.read(partial(link_holders.heard_at, known=known)))[other] == moment


async def test_only_links_that_came_up_since_are_read(any_world: World) -> None:
    found = [(await any_world.node(f"n{number}")).id for number in range(3)]
    position, linked = await any_world.store.read(partial(link_holders.linked_at, position=None))
    assert set(linked) == set(found)
    assert (await any_world.store.read(partial(link_holders.linked_at, position=position)))[1] == {}
    at = any_world.clock.now() + timedelta(seconds=1)
    await any_world.store.write(lambda tx: nodes.update(tx, found[1], connected=True, last_seen_at=at))
    newer, linked = await any_world.store.read(partial(link_holders.linked_at, position=position))
    assert linked == {found[1]: at}
    assert newer > position


async def test_links_of_all_nodes_are_read_where_events_are_not_kept_any_more(any_world: World) -> None:
    found = {(await any_world.node(f"n{number}")).id for number in range(3)}
    position, _ = await any_world.store.read(partial(link_holders.linked_at, position=None))
    for _ in range(2):
        await any_world.store.write(lambda tx: nodes.update(tx, min(found), connected=True))
    await any_world.store.write(partial(events.prune, keep=1))
    assert set((await any_world.store.read(partial(link_holders.linked_at, position=position)))[1]) == found


async def test_replicas_and_their_links_are_found_by_an_index(world: World) -> None:
    """Twice a second, and in each third of a lease: by then only what is one's own may be read."""
    found = [(await world.node(f"n{number}")).id for number in range(6)]

    def take(tx: Tx) -> None:
        for number, node_id in enumerate(found):
            link_holders.take(tx, node_id, "alpha" if number else "beta")

    await world.store.write(take)
    assert await world.store.read(link_holders.holders) == ("alpha", "beta")
    assert await world.store.read(lambda tx: link_holders.held_by(tx, "beta")) == (found[0],)
    for ask in (link_holders.holders, partial(link_holders.held_by, replica="beta")):
        plan = await world.store.read(partial(steps, ask=ask))
        assert plan
        assert all(step.startswith("SEARCH") and "control_by_value (value" in step for step in plan), plan
