"""Two governors over one PostgreSQL: what is bounded for a person or the fleet stays within its bound."""

import asyncio
from decimal import Decimal
from itertools import count, pairwise

import pytest

from control_plane.model.action import ActionState
from control_plane.store import audit, users
from control_plane.store.database import Store
from tests.control_plane.world import World, spec
from tests.fake_clock import FakeClock
from tests.postgresql import PostgreSql

pytestmark = pytest.mark.postgres


async def test_two_control_planes_spend_no_budget_twice_and_give_no_gpu_twice(
    migrated_postgresql: PostgreSql, clock: FakeClock
) -> None:
    with migrated_postgresql.database("orquanta_template") as url:
        stores = [await Store.open(url, clock=clock, shared=True) for _ in range(2)]
        one, two = worlds = [World.on(store, clock) for store in stores]
        two._numbers = count(1_000)  # proposals with other ids than those of the first
        user = await one.user(budget_usd=15)
        node = await one.node("alpha")
        launches = await asyncio.gather(
            *(
                world.launch(user, spec(f"job-{number}-{side}"))
                for number in range(10)
                for side, world in enumerate(worlds)
            )
        )
        allowed = [action for action in launches if action.state is ActionState.DONE]
        assert 0 < len(allowed) < len(launches), "the budget is enough for some of them"
        spent = await two.store.read(lambda tx: users.require(tx, user.id))
        assert spent.reserved_usd <= Decimal(15)
        assert spent.reserved_usd == sum((action.estimate_usd for action in allowed), Decimal(0))
        names = [action.effect.jobs[0].spec.name for action in allowed]  # type: ignore[union-attr] # they are launches
        placed = await asyncio.gather(
            *(world.place(name, (node, [0])) for world in worlds for name in names), return_exceptions=True
        )
        done = [one for one in placed if not isinstance(one, BaseException) and one.state is ActionState.DONE]
        assert len(done) == 1, "a GPU goes to one of those who want it"
        newest, _ = await one.store.read(audit.newest)
        records = await two.store.read(lambda tx: audit.ledger(tx, after_id=0, limit=1_000))
        assert [record.id for record in records] == list(range(1, newest + 1))
        assert all(after.previous_hash == before.hash for before, after in pairwise(records))
        for store in stores:
            await store.close()
