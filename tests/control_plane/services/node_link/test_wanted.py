"""What hosts are told to do is the same whether it is read for many of them at once or for each alone."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from control_plane.model.health import ConditionOrder
from control_plane.model.ids import NODE, REPAIR, NodeId, new_id
from control_plane.model.node import NodeState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.services.link_wanted import MANY, Orders, of_nodes
from control_plane.store import conditions, repairs
from control_plane.store.database import Tx
from tests.control_plane.world import World


def _read(tx: Tx, node_ids: list[NodeId]) -> dict[NodeId, Orders]:
    return of_nodes(tx, node_ids, epoch=lambda _: 3, replicated=True)


def _apart(tx: Tx, node_ids: list[NodeId]) -> dict[NodeId, Orders]:
    return {node_id: replace(_read(tx, [node_id])[node_id], unread=False) for node_id in node_ids}


async def test_orders_of_many_nodes_are_those_of_each(any_world: World) -> None:
    store, now = any_world.store, any_world.clock.now()
    ready = [(await any_world.node(f"n{number}", gpu=1)).id for number in range(MANY)]
    silent = await any_world.node("silent", ready=False)
    order = Repair(
        id=new_id(REPAIR),
        node_id=ready[1],
        incident_id=None,
        action_id=None,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=Rung.RESET_GPU,
        state=RepairState.PENDING,
        reason="because",
        ordered_at=now,
        sent_at=now,
        not_after=now,
    )

    def write(tx: Tx) -> None:
        tx.session.execute(text(f"UPDATE nodes SET state = 'revoked' WHERE id = '{ready[0]}'"))
        tx.session.execute(text(f"UPDATE nodes SET inventory = '{{\"gpus\": 7}}' WHERE id = '{ready[3]}'"))
        repairs.insert(tx, order)
        conditions.order(tx, ready[2], ConditionOrder("a", "ada@example.com", clear=True, at=now))

    await store.write(write)
    asked = [*ready, silent.id, new_id(NODE)]
    together = await store.read(lambda tx: _read(tx, asked))
    assert together == await store.read(lambda tx: _apart(tx, asked))
    assert [together[node_id].state for node_id in (ready[0], ready[1], silent.id, asked[-1])] == [
        NodeState.REVOKED,
        NodeState.READY,
        NodeState.JOINING,
        None,
    ]
    assert together[ready[1]].repair == order
    assert [one.condition_id for one in together[ready[2]].said] == ["a"]


async def test_a_state_that_cannot_be_read_is_not_taken_for_a_node_that_is_gone(world: World) -> None:
    ready = [(await world.node(f"n{number}", gpu=1)).id for number in range(MANY)]
    spoil = text(f"UPDATE nodes SET state = 'of a later version' WHERE id = '{ready[0]}'")
    await world.store.write(lambda tx: tx.session.execute(spoil) and None)
    with pytest.raises(ValueError, match="of a later version"):
        await world.store.read(lambda tx: _read(tx, ready))
