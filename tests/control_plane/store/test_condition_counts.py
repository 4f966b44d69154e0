"""Counts of conditions, on each kind of database."""

from functools import partial

from control_plane.governor import health
from control_plane.model.health import Condition, ConditionScope, ConditionSeverity
from control_plane.store import conditions
from tests.control_plane.world import World


async def test_conditions_are_counted_by_kind_over_all_nodes(any_world: World) -> None:
    now = any_world.clock.now()

    def condition(name: str, kind: str) -> Condition:
        return Condition(name, ConditionScope.HOST, "", kind, ConditionSeverity.WARNING, kind, now, now)

    for name, kinds in (("alpha", ("XID", "XID", "DISK_FULL")), ("beta", ("XID",))):
        node = await any_world.node(name)
        present = [condition(f"{kind}-{index}", kind) for index, kind in enumerate(kinds)]
        await any_world.store.write(partial(health.reconcile, node_id=node.id, present=present))
    assert await any_world.store.read(conditions.count_by_kind) == {"XID": 3, "DISK_FULL": 1}
