"""How many nodes are out of service is counted for every batch of repairs."""

from control_plane.governor import holds
from control_plane.model.bounds import Level
from control_plane.model.node import NodeHold, NodeState
from control_plane.store import bounds, nodes
from control_plane.store.database import Tx
from tests.control_plane.store.plans import steps
from tests.control_plane.world import World


async def test_who_was_never_there_or_was_removed_is_of_no_fleet(any_world: World) -> None:
    await any_world.node("well")
    ill, gone = await any_world.node("ill"), await any_world.node("gone")
    await any_world.node("nobody", ready=False)

    def change(tx: Tx) -> tuple[Level, Level]:
        holds.hold(tx, nodes.resolve(tx, ill.id), NodeHold.REPAIRING, "a test wants it")
        nodes.update(tx, gone.id, state=NodeState.REVOKED)
        by_database = bounds.fleet(tx)
        bounds.count(tx)
        return by_database, bounds.fleet(tx)

    by_database, counted = await any_world.store.write(change)
    assert counted == by_database
    assert (counted.total, counted.out) == (2, 1)


async def test_the_count_reads_one_index_and_no_node(world: World) -> None:
    """A node is kilobytes long: to read ten thousand of them for each batch takes longer than to treat it."""
    await world.node("a")

    def counting(tx: Tx) -> list[str]:
        bounds.load(tx)  # which asks for something else
        return steps(tx, bounds.count)

    (step,) = await world.store.read(counting)
    assert step.endswith(" INDEX nodes_in_fleet")  # what stands before it depends on SQLite's version
